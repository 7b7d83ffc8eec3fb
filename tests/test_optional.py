"""Optional libraries: absent, and installed but broken, both give a message with the remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sigssl.errors import MissingExtraError, UserError, nearest
from sigssl.optional import EXTRA, available, require


def test_absent_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"distributed is needed for --dask.*sigssl\[cluster\]"):
        require("distributed", "for --dask")
    assert not available("distributed")


@pytest.mark.parametrize(
    "failure", ["OSError('libc10_cuda.so: cannot open')", "ImportError('cannot import name x')", "AttributeError('gone')"]
)
def test_broken_library_says_so(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_library.py").write_text(f"raise {failure}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"installed but does not import: .*pip install broken-library"):
        require("broken_library", "here")


def test_a_submodule_of_an_extra_is_found_by_its_root() -> None:
    assert require("json.decoder", "here").__name__ == "json.decoder"
    assert all(extra for extra in EXTRA.values())


def test_missing_extra_is_a_user_error_and_an_import_error() -> None:
    assert issubclass(MissingExtraError, UserError) and issubclass(MissingExtraError, ImportError)


def test_nearest() -> None:
    assert nearest("learning_rat", ["learning_rate", "momentum"]) == " Did you mean 'learning_rate'?"
    assert nearest("zzz", ["learning_rate"]) == ""
