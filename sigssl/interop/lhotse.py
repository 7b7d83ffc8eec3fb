"""Data directory -> lhotse: recordings, supervisions, texts, segments, labels and stored features as a CutSet.

The way back is :mod:`sigssl.interop.lhotse_import`. What each table becomes:

    wav.scp     Recording, by its file             utt2spk     supervision.speaker
    segments    start and duration of a cut        text        supervision.text
    feats.scp   Features of Kaldi's storage        utt2lang    supervision.language     spk2gender   supervision.gender
    utt2label, phones, stages, epoch_length, utt2uniq    supervision.custom["label"], ["phones"] ...
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import soundfile

from sigssl.data import audio, matrix
from sigssl.data.ark import StoreInfo, read_scp
from sigssl.data.datadir import Command, DataDir
from sigssl.data.io import TEMPORARY, whole
from sigssl.data.paths import parse_place
from sigssl.errors import UserError
from sigssl.optional import require

AUDIO = "audio"  # folder of the recordings that are written anew
Audio = Literal["link", "write"]
FEATURES = "sigssl"  # what lhotse calls the kind of our features


def to_lhotse(data: DataDir, store: Path | None = None, write_audio: Path | None = None) -> Any:
    """A data directory as an eager `lhotse.CutSet`, one cut with one supervision for each utterance.

    Args:
        data: the utterances; their recordings' headers are read.
        store: folder with feats.scp and feats.json, whose matrices become the cuts' features. None: the cuts have none. Lhotse
            wants duration / frame shift rows, rounded; of a matrix with more (centred frames have one more) it reads the first.
        write_audio: folder to write every recording to as FLAC, for those that lhotse cannot read where they are (inside of a
            Kaldi archive). None refers to the files as they stand.

    Raises:
        UserError: a recording or matrix that cannot be read, or one that lhotse could not find.
        MissingExtraError: lhotse is not installed.
    """
    lhotse = require("lhotse", "to write its manifests")
    places = {name: data.resolve(name) for name in data.wav}
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda name: _recording(lhotse, name, places[name], write_audio), places)
        recordings = dict(zip(places, made, strict=True))
    matrices = None if store is None else (StoreInfo.read(store), read_scp(store / "feats.scp"))
    return lhotse.CutSet.from_cuts(_cut(lhotse, data, id, recordings, matrices) for id in data.ids())


def write_shar(cuts: Any, out: Path, shard_size: int = 1000, audio_format: str = "flac") -> int:
    """Write cuts with their audio (and their features, where they have some) as lhotse Shar.

    Args:
        cuts: a CutSet.
        out: folder to write to, which appears when it is whole; one that is there is refused.
        shard_size: cuts in each shard.
        audio_format: flac, wav, mp3 or opus.

    Returns:
        How many shards there are.

    Raises:
        UserError: there is such a folder already.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is there already and not empty; remove it, or name another folder.")
    fields = {"recording": audio_format}
    if next(iter(cuts)).has_features:
        fields["features"] = "numpy"  # lilcom, lhotse's usual form, is lossy
    partial = out.with_name(TEMPORARY + out.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    written: dict[str, list[str]] = cuts.to_shar(partial, fields=fields, shard_size=shard_size)
    partial.replace(out)
    return len(written["cuts"])


def write_flac(path: Path, samples: Any, sample_rate: int) -> Path:
    """Write samples [C, S] as FLAC of 24 bits, whole; the path."""
    with whole(path) as temporary:
        soundfile.write(temporary, samples.T, sample_rate, format="FLAC", subtype="PCM_24")
    return path


def _recording(lhotse: Any, name: str, place: str, write_audio: Path | None) -> Any:
    """A lhotse Recording of all channels; written to FLAC first where that is asked for."""
    about = audio.info(place)
    kind, source = "file", place
    if write_audio is not None:
        source = str(write_flac(write_audio / f"{name}.flac", audio.read(place, channel="all"), about.sample_rate))
    elif isinstance(place, Command):
        kind, source = "command", place.rstrip("| ")
    elif parse_place(place).offset is not None:
        raise UserError(f"{place}: lhotse reads no audio inside of an archive; let it be written to files (--audio write).")
    if kind == "file":
        source = str(Path(source).resolve())
    channels = list(range(about.channels))
    return lhotse.Recording(
        id=name,
        sources=[lhotse.audio.AudioSource(kind, channels, source)],
        sampling_rate=about.sample_rate,
        num_samples=about.samples,
        duration=about.duration,
    )


def _cut(lhotse: Any, data: DataDir, id: str, recordings: dict[str, Any], store: tuple[StoreInfo, dict[str, str]] | None) -> Any:
    segment = None if data.segments is None else data.segments[id]
    name, start = (id, 0.0) if segment is None else (segment.recording, segment.start)
    if name not in recordings:
        raise UserError(f"{data.path}: utterance {id!r} has no recording in wav.scp; lhotse's cuts need one.")
    recording = recordings[name]
    stop = recording.duration if segment is None or segment.end < 0 else min(segment.end, recording.duration)
    if stop <= start:
        raise UserError(f"{data.path}/segments: {id!r} begins at {start} s, its recording lasts {recording.duration:.3f} s.")
    length = round(stop - start, 8)
    speaker, carried = data.utt2spk.get(id), data.carried
    supervision = lhotse.SupervisionSegment(
        id=id,
        recording_id=name,
        start=0.0,
        duration=length,
        text=data.text.get(id),
        speaker=speaker,
        language=carried.get("utt2lang", {}).get(id),
        gender=None if speaker is None else carried.get("spk2gender", {}).get(speaker),
        custom=dict(_custom(data, id)) or None,
    )
    cut = lhotse.MonoCut(id, start, length, 0, [supervision], recording=recording)
    if store is not None:
        cut.features = _features(lhotse, cut, *store)
    return cut


def _custom(data: DataDir, id: str) -> Iterator[tuple[str, Any]]:
    """What lhotse has no field for."""
    tables: dict[str, dict[str, Any]] = {
        "label": data.utt2label,
        "phones": data.phones,
        "stages": data.stages,
        "utt2uniq": data.carried.get("utt2uniq", {}),
    }
    yield from ((name, table[id]) for name, table in tables.items() if id in table)
    if id in data.stages:
        yield "epoch_length", data.epoch_length


def _features(lhotse: Any, cut: Any, info: StoreInfo, scp: dict[str, str]) -> Any:
    """Lhotse's manifest of a stored matrix, which its reader of Kaldi archives opens at its place."""
    if cut.id not in scp:
        raise UserError(f"utterance {cut.id!r} is not in the feature store; compute the features of this directory.")
    if not info.frame_shift:
        raise UserError("the feature store holds no frames (its feats.json has no frame_shift).")
    rows, columns = matrix.shape(scp[cut.id])
    place = parse_place(scp[cut.id])
    absolute = f"{Path(place.file).resolve()}:{place.offset}{place.range}"
    return lhotse.Features(
        type=info.config.get("features", {}).get("class_path", FEATURES),
        num_frames=rows,
        num_features=columns,
        frame_shift=info.frame_shift,
        sampling_rate=info.sample_rate,
        start=cut.start,
        duration=cut.duration,
        storage_type="kaldiio",
        storage_path=absolute,
        storage_key=cut.id,
        recording_id=cut.recording.id,
        channels=0,
    )
