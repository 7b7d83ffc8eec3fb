"""Feature nights: read as laid out, and every fault named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sigssl.data.feature_nights import read_feature_nights, subjects_of
from sigssl.errors import UserError


def folder(root: Path, **arrays: np.ndarray) -> Path:
    (root / "records").mkdir()
    rows = ["path,record,subject"]
    for name, labels in arrays.items():
        np.savez(root / "records" / f"{name}.npz", features=np.ones((len(labels), 3, 10), np.float32), labels=labels)
        rows.append(f"records/{name}.npz,{name},{name[:4]}")
    (root / "records.csv").write_text("\n".join(rows) + "\n")
    return root


def test_read(tmp_path: Path) -> None:
    root = folder(tmp_path, SC012=np.array([0, 1, -100]), SC001=np.array([4, 3]))
    nights = read_feature_nights(root)
    assert [n.id for n in nights] == ["SC001", "SC012"] and subjects_of(nights) == ["SC00", "SC01"]
    assert nights[1].features.shape == (3, 30) and nights[1].stages.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda r: (r / "records.csv").unlink(), "no such file"),
        (lambda r: (r / "records.csv").write_text("path,subject\na,b\n"), "columns"),
        (lambda r: (r / "records" / "SC001.npz").unlink(), "cannot be read"),
        (lambda r: (r / "records" / "SC001.npz").write_bytes(b"PK\x03\x04 broken"), "cannot be read"),
        (
            lambda r: np.savez(r / "records" / "SC001.npz", features=np.ones((2, 30)), labels=np.ones(3)),
            "differ in length|together",
        ),
        (lambda r: np.savez(r / "records" / "SC001.npz", features=np.ones((1, 30)), labels=np.array([5])), "label 5"),
        (lambda r: np.savez(r / "records" / "SC001.npz", features=np.full((1, 30), np.nan), labels=np.array([1])), "NaN"),
        (lambda r: np.savez(r / "records" / "SC001.npz", features=np.ones((1, 31)), labels=np.array([1])), "numbers of features"),
    ],
)
def test_faults_are_named(tmp_path: Path, break_it: Callable[[Path], object], message: str) -> None:
    root = folder(tmp_path, SC001=np.array([0, 1]), SC011=np.array([2]))
    break_it(root)
    with pytest.raises(UserError, match=message):
        read_feature_nights(root)


def test_the_real_nights(real_data: Callable[[str], Path]) -> None:
    nights = read_feature_nights(real_data("sleep") / "sleepedf_bandpower_sc153")
    assert len(nights) == 124 and len(subjects_of(nights)) == 63
    assert sum((night.stages >= 0).sum() for night in nights) == 155_775
