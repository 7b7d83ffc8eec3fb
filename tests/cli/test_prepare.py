"""`sigssl prepare`: what it lists, how it spells, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sigssl.cli.main import main
from sigssl.cli.prepare import catalogue, spelled
from sigssl.data.datadir import DataDir

SPEECH = "an4 folder fsdd librispeech ljspeech mini_librispeech phones speech_commands_ar synthetic table vctk"
SLEEP = "bids dreams hmc isruc mass shhs sleep_edf synthetic_psg"
NAMES = sorted(catalogue())


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for n in range(25):
        path = tmp_path / "rec" / "ann" / f"{n}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(800, 0.1), 8000)
    return tmp_path / "rec"


def test_list_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*SPEECH.split(), *SLEEP.split()} <= set(NAMES) and list(catalogue()) == NAMES
    assert main(["prepare", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *NAMES] and "CC BY-SA 4.0" in lines[1 + NAMES.index("fsdd")]
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert "SIGSSL_DATA" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_every_corpus_explains_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["prepare", name, "--help"])
    text = capsys.readouterr().out
    assert done.value.code == 0 and "--root" in text and f"example: sigssl prepare {name}" in text
    assert "Path | null" in " ".join(text.split()), "types are shown"


def test_prepare_and_exit_codes(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare", "folder", "--root", str(recordings), str(tmp_path / "out"), "--nj", "1"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/all: 25 utterances, 1 speakers, 0.00 h\n"
    assert len(DataDir.read(tmp_path / "out" / "all")) == 25
    (recordings / "ann" / "3.wav").write_bytes(b"")
    assert main(command) == 1
    assert "quarantine.tsv" in capsys.readouterr().err
    assert main(["prepare", "folder", "--root", str(recordings / "none"), str(tmp_path / "out")]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fsd", "out"], "no corpus 'fsd'. Did you mean 'fsdd'"),
        (["fsdd", "--rot", "x", "out"], "root"),
        (["synthetic", "out", "--hours", "many"], "hours"),
        (["librispeech", "out"], "needs --root"),
    ],
)
def test_errors_are_one_clear_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", *words]) == 2
    assert message in capsys.readouterr().err


def test_spelling() -> None:
    words = ["--audio-root", "a-b", "--download", "out", "--keep-archives=false", "--noise", "false", "--download"]
    expected = ["--audio_root", "a-b", "--download=true", "out", "--keep_archives=false", "--noise", "false", "--download=true"]
    assert list(spelled(words, {"download", "keep_archives", "noise"})) == expected


def test_listing_loads_no_torch() -> None:
    code = "import sys; from sigssl.cli.main import main; main(['prepare', '--list']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
