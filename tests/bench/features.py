"""Speed of features beside their peers, in one run: `python tests/bench/features.py [--data FOLDER] [--seconds 240] [--rounds 9]`.

Every contestant makes the features of the same recordings of 1 to 10 s (AN4, VCTK, LJ Speech; repeated to `--seconds`), held in
memory: ours in padded batches, the peers one by one, where each of them is fastest. Each is timed with one thread, with two
threads within an operation, and as two processes of one thread, each of which does half. Contestants are interleaved, medians of
the rounds are compared at each one's best, and the unit is times real time. At the end, a single long recording.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

RATE = 16000
MODES = ("1 thread", "2 threads", "2 processes")


def recordings(data: Path, seconds: float) -> list[np.ndarray]:
    """Utterances of at least a second, in a fixed random order, until there are `seconds` of them."""
    found = []
    for name in ("an4", "vctk_p239", "ljspeech_excerpt"):
        for path in sorted((data / name / "audio").rglob("*.*")):
            signal, rate = soundfile.read(path, dtype="float32")
            if len(signal) >= rate:
                found.append(soxr.resample(signal, rate, RATE) if rate != RATE else signal)
    if not found:
        raise SystemExit(f"no recordings under {data}: name the folder that holds an4, vctk_p239 or ljspeech_excerpt with --data")
    order = np.random.default_rng(0).permutation(len(found))
    chosen, total = [], 0.0
    while total < seconds:
        chosen.append(found[order[len(chosen) % len(order)]])
        total += len(chosen[-1]) / RATE
    return chosen


def batches(signals: list[np.ndarray], seconds: float = 60.0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Padded batches of about `seconds`, as a data loader would hand them out, sorted by length within the whole."""
    made, held, longest = [], [], 0
    for signal in [*sorted(signals, key=len), None]:
        if signal is None or (held and (len(held) + 1) * max(longest, len(signal)) > seconds * RATE):
            lengths = torch.tensor([len(x) for x in held])
            padded = torch.zeros(len(held), longest)
            for row, x in zip(padded, held, strict=True):
                row[: len(x)] = torch.from_numpy(x)
            made.append((padded, lengths))
            held, longest = [], 0
        if signal is not None:
            held.append(signal)
            longest = max(longest, len(signal))
    return made


def ours(make: Callable[[], Any]) -> Callable[[list[np.ndarray]], Callable[[], None]]:
    """A contestant of this package: whole batches."""

    def prepare(signals: list[np.ndarray]) -> Callable[[], None]:
        extractor, ready = make(), batches(signals)

        def go() -> None:
            for padded, lengths in ready:
                extractor(padded, lengths)

        return go

    return prepare


def each(make: Callable[[], Callable[[Any], Any]], tensors: bool = True) -> Callable[[list[np.ndarray]], Callable[[], None]]:
    """A peer that takes one utterance at a time, which is where each of them is fastest (padding costs, and so do big arrays)."""

    def prepare(signals: list[np.ndarray]) -> Callable[[], None]:
        function = make()
        ready = [torch.from_numpy(x) if tensors else x for x in signals]

        def go() -> None:
            for signal in ready:
                function(signal)

        return go

    return prepare


def log_mel() -> Any:
    from sigssl.features import LogMel

    return LogMel(loudness=None, cmvn=None)


def tera() -> Any:
    from sigssl.features import LogMel

    return LogMel()


def kaldi_fbank() -> Any:
    from sigssl.features import KaldiFbank

    return KaldiFbank(80)


def kaldi_mfcc() -> Any:
    from sigssl.features import MFCC

    return MFCC()


def torchaudio_mel(log: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    import torchaudio

    mel = torchaudio.transforms.MelSpectrogram(RATE, 400, 400, 160, n_mels=80)
    return (lambda x: mel(x).add_(1e-10).log_()) if log else mel


def torchaudio_kaldi(kind: str) -> Callable[[torch.Tensor], torch.Tensor]:
    import torchaudio.compliance.kaldi as kaldi

    if kind == "mfcc":
        return lambda x: kaldi.mfcc(x[None], dither=0.0)
    return lambda x: kaldi.fbank(x[None], num_mel_bins=80, dither=0.0)


def librosa_mel() -> Callable[[np.ndarray], Any]:
    import librosa

    def function(x: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(y=x, sr=RATE, n_fft=400, hop_length=160, n_mels=80, htk=True, norm=None)
        return np.log(power + 1e-10)

    return function


def native(kind: str) -> Callable[[np.ndarray], Any]:
    import kaldi_native_fbank as knf

    options = knf.MfccOptions() if kind == "mfcc" else knf.FbankOptions()
    options.frame_opts.dither = 0
    if kind == "fbank":
        options.mel_opts.num_bins = 80
    computer = knf.OnlineMfcc if kind == "mfcc" else knf.OnlineFbank

    def function(x: np.ndarray) -> np.ndarray:
        online = computer(options)
        online.accept_waveform(RATE, x)
        online.input_finished()
        return np.stack([online.get_frame(t) for t in range(online.num_frames_ready)])

    return function


def lhotse_fbank() -> Callable[[np.ndarray], Any]:
    import lhotse

    fbank = lhotse.Fbank(lhotse.FbankConfig(num_filters=80, dither=0.0, snip_edges=True))
    return lambda x: fbank.extract(x, RATE)


def s3prl_mel() -> Callable[[torch.Tensor], Any]:
    """s3prl's TERA front end, through the Python parts of torchaudio that it uses."""
    import torchaudio

    mel = torchaudio.transforms.MelSpectrogram(RATE, 400, 400, 160, n_mels=80)

    def function(x: torch.Tensor) -> torch.Tensor:
        scaled = x * (10 ** (-25 / 20) / (x.pow(2).mean().sqrt() + 1e-10))
        frames = (mel(scaled) + 1e-10).log()
        return (frames - frames.mean(-1, keepdim=True)) / (frames.std(-1, keepdim=True) + 1e-10)

    return function


CONTESTANTS: dict[str, dict[str, Callable[[list[np.ndarray]], Callable[[], None]]]] = {
    "log-mel 80": {
        "sigssl LogMel(loudness=None, cmvn=None)": ours(log_mel),
        "torchaudio MelSpectrogram, no log": each(lambda: torchaudio_mel(False)),
        "torchaudio MelSpectrogram + log": each(lambda: torchaudio_mel(True)),
        "librosa melspectrogram + log": each(librosa_mel, tensors=False),
    },
    "TERA's input": {
        "sigssl LogMel()": ours(tera),
        "the same steps on torchaudio, as s3prl": each(s3prl_mel),
    },
    "Kaldi fbank 80": {
        "sigssl KaldiFbank(80)": ours(kaldi_fbank),
        "torchaudio.compliance.kaldi.fbank": each(lambda: torchaudio_kaldi("fbank")),
        "kaldi-native-fbank": each(lambda: native("fbank"), tensors=False),
        "lhotse Fbank": each(lhotse_fbank, tensors=False),
    },
    "Kaldi MFCC 13": {
        "sigssl MFCC()": ours(kaldi_mfcc),
        "torchaudio.compliance.kaldi.mfcc": each(lambda: torchaudio_kaldi("mfcc")),
        "kaldi-native-fbank": each(lambda: native("mfcc"), tensors=False),
    },
}

HALF: dict[tuple[str, str], Callable[[], None]] = {}


def start_worker(data: Path, seconds: float) -> None:
    """Prepare every contestant in a process of its own, on every second recording."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    number = multiprocessing.current_process()._identity[0] % 2  # type: ignore[attr-defined]
    signals = recordings(data, seconds)[number::2]
    for group, members in CONTESTANTS.items():
        for name, prepare in members.items():
            HALF[group, name] = prepare(signals)


def do_half(key: tuple[str, str]) -> None:
    """One round of a contestant on this process's half."""
    HALF[key]()


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def both(pools: list[Any], key: tuple[str, str]) -> None:
    for pending in [pool.apply_async(do_half, (key,)) for pool in pools]:
        pending.get()


def compare(data: Path, seconds: float, rounds: int) -> None:
    """Print the table of contestants."""
    signals = recordings(data, seconds)
    total = sum(map(len, signals)) / RATE
    context = multiprocessing.get_context("spawn")
    pools = [context.Pool(1, start_worker, (data, seconds)) for _ in range(2)]
    print(f"{len(signals)} utterances, {total:.0f} s; times real time, median of {rounds} rounds\n")
    for group, members in CONTESTANTS.items():
        ready = {name: prepare(signals) for name, prepare in members.items()}
        taken: dict[tuple[str, str], list[float]] = {}
        for turn in range(rounds + 1):  # the first is not counted
            for name, go in ready.items():
                for mode in MODES:
                    torch.set_num_threads(2 if mode == "2 threads" else 1)
                    spent = timed((lambda key=(group, name): both(pools, key)) if mode == "2 processes" else go)
                    if turn:
                        taken.setdefault((name, mode), []).append(spent)
        show(group, list(members), {key: total / statistics.median(times) for key, times in taken.items()})
    for pool in pools:
        pool.terminate()


def show(group: str, names: list[str], speed: dict[tuple[str, str], float]) -> None:
    """Print one group, with the ratio of our best to each peer's best."""
    best = {name: max(speed[name, mode] for mode in MODES) for name in names}
    print(f"| {group} | {' | '.join(MODES)} | ours, by best |\n|---|{'---|' * (len(MODES) + 1)}")
    for name in names:
        cells = " | ".join(f"{speed[name, mode]:,.0f}" for mode in MODES)
        print(f"| {name} | {cells} | {best[names[0]] / best[name]:.2f} |")
    print()


def long_recording(data: Path, hours: float) -> None:
    """One long file at once, and streamed in blocks of 10 s."""
    from sigssl.features import LogMel

    signal = torch.from_numpy(np.concatenate(recordings(data, hours * 3600)))[: int(hours * 3600 * RATE)]
    whole, extractor = torch.tensor([len(signal)]), LogMel()
    torch.set_num_threads(2)
    once = [timed(lambda: extractor(signal[None], whole)) for _ in range(3)]
    streamed = [timed(lambda: [None for _ in extractor.stream(lambda: iter(signal.split(10 * RATE)))]) for _ in range(3)]
    for name, times in (("at once", once), ("streamed: three passes", streamed)):
        print(
            f"sigssl LogMel(), one recording of {hours:g} h, {name}: {hours * 3600 / statistics.median(times):,.0f} times real time"
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SIGSSL_DATA", root / ".." / "shared" / "data")))
    parser.add_argument("--seconds", type=float, default=240.0, help="of recordings in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--hours", type=float, default=1.0, help="of the long recording")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    compare(args.data, args.seconds, args.rounds)
    long_recording(args.data, args.hours)


if __name__ == "__main__":
    main()
