"""One run of `sigssl finetune sleep`: nights, folds, comparison, and the stager that is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sigssl.data.datadir import DataDir
from sigssl.data.feature_nights import Night, read_feature_nights, subjects_of
from sigssl.data.split import shuffled
from sigssl.downstream.sleep import arms_of, cross_validate, summarise
from sigssl.downstream.sleep_scores import MAIN, Staged
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.downstream.sleep_sources import FOLD, BandPowerSource, EncoderSource, StoredBandPowerSource
from sigssl.downstream.sleep_split import SubjectFold, check_folds, make_folds, read_split, save_split, split_hash
from sigssl.downstream.sleep_train import train_head
from sigssl.downstream.stager import SECTION, Stager, save_stager
from sigssl.errors import UserError

Say = Callable[[str], None]
AnySource = BandPowerSource | EncoderSource | StoredBandPowerSource
POWERS = "band powers"  # the start of logistic regression beside an encoder


@dataclass(frozen=True)
class Job:
    """What is asked for; fields as the options of `sigssl finetune sleep`."""

    data: str
    out: Path
    heads: list[HeadSettings]
    settings: SleepSettings
    model: str | None = None
    store: str | None = None
    channels: list[str] | None = None
    final: str | None = None
    card: str | None = None
    compare: bool = True


@dataclass(frozen=True)
class Ran:
    """What a run made: the comparison with the staged test nights of every arm and seed, and the folder of the kept stager."""

    metrics: dict[str, Any] | None
    staged: dict[str, list[list[Staged]]]
    stager: Path | None


class Compared(NamedTuple):
    """What a comparison found, and the hash of its folds."""

    metrics: dict[str, Any] | None
    staged: dict[str, list[list[Staged]]]
    split: str | None


def run(job: Job, say: Say = lambda line: None) -> Ran:
    """Compare and keep; the folds are written to `out/split.json`, results of single runs to `out/runs`.

    Raises:
        UserError: data that do not fit, leakage between parts or from pretraining.
    """
    sources = open_sources(job)
    first = next(iter(sources.values()))
    subjects = subjects_of(nights_of(first))
    job.out.mkdir(parents=True, exist_ok=True)
    compared = compare(job, sources, subjects, say) if job.compare else Compared(None, {}, None)
    stager = keep(job, first, subjects, compared.split, compared.metrics, say) if job.final is not None else None
    return Ran(compared.metrics, compared.staged, stager)


def compare(job: Job, sources: dict[str, AnySource], subjects: list[str], say: Say) -> Compared:
    """Cross-validate every arm over the folds, which are checked for leakage and saved first."""
    folds = read_split(Path(job.settings.split)) if job.settings.split else _folds(subjects, job.settings)
    notes = check_folds(folds, subjects)
    for source in sources.values():
        if isinstance(source, EncoderSource) and not source.untrained:
            for fold in folds:
                notes += check_folds([fold], subjects, source.pretrained_on(fold))
    save_split(job.out / "split.json", folds, seed=job.settings.seed)
    arms = arms_of(job.heads, job.settings, [start for start in sources if start != POWERS], list(sources)[-1])
    work = job.out / "runs"
    work.mkdir(exist_ok=True)
    done = cross_validate(sources, folds, arms, job.settings, work, say)
    metrics = summarise(done, folds, arms, job.settings, work, sorted(set(notes)))
    metrics["data"] = {"nights": job.data, "model": job.model, "store": job.store, "channels": job.channels}
    return Compared(metrics, done, split_hash(folds))


def open_sources(job: Job) -> dict[str, AnySource]:
    """Where the arms' nights come from, by start."""
    if job.model is None or job.store is None:
        if job.settings.center != "none":
            raise UserError(f"center={job.settings.center} is for an encoder's embeddings; band powers have scale and night.")
        return {"features": BandPowerSource(read_feature_nights(job.data), job.settings)}
    data, store = DataDir.read(job.data), Path(job.store)
    first = EncoderSource(job.model, data, store, job.channels, job.settings)
    made: dict[str, AnySource] = {"pretrained": first}
    if job.settings.scratch and job.compare:
        made["scratch"] = EncoderSource(job.model, data, store, job.channels, job.settings, untrained=True)
    if job.settings.logistic >= 0 and job.compare:
        made[POWERS] = StoredBandPowerSource(first.nights, first.sample_rate, first.epoch_seconds)
    return made


def nights_of(source: AnySource) -> list[Night]:
    """The nights, for their subjects and stages."""
    return source.nights if isinstance(source, EncoderSource) else source.source.nights


def keep(job: Job, source: AnySource, subjects: list[str], split: str | None, metrics: dict[str, Any] | None, say: Say) -> Path:
    """Train the head `job.final` on all subjects but a validation part, and save it with its front.

    Raises:
        UserError: an encoder for every fold, of which none is the one to keep.
    """
    if isinstance(source, EncoderSource) and FOLD in source.model:
        raise UserError(f"--final keeps one stager, but {source.model} names an encoder for each fold: give one model.")
    head = next(head for head in job.heads if (head.name or head.kind) == job.final)
    seed = job.settings.seed
    order = shuffled(subjects, seed + 1000)
    held = max(1, round(job.settings.validation * len(order)))
    fold = SubjectFold("final", sorted(order[held:]), sorted(order[:held]), [])
    seen = source(fold)
    parts = [[night for night in seen.nights if night.subject in part] for part in (fold.train, fold.validation)]
    trained = train_head(parts[0], parts[1], head, job.settings, seed, seen.tuned, say)
    if isinstance(source, BandPowerSource):
        front = source.front()
    else:
        assert isinstance(source, EncoderSource)
        front = source.front(None if trained.front is None else trained.front.encoder)
    stager = Stager(front, trained.head, trained.temperature).eval()
    meta: dict[str, Any] = {
        "corpus": Path(job.data).resolve().name,
        "subjects": {"train": fold.train, "validation": fold.validation},
        "split_hash": split,
        "training": {"settings": asdict(job.settings), "head": asdict(head), "lrs": trained.lrs, "best_passes": trained.passes},
        "validation_kappa": trained.kappa,
        "cross_validation": cross_validation(metrics, job.final or ""),
    }
    if isinstance(source, EncoderSource):
        meta |= source.conditioning
    card = Path(job.card).read_text(encoding="utf-8") if job.card else plain_card(meta)
    return save_stager(job.out / SECTION, stager, meta, card)


def cross_validation(metrics: dict[str, Any] | None, arm: str) -> dict[str, float] | None:
    """Accuracy, macro F1 and kappa of the arm over the test subjects of all folds, where they were measured."""
    for row in [] if metrics is None else metrics["arms"]:
        if row["arm"].startswith(arm) and row["fraction"] == 1.0:
            return {name: row[name] for name in (*MAIN, "ece")}
    return None


def plain_card(meta: dict[str, Any]) -> str:
    """A model card of what is known without its author."""
    scores = meta["cross_validation"]
    said = ", ".join(f"{name} {value:.3f}" for name, value in scores.items()) if scores else "not measured"
    return (
        f"# Sleep stager\n\nTrained on {len(meta['subjects']['train'])} subjects of {meta['corpus']}, chosen on "
        f"{len(meta['subjects']['validation'])} others. Cross-validation over subjects: {said}.\n\n"
        "Research software, not a medical device: its output needs review by a trained scorer.\n"
    )


def _folds(subjects: list[str], settings: SleepSettings) -> list[SubjectFold]:
    return make_folds(subjects, settings.folds, settings.validation, settings.seed)
