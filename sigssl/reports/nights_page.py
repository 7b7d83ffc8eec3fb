"""The page of a folder of staged nights: a table with a small hypnogram for each, agreement, warnings, what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sigssl.data.stages import UNSCORED
from sigssl.downstream.night import CAVEATS, NOTICE
from sigssl.downstream.sleep_statistics import MEANING, UNITS
from sigssl.reports.agreement import agreement_parts
from sigssl.reports.html import Raw, facts, heading, link, listed, page, paragraph, table
from sigssl.reports.night_figure import LEVELS
from sigssl.reports.night_page import value
from sigssl.reports.style import STAGE_COLOURS

COLUMNS = {"TIB": 0, "TST": 0, "SE": 1, "SOL": 1, "WASO": 1, "REM_latency": 1, "awakenings": 0}
COLUMNS |= {"N1_percent": 1, "N2_percent": 1, "N3_percent": 1, "R_percent": 1}


def nights_page(
    nights: Sequence[dict[str, Any]], failed: Sequence[tuple[str, str, str]], found: dict[str, Any] | None, figures: set[str]
) -> str:
    """All nights as one HTML page that needs nothing from outside of its folder.

    Args:
        nights: their summaries (statistics.json).
        failed: name, file and reason of what could not be staged.
        found: agreement with the references, where there are any.
        figures: names of the figures of agreement.
    """
    parts = [heading("Staged nights", 1), paragraph(_lead(nights, failed), "lead"), paragraph(NOTICE, "notice")]
    if failed:
        rows = [(name, reason, path) for name, path, reason in failed]
        parts += [
            Raw('<div class="bad">'),
            heading(f"Not staged: {len(failed)}"),
            table("Also in failed.tsv", ["night", "why", "file"], rows, text=(1, 2)),
            "</div>",
        ]
    if nights:
        parts += [heading("Nights"), _key(), _nights(nights)]
    if found:
        parts += [heading("Agreement with the reference"), *agreement_parts(found, figures)]
    warned = [night for night in nights if night["warnings"]]
    if warned:
        items = [Raw(f"{link(_place(night), night['night'])}: {_escaped(night['warnings'])}") for night in warned]
        parts += [heading("Warnings"), listed(items)]
    parts += [
        heading("What the numbers are"),
        facts((name.replace("_", " "), f"{what} ({UNITS[name] or 'count'})") for name, what in MEANING.items()),
    ]
    parts += [_made(nights), paragraph(CAVEATS, "lead")]
    return page("Staged nights", parts)


def mini(stages: Sequence[str], width: int = 150, height: int = 34) -> Raw:
    """A hypnogram of the size of a word, as SVG; hidden from screen readers, which have the numbers beside it."""
    step, shapes, start = width / max(len(stages), 1), [], 0
    level = {stage: k * (height - 6) / (len(LEVELS) - 1) for k, stage in enumerate(LEVELS)}
    for k in range(1, len(stages) + 1):
        if k == len(stages) or stages[k] != stages[start]:
            stage, x, w = stages[start], start * step, (k - start) * step
            top, high = (0.0, float(height)) if stage == UNSCORED else (level[stage], 6.0)
            colour = "#E3E3E3" if stage == UNSCORED else STAGE_COLOURS[stage]
            shapes.append(f'<rect x="{x:.2f}" y="{top:.1f}" width="{max(w, 0.4):.2f}" height="{high:g}" fill="{colour}"/>')
            start = k
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Raw(f'<svg class="mini" aria-hidden="true" {size}>{"".join(shapes)}</svg>')


def _nights(nights: Sequence[dict[str, Any]]) -> str:
    scored = any(night["agreement"] for night in nights)
    header: list[str] = ["night", "hypnogram", *(["kappa", Raw("accuracy<br><small>%</small>")] if scored else [])]
    header += [_head(name) for name in COLUMNS]
    header += [Raw("confi-<br>dence"), Raw("to<br>review"), Raw("warn-<br>ings")]
    rows = []
    for night in nights:
        own = night["agreement"] or {}
        kappa, right, sure = own.get("kappa"), own.get("accuracy"), (night["confidence"] or {}).get("mean")
        cells = ["–" if kappa is None else f"{kappa:.3f}", "–" if right is None else f"{100 * right:.1f}"] if scored else []
        cells += [value(night, name, digits) for name, digits in COLUMNS.items()]
        cells += ["–" if sure is None else f"{sure:.2f}", str(night["review"]["epochs"]), str(len(night["warnings"]) or "–")]
        rows.append([link(_place(night), night["night"]), mini(night["hypnogram"]), *cells])
    caption = "Statistics over each night's window; the name leads to the night's figure, files and epochs for review"
    return table(caption, header, rows, text=(1,), dense=True)


def _head(name: str) -> Raw:
    """A statistic's name over its unit."""
    unit = "% TST" if name.endswith("_percent") else UNITS[name] or "count"
    return Raw(f"{name.removesuffix('_percent').replace('_', '<br>')}<br><small>{unit}</small>")


def _key() -> Raw:
    boxes = "".join(f'<span class="box" style="background:{STAGE_COLOURS[stage]}"></span>{stage}' for stage in LEVELS)
    return Raw(f'<p class="lead">Stages, from the top of each hypnogram:{boxes}</p>')


def _lead(nights: Sequence[dict[str, Any]], failed: Sequence[Any]) -> str:
    hours = sum(night["epochs"] * night["epoch_seconds"] for night in nights) / 3600
    told = f"{len(nights)} nights, {hours:.1f} h of recordings"
    return told + (f"; {len(failed)} could not be staged." if failed else "; all could be staged.")


def _made(nights: Sequence[dict[str, Any]]) -> str:
    if not nights:
        return ""
    models = sorted({str(night["model"].get("name", "")) for night in nights})
    rules = sorted({night["window"]["rule"] for night in nights})
    settings = {name: given for name, given in nights[0]["settings"].items() if given != ""}
    shown = [("model", ", ".join(models)), ("statistics over", "; ".join(rules))]
    return heading("How it was made") + facts(
        [*shown, *((name.replace("_", " "), str(given)) for name, given in settings.items()), ("sigssl", nights[0]["sigssl"])]
    )


def _place(night: dict[str, Any]) -> str:
    return f"{night['night']}/index.html"


def _escaped(warnings: list[str]) -> str:
    from html import escape

    return escape(" ".join(warnings))
