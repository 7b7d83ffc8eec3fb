"""The numbers of a finished probe run, as plain values for `metrics.json`, and its predictions as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from sigssl.downstream.metrics import Interval, bootstrap, bootstrap_difference, by_group, confusion, macro_f1, resamples
from sigssl.downstream.probe import Outcome, Row
from sigssl.downstream.settings import ProbeSettings

KIND = "probe"  # how a metrics.json says what it is of


class Scores(NamedTuple):
    """Right and all predictions of each test item, over all folds: right [seeds, items], total [items], speakers of items."""

    right: np.ndarray
    total: np.ndarray
    speakers: list[str]


def summarise(outcome: Outcome, settings: ProbeSettings) -> dict[str, Any]:
    """Everything that tables and figures need.

    Args:
        outcome: from :func:`sigssl.downstream.probe.run`.
        settings: as it ran.

    Returns:
        Plain values: "settings", "protocol", "notes", "classes", and "rows", one for each arm and head, with accuracy (mean, sd
        over seeds, 95 % interval over speakers), macro F1, per fold and per speaker, choices, layer weights, confusion counts,
        and the paired difference of the first arm with the same head to it.
    """
    scores = [item_scores(row, outcome) for row in outcome.rows]
    speakers = sorted(set(scores[0].speakers))
    draws = resamples(len(speakers), settings.bootstrap, settings.seed)
    rows = [_row(row, score, outcome, draws) for row, score in zip(outcome.rows, scores, strict=True)]
    first = {row["head"]: score for row, score in reversed(list(zip(rows, scores, strict=True)))}  # the first arm, by head
    for entry, score in zip(rows, scores, strict=True):
        if entry["arm"] != rows[0]["arm"]:
            entry["first_minus_this"] = _interval(_difference(first[entry["head"]], score, draws))
    return {
        "kind": KIND,
        "settings": asdict(settings),
        "protocol": _protocol(outcome, settings, len(speakers)),
        "notes": outcome.notes,
        "classes": outcome.problem.classes,
        "speakers": speakers,
        "rows": rows,
    }


def item_scores(row: Row, outcome: Outcome) -> Scores:
    """Right and all predictions of each test item of a row."""
    right, total, speakers = [], [], []
    for result in row.folds:
        ends = np.cumsum(result.rows)
        hits = np.cumsum(np.pad(result.predicted == result.truth, ((0, 0), (1, 0))), axis=1)
        right.append(hits[:, ends] - hits[:, ends - result.rows])
        total.append(result.rows)
        speakers += [outcome.problem.items[item].speaker for item in result.fold.test]
    return Scores(np.concatenate(right, axis=1), np.concatenate(total), speakers)


def predictions(outcome: Outcome) -> Iterator[str]:
    """Lines of `predictions.tsv`, header first: one for each test item, arm, head and seed; frames separated by spaces."""
    names = np.array([*outcome.problem.classes, "(unknown)"])
    yield "\t".join(("utterance", "speaker", "fold", "arm", "head", "seed", "truth", "predicted"))
    for row in outcome.rows:
        for result in row.folds:
            ends = np.cumsum(result.rows)
            for seed, predicted in enumerate(result.predicted):
                for index, start, end in zip(result.fold.test, ends - result.rows, ends, strict=True):
                    item = outcome.problem.items[index]
                    truth, guess = " ".join(names[result.truth[start:end]]), " ".join(names[predicted[start:end]])
                    yield "\t".join((item.id, item.speaker, result.fold.name, row.arm.name, row.head, str(seed), truth, guess))


def _row(row: Row, scores: Scores, outcome: Outcome, draws: np.ndarray) -> dict[str, Any]:
    mean_right = scores.right.mean(0)
    of_seeds = scores.right.sum(1) / scores.total.sum()
    names, right = by_group(mean_right, scores.speakers)
    total = by_group(scores.total, scores.speakers)[1]
    classes = len(outcome.problem.classes)
    truth = np.concatenate([r.truth for r in row.folds])
    predicted = np.concatenate([r.predicted for r in row.folds], axis=1)
    return {
        "arm": row.arm.name,
        "what": row.arm.what,
        "head": row.head,
        "accuracy": _interval(bootstrap(right, total, draws)),
        "seeds": len(of_seeds),
        "sd_over_seeds": float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else 0.0,
        "macro_f1": float(np.mean([macro_f1(p, truth, classes) for p in predicted])),
        "validation_accuracy": float(np.mean([r.choice.accuracy for r in row.folds])),
        "by_speaker": dict(zip(names, (right / total).tolist(), strict=True)),
        "by_fold": [
            {
                "fold": r.fold.name,
                "accuracy": float((r.predicted == r.truth).mean()),
                "chosen": {k: v for k, v in r.choice._asdict().items() if k != "accuracy"},
                "validation_accuracy": r.choice.accuracy,
                "layer_weights": None if r.layer_weights is None else r.layer_weights.tolist(),
            }
            for r in row.folds
        ],
        "confusion": np.sum([confusion(p, truth, classes) for p in predicted], axis=0).tolist(),
    }


def _difference(one: Scores, other: Scores, draws: np.ndarray) -> Interval:
    sums = [by_group(values, scores.speakers)[1] for scores in (one, other) for values in (scores.right.mean(0), scores.total)]
    return bootstrap_difference(sums[0], sums[1], sums[2], sums[3], draws)


def _interval(interval: Interval) -> dict[str, float]:
    return {"mean": interval.value, "low": interval.low, "high": interval.high}


def _protocol(outcome: Outcome, settings: ProbeSettings, speakers: int) -> dict[str, Any]:
    folds, items = outcome.problem.folds, outcome.problem.items
    first = outcome.rows[0].folds
    truth = np.concatenate([r.truth for r in first])
    return {
        "folds": len(folds),
        "fold_names": [fold.name for fold in folds],
        "train": sorted(len(fold.train) for fold in folds),
        "inner_splits": len(folds[0].inner),
        "validation": sorted(sum(len(dev) for _, dev in fold.inner) for fold in folds),
        "test": sum(len(fold.test) for fold in folds),
        "test_speakers": speakers,
        "test_rows": len(truth),
        "speakers_apart": all(
            not ({items[i].speaker for i in fold.test} & {items[i].speaker for i in fold.train}) for fold in folds
        ),
        "chance": _chance(outcome, truth),
    }


def _chance(outcome: Outcome, truth: np.ndarray) -> float:
    """Accuracy of always saying the class that is most frequent in the test data: no constant answer does better."""
    return float(np.bincount(truth[truth >= 0], minlength=len(outcome.problem.classes)).max() / len(truth))
