"""One utterance as a reconstructing method sees it: original, altered, reconstructed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sigssl.data import audio
from sigssl.data.datadir import DataDir, Utterance
from sigssl.errors import UserError
from sigssl.reports.style import SPECTRUM, figure
from sigssl.training.run import load_method
from sigssl.types import Batch

LONGEST = 4.0  # seconds that are shown
TRIES = 50  # draws of the alteration, of which the first that alters enough is shown
ENOUGH = 0.08  # share of the elements


def draw_reconstruction(run: Path, config: dict[str, Any], path: Path) -> str | None:
    """Draw one utterance of the run's validation data (training data where it has none).

    Args:
        run: run folder with a checkpoint.
        config: its config.yaml.
        path: of the PNG.

    Returns:
        The caption; None where the method does not reconstruct.

    Raises:
        UserError: the run's data or its checkpoint are gone.
    """
    method: Any = load_method(run)  # one of those with `reconstruct`, as TERA
    if not hasattr(method, "reconstruct"):
        return None
    data = config["data"].get("valid") or config["data"]["train"]
    utterance, batch = _example(data, method.encoder.sample_rate)
    made = None
    for seed in range(TRIES):
        with torch.no_grad():
            made = method.reconstruct(batch, torch.Generator().manual_seed(seed))
        if made.original.shape != made.altered.shape or (made.original != made.altered).float().mean() >= ENOUGH:
            break
    assert made is not None
    panels = {"original": made.original, "altered": made.altered, "reconstructed": made.prediction}
    shift = method.encoder.hop / method.encoder.sample_rate
    _draw({name: frames[0].float().numpy() for name, frames in panels.items()}, float(shift), path)
    error, nothing = _errors(made)
    return (
        f"{utterance.id} of {data}, features normalised over the utterance. On the altered elements the mean absolute error of the "
        f"reconstruction is {error:.3f}; leaving them as the alteration left them: {nothing:.3f}."
    )


def _example(data: str, sample_rate: int) -> tuple[Utterance, Batch]:
    """The utterance nearest to 3 seconds among the first 200, at most LONGEST seconds of it."""
    utterances = DataDir.read(data).utterances()[:200]
    if not utterances:
        raise UserError(f"{data}: has no recordings to show a reconstruction of.")
    one = min(utterances, key=lambda u: abs((u.duration or 0.0) - 3.0))
    end = min(one.start + LONGEST, one.end) if one.end is not None else one.start + LONGEST
    signal = audio.read(one.path, one.start, _within(one, end), sample_rate)[:1]
    x = torch.from_numpy(np.ascontiguousarray(signal))[None]
    return one, Batch(x, torch.tensor([x.shape[2]]), (one.id,), False, sample_rate)


def _within(utterance: Utterance, end: float) -> float | None:
    length = audio.info(utterance.path).duration
    return end if end < length else utterance.end


def _errors(made: Any) -> tuple[float, float]:
    """Mean absolute error on the labelled elements: of the reconstruction, and of the altered input."""
    label = made.label
    error = float((made.prediction - made.original)[label].abs().mean())
    if made.altered.shape != made.original.shape:
        return error, float(made.original[label].abs().mean())
    return error, float((made.altered - made.original)[label].abs().mean())


def _draw(panels: dict[str, np.ndarray], shift: float, path: Path) -> None:
    """Three spectrograms under one another on one scale of time and colour."""
    low, high = np.percentile(panels["original"], [1, 99])
    with figure(path, 8.0, 5.6, nrows=len(panels), sharex=True) as axes:
        for one, (name, frames) in zip(axes, panels.items(), strict=True):
            seconds = len(frames) * shift
            extent = (0.0, seconds, -0.5, frames.shape[1] - 0.5)
            scale: dict[str, Any] = {"vmin": low, "vmax": high, "cmap": SPECTRUM}
            image = one.imshow(frames.T, aspect="auto", origin="lower", extent=extent, interpolation="none", **scale)
            one.set(title=name.capitalize(), ylabel="band")
        axes[-1].set_xlabel("time (s)")
        axes[0].figure.colorbar(image, ax=list(axes), label="normalised log energy", pad=0.02, aspect=40)
