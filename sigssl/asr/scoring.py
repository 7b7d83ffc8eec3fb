"""Word and character error rates of transcripts, by jiwer: alignments, speakers, intervals, confusions.

WER = (substitutions + deletions + insertions) / words of the reference, over all utterances together; CER likewise of characters,
spaces included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sigssl.asr.tokens import Normaliser
from sigssl.downstream.metrics import bootstrap, by_group, resamples
from sigssl.errors import UserError
from sigssl.optional import require

NOTHING = "***"  # what Kaldi writes where a word has no partner


class Counts(NamedTuple):
    """Hits, substitutions, deletions and insertions."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """All but the hits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def total(self) -> int:
        """Units of the reference."""
        return self.hits + self.substitutions + self.deletions


class Pair(NamedTuple):
    """A word of the reference beside one of the hypothesis (`***` where there is none); `operation` is C, S, D or I."""

    reference: str
    hypothesis: str
    operation: str


@dataclass(frozen=True)
class Scored:
    """One utterance: its counts of words and of characters, and the alignment of its words."""

    id: str
    speaker: str
    words: Counts
    characters: Counts
    pairs: list[Pair]


def score(
    references: Mapping[str, str], hypotheses: Mapping[str, str], utt2spk: Mapping[str, str], normaliser: Normaliser
) -> list[Scored]:
    """Score every utterance of the reference; one without hypothesis counts as if nothing had been heard.

    Args:
        references: utterance -> transcript.
        hypotheses: utterance -> what was recognised; utterances that the reference lacks are left out.
        utt2spk: utterance -> speaker; an utterance without one is a speaker by itself.
        normaliser: applied to both.

    Raises:
        UserError: no references, none that has a word, or no utterance in common.
        MissingExtraError: jiwer is not installed.
    """
    if not references.keys() & hypotheses.keys():
        raise UserError("reference and hypothesis have no utterance in common. Check that their ids are the same.")
    ids = sorted(references)
    refs = [normaliser(references[id]) for id in ids]
    if not any(refs):
        raise UserError("no reference transcript has a word, so there is no error rate. Check the reference's text.")
    hyps = [normaliser(hypotheses.get(id, "")) for id in ids]
    jiwer = require("jiwer", "for word error rates")
    words, characters = jiwer.process_words(refs, hyps), jiwer.process_characters(refs, hyps)
    return [
        Scored(
            id,
            utt2spk.get(id, id),
            _counts(word_chunks),
            _counts(character_chunks),
            _pairs(ref.split(), hyp.split(), word_chunks),
        )
        for id, ref, hyp, word_chunks, character_chunks in zip(
            ids, refs, hyps, words.alignments, characters.alignments, strict=True
        )
    ]


def summarise(scored: Sequence[Scored], draws: int = 2000, most: int = 50) -> dict[str, Any]:
    """What metrics.json says.

    Args:
        scored: of each utterance.
        draws: resamples for the 95 % intervals, over speakers; over utterances where there is one speaker.
        most: confusions that are listed of each kind.
    """
    speakers = sorted({one.speaker for one in scored})
    unit = "speakers" if len(speakers) > 1 else "utterances"
    made: dict[str, Any] = {"utterances": len(scored), "speakers": len(speakers), "interval_over": unit}
    for name, kind in (("wer", "words"), ("cer", "characters")):
        groups = [one.speaker if unit == "speakers" else one.id for one in scored]
        made[name] = _rate([getattr(one, kind) for one in scored], groups, draws)
    made["sentence_errors"] = sum(one.words.errors > 0 for one in scored)
    made["by_speaker"] = {}
    for speaker in speakers:
        own = [one for one in scored if one.speaker == speaker]
        words, characters = _sum([one.words for one in own]), _sum([one.characters for one in own])
        made["by_speaker"][speaker] = {
            "utterances": len(own),
            "words": words.total,
            "errors": words.errors,
            "wer": _ratio(words),
            "cer": _ratio(characters),
        }
    kinds: dict[str, Counter[tuple[str, str]]] = {"S": Counter(), "D": Counter(), "I": Counter()}
    for pair in (pair for one in scored for pair in one.pairs if pair.operation != "C"):
        kinds[pair.operation][pair.reference, pair.hypothesis] += 1
    names = {"S": "substitutions", "D": "deletions", "I": "insertions"}
    made["confusions"] = {
        names[kind]: [{"reference": r, "hypothesis": h, "count": n} for (r, h), n in _first(counter, most)]
        for kind, counter in kinds.items()
    }
    return made


def kaldi_line(rate: Mapping[str, Any], name: str = "WER") -> str:
    """The line that Kaldi's compute-wer prints: `%WER 12.34 [ 123 / 997, 4 ins, 10 del, 109 sub ]`."""
    return (
        f"%{name} {100 * rate['value']:.2f} [ {rate['errors']} / {rate['total']}, {rate['insertions']} ins, "
        f"{rate['deletions']} del, {rate['substitutions']} sub ]"
    )


def alignments(scored: Sequence[Scored]) -> str:
    """Kaldi's `per_utt`: of each utterance its reference, hypothesis, operations, counts (correct, sub, ins, del)."""
    lines = []
    for one in scored:
        widths = [max(len(pair.reference), len(pair.hypothesis), 1) for pair in one.pairs]
        for name, column in (("ref", 0), ("hyp", 1), ("op", 2)):
            cells = (pair[column].ljust(width) for pair, width in zip(one.pairs, widths, strict=True))
            lines.append(f"{one.id} {name:<4} {'  '.join(cells)}".rstrip())
        lines.append(f"{one.id} #csid {one.words.hits} {one.words.substitutions} {one.words.insertions} {one.words.deletions}")
    return "\n".join(lines) + "\n"


def _counts(chunks: Sequence[Any]) -> Counts:
    sizes: Counter[str] = Counter()
    for chunk in chunks:
        spoken, heard = chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        sizes[chunk.type] += max(spoken, heard)
    return Counts(sizes["equal"], sizes["substitute"], sizes["delete"], sizes["insert"])


def _pairs(reference: list[str], hypothesis: list[str], chunks: Sequence[Any]) -> list[Pair]:
    letters, made = {"equal": "C", "substitute": "S", "delete": "D", "insert": "I"}, []
    for chunk in chunks:
        spoken = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        heard = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for place in range(max(len(spoken), len(heard))):
            pair = (spoken[place] if spoken else NOTHING, heard[place] if heard else NOTHING)
            made.append(Pair(*pair, letters[chunk.type]))
    return made


def _rate(counts: Sequence[Counts], groups: Sequence[str], draws: int) -> dict[str, Any]:
    """Value, counts and interval; speakers whose references are empty cannot be drawn alone, so the interval leaves them out."""
    _, errors = by_group(np.array([one.errors for one in counts], dtype=float), groups)
    _, totals = by_group(np.array([one.total for one in counts], dtype=float), groups)
    some = totals > 0
    drawn = bootstrap(errors[some], totals[some], resamples(int(some.sum()), draws))
    pooled = _sum(counts)
    made = {"value": _ratio(pooled), "low": drawn.low, "high": drawn.high, "errors": pooled.errors, "total": pooled.total}
    return made | pooled._asdict()


def _sum(counts: Sequence[Counts]) -> Counts:
    return Counts(*(sum(column) for column in zip(*counts, strict=True)))


def _ratio(counts: Counts) -> float | None:
    """Errors per unit of the reference; None where it has none."""
    return counts.errors / counts.total if counts.total else None


def _first(counter: Counter[tuple[str, str]], most: int) -> list[tuple[tuple[str, str], int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:most]
