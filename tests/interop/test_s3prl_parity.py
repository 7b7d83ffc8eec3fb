"""Hidden states and losses equal to s3prl's own model, and our exports loaded by s3prl. Skipped where s3prl is absent."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from sigssl.features import KaldiFbank, LogMel
from sigssl.features.deltas import Deltas
from sigssl.methods import TERA, FrameEncoder
from sigssl.methods.s3prl_layout import body_from_s3prl, export_s3prl, head_from_s3prl
from sigssl.nn import ReconstructionHead, TransformerEncoder
from sigssl.objectives import masked_l1
from sigssl.optional import available
from sigssl.views import Alter

pytestmark = [
    pytest.mark.skipif(not available("s3prl"), reason="s3prl is not installed: pip install s3prl"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # s3prl imports distutils and pkg_resources
]
CONFIG = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "intermediate_size": 96,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "share_layer": False,
    "pre_layer_norm": False,
}
TASK = {
    "mask_proportion": 0.15,
    "mask_consecutive_min": 7,
    "mask_consecutive_max": 7,
    "mask_allow_overlap": True,
    "mask_bucket_ratio": 1.5,
    "mask_frequency": 0.2,
    "noise_proportion": 0.15,
    "position_encoding_size": 48,
}
LENGTHS = torch.tensor([120, 75, 31])


def theirs(**changes: Any) -> Any:
    """s3prl's Transformer and head."""
    from s3prl.upstream.mockingjay import model

    torch.manual_seed(0)
    config = model.TransformerConfig({**CONFIG, **changes})
    return model.TransformerModel(config, 80).eval(), model.TransformerSpecPredictionHead(config, 80).eval()


def masking() -> ModuleType:
    """s3prl's alteration code."""
    from s3prl.pretrain.mockingjay import task

    return task


def frames() -> tuple[Tensor, Tensor]:
    x = torch.randn(3, 120, 80, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(120) < LENGTHS[:, None]).float()
    return x * mask[:, :, None], mask


def ours(body: Any, head: Any, **settings: Any) -> tuple[TransformerEncoder, ReconstructionHead]:
    mine = TransformerEncoder(80, dim=48, layers=3, heads=4, ffn=96, **settings).eval()
    mine.load_state_dict(body_from_s3prl(body.state_dict(), shared=mine.share_layers))
    answer = ReconstructionHead(48, 80)
    answer.load_state_dict(head_from_s3prl(head.state_dict()))
    return mine, answer


@pytest.mark.parametrize("share", [False, True])
@torch.no_grad()
def test_hidden_states_equal_s3prls(share: bool) -> None:
    body, head = theirs(share_layer=share)
    mine, answer = ours(body, head, share_layers=share)
    x, mask = frames()
    position = masking().fast_position_encoding(120, 48)
    expected = body(x, position.expand(3, -1, -1), mask)
    got = mine(x, LENGTHS)
    assert len(got) == len(expected) == 4
    for a, b in zip(got, expected, strict=True):
        assert float((a - b)[mask.bool()].abs().max()) < 1e-5
    assert float((answer(got[-1]) - head(expected[-1])[0])[mask.bool()].abs().max()) < 1e-5


def test_loss_and_gradients_equal_on_equal_views() -> None:
    """s3prl alters the batch; both models see the same frames, label and weights."""
    body, head = theirs()
    mine, answer = ours(body, head)
    x, _ = frames()
    random.seed(3)
    torch.manual_seed(3)
    altered, position, label, mask, target = masking().generate_masked_acoustic_model_data((x,), TASK)
    assert len(altered) == 3
    predicted, _ = head(body(altered, position.expand(3, -1, -1), mask)[-1])
    expected = torch.nn.functional.l1_loss(predicted.masked_select(label), target.masked_select(label))
    loss = masked_l1(answer(mine(altered, LENGTHS)[-1]), target, label)
    assert abs(float(loss.detach()) - float(expected.detach())) < 1e-6
    expected.backward()
    loss.backward()
    gradient = body_from_s3prl({k: p.grad for k, p in body.named_parameters()}, shared=False)
    for name, p in mine.named_parameters():
        torch.testing.assert_close(p.grad, gradient[name], rtol=1e-3, atol=1e-6)


def statistics(label: Tensor, altered: Tensor, x: Tensor) -> dict[str, float]:
    """What one drawn view tells of its distribution."""
    time = label.all(2)
    band = label.any(1) & ~label.all(1)
    changed = (altered != x).any(2) & time
    return {
        "time share": float(time.float().mean()),
        "label share": float(label.float().mean()),
        "band width": float((label & ~time[:, :, None]).any(1).sum(1).float().mean()),
        "kept": float((~changed & time).any(1).float().mean()),
        "first frame": float(time[:, 0].float().mean()),
        "top bin but one": float(band[:, -2].float().mean()),
    }


def test_the_faithful_policy_draws_from_the_same_distribution() -> None:
    settings = {**TASK, "noise_proportion": 0.0}
    x = torch.rand(20, 200, 40, generator=torch.Generator().manual_seed(0)) + 0.5
    lengths = torch.full((20,), 200)
    random.seed(0)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    alter = Alter(freq=0.2, policy="s3prl")
    samples: dict[str, list[dict[str, float]]] = {"s3prl": [], "sigssl": []}
    for _ in range(60):
        altered, _, label, _, target = masking().generate_masked_acoustic_model_data((x.clone(),), settings)
        samples["s3prl"].append(statistics(label, altered, target))
        view = alter(x, lengths, generator)
        samples["sigssl"].append(statistics(view.label, view.frames, x))
    for name in samples["s3prl"][0]:
        a, b = (torch.tensor([s[name] for s in samples[who]]) for who in samples)
        error = (a.var() / len(a) + b.var() / len(b)).sqrt()
        assert abs(a.mean() - b.mean()) < 4 * error + 1e-6, f"{name}: s3prl {a.mean():.4f}, here {b.mean():.4f} +- {error:.4f}"


LOAD = """
import sys, torch, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from sigssl.interop import s3prl_shim
make = s3prl_shim.import_upstream()
folder = Path(sys.argv[1])
waves = torch.load(folder / "waves.pt", weights_only=True)
for path in folder.glob("*.ckpt"):
    upstream = make("tera_local", path_or_url=str(path)).eval()
    with torch.no_grad():
        states = [upstream(wave[None], torch.tensor([len(wave)]))[0] for wave in waves]
    torch.save({"states": states, "rates": upstream.downsample_rates}, path.with_suffix(".out"))
"""
WAVES = [torch.randn(n, generator=torch.Generator().manual_seed(n)) * 0.1 for n in (32000, 20001)]
EXPORTED = {
    "mel": lambda: LogMel(),
    "kaldi": lambda: KaldiFbank(80, scale=1.0, deltas=Deltas(2, edges="each"), cmvn="utterance"),
}


def exported(features: str) -> FrameEncoder:
    torch.manual_seed(0)
    made = EXPORTED[features]()
    return FrameEncoder(made, TransformerEncoder(made.dim, dim=48, layers=3, heads=4, ffn=96)).eval()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our exports run by s3prl, in a process of its own: importing all of s3prl leaves traces everywhere."""
    folder = tmp_path_factory.mktemp("s3prl")
    for name in EXPORTED:
        export_s3prl(TERA(exported(name), Alter()), folder / f"{name}.ckpt")
    torch.save(WAVES, folder / "waves.pt")
    done = subprocess.run([sys.executable, "-c", LOAD, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("features", EXPORTED)
@torch.no_grad()
def test_s3prl_loads_the_export(features: str, loaded: Path) -> None:
    """One recording at a time, since s3prl's log-mel and its CMVN depend on what else is in the batch."""
    out = torch.load(loaded / f"{features}.out", weights_only=True)
    assert set(out["rates"]) == {160}
    for wave, theirs, frames in zip(WAVES, out["states"], (200, 126), strict=True):
        hidden = exported(features)(wave[None, None], torch.tensor([len(wave)]))
        frames = min(frames, hidden.states[0].shape[1])  # s3prl repeats the last one where Kaldi's framing gives fewer
        assert len(theirs) == len(hidden.states) == 4
        for a, b in zip(hidden.states, theirs, strict=True):
            assert float((a[:, :frames] - b[:, :frames]).abs().max()) < 1e-4
