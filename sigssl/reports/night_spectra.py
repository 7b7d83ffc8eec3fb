"""Two sets of nights side by side: spectra by stage, band powers by stage, and what one teaches about the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sigssl.data.stages import STAGES
from sigssl.downstream.night_powers import CHANNELS, Powers, Spectra, transfer
from sigssl.features.bandpower import BANDS
from sigssl.reports.style import COLOURS, GREY, figure, grid
from sigssl.reports.tables import markdown

UPTO = 35.0  # Hz


def draw_spectra(sets: Sequence[Spectra], path: Path) -> None:
    """A panel for each stage: median over nights of each set, the middle half of the nights shaded.

    Args:
        sets: of which the first is the one that is looked at.
        path: of the PNG.
    """
    with figure(path, 11.0, 2.9, ncols=5, sharex=True, sharey=True) as panels:
        for stage, axes in zip(range(5), panels, strict=True):
            for one, colour in zip(sets, (COLOURS[0], COLOURS[1], GREY), strict=False):
                _draw_one(axes, one, stage, colour)
            axes.set_title(STAGES[stage])
            axes.set_xlim(0, UPTO)
            grid(axes, "both")
        panels[2].set_xlabel("frequency (Hz)")
        panels[0].set_ylabel("dB over 1 µV²/Hz")
        panels[0].legend(loc="upper right")


def _draw_one(axes: Axes, one: Spectra, stage: int, colour: str) -> None:
    here = (one.frequencies >= 0.5) & (one.frequencies <= UPTO)
    values = one.values[:, stage, here]
    values = values[~np.isnan(values).all(1)]
    if not len(values):
        axes.plot([], [], color=colour, label=one.name)
        return
    low, middle, high = np.nanpercentile(values, [25, 50, 75], axis=0)
    axes.fill_between(one.frequencies[here], low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(one.frequencies[here], middle, color=colour, linewidth=1.4, label=one.name)


def draw_powers(sets: Sequence[Powers], path: Path) -> None:
    """A panel for each channel and band: the log power of each stage, mean and standard deviation over epochs.

    A set's powers are drawn from the mean over its stages, so that the scaling of nights (which artefacts rule) plays no part.
    """
    with figure(path, 11.0, 5.4, nrows=len(CHANNELS), ncols=len(BANDS), sharex=True) as panels:
        for place, axes in np.ndenumerate(panels):
            column = place[0] * 2 * len(BANDS) + place[1]
            for n, (one, colour) in enumerate(zip(sets, (COLOURS[0], GREY, COLOURS[1]), strict=False)):
                held = [one.features[one.stages == stage, column] for stage in range(5)]
                means = np.array([values.mean() if len(values) else np.nan for values in held])
                spread = [values.std() if len(values) else 0.0 for values in held]
                at = np.arange(5) + 0.22 * n - 0.11
                axes.errorbar(at, means - np.nanmean(means), spread, fmt="o", color=colour, markersize=3.5, label=one.name)
            axes.set_xticks(range(5), STAGES)
            grid(axes)
            if place[0] == 0:
                axes.set_title(f"{BANDS[place[1]][0]}, {BANDS[place[1]][1]:g} to {BANDS[place[1]][2]:g} Hz")
            if place[1] == 0:
                axes.set_ylabel(f"{CHANNELS[place[0]]}\nlog power")
        handles, names = panels[0, 0].get_legend_handles_labels()
        panels[0, 0].figure.legend(handles, names, loc="outside upper right", ncols=len(names))


def table(sets: Sequence[Powers]) -> tuple[str, dict[str, Any]]:
    """Logistic regression on the band powers of single epochs, within each set (by persons) and from each to the other.

    Returns:
        A Markdown table, and the numbers.
    """
    lines, numbers = [], {}
    for train in sets:
        for test in sets:
            found = transfer(train, test)
            numbers[f"{train.name} to {test.name}"] = found
            cells = [found["accuracy"] * 100, found["macro_f1"] * 100, found["kappa"], *(100 * value for value in found["f1"])]
            style = ["{:.1f}", "{:.1f}", "{:.2f}", *["{:.0f}"] * 5]
            lines.append([train.name, test.name, *(form.format(value) for form, value in zip(style, cells, strict=True))])
    head = ["trained on", "tested on", "accuracy %", "macro F1", "kappa", *(f"F1 {stage}" for stage in STAGES)]
    return markdown(head, lines, words=2), numbers
