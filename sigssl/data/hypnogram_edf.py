"""Stages from the annotations of an EDF+ file."""

from __future__ import annotations

from pathlib import Path

from sigssl.data.edf_annotations import Annotation, read_annotations
from sigssl.data.edf_header import read_header
from sigssl.data.hypnogram import Bout, Hypnogram, from_bouts
from sigssl.data.stages import LABELS, UNDIVIDED, folded, parse_labels
from sigssl.errors import UserError

PREFIXES = ("sleep stage", "stage ")


def read(path: Path, epoch: float, classes: int) -> Hypnogram:
    """See :func:`sigssl.data.hypnogram.read_hypnogram`."""
    header = read_header(path)
    annotations, notes = read_annotations(header)
    if not annotations:
        raise UserError(f"{path}: holds no annotations. A night's stages are often in a file of their own beside it.")
    return from_events(annotations, epoch, str(path), classes, notes)


def from_events(events: list[Annotation], epoch: float, where: str, classes: int, notes: list[str]) -> Hypnogram:
    """Stages from a list in which other events may stand too: arousals, lights off.

    An event whose text is no stage is left out only if it cannot have been meant for one: it is shorter than an epoch, or stages
    cover all of it. Else a misspelt stage would become a hole in the night.

    Raises:
        UserError: unknown labels, or none that is a stage.
    """
    stages = [event for event in events if is_stage(event.text)]
    if not stages:
        seen = ", ".join(repr(text) for text in list(dict.fromkeys(event.text for event in events))[:8])
        raise UserError(f"{where}: no sleep stage among {len(events)} annotations ({seen}). Expected such as 'Sleep stage N2'.")
    lasting = [_lasting(event, following, epoch) for event, following in zip(stages, [*stages[1:], None], strict=True)]
    others = [event for event in events if not is_stage(event.text)]
    doubtful = [event for event in others if event.duration >= epoch and not _covered(event, lasting)]
    tokens = parse_labels([event.text for event in (*lasting, *doubtful)], where, classes)
    if others:
        notes = [*notes, f"{len(others)} annotations are no stages and left out"]
    pairs = zip(lasting, tokens, strict=False)
    return from_bouts([Bout(event.onset, event.duration, token) for event, token in pairs], epoch, where, notes)


def is_stage(text: str) -> bool:
    """Whether an annotation is a stage, or at least meant to be one."""
    label = folded(text)
    return label in LABELS or label in UNDIVIDED or label.startswith(PREFIXES)


def _lasting(event: Annotation, following: Annotation | None, epoch: float) -> Annotation:
    """A stage that was noted without duration lasts up to the next; the last of them an epoch."""
    if event.duration > 0:
        return event
    return event._replace(duration=following.onset - event.onset if following else epoch)


def _covered(event: Annotation, stages: list[Annotation]) -> bool:
    left = event.duration
    for stage in stages:
        left -= max(min(event.onset + event.duration, stage.onset + stage.duration) - max(event.onset, stage.onset), 0.0)
    return left < 1.0
