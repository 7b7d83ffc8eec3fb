"""Features of recordings into a Kaldi store: `sigssl features` as a function."""

from __future__ import annotations

import copy
import functools
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from sigssl.config import build, describe
from sigssl.data.datadir import Utterance
from sigssl.data.io import write_text
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.extract import cmvn
from sigssl.extract.finish import Summary, finish
from sigssl.extract.journal import Journal
from sigssl.extract.parallel import Running, run
from sigssl.extract.reading import Clip, Reading, padded
from sigssl.extract.shard_run import Compute, run_shard
from sigssl.extract.shards import Outcome, Shard, list_digest, plan
from sigssl.extract.store import ArkSink, CompressedArkSink, Tracks, sweep
from sigssl.features import Extractor, GlobalCMVN

HOLD = 120.0  # seconds of signal that are gathered, so that batches are of like length
BATCH = 40.0  # seconds in a batch: enough that what is done once per batch costs nothing
CmvnOver = Literal["config", "utterance", "speaker", "global", "none"]


@dataclass(frozen=True)
class FeatureJob:
    """Features of a shard of recordings into `folder/feats.N.ark`.

    Attributes:
        folder: output folder.
        extractor: as :func:`sigssl.config.describe` says it.
        reading: how the recordings are read.
        compress: Kaldi's lossy 8-bit form.
    """

    folder: str
    extractor: dict[str, Any]
    reading: Reading
    compress: bool = False

    def __call__(self, shard: Shard) -> Outcome:
        """Do a shard."""
        extractor = _extractor(json.dumps(self.extractor))
        what = Compute(
            batch=functools.partial(_batch, extractor),
            stream=functools.partial(_stream, extractor),
            samples=round(BATCH * extractor.sample_rate),
            hold=HOLD,
        )
        sink = (CompressedArkSink if self.compress else ArkSink)(Path(self.folder), "feats", shard.number)
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(int(shard.key[:8], 16))  # for dither: a shard done again gives the same bytes
        try:
            return run_shard(shard, self.reading, what, sink)
        finally:
            torch.set_rng_state(state)


def extract_features(
    utterances: list[Utterance],
    extractor: Extractor,
    folder: Path | str,
    *,
    cmvn_over: CmvnOver = "config",
    cmvn_from: Path | str | None = None,
    compress: bool = False,
    reading: Reading | None = None,
    running: Running | None = None,
) -> Summary:
    """Compute features and write `feats.scp`, `feats.N.ark`, `feats.json`, `utt2num_frames` and `quarantine.tsv` into a folder.

    With `cmvn_over` "global" the statistics become part of the feature: `feats.json` describes the extractor with the
    :class:`~sigssl.features.GlobalCMVN` that makes these frames from a signal; `cmvn.yaml` holds it for an encoder's configuration.

    A run that was killed goes on where it was when it is called again; the result is that of an undisturbed run, byte for byte.

    Args:
        utterances: sorted by id, as :func:`sigssl.extract.sources.find_utterances` gives them.
        extractor: the feature.
        folder: output folder.
        cmvn_over: what mean and variance are normalised over; "config": as the extractor does it.
        cmvn_from: output folder of other features (of the training part) whose `cmvn.ark` is used for "speaker" or "global".
        compress: Kaldi's lossy 8-bit form.
        reading: how recordings are read; by default at the extractor's rate, first channel, resampled where needed.
        running: worker processes, progress bar and so on; by default in this process.

    Raises:
        UserError: the folder was begun with other settings or input, or too few utterances are good.
    """
    folder, running = Path(folder).resolve(), running or Running()
    described = _with_cmvn(describe(extractor), cmvn_over)
    reading = reading or Reading(extractor.sample_rate)
    over: cmvn.Over | None = "speaker" if cmvn_over == "speaker" else "global" if cmvn_over == "global" else None
    if cmvn_from is not None and not over:
        raise UserError(f"--cmvn-from gives statistics for --cmvn speaker or global; it is {cmvn_over!r}.")
    config = {"features": described, "cmvn": cmvn_over, "cmvn_from": cmvn.digest(cmvn_from), "reading": asdict(reading)}
    head = {"name": running.source, "utterances": len(utterances), "list": list_digest(utterances)}
    shards = plan(utterances)
    final = cmvn.dependent(shards) if over else shards
    journal = Journal(folder / "journal.jsonl", {**config, "compress": compress}, head, overwrite=running.overwrite)
    sweep(folder)
    if not over:
        run(FeatureJob(str(folder), described, reading, compress), shards, journal, running)
    elif not all(journal.is_done(shard) for shard in final):
        groups = {utterance.id: cmvn.group_of(utterance, over) for utterance in utterances}
        raw = Journal(folder / cmvn.RAW / "journal.jsonl", config, head, overwrite=running.overwrite)
        sweep(folder / cmvn.RAW)
        run(FeatureJob(str(folder / cmvn.RAW), described, reading), shards, raw, running)
        stats = cmvn.read(cmvn_from) if cmvn_from else cmvn.statistics(folder, [raw.done[s.number] for s in shards], groups)
        cmvn.write(folder, stats)
        run(cmvn.NormaliseJob(str(folder), over, compress), final, journal, running)
    summary = finish(folder, ["feats"], final, journal, running.min_good)
    if over == "global":
        _fix_statistics(folder, described)
    shift = extractor.hop / extractor.sample_rate
    StoreInfo("features", extractor.dim, shift, extractor.sample_rate, config={**config, "features": described}).write(folder)
    shutil.rmtree(folder / cmvn.RAW, ignore_errors=True)
    return summary


def _fix_statistics(folder: Path, described: dict[str, Any]) -> None:
    """Make the corpus's statistics part of the description of a feature, and write them down for an encoder's configuration."""
    fixed = describe(GlobalCMVN.from_stats(cmvn.read(folder)["global"]))
    write_text(folder / "cmvn.yaml", yaml.safe_dump(fixed, sort_keys=False))
    described["init_args"]["cmvn"] = fixed


def packages(described: Any) -> tuple[str, ...]:
    """The packages that a description names classes of: the user's own choice on the command line, so they are trusted."""
    if isinstance(described, dict):
        own = [str(described["class_path"]).split(".")[0]] if "class_path" in described else []
        return tuple(dict.fromkeys(own + [name for value in described.values() for name in packages(value)]))
    return tuple(name for value in described for name in packages(value)) if isinstance(described, list) else ()


def _with_cmvn(described: dict[str, Any], over: CmvnOver) -> dict[str, Any]:
    """The extractor's own normalisation, set as `over` asks for."""
    made = copy.deepcopy(described)
    if over == "config":
        return made
    if "cmvn" not in made["init_args"]:
        raise UserError(f"{made['class_path']} has no setting `cmvn`: leave --cmvn at 'config'.")
    made["init_args"]["cmvn"] = "utterance" if over == "utterance" else None
    return made


@functools.lru_cache(maxsize=2)
def _extractor(described: str) -> Extractor:
    config = json.loads(described)
    return build(config, where="features", trust=packages(config))


def _batch(extractor: Extractor, clips: list[Clip]) -> list[Tracks]:
    frames, counts = extractor(*padded(clips))
    return [[rows[:count].numpy()] for rows, count in zip(frames, counts.tolist(), strict=True)]


def _stream(extractor: Extractor, clip: Clip) -> Iterator[Tracks]:
    for rows in extractor.stream(clip.tensors):
        yield [rows.numpy()]
