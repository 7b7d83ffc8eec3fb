"""Reading recordings: formats, segments, rates, channels, blocks, and every fault with its message."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest
import soundfile
import soxr

from sigssl.data import audio
from sigssl.data.datadir import Command
from sigssl.errors import UserError

RATE = 16000


def noise(samples: int = 24000, channels: int = 1, seed: int = 0) -> np.ndarray:
    made = 0.1 * np.random.default_rng(seed).standard_normal((samples, channels))
    return made.astype(np.float32)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE)
    return path


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_formats_and_segments(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(), RATE)
    assert audio.info(path) == (RATE, 1, 24000, 1.5)
    whole = audio.read(path)
    assert whole.shape == (1, 24000) and whole.dtype == np.float32
    assert np.allclose(whole[0], soundfile.read(path, dtype="float32")[0], atol=1e-6)
    part = audio.read(path, 0.25, 0.75)
    assert np.allclose(part, whole[:, 4000:12000], atol=1e-6)
    assert np.allclose(audio.read(path, 1.0), whole[:, 16000:], atol=1e-6)


def test_a_segment_of_a_long_file_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(RATE * 600, dtype=np.int16), RATE)
    read: list[int] = []
    real = soundfile.SoundFile.read
    soundfile.SoundFile.read = lambda self, n, **kw: (read.append(n), real(self, n, **kw))[1]
    try:
        assert audio.read(path, 500.0, 501.0).shape == (1, RATE)
    finally:
        soundfile.SoundFile.read = real
    assert read == [RATE]


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_is_soxr_whole_or_in_blocks(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    x = noise(rate, 2)
    soundfile.write(path, x, rate, subtype="FLOAT")
    whole = audio.read(path, sample_rate=RATE)
    assert np.allclose(whole[0], soxr.resample(x[:, 0], rate, RATE), atol=1e-6)
    for seconds in (0.013, 0.3, 7.0):
        joined = np.concatenate(list(audio.blocks(path, seconds, sample_rate=RATE)), axis=1)
        assert np.array_equal(joined, whole)
    both = audio.read(path, sample_rate=RATE, channel="all")
    assert both.shape == whole.repeat(2, 0).shape and np.array_equal(both[0], whole[0])


def test_channels_are_picked_never_mixed_unasked(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    x = noise(1000, 2)
    soundfile.write(path, x, RATE, subtype="FLOAT")
    assert np.array_equal(audio.read(path)[0], x[:, 0])
    assert np.array_equal(audio.read(path, channel=1)[0], x[:, 1])
    assert np.array_equal(audio.read(path, channel="all"), x.T)
    assert np.allclose(audio.read(path, channel="mean")[0], x.mean(axis=1))
    with pytest.raises(UserError, match=r"stereo.wav: no channel 2; it has 2. Expected 0 to 1, 'mean' or 'all'"):
        audio.read(path, channel=2)


def test_blocks_equal_read(wav: Path) -> None:
    made = list(audio.blocks(wav, 0.4))
    assert [b.shape for b in made] == [(1, 6400), (1, 6400), (1, 6400), (1, 4800)]
    assert np.array_equal(np.concatenate(made, axis=1), audio.read(wav))


def test_segments_outside(wav: Path) -> None:
    assert audio.read(wav, 1.0, 1.9).shape == (1, 8000)  # up to half a second too long is cut, as in Kaldi
    for start, end in ((1.0, 2.1), (1.5, None), (1.0, 0.5), (-1.0, 1.0)):
        with pytest.raises(UserError, match=r"a.wav: the segment from .* is outside of the recording, which lasts 1.500 s"):
            audio.read(wav, start, end)


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_truncated_file(tmp_path: Path, ending: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(), RATE)
    cut(path, 0.6)
    with pytest.raises(UserError, match=rf"a\.{ending}: .*(truncated|damaged|cut off|cannot be read as audio)"):
        audio.read(path)
    with pytest.raises(UserError, match=rf"a\.{ending}: .*(truncated|damaged|cut off|cannot be read as audio)"):
        list(audio.blocks(path, 0.1))
    capfd.readouterr()  # the MP3 decoder's own complaints


def test_truncated_flac_says_what_was_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(), RATE)
    cut(path, 0.6)
    with pytest.raises(UserError, match=r"a.flac: truncated or damaged: 24000 samples \(1.500 s\) declared"):
        audio.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html>Log in</html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"nonsense of some length", "cannot be read as audio.*begins with b'nonsense of "),
    ],
)
def test_what_is_no_audio(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for call in (audio.read, audio.info):
        with pytest.raises(UserError, match=f"a.wav: .*{message}"):
            call(path)


def test_missing_file_and_dangling_link(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b.wav: no such file. Correct its line"):
        audio.read(tmp_path / "b.wav")
    (tmp_path / "c.wav").symlink_to(tmp_path / "b.wav")
    with pytest.raises(UserError, match=r"c.wav: no such file \(a symbolic link to nothing\)"):
        audio.read(tmp_path / "c.wav")


def test_header_only_and_endless_header(tmp_path: Path, wav: Path) -> None:
    empty = tmp_path / "header.wav"
    soundfile.write(empty, noise(0), RATE)
    with pytest.raises(UserError, match=r"header.wav: holds no samples"):
        audio.info(empty)
    data = bytearray(wav.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)  # as sox and ffmpeg leave it when they write to a pipe
    endless = tmp_path / "endless.wav"
    endless.write_bytes(data)
    assert np.array_equal(audio.read(endless), audio.read(wav))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    x = noise()
    x[8000:8003] = bad
    path = tmp_path / "nan.wav"
    soundfile.write(path, x, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=r"nan.wav: 3 samples are NaN or infinite, the first at 0.500 s"):
        audio.read(path)
    with pytest.raises(UserError, match=r"2 samples are NaN or infinite, the first at 0.500 s"):
        audio.read(path, 0.4, 0.500125)


def test_archive_of_recordings(tmp_path: Path) -> None:
    x = (noise() * 32768).round().astype(np.float32)
    scp = tmp_path / "wav.scp"
    with kaldi_native_io.WaveWriter(f"ark,scp:{tmp_path}/wav.ark,{scp}") as writer:
        for key in ("u1", "u2"):
            writer.write(key, kaldi_native_io.WaveData(RATE, np.ascontiguousarray(x.T)))
    for line in scp.read_text().splitlines():
        assert np.allclose(audio.read(line.split()[1])[0], x[:, 0] / 32768)
    flac = tmp_path / "flac.ark"  # as ESPnet's audio_format: flac.ark
    soundfile.write(tmp_path / "a.flac", noise(), RATE)
    flac.write_bytes(b"u1 " + (tmp_path / "a.flac").read_bytes())
    assert audio.read(f"{flac}:3", 0.5, 1.0).shape == (1, 8000)
    with pytest.raises(UserError, match="cannot be read as audio"):
        audio.read(f"{flac}:9")


def test_commands_run_only_when_allowed(wav: Path) -> None:
    with pytest.raises(UserError, match="is a shell command; it is not run"):
        audio.read(f"cat {wav} |")
    assert np.array_equal(audio.read(Command(f"cat {wav} |")), audio.read(wav))
    with pytest.raises(UserError, match=r"cannot be read as audio: .*; it begins with b'hello'"):
        audio.read(Command("printf hello |"))
    with pytest.raises(UserError, match="exit code 3: oh"):
        audio.read(Command("echo oh >&2; exit 3 |"))


def test_real_recordings(real_data: Callable[[str], Path]) -> None:
    files = sorted((real_data("speech_digits") / "audio").rglob("*.*"))[:5]
    assert files
    for path in files:
        seen = audio.info(path)
        assert audio.read(path).shape == (1, seen.samples)
        assert abs(audio.read(path, sample_rate=16000).shape[1] - seen.duration * 16000) <= 1
