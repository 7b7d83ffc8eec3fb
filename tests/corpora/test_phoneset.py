"""Phone classes and labels per frame."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigssl.corpora.phoneset import AMERICAN, ESPEAK, FOLDED, TIMIT39, Phone, fold, fold_espeak, per_frame
from sigssl.errors import UserError

TIMIT61 = (
    "aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl h# hh hv ih ix iy jh k kcl l m n ng nx "
    "ow oy p pau pcl q r s sh t tcl th uh uw ux v w y z zh"
)


def test_the_61_phones_of_timit_fold_to_39() -> None:
    assert len(TIMIT61.split()) == 61 and len(TIMIT39) == 39
    assert {fold(phone) for phone in TIMIT61.split()} == set(TIMIT39)
    assert set(FOLDED.values()) | set(ESPEAK.values()) | set(AMERICAN.values()) <= set(TIMIT39)


def test_case_and_stress_do_not_matter_but_unknown_phones_do() -> None:
    assert (fold("AO1"), fold("Er0"), fold(""), fold("SIL")) == ("aa", "er", "sil", "sil")
    with pytest.raises(UserError, match=r"phone 'shh' is neither.*'sh'"):
        fold("shh")
    assert (fold_espeak("'aI@", False), fold_espeak("3", True), fold_espeak("3", False), fold_espeak(";", True)) == (
        "ay",
        "er",
        "ah",
        None,
    )
    with pytest.raises(UserError, match="phoneme 'x"):
        fold_espeak("x9", True)


@given(
    st.lists(st.tuples(st.floats(0, 0.1), st.sampled_from(TIMIT39)), max_size=20),
    st.floats(0.001, 3.0),
)
def test_frames_name_the_phone_at_their_middle(steps: list[tuple[float, str]], seconds: float) -> None:
    phones, time = [], 0.0
    for length, name in steps:
        phones.append(Phone(time, time + length, name))
        time += length
    labels = per_frame(phones, seconds)
    assert len(labels) == max(1, math.ceil(round(seconds * 100, 6)))
    for frame, label in enumerate(labels):
        middle = frame * 0.01 + 0.005
        near = {p.name for p in phones if p.start - 1e-7 <= middle < p.end + 1e-7}
        sure = {p.name for p in phones if p.start + 1e-7 <= middle < p.end - 1e-7} or near | {"sil"}
        assert label in sure
