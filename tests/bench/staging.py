"""A whole night from EDF to hypnogram and statistics, beside YASA: `python tests/bench/staging.py [--hours 8] [--rounds 5]`.

Contestants, on the same synthetic night (seven channels at the rates of Sleep-EDF), in one process, interleaved, imports done and
models loaded, after a first round that is not counted:

    yasa staging     SleepStaging(raw, Fpz-Cz, EOG).predict() on a Raw that is in memory already
    yasa             the same from the file: mne reads the two channels, then staging and sleep statistics
    sigssl           read three channels, stage, sleep statistics: what `sigssl stage` does of a file
    sigssl causal    the same, pushed epoch by epoch through the state of a causal head
    files            what writing hypnogram.csv, events, EDF+ annotations, review list and statistics.json adds
    figure           what drawing the figure adds

YASA computes more features and a gradient boosting, sigssl band powers and a sequence head; neither is told the other's stages.
Accuracy is not compared here: the night is synthetic. Then `--nights` nights are staged in one process, and the resident set
after each is printed: it must not grow.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from sigssl.corpora import synthetic_psg
from sigssl.downstream.night import StagedNight
from sigssl.downstream.stager import Stager, load_stager, save_stager
from sigssl.downstream.staging import StagingSettings, stage_recording
from sigssl.reports.night_figure import draw_night
from sigssl.reports.night_files import summary, write_files
from sigssl.reports.nights import NightJob, Recording


def stager(causal: bool) -> Stager:
    """The shipped stager, or the one for live use."""
    return load_stager("sleep_bandpower_causal" if causal else "sleep_bandpower").eval()


def contestants(path: Path, out: Path) -> dict[str, Callable[[], object]]:
    """Name -> what is timed."""
    import mne
    import yasa

    mne.set_log_level("ERROR")
    channels = {"eeg_name": "EEG Fpz-Cz", "eog_name": "EOG horizontal"}
    raw = mne.io.read_raw_edf(path, include=list(channels.values()), preload=True)
    whole, causal = stager(False), stager(True)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (whole, causal)]
    print(f"sigssl: the shipped stagers, {sizes[0]:,} and (causal) {sizes[1]:,} parameters")
    made: list[StagedNight] = [stage_recording(path, whole, StagingSettings())]

    def from_file() -> object:
        read = mne.io.read_raw_edf(path, include=list(channels.values()), preload=True)
        return yasa.SleepStaging(read, **channels).predict().sleep_statistics()

    def ours(model: Stager, how: StagingSettings) -> object:
        made[0] = stage_recording(path, model, how)
        return made[0].statistics()

    return {
        "yasa staging": lambda: yasa.SleepStaging(raw, **channels).predict(),
        "yasa": from_file,
        "sigssl": lambda: ours(whole, StagingSettings()),
        "sigssl causal": lambda: ours(causal, StagingSettings(causal=True)),
        "files": lambda: summary(made[0], 0.6, write_files(made[0], out, 0.6)),
        "figure": lambda: draw_night(made[0], out / "night.png"),
    }


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def resident() -> float:
    """Resident set of this process in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def week(path: Path, nights: int) -> None:
    """Stage `nights` nights one after the other as `sigssl stage` does, and print the memory after each."""
    with tempfile.TemporaryDirectory() as folder:
        model = stager(False)
        job = NightJob(str(save_stager(Path(folder) / "stager", model, {"montage": "sleep_edf"})), StagingSettings(), folder)
        sizes = []
        for number in range(nights):
            outcome = job(Recording(f"night{number}", str(path)))
            assert not outcome.reason, outcome.reason
            sizes.append(resident())
    print(f"{nights} nights in one process, resident MB after each: {', '.join(f'{size:.0f}' for size in sizes)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nights", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        synthetic_psg.prepare(None, Path(folder), nights=1, hours=options.hours, nj=1)
        path = next(Path(folder).rglob("*-PSG.edf"))
        size, threads = path.stat().st_size / 1e6, torch.get_num_threads()
        print(f"{options.hours:g} h, {size:.0f} MB, {threads} threads, median (least) of {options.rounds} rounds")
        calls = contestants(path, Path(folder))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for turn in range(options.rounds + 1):
            for name, call in calls.items():
                measured = timed(call)
                if turn:
                    times[name].append(measured)
        base = statistics.median(wall for wall, _ in times["yasa staging"])
        for name, rounds in times.items():
            wall, cpu = [w for w, _ in rounds], [c for _, c in rounds]
            told = (
                f"{statistics.median(wall):7.3f} s ({min(wall):.3f})   processor {statistics.median(cpu):7.3f} s ({min(cpu):.3f})"
            )
            print(f"{name:<14} {told}   yasa staging / this {base / statistics.median(wall):5.2f}")
        week(path, options.nights)


if __name__ == "__main__":
    main()
