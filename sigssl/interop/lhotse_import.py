"""lhotse -> data directory: cuts, or recordings with supervisions, with their texts, speakers, times, labels and features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sigssl.data.ark import ArkWriter, StoreInfo, merge
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.supervisions import describe_utterance
from sigssl.errors import UserError
from sigssl.interop.lhotse import AUDIO, Audio, write_flac
from sigssl.optional import require

Per = Literal["cut", "supervision"]
FEATS = "feats"  # folder of the features that are copied
CLOSE = 1e-4  # seconds within which a cut is the whole recording


@dataclass
class Imported:
    """What came of an import.

    Attributes:
        data: the directory; not yet written.
        notes: what was left behind, and of how many cuts.
    """

    data: DataDir
    notes: Counter[str] = field(default_factory=Counter)


def open_cuts(source: Path, supervisions: Path | None = None) -> Any:
    """The cuts of a manifest, lazily where lhotse can.

    Args:
        source: manifest of cuts or of recordings (.jsonl, .jsonl.gz, .json, .yaml), or a Shar folder.
        supervisions: manifest of supervisions, where `source` has recordings.

    Raises:
        UserError: nothing that lhotse reads.
        MissingExtraError: lhotse is not installed.
    """
    lhotse = require("lhotse", "to read its manifests")
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; expected a manifest of cuts or recordings, or a Shar folder.")
    try:
        if source.is_dir():
            return lhotse.CutSet.from_shar(in_dir=source)
        found = lhotse.serialization.load_manifest_lazy_or_eager(source)
        if isinstance(found, lhotse.RecordingSet):
            return lhotse.CutSet.from_manifests(found, None if supervisions is None else lhotse.load_manifest(supervisions))
    except Exception as error:  # lhotse asserts, and raises many kinds
        raise UserError(f"{source}: lhotse cannot read it ({type(error).__name__}: {error}).") from error
    if not isinstance(found, lhotse.CutSet):
        raise UserError(f"{source}: holds {type(found).__name__}; expected cuts, or recordings (with --supervisions FILE).")
    return found


def from_lhotse(
    cuts: Iterable[Any], out: Path, *, per: Per = "cut", audio: Audio = "link", label: str = "label", feats: bool = False
) -> Imported:
    """The data directory of cuts.

    Args:
        cuts: a CutSet, eager or lazy; gone through once.
        out: folder that the directory will be written to; audio that is written goes to `out/audio`, features to `out/feats`.
        per: an utterance for each cut (texts of several supervisions are joined in the order of time; speakers must be one, or none
            is given), or for each supervision.
        audio: link: refer to the files where they are; write: render every cut to FLAC, which mixed, padded and perturbed cuts and
            those of archives, memory or the network need.
        label: custom field, of the supervision or of the cut, that becomes utt2label.
        feats: copy the features of the cuts into a feature store (with `per` cut).

    Returns:
        The directory, to be written by `.data.write()`, and notes.

    Raises:
        UserError: no cuts, ids that clash or hold spaces, or audio that cannot be referred to; the remedy is named.
    """
    made = Imported(DataDir(out, segments={}))
    writer = ArkWriter(out / FEATS) if feats else None
    kind: StoreInfo | None = None
    for cut in cuts:
        for part, supervisions in _parts(cut, per):
            _add_audio(made.data, part, out, audio)
            custom = getattr(part, "custom", None) or {}
            describe_utterance(made.data, part.id, [one.to_dict() for one in supervisions], custom, made.notes, label)
        if writer is not None:
            kind = _add_features(writer, cut, kind)
    if writer is not None and kind is not None:
        writer.close()
        made.data.feats = merge(out / FEATS)
        kind.write(out / FEATS)
    if not len(made.data):
        raise UserError(f"{out}: no cuts came in{', or none has a supervision' if per == 'supervision' else ''}.")
    _without_segments(made.data)
    return made


def _parts(cut: Any, per: Per) -> Iterator[tuple[Any, list[Any]]]:
    """What becomes utterances: the cut with its supervisions, or the span of each supervision."""
    if per == "cut":
        yield cut, cut.supervisions
        return
    for supervision in cut.supervisions:
        start = max(0.0, supervision.start)
        length = min(supervision.end, cut.duration) - start
        if length > 0:
            yield cut.truncate(offset=start, duration=length, preserve_id=True).with_id(supervision.id), [supervision]


def _add_audio(data: DataDir, cut: Any, out: Path, audio: Audio) -> None:
    id = cut.id
    if not id or any(c.isspace() for c in id):
        raise UserError(f"id {id!r} is empty or holds a space, which Kaldi's tables cannot; rename it (CutSet.modify_ids).")
    assert data.segments is not None
    if id in data.segments:
        raise UserError(f"two utterances have the id {id!r}; give them ids of their own (CutSet.modify_ids).")
    data.utt2dur[id] = cut.duration
    if audio == "write":
        path = write_flac(out / AUDIO / f"{id}.flac", cut.load_audio().astype(np.float32), cut.sampling_rate)
        data.wav[id], data.segments[id] = str(path.resolve()), Segment(id, 0.0, -1.0)
        return
    place = linked(cut)
    name = cut.recording.id
    if data.wav.setdefault(name, place) != place:
        raise UserError(f"two recordings have the id {name!r}: {data.wav[name]} and {place}; --audio write gives each its own.")
    whole = cut.start <= CLOSE and abs(cut.duration - cut.recording.duration) <= CLOSE
    data.segments[id] = Segment(name, 0.0, -1.0) if whole else Segment(name, cut.start, round(cut.start + cut.duration, 8))


def linked(cut: Any) -> str:
    """What wav.scp says of a cut's recording: its file, or its command.

    Raises:
        UserError: no file or command holds the audio as it is; it must be written.
    """
    why = ""
    recording = getattr(cut, "recording", None)
    if recording is None:
        why = "is mixed or padded" if hasattr(cut, "tracks") else "has no recording"
    elif recording.transforms:
        why = "is changed on the fly (speed, volume or rate)"
    elif len(recording.sources) != 1:
        why = f"comes from {len(recording.sources)} files"
    elif recording.sources[0].type not in ("file", "command"):
        why = f"lies in {recording.sources[0].type!r}"
    elif recording.num_channels > 1 and cut.channel not in (0, recording.channel_ids):
        why = f"is channel {cut.channel} of {recording.num_channels}, which a data directory cannot say"
    if why:
        raise UserError(f"cut {cut.id!r} {why}, so no file can be referred to. Let its audio be written: --audio write.")
    assert recording is not None
    source = recording.sources[0]
    return f"{source.source} |" if source.type == "command" else str(Path(source.source).absolute())


def _add_features(writer: ArkWriter, cut: Any, kind: StoreInfo | None) -> StoreInfo:
    """Copy the features of one cut; what they are must be the same for all."""
    if not cut.has_features:
        raise UserError(f"cut {cut.id!r} has no features; leave --feats out, or compute them in lhotse first.")
    about = cut.features if hasattr(cut, "features") else None
    found = StoreInfo(
        "features",
        int(cut.num_features),
        float(cut.frame_shift),
        int(cut.sampling_rate),
        config={} if about is None else {"lhotse": about.type},
    )
    if kind is not None:
        found.check(kind, f"the features of cut {cut.id!r}", "those before it")
    if cut.id not in writer.done:
        writer.write(cut.id, np.asarray(cut.load_features(), dtype=np.float32))
    return found


def _without_segments(data: DataDir) -> None:
    """Where every utterance is a whole recording of its own, wav.scp says it all."""
    assert data.segments is not None
    places = [segment.recording for segment in data.segments.values()]
    if len(set(places)) == len(places) and all(segment.start == 0 and segment.end == -1 for segment in data.segments.values()):
        data.wav = {id: data.wav[segment.recording] for id, segment in data.segments.items()}
        data.segments = None
