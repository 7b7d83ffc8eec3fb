"""Speakers for synthetic speech: espeak-ng's voice variants crossed with accents of English, each with its pitch and pace."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sigssl.errors import UserError

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
AMERICAN = ("en-us",)
# variants that sound like a person; robots, croaks and whispers are left out
_VARIANTS = """
f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 klatt klatt2 klatt3 klatt4 Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique
Hugo Jacky Lee Marco Mario Michael Mike Nguyen Reed adam anika antonio aunty belinda benjamin boris caleb david ed edward
edward2 grandma grandpa ian iven iven2 iven3 iven4 john kaukovalta linda marcelo max michel miguel norbert pablo paul pedro
quincy rob robert sandro shelby steph steph2 steph3 travis victor zac
"""
VARIANTS = tuple(_VARIANTS.split())
HELD_OUT = 0.15  # share of the variants that go to dev, and to test
PARTS = ("train", "dev", "test")


class Speaker(NamedTuple):
    """A synthetic speaker: `pitch` and `pitch_range` on espeak's scale of 0 to 99, `rate` in words per minute."""

    id: str
    part: str
    accent: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int

    @property
    def voice(self) -> str:
        """The name espeak-ng knows the voice by."""
        return f"{self.accent}+{self.variant}"


def cast(count: int, seed: int) -> list[Speaker]:
    """Draw speakers; no variant is in two parts, so that voices of `dev` and `test` are unheard in `train`.

    Args:
        count: how many, at least 3; every variant speaks once before any speaks again in another accent.
        seed: the same seed and count give the same speakers.

    Raises:
        UserError: too few for three parts, more than there are voices, or a negative seed.
    """
    most = len(VARIANTS) * len(ACCENTS)
    if not 3 <= count <= most:
        raise UserError(
            f"speakers: {count}; expected 3 (one each to train, develop and test) to {most} (all voices in all accents)."
        )
    if seed < 0:
        raise UserError(f"seed: {seed}; expected 0 or more.")
    rng = np.random.default_rng([seed, 0])
    variants = [VARIANTS[i] for i in rng.permutation(len(VARIANTS))[: min(count, len(VARIANTS))]]
    accents = rng.integers(len(ACCENTS), size=len(variants))
    held = max(1, round(HELD_OUT * len(variants)))
    speakers = []
    for n in range(count):
        turn, which = divmod(n, len(variants))
        speakers.append(
            Speaker(
                id=f"spk{n:03d}",
                part="test" if which < held else "dev" if which < 2 * held else "train",
                accent=ACCENTS[(int(accents[which]) + turn) % len(ACCENTS)],
                variant=variants[which],
                pitch=int(rng.integers(30, 71)),
                pitch_range=int(rng.integers(30, 71)),
                rate=int(rng.integers(135, 196)),
            )
        )
    return speakers
