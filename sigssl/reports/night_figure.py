"""The figure of a staged night: hypnodensity over hypnogram over spectrogram, the reference and what differs marked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator

from sigssl.data.stages import STAGES, UNSCORED
from sigssl.downstream.night import Spectrogram, StagedNight, errors
from sigssl.reports.style import COLOURS, SPECTRUM, STAGE_COLOURS, figure, grid

LEVELS = ("W", "R", "N1", "N2", "N3")  # of a hypnogram, from the top
HEIGHT = {stage: -float(level) for level, stage in enumerate(LEVELS)}
ERROR = COLOURS[1]
REFERENCE = "#CFCFCF"
STEPS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0)  # hours between ticks


def draw_night(night: StagedNight, path: Path) -> None:
    """Draw a night as PNG.

    Args:
        night: with a spectrogram, where one is to be shown.
        path: of the PNG.
    """
    shown = ["density", "hypnogram", *(["spectrum"] if night.spectrogram is not None else [])]
    ratios = {"density": 1.0, "hypnogram": 1.45, "spectrum": 1.25}
    layout: dict[str, Any] = {"nrows": len(shown), "sharex": True, "height_ratios": [ratios[name] for name in shown]}
    with figure(path, 10.5, 1.9 * len(shown) + 0.5, **layout) as panels:
        edges = (night.onset + night.epoch * np.arange(len(night.stages) + 1)) / 3600
        _density(panels[0], night, edges)
        _hypnogram(panels[1], night, edges)
        if night.spectrogram is not None:
            _spectrum(panels[2], night.spectrogram)
        for axes in panels:
            for side, shut in (
                (edges[night.window.first], night.window.first),
                (edges[night.window.stop], len(edges) - 1 - night.window.stop),
            ):
                if shut:
                    axes.axvline(side, color="#222222", lw=0.9, ls=(0, (4, 3)))
        panels[0].set_xlim(edges[0], max(edges[-1], edges[0] + 1e-6))
        _time(panels[-1], night, edges)


def _density(axes: Any, night: StagedNight, edges: np.ndarray) -> None:
    """Probabilities stacked, in the order of depth from below: N3, N2, N1, R, W."""
    bottom = np.zeros(len(night.stages))
    for stage in reversed(LEVELS):
        share = np.nan_to_num(night.probabilities[:, STAGES.index(stage)])
        axes.fill_between(edges, _held(bottom), _held(bottom + share), step="post", color=STAGE_COLOURS[stage], lw=0, label=stage)
        bottom = bottom + share
    _unscored(axes, night, edges)
    axes.set(ylim=(0, 1), ylabel="probability", title=f"{night.name}: probability of each stage")
    _legend(axes, [Patch(color=STAGE_COLOURS[stage], label=stage) for stage in LEVELS])


def _hypnogram(axes: Any, night: StagedNight, edges: np.ndarray) -> None:
    levels = np.array([HEIGHT.get(stage, np.nan) for stage in night.stages])
    title = "Most probable stage"
    if night.reference is not None:
        truth = np.array([HEIGHT.get(stage, np.nan) for stage in night.reference])
        wrong = errors(night.reference, night.stages)
        axes.plot(edges, _held(truth), drawstyle="steps-post", color=REFERENCE, lw=0.9)
        _segments(axes, night.reference, edges, REFERENCE, 8.0)
        axes.broken_barh([(edges[a], edges[b] - edges[a]) for a, b in _runs(wrong)], (-5.05, 0.5), color=ERROR, lw=0.4)
        said = int((np.isfinite(levels) & np.isfinite(truth)).sum())
        title += f"; differs from the reference in {int(wrong.sum())} of {said} epochs"
        _legend(axes, [Patch(color=REFERENCE, label="reference"), Patch(color=ERROR, label="differs")])
    axes.plot(edges, _held(levels), drawstyle="steps-post", color="#444444", lw=0.8)
    _segments(axes, night.stages, edges, None, 3.2)
    _unscored(axes, night, edges)
    axes.set_yticks([HEIGHT[stage] for stage in LEVELS], LEVELS)
    axes.set(ylim=(-5.1 if night.reference is not None else -4.5, 0.5), ylabel="stage", title=title)
    grid(axes)


def _spectrum(axes: Any, spectrum: Spectrogram) -> None:
    power, width = spectrum.power, spectrum.seconds / 3600
    known = power[np.isfinite(power)]
    low, high = np.percentile(known, [3, 98]) if len(known) else (0.0, 1.0)
    half = (spectrum.frequencies[1] - spectrum.frequencies[0]) / 2
    extent = (0, width * len(power), spectrum.frequencies[0] - half, spectrum.frequencies[-1] + half)
    image = axes.imshow(power.T, aspect="auto", origin="lower", extent=extent, cmap=SPECTRUM, vmin=low, vmax=max(high, low + 1e-6))
    axes.set_facecolor(STAGE_COLOURS[UNSCORED])  # shows where the power is NaN
    axes.set(ylabel="frequency (Hz)", title=f"Spectrogram of {spectrum.channel}", ylim=(0, extent[3]))
    beside = axes.inset_axes((1.008, 0.0, 0.012, 1.0))  # takes no width from the panel, which stays in line with the others
    axes.figure.colorbar(image, cax=beside, label="dB (1 µV²/Hz)")


def _segments(axes: Any, stages: list[str], edges: np.ndarray, colour: str | None, width: float) -> None:
    """A line at its height for each run of a stage, in one colour or in that of the stage."""
    tokens = np.array(stages)
    for stage in LEVELS:
        lines = [((edges[a], HEIGHT[stage]), (edges[b], HEIGHT[stage])) for a, b in _runs(tokens == stage)]
        look: dict[str, Any] = {"colors": colour or STAGE_COLOURS[stage], "linewidths": width, "capstyle": "butt"}
        axes.add_collection(LineCollection(lines, **look), autolim=False)


def _legend(axes: Any, handles: list[Patch]) -> None:
    """Above the panel, at its right end."""
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.97),
        ncols=len(handles),
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.2,
        borderaxespad=0.0,
    )


def _unscored(axes: Any, night: StagedNight, edges: np.ndarray) -> None:
    for a, b in _runs(np.array(night.stages) == UNSCORED):
        axes.axvspan(edges[a], edges[b], color=STAGE_COLOURS[UNSCORED], lw=0, alpha=0.7)


def _time(axes: Any, night: StagedNight, edges: np.ndarray) -> None:
    """Ticks at whole hours of the clock where the start is known, else of hours since the start."""
    begin = night.start
    offset = (begin.hour + begin.minute / 60 + begin.second / 3600) if begin is not None else 0.0
    span = edges[-1] - edges[0]
    step = next((step for step in STEPS if span / step <= 12), STEPS[-1])
    ticks = np.arange(np.ceil((edges[0] + offset) / step - 1e-9), np.floor((edges[-1] + offset) / step + 1e-9) + 1) * step - offset
    names = [f"{t:g}" if begin is None else (begin + timedelta(hours=float(t), seconds=0.5)).strftime("%H:%M") for t in ticks]
    axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axes.set_xticks(ticks, names)
    axes.set_xlabel("time of day" if begin is not None else "hours since the start of the recording")


def _held(values: np.ndarray) -> np.ndarray:
    """Values at the edges of epochs, for steps that hold each through its epoch."""
    return np.append(values, values[-1:])


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First index and index behind each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
