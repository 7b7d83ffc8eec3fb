"""Stages from XML: the NSRR's own form, and Compumedics Profusion's. Entities and document types are refused unread."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from sigssl.data.hypnogram import SLACK, Bout, Hypnogram, from_bouts
from sigssl.data.stages import parse_codes, parse_labels
from sigssl.errors import UserError

LARGEST = 256 << 20  # bytes


def is_xml(path: Path) -> bool:
    """Whether a file begins as XML does, in UTF-8 or UTF-16."""
    with path.open("rb") as file:
        head = file.read(64)
    text = head.decode("utf-16", "ignore") if head[:2] in (b"\xff\xfe", b"\xfe\xff") else head.decode("utf-8-sig", "ignore")
    return text.lstrip().startswith("<")


def read(path: Path, epoch: float, classes: int) -> Hypnogram:
    """See :func:`sigssl.data.hypnogram.read_hypnogram`."""
    root = parse_xml(path)
    events = [event for event in root.iter("ScoredEvent") if _said(event, "EventType").casefold().startswith("stages")]
    if events:
        return _nsrr(path, root, events, epoch, classes)
    listed = root.find(".//SleepStages")
    if listed is not None:
        return _profusion(path, root, listed, epoch)
    raise UserError(
        f"{path}: XML with neither ScoredEvents of type Stages (NSRR) nor SleepStages (Compumedics Profusion); root <{root.tag}>."
    )


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse an XML file; namespaces are dropped from the tags.

    Raises:
        UserError: no XML, very large, or with a document type (whose entities can be made to fill any memory).
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise UserError(f"{path}: declares a document type (<!DOCTYPE ...>), which no hypnogram needs. It is not read.")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag.split(":")[-1], attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag.split(":")[-1])
    parser.CharacterDataHandler = builder.data
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path}: {path.stat().st_size >> 20} MiB of XML; no hypnogram is larger than {LARGEST >> 20}.")
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
        return builder.close()
    except expat.ExpatError as error:
        raise UserError(f"{path}: not well-formed XML: {error}. Fetch it again.") from None


def _nsrr(path: Path, root: ElementTree.Element, events: list[ElementTree.Element], epoch: float, classes: int) -> Hypnogram:
    _check_epoch(path, root, epoch)
    tokens = parse_labels([_said(event, "EventConcept") for event in events], str(path), classes)
    starts = [_seconds(path, event, "Start") for event in events]
    lengths = [_seconds(path, event, "Duration") for event in events]
    made = from_bouts(map(Bout, starts, lengths, tokens), epoch, str(path))
    for event in root.iter("ScoredEvent"):
        if _said(event, "EventConcept").casefold() == "recording start time":
            total = _seconds(path, event, "Duration")
            if abs(total - made.end) > max(epoch, SLACK):
                notes = (*made.notes, f"stages end at {made.end:g} s, the recording as stated at {total:g} s")
                return Hypnogram(made.stages, made.epoch, made.onset, notes)
    return made


def _profusion(path: Path, root: ElementTree.Element, listed: ElementTree.Element, epoch: float) -> Hypnogram:
    _check_epoch(path, root, epoch)
    codes = [(stage.text or "").strip() for stage in listed.iter("SleepStage")]
    if not codes:
        raise UserError(f"{path}: SleepStages is empty: the night was not scored.")
    return Hypnogram(parse_codes(codes, str(path), "rk"), epoch)


def _check_epoch(path: Path, root: ElementTree.Element, epoch: float) -> None:
    stated = root.find(".//EpochLength")
    if stated is None or not (stated.text or "").strip():
        return
    if _number(path, stated.text or "", "EpochLength") != epoch:
        raise UserError(f"{path}: states epochs of {(stated.text or '').strip()} s; {epoch:g} s asked for. Give the stated one.")


def _said(event: ElementTree.Element, tag: str) -> str:
    return (event.findtext(tag) or "").strip()


def _seconds(path: Path, event: ElementTree.Element, tag: str) -> float:
    return _number(path, _said(event, tag), tag)


def _number(path: Path, text: str, tag: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}: <{tag}> is {text!r}; expected seconds.") from None
