"""Checks of a data directory that need its tables only: order, repeated ids, ids that one file has and another lacks, labels."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from sigssl.data.datadir import spk2utt
from sigssl.data.findings import Finding
from sigssl.data.segments import parse_seconds
from sigssl.data.stages import STAGES, UNSCORED
from sigssl.data.tables import KEYS, Tables

EMPTY_OK = {"text"}
NEEDED = {"wav.scp", "segments", "utt2spk"}  # an utterance without a line of its own in these cannot be used
LABELS = ("utt2label", "phones", "stages")
SINGLETONS = 0.2  # share of classes with one member above which labels look like free text
FIX = "'sigssl validate --fix'"


def check_tables(tables: Tables) -> Iterator[Finding]:
    """All findings that the tables alone give."""
    yield from tables.findings
    for file in tables.lines:
        yield from _form(tables, file)
        yield from _order(tables, file)
        yield from _repeated(tables, file)
        yield from _strangers(tables, file)
    yield from _values(tables)
    yield from _missing(tables)
    yield from _speakers(tables)
    yield from _labels(tables)


def _form(tables: Tables, file: str) -> Iterator[Finding]:
    data = (tables.path / file).read_bytes()
    if data.startswith(b"\xef\xbb\xbf"):
        yield Finding("byte order mark", f"{tables.path / file}:1", "begins with a byte order mark", f"{FIX} removes it", "warning")
    if b"\r\n" in data:
        number = data.count(b"\n", 0, data.index(b"\r\n")) + 1
        what = "has Windows line ends, over which Kaldi's own tools stumble"
        yield Finding("line ends", f"{tables.path / file}:{number}", what, f"{FIX} writes Unix ones", "warning")
    if file in EMPTY_OK:
        return
    for number, key, value in tables.lines[file]:
        if not value:
            what = f"id {key!r} stands alone; expected '{key} VALUE'"
            repair = f"Complete the line, or {FIX} drops the entry and what depends on it"
            yield Finding("no value", f"{tables.path / file}:{number}", what, repair, ids=_lost(tables, file, key))


def _order(tables: Tables, file: str) -> Iterator[Finding]:
    lines = tables.lines[file]
    for before, line in itertools.pairwise(lines):
        if line.key < before.key:  # code points, that is the order of UTF-8 bytes and of LC_ALL=C sort
            what = f"{line.key!r} comes after {before.key!r}; Kaldi's tools need the order of 'LC_ALL=C sort'"
            yield Finding("unsorted", f"{tables.path / file}:{line.number}", what, f"{FIX} sorts it")
            return


def _repeated(tables: Tables, file: str) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for number, key, value in tables.lines[file]:
        if key not in seen:
            seen[key] = value
            continue
        where, first = f"{tables.path / file}:{number}", tables.numbers[file][key]
        if value == seen[key]:
            yield Finding("repeated line", where, f"{key!r} again, as in line {first}", f"{FIX} keeps one of the two")
        else:
            what = f"{key!r} again with another value than in line {first}: {value!r} against {seen[key]!r}"
            repair = f"Remove or rename one of the two; {FIX} drops both, since which is right cannot be known"
            yield Finding("duplicate id", where, what, repair, ids=_lost(tables, file, key))


def conflicting(tables: Tables, file: str) -> set[str]:
    """The ids that a table gives two different values."""
    return {line.key for line in tables.lines[file] if line.value != tables.entries[file][line.key]}


def _lost(tables: Tables, file: str, key: str) -> tuple[str, ...]:
    """The utterances that cannot be used when this entry cannot."""
    return tables.users(file, key) if file in NEEDED else ()


def _strangers(tables: Tables, file: str) -> Iterator[Finding]:
    """Entries for utterances, recordings or speakers that do not exist: a transcript without utterance."""
    kind = KEYS[file]
    known = known_ids(tables).get(kind)
    if file == tables.base or known is None or file in ("wav.scp", "spk2utt"):
        return
    home = {"utterance": tables.base, "recording": "wav.scp", "speaker": "utt2spk"}[kind]
    for key in tables.entries[file]:
        if key not in known:
            what = f"{kind} {key!r} is not in {home}"
            yield Finding(f"without {kind}", tables.where(file, key), what, f"Add it to {home}, or {FIX} drops the line")


def known_ids(tables: Tables) -> dict[str, set[str]]:
    """Kind of id -> the ids that exist; a kind whose table is absent is left out."""
    known = {"utterance": set(tables.entries[tables.base])}
    if "wav.scp" in tables.entries:
        known["recording"] = set(tables.entries["wav.scp"])
    if "utt2spk" in tables.entries:
        known["speaker"] = set(tables.entries["utt2spk"].values())
    return known


def _values(tables: Tables) -> Iterator[Finding]:
    """Lines whose value cannot be understood, and segments of recordings that are not there."""
    recordings = tables.entries.get("wav.scp", {})
    for key, segment in tables.segments.items():
        where, drop = tables.where("segments", key), f"or {FIX} drops the utterance"
        if isinstance(segment, str):
            if tables.entries["segments"][key]:
                yield Finding("bad segment", where, f"{key!r}: {segment}", f"Correct the line, {drop}", ids=(key,))
        elif "wav.scp" in tables.lines and segment.recording not in recordings:
            what = f"{key!r} is cut from recording {segment.recording!r}, which wav.scp lacks"
            yield Finding("without recording", where, what, f"Add the recording, {drop}", ids=(key,))
    for key, value in tables.entries.get("utt2dur", {}).items():
        try:
            parse_seconds(value)
        except ValueError as error:
            if value:
                yield Finding("bad duration", tables.where("utt2dur", key), f"{key!r}: {error}", f"{FIX} measures it anew")


def _missing(tables: Tables) -> Iterator[Finding]:
    """Utterances that a table lacks, and recordings that no segment uses."""
    consequences = {
        "utt2spk": ("error", f"Add its speaker, or {FIX} drops the utterance"),
        "text": ("warning", "Add its transcript, or leave it for training without labels"),
        "utt2label": ("warning", "Add its class, or leave it for training without labels"),
        "utt2dur": ("warning", f"{FIX} measures it"),
        "feats.scp": ("warning", "Run 'sigssl features' again"),
    }
    for file, (level, repair) in consequences.items():
        if file not in tables.entries:
            continue
        for key in tables.utterances:
            if key not in tables.entries[file]:
                ids = (key,) if level == "error" else ()
                what = f"utterance {key!r} has no line in {file}"
                yield Finding(f"not in {file}", tables.where(tables.base, key), what, repair, level, ids)  # type: ignore[arg-type]
    if "segments" in tables.lines:
        for recording in sorted(tables.entries.get("wav.scp", {}).keys() - tables.cut_from.keys()):
            what = f"no segment is cut from recording {recording!r}"
            yield Finding("unused recording", tables.where("wav.scp", recording), what, "Leave it, or remove it", "warning")


def _speakers(tables: Tables) -> Iterator[Finding]:
    if "utt2spk" not in tables.entries or "spk2utt" not in tables.entries:
        return
    real = spk2utt(tables.entries["utt2spk"])
    for speaker, value in tables.entries["spk2utt"].items():
        if sorted(value.split()) != real.get(speaker, []):
            what = f"the utterances of {speaker!r} are not those of utt2spk"
            yield Finding("spk2utt differs", tables.where("spk2utt", speaker), what, f"{FIX} writes it anew from utt2spk")
    for speaker in sorted(real.keys() - tables.entries["spk2utt"].keys()):
        what = f"speaker {speaker!r} of utt2spk is absent"
        yield Finding("spk2utt differs", tables.where("spk2utt"), what, f"{FIX} writes it anew from utt2spk")


def histogram(tables: Tables, file: str) -> Counter[str]:
    """Class -> how often it occurs in `utt2label`, or token -> how often in `phones` or `stages`."""
    values = tables.entries.get(file, {}).values()
    return Counter(values) if file == "utt2label" else Counter(token for value in values for token in value.split())


def _labels(tables: Tables) -> Iterator[Finding]:
    strange = sorted(histogram(tables, "stages").keys() - {*STAGES, UNSCORED})
    if strange:
        what = f"{', '.join(map(repr, strange[:8]))} are no stages; expected {' '.join((*STAGES, UNSCORED))}"
        yield Finding("unknown stages", str(tables.path / "stages"), what, "Write stages as these tokens")
    for file in LABELS:
        counts = histogram(tables, file)
        if not counts:
            continue
        where = str(tables.path / file)
        folded: dict[str, list[str]] = {}
        for name in counts:
            folded.setdefault(name.casefold(), []).append(name)
        twins = [names for names in folded.values() if len(names) > 1]
        alone = sum(n == 1 for n in counts.values())
        if len(counts) == 1:
            yield Finding("one class", where, f"every label is {next(iter(counts))!r}", "Check how the labels were made", "warning")
        elif file == "utt2label" and alone / len(counts) > SINGLETONS:
            what = f"{alone} of {len(counts)} classes have one utterance only"
            yield Finding("singletons", where, what, "Check that these are classes and not free text or ids", "warning")
        if twins and file == "utt2label":  # phone sets tell symbols apart by case
            what = f"labels that differ by case only: {', '.join(repr(name) for name in twins[0])}"
            yield Finding("label variants", where, what, "Write them alike if they mean the same", "warning")


def label_facts(tables: Tables, most: int = 12) -> Iterator[str]:
    """One line for each table of labels: how many classes, the most frequent with their counts, the share of singletons."""
    for file in LABELS:
        counts = histogram(tables, file)
        if counts:
            listed = ", ".join(f"{name} {n}" for name, n in counts.most_common(most)) + (", ..." if len(counts) > most else "")
            alone = sum(n == 1 for n in counts.values())
            yield f"{file}: {len(counts)} classes ({listed}); {100 * alone / len(counts):.0f} % singletons"
