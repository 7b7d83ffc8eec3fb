"""Broken and odd recordings: each is named with its reason, the rest is done, and the exit code says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sigssl.cli.main import main
from sigssl.data.matrix import read_matrix
from sigssl.extract import embed as embedding
from sigssl.extract.layers import Selection
from sigssl.extract.parallel import Running
from sigssl.extract.reading import Reading
from sigssl.extract.shard_run import BY_DATA
from sigssl.extract.sources import find_utterances

CONFIG = """
features:
  class_path: sigssl.features.LogMel
  init_args: {n_mels: 20}
"""
REASONS = {
    "bad_empty": "is empty (0 bytes)",
    "bad_missing": "no such file",
    "bad_nan": "samples are NaN or infinite, the first at 0.006 s",
    "bad_no_audio": "cannot be read as audio",
    "bad_truncated": "truncated or damaged",
    "bad_tiny": "no samples",
}


@pytest.fixture
def data(corpus: Callable[..., Path], tmp_path: Path) -> Path:
    """30 good utterances, a stereo one, one at 8 kHz, and those of REASONS; wav.scp is not sorted."""
    lines = (corpus() / "wav.scp").read_text().splitlines()
    wav = tmp_path / "wav"
    wav.mkdir()
    rng = np.random.default_rng(0)
    soundfile.write(wav / "stereo.wav", rng.uniform(-0.1, 0.1, (16000, 2)), 16000)
    soundfile.write(wav / "rate8k.wav", rng.uniform(-0.1, 0.1, 8000), 8000)
    noise = rng.uniform(-0.1, 0.1, 32000).astype(np.float32)
    soundfile.write(wav / "bad_truncated.flac", noise, 16000)
    whole = (wav / "bad_truncated.flac").read_bytes()
    (wav / "bad_truncated.flac").write_bytes(whole[: len(whole) // 2])
    noise[100] = np.nan
    soundfile.write(wav / "bad_nan.wav", noise, 16000, subtype="FLOAT")
    (wav / "bad_empty.wav").write_bytes(b"")
    (wav / "bad_no_audio.flac").write_bytes(b"<html>please log in</html>")
    soundfile.write(wav / "bad_tiny.wav", noise[:0], 16000)
    lines += [f"{path.stem} {path}" for path in sorted(wav.iterdir(), reverse=True)] + [f"bad_missing {wav}/gone.flac"]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text("\n".join(reversed(lines)) + "\n")
    return folder


@pytest.fixture
def features(data: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "c.yaml").write_text(CONFIG)
    return ["features", "--config", str(tmp_path / "c.yaml"), str(data), str(tmp_path / "out"), "--nj=1", "--quiet"]


@pytest.fixture
def embed(data: Path, model: Path, tmp_path: Path) -> list[str]:
    return ["embed", "--model", str(model), str(data), str(tmp_path / "out"), "--nj=1", "--quiet", "--device=cpu", "--layer=last"]


@pytest.mark.parametrize("verb", ["features", "embed"])
def test_each_is_named_and_the_rest_is_done(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    words = request.getfixturevalue(verb)
    assert main([*words, "--min-good=0.5"]) == 1
    lines = [line.split("\t") for line in (tmp_path / "out" / "quarantine.tsv").read_text().splitlines()]
    assert lines[0] == ["id", "file", "reason"]
    assert [id for id, _, _ in lines[1:]] == sorted(REASONS)
    for id, file, reason in lines[1:]:
        assert Path(file).stem in (id, "gone")
        assert REASONS[id] in reason
    stem = "feats" if verb == "features" else "emb"
    scp = [line.split() for line in (tmp_path / "out" / f"{stem}.scp").read_text().splitlines()]
    assert len(scp) == 32
    assert scp == sorted(scp)
    assert all(np.isfinite(read_matrix(place)).all() for _, place in scp)
    told = capsys.readouterr().err
    assert "6 set aside" in told
    assert "1 utterances: resampled from 8000 to 16000 Hz" in told
    assert "1 utterances: of 2 channels, channel 0 was taken" in told


def test_too_few_good_ones_are_an_error_that_names_the_first_reasons(
    features: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(features) == 2
    told = capsys.readouterr().err
    assert "only 32 of 38 utterances are good, fewer than 95%" in told
    assert "bad_empty" in told
    assert "no such file" in told
    assert not (tmp_path / "out" / "feats.scp").exists()


def test_a_mended_recording_is_taken_in_and_no_other_shard_done_again(
    features: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*features, "--min-good=0.5"]) == 1
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("feats.*.ark")}
    soundfile.write(tmp_path / "wav" / "bad_empty.wav", np.zeros(1600) + 0.1, 16000)
    assert main([*features, "--min-good=0.5"]) == 1
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("feats.*.ark")}
    assert sum(before[name] != changed for name, changed in after.items()) == 1
    assert "bad_empty" not in (tmp_path / "out" / "quarantine.tsv").read_text()
    assert "bad_empty" in (tmp_path / "out" / "feats.scp").read_text()


def test_other_settings_are_refused_and_overwrite_starts_anew(
    features: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*features, "--min-good=0.5"]) == 1
    assert main([*features, "--min-good=0.5", "features.n_mels=13"]) == 2
    assert "settings.features.init_args.n_mels: 20 there, 13 now" in capsys.readouterr().err
    assert main([*features, "--min-good=0.5", "features.n_mels=13", "--overwrite"]) == 1
    place = (tmp_path / "out" / "feats.scp").read_text().split()[1]
    assert read_matrix(place).shape[1] == 13


def test_an_id_twice_is_refused_by_line(features: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (data / "wav.scp").open("a") as file:
        file.write((data / "wav.scp").read_text().splitlines()[0] + "\n")
    assert main(features) == 2
    assert "wav.scp:39: id" in capsys.readouterr().err


def test_another_rate_is_set_aside_where_asked(features: list[str], tmp_path: Path) -> None:
    assert main([*features, "--min-good=0.5", "--rate=refuse"]) == 1
    assert "rate8k.wav: is at 8000 Hz, expected 16000 Hz" in (tmp_path / "out" / "quarantine.tsv").read_text()


def test_a_long_recording_that_breaks_half_way_leaves_nothing_behind(
    corpus: Callable[..., Path], data: Path, model: Path, tmp_path: Path
) -> None:
    utterances = [u for u in find_utterances(data) if u.id.startswith(("bad_truncated", "stereo"))]
    running, last = Running(min_good=0.4), Selection("last")
    summary = embedding.embed(
        utterances, model, tmp_path / "out", selection=last, reading=Reading(16000, long=0.1), device="cpu", running=running
    )
    assert [bad.id for bad in summary.bad] == ["bad_truncated"]
    assert sum(path.stat().st_size for path in (tmp_path / "out").glob("emb.*.ark")) == len("stereo ") + 15 + 101 * 16 * 4


def test_a_fault_of_the_program_is_no_bad_recording() -> None:
    assert not issubclass(TypeError, BY_DATA)
    assert not issubclass(AttributeError, BY_DATA)
