"""What lhotse says of an utterance, in the tables of a data directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sigssl.data.datadir import DataDir

OWN = {"shard_origin", "shar_epoch", "dataloading_info"}  # custom fields of lhotse's own readers


def describe_utterance(
    data: DataDir,
    id: str,
    supervisions: Sequence[Mapping[str, Any]],
    custom: Mapping[str, Any],
    notes: Counter[str],
    label: str = "label",
) -> None:
    """Fill in text, speaker, gender, language, label and further tables of one utterance.

    Texts are joined in the order of time; of speakers, languages and genders there must be one, or none is given.

    Args:
        data: gets the entries.
        id: of the utterance.
        supervisions: lhotse's, as dicts.
        custom: fields of the cut; those of its supervision, where it has one, go before them.
        notes: counts what is left out.
        label: field that becomes utt2label.
    """
    ordered = sorted(supervisions, key=lambda one: one["start"])
    texts = [one["text"] for one in ordered if one.get("text") is not None]
    if texts:
        data.text[id] = " ".join(" ".join(texts).split())
    speaker, gender, language = (_one(what, ordered, notes) for what in ("speaker", "gender", "language"))
    if speaker:
        data.utt2spk[id] = speaker
        if gender:
            data.carried.setdefault("spk2gender", {})[speaker] = gender
    if language:
        data.carried.setdefault("utt2lang", {})[id] = language
    fields = dict(custom)
    if len(ordered) == 1:  # of several, what holds for a part of the cut is not the cut's
        fields |= ordered[0].get("custom") or {}
    if fields.get(label) is not None:
        data.utt2label[id] = _word(fields.pop(label))
    if "utt2uniq" in fields:
        data.carried.setdefault("utt2uniq", {})[id] = _word(fields.pop("utt2uniq"))
    for name, table in (("phones", data.phones), ("stages", data.stages)):
        if isinstance(fields.get(name), list):
            table[id] = [str(token) for token in fields.pop(name)]
    data.epoch_length = float(fields.pop("epoch_length", data.epoch_length))
    notes.update(f"custom field {name!r} is left out" for name in fields if name not in OWN)


def _one(what: str, supervisions: Sequence[Mapping[str, Any]], notes: Counter[str]) -> str | None:
    values = {one.get(what) for one in supervisions}
    if len(values) > 1:
        notes[f"several values of {what}: none is given"] += 1
        return None
    value = next(iter(values), None)
    return _word(value) if value else None


def _word(value: Any) -> str:
    """A value as one word, as Kaldi's tables hold it."""
    return "_".join(str(value).split())
