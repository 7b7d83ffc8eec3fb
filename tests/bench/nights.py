"""A folder of EDF nights to a store, beside MNE: `python tests/bench/nights.py [--nights 4] [--hours 8] [--nj 1 2] [--rounds 3]`.

Contestants, each in the same number of processes of one thread, on the same generated files, imports and start of processes left
out:

    mne    bare reading and filtering: read_raw_edf (picked channels only), filter 0.3-35 Hz, resample (polyphase) where the rate is
           not 100 Hz; the result stays in memory
    store  NightJob, what `sigssl features` runs in its workers: the same, and the ark written to disk

Two kinds of nights: as Sleep-EDF's (7 signals, 3 picked, 100 Hz, beside others at 1 Hz) and as a clinic's (20 signals at 256 Hz, 6
picked, one of them a difference for the store, a plain channel for MNE). Rounds are interleaved, medians compared: hours of
recording per second that the clock shows, and per second of processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from edf_files import Edf, Signal, noise

KINDS = {
    "Sleep-EDF, 3 of 7 signals, 100 Hz": (
        {"EEG Fpz-Cz": 100, "EEG Pz-Oz": 100, "EOG horizontal": 100, "Resp oro-nasal": 1, "EMG submental": 1, "Temp": 1, "Mark": 1},
        ["EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal"],
        {"montage": "sleep_edf", "channels": ("Fpz-Cz", "Pz-Oz", "EOG")},
    ),
    "clinic, 6 of 20 signals, 256 Hz": (
        dict.fromkeys(["C4", "M1", "C3-M2", "F4-M1", "F3-M2", "O2-M1", "E1-M2", *(f"X{i}" for i in range(13))], 256),
        ["C4", "C3-M2", "F4-M1", "F3-M2", "O2-M1", "E1-M2"],
        {"montage": "10-20", "channels": ("C4-M1", "C3-M2", "F4-M1", "F3-M2", "O2-M1", "EOG")},
    ),
}


def with_mne(files: list[str], names: list[str], _: dict[str, Any], __: str) -> None:
    import mne

    for file in files:
        raw = mne.io.read_raw_edf(file, include=names, preload=True, verbose="error")
        raw.filter(0.3, 35.0, picks="all", verbose="error")
        if raw.info["sfreq"] != 100:
            raw.resample(100, method="polyphase", verbose="error")
        assert raw.get_data().shape[0] == len(names)


def with_store(files: list[str], _: list[str], settings: dict[str, Any], folder: str) -> None:
    from sigssl.data.datadir import Utterance
    from sigssl.extract.nights import NightJob, NightSignal
    from sigssl.extract.shards import Shard

    job = NightJob(folder, NightSignal(**settings))
    for file in files:
        number = int(Path(file).stem)
        done = job(Shard(number, (Utterance(f"n{number}", file, 0.0, None, None, None),), "key"))
        assert not done.bad, done.bad


CONTESTANTS = {"mne": with_mne, "store": with_store}


def process(name: str, files: list[str], args: tuple[Any, ...], barrier: Any, spent: Any) -> None:
    """One process: imports and a short warm-up, then the clock runs."""
    CONTESTANTS[name](files[:0], *args)
    import mne

    import sigssl.extract.nights  # noqa: F401

    mne.filter.create_filter(None, 100.0, 0.3, 35.0, verbose="error")
    mne.filter.resample(np.zeros(300), 100, 256, method="polyphase", verbose="error")
    barrier.wait()
    before = time.process_time()
    CONTESTANTS[name](files, *args)
    spent.put(time.process_time() - before)
    barrier.wait()


def seconds(name: str, nj: int, files: list[str], args: tuple[Any, ...]) -> tuple[float, float]:
    """By the clock, and of processor time."""
    context = multiprocessing.get_context("spawn")
    barrier, spent = context.Barrier(nj + 1), context.Queue()
    workers = [context.Process(target=process, args=(name, files[i::nj], args, barrier, spent)) for i in range(nj)]
    for worker in workers:
        worker.start()
    barrier.wait()
    begin = time.perf_counter()
    barrier.wait()
    taken = time.perf_counter() - begin
    processor = sum(spent.get() for _ in workers)
    for worker in workers:
        worker.join()
    return taken, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=4)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--nj", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| nights | processes | MNE, h/s | store, h/s | of MNE's | MNE, h per CPU s | store, h per CPU s | of MNE's |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, (signals, names, settings) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            made = [
                Signal(label, np.tile(noise(600, rate, i), 6 * round(options.hours)), rate)
                for i, (label, rate) in enumerate(signals.items())
            ]
            first = Edf(made).write(Path(folder) / "1.edf")
            files = [str(first)]
            for number in range(2, options.nights + 1):
                (Path(folder) / f"{number}.edf").write_bytes(first.read_bytes())
                files.append(str(Path(folder) / f"{number}.edf"))
            for nj in options.nj:
                times: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTESTANTS}
                for _ in range(options.rounds):
                    for name in CONTESTANTS:
                        times[name].append(seconds(name, nj, files, (names, settings, folder)))
                cells = []
                for which in (0, 1):
                    middle = [statistics.median(pair[which] for pair in times[name]) for name in CONTESTANTS]
                    mne, store = (options.nights * options.hours / taken for taken in middle)
                    cells.append(f"{mne:.1f} | {store:.1f} | {100 * store / mne:.0f} %")
                print(f"| {kind} | {nj} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
