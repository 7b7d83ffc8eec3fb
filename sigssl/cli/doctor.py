"""`sigssl doctor`: what is installed, which fast paths really work (each is called), and what to install for the rest."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from sigssl import __version__
from sigssl.cli.common import make_parser, parse
from sigssl.optional import EXTRA, require

CORE = (
    "torch",
    "numpy",
    "lightning",
    "soundfile",
    "soxr",
    "kaldi-native-io",
    "safetensors",
    "jsonargparse",
    "torchmetrics",
    "scikit-learn",
)
OPTIONAL = {
    "torchaudio": "resampling on the device, oracle in tests",
    "s3prl": "s3prl upstreams and downstream tasks",
    "transformers": "Hugging Face encoders",
    "flashlight": "beam search over a lexicon with n-gram models (sigssl decode --method lexicon)",
    "jiwer": "word and character error rates (sigssl score asr)",
    "sentencepiece": "subwords for speech recognition",
    "mne": "EEG and sleep recordings",
    "yasa": "sleep statistics",
    "lhotse": "lhotse manifests and Shar",
    "librosa": "oracle in tests",
    "tensorboard": "TensorBoard logs",
    "distributed": "extraction on a Dask cluster (--dask)",
    "espeakng_loader": "synthetic speech for egs/mini",
    "mamba_ssm": "Mamba on CUDA through its authors' kernels",
}


class Finding(NamedTuple):
    """One line of the doctor's report; `state` is ok, missing or BROKEN."""

    what: str
    state: str
    detail: str


def main(argv: Sequence[str]) -> int:
    """Print the report; exit code 0 where the core works, 2 where it does not."""
    parser = make_parser(
        "doctor", "Say what is installed, which fast paths work, and what to install for the rest.", "sigssl doctor"
    )
    parse(parser, argv)
    core = [*_core_versions(), *(_called(what, check) for what, check in CHECKS.items())]
    sections = {
        "machine": _machine(),
        "core": core,
        "Mamba engines": _mamba_engines(),
        "optional": [_optional(name, purpose) for name, purpose in OPTIONAL.items()],
    }
    print(f"sigssl {__version__}")
    for title, findings in sections.items():
        print(f"\n{title}")
        for f in findings:
            print(f"  {f.state:<8} {f.what:<28} {f.detail}")
    broken = [f.what for f in core if f.state != "ok"]
    print(f"\n{'the core works' if not broken else 'BROKEN: ' + ', '.join(broken)}")
    return 2 if broken else 0


def _machine() -> list[Finding]:
    import torch

    rows = [
        Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding(
            "CPU", "ok", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}; {torch.backends.cpu.get_cpu_capability()}"
        ),
    ]
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda} but sees no GPU" if torch.version.cuda else "torch is a CPU build"
        return [*rows, Finding("GPU", "missing", built)]
    for i in range(torch.cuda.device_count()):
        props = torch.cuda.get_device_properties(i)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        rows.append(Finding(f"GPU {i}", "ok", f"{props.name}, {props.total_memory / 2**30:.0f} GiB, {bf16}"))
    return rows


def _core_versions() -> list[Finding]:
    rows = []
    for name in CORE:
        try:
            rows.append(Finding(name, "ok", metadata.version(name)))
        except metadata.PackageNotFoundError:
            rows.append(Finding(name, "missing", f"pip install {name}"))
    return rows


def _called(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", check())
    except Exception as error:  # whatever a broken installation raises belongs in the report
        return Finding(what, "BROKEN", f"{type(error).__name__}: {error}")


def _flac_round_trip() -> str:
    import numpy as np
    import soundfile

    tone = np.round(np.sin(np.arange(16000) / 10) * 2**14) / 2**15
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tone.flac"
        soundfile.write(path, tone, 16000)
        back, _ = soundfile.read(path)
    assert np.array_equal(tone, back)
    return f"libsndfile {soundfile.__libsndfile_version__.removeprefix('libsndfile-')}, formats {', '.join(sorted(_formats()))}"


def _formats() -> set[str]:
    import soundfile

    return {"WAV", "FLAC", "OGG", "MP3"} & set(soundfile.available_formats())


def _ark_round_trip() -> str:
    import kaldi_native_io
    import numpy as np

    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    with tempfile.TemporaryDirectory() as folder:
        with kaldi_native_io.FloatMatrixWriter(f"ark,scp:{folder}/m.ark,{folder}/m.scp") as writer:
            writer.write("m", matrix)
        with kaldi_native_io.RandomAccessFloatMatrixReader(f"scp:{folder}/m.scp") as reader:
            assert np.array_equal(reader["m"], matrix)
    return "written and read back"


def _features() -> str:
    import torch

    from sigssl.features import LogMel, cpp
    from sigssl.native import library

    frames, lengths = LogMel()(torch.randn(1, 16000), torch.tensor([16000]))
    assert frames.shape == (1, 101, 80) and lengths.item() == 101 and bool(torch.isfinite(frames).all())
    engine = f"C++: {library.detail()}" if cpp.kernels() else "by torch"
    return f"one second of noise gives 101 finite frames of 80; {engine}"


def _attention() -> str:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    q = torch.randn(1, 2, 64, 32, device=device, dtype=torch.bfloat16)
    torch.nn.functional.scaled_dot_product_attention(q, q, q)
    return f"scaled_dot_product_attention in bf16 on {device}"


CHECKS: dict[str, Callable[[], str]] = {
    "FLAC round trip": _flac_round_trip,
    "ark/scp round trip": _ark_round_trip,
    "log-mel": _features,
    "attention": _attention,
}


def _mamba_engines() -> list[Finding]:
    from sigssl.nn.scan import engines

    return [Finding(name, "ok" if works else "missing", detail) for name, works, detail in engines()]


def _optional(name: str, purpose: str) -> Finding:
    try:
        require(name, "for " + purpose)
    except ImportError as error:
        absent = isinstance(error.__cause__, ModuleNotFoundError)
        remedy = f"pip install 'sigssl[{EXTRA[name]}]'" if EXTRA.get(name) else f"pip install {name.replace('_', '-')}"
        return Finding(name, "missing" if absent else "BROKEN", f"{purpose}; {remedy if absent else error.__cause__}")
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = ""
    return Finding(name, "ok", f"{version} ({purpose})")
