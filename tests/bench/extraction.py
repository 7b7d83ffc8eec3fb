"""Extraction from FLAC files to ark beside its parts: `python tests/bench/extraction.py [--hours 1] [--nj 2] [--rounds 3]`.

Contestants, each in the same number of processes of one thread, on the same recordings (repeated under new ids up to `--hours`):

    decode      soundfile reads each file whole, soxr brings it to 16 kHz where needed
    features    LogMel() on batches of decoded signals of like length, in memory
    both        the first, then the second
    extraction  `sigssl features` from when its first worker opens an ark to its end; imports and start of processes left out
    command     `sigssl features` as a user waits for it, from the shell

They are interleaved; the medians of the rounds are compared. Memory is the largest resident set of any one of its processes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

RATE = 16000
ROOT = Path(__file__).resolve().parents[2]
SETS = ("speech_digits", "speech_commands_ar", "vctk_p239")


def decode(path: str) -> np.ndarray:
    signal, rate = soundfile.read(path, dtype="float32")
    return signal if rate == RATE else soxr.resample(signal, rate, RATE)


def batched(signals: list[np.ndarray], seconds: float = 40.0, group: float = 120.0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Padded batches: signals are sorted by length within groups of 120 s, as they could be when they come from disk."""
    made, at = [], 0
    while at < len(signals):
        held, total = [], 0
        while at < len(signals) and total < group * RATE:
            held.append(signals[at])
            total, at = total + len(signals[at]), at + 1
        batch: list[np.ndarray] = []
        for signal in [*sorted(held, key=len), None]:
            if batch and (signal is None or len(signal) * (len(batch) + 1) > seconds * RATE):
                tensors = [torch.from_numpy(x) for x in batch]
                made.append((torch.nn.utils.rnn.pad_sequence(tensors, True), torch.tensor([len(x) for x in batch])))
                batch = []
            if signal is not None:
                batch.append(signal)
    return made


def loop(kind: str, paths: list[str], barrier: Any, times: Any) -> None:
    """One process of a bare loop; what it needs beforehand is done before the clock starts."""
    from sigssl.features import LogMel

    torch.set_num_threads(1)
    extractor = LogMel()
    ready = batched([decode(path) for path in paths]) if kind == "features" else []
    extractor(torch.randn(4, RATE), torch.full((4,), RATE))
    barrier.wait()
    start = time.perf_counter()
    if kind == "decode":
        for path in paths:
            decode(path)
    elif kind == "features":
        for signals, lengths in ready:
            extractor(signals, lengths)
    else:
        for first in range(0, len(paths), 100):
            for signals, lengths in batched([decode(path) for path in paths[first : first + 100]]):
                extractor(signals, lengths)
    times.put(time.perf_counter() - start)


def bare(kind: str, paths: list[str], nj: int) -> float:
    """Seconds that the slowest of `nj` processes takes for its share."""
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(nj), context.Queue()
    processes = [context.Process(target=loop, args=(kind, paths[n::nj], barrier, times)) for n in range(nj)]
    for process in processes:
        process.start()
    slowest = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return slowest


def command(data: Path, out: Path, nj: int) -> tuple[float, float, float]:
    """Of `sigssl features`: seconds in all, seconds from when the first ark is opened, largest resident set in MB."""
    shutil.rmtree(out, ignore_errors=True)
    config = ROOT / "recipes" / "conf" / "features" / "logmel.yaml"
    words = [sys.executable, "-m", "sigssl", "features", "--config", str(config), str(data), str(out), "--nj", str(nj), "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    peaks = [0.0]
    watcher = threading.Thread(target=watch, args=(process, peaks), daemon=True)
    watcher.start()
    while process.poll() is None and not (out.is_dir() and any("feats." in file.name for file in out.iterdir())):
        time.sleep(0.005)
    begun = time.perf_counter()
    code = process.wait()
    end = time.perf_counter()
    watcher.join()
    if code:
        raise SystemExit(f"sigssl features ended with {code}")
    return end - start, end - begun, max(peaks)


def watch(process: subprocess.Popen[bytes], peaks: list[float]) -> None:
    """Note the resident sets of the processes of a group, ten times a second."""
    while process.poll() is None:
        told = subprocess.run(["ps", "-o", "rss=", "-g", str(process.pid)], capture_output=True, text=True).stdout
        peaks.extend(int(kb) / 1024 for kb in told.split())
        time.sleep(0.1)


def data_dir(folder: Path, paths: list[str], seconds: float) -> tuple[Path, list[str], float]:
    """A data directory of recordings repeated up to `seconds`; it, its files in order, and how long they are together."""
    lengths = {path: soundfile.info(path).duration for path in paths}
    times = max(1, round(seconds / sum(lengths.values())))
    folder.mkdir(parents=True)
    names = [(f"{n:02d}_{i:05d}", path) for n in range(times) for i, path in enumerate(paths)]
    (folder / "wav.scp").write_text("".join(f"{name} {path}\n" for name, path in names))
    return folder, [path for _, path in names], times * sum(lengths.values())


def bench(name: str, paths: list[str], args: argparse.Namespace, work: Path) -> None:
    data, files, seconds = data_dir(work / name, paths, args.hours * 3600)
    rounds: dict[str, list[float]] = {}
    memory = 0.0
    contestants: dict[str, Callable[[], float]] = {
        kind: (lambda kind=kind: bare(kind, files, args.nj)) for kind in ("decode", "features", "both")
    }
    for _ in range(args.rounds):
        for kind, run in contestants.items():
            rounds.setdefault(kind, []).append(run())
        whole, inner, largest = command(data, work / "out", args.nj)
        memory = max(memory, largest)
        rounds.setdefault("extraction", []).append(inner)
        rounds.setdefault("command", []).append(whole)
    medians = {kind: statistics.median(taken) for kind, taken in rounds.items()}
    print(f"\n{name}: {len(files)} files, {seconds / 3600:.2f} h, {args.nj} processes, median of {args.rounds}")
    print("| what | seconds | times real time | of `both` |\n|---|---|---|---|")
    for kind, taken in medians.items():
        print(f"| {kind} | {taken:.2f} | {seconds / taken:.0f} | {medians['both'] / taken:.0%} |")
    print(f"largest process: {memory:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SIGSSL_DATA", ROOT / ".." / "shared" / "data")))
    parser.add_argument("--sets", nargs="+", default=[*SETS, "all"])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--nj", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found = {name: sorted(map(str, (args.data.resolve() / name).rglob("*.flac"))) for name in SETS}
    found["all"] = [path for paths in found.values() for path in paths]
    if not found["all"]:
        raise SystemExit(f"no recordings under {args.data}: name the folder that holds {', '.join(SETS)} with --data")
    with tempfile.TemporaryDirectory() as work:
        for name in args.sets:
            bench(name, found[name], args, Path(work))


if __name__ == "__main__":
    main()
