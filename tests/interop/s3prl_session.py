"""What tests/interop/test_s3prl.py asks of s3prl, in a process of its own: importing all of s3prl leaves traces everywhere.

python s3prl_session.py FOLDER writes FOLDER/outcome.json: name of a check -> "" or what went wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soxr
import torch
from torch import Tensor

import sigssl
from sigssl.cli.main import main
from sigssl.config import build, describe
from sigssl.data.ark import read_matrix, read_scp
from sigssl.errors import UserError
from sigssl.features import KaldiFbank, LogMel
from sigssl.interop import s3prl as ours
from sigssl.interop import s3prl_run, s3prl_shim
from sigssl.interop.s3prl_upstream import S3PRLEncoder
from sigssl.methods import TERA, FrameEncoder
from sigssl.methods.s3prl_layout import export_s3prl
from sigssl.nn import TransformerEncoder
from sigssl.training.checkpoint import model_name, read_meta, save_encoder
from sigssl.views import Alter


class Skip(Exception):
    """What a check needs is not there."""


CHECKS: list[Callable[[Path], None]] = []
LENGTHS = torch.tensor([16000, 9001, 160, 161, 1])


def check(function: Callable[[Path], None]) -> Callable[[Path], None]:
    CHECKS.append(function)
    return function


def signals(lengths: Tensor = LENGTHS) -> Tensor:
    x = torch.randn(len(lengths), int(lengths.max()), generator=torch.Generator().manual_seed(0)) * 0.1
    return x * (torch.arange(x.shape[1]) < lengths[:, None])


def encoder(kind: str) -> FrameEncoder:
    torch.manual_seed(0)
    features = {"mel": LogMel, "kaldi": lambda: KaldiFbank(80), "slow": lambda: LogMel(sample_rate=8000)}[kind]()
    return FrameEncoder(features, TransformerEncoder(80, dim=48, layers=2, heads=4, ffn=64)).eval()


def near(a: Tensor, b: Tensor, limit: float = 1e-4) -> None:
    assert a.shape == b.shape, (a.shape, b.shape)
    difference = float((a - b).abs().max()) if a.numel() else 0.0
    assert difference <= limit, difference


@check
def states_through_s3prl_equal_ours(folder: Path) -> None:
    from s3prl.nn import Featurizer, S3PRLUpstream

    for kind in ("mel", "kaldi"):
        model = encoder(kind)
        place = save_encoder(folder / kind, model)
        for name in ours.NAMES:
            upstream = S3PRLUpstream(name, path_or_url=str(place)).eval()
        assert upstream.downsample_rates == [160] * 3 and upstream.hidden_sizes == [48] * 3
        with torch.no_grad():
            states, lengths = upstream(signals(), LENGTHS)
            mixed, mixed_lengths = Featurizer(upstream)(states, lengths)
        assert len(states) == 3 and lengths[0].tolist() == [100, 57, 1, 2, 1] == mixed_lengths.tolist()
        near(mixed, torch.stack(states).mean(0))
        for item, samples in enumerate(LENGTHS.tolist()):
            filled = max(samples, 400 if kind == "kaldi" else 1)
            wave = torch.nn.functional.pad(signals()[item, :samples], (0, filled - samples))
            with torch.no_grad():
                hidden = model(wave[None, None], torch.tensor([filled]))
            for a, b in zip(states, hidden.states, strict=True):
                frames = min(b.shape[1], -(-samples // 160))
                near(a[item, :frames], b[0, :frames])
                if samples > filled // 2:  # what s3prl expects beyond our frames repeats the last one
                    near(a[item, frames : -(-samples // 160)], b[0, -1:].expand(-(-samples // 160) - frames, -1))


@check
def short_batches_and_exact_frames(folder: Path) -> None:
    expert = ours.UpstreamExpert(str(folder / "kaldi"), refresh=True).eval()
    with torch.no_grad():
        for lengths in ([1], [1, 1], [159, 161], [16000], [16001, 1]):
            states = expert([torch.randn(n) for n in lengths])
            expected = -(-max(lengths) // 160)
            assert [s.shape for s in states["hidden_states"]] == [(len(lengths), expected, 48)] * 3
            assert all(bool(s.isfinite().all()) for s in states["hidden_states"])
            assert states["last_hidden_state"] is states["hidden_states"][-1]


@check
def both_of_s3prls_featurizers_and_gradients(folder: Path) -> None:
    from s3prl.upstream.interfaces import Featurizer

    expert = ours.UpstreamExpert(str(folder / "mel"))
    featurizer = Featurizer(expert, "hidden_states", "cpu")
    expert.train()
    wavs = [torch.randn(n) for n in (16000, 8001)]
    out = featurizer(wavs, expert(wavs))
    assert [len(x) for x in out] == [100, 50]
    sum(x.square().mean() for x in out).backward()
    assert all(p.grad is not None for p in expert.encoder.body.parameters())


@check
def another_rate_is_resampled(folder: Path) -> None:
    place = save_encoder(folder / "slow", encoder("slow"))
    expert = ours.UpstreamExpert(str(place)).eval()
    assert expert.get_downsample_rates("hidden_states") == 160
    slow = signals(torch.tensor([8000]))
    fast = torch.from_numpy(soxr.resample(slow[0].numpy(), 8000, 16000))
    with torch.no_grad():
        got = expert([fast])["hidden_states"][-1]
        expected = encoder("slow")(slow[:, None], torch.tensor([8000])).states[-1]
    assert torch.nn.functional.cosine_similarity(got[:, 5:95], expected[:, 5:95], dim=2).min() > 0.9


@check
def refusals_of_the_upstream(folder: Path) -> None:
    for words, message in (((None,), "needs a model"), ((str(folder / "nothing"),), "is no folder")):
        try:
            ours.UpstreamExpert(*words)
        except UserError as error:
            assert message in str(error), error
        else:
            raise AssertionError(message)


@check
def their_upstreams_are_encoders(folder: Path) -> None:
    from s3prl.nn import S3PRLUpstream

    file = export_s3prl(TERA(encoder("mel"), Alter()), folder / "tera.ckpt")
    for name, path, layers in (("fbank", None, 0), ("mel", None, 0), ("mfcc", None, 0), ("tera_local", str(file), 2)):
        made = sigssl.load(f"s3prl:{name}" + (f":{path}" if path else ""))
        reference = S3PRLUpstream(name, path_or_url=path).eval()
        assert not made.training and (made.num_layers, made.hop, made.sample_rate) == (layers, 160, 16000)
        with torch.no_grad():
            hidden = made(signals()[:, None], LENGTHS)
            assert hidden.lengths.tolist() == [100, 57, 1, 2, 1]
            assert all(bool(s.isfinite().all()) for s in hidden.states)
            for item, samples in enumerate(LENGTHS.tolist()):
                if samples >= 960:
                    states, _ = reference(signals()[item : item + 1, :samples], torch.tensor([samples]))
                    for a, b in zip(hidden.states, states, strict=True):
                        near(a[item, : b.shape[1]], b[0])
            padded = torch.nn.functional.pad(signals(), (0, 500), value=float("nan"))
            for a, b in zip(hidden.states, made(padded[:, None], LENGTHS).states, strict=True):
                near(a, b, 0.0)
            together = S3PRLEncoder(name, path, together=True)(signals()[:2, None], LENGTHS[:2])
            states, _ = reference(signals()[:2], LENGTHS[:2])
            for a, b in zip(together.states, states, strict=True):
                near(a, b)


@check
def ours_through_s3prl_and_back(folder: Path) -> None:
    with torch.no_grad():
        made = S3PRLEncoder("sigssl_local", str(folder / "mel"))
        hidden = made(signals()[:, None], LENGTHS)
        direct = encoder("mel")(signals()[:, None], LENGTHS)
    for item, frames in enumerate((100, 57)):
        for a, b in zip(hidden.states, direct.states, strict=True):
            near(a[item, :frames], b[item, :frames])


@check
def a_random_waveform_upstream(folder: Path) -> None:
    """A convolution of stride 320 whose receptive field is wider, with random weights: the same ones each time."""
    from s3prl import hub

    class Expert(torch.nn.Module):
        def __init__(self, ckpt: str | None = None, **_: Any) -> None:
            super().__init__()
            self.front, self.next = torch.nn.Conv1d(1, 8, 400, 320), torch.nn.Linear(8, 8)

        def get_downsample_rates(self, key: str) -> int:
            return 320

        def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
            x = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
            first = self.front(x[:, None]).transpose(1, 2)
            return {"hidden_states": (first, self.next(first))}

    hub.random_waves = Expert
    torch.manual_seed(1)
    state, python = torch.get_rng_state(), random.getstate()
    one = sigssl.load("s3prl:random_waves")
    assert torch.equal(torch.get_rng_state(), state) and random.getstate() == python
    two = sigssl.load("s3prl:random_waves")
    with torch.no_grad():
        a, b = one(signals()[:, None], LENGTHS), two(signals()[:, None], LENGTHS)
    assert a.lengths.tolist() == [50, 29, 1, 1, 1] and one.num_layers == 1 and one.hop == 320
    for left, right in zip(a.states, b.states, strict=True):
        near(left, right, 0.0)
    expected = one.upstream.upstream.front(signals()[:1, None]).transpose(1, 2)
    near(a.states[0][:1, :49], expected.detach(), 1e-5)
    assert read_meta("s3prl:random_waves")["weights_sha256"] == read_meta("s3prl:random_waves")["weights_sha256"]
    fresh = one.untrained()
    assert not torch.equal(fresh.upstream.upstream.front.weight, one.upstream.upstream.front.weight)
    again = build(describe(one))
    assert again.name == "random_waves" and again.path is None


@check
def names_metas_and_refusals_of_encoders(folder: Path) -> None:
    file = folder / "tera.ckpt"
    assert model_name(f"s3prl:tera_local:{file}") == f"s3prl:tera_local:{file.resolve()}"
    meta = read_meta(f"s3prl:tera_local:{file}")
    assert (meta["dim"], meta["num_layers"], meta["hop"], meta["sample_rate"]) == (48, 2, 160, 16000)
    content = torch.load(file, weights_only=True) | {"Args": argparse.Namespace(seed=1)}  # as s3prl itself writes them
    torch.save(content, folder / "with_args.ckpt")
    assert sigssl.load(f"s3prl:tera_local:{folder / 'with_args.ckpt'}").dim == 48
    for name, message in (
        ("s3prl:fbnak", "no such upstream. Did you mean 'fbank'?"),
        ("s3prl:tera_local", "cannot be built"),
        ("s3prl:tera", "nothing is downloaded unasked"),
        ("s3prl:hf_wav2vec2_custom:org/name", "cannot be built"),
    ):
        try:
            sigssl.load(name)
        except UserError as error:
            assert message.split(". Did")[0] in str(error), error
        else:
            raise AssertionError(name)


@check
def verbs_take_their_upstreams(folder: Path) -> None:
    import soundfile

    (folder / "wavs").mkdir()
    for item, samples in enumerate((16000, 100)):
        soundfile.write(folder / "wavs" / f"{item}.wav", signals()[0, :samples].numpy(), 16000, subtype="FLOAT")
    name = f"s3prl:tera_local:{folder / 'tera.ckpt'}"
    words = [str(folder / "wavs"), str(folder / "emb"), "--layer", "last", "--nj", "1", "--device", "cpu", "--quiet"]
    assert main(["embed", *words, "--model", name]) == 0
    matrices = [read_matrix(where) for where in read_scp(folder / "emb" / "emb.scp").values()]
    assert [m.shape for m in matrices] == [(100, 48), (1, 48)]
    made: Any = sigssl.load(name)
    expected = made(signals()[:1, None], LENGTHS[:1]).states[-1][0]
    near(torch.from_numpy(matrices[0]), expected.detach())
    assert made.frame_count(16001) == 101
    assert made.trainable("frozen") == [] and len(made.trainable("full")) == len(list(made.parameters()))


SCRIPT = """
import argparse, sys
import torch, torchaudio
from torchaudio.sox_effects import apply_effects_file
from huggingface_hub import HfApi, HfFolder, Repository
from s3prl import hub
from helper import here
parser = argparse.ArgumentParser()
for word in "-m", "-u", "-k", "-g", "-o":
    parser.add_argument(word)
args = parser.parse_args()
assert __name__ == "__main__" and here
torchaudio.set_audio_backend("sox_io")
wave, rate = torchaudio.load(args.g)
assert torchaudio.info(args.g).num_frames == wave.shape[1] == 8000
mono, new = apply_effects_file(args.g, [["channels", "1"], ["rate", "16000"], ["gain", "-6.0"]])
assert new == 16000 and mono.shape == (1, 16000)
upstream = getattr(hub, args.u)(ckpt=args.k, model_config=args.g, refresh=False).eval()
with torch.no_grad():
    print([tuple(s.shape) for s in upstream([mono[0]])["hidden_states"]], file=open(args.o, "w"))
"""


@check
def the_launcher_runs_a_script_as_run_downstream_is(folder: Path) -> None:
    import soundfile

    (folder / "toy").mkdir()
    (folder / "toy" / "run_toy.py").write_text(SCRIPT)
    (folder / "toy" / "helper.py").write_text("here = True\n")
    soundfile.write(folder / "toy.wav", torch.randn(8000, 2).mul(0.1).numpy(), 8000)
    words = [str(folder / "toy" / "run_toy.py"), "-m", "train", "-u", "sigssl_local", "-k", str(folder / "mel")]
    words += ["-g", str(folder / "toy.wav"), "-o", str(folder / "toy.txt")]
    assert s3prl_run.main(words) == 0
    assert (folder / "toy.txt").read_text().strip() == str([(1, 100, 48)] * 3)


RUNNER = """
runner: {total_steps: 2, gradient_clipping: 1, gradient_accumulate_steps: 1, log_step: 1, eval_step: 9, save_step: 2, max_keep: 1}
optimizer: {name: TorchOptim, torch_optim_name: Adam, lr: 1.0e-4}
downstream_expert:
  datarc: {num_workers: 0, train_batch_size: 2, eval_batch_size: 2}
  modelrc: {input_dim: 8}
"""


@check
def run_downstream_itself_trains_a_task_on_ours(folder: Path) -> None:
    """s3prl's own script with its example task, whose imports today's huggingface_hub and torchaudio break without the shim."""
    import s3prl

    if importlib.util.find_spec("tensorboardX") is None:
        raise Skip("run_downstream.py needs tensorboardX: pip install tensorboardX")
    (folder / "runner.yaml").write_text(RUNNER)
    words = [
        str(Path(s3prl.__file__).parent / "run_downstream.py"),
        "-m",
        "train",
        "-p",
        "exp",
        "-d",
        "example",
        "-c",
        "runner.yaml",
    ]
    words += ["-u", "sigssl_local", "-k", "mel", "--device", "cpu"]
    os.chdir(folder)
    assert s3prl_run.main(words) == 0
    state = torch.load(folder / "exp" / "states-2.ckpt", weights_only=True)
    assert state["Step"] == 2 and state["Args"].upstream == "sigssl_local" and len(state["Featurizer"]["weights"]) == 3


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # s3prl's
    place = Path(sys.argv[1])
    ours.register()
    ours.register()
    s3prl_shim.install()
    outcome = {}
    for one in CHECKS:
        try:
            one(place)
            outcome[one.__name__] = ""
        except Skip as reason:
            outcome[one.__name__] = f"skip: {reason}"
        except Exception:
            outcome[one.__name__] = traceback.format_exc()
    (place / "outcome.json").write_text(json.dumps(outcome))
