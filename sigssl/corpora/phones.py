"""Utterances with phone segments in a table: labels per frame for probes."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, Item, find_root, one_line, speaker_first, write_parts
from sigssl.corpora.phoneset import Phone, fold, per_frame
from sigssl.corpora.rows import Row, read_csv
from sigssl.data import audio
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="utterances with phone segments (metadata.csv, phones.csv), labels per 10-ms frame",
    licence="per file, see metadata.csv",
    size="19 utterances, 1.1 min; or your own",
    example="sigssl prepare phones --root speech_phones data/phones",
)
SPEAKER = re.compile(r"(?P<speaker>sb_spk\d+|ps|arctic_[a-z]+|praatio|librispeech_\d+)[_-](?P<rest>.+)$")


def prepare(root: Path | None, out: Path, phone_set: str = "timit39") -> dict[str, DataDir]:
    """Write the parts `all` and `aligned` (the utterances that have phone segments).

    Args:
        root: folder with `metadata.csv` (path, utt_id, and if known speaker, transcript) and `phones.csv` (utt_id, start_s,
            end_s, phone).
        out: folder to write to.
        phone_set: `timit39` folds ARPAbet and TIMIT phones to TIMIT's 39 classes; `raw` keeps the table's names.

    Returns:
        Part -> data directory, with `phones`: one token per 10 ms, the phone at the middle of the frame.
    """
    if phone_set not in ("timit39", "raw"):
        raise UserError(f"phone_set {phone_set!r}; expected timit39 or raw.")
    place, _ = find_root(root, "speech_phones", ["metadata.csv"])
    segments = read_segments(place / "phones.csv", phone_set)
    rows = read_csv(place / "metadata.csv", ["path", "utt_id"])
    if strangers := set(segments) - {row["utt_id"] for row in rows}:
        raise UserError(f"{place / 'phones.csv'}: {sorted(strangers)[0]!r} is no utt_id of metadata.csv. Add its row there.")
    items = [item(place, row, segments.get(row["utt_id"], [])) for row in rows]
    return write_parts(out, {"all": items, "aligned": [i for i in items if i.phones]})


def read_segments(path: Path, phone_set: str) -> dict[str, list[Phone]]:
    """Utterance -> phones in order of time.

    Raises:
        UserError: an unknown phone, or times that are none or overlap; file and line are named.
    """
    segments: dict[str, list[Phone]] = {}
    for row in read_csv(path, ["utt_id", "start_s", "end_s"]):
        start, end = row.number("start_s"), row.number("end_s")
        before = segments.setdefault(row["utt_id"], [])
        if start is None or end is None or not 0 <= start <= end or (before and start < before[-1].end - 1e-4):
            raise UserError(f"{row.where}: {start} to {end} s does not follow on the phone before; expected rows sorted by time.")
        try:
            name = fold(row.get("phone", "")) if phone_set == "timit39" else row.get("phone") or "sil"
        except UserError as error:
            raise UserError(f"{row.where}: {error} Use --phone-set raw to keep other phone sets.") from None
        before.append(Phone(start, end, name))
    return segments


def item(place: Path, row: Row, phones: list[Phone]) -> Item:
    """The item of one row; the speaker comes from its column, or from the prefixes of the known sources."""
    known = SPEAKER.match(row["utt_id"])
    if "speaker" in row:
        speaker, name = speaker_first(row["speaker"], row["utt_id"])
    else:
        speaker, name = speaker_first(known["speaker"], known["rest"]) if known else (row["utt_id"], row["utt_id"])
    path = place / row["path"]
    seconds = audio.info(path).duration
    labels = per_frame(phones, seconds) if phones else None
    return Item(name, path, speaker, text=one_line(row.get("transcript")), phones=labels, seconds=seconds)
