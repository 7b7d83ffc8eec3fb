"""An encoder's hidden states: to disk (`sigssl embed` as a function), or to whoever iterates."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sigssl.data.datadir import Utterance
from sigssl.data.io import write_text
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.extract.finish import Summary, finish
from sigssl.extract.journal import Journal
from sigssl.extract.layers import Selection, pooled
from sigssl.extract.parallel import Running, run
from sigssl.extract.reading import Clip, Reading, padded
from sigssl.extract.shard_run import Compute, computed, run_shard
from sigssl.extract.shards import Bad, Outcome, Shard, list_digest, plan
from sigssl.extract.store import ArkSink, NpySink, NpyTableSink, Tracks, join_tables, sweep, track_names
from sigssl.training.checkpoint import load_encoder, model_name, read_meta
from sigssl.types import Encoder

BATCH_SECONDS = 60.0
HELD_BATCHES = 4  # batches' worth of signal that is gathered, so that each is of like length
Format = Literal["ark", "npy"]


@dataclass(frozen=True)
class EmbedJob:
    """Hidden states of a shard of recordings into `folder`.

    Attributes:
        folder: output folder.
        model: what :func:`sigssl.training.checkpoint.model_name` says of the encoder; worker processes read it by this.
        selection: layers and pooling.
        reading: how the recordings are read.
        format: "ark" or "npy".
        device: "cpu", "cuda", "cuda:1".
        batch_seconds: signal in a batch, padding included.
    """

    folder: str
    model: str
    selection: Selection
    reading: Reading
    format: Format
    device: str
    batch_seconds: float

    def __call__(self, shard: Shard) -> Outcome:
        """Do a shard."""
        encoder = _encoder(self.model, self.device)
        what = _compute(encoder, self.selection, self.device, self.batch_seconds)
        tracks = self.selection.tracks(encoder.num_layers)
        sink: type[ArkSink | NpySink | NpyTableSink] = ArkSink
        if self.format == "npy":
            sink = NpySink if self.selection.pool == "none" else NpyTableSink
        return run_shard(shard, _streaming(encoder, self.reading), what, sink(Path(self.folder), "emb", shard.number, tracks))


def embed(
    utterances: list[Utterance],
    model: str | Path,
    folder: Path | str,
    *,
    selection: Selection | None = None,
    reading: Reading | None = None,
    format: Format = "ark",
    device: str = "auto",
    batch_seconds: float = BATCH_SECONDS,
    running: Running | None = None,
) -> Summary:
    """Write hidden states of recordings.

    "ark": `emb.scp` and `emb.N.ark` ([T, D]; pooled [1, D]), with `emb.layer0.scp` and so on where all layers are kept.
    "npy": `emb.scp` and a file per utterance ([T, D], or [layers, T, D]); pooled, one `emb.npy` ([utterances, D], or
    [utterances, layers, D]) with its ids in `ids.txt`. Beside them `emb.json`, `utt2num_frames` and `quarantine.tsv`.

    A run that was killed goes on where it was when it is called again; the result is that of an undisturbed run.

    Args:
        utterances: sorted by id, as :func:`sigssl.extract.sources.find_utterances` gives them.
        model: folder of an exported encoder or of a run, or another toolkit's, as for :func:`sigssl.load`.
        folder: output folder.
        selection: layers and pooling; by default all states.
        reading: how recordings are read; by default at the encoder's rate, first channel, resampled where needed.
        format: see above.
        device: "auto" is "cuda" where there is one.
        batch_seconds: signal in a batch, padding included.
        running: worker processes, progress bar and so on; by default in this process.

    Raises:
        UserError: no encoder, the folder was begun with other settings or input, or too few utterances are good.
    """
    folder, running, device = Path(folder).resolve(), running or Running(), pick_device(device)
    model = model_name(model)
    meta = read_meta(model)
    layers, dim = int(meta["num_layers"]), int(meta["dim"])
    selection = (selection or Selection()).check(layers)
    reading = reading or Reading(int(meta["sample_rate"]))
    config = {"model": model, "weights": meta["weights_sha256"], "selection": asdict(selection), "reading": asdict(reading)}
    head = {"name": running.source, "utterances": len(utterances), "list": list_digest(utterances)}
    shards = plan(utterances)
    identity = {name: value for name, value in config.items() if name != "model"}  # the same weights elsewhere are the same model
    journal = Journal(folder / "journal.jsonl", {**identity, "format": format}, head, overwrite=running.overwrite)
    sweep(folder)
    run(EmbedJob(str(folder), model, selection, reading, format, device, batch_seconds), shards, journal, running)
    table = format == "npy" and selection.pool != "none"
    names = [] if table else track_names("emb", selection.tracks(layers) if format == "ark" else 1)
    summary = finish(folder, names, shards, journal, running.min_good)
    if table:
        outcomes = [journal.done[shard.number] for shard in shards]
        join_tables([folder / name for outcome in outcomes for name in outcome.files], folder / "emb.npy")
        write_text(folder / "ids.txt", "".join(f"{entry.id}\n" for outcome in outcomes for entry in outcome.entries))
    shift = int(meta["hop"]) / reading.sample_rate if selection.pool == "none" else None
    width = dim * (2 if selection.pool == "mean+std" else 1)
    StoreInfo("embeddings", width, shift, reading.sample_rate, config=config).write(folder, "emb")
    return summary


def hidden_states(
    encoder: Encoder,
    utterances: Iterable[Utterance],
    *,
    selection: Selection | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    batch_seconds: float = BATCH_SECONDS,
    bad: list[Bad] | None = None,
) -> Iterator[tuple[str, Float[Tensor, "layers time dim"]]]:
    """Hidden states without going to disk; recordings are decoded in a thread of its own meanwhile.

    Args:
        encoder: in eval mode; it is moved to `device`.
        utterances: in any order.
        selection: layers and pooling; by default all states.
        reading: how recordings are read; by default at the encoder's rate, first channel, resampled where needed.
        device: "auto" is "cuda" where there is one.
        batch_seconds: signal in a batch, padding included.
        bad: where what cannot be used is listed; None: it is an error.

    Yields:
        id and states float32 [layers, T, D] on the processor (1 layer but for "all"; T is 1 where pooled, D doubled by
        "mean+std"), in batches of like length: the order is not that of `utterances`.

    Raises:
        UserError: an utterance cannot be used and `bad` is None.
    """
    device = pick_device(device)
    selection = (selection or Selection()).check(encoder.num_layers)
    if isinstance(encoder, torch.nn.Module):
        encoder.to(device)
    reading = _streaming(encoder, reading or Reading(encoder.sample_rate))
    for result in computed(utterances, reading, _compute(encoder, selection, device, batch_seconds)):
        if isinstance(result, Bad):
            if bad is None:
                raise UserError(result.reason)
            bad.append(result)
            continue
        clip, pieces = result
        tracks = zip(*([torch.from_numpy(track) for track in piece] for piece in pieces), strict=True)
        yield clip.id, torch.stack([torch.cat(track) for track in tracks])


def pick_device(device: str) -> str:
    """The device that "auto" stands for; others are checked.

    Raises:
        UserError: no such device here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not device.startswith("cuda"):
        raise UserError(f"device {device!r}: expected auto, cpu, cuda or cuda:N.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {device!r}: torch finds no CUDA device here; 'sigssl doctor' says more. Use --device cpu.")
    return device


@functools.lru_cache(maxsize=1)
def _encoder(model: str, device: str) -> Encoder:
    encoder = load_encoder(model)
    return encoder.to(device) if isinstance(encoder, torch.nn.Module) else encoder


def _streaming(encoder: Encoder, reading: Reading) -> Reading:
    """An encoder that cannot stream (someone else's) gets long recordings whole."""
    return reading if hasattr(encoder, "stream") else replace(reading, long=math.inf)


def _compute(encoder: Encoder, selection: Selection, device: str, batch_seconds: float) -> Compute:
    return Compute(
        batch=functools.partial(_batch, encoder, selection, device),
        stream=functools.partial(_stream, encoder, selection),
        samples=round(batch_seconds * encoder.sample_rate),
        hold=HELD_BATCHES * batch_seconds,
    )


@torch.inference_mode()
def _batch(encoder: Encoder, selection: Selection, device: str, clips: list[Clip]) -> list[Tracks]:
    signals, lengths = padded(clips)
    states, counts = encoder(signals[:, None].to(device), lengths.to(device))
    kept = selection.pick(states)
    if selection.pool == "none":
        kept = [state.cpu() for state in kept]
    items = ([state[item, :count] for state in kept] for item, count in enumerate(counts.tolist()))
    return [[rows.cpu().numpy() for rows in next(pooled([item], selection.pool), item)] for item in items]


def _stream(encoder: Encoder, selection: Selection, clip: Clip) -> Iterator[Tracks]:
    pieces = (selection.pick(states) for states in encoder.stream(clip.tensors))  # type: ignore[attr-defined]
    results = pooled(pieces, selection.pool)
    while True:
        with torch.inference_mode():  # closed while this generator rests, or its reader would be in it too
            rows = next(results, None)
        if rows is None:
            return
        yield [row.cpu().numpy() for row in rows]
