"""Does reading keep up with training: `python tests/bench/dataloader.py [--config FILE ...] [--updates 30] [-- key=value ...]`.

Two tables. Supply: hours of signal per second that the loader gives when nobody works on the batches, from audio files and from
stored features, with 0, 1 and 2 reading processes, beside a bare loop of decoding; interleaved, medians. Demand: the same data
through `sigssl pretrain` with each configuration: hours per second trained on, and the share of time that the step waited for data
(`data_wait` in a run's metrics).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import soundfile
import soxr

from sigssl.data.datadir import DataDir
from sigssl.features import LogMel
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.training.datamodule import DataModule, open_dataset
from sigssl.training.options import DataOptions
from sigssl.types import Encoder

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
SETS = ("speech_digits", "speech_commands_ar", "vctk_p239", "an4")


def listed(folder: Path, out: Path, count: int) -> DataDir:
    """A data directory of every n-th recording."""
    files = [path for name in SETS for path in sorted((folder / name).rglob("*")) if path.suffix in (".wav", ".flac")]
    if not files:
        raise SystemExit(f"no recordings under {folder}: name their folder with --data")
    wav = {path.stem: str(path) for path in files[:: max(1, len(files) // count)]}
    data = DataDir(out, wav=wav, utt2spk=dict.fromkeys(wav, "s"))
    data.utt2dur = {id: soundfile.info(path).duration for id, path in wav.items()}
    data.write()
    return data


def decode(data: DataDir) -> float:
    """Hours per second of soundfile and, where a recording has another rate, soxr, in a bare loop."""
    begin, hours = time.perf_counter(), 0.0
    for path in data.wav.values():
        samples, rate = soundfile.read(path, dtype="float32")
        hours += len(samples) / rate / 3600
        if rate != RATE:
            soxr.resample(samples, rate, RATE)
    return hours / (time.perf_counter() - begin)


def supply(train: Path, feats: Path | None, workers: int) -> float:
    """Hours per second of the loader, of its second epoch (processes are running then)."""
    options = DataOptions(str(train), batch_seconds=60.0, crop_seconds=15.0)
    encoder = small_encoder()
    data = open_dataset(str(train), None if feats is None else str(feats), options, encoder, 0)
    module = DataModule(data, None, options, seed=0, workers=workers)
    steps = module.batching.steps(0)
    batches = iter(module.train_dataloader())
    for _ in islice(batches, steps):
        pass
    begin = time.perf_counter()
    hours = sum(loaded.seconds for loaded in islice(batches, module.batching.steps(1))) / 3600
    return hours / (time.perf_counter() - begin)


def small_encoder() -> Encoder:
    """An encoder with the default log-mel, for the sample rate and the check of stored features."""
    return FrameEncoder(LogMel(), TransformerEncoder(input_dim=80, dim=16, layers=1, heads=1, ffn=16))


def sigssl(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "sigssl", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--files", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--config", type=Path, nargs="*", default=[ROOT / "recipes/conf/tera/tiny.yaml"])
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("override", nargs="*", help="key=value for sigssl pretrain")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train, feats = Path(folder) / "train", Path(folder) / "feats"
        data = listed(args.data, train, args.files)
        sigssl("features", "--config", str(ROOT / "recipes/conf/features/logmel.yaml"), str(train), str(feats))
        contestants: dict[str, Callable[[], float]] = {"bare decoding": lambda: decode(data)}
        for name, store in (("signals", None), ("stored features", feats)):
            for workers in (0, 1, 2):
                contestants[f"{name}, {workers} processes"] = lambda store=store, workers=workers: supply(train, store, workers)
        took: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(args.rounds):
            for name, run in contestants.items():
                took[name].append(run())
        base = statistics.median(took["bare decoding"])
        print(f"{len(data.wav)} recordings\n\n| supply | hours per second | ratio |\n|---|---|---|")
        for name, values in took.items():
            print(f"| {name} | {statistics.median(values):.3f} | {statistics.median(values) / base:.2f} |")
        print("\n| demand | hours per second | waits for data |\n|---|---|---|")
        for config in args.config:
            for name, words in (("signals", []), ("stored features", [f"data.feats={feats}"])):
                out = Path(folder) / f"{config.parent.name}-{config.stem}-{len(words)}"
                every = [f"trainer.updates={args.updates}", f"trainer.log_every={args.updates // 2}", "data.min_seconds=0.2"]
                sigssl("pretrain", "--config", str(config), f"data.train={train}", f"out={out}", *every, *words, *args.override)
                last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
                print(f"| {out.name[:-2]}, {name} | {last['hours_per_second']:.4f} | {last['data_wait']:.1%} |")


if __name__ == "__main__":
    main()
