"""Numbers as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table, ending with a line break; the first `words` columns are left-aligned, the others right-aligned."""
    lines = [header, [*[":--"] * words, *["--:"] * (len(header) - words)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def percent(value: float, digits: int = 1) -> str:
    """A share in percent, without the sign: the column's header carries it."""
    return f"{100 * value:.{digits}f}"


def interval(value: dict[str, float]) -> str:
    """`low to high` in percent."""
    return f"{percent(value['low'])} to {percent(value['high'])}"


def probe_report(metrics: dict[str, Any]) -> str:
    """Everything that can be said of a probe run in text: results, what was chosen, folds or speakers, protocol.

    Args:
        metrics: what :func:`sigssl.downstream.summary.summarise` made.
    """
    notes = "".join(f"\n- {note}" for note in metrics["notes"])
    parts = [results(metrics), f"**How it was done.** {protocol(metrics)}\n{notes}"]
    parts += ["**What each row is**\n\n" + arms(metrics), "**What validation chose**\n\n" + choices(metrics)]
    if len(metrics["speakers"]) > 1:
        parts.append("**Accuracy (%) by test speaker**\n\n" + speakers(metrics))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def results(metrics: dict[str, Any]) -> str:
    """The main table: one line for each arm and head."""
    rows = metrics["rows"]
    first = f"{rows[0]['arm']} minus this (95 % interval)"
    header = ["arm", "head", "accuracy %", "sd over seeds", "95 % interval", "macro F1 %", "validation %", first]
    lines = []
    for row in rows:
        gap = row.get("first_minus_this")
        lines.append(
            [
                row["arm"],
                row["head"],
                percent(row["accuracy"]["mean"]),
                percent(row["sd_over_seeds"]) if row["seeds"] > 1 else "–",
                interval(row["accuracy"]),
                percent(row["macro_f1"]),
                percent(row["validation_accuracy"]),
                f"{100 * gap['mean']:+.1f} ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})" if gap else "–",
            ]
        )
    chance = ["one class always", "", percent(metrics["protocol"]["chance"]), "", "", "", "", ""]
    return markdown(header, [*lines, chance], words=2)


def arms(metrics: dict[str, Any]) -> str:
    """What each arm is."""
    return markdown(["arm", "what it is"], {row["arm"]: (row["arm"], row["what"]) for row in metrics["rows"]}.values(), words=2)


def choices(metrics: dict[str, Any]) -> str:
    """What was selected on validation data, fold by fold."""
    header = ["arm", "head", "fold", "learning rate", "epochs", "L2", "k", "layer", "validation %", "test %"]
    lines = []
    for row in metrics["rows"]:
        for fold in row["by_fold"]:
            chosen = fold["chosen"]
            lines.append(
                [
                    row["arm"],
                    row["head"],
                    fold["fold"],
                    *(f"{chosen[name]:g}" if chosen[name] else "" for name in ("lr", "epochs", "l2", "k")),
                    "weighted" if chosen["layer"] is None else str(chosen["layer"]),
                    percent(fold["validation_accuracy"]),
                    percent(fold["accuracy"]),
                ]
            )
    return markdown(header, lines, words=3)


def speakers(metrics: dict[str, Any], most: int = 30) -> str:
    """Accuracy of every test speaker, arms across; the first `most` speakers where there are more."""
    shown = metrics["speakers"][:most]
    header = ["speaker", *(f"{row['arm']}, {row['head']}" for row in metrics["rows"])]
    table = markdown(header, [[name, *(percent(row["by_speaker"][name]) for row in metrics["rows"])] for name in shown])
    hidden = len(metrics["speakers"]) - len(shown)
    return table + (f"\n{hidden} more speakers are in metrics.json.\n" if hidden else "")


def protocol(metrics: dict[str, Any]) -> str:
    """One paragraph: parts or folds, selection, seeds, interval."""
    facts, settings = metrics["protocol"], metrics["settings"]
    unit = "frames" if settings["level"] == "frame" else "utterances"
    counts = {name: _span(facts[name]) for name in ("train", "validation")}
    folds = f"{facts['folds']} folds ({', '.join(facts['fold_names'][:8])}{', ...' if facts['folds'] > 8 else ''})"
    where = folds if facts["folds"] > 1 else "given parts"
    held = f"{facts['inner_splits']} inner splits of the training data" if facts["inner_splits"] > 1 else "one validation part"
    apart = "no test speaker is in the training data" if facts["speakers_apart"] else "test speakers are in the training data too"
    return (
        f"Target {settings['target']}, {len(metrics['classes'])} classes; {where}; {counts['train']} training utterances, "
        f"selection on {held} ({counts['validation']} utterances), {facts['test']} test utterances "
        f"({facts['test_rows']} {unit}, {facts['test_speakers']} speakers) predicted once; {apart}. "
        f"Encoders are frozen; features are standardised by the training data. {_tried(settings)}"
        f"Intervals: bootstrap over test speakers, {settings['bootstrap']} resamples, paired for differences"
        f"{'; with so few speakers they are rough' if facts['test_speakers'] < 10 else ''}."
    )


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def _tried(settings: dict[str, Any]) -> str:
    """What was searched, for each kind of head that ran."""

    def listed(name: str) -> str:
        return ", ".join(f"{value:g}" for value in settings[name])

    parts = []
    if {"linear", "hidden"} & set(settings["heads"]):
        parts.append(
            f"Heads linear and hidden: Adam, batches of {settings['batch_size']}, learning rates {listed('lrs')}, "
            f"at most {settings['epochs']} epochs. "
        )
    if "logistic" in settings["heads"]:
        parts.append(f"Head logistic: L2 penalties {listed('l2')}. ")
    if "knn" in settings["heads"]:
        parts.append(f"Head knn: cosine, k {listed('ks')}. ")
    return "".join(parts)
