"""Checks that open the recordings and features: whole, readable, as long as declared, of one rate, and numbers all through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import joblib
import numpy as np
from tqdm import tqdm

from sigssl.data import audio
from sigssl.data.check_tables import FIX
from sigssl.data.datadir import DECODES, Segment
from sigssl.data.findings import Finding
from sigssl.data.io import read_json
from sigssl.data.matrix import read_matrix, shape
from sigssl.data.paths import find, parse_place
from sigssl.data.psg import SUFFIXES, open_psg
from sigssl.data.psg_mne import READERS
from sigssl.data.tables import Tables
from sigssl.errors import MissingExtraError, UserError

Depth = Literal["decode", "header", "none"]
POLYSOMNOGRAPHY = tuple(SUFFIXES)
LABEL_STEP = 0.01  # seconds per token of `phones`
BLOCK = 30.0  # seconds decoded at a time
DURATION_TOLERANCE = 0.05  # seconds between utt2dur and the file; tools round to hundredths
LABEL_TOLERANCE = 5  # labels between `phones` and duration; aligners drop the edges
EPOCH_TOLERANCE = 0.02  # epochs by which a night may fall short of its stages, from rounding of times
FRAME_TOLERANCE = 3  # frames between features and duration; windows that reach over the edge are counted differently


class Probe(NamedTuple):
    """What opening a recording gave.

    Attributes:
        sample_rate: hertz; 0 where it is a night, whose channels have rates of their own. channels: how many. duration: seconds;
            all 0 where it cannot be opened.
        fault: what is wrong with it, "" for nothing.
        note: what is odd about it but no fault.
    """

    sample_rate: int
    channels: int
    duration: float
    fault: str = ""
    note: str = ""


def probe(path: str, decode: bool) -> Probe:
    """Open a recording and, with `decode`, decode it all at bounded memory.

    Args:
        path: the file.
        decode: whether to decode, which alone finds truncated FLAC and MP3 files and NaN samples.
    """
    try:
        if path.lower().endswith(POLYSOMNOGRAPHY):
            return _probe_night(path, decode)
        rate, channels, _, duration = audio.info(path)
        note = _cut_ogg(path)
        if decode:
            peak = max(float(np.abs(block).max()) for block in audio.blocks(path, BLOCK, channel="all"))
            note = note or ("is silent: every sample is 0" if peak == 0 else "")
        return Probe(rate, channels, duration, note=note)
    except MissingExtraError:
        raise  # no fault of the recording
    except UserError as error:
        return Probe(0, 0, 0.0, fault=str(error).removeprefix(f"{path}: "))


def _probe_night(path: str, decode: bool) -> Probe:
    psg = open_psg(path)
    if decode:  # EDF stores integers: that it is whole is known without reading them
        for channel in psg.channels[:1] if path.lower().endswith(tuple(READERS)) else ():
            for _ in psg.blocks([channel.name], BLOCK):
                pass
    return Probe(0, len(psg.channels), psg.duration, note="; ".join(psg.notes))


def _cut_ogg(path: str) -> str:
    """Whether an Ogg file lacks the mark of its last page: cut off, though what is left decodes without complaint."""
    if not path.lower().endswith((".ogg", ".opus", ".oga")):
        return ""
    with Path(path).open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 66000))  # a page has at most 65,307 bytes
        tail = file.read()
    page = tail.rfind(b"OggS")
    return "" if page >= 0 and tail[page + 5] & 4 else "may be truncated: its last page is not marked as the last"


def probe_all(tables: Tables, depth: Depth, nj: int = 1, show: bool = False) -> dict[str, Probe]:
    """Probe every recording.

    Args:
        tables: the directory.
        depth: `decode`, `header` (fast, finds less) or `none`.
        nj: worker processes.
        show: whether to show a progress bar.

    Returns:
        Recording -> what was found; recordings that are commands are left out, since commands are not run to check them.
    """
    paths = {}
    for key, value in tables.entries.get("wav.scp", {}).items():
        decoded = DECODES.match(value)
        if value and (decoded or not value.endswith("|")):
            paths[key] = find(decoded["path"] if decoded else value, tables.path)
    if depth == "none":
        return {}
    jobs = (joblib.delayed(probe)(path, depth == "decode") for path in paths.values())
    done = joblib.Parallel(n_jobs=nj, return_as="generator")(jobs)
    bar = tqdm(done, "recordings", total=len(paths), unit="file", disable=not show)
    return dict(zip(paths, bar, strict=True))


def check_recordings(tables: Tables, probes: dict[str, Probe], sample_rate: int | None = None) -> Iterator[Finding]:
    """Findings about the recordings and what is cut from them.

    Args:
        tables: the directory.
        probes: from :func:`probe_all`.
        sample_rate: the rate that all must have, in hertz; None warns where they differ.
    """
    for key, seen in probes.items():
        where, users = tables.where("wav.scp", key), tables.cut_from.get(key, ())
        path = tables.entries["wav.scp"][key]
        if seen.fault:
            yield Finding("bad recording", where, f"{path}: {seen.fault.rstrip('.')}", f"{FIX} drops what depends on it", ids=users)
            continue
        night = not seen.sample_rate
        if seen.note:
            advice = "See whether that is meant" if night else "Listen to it"
            yield Finding("odd recording", where, f"{path} {seen.note}", advice, "warning")
        if sample_rate is not None and seen.sample_rate not in (0, sample_rate):
            what = f"{path} has {seen.sample_rate} Hz, {sample_rate} expected"
            yield Finding("sample rate", where, what, f"Resample it, or {FIX} drops what depends on it", ids=users)
        if seen.channels > 1 and not night:
            what = f"{path} has {seen.channels} channels; the first is read unless you say otherwise"
            yield Finding("channels", where, what, "Choose with the option channel: an index, mean or all", "warning")
    if sample_rate is None:
        yield from _mixed_rates(tables, probes)
    yield from _outside(tables, probes)
    yield from _durations(tables, probes)


def _mixed_rates(tables: Tables, probes: dict[str, Probe]) -> Iterator[Finding]:
    rates = Counter(seen.sample_rate for seen in probes.values() if seen.sample_rate)
    if len(rates) < 2:
        return
    usual = rates.most_common(1)[0][0]
    for key, seen in probes.items():
        if seen.sample_rate not in (0, usual):
            what = f"{tables.entries['wav.scp'][key]} has {seen.sample_rate} Hz among {usual} Hz"
            lost = ", which leaves its upper band empty" if seen.sample_rate < usual else ""
            repair = f"It is resampled when read{lost}; --sample-rate {usual} sets such recordings aside"
            yield Finding("mixed rates", tables.where("wav.scp", key), what, repair, "warning")


def _outside(tables: Tables, probes: dict[str, Probe]) -> Iterator[Finding]:
    for key, segment in tables.segments.items():
        seen = probes.get(segment.recording) if isinstance(segment, Segment) else None
        if seen is None or not seen.duration or isinstance(segment, str):
            continue
        if segment.start >= seen.duration or segment.end > seen.duration + audio.OVERSHOOT:
            what = (
                f"{key!r} goes from {segment.start:g} s to {'the end' if segment.end < 0 else f'{segment.end:g} s'}, but recording "
                f"{segment.recording!r} lasts {seen.duration:.3f} s"
            )
            yield Finding(
                "segment outside",
                tables.where("segments", key),
                what,
                f"Correct the line, or {FIX} drops the utterance",
                ids=(key,),
            )


def durations(tables: Tables, probes: Mapping[str, Probe]) -> dict[str, float]:
    """Utterance -> its measured seconds, where its recording was sound."""
    made = {}
    for recording, users in tables.cut_from.items():
        seen = probes.get(recording)
        if seen is None or not seen.duration:
            continue
        for key in users:
            segment = tables.segments.get(key)
            if isinstance(segment, Segment):
                end = seen.duration if segment.end < 0 else min(segment.end, seen.duration)
                made[key] = end - segment.start
            else:
                made[key] = seen.duration
    return made


def _durations(tables: Tables, probes: dict[str, Probe]) -> Iterator[Finding]:
    stated = tables.entries.get("utt2dur", {})
    for key, seconds in durations(tables, probes).items():
        try:
            wrong = key in stated and abs(float(stated[key]) - seconds) > DURATION_TOLERANCE
        except ValueError:
            wrong = False  # named by the checks of the tables
        if wrong:
            what = f"utterance {key!r} lasts {seconds:.3f} s, not {stated[key]} s"
            yield Finding("wrong duration", tables.where("utt2dur", key), what, f"{FIX} writes the measured one")
        labels = len(tables.entries.get("phones", {}).get(key, "").split())
        if labels and abs(labels - seconds / LABEL_STEP) > LABEL_TOLERANCE:
            what = f"{key!r} has {labels} labels, but lasts {seconds:.3f} s, that is {seconds / LABEL_STEP:.0f} of {LABEL_STEP} s"
            yield Finding("number of labels", tables.where("phones", key), what, "Make one label for each 10 ms", "warning")
        epochs = len(tables.entries.get("stages", {}).get(key, "").split())
        if epochs and math.floor(seconds / tables.epoch_length + EPOCH_TOLERANCE) != epochs:
            what = (
                f"{key!r} has {epochs} stages, but lasts {seconds:.3f} s, that is {seconds / tables.epoch_length:.2f} epochs of "
                f"{tables.epoch_length:g} s"
            )
            repair = "Cut the segment and the stages to what both cover; epoch_length says how long an epoch is"
            yield Finding("number of stages", tables.where("stages", key), what, repair)


def check_features(tables: Tables, seconds: dict[str, float], decode: bool = False) -> Iterator[Finding]:
    """Findings about feats.scp: readable, whole, of one width, as long as the utterance; with `decode`, numbers all through.

    Args:
        tables: the directory.
        seconds: utterance -> duration.
        decode: whether to read every matrix rather than its header.
    """
    shift = _frame_shift(tables)
    widths: Counter[int] = Counter()
    shapes: dict[str, tuple[int, int]] = {}
    again = "Run 'sigssl features' again"
    for key, value in tables.entries.get("feats.scp", {}).items():
        try:
            place = find(value, tables.path, by_name=True)
            rows, columns = shapes[key] = shape(place)
            fault = ""
            if decode and not np.isfinite(read_matrix(place)).all():
                fault = "holds NaN or infinite numbers"
        except UserError as error:
            fault = str(error).rstrip(".")
        if fault:
            yield Finding("bad features", tables.where("feats.scp", key), f"{key!r}: {fault}", again)
            continue
        widths[columns] += 1
        if shift and key in seconds and abs(rows - seconds[key] / shift) > FRAME_TOLERANCE:
            what = f"{key!r} has {rows} frames, but lasts {seconds[key]:.3f} s, that is {seconds[key] / shift:.0f} frames"
            yield Finding("wrong number of frames", tables.where("feats.scp", key), what, again)
    usual = widths.most_common(1)[0][0] if widths else 0
    for key, (_, columns) in shapes.items():
        if columns != usual:
            what = f"{key!r} has {columns} columns, the others {usual}"
            yield Finding("width of features", tables.where("feats.scp", key), what, again)


def _frame_shift(tables: Tables) -> float | None:
    """Seconds per frame, from the feats.json beside the arks or the folder's, or from Kaldi's file `frame_shift`."""
    first = next(iter(tables.entries.get("feats.scp", {}).values()), "")
    for folder in (tables.path, Path(parse_place(first).file).parent):
        if first and (folder / "feats.json").exists():
            stated = read_json(folder / "feats.json").get("frame_shift")
            return float(stated) if stated else None
    plain = tables.path / "frame_shift"
    return float(plain.read_text()) if plain.exists() else None
