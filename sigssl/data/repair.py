"""Mending a data directory: what can be mended without a choice is, the old files go into .backup."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from sigssl.data.check_media import DURATION_TOLERANCE, Probe, durations
from sigssl.data.check_tables import EMPTY_OK, conflicting
from sigssl.data.datadir import spk2utt
from sigssl.data.findings import Report
from sigssl.data.io import write_table
from sigssl.data.segments import format_seconds
from sigssl.data.tables import KEYS, Tables

BACKUP = ".backup"
QUARANTINE = "quarantine.tsv"


def repair(tables: Tables, report: Report, probes: Mapping[str, Probe]) -> list[str]:
    """Write the tables anew: sorted, each id once, Unix line ends, without the entries that nothing can use.

    Args:
        tables: the directory as it stands.
        report: what was found in it; the utterances that it sets aside are dropped, and listed in quarantine.tsv.
        probes: recording -> what opening it gave; utt2dur takes the durations over, and is made where it is absent.

    Returns:
        What was done, one line for each file.
    """
    alive = _alive(tables, report.quarantined.keys(), probes)
    mended = {file: _kept(tables, file, alive[KEYS[file]]) for file in tables.lines}
    stated = {key: value for key, value in mended.get("utt2dur", {}).items() if _is_time(value)}
    for key, seconds in durations(tables, probes).items():
        if key in alive["utterance"] and (key not in stated or abs(float(stated[key]) - seconds) > DURATION_TOLERANCE):
            stated[key] = format_seconds(seconds)
    if stated:
        mended["utt2dur"] = stated
    if "utt2spk" in mended:
        mended["spk2utt"] = {speaker: " ".join(ids) for speaker, ids in spk2utt(mended["utt2spk"]).items()}
    done = []
    for file, table in mended.items():
        if _is_written(tables.path / file, table):
            continue
        backup(tables.path / file)
        write_table(tables.path / file, table)
        done.append(f"{tables.path / file}: {len(tables.lines.get(file, []))} lines before, {len(table)} now")
    if report.quarantined:
        report.write_quarantine(tables.path / QUARANTINE)
        done.append(
            f"{tables.path / QUARANTINE}: lists the {len(report.quarantined)} utterances that were dropped, with the reasons"
        )
    return done


def backup(path: Path) -> None:
    """Copy a file into .backup beside it; one that is there already is kept, and the new one numbered."""
    if not path.exists():
        return
    folder = path.parent / BACKUP
    folder.mkdir(exist_ok=True)
    target, number = folder / path.name, 0
    while target.exists():
        number += 1
        target = folder / f"{path.name}.{number}"
    shutil.copy2(path, target)


def _alive(tables: Tables, bad: Collection[str], probes: Mapping[str, Probe]) -> dict[str, set[str]]:
    """Kind of id -> those that stay: sound utterances, recordings that they use or nobody does, and their speakers."""
    utterances = {key for key in tables.utterances if key not in bad}
    recordings = set()
    for key in tables.entries.get("wav.scp", {}):
        users = tables.cut_from.get(key, ())
        faulty = key in probes and bool(probes[key].fault)
        if utterances.intersection(users) or not (users or faulty):
            recordings.add(key)
    utt2spk = tables.entries.get("utt2spk", {})
    return {"utterance": utterances, "recording": recordings, "speaker": {utt2spk[key] for key in utterances if key in utt2spk}}


def _kept(tables: Tables, file: str, alive: set[str]) -> dict[str, str]:
    """The entries of a table that stay: of what is alive, with a value where one is needed, and without a contradiction."""
    unclear = conflicting(tables, file)
    return {
        key: value
        for key, value in tables.entries[file].items()
        if key in alive and key not in unclear and (value or file in EMPTY_OK)
    }


def _is_written(path: Path, table: Mapping[str, str]) -> bool:
    """Whether the file holds these very lines."""
    text = "".join(f"{key} {value}\n" if value else f"{key}\n" for key, value in sorted(table.items()))
    return path.exists() and path.read_bytes() == text.encode()


def _is_time(value: str) -> bool:
    try:
        return float(value) >= 0
    except ValueError:
        return False
