"""Sleep staging with temporal context, subject-wise: arms x folds x seeds, each test subject staged once, scored together."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sigssl.data.feature_nights import Night, subjects_of
from sigssl.data.io import read_json, whole, write_json
from sigssl.data.stages import STAGES
from sigssl.downstream.logistic import logistic_probabilities
from sigssl.downstream.sleep_scores import MAIN, Staged, counts_by_subject, difference, intervals, score
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.downstream.sleep_split import SubjectFold, part_of, split_hash
from sigssl.downstream.sleep_train import Trained, train_head
from sigssl.downstream.sleep_validation import night_logits
from sigssl.downstream.tuning import Tuned

KIND = "sleep"  # how a metrics.json says what it is of
LOGISTIC = "logistic regression"


@dataclass(frozen=True)
class Arm:
    """One line of the table.

    Attributes:
        name: as in the table.
        head: its sequence head; None for logistic regression.
        fraction: share of the training subjects.
        start: "features", "pretrained" or "scratch": where the epochs' features come from.
    """

    name: str
    head: HeadSettings | None
    fraction: float = 1.0
    start: str = "features"


@dataclass(frozen=True)
class Source:
    """Nights as an arm sees them.

    Attributes:
        nights: features of epochs, or signals where `tuned` is there.
        tuned: makes the encoder that is trained along.
    """

    nights: list[Night]
    tuned: Callable[[], Tuned] | None = None

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the nights' content."""
        digest = hashlib.sha256()
        for night in self.nights:
            digest.update(f"{night.id}\t{night.subject}\n".encode())
            digest.update(np.ascontiguousarray(night.features).data)
            digest.update(np.ascontiguousarray(night.stages).data)
        return digest.hexdigest()


def arms_of(
    heads: Sequence[HeadSettings], settings: SleepSettings, starts: Sequence[str] = ("features",), plain: str = "features"
) -> list[Arm]:
    """Heads x fractions x starts, and logistic regression on what `plain` gives where it is asked for."""
    made = []
    for head in heads:
        for fraction in settings.fractions:
            for start in starts:
                name = head.name or head.kind
                name += f", {fraction:.0%} of subjects" if len(settings.fractions) > 1 else ""
                made.append(Arm(name + (f", {start}" if len(starts) > 1 else ""), head, fraction, start))
    if settings.logistic >= 0:
        for fraction in settings.fractions:
            name = f"{LOGISTIC}, ±{settings.logistic} epochs" + (f", {plain}" if plain not in starts else "")
            name += f", {fraction:.0%} of subjects" if len(settings.fractions) > 1 else ""
            made.append(Arm(name, None, fraction, plain))
    return made


def cross_validate(
    sources: Mapping[str, Callable[[SubjectFold], Source]],
    folds: Sequence[SubjectFold],
    arms: Sequence[Arm],
    settings: SleepSettings,
    work: Path,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, list[list[Staged]]]:
    """Train and test every arm; what is done already (in `work`, with the same settings) is read, so that a run can go on.

    Args:
        sources: start -> nights for a fold (each fold may have its own encoder); all hold the same nights and stages.
        folds: checked for leakage.
        arms: what is compared.
        settings: of all.
        work: folder of the results of single runs.
        say: told what is being done.

    Returns:
        Arm -> for each seed, all test nights of all folds.
    """
    done: dict[str, list[list[Staged]]] = {}
    for arm in arms:
        seeds = settings.seeds if arm.head is not None else 1
        done[arm.name] = []
        for seed in range(settings.seed, settings.seed + seeds):
            staged: list[Staged] = []
            for fold in folds:
                source = sources[arm.start](fold)
                place = work / f"{_slug(arm.name)}-fold{fold.name}-seed{seed}"
                mark = _fingerprint(arm, fold, settings, seed, source)
                tests = [night for night in source.nights if night.subject in fold.test]
                found = _read(place, mark, tests)
                if found is None:
                    begun = time.perf_counter()
                    probabilities, facts = run_fold(arm, fold, source, settings, seed, say)
                    facts["seconds"] = time.perf_counter() - begun
                    found = [Staged(n.id, n.subject, n.stages, p) for n, p in zip(tests, probabilities, strict=True)]
                    _write(place, mark, found, facts)
                pooled = score(found, bootstrap=2)["pooled"]
                say(f"{arm.name}, seed {seed}, fold {fold.name}: " + ", ".join(f"{name} {pooled[name]:.4f}" for name in MAIN))
                staged += found
            done[arm.name].append(staged)
    return done


def run_fold(
    arm: Arm, fold: SubjectFold, source: Source, settings: SleepSettings, seed: int, say: Callable[[str], None]
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Train an arm on one fold and stage its test nights once; also what was chosen."""
    parts = {
        "train": [n for n in source.nights if n.subject in part_of(fold.train, arm.fraction, seed)],
        "validation": [n for n in source.nights if n.subject in fold.validation],
        "test": [n for n in source.nights if n.subject in fold.test],
    }
    assert not set(subjects_of(parts["test"])) & set(subjects_of(parts["train"] + parts["validation"]))
    if arm.head is None:
        return logistic_probabilities(parts["train"], parts["test"], settings.logistic), {"nights": len(parts["train"])}
    if arm.start == "scratch":
        settings = replace(settings, encoder_lr=settings.scratch_lr)
    trained = train_head(parts["train"], parts["validation"], arm.head, settings, seed, source.tuned)
    probabilities = [stage_night(trained, night) for night in parts["test"]]
    facts: dict[str, Any] = {
        "lrs": trained.lrs,
        "best_passes": trained.passes,
        "validation_kappa": trained.kappa,
        "temperature": trained.temperature,
        "nights": len(parts["train"]),
        "history": trained.history,
        "parameters": sum(p.numel() for p in trained.head.parameters()),
    }
    return probabilities, facts


def stage_night(trained: Trained, night: Night) -> np.ndarray:
    """Calibrated probabilities [E, 5] of a night's epochs, each once; its stages are not looked at."""
    return (night_logits(trained.head, trained.front, night) / trained.temperature).softmax(-1).numpy()


def summarise(
    done: dict[str, list[list[Staged]]],
    folds: Sequence[SubjectFold],
    arms: Sequence[Arm],
    settings: SleepSettings,
    work: Path,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Plain values for `metrics.json`: protocol, and every arm's scores (mean over seeds, and each), choices and differences.

    Intervals resample subjects, each with the mean of its counts over the seeds. Differences are the first arm minus each other
    one, resampled with the same subjects.
    """
    counts = {name: _counts(seeds) for name, seeds in done.items()}
    rows = []
    for arm in arms:
        scores = [score(staged, settings.bootstrap, settings.seed) for staged in done[arm.name]]
        row: dict[str, Any] = {
            "arm": arm.name,
            "head": None if arm.head is None else asdict(arm.head),
            "fraction": arm.fraction,
            "start": arm.start,
            "seeds": len(scores),
            **{name: float(np.mean([s["pooled"][name] for s in scores])) for name in (*MAIN, "ece", "log_loss")},
            "sd_over_seeds": {name: float(np.std([s["pooled"][name] for s in scores])) for name in MAIN},
            "intervals": intervals(counts[arm.name], settings.bootstrap, settings.seed),
            "recordings": _mean_of([s["recordings"] for s in scores]),
            "by_seed": scores,
            "runs": _runs(arm, folds, settings, work),
        }
        if arm.name != arms[0].name:
            row["first_minus_this"] = difference(counts[arms[0].name], counts[arm.name], settings.bootstrap, settings.seed)
        rows.append(row)
    staged = done[arms[0].name][0]
    protocol = {
        "folds": len(folds),
        "split_sha256": split_hash(folds),
        "subjects": {fold.name: {p: len(getattr(fold, p)) for p in ("train", "validation", "test")} for fold in folds},
        "test_subjects": len({night.subject for night in staged}),
        "test_nights": len(staged),
        "class_counts": dict(zip(STAGES, np.sum([_count(night) for night in staged], axis=0).tolist(), strict=True)),
        "unscored": int(sum((~night.scored).sum() for night in staged)),
        "selection": "pass, learning rate and temperature on the validation subjects of each fold",
    }
    return {"kind": KIND, "settings": asdict(settings), "protocol": protocol, "notes": list(notes), "arms": rows}


def _count(night: Staged) -> np.ndarray:
    return np.bincount(night.stages[night.scored], minlength=len(STAGES))


def _counts(seeds: list[list[Staged]]) -> tuple[list[str], np.ndarray]:
    each = [counts_by_subject(staged) for staged in seeds]
    return each[0][0], np.mean([counts for _, counts in each], axis=0)


def _mean_of(seeds: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {name: {kind: float(np.mean([s[name][kind] for s in seeds])) for kind in seeds[0][name]} for name in seeds[0]}


def _runs(arm: Arm, folds: Sequence[SubjectFold], settings: SleepSettings, work: Path) -> list[dict[str, Any]]:
    """What was chosen in every run."""
    seeds = settings.seeds if arm.head is not None else 1
    found = []
    for seed in range(settings.seed, settings.seed + seeds):
        for fold in folds:
            facts = read_json((work / f"{_slug(arm.name)}-fold{fold.name}-seed{seed}").with_suffix(".json"))["facts"]
            found.append({"fold": fold.name, "seed": seed, **facts})
    return found


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _fingerprint(arm: Arm, fold: SubjectFold, settings: SleepSettings, seed: int, source: Source) -> str:
    """Of everything that a single run depends on."""
    # what belongs to other runs, or is in the arm or the fold
    others = ("seeds", "fractions", "bootstrap", "split", "folds", "validation", "scratch", "logistic")
    kept = {k: v for k, v in asdict(settings).items() if k not in others}
    return hashlib.sha256(json.dumps([asdict(arm), asdict(fold), kept, seed, source.digest], sort_keys=True).encode()).hexdigest()


def _read(place: Path, mark: str, tests: Sequence[Night]) -> list[Staged] | None:
    """A finished run, where there is one of the same settings."""
    facts = place.with_suffix(".json")
    if not facts.is_file() or read_json(facts)["mark"] != mark:
        return None
    with np.load(place.with_suffix(".npz"), allow_pickle=False) as file:
        return [Staged(n.id, n.subject, n.stages, file[n.id].astype(np.float32)) for n in tests]


def _write(place: Path, mark: str, staged: Sequence[Staged], facts: dict[str, Any]) -> None:
    with whole(place.with_suffix(".npz")) as temporary:
        arrays: dict[str, Any] = {night.id: night.probabilities for night in staged}
        np.savez_compressed(temporary, **arrays)
    write_json(place.with_suffix(".json"), {"mark": mark, "facts": facts})
