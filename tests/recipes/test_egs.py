"""Every recipe as it ships: small, without Python, documented, and its dry run names verbs and files that exist."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from sigssl.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "egs").glob("*/run.sh"))
WORDS = {"custom": ["--root", "recordings.csv"]}


def dry_run(recipe: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(recipe), "--dry-run", *words],
        cwd=ROOT,
        env={**os.environ, "SIGSSL_ENV": "current"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.parent.name)
def test_dry_run_prints_commands_of_known_verbs_and_files(recipe: Path) -> None:
    result = dry_run(recipe, *WORDS.get(recipe.parent.name, []))
    assert result.returncode == 0, result.stderr
    commands = [shlex.split(line) for line in result.stdout.splitlines() if line and not line.startswith("#")]
    assert len(commands) >= 4
    for command in commands:
        assert command[0] == "sigssl" and command[1] in VERBS, command
        for word in command:
            if word.endswith(".yaml") and "=" not in word:  # key=PATH: made by an earlier stage
                assert (ROOT / word).is_file(), word


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.parent.name)
def test_recipes_are_short_and_documented(recipe: Path) -> None:
    assert recipe.read_text(encoding="utf-8").count("\n") <= 42
    assert (recipe.parent / "README.md").is_file() and (recipe.parent / "RESULTS.md").is_file()
    assert "usage" not in dry_run(recipe, "--help").stderr


def test_recipes_hold_no_python() -> None:
    assert not [p for folder in ("egs", "recipes") for p in (ROOT / folder).rglob("*.py") if "exp" not in p.parts]


def test_conf_of_a_data_set_holds_differences_only() -> None:
    """No egs configuration repeats a value of the shared one that it is laid over."""
    bases = {
        "tera": "tera/small",
        "heads": "sleep/encoder",
        "synthetic_psg/neuronet": "neuronet/tiny",
        "mini/neuronet": "neuronet/tiny",
        "dreams/neuronet": "neuronet/tiny",
        "sleep_edf/neuronet": "neuronet/t",
        "asr": "asr/tiny",
    }
    for path in (ROOT / "egs").glob("*/conf/*.yaml"):
        name = next((name for name in (f"{path.parent.parent.name}/{path.stem}", path.stem) if name in bases), None)
        if name is None:
            continue
        base = yaml.safe_load((ROOT / f"recipes/conf/{bases[name]}.yaml").read_text(encoding="utf-8"))
        assert not list(repeated(yaml.safe_load(path.read_text(encoding="utf-8")) or {}, base)), path


def repeated(over: dict, under: dict) -> list[str]:
    """Keys whose value the shared configuration has already."""
    found = []
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            found += [f"{key}.{deeper}" for deeper in repeated(value, under[key])]
        elif key in under and under[key] == value:
            found.append(key)
    return found


@pytest.mark.skipif(
    subprocess.run(["which", "shellcheck"], capture_output=True).returncode != 0, reason="shellcheck is not installed"
)
def test_shell_is_sound() -> None:
    scripts = [*RECIPES, *(ROOT / "recipes").glob("*.sh"), ROOT / "tests" / "run.sh", ROOT / ".ci" / "run"]
    checked = subprocess.run(
        ["shellcheck", "-x", "-e", "SC2154,SC2034", *map(str, scripts)], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
