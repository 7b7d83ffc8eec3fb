"""Checking a data directory, and mending what can be mended without a choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sigssl.data.check_media import Depth, Probe, check_features, check_recordings, durations, probe_all
from sigssl.data.check_tables import check_tables, label_facts
from sigssl.data.findings import Finding, Report
from sigssl.data.repair import repair
from sigssl.data.tables import Tables
from sigssl.errors import UserError


def validate(
    path: Path | str,
    *,
    depth: Depth = "decode",
    fix: bool = False,
    sample_rate: int | None = None,
    min_good: float = 0.95,
    nj: int = 1,
    show: bool = False,
) -> Report:
    """Check a data directory.

    Args:
        path: the folder.
        depth: how far recordings and features are opened: `decode` (all of it; alone finds truncated FLAC and MP3 files and NaN),
            `header`, or `none` (tables only).
        fix: mend what is safe: sort, drop repeated lines and entries without utterance, drop utterances that cannot be used,
            measure utt2dur, write spk2utt anew. Old files go into `.backup`, dropped utterances into `quarantine.tsv`.
        sample_rate: the rate that every recording must have, in hertz; None only warns where they differ.
        min_good: share of usable utterances below which nothing is mended and the exit code is 2.
        nj: worker processes that open recordings.
        show: whether to show a progress bar.

    Returns:
        The report.

    Raises:
        UserError: no data directory, or one without a single utterance.
    """
    tables = Tables(path)
    if not tables.utterances:
        raise UserError(f"{tables.path / tables.base}: holds no utterance. Check the stage that wrote it.")
    probes = probe_all(tables, depth, nj, show)
    found = list(_check(tables, probes, depth, sample_rate))
    report = Report(tables.path, len(tables.utterances), found, list(_facts(tables, probes)), min_good)
    if fix and report.good >= min_good:
        report.repaired = repair(tables, report, probes)
        after = Tables(path)
        still = {key: seen for key, seen in probes.items() if key in after.entries.get("wav.scp", {})}
        report.left = list(_check(after, still, "none" if depth == "none" else "header", sample_rate))
    return report


def _check(tables: Tables, probes: dict[str, Probe], depth: Depth, sample_rate: int | None) -> Iterator[Finding]:
    yield from check_tables(tables)
    yield from check_recordings(tables, probes, sample_rate)
    if depth != "none":
        yield from check_features(tables, durations(tables, probes), decode=depth == "decode")


def _facts(tables: Tables, probes: dict[str, Probe]) -> Iterator[str]:
    speakers = set(tables.entries.get("utt2spk", {}).values())
    if speakers:
        yield f"{len(speakers)} speakers"
    sound = [seen for seen in probes.values() if seen.sample_rate]
    if sound:
        measured = durations(tables, {key: seen for key, seen in probes.items() if seen.sample_rate})
        hours = sum(measured.values()) / 3600
        rates = ", ".join(f"{n} at {rate} Hz" for rate, n in Counter(s.sample_rate for s in sound).most_common())
        channels = ", ".join(f"{n} with {c} channel(s)" for c, n in Counter(s.channels for s in sound).most_common())
        yield f"{hours:.2f} hours in {len(sound)} recordings: {rates}; {channels}"
    nights = {key: seen for key, seen in probes.items() if seen.duration and not seen.sample_rate}
    if nights:
        channels = ", ".join(f"{n} with {c} channel(s)" for c, n in Counter(s.channels for s in nights.values()).most_common(5))
        yield f"{sum(durations(tables, nights).values()) / 3600:.2f} hours of {len(nights)} polysomnograms: {channels}"
    commands = sum(value.endswith("|") for value in tables.entries.get("wav.scp", {}).values())
    if commands:
        yield f"{commands} recordings are commands; those that do more than decode a file were not run, so not checked"
    yield from label_facts(tables)
