"""One phone set for every corpus: the 39 classes that TIMIT results are given in, and labels per 10-ms frame.

Folding after Lee and Hon 1989, "Speaker-independent phone recognition using hidden Markov models", table 1: classes that they
do not count as confusions are one (`ao`-`aa`, `ax`-`ah`, `zh`-`sh`, ...), closures and pauses are `sil`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sigssl.errors import UserError, nearest

FRAME_SHIFT = 0.01
_CLASSES = "iy ih eh ae ah uw uh aa ey ay oy aw ow er l r w y m n ng dx jh ch z s sh hh v f dh th b p d t g k sil"
TIMIT39 = tuple(_CLASSES.split())
FOLDED = {
    "ao": "aa", "ax": "ah", "ax-h": "ah", "axr": "er", "ix": "ih", "ux": "uw", "el": "l", "em": "m", "en": "n", "nx": "n",
    "eng": "ng", "zh": "sh", "hv": "hh", "h": "hh", "q": "sil",
    "pcl": "sil", "tcl": "sil", "kcl": "sil", "bcl": "sil", "dcl": "sil", "gcl": "sil", "cl": "sil", "vcl": "sil", "epi": "sil",
    "pau": "sil", "h#": "sil", "sp": "sil", "spn": "sil", "pt": "sil", "": "sil",
}  # fmt: skip

# espeak-ng's English phoneme names, stress marks stripped; those that differ between accents follow
ESPEAK = {
    **{name: name for name in "bpdtgkvfzslrwmn"},
    "D": "dh", "T": "th", "S": "sh", "Z": "sh", "N": "ng", "h": "hh", "j": "y", "tS": "ch", "dZ": "jh", "t#": "dx", "t[": "t",
    "t2": "t",
    "w#": "w", "r-": "r", "@L": "l", "i": "iy", "i:": "iy", "I": "ih", "I2": "ih", "I#": "ih", "i@3": "ih", "E": "eh", "e@": "eh",
    "a": "ae", "aa": "aa", "A:": "aa", "A@": "aa", "0": "aa", "O2": "aa", "O:": "aa", "O@": "aa", "o@": "aa", "V": "ah", "@": "ah",
    "@2": "ah", "@-": "ah", "@5": "ah", "a#": "ah", "3": "ah", "3:": "er", "IR": "er", "VR": "er", "U": "uh", "U@": "uh",
    "u:": "uw", "eI": "ey", "aI": "ay", "aI2": "ay", "aI3": "ay", "aI@": "ay", "OI": "oy", "aU": "aw", "oU": "ow",
    "_": "sil", "_:": "sil", "_!": "sil",
}  # fmt: skip
AMERICAN = {"aa": "ae", "3": "er"}  # ask, letter


class Phone(NamedTuple):
    """A phone and when it sounds, in seconds."""

    start: float
    end: float
    name: str


def fold(name: str) -> str:
    """The TIMIT-39 class of an ARPAbet or TIMIT phone; case and stress digits do not matter.

    Raises:
        UserError: an unknown phone, with the nearest known ones.
    """
    plain = name.strip().lower().rstrip("012")
    folded = FOLDED.get(plain, plain)
    if folded not in TIMIT39:
        raise UserError(f"phone {name!r} is neither ARPAbet nor TIMIT.{nearest(plain, [*TIMIT39, *FOLDED])}")
    return folded


def fold_espeak(name: str, american: bool) -> str | None:
    """The class of an espeak-ng phoneme; None for `;`, which colours the phone before it and has no sound of its own.

    Raises:
        UserError: an unknown phoneme.
    """
    plain = name.strip("',%=|")
    if plain == ";":
        return None
    folded = (AMERICAN.get(plain) if american else None) or ESPEAK.get(plain)
    if folded is None:
        raise UserError(f"espeak-ng gave the phoneme {name!r}, which has no class here. Add it to ESPEAK in {__name__}.")
    return folded


def per_frame(phones: Iterable[Phone], seconds: float, rename: Callable[[str], str] = str) -> list[str]:
    """Labels at 10 ms: token t names the phone that sounds at the middle of [10 t, 10 t + 10) ms, `sil` where none does.

    Args:
        phones: sorted by time.
        seconds: duration of the recording; every part of it is covered, so there are ceil(100 seconds) tokens.
        rename: from a phone's name to the token.
    """
    labels = ["sil"] * max(1, math.ceil(round(seconds / FRAME_SHIFT, 6)))
    for phone in phones:
        first, last = (max(0, math.ceil(round(t / FRAME_SHIFT - 0.5, 6))) for t in (phone.start, phone.end))
        labels[first:last] = [rename(phone.name)] * (min(last, len(labels)) - min(first, len(labels)))
    return labels
