"""The figures and the page of a probe run, from its `metrics.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sigssl.reports.style import COLOURS, GREY, MAP, figure, grid
from sigssl.reports.tables import probe_report

MOST_NAMED = 40  # classes or speakers whose names still fit along an axis
FIGURES = {
    "accuracy.png": "Test accuracy with 95 % intervals over speakers.",
    "speakers.png": "Test accuracy of every speaker.",
    "confusion.png": "Confusion, each row in percent of the true class.",
    "layers.png": "Learned weight of each layer, mean over folds and seeds; dots are folds.",
}


def draw(metrics: dict[str, Any], out: Path) -> list[Path]:
    """Draw what the run has to show, as PNG into `out`; figures of an earlier run that no longer apply are removed.

    Returns:
        The figures.
    """
    makers = {"accuracy.png": accuracy, "speakers.png": speakers, "confusion.png": confusion, "layers.png": layers}
    drawn = []
    for name, make in makers.items():
        (out / name).unlink(missing_ok=True)
        if make(metrics, out / name):
            drawn.append(out / name)
    return drawn


def probe_page(metrics: dict[str, Any], folder: str = "", present: Path | None = None) -> str:
    """Tables and figures of a run as Markdown.

    Args:
        metrics: of the run.
        folder: where its figures are, as seen from the page.
        present: folder in which to look which figures exist; none are linked where it is not given.
    """
    settings = metrics["settings"]
    heading = f"# Probe: {settings['target']}, {settings['level']} level\n\n"
    tables = probe_report(metrics)
    names = [name for name in FIGURES if present is not None and (present / name).is_file()]
    prefix = f"{folder}/" if folder else ""
    pictures = "".join(f"\n![{FIGURES[name]}]({prefix}{name})\n\n*{FIGURES[name]}*\n" for name in names)
    return heading + tables + pictures


def accuracy(metrics: dict[str, Any], path: Path) -> bool:
    """Accuracy of every row with its interval; a dashed line where one class is always said."""
    rows = metrics["rows"]
    with figure(path, 6.4, 0.9 + 0.36 * len(rows)) as axes:
        for place, row in enumerate(rows):
            value = {key: 100 * number for key, number in row["accuracy"].items()}
            colour = COLOURS[0] if row["arm"] == rows[0]["arm"] else GREY
            errors = [[value["mean"] - value["low"]], [value["high"] - value["mean"]]]
            axes.errorbar(value["mean"], place, xerr=errors, fmt="o", ms=6, color=colour, elinewidth=1.6, capsize=3)
            axes.annotate(
                f"{value['mean']:.1f}", (value["mean"], place), (0, 6), textcoords="offset points", ha="center", color=colour
            )
        chance = 100 * metrics["protocol"]["chance"]
        axes.axvline(chance, color=GREY, ls="--", lw=1)
        axes.annotate("one class always", (chance, len(rows) - 0.45), (4, 3), textcoords="offset points", color=GREY, fontsize=8)
        axes.set_yticks(range(len(rows)), [_row_name(row, rows) for row in rows])
        axes.set(ylim=(len(rows) - 0.4, -0.7), xlim=(min(0, chance), 101), xlabel="test accuracy (%)")
        grid(axes, "x")
    return True


def speakers(metrics: dict[str, Any], path: Path) -> bool:
    """Accuracy of each test speaker, with one head; nothing where there is one speaker or too many to tell apart."""
    names = metrics["speakers"]
    if not 1 < len(names) <= MOST_NAMED:
        return False
    with figure(path, max(5.0, 1.6 + 0.42 * len(names)), 3.4) as axes:
        shown = with_best_head(metrics["rows"])[: len(COLOURS)]
        for number, row in enumerate(shown):
            offset = (number - (len(shown) - 1) / 2) * min(0.12, 0.6 / len(shown))
            heights = [100 * row["by_speaker"][name] for name in names]
            look: dict[str, Any] = {"marker": "osD^vPX"[number], "ms": 5.5, "color": COLOURS[number], "ls": "none"}
            axes.plot(np.arange(len(names)) + offset, heights, label=row["arm"], **look)
        axes.set_xticks(range(len(names)), names, rotation=0 if len("".join(names)) < 60 else 60)
        axes.set(ylim=(0, 102), xlim=(-0.6, len(names) - 0.4), xlabel="test speaker", ylabel="accuracy (%)")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title=f"head: {shown[0]['head']}", alignment="left")
        grid(axes)
    return True


def confusion(metrics: dict[str, Any], path: Path) -> bool:
    """The confusion of the first arm beside that of the best other arm with the same head; validation data say which is best."""
    rows = with_best_head(metrics["rows"])
    shown = [rows[0], *sorted(rows[1:], key=lambda row: -row["validation_accuracy"])[:1]]
    names = metrics["classes"]
    side = min(9.0, max(2.9, 1.1 + 0.26 * len(names)))
    with figure(path, 0.9 + side * len(shown), side + 0.3, ncols=len(shown), squeeze=False) as panels:
        for axes, row in zip(panels[0], shown, strict=True):
            counts = np.array(row["confusion"], dtype=float)
            shares = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
            image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=100)
            axes.set_title(f"{row['arm']}, {row['head']}: {100 * row['accuracy']['mean']:.1f} %")
            _name_classes(axes, names)
            axes.set_xlabel("predicted")
            if len(names) <= 16:
                for (true, said), share in np.ndenumerate(shares):
                    colour = "black" if share > 55 else "white"
                    axes.text(
                        said, true, f"{share:.0f}" if share >= 0.5 else "", ha="center", va="center", fontsize=7, color=colour
                    )
        panels[0][0].set_ylabel("true class")
        panels[0][0].figure.colorbar(image, ax=list(panels[0]), label="share of the true class (%)", shrink=0.75)
    return True


def layers(metrics: dict[str, Any], path: Path) -> bool:
    """Weights that the probes gave to the layers; nothing where none were learned."""
    shown = [row for row in metrics["rows"] if row["by_fold"][0]["layer_weights"]][:4]
    if not shown:
        return False
    most = max(len(row["by_fold"][0]["layer_weights"]) for row in shown)
    with figure(path, max(3.2, 1.2 + 0.3 * most) * len(shown), 2.8, ncols=len(shown), squeeze=False, sharey=True) as panels:
        for number, (axes, row) in enumerate(zip(panels[0], shown, strict=True)):
            weights = np.array([fold["layer_weights"] for fold in row["by_fold"]])
            places = np.arange(weights.shape[1])
            axes.bar(places, weights.mean(0), width=0.7, color=COLOURS[number], alpha=0.85)
            if len(weights) > 1:
                spread = np.linspace(-0.15, 0.15, len(weights))
                for shift, fold in zip(spread, weights, strict=True):
                    axes.plot(places + shift, fold, "o", ms=3, mfc="white", mec="#222222", mew=0.8)
            axes.axhline(1 / len(places), color=GREY, ls="--", lw=1)
            axes.set_xticks(places, [str(p) for p in places])
            axes.set(title=_row_name(row, shown), xlabel="layer (0 = input embedding)")
            grid(axes)
        panels[0][0].set_ylabel("weight (dashed: equal)")
    return True


def with_best_head(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the head that did best on validation data for the first arm: one row for each arm."""
    own = [row for row in rows if row["arm"] == rows[0]["arm"]]
    head = max(own, key=lambda row: row["validation_accuracy"])["head"]
    return [row for row in rows if row["head"] == head]


def _name_classes(axes: Any, names: list[str]) -> None:
    places = range(len(names)) if len(names) <= MOST_NAMED else range(0, len(names), -(-len(names) // MOST_NAMED))
    labels = [names[p] for p in places]
    long = max(map(len, labels)) > 2
    size = 8 if len(names) <= 24 else 6.5
    axes.set_xticks(list(places), labels, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(list(places), labels, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _row_name(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The arm, with its head where heads differ."""
    return row["arm"] if len({other["head"] for other in rows}) == 1 else f"{row['arm']}, {row['head']}"
