"""The config is the constructor: describe and build are inverse, and build runs nothing it does not trust."""

from __future__ import annotations

from typing import Any

import pytest

from sigssl.config import build, describe
from sigssl.errors import UserError


class Inner:
    def __init__(self, width: int = 3, names: tuple[str, ...] = ("a",)) -> None:
        self.width, self.names = width, names


class Outer:
    def __init__(self, inner: Inner, scale: float | None = None, more: list[Inner] | None = None) -> None:
        self.inner, self.scale, self.more = inner, scale, more


def test_round_trip_of_nested_objects() -> None:
    config = describe(Outer(Inner(5, ("x", "y")), scale=0.5, more=[Inner(1)]))
    assert config["init_args"]["inner"]["init_args"] == {"width": 5, "names": ["x", "y"]}
    again = build(config, trust=(__name__.split(".")[0], "tests", "sigssl"))
    assert describe(again) == config


@pytest.mark.parametrize("path", ["os.system", "subprocess.Popen", "builtins.eval", "", "sigsslx.Y"])
def test_classes_from_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(UserError, match="is not imported"):
        build({"class_path": path, "init_args": {}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_path": "sigssl.nowhere.X"}, "no class 'sigssl.nowhere.X'"),
        ({"class_path": "sigssl.types.Nothing"}, "no class"),
        ({"class_path": "sigssl.config.Path"}, "outside of sigssl"),
        ({"class_path": "sigssl.types.frame_mask"}, "is no class"),
        ({"class_path": "sigssl.types.Hidden", "init_args": {"statse": []}}, "takes no 'statse'"),
    ],
)
def test_wrong_configs_are_user_errors(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(config, where="model/config.yaml")


def test_modules_that_merely_start_with_a_trusted_name_are_refused() -> None:
    with pytest.raises(UserError, match="outside of sigssl"):
        build({"class_path": "sigssl_evil.Run"})
