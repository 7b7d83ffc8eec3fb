"""Figures and tables of agreement between two scorings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sigssl.data.stages import STAGES
from sigssl.reports.html import heading, paragraph, picture, table
from sigssl.reports.style import COLOURS, GREY, MAP, figure, grid

CONFUSION, BLAND_ALTMAN = "confusion.png", "bland_altman.png"
DRAWN = ("TST", "SE", "SOL", "WASO", "REM_latency", "N1_min", "N2_min", "N3_min", "R_min")
NAMES = {"accuracy": "accuracy %", "kappa": "Cohen's kappa", "macro_f1": "macro F1 %", "balanced_accuracy": "balanced accuracy %"}
NAMES |= {"weighted_f1": "weighted F1 %", "mcc": "Matthews' correlation"}


def draw_confusion(found: dict[str, Any], path: Path, words: tuple[str, str] = ("reference", "result")) -> None:
    """The confusion as counts and as shares of the reference's stage.

    Args:
        found: what :func:`sigssl.downstream.agreement.agreement` made.
        path: of the PNG.
        words: what rows and columns are called.
    """
    counts = np.array(found["confusion"], dtype=float)
    shares = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
    with figure(path, 4.6, 3.9) as axes:
        image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=100)
        for (row, column), share in np.ndenumerate(shares):
            said = f"{share:.0f} %\n{int(counts[row, column]):,}"
            axes.text(column, row, said, ha="center", va="center", fontsize=7.5, color="black" if share > 55 else "white")
        axes.set_xticks(range(5), STAGES)
        axes.set_yticks(range(5), STAGES)
        axes.set(xlabel=words[1], ylabel=words[0], title=f"{found['epochs']:,} epochs, {found['nights']} nights")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.figure.colorbar(image, ax=axes, label=f"share of the {words[0]}'s stage (%)", shrink=0.85)


def draw_bland_altman(found: dict[str, Any], path: Path) -> bool:
    """Difference against mean of each sleep statistic, a dot for a night; nothing where no statistic is defined in two nights.

    Args:
        found: what :func:`sigssl.downstream.agreement.agreement` made.
        path: of the PNG.
    """
    shown = {name: found["statistics"][name] for name in DRAWN if found["statistics"][name]["n"] > 1}
    if not shown:
        return False
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with figure(path, 3.4 * columns, 2.5 * rows, nrows=rows, ncols=columns, squeeze=False) as panels:
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, (name, entry) in zip(panels.flat, shown.items(), strict=False):
            one, other = np.array(entry["reference"]), np.array(entry["result"])
            axes.axhline(0, color=GREY, lw=0.8)
            axes.axhspan(entry["bias_low"], entry["bias_high"], color=COLOURS[0], alpha=0.15, lw=0)
            axes.axhline(entry["bias"], color=COLOURS[0], lw=1.4)
            for limit in ("low", "high"):
                axes.axhline(entry[limit], color=COLOURS[1], lw=1.1, ls="--")
            axes.plot((one + other) / 2, other - one, "o", ms=4, mfc="white", mec="#222222", mew=0.9)
            title = f"{name.replace('_', ' ')}: {entry['bias']:+.1f} ({entry['low']:.1f} to {entry['high']:.1f})"
            unit = f" ({entry['unit']})" if entry["unit"] else ""
            axes.set(title=title, xlabel=f"mean of both{unit}", ylabel="difference")
            grid(axes)
    return True


def agreement_parts(found: dict[str, Any], figures: set[str], words: tuple[str, str] = ("reference", "result")) -> list[str]:
    """Tables and figures as HTML.

    Args:
        found: what :func:`sigssl.downstream.agreement.agreement` made.
        figures: names of those that were drawn.
        words: what the two are called.
    """
    who = f"{found['nights']} nights of {found['persons']} persons, {found['epochs']:,} epochs that both scored"
    over = (
        f"Intervals: 95 %, {found['bootstrap']['resamples']} bootstrap resamples of persons."
        if found["bootstrap"]["resamples"]
        else ""
    )
    parts = [paragraph(f"{who}. {over}", "lead"), overall_table(found), stage_table(found, words)]
    if CONFUSION in figures:
        parts.append(
            picture(
                CONFUSION,
                f"Confusion of {words[0]} and {words[1]}; the table by stage has its margins.",
                "Confusion over all nights.",
                width=460,
            )
        )
    parts += [heading("Sleep statistics: difference of the two", 3), statistics_table(found, words)]
    if BLAND_ALTMAN in figures:
        caption = (
            f"Difference ({words[1]} minus {words[0]}) against mean. Blue: bias and its 95 % interval; dashed: limits of agreement."
        )
        parts.append(picture(BLAND_ALTMAN, "Bland-Altman plots; the table above has their numbers.", caption))
    return parts


def overall_table(found: dict[str, Any]) -> str:
    """Scores over all epochs and by night."""
    rows = []
    for key, name in NAMES.items():
        pooled, night, factor = found["pooled"][key], found["by_night"][key], 100 if "%" in name else 1
        digits = 1 if factor == 100 else 3

        def said(number: float | None, factor: int = factor, digits: int = digits) -> str:
            return "–" if number is None else f"{factor * number:.{digits}f}"

        span = "–" if pooled["low"] is None else f"{said(pooled['low'])} to {said(pooled['high'])}"
        rows.append((name, said(pooled["value"]), span, said(night["mean"]), said(night["sd"]), said(night["median"])))
    header = ["score", "all epochs", "95 % interval", "mean of nights", "sd", "median"]
    return table("Agreement over all epochs, and of single nights (their macro F1 is over the stages that they have)", header, rows)


def stage_table(found: dict[str, Any], words: tuple[str, str] = ("reference", "result")) -> str:
    """Precision, recall and F1 of each stage."""
    rows = []
    for stage, entry in found["pooled"]["stages"].items():
        cells = [_percent(entry[name]["value"]) for name in ("precision", "recall", "f1")]
        span = "–" if entry["f1"]["low"] is None else f"{_percent(entry['f1']['low'])} to {_percent(entry['f1']['high'])}"
        rows.append((stage, f"{entry['epochs']:,}", f"{entry['epochs_result']:,}", *cells, span))
    header = ["stage", f"epochs, {words[0]}", f"epochs, {words[1]}", "precision %", "recall %", "F1 %", "95 % interval of F1"]
    return table("By stage, over all epochs", header, rows)


def statistics_table(found: dict[str, Any], words: tuple[str, str] = ("reference", "result")) -> str:
    """Bias and limits of agreement of each sleep statistic."""
    rows = []
    for name, entry in found["statistics"].items():
        if not entry["n"]:
            continue
        means = [f"{np.mean(entry[side]):.1f}" for side in ("reference", "result")]
        spans = [
            f"{entry[a]:.1f} to {entry[b]:.1f}" if entry["sd"] is not None else "–"
            for a, b in (("bias_low", "bias_high"), ("low", "high"))
        ]
        rows.append((name.replace("_", " "), entry["unit"] or "–", str(entry["n"]), *means, f"{entry['bias']:+.1f}", *spans))
    header = [
        "statistic",
        "unit",
        "nights",
        f"mean, {words[0]}",
        f"mean, {words[1]}",
        "bias",
        "95 % interval of bias",
        "limits of agreement",
    ]
    return table(f"{words[1]} minus {words[0]}, over the same epochs (Bland and Altman 1986: bias -+ 1.96 sd)", header, rows)


def _percent(number: float | None) -> str:
    return "–" if number is None else f"{100 * number:.1f}"
