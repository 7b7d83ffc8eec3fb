"""Memory and open files stay flat in the number and in the length of recordings (measured in a process of its own)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import gc, os, resource, sys
from pathlib import Path
import numpy as np, soundfile, torch
torch.set_num_threads(1)
from sigssl.extract.embed import embed
from sigssl.extract.features import extract_features
from sigssl.extract.layers import Selection
from sigssl.extract.sources import find_utterances
from sigssl.features import LogMel
from sigssl.data.datadir import Utterance
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.training.checkpoint import save_encoder

verb, root = sys.argv[1], Path(sys.argv[2])
features = LogMel(n_mels=20, sample_rate=8000)
body = TransformerEncoder(input_dim=20, dim=8, layers=1, heads=1, ffn=8)
save_encoder(root / "model", FrameEncoder(features, body))
rng = np.random.default_rng(0)
for n in range(20):
    soundfile.write(root / f"{n}.wav", rng.uniform(-.1, .1, 4000 + 100 * n), 8000)
for minutes in (10, 60):
    with soundfile.SoundFile(root / f"long{minutes}.wav", "w", 8000, 1) as file:
        for _ in range(minutes):
            file.write(rng.uniform(-.1, .1, 8000 * 60))

def short(count):
    return [Utterance(f"u{n:05d}", str(root / f"{n % 20}.wav"), 0.0, None, None, None) for n in range(count)]

def long(minutes):
    return [Utterance("long", str(root / f"long{minutes}.wav"), 0.0, None, None, None)]

def run(name, utterances):
    if verb == "features":
        made = extract_features(utterances, features, root / name)
    else:
        made = embed(utterances, root / "model", root / name, selection=Selection("all"), device="cpu")
    assert made.good == len(utterances), made
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, files)

run("short200", short(200))
run("short2000", short(2000))
run("long10", long(10))
run("long60", long(60))
"""


@pytest.mark.parametrize("verb", ["features", "embed"])
def test_memory_is_flat(verb: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, verb, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (few, files), (many, _), (ten, _), (sixty, files_after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert sixty - ten < 40, f"{ten} MB for 10 min, {sixty} MB for 60 min"
    assert many - few < 40, f"{few} MB for 200 files, {many} MB for 2000"
    assert files_after <= files
