"""s3prl checkpoints: published numeric vectors, every layout, refusals, and the way back."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from sigssl.config import describe
from sigssl.errors import UserError
from sigssl.features import Deltas, GlobalCMVN, KaldiFbank, LogMel
from sigssl.methods import TERA, FrameEncoder
from sigssl.methods.s3prl_layout import (
    body_from_s3prl,
    body_to_s3prl,
    export_s3prl,
    head_from_s3prl,
    head_to_s3prl,
    import_s3prl,
    read_s3prl,
)
from sigssl.nn import ReconstructionHead, TransformerEncoder
from sigssl.views import Alter

TRANSFORMER = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "hidden_act": "gelu",
    "intermediate_size": 48,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": "1.e-12",
    "share_layer": False,
    "pre_layer_norm": False,
}
TASK = {
    "loss": "L1",
    "sequence_length": 1500,
    "position_encoding_size": 24,
    "mask_proportion": 0.15,
    "mask_consecutive_min": 7,
    "mask_consecutive_max": 7,
    "mask_allow_overlap": True,
    "mask_bucket_ratio": 1.5,
    "mask_frequency": 0.2,
    "noise_proportion": 0.15,
}
MEL = {"feat_type": "mel", "channel": 0, "log": True, "delta": 0, "cmvn": True}
AUDIO = {"target_level": -25, "win_ms": 25, "hop_ms": 10, "n_freq": 201, "n_mels": 80, "n_mfcc": 13, "input": MEL, "target": MEL}
UPSTREAM = {"transformer": TRANSFORMER, "task": TASK, "audio": AUDIO}


def states(seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random tensors with s3prl's names."""
    torch.manual_seed(seed)
    body = TransformerEncoder(80, dim=24, layers=2, heads=3, ffn=48)
    return body_to_s3prl(body.state_dict(), 2), head_to_s3prl(ReconstructionHead(24, 80).state_dict())


def filled(key: str, shape: torch.Size) -> Tensor:
    """0.02 sin(0.7 i + 0.001 S), S the sum of the key's bytes; norms about 1."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    value = 0.02 * torch.sin(0.7 * index + 0.001 * sum(key.encode()))
    return (value + (1.0 if key.endswith("LayerNorm.weight") else 0.0)).float().view(shape)


VECTORS = [
    (0.876930, [-1.04435, 0.88179, -1.07862, 0.93425, -1.01263], [0.97375, -0.55761, 1.15088]),
    (0.858933, [-0.61338, 0.76966, -1.31787, 0.78665, -0.76864], [0.87618, -0.33742, 1.31879]),
    (0.824215, [-0.18861, 0.63003, -1.47049, 0.60053, -0.48801], [0.73727, -0.10864, 1.40343]),
    (0.811353, [0.18341, 0.48682, -1.53980, 0.40304, -0.20940], [0.58028, 0.10183, 1.41685]),
]


@torch.no_grad()
def test_numeric_vectors_of_s3prls_own_model() -> None:
    body, head = TransformerEncoder(80).eval(), ReconstructionHead(768, 80)
    theirs = {k: filled(k, v.shape) for k, v in body_to_s3prl(body.state_dict(), 3).items()}
    body.load_state_dict(body_from_s3prl(theirs, shared=False))
    head.load_state_dict(head_from_s3prl({k: filled(k, v.shape) for k, v in head_to_s3prl(head.state_dict()).items()}))
    x = torch.sin(0.37 * torch.arange(50 * 80, dtype=torch.float64)).float().view(1, 50, 80)
    x[:, 40:] = float("nan")
    hidden = body(x, torch.tensor([40]))
    for state, (mean, first, last) in zip(hidden, VECTORS, strict=True):
        assert float(state[0, :40].abs().mean()) == pytest.approx(mean, abs=2e-6)
        torch.testing.assert_close(state[0, 0, :5], torch.tensor(first), rtol=0, atol=2e-5)
        torch.testing.assert_close(state[0, 39, -3:], torch.tensor(last), rtol=0, atol=2e-5)
    predicted = head(hidden[-1])[0, :40]
    assert float(predicted.abs().mean()) == pytest.approx(0.166891, abs=2e-6)
    torch.testing.assert_close(predicted[0, :5], torch.tensor([0.27985, -0.23641, 0.22289, -0.13858, 0.02638]), rtol=0, atol=2e-5)


def test_tensor_names_and_shapes_of_tera_base() -> None:
    with torch.device("meta"):
        state = body_to_s3prl(TransformerEncoder(80).state_dict(), 3)
    assert len(state) == 52
    assert state["input_representations.spec_transform.weight"].shape == (768, 80)
    assert state["encoder.layer.2.attention.self.key.weight"].shape == (768, 768)
    assert state["encoder.layer.0.output.dense.weight"].shape == (768, 3072)


def test_names_map_there_and_back() -> None:
    for share in (False, True):
        body = TransformerEncoder(80, dim=24, layers=3, heads=3, ffn=48, share_layers=share)
        theirs = body_to_s3prl(body.state_dict(), 3)
        assert len(theirs) == 52
        back = body_from_s3prl(theirs, shared=share)
        assert back.keys() == body.state_dict().keys()
        assert all(torch.equal(back[k], v) for k, v in body.state_dict().items())


def contents(layout: str) -> dict[str, Any]:
    body, head = states()
    if layout == "A":
        settings = {"Config": {"transformer": {**TRANSFORMER, **TASK}, "online": AUDIO}, "Paras": argparse.Namespace(seed=1)}
        return {"SpecHead": head, "Transformer": body, "Global_step": 5, "Settings": settings}
    if layout == "oldest":
        return {"Mockingjay" if k == "Transformer" else k: v for k, v in contents("A").items()}
    if layout == "B":
        return {"SpecHead": head, "Transformer": body, "Config": UPSTREAM, "Runner": {"n_epochs": 1}}
    args = argparse.Namespace(upstream="tera", seed=1337)
    return {"Step": 9, "Args": args, "Config": {"runner": {}}, "SpecHead": head, "Transformer": body, "Upstream_Config": UPSTREAM}


@pytest.mark.parametrize("layout", ["A", "oldest", "B", "C"])
def test_every_layout_is_read(layout: str, tmp_path: Path) -> None:
    torch.save(contents(layout), tmp_path / "states.ckpt")
    found = read_s3prl(tmp_path / "states.ckpt")
    assert found.layout == ("A" if layout == "oldest" else layout)
    method = import_s3prl(tmp_path / "states.ckpt")
    assert not method.training
    body, head = states()
    assert all(torch.equal(v, body[k]) for k, v in body_to_s3prl(method.encoder.body.state_dict(), 2).items())
    assert all(torch.equal(v, head[k]) for k, v in head_to_s3prl(method.head.state_dict()).items())
    assert describe(method.alter) == describe(Alter(time=0.15, width=7, freq=0.2, magnitude=0.15))
    assert method.encoder.window == 1500 and method.encoder.body.attention_dropout == 0.1
    assert describe(method.encoder.features) == describe(LogMel(n_fft=400))


@pytest.mark.parametrize("module", ["optimizers", "s3prl.optimizers", "transformer.optimization"])
def test_pickled_schedules_are_read_as_empty_shells(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    class WarmupLinearSchedule:
        def __init__(self) -> None:
            self.warmup = 0.07

        def __setstate__(self, state: dict[str, Any]) -> None:
            ran.append(state)

    WarmupLinearSchedule.__module__, WarmupLinearSchedule.__qualname__ = module, "WarmupLinearSchedule"
    for end in range(1, module.count(".") + 2):
        monkeypatch.setitem(sys.modules, ".".join(module.split(".")[:end]), ModuleType(module))
    monkeypatch.setattr(sys.modules[module], "WarmupLinearSchedule", WarmupLinearSchedule, raising=False)
    content = contents("C") | {"Optimizer": {"param_groups": [{"schedule": WarmupLinearSchedule()}]}}
    torch.save(content, tmp_path / "states.ckpt")
    assert read_s3prl(tmp_path / "states.ckpt").layout == "C"
    assert not ran


def test_gamma_and_beta_are_weight_and_bias(tmp_path: Path) -> None:
    content = contents("B")
    for part in ("Transformer", "SpecHead"):
        content[part] = {
            k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
            for k, v in content[part].items()
        }
    torch.save(content, tmp_path / "states.ckpt")
    assert read_s3prl(tmp_path / "states.ckpt").transformer.keys() == states()[0].keys()
    import_s3prl(tmp_path / "states.ckpt")


def test_mockingjay_large_and_kaldi_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    linear = {**MEL, "feat_type": "linear"}
    head = head_to_s3prl(ReconstructionHead(24, 201).state_dict())
    config = {**UPSTREAM, "task": {**TASK, "mask_frequency": 0.0}, "audio": {**AUDIO, "target": linear}}
    torch.save({"Config": config, "Transformer": states()[0], "SpecHead": head}, tmp_path / "large.ckpt")
    large = import_s3prl(tmp_path / "large.ckpt")
    assert large.target is not None and large.target.dim == 201

    kaldi = {
        "kaldi": {
            "feat_type": "fbank",
            "fbank": {"frame_length": 25.0, "frame_shift": 10.0, "num_mel_bins": 80, "use_log_fbank": True},
        },
        "delta": {"order": 2, "win_length": 5},
        "cmvn": {"use_cmvn": True},
    }
    body = body_to_s3prl(TransformerEncoder(240, dim=24, layers=2, heads=3, ffn=48).state_dict(), 2)
    torch.save({"Config": {**UPSTREAM, "audio": kaldi}, "Transformer": body}, tmp_path / "kaldi.ckpt")
    features = import_s3prl(tmp_path / "kaldi.ckpt").encoder.features
    expected = KaldiFbank(80, scale=1.0, deltas=Deltas(2, edges="each"), cmvn="utterance")
    assert describe(features) == describe(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer": {**TRANSFORMER, "hidden_act": "relu"}}, "transformer.hidden_act is 'relu'; only 'gelu'"),
        ({"transformer": {**TRANSFORMER, "pre_layer_norm": True}}, "pre_layer_norm is True"),
        ({"transformer": {**TRANSFORMER, "downsample_rate": 3}}, "stacks 3 frames"),
        ({"audio": None}, "features stored beforehand"),
        ({"audio": {**AUDIO, "input": {**MEL, "feat_type": "mfcc"}}}, "feat_type 'mfcc'"),
        ({"transformer": {**TRANSFORMER, "hidden_size": 48}}, "tensors do not fit"),
    ],
)
def test_what_cannot_be_expressed_is_named(change, message, tmp_path: Path) -> None:
    torch.save(contents("B") | {"Config": {**UPSTREAM, **change}}, tmp_path / "states.ckpt")
    with pytest.raises(UserError, match=message):
        import_s3prl(tmp_path / "states.ckpt")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch hacked",)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with pytest.raises(UserError, match="no such file"):
        read_s3prl(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="damaged"):
        read_s3prl(path)
    torch.save(contents("C"), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        read_s3prl(path)
    torch.save({"model": {}}, path)
    with pytest.raises(UserError, match=r"no entry 'Transformer'.*model"):
        read_s3prl(path)
    torch.save(contents("C") | {"Config": Evil()}, path)
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        read_s3prl(path)
    assert not Path("hacked").exists()


def small(features: LogMel | KaldiFbank | None = None, **settings: Any) -> TERA:
    torch.manual_seed(0)
    features = features or LogMel()
    body = TransformerEncoder(features.dim, dim=24, layers=2, heads=3, ffn=48, **settings)
    return TERA(FrameEncoder(features, body), Alter(magnitude=0.15)).eval()


@pytest.mark.parametrize(
    "method",
    [
        small(),
        small(share_layers=True),
        small(KaldiFbank(80, scale=1.0, deltas=Deltas(2, edges="each"), cmvn="utterance")),
    ],
    ids=["tera", "shared", "kaldi"],
)
def test_export_opens_plainly_and_comes_back(method: TERA, tmp_path: Path) -> None:
    path = export_s3prl(method, tmp_path / "out" / "tera.ckpt")
    assert torch.load(path, weights_only=True).keys() == {"Config", "Upstream_Config", "Transformer", "SpecHead"}
    assert [p.name for p in path.parent.iterdir()] == ["tera.ckpt"]
    back = import_s3prl(path)
    x, n = torch.randn(1, 1, 8000), torch.tensor([8000])
    assert torch.equal(back.encoder(x, n).states[-1], method.encoder(x, n).states[-1])
    assert describe(back.alter) == describe(method.alter)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (small(norm="pre"), "norm 'pre'"),
        (small(LogMel(sample_rate=8000)), "sample_rate 8000"),
        (small(LogMel(loudness=None)), "loudness None"),
        (small(KaldiFbank(80)), r"scale 32768\.0"),
        (small(LogMel(cmvn=GlobalCMVN([0.0] * 80))), "cmvn of fixed statistics"),
        (small(KaldiFbank(80, scale=1.0, cmvn="mean")), "cmvn 'mean'"),
    ],
    ids=["norm", "rate", "loudness", "scale", "fixed", "mean"],
)
def test_export_names_what_s3prl_cannot_express(method: TERA, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        export_s3prl(method, tmp_path / "tera.ckpt")
    assert not list(tmp_path.iterdir())
