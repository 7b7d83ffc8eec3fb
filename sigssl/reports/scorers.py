"""Two scorings of the same nights, as files of any kind: how far they agree, as JSON, figures and one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sigssl.corpora.psg_tree import pair
from sigssl.data.hypnogram import Hypnogram, read_hypnogram
from sigssl.data.io import write_json, write_text
from sigssl.downstream.agreement import NightPair, agreement
from sigssl.downstream.night import around_sleep
from sigssl.errors import UserError
from sigssl.reports.agreement import BLAND_ALTMAN, CONFUSION, agreement_parts, draw_bland_altman, draw_confusion
from sigssl.reports.html import heading, link, listed, page
from sigssl.reports.recordings import SCORED, files_below, pairing_key, person_of


def compare(
    first: Path, second: Path, out: Path, epoch: float = 30.0, *, everything: bool = False, persons: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Compare two scorings; writes agreement.json, confusion.png, bland_altman.png and index.html.

    Args:
        first: the reference or first scorer: a hypnogram, or a folder of them.
        second: the other; files of two folders are paired by name.
        out: where to.
        epoch: seconds.
        everything: compare every epoch that both scored; by default those up to 30 min around the first one's sleep.
        persons: night -> person; by default what the names say.

    Returns:
        What is in agreement.json, and the nights that could not be compared, with reasons.

    Raises:
        UserError: no such place, or no night that could be compared.
    """
    pairs, bad = _paired(first, second)
    nights = []
    for name, (one, other) in pairs.items():
        try:
            person = (persons or {}).get(name) or person_of(one) or name
            nights.append(_night(name, person, read_hypnogram(one, epoch), read_hypnogram(other, epoch), everything))
        except UserError as error:
            bad.append((name, " ".join(str(error).split())))
    if not nights:
        raise UserError(f"{first} and {second}: no night to compare. " + "; ".join(f"{name}: {why}" for name, why in bad[:4]))
    found, words = agreement(nights), (_called(first), _called(second))
    words = words if words[0] != words[1] else ("first", "second")
    out.mkdir(parents=True, exist_ok=True)
    draw_confusion(found, out / CONFUSION, words)
    figures = {CONFUSION, *([BLAND_ALTMAN] if draw_bland_altman(found, out / BLAND_ALTMAN) else [])}
    write_json(out / "agreement.json", found | {"first": str(first), "second": str(second), "failed": bad})
    parts = [heading(f"Agreement of {words[0]} and {words[1]}", 1), *agreement_parts(found, figures, words)]
    parts += [heading("Not compared"), listed(f"{name}: {why}" for name, why in bad)] if bad else []
    write_text(
        out / "index.html", page("Agreement of two scorings", [*parts, f"<p>{link('agreement.json', 'agreement.json')}</p>"])
    )
    return found, bad


def common(one: Hypnogram, other: Hypnogram) -> tuple[list[str], list[str]]:
    """The tokens of both over the epochs that both cover.

    Raises:
        UserError: no such epoch, or grids that are shifted by more than a second.
    """
    shift = (other.onset - one.onset) / one.epoch
    first = round(shift)
    if abs(shift - first) * one.epoch > 1.0:
        raise UserError(f"they begin {other.onset - one.onset:g} s apart, which is no multiple of {one.epoch:g}-s epochs.")
    left, right = one.stages[max(first, 0) :], other.stages[max(-first, 0) :]
    size = min(len(left), len(right))
    if not size:
        raise UserError("they have no epoch in common.")
    return left[:size], right[:size]


def _night(name: str, person: str, one: Hypnogram, other: Hypnogram, everything: bool) -> NightPair:
    left, right = common(one, other)
    window = around_sleep(left, one.epoch)
    part = slice(None) if everything else slice(window.first, window.stop)
    return NightPair(name, person, left[part], right[part], one.epoch)


def _paired(first: Path, second: Path) -> tuple[dict[str, tuple[Path, Path]], list[tuple[str, str]]]:
    for place in (first, second):
        if not place.exists():
            raise UserError(f"{place}: no such file or folder.")
    if first.is_file() and second.is_file():
        return {first.stem: (first, second)}, []
    if first.is_file() or second.is_file():
        raise UserError(f"{first} and {second}: expected two files or two folders.")
    here, there = ([path for path in files_below(place) if path.suffix.lower() in SCORED] for place in (first, second))
    pairs, aside = pair(here, there, lambda path: pairing_key(path.stem))
    return pairs, [(one.path.name, one.reason) for one in aside]


def _called(place: Path) -> str:
    return place.stem or "."
