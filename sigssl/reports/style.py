"""How figures look: colours that colour-blind readers tell apart, few lines. No global state of matplotlib is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sigssl.data.io import whole

# Okabe & Ito (2008), without yellow, which is too light for lines; blue is always the method shown, grey its reference
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#767676"
# sleep stages: wake warm, NREM from light to dark, REM apart from both
STAGE_COLOURS = {"W": "#E69F00", "N1": "#A9DAF5", "N2": "#4FA3DB", "N3": "#08508C", "R": "#B3386F", "?": "#BDBDBD"}
MAP = "cividis"  # sequential, even in grey and for every kind of colour vision
SPECTRUM = "viridis"  # likewise, with more contrast for spectrograms
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
}


@contextmanager
def figure(path: Path, width: float, height: float, **layout: Any) -> Iterator[Any]:
    """A figure and its axes, written whole as PNG when the block ends.

    Args:
        path: of the PNG.
        width: inches.
        height: inches.
        layout: for `Figure.subplots` (nrows, ncols, sharex ...).

    Yields:
        What `Figure.subplots` returns: an Axes, or an array of them. `axes.figure` is the figure.
    """
    with rc_context(STYLE):  # type: ignore[arg-type]
        made = Figure(figsize=(width, height))
        FigureCanvasAgg(made)
        yield made.subplots(**layout)
        with whole(path) as temporary:
            made.savefig(temporary, format="png")


def grid(axes: Axes, axis: str = "y") -> None:
    """Thin lines behind the data."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(length=0)
