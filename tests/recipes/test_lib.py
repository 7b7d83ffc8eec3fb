"""recipes/lib.sh: stages by number and name, stamps, errors that name stage and log."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[2] / "recipes" / "lib.sh"

RECIPE = f"""#!/usr/bin/env bash
# a recipe of three stages
# for the tests of lib.sh
set -euo pipefail
. {LIB}
nj=2 # option
options "$@"
exp=exp
stage first --in input.txt --out one.txt -- cp input.txt one.txt
stage second --in one.txt --out two.txt -- bash -c "cat one.txt > two.txt; echo ran-second-with-$nj"
stage third --in two.txt -- bash second.sh
finish "exp"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "run.sh").write_text(RECIPE)
    (tmp_path / "input.txt").write_text("a\n")
    (tmp_path / "second.sh").write_text("echo third-ran\n")
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "run.sh", *words], cwd=folder, capture_output=True, text=True, timeout=60)


def test_all_stages_run_once_and_then_are_done(recipe: Path) -> None:
    first = run(recipe)
    assert first.returncode == 0, first.stderr
    assert "stage 2: second" in first.stdout and "third-ran" in first.stdout
    assert (recipe / "exp" / "log" / "third.log").read_text() == "third-ran\n"
    again = run(recipe)
    assert again.stdout.count("done before") == 3 and "third-ran" not in again.stdout


def test_changed_input_or_setting_or_lost_output_reruns_what_depends_on_it(recipe: Path) -> None:
    run(recipe)
    (recipe / "input.txt").write_text("b\n")
    assert run(recipe).stdout.count("done before") == 0
    assert "ran-second-with-4" in run(recipe, "--nj", "4").stdout
    (recipe / "two.txt").unlink()
    after = run(recipe, "--nj", "4").stdout
    assert "ran-second-with-4" in after and after.count("done before") == 2


@pytest.mark.parametrize(
    ("words", "ran"),
    [
        (["--stage", "2"], ["second", "third"]),
        (["--stage", "second", "--stop-stage", "second"], ["second"]),
        (["--stop-stage", "1"], ["first"]),
        (["--stop-stage", "second"], ["first", "second"]),
        (["--stage", "third"], ["third"]),
    ],
)
def test_stages_by_number_or_name(recipe: Path, words: list[str], ran: list[str]) -> None:
    run(recipe)
    for stamp in (recipe / "exp" / ".done").iterdir():
        stamp.unlink()
    out = run(recipe, *words).stdout
    assert [name for name in ("first", "second", "third") if f": {name}\n" in out] == ran


def test_dry_run_prints_pasteable_commands_and_does_nothing(recipe: Path) -> None:
    out = run(recipe, "--dry-run").stdout
    assert "# stage 1: first\ncp input.txt one.txt\n" in out
    assert not (recipe / "exp").exists() and not (recipe / "one.txt").exists()


def test_failure_names_stage_log_and_the_way_on(recipe: Path) -> None:
    (recipe / "second.sh").write_text("echo about to break; exit 7\n")
    broken = run(recipe)
    assert broken.returncode == 7
    assert (
        "third FAILED with exit code 7" in broken.stderr
        and "exp/log/third.log" in broken.stderr
        and "--stage third" in broken.stderr
    )
    (recipe / "second.sh").write_text("echo mended\n")
    mended = run(recipe)
    assert mended.returncode == 0 and mended.stdout.count("done before") == 2 and "mended" in mended.stdout


def test_exit_code_one_goes_on_and_is_reported_at_the_end(recipe: Path) -> None:
    (recipe / "second.sh").write_text("exit 1\n")
    result = run(recipe)
    assert result.returncode == 0 and "1 stage(s) set inputs aside" in result.stderr


def test_missing_output_is_an_error(recipe: Path) -> None:
    text = (recipe / "run.sh").read_text().replace("--in two.txt -- bash second.sh", "--out never.txt -- bash second.sh")
    (recipe / "run.sh").write_text(text)
    result = run(recipe)
    assert result.returncode == 3 and "left no never.txt" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--njj", "3"], "unknown option --njj; it knows --stage, --stop-stage, --dry-run and: --nj"),
        (["--nj"], "--nj needs a value"),
        (["extra"], "unexpected word 'extra'"),
        (["--stage", "nowhere"], "no stage is called 'nowhere'"),
        (["--stop-stage", "nowhere"], "no stage is called 'nowhere'"),
    ],
)
def test_wrong_words_are_errors(recipe: Path, words: list[str], message: str) -> None:
    result = run(recipe, *words)
    assert result.returncode == 2 and message in result.stderr


def test_help_shows_the_recipe_s_own_words(recipe: Path) -> None:
    out = run(recipe, "--help").stdout
    assert out.startswith("a recipe of three stages\nfor the tests of lib.sh\n") and "--nj" in out
