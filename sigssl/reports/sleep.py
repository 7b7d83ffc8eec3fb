"""Tables and figures of staged nights: heads compared, and one stager scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sigssl.data.io import whole, write_json, write_text
from sigssl.data.stages import STAGES
from sigssl.downstream.sleep_scores import MAIN, Staged
from sigssl.reports.style import COLOURS, GREY, MAP, figure, grid
from sigssl.reports.tables import markdown, percent

NAMES = {"accuracy": "accuracy %", "macro_f1": "macro F1", "kappa": "kappa"}


def write_comparison(metrics: dict[str, Any], done: dict[str, list[list[Staged]]], out: Path) -> None:
    """metrics.json, table.md, predictions.npz (first arm) and the figures of a comparison of heads."""
    arms = list(done)
    draw_confusion({name: done[name][0] for name in arms[:2]}, out / "confusion.png")
    draw_subjects({name: done[name][0] for name in arms[:2]}, out / "subjects.png")
    draw_reliability({name: done[name][0] for name in arms}, out / "reliability.png")
    if len({row["fraction"] for row in metrics["arms"]}) > 1:
        draw_fractions(metrics, out / "fractions.png")
    write_predictions(done[arms[0]][0], out / "predictions.npz")
    write_text(out / "table.md", comparison_page(metrics))
    write_json(out / "metrics.json", metrics)


def write_score(result: dict[str, Any], staged: Sequence[Staged], out: Path) -> None:
    """metrics.json, table.md, predictions.npz and the figures of one stager's score."""
    out.mkdir(parents=True, exist_ok=True)
    name = Path(result["model"]).name
    draw_confusion({name: staged}, out / "confusion.png")
    draw_subjects({name: staged}, out / "subjects.png")
    draw_reliability({name: staged}, out / "reliability.png")
    write_predictions(staged, out / "predictions.npz")
    write_text(out / "table.md", score_page(result))
    write_json(out / "metrics.json", result)


def write_predictions(staged: Sequence[Staged], path: Path) -> None:
    """Probabilities of every night as float16, under its id."""
    arrays: dict[str, Any] = {night.id: night.probabilities.astype(np.float16) for night in staged}
    with whole(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def comparison_page(metrics: dict[str, Any]) -> str:
    """All arms as Markdown: scores with intervals, differences, stages, choices, protocol."""
    rows = metrics["arms"]
    parts = ["# Sleep staging: heads compared\n", scores_table(rows)]
    if len(rows) > 1:
        parts.append(f"**{rows[0]['arm']} minus each other** (95 % interval over subjects)\n\n" + differences_table(rows))
    parts.append("**F1 of each stage, and calibration**\n\n" + stages_table(rows))
    parts.append("**Per recording: mean ± sd (median)**\n\n" + recordings_table(rows))
    parts.append("**What validation chose, run by run**\n\n" + choices_table(rows))
    parts.append(protocol_text(metrics))
    return "\n".join(part.rstrip() + "\n" for part in parts)


def scores_table(rows: Sequence[dict[str, Any]]) -> str:
    """Pooled scores, mean over seeds, with intervals over subjects."""
    header = ["arm", "parameters", "seeds", "accuracy %", "95 %", "macro F1", "95 %", "kappa", "95 %", "minutes"]
    lines = []
    for row in rows:
        line = [row["arm"], f"{row['runs'][0].get('parameters', 0):,}" if row["head"] else "–", str(row["seeds"])]
        for name in MAIN:
            interval = row["intervals"][name]
            digits = (lambda v: percent(v)) if name == "accuracy" else (lambda v: f"{v:.3f}")
            line += [digits(row[name]), f"{digits(interval['low'])} to {digits(interval['high'])}"]
        lines.append([*line, f"{sum(run['seconds'] for run in row['runs']) / 60:.1f}"])
    return markdown(header, lines)


def differences_table(rows: Sequence[dict[str, Any]]) -> str:
    """The first arm minus the others."""
    lines = []
    for row in rows[1:]:
        gaps = [row["first_minus_this"][name] for name in MAIN]
        lines.append([row["arm"], *(f"{100 * g['mean']:+.2f} ({100 * g['low']:+.2f} to {100 * g['high']:+.2f})" for g in gaps)])
    return markdown(["arm", "accuracy, points", "macro F1 x 100", "kappa x 100"], lines)


def stages_table(rows: Sequence[dict[str, Any]]) -> str:
    """F1 of each stage, balanced accuracy, MCC, calibration."""
    header = ["arm", *STAGES, "balanced accuracy %", "weighted F1", "MCC", "ECE %", "log loss"]
    lines = []
    for row in rows:
        seeds = [seed["pooled"] for seed in row["by_seed"]]
        mean = {
            name: float(np.mean([s[name] for s in seeds]))
            for name in ("balanced_accuracy", "weighted_f1", "mcc", "ece", "log_loss")
        }
        f1 = [f"{np.mean([s['stages'][stage]['f1'] for s in seeds]):.3f}" for stage in STAGES]
        rest = [percent(mean["balanced_accuracy"]), f"{mean['weighted_f1']:.3f}", f"{mean['mcc']:.3f}"]
        lines.append([row["arm"], *f1, *rest, percent(mean["ece"]), f"{mean['log_loss']:.3f}"])
    return markdown(header, lines)


def recordings_table(rows: Sequence[dict[str, Any]]) -> str:
    """Scores per recording, mean over seeds."""
    lines = []
    for row in rows:
        each = row["recordings"]
        lines.append([row["arm"], *(f"{each[n]['mean']:.3f} ± {each[n]['sd']:.3f} ({each[n]['median']:.3f})" for n in MAIN)])
    return markdown(["arm", "accuracy", "macro F1 (stages present)", "kappa"], lines)


def choices_table(rows: Sequence[dict[str, Any]]) -> str:
    """Learning rate, pass and temperature of every run."""
    header = ["arm", "seed", "fold", "nights", "learning rate", "pass", "validation kappa", "temperature"]
    lines = []
    for row in rows:
        for run in row["runs"] if row["head"] else []:
            rates = ", ".join(dict.fromkeys(f"{lr:g}" for lr in run["lrs"]))
            passes = ", ".join(str(best) for best in run["best_passes"])  # of each member of an ensemble
            chosen = [rates, passes, f"{run['validation_kappa']:.3f}", f"{run['temperature']:.2f}"]
            lines.append([row["arm"], str(run["seed"]), run["fold"], str(run["nights"]), *chosen])
    return markdown(header, lines)


def protocol_text(metrics: dict[str, Any]) -> str:
    """The protocol block of sleep_tool."""
    facts, settings = metrics["protocol"], metrics["settings"]
    parts = next(iter(facts["subjects"].values()))
    counts = ", ".join(f"{stage} {count:,}" for stage, count in facts["class_counts"].items())
    notes = "".join(f"\n- {note}" for note in metrics["notes"])
    sizes = ", ".join(f"{parts[part]} {part}" for part in ("train", "validation", "test"))
    return (
        f"**Protocol.** {facts['folds']} folds over subjects (the first: {sizes}; split {facts['split_sha256'][:12]}); "
        f"{facts['test_nights']} nights of {facts['test_subjects']} subjects tested once; {counts}, unscored {facts['unscored']} "
        f"(kept in the sequence, in no loss and no score). Chosen: {facts['selection']}. Windows of {settings['window']} epochs in "
        f"training, whole nights in testing, each epoch scored once. Seed {settings['seed']}, {settings['seeds']} run(s) of each "
        f"arm. Intervals: bootstrap over subjects, {settings['bootstrap']} resamples.{notes}\n"
    )


def score_page(result: dict[str, Any]) -> str:
    """One stager's scores as Markdown."""
    pooled, intervals, each = result["pooled"], result["intervals"], result["recordings"]
    lines = [
        [NAMES[n], f"{pooled[n]:.4f}", f"{intervals[n]['low']:.4f} to {intervals[n]['high']:.4f}",
         f"{each[n]['mean']:.3f} ± {each[n]['sd']:.3f} ({each[n]['median']:.3f})"]
        for n in MAIN
    ]  # fmt: skip
    stages = []
    for stage in STAGES:
        row = pooled["stages"][stage]
        stages.append([stage, *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")), str(row["support"])])
    others = ("balanced_accuracy", "weighted_f1", "mcc", "ece", "log_loss")
    return (
        f"# {result['model']} on {result['root']}\n\n{result['nights_count']} nights of {result['subjects_count']} subjects, "
        f"{result['scored']:,} scored epochs of {result['epochs']:,}.\n{_seen(result)}\n"
        + markdown(["", "pooled", "95 % over subjects", "per recording: mean ± sd (median)"], lines)
        + "\n"
        + markdown(["stage", "precision", "recall", "F1", "epochs"], stages)
        + "\n"
        + ", ".join(f"{name.replace('_', ' ')} {pooled[name]:.4f}" for name in others)
        + "\n"
    )


def _seen(result: dict[str, Any]) -> str:
    """A warning where the stager was trained on some of the subjects."""
    seen, other = result["subjects_seen_in_training"], result.get("unseen")
    if not seen:
        return ""
    text = f"\n{len(seen)} of the subjects were seen in training ({', '.join(seen[:5])}, ...): no measure of new people.\n"
    if other:
        scores = ", ".join(f"{name} {other['pooled'][name]:.4f}" for name in MAIN)
        text += f"The other {other['subjects_count']} alone: {scores}.\n"
    return text


def draw_confusion(arms: dict[str, Sequence[Staged]], path: Path) -> None:
    """Confusion in percent of the true stage, counts below."""
    with figure(path, 0.9 + 3.5 * len(arms), 3.7, ncols=len(arms), squeeze=False) as panels:
        for axes, (name, staged) in zip(panels[0], arms.items(), strict=True):
            counts = confusion_counts(staged)
            shares = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
            image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=100)
            for (true, said), share in np.ndenumerate(shares):
                text = f"{share:.0f}\n{counts[true, said]:,}"
                axes.text(said, true, text, ha="center", va="center", fontsize=7, color="black" if share > 55 else "white")
            axes.set_xticks(range(len(STAGES)), STAGES)
            axes.set_yticks(range(len(STAGES)), STAGES)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set(title=name, xlabel="staged as")
        panels[0][0].set_ylabel("scored as")
        panels[0][0].figure.colorbar(image, ax=list(panels[0]), label="% of the scored stage", shrink=0.75)


def confusion_counts(staged: Sequence[Staged]) -> np.ndarray:
    """Counts [5, 5], row = scored as, column = staged as, in the order of STAGES."""
    counts = np.zeros((len(STAGES), len(STAGES)), dtype=np.int64)
    for night in staged:
        np.add.at(counts, (night.stages[night.scored], night.probabilities[night.scored].argmax(1)), 1)
    return counts


def draw_subjects(arms: dict[str, Sequence[Staged]], path: Path) -> None:
    """Accuracy of every subject, sorted by the first arm."""
    by_arm = [subject_accuracy(staged) for staged in arms.values()]
    order = sorted(by_arm[0], key=by_arm[0].__getitem__)
    with figure(path, 7.2, 3.0) as axes:
        for number, (name, values) in reversed(list(enumerate(zip(arms, by_arm, strict=True)))):
            colour, marker = (COLOURS[0], "o") if number == 0 else (GREY, "s")
            axes.plot(range(len(order)), [100 * values[s] for s in order], marker, ms=4, color=colour, label=name)
        axes.set(xlabel=f"{len(order)} subjects, sorted", ylabel="accuracy (%)", ylim=(None, 100))
        axes.set_xticks([])
        axes.legend(loc="lower right")
        grid(axes)


def subject_accuracy(staged: Sequence[Staged]) -> dict[str, float]:
    """Share of right epochs of each subject."""
    right: dict[str, list[np.ndarray]] = {}
    for night in staged:
        hits = night.stages[night.scored] == night.probabilities[night.scored].argmax(1)
        right.setdefault(night.subject, []).append(hits)
    return {subject: float(np.concatenate(hits).mean()) for subject, hits in right.items()}


def draw_reliability(arms: dict[str, Sequence[Staged]], path: Path, bins: int = 12) -> None:
    """How often a stage is right against how sure the model was."""
    with figure(path, 3.9, 3.6) as axes:
        axes.plot([20, 100], [20, 100], ls="--", lw=1, color=GREY)
        for number, (name, staged) in enumerate(arms.items()):
            sure = np.concatenate([night.probabilities[night.scored].max(1) for night in staged])
            right = np.concatenate([night.stages[night.scored] == night.probabilities[night.scored].argmax(1) for night in staged])
            place = np.minimum(((sure - 0.2) / 0.8 * bins).astype(int), bins - 1).clip(min=0)
            many = np.bincount(place, minlength=bins) >= 50
            x = np.bincount(place, sure, bins)[many] / np.bincount(place, minlength=bins)[many]
            y = np.bincount(place, right, bins)[many] / np.bincount(place, minlength=bins)[many]
            axes.plot(100 * x, 100 * y, "o-", ms=3.5, lw=1.2, color=COLOURS[number % len(COLOURS)], label=name)
        axes.set(xlabel="confidence (%)", ylabel="right (%)", xlim=(20, 101), ylim=(20, 101))
        axes.legend(loc="upper left")
        grid(axes, "both")


def draw_fractions(metrics: dict[str, Any], path: Path) -> None:
    """Kappa against the share of training subjects, a line for each start and head."""
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in metrics["arms"]:
        if row["head"] is not None:
            key = (row["head"]["name"] or row["head"]["kind"], row["start"])
            lines.setdefault(key, []).append((100 * row["fraction"], row["kappa"]))
    with figure(path, 4.6, 3.4) as axes:
        for number, ((head, start), points) in enumerate(lines.items()):
            x, y = zip(*sorted(points), strict=True)
            axes.plot(x, y, "o-", color=COLOURS[number % len(COLOURS)], ms=4, label=f"{head}, {start}")
        axes.set(xlabel="training subjects (%)", ylabel="kappa", xscale="log")
        shares = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.set_xticks([], minor=True)
        axes.legend()
        grid(axes)
