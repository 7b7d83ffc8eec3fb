"""The page of one staged night."""

from __future__ import annotations

from typing import Any

from sigssl.data.stages import STAGES
from sigssl.reports.html import Raw, facts, heading, link, listed, page, paragraph, picture, table
from sigssl.reports.night_files import annotations_name, events_name

FIGURE = "night.png"
MOST = 400  # epochs for review that the page shows; review.tsv has all


def night_page(summary: dict[str, Any], review: list[dict[str, Any]], figure: bool) -> str:
    """One night as HTML.

    Args:
        summary: what :func:`sigssl.reports.night_files.summary` made.
        review: the epochs for review.
        figure: whether night.png is there.
    """
    name = summary["night"]
    parts = [
        f"<p>{link('../index.html', 'All nights')}</p>",
        heading(name, 1),
        paragraph(_lead(summary), "lead"),
        paragraph(summary["notice"], "notice"),
    ]
    if summary["warnings"]:
        parts += [heading("Warnings"), Raw('<div class="warn">' + listed(summary["warnings"]) + "</div>")]
    if figure:
        parts.append(
            picture(FIGURE, _alternative(summary), "Dashed: the window of the statistics, where it is not the whole recording.")
        )
    parts += [heading("Sleep statistics"), Raw('<div class="columns">'), _statistics(summary), _side(summary), Raw("</div>")]
    parts += [heading("Epochs for review"), _review(summary, review), heading("Files"), _files(name), heading("How it was made")]
    parts += [_made(summary), paragraph(summary["caveats"], "lead")]
    return page(f"{name}: staged night", parts)


def value(summary: dict[str, Any], name: str, digits: int = 1, of: str = "statistics") -> str:
    """A statistic for a table; a dash where the night does not define it."""
    number = summary[of][name]
    return "–" if number is None else f"{number:.{digits}f}"


def _lead(summary: dict[str, Any]) -> str:
    begun = f"Recording begun {summary['start'].replace('T', ' ')[:19]}. " if summary["start"] else ""
    epochs = f"{summary['epochs']} epochs of {summary['epoch_seconds']:g} s"
    left = f", {summary['unscored']} of them unscored" if summary["unscored"] else ""
    return f"{begun}{epochs}{left}. Statistics are over {summary['window']['rule']} ({summary['window']['epochs']} epochs)."


def _alternative(summary: dict[str, Any]) -> str:
    shares = ", ".join(f"{stage} {value(summary, f'{stage}_min', 0)} min" for stage in STAGES)
    return f"Probability of each stage, hypnogram and spectrogram of {summary['night']}: {shares}. hypnogram.csv has every epoch."


def _statistics(summary: dict[str, Any]) -> str:
    sources = ["statistics", *(["reference_statistics"] if summary["reference_statistics"] else [])]
    rows = []
    for name, meaning in summary["meaning"].items():
        unit = summary["units"][name]
        numbers = [value(summary, name, {"1/h": 2, "": 0}.get(unit, 1), of) for of in sources]
        rows.append((name.replace("_", " "), *numbers, unit, meaning))
    header = ["statistic", "value", *(["reference"] if len(sources) > 1 else []), "unit", "what it is"]
    caption = "Over the window; a dash where the night does not define it"
    return table(caption, header, rows, text=(len(header) - 2, len(header) - 1), dense=True)


def _side(summary: dict[str, Any]) -> str:
    parts = [table("Transitions between adjacent epochs, from (rows) to (columns)", ["from", *STAGES], _transitions(summary))]
    found = summary["agreement"]
    if found:
        rows = [(name, _percent(found[key])) for name, key in (("accuracy %", "accuracy"), ("macro F1 %", "macro_f1"))]
        rows.insert(0, ("Cohen's kappa", "–" if found["kappa"] is None else f"{found['kappa']:.3f}"))
        rows += [(f"F1 of {stage} %", _percent(number)) for stage, number in found["f1"].items()]
        parts.append(table(f"Agreement with the reference, {found['epochs']} epochs", ["score", "value"], rows))
    return "<div>" + "<br>".join(parts) + "</div>"


def _transitions(summary: dict[str, Any]) -> list[list[str]]:
    return [[stage, *map(str, row)] for stage, row in zip(STAGES, summary["transitions"]["counts"], strict=True)]


def _review(summary: dict[str, Any], review: list[dict[str, Any]]) -> str:
    below, number = summary["review"]["below"], len(review)
    told = paragraph(
        f"{number} epochs of the window are N1, on which human scorers agree least, or were said with a confidence below {below:g}."
    )
    rows = [
        (row["time"], f"{row['onset']:g}", row["stage"], f"{row['confidence']:.2f}", row["second"], row["reason"])
        for row in review[:MOST]
    ]
    if not rows:
        return told
    shown = table(
        "In order of time" + (f"; the first {MOST} of {number}" if number > MOST else ""),
        ["time", "onset (s)", "stage", "confidence", "second", "why"],
        rows,
        text=(5,),
    )
    return f"{told}<details><summary>Show them</summary>{shown}</details>"


def _files(name: str) -> str:
    what = {
        "hypnogram.csv": "every epoch with its stage, confidence and probabilities",
        annotations_name(name): "EDF+ annotations, which viewers open beside the recording",
        events_name(name): "BIDS events",
        "review.tsv": "epochs for review",
        "statistics.json": "everything on this page for programs",
    }
    return listed(Raw(f"{link(file, file)}: {text}") for file, text in what.items())


def _made(summary: dict[str, Any]) -> str:
    model, settings = summary["model"], summary["settings"]
    shown = [("recording", summary["recording"])]
    shown += [("reference", summary["reference"])] if summary["reference"] else []
    shown += [
        (name, str(model[key]))
        for name, key in (("model", "name"), ("fingerprint", "fingerprint"), ("split hash", "split_hash"))
        if model.get(key)
    ]
    shown += [(f"channel {row['name']}", _channel(row)) for row in summary["channels"]]
    shown += [(name.replace("_", " "), str(given)) for name, given in settings.items() if given != ""]
    return facts([*shown, ("sigssl", summary["sigssl"])])


def _channel(row: dict[str, Any]) -> str:
    how = ", computed" if row["derived"] else ""
    return f"{row['source']}{how}, {row['rate']:g} Hz, {row['unit'] or 'no unit stated'}"


def _percent(number: float | None) -> str:
    return "–" if number is None else f"{100 * number:.1f}"
