"""One run of `sigssl finetune asr`: data, tokens, training, and the recogniser that is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from sigssl.asr.card import card_of
from sigssl.asr.examples import Example, Skipped, gather, read_texts, write_skipped
from sigssl.asr.heads import make_head
from sigssl.asr.recogniser import SECTION, Recogniser, save_recogniser
from sigssl.asr.settings import AsrSettings
from sigssl.asr.tokens import PLAIN, Normaliser, Tokens
from sigssl.asr.train import Progress, Trainer
from sigssl.config import build, describe
from sigssl.data.datadir import DataDir
from sigssl.data.io import write_json, write_text
from sigssl.data.subset import balanced_share
from sigssl.downstream.arms import FeatureEncoder
from sigssl.errors import UserError
from sigssl.extract.embed import pick_device
from sigssl.training.checkpoint import load_encoder, read_meta, untrained
from sigssl.training.run import fingerprint

Say = Callable[[str], None]
TRAIN_LIST = "train_utts.txt"
FREE = {"log_every", "save_every", "cache_gib", "device"}  # settings that a run may change when it goes on
WRITTEN = ("checkpoints", SECTION, "metrics.json", "metrics.jsonl", "tensorboard", "skipped.tsv", TRAIN_LIST, "config.yaml")


@dataclass(frozen=True)
class Job:
    """What is asked for; fields as the options of `sigssl finetune asr`."""

    train: str
    dev: str
    out: Path
    settings: AsrSettings
    model: str | None = None
    features: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Corpus:
    """What is learned from and chosen by, with what was left out and why."""

    train: list[Example]
    dev: list[Example]
    skipped: dict[str, list[Skipped]]
    unknown: dict[str, Counter[str]]


def run(job: Job, say: Say = lambda line: None) -> dict[str, Any]:
    """Train and keep a recogniser; a run that was killed goes on where it was.

    Returns:
        What metrics.json says.

    Raises:
        UserError: data that do not fit, or an output folder of another run.
    """
    began = time.perf_counter()
    settings, out = job.settings, job.out
    device = pick_device(settings.device)
    if job.overwrite:
        forget(out)
    out.mkdir(parents=True, exist_ok=True)
    encoder = make_encoder(job)
    train, dev = DataDir.read(job.train), DataDir.read(job.dev)
    tokens, corpus = prepare(train, dev, settings, encoder)
    tell(corpus, tokens, say)
    write_text(out / TRAIN_LIST, "".join(f"{one.id}\n" for one in corpus.train))
    write_text(out / "config.yaml", yaml.safe_dump(record_of(job), sort_keys=False, allow_unicode=True))
    recogniser = make_recogniser(encoder, tokens, settings).to(device)
    identity = identity_of(job, recogniser, corpus.train)
    trainer = Trainer(recogniser, corpus.train, corpus.dev, settings, out, identity, say)
    kept = "hidden states are kept in memory" if trainer.inputs.stores else "the encoder runs in every update"
    trained = sum(p.numel() for p in recogniser.parameters() if p.requires_grad)
    say(f"{trained / 1e6:.2f} M parameters are trained on {device}; {kept}")
    done = trainer.run()
    for part, some in trainer.failures().items():
        corpus.skipped[part] += [one for one in some if one not in corpus.skipped[part]]
    write_skipped(out / "skipped.tsv", corpus.skipped)
    metrics = metrics_of(job, corpus, trainer, done) | {"seconds_taken": round(time.perf_counter() - began, 1)}
    meta = {"data": {"train": job.train, "sha256": fingerprint(job.train)}, "model": job.model, "metrics": metrics}
    settings_kept = {"settings": asdict(replace(settings, device="auto"))}
    save_recogniser(out / SECTION, recogniser.cpu(), meta | settings_kept, card_of(recogniser, metrics, job.train, job.dev))
    write_json(out / "metrics.json", metrics)
    return metrics


def make_encoder(job: Job) -> nn.Module:
    """The encoder of --model, with new weights where asked; or features dressed as one.

    Raises:
        UserError: neither or both are named.
    """
    if (job.model is None) == (job.features is None):
        raise UserError("name either --model (an encoder or run), or --features (a YAML file with features: {class_path, ...}).")
    torch.manual_seed(job.settings.seed)
    if job.model is not None:
        encoder = load_encoder(job.model)
        assert isinstance(encoder, nn.Module)
        if job.settings.start == "pretrained":
            return encoder
        return untrained(encoder, job.model).train()
    assert job.features is not None
    try:
        config = yaml.safe_load(Path(job.features).read_text(encoding="utf-8"))
        described = config["features"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"--features {job.features}: cannot be read ({error}); expected a YAML file with features: {{class_path, init_args}}, "
            f"as recipes/conf/features/logmel.yaml."
        ) from error
    return FeatureEncoder(build(described, where=job.features))


def prepare(train: DataDir, dev: DataDir, settings: AsrSettings, encoder: nn.Module) -> tuple[Tokens, Corpus]:
    """The tokens of the training transcripts, and the examples of both parts.

    Raises:
        UserError: no transcripts, or nothing that can be learned from.
    """
    texts = {part: read_texts(data, settings.transcripts) for part, data in (("train", train), ("dev", dev))}
    ids = [id for id in train.ids() if id in texts["train"]]
    if not ids:
        raise UserError(f"{train.path}: no utterance has a transcript; the ids of its transcripts are others than its utterances'.")
    drawn = balanced_share(train, ids, settings.fraction, settings.seed)
    normaliser = settings.normaliser or (PLAIN if settings.tokens == "phones" else Normaliser())
    tokens = Tokens.from_texts(settings.tokens, [texts["train"][id] for id in drawn], normaliser, settings.vocabulary)
    stack = settings.head.stack
    part = train if settings.fraction == 1 else train.subset(drawn)
    learned, skipped, unknown = gather(part, texts["train"], tokens, encoder, stack, settings.longest)
    heard, dev_skipped, dev_unknown = gather(dev, texts["dev"], tokens, encoder, stack, None)
    if not learned or not heard:
        name, why = ("train", skipped) if not learned else ("dev", dev_skipped)
        raise UserError(f"no {name} utterance can be used; the first: {why[0].id}: {why[0].reason}.")
    corpus = Corpus(learned, heard, {"train": skipped, "dev": dev_skipped}, {"train": unknown, "dev": dev_unknown})
    return tokens, corpus


def make_recogniser(encoder: nn.Module, tokens: Tokens, settings: AsrSettings) -> Recogniser:
    """The recogniser before training, its head drawn with the seed."""
    torch.manual_seed(settings.seed)
    states = int(encoder.num_layers) + 1  # type: ignore[arg-type]
    head = make_head(settings.head, int(encoder.dim), states, len(tokens))  # type: ignore[arg-type]
    return Recogniser(encoder, head, tokens, window=max(30.0, settings.longest))


def identity_of(job: Job, recogniser: Recogniser, train: list[Example]) -> str:
    """A hash of what decides the numbers of a run: settings, encoder, and the utterances with their transcripts."""
    kept = {name: value for name, value in asdict(job.settings).items() if name not in FREE}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    digest.update(json.dumps([describe(recogniser.encoder), describe(recogniser.head), recogniser.tokens.as_json()]).encode())
    for tensor in recogniser.encoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for one in train:
        digest.update(f"{one.id}\t{one.seconds:.3f}\t{one.text}\n".encode())
    return digest.hexdigest()


def metrics_of(job: Job, corpus: Corpus, trainer: Trainer, done: Progress) -> dict[str, Any]:
    """What metrics.json says of a finished run."""
    settings, best = job.settings, done.best
    rows = [json.loads(line) for line in (job.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [row for row in rows if "loss" in row]
    return {
        "wer": best["wer"],
        "cer": best["cer"],
        "best_update": int(best["update"]),
        "updates": done.update,
        "model": job.model or job.features,
        "start": settings.start if job.model else "features",
        "tune": settings.tune if job.model else "none",
        "head": settings.head.kind,
        "tokens": {"kind": settings.tokens, "count": len(trainer.recogniser.tokens)},
        "train": job.train,
        "dev": job.dev,
        "hours": sum(one.seconds for one in corpus.train) / 3600,
        "fraction": settings.fraction,
        "seed": settings.seed,
        "utterances": {"train": len(corpus.train), "dev": len(corpus.dev)},
        "skipped": {part: dict(Counter(one.kind for one in some)) for part, some in corpus.skipped.items()},
        "unknown": {part: dict(count.most_common(50)) for part, count in corpus.unknown.items()},
        "infinite_losses": int(done.counts["infinite"]),
        "non_finite_updates": int(done.counts["non_finite"]),
        "hours_seen": done.counts["seconds"] / 3600,
        "blank_ratio": {"train": lines[-1]["blank_ratio"] if lines else None, "dev": best["blank_ratio"]},
        "lr": settings.lr,
        "encoder_lr": settings.encoder_lr if trainer.tuned else None,
    }


def tell(corpus: Corpus, tokens: Tokens, say: Say) -> None:
    """Say what there is to learn from, and what is left out."""
    for part, some in (("train", corpus.train), ("dev", corpus.dev)):
        kinds = Counter(one.kind for one in corpus.skipped[part])
        left = f"; skipped: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}" if kinds else ""
        say(f"{part}: {len(some)} utterances, {sum(one.seconds for one in some) / 3600:.2f} h{left}")
        if corpus.unknown[part]:
            strange = ", ".join(f"{unit!r} {count}" for unit, count in corpus.unknown[part].most_common(8))
            say(f"{part}: not among the tokens: {strange}")
    first = " ".join(tokens.tokens[:40]) + (" ..." if len(tokens) > 40 else "")
    say(f"{len(tokens)} {tokens.kind}: {first}")


def record_of(job: Job) -> dict[str, Any]:
    """config.yaml of a run: the command as a configuration, and what the encoder was."""
    weights = read_meta(job.model).get("weights_sha256") if job.model else None
    names = {"model": job.model, "features": job.features, "train": job.train, "dev": job.dev}
    return {**names, "weights_sha256": weights, **asdict(job.settings)}


def forget(out: Path) -> None:
    """Remove what an earlier run left in `out`."""
    for name in WRITTEN:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
