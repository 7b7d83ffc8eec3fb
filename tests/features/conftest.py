"""Every test of the features runs on both engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sigssl.features import cpp


@pytest.fixture(params=["cpp", "torch"], autouse=True, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine that is asked for; the C++ one is skipped where it cannot be built."""
    if request.param == "cpp" and (reason := cpp.missing()):
        pytest.skip(f"no C++ engine: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cpp.VARIABLE, request.param)
        yield request.param
