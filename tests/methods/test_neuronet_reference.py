"""NeuroNet in reference mode: the counts of its authors' code, values that it gave, and the code itself where it is at hand."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.methods import NeuroNet
from sigssl.methods.neuronet_checkpoint import from_reference, import_neuronet, reference
from sigssl.types import Batch
from sigssl.views import Views

T = {
    "fs": 100,
    "second": 30,
    "time_window": 3,
    "time_step": 0.375,
    "encoder_embed_dim": 512,
    "encoder_heads": 8,
    "encoder_depths": 4,
    "decoder_embed_dim": 192,
    "decoder_heads": 8,
    "decoder_depths": 1,
    "projection_hidden": [1024, 512],
    "temperature": 0.05,
}
B = T | {"encoder_embed_dim": 768, "decoder_embed_dim": 256, "decoder_depths": 3}
SMALL = T | {"encoder_embed_dim": 32, "encoder_heads": 4, "encoder_depths": 1, "decoder_embed_dim": 16, "decoder_heads": 2}
SMALL |= {"projection_hidden": [24, 16]}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def tiny_t() -> NeuroNet:
    return reference(T)


def test_counts_of_size_t(tiny_t: NeuroNet) -> None:
    encoder = tiny_t.encoder
    assert count(tiny_t) == 14_880_640
    assert count(encoder.frame_network) == 440_576
    assert count(encoder) == 13_221_120
    assert count(encoder.body.embed) == 131_584 and count(encoder.body.blocks) == 12_609_536
    assert count(tiny_t.decoder) - tiny_t.decoder.positions.numel() - 192 == 593_152
    assert count(tiny_t.project) == 1_052_160
    assert (encoder.body.positions.numel(), tiny_t.decoder.positions.numel()) == (37_888, 14_016)
    assert encoder.frame_network.dim == 256


def test_counts_of_size_b() -> None:
    with torch.device("meta"):
        method = reference(B)
    assert count(method) == 33_014_272 and count(method.encoder) == 29_048_576
    assert count(method.decoder) - 18_688 - 256 == 2_632_448 and count(method.project) == 1_314_304


def test_convolutions_head_and_branches(tiny_t: NeuroNet) -> None:
    network = tiny_t.encoder.frame_network
    assert [count(branch) for branch in network.branches] == [50_848, 81_056, 111_264]
    assert count(network.stem) + count(network.stem_norm) == 288 and count(network.head) == 197_120


def test_frames_and_kept_tokens(tiny_t: NeuroNet) -> None:
    starts = tiny_t.encoder.frame_network.starts
    assert len(starts) == tiny_t.encoder.frames == 73 and starts[:3] == [0, 37, 74] and starts[-1] + 300 == 2964
    views = tiny_t.mask(4, 73, torch.Generator().manual_seed(0))
    assert views.keep.shape == (2, 4, 14) and bool((views.masked.sum(2) == 59).all())


def test_lengths_of_the_stages(tiny_t: NeuroNet) -> None:
    network = tiny_t.encoder.frame_network.eval()
    with torch.no_grad():
        stem = network._stem(torch.randn(2, 1, 300))
        assert stem.shape == (2, 32, 1, 75)
        for branch, lengths in zip(network.branches, ([75, 75, 38, 19], [71, 67, 31, 13], [67, 59, 24, 6]), strict=True):
            x, seen = stem, []
            for block in branch:
                x = block(x)
                seen.append(x.shape[3])
            assert seen == lengths
    assert [len(pool) for pool in network._pools()] == [4, 3, 1]


def test_half_of_the_position_dimensions_are_constant(tiny_t: NeuroNet) -> None:
    table = tiny_t.encoder.body.positions[0]
    assert bool((table[0] == 0).all()), "the class token has none"
    constant = (table[1:] == table[1]).all(0)
    assert int(constant.sum()) == 256 and bool(constant[:256].all())
    assert bool((table[1:, :128] == 0).all()) and bool((table[1:, 128:256] == 1).all())


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights from a formula, by sorted name, so that a run elsewhere can have the same."""
    made = {}
    for number, name in enumerate(sorted(state)):
        value = state[name]
        wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.37 + number).float().reshape(value.shape)
        if name.endswith("pos_embed"):
            made[name] = value
        elif name.endswith("num_batches_tracked"):
            made[name] = torch.zeros_like(value)
        elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            made[name] = 1.0 + 0.2 * wave
        else:
            made[name] = wave / max(1.0, (value.numel() / max(1, value.shape[0])) ** 0.5)
    return made


def signal() -> Tensor:
    time = torch.arange(3000, dtype=torch.float64) / 100
    return torch.stack([torch.sin(6.2831853 * f * time) + 0.3 * torch.cos(f * time**1.5) for f in (1.0, 4.0, 9.0, 12.5)]).float()


class Planned:
    """Masks that are the same in both codes: a fixed order of the frames for each view and item."""

    ratio = 0.8

    def order(self, view: int, batch: int) -> Tensor:
        return torch.stack([(torch.arange(73) * (5 + 6 * view + 2 * item) + item) % 73 for item in range(batch)])

    def __call__(self, batch: int, frames: int, generator: torch.Generator) -> Views:
        keep = torch.stack([self.order(view, batch)[:, :14].sort(1).values for view in (0, 1)])
        return Views(keep, torch.ones(2, batch, frames, dtype=torch.bool).scatter_(2, keep, False))


def their_names(ours: dict[str, Tensor]) -> dict[str, str]:
    """Our name -> theirs, by putting theirs through the rules."""
    names = [f"frame_backbone.model.{part}.{p}" for part in ("conv1", "bn1") for p in PARTS[part[:-1]]]
    for kernel in (3, 5, 7):
        for stage in range(1, 5):
            stem = f"frame_backbone.model.layer{kernel}x{kernel}_{stage}.0"
            inner = [("conv1", "conv"), ("bn1", "bn"), ("conv2", "conv"), ("bn2", "bn")]
            inner += [("downsample.0", "conv"), ("downsample.1", "bn")] if stage > 2 else []
            names += [f"{stem}.{part}.{p}" for part, kind in inner for p in PARTS[kind]]
    linear = [f"frame_backbone.feature_layer.{i}" for i in (0, 2)] + [f"projectors.{i}" for i in (0, 3)]
    linear += [f"autoencoder.{n}" for n in ("patch_embed", "encoder_norm", "decoder_embed", "decoder_norm", "decoder_pred")]
    for side in ("encoder_block.0", "decoder_block.0"):
        linear += [f"autoencoder.{side}.{n}" for n in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")]
    names += [f"{n}.{p}" for n in linear for p in ("weight", "bias")] + [f"projectors.1.{p}" for p in PARTS["bn"]]
    names += [f"autoencoder.{n}" for n in ("cls_token", "mask_token", "pos_embed", "decoder_pos_embed")]
    found = {next(iter(from_reference({name: torch.zeros(0)}))): name for name in names}
    assert found.keys() == ours.keys(), "every name of theirs has a place, and the other way round"
    return found


PARTS = {"conv": ["weight"], "bn": ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]}


@pytest.fixture
def golden() -> NeuroNet:
    """A small NeuroNet whose weights follow from a formula."""
    method = reference(SMALL)
    names = their_names(method.state_dict())
    theirs = filled({names[name]: value for name, value in method.state_dict().items()})
    method.load_state_dict(from_reference(theirs))
    method.mask = Planned()  # type: ignore[assignment]
    return method


def run(method: NeuroNet) -> tuple[dict[str, Tensor], Tensor]:
    x = signal()[:, None]
    out = method(Batch(x, torch.full((4,), 3000), tuple("abcd"), False, 100), torch.Generator())
    with torch.no_grad():
        return out, method.eval().encoder(x)


def test_values_that_the_authors_code_gave(golden: NeuroNet) -> None:
    """Losses in training, and, by the running statistics that this pass left, an epoch's vector; from a run of commit 0113750."""
    out, vectors = run(golden.train())
    torch.testing.assert_close(out["reconstruction"], torch.tensor(GOLDEN["reconstruction"]), rtol=2e-5, atol=0)
    torch.testing.assert_close(out["contrastive"], torch.tensor(GOLDEN["contrastive"]), rtol=1e-3, atol=0)
    torch.testing.assert_close(vectors[:2, :6], torch.tensor(GOLDEN["vectors"]), rtol=1e-4, atol=1e-5)


GOLDEN: dict[str, Any] = {
    "reconstruction": 40.220009,
    "contrastive": 1.9527993,
    "vectors": [
        [1.0217640, 1.4549005, 0.3401341, 0.2244508, -0.7602598, -0.3062207],
        [1.0130942, 1.4430391, 0.3372197, 0.2214355, -0.7532831, -0.3014078],
    ],
}


def their_model() -> nn.Module:
    folder = os.environ.get("NEURONET")
    if not folder:
        pytest.skip("set NEURONET to a checkout of dlcjfgmlnasa/NeuroNet (and install timm) to run beside its authors' code")
    sys.path.insert(0, folder)
    try:
        from models.neuronet.model import NeuroNet as Theirs  # type: ignore[import-not-found]
    except ImportError as error:
        pytest.skip(f"{folder} cannot be imported: {error}")
    finally:
        sys.path.remove(folder)
    model: nn.Module = Theirs(**SMALL)
    planned, calls = Planned(), [0]

    def masking(x: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
        order = planned.order(calls[0] % 2, len(x))
        calls[0] += 1
        keep = order[:, :14]
        mask = torch.ones(x.shape[:2]).scatter_(1, keep, 0.0)
        return x.gather(1, keep[:, :, None].expand(-1, -1, x.shape[2])), mask, order.argsort(1)

    model.autoencoder.random_masking = masking  # type: ignore[union-attr,assignment]
    return model


def test_equals_the_authors_code(golden: NeuroNet) -> None:
    torch.manual_seed(0)
    theirs, x = their_model(), torch.randn(4, 3000)
    golden.load_state_dict(from_reference(theirs.state_dict()))
    with contextlib.redirect_stdout(io.StringIO()):
        reconstruction, contrastive, _ = theirs.train()(x, 0.8)
    (reconstruction + contrastive).backward()
    out = golden.train()(Batch(x[:, None], torch.full((4,), 3000), tuple("abcd"), False, 100), torch.Generator())
    out["loss"].backward()
    torch.testing.assert_close(out["reconstruction"], reconstruction.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(out["contrastive"], contrastive.detach(), rtol=1e-3, atol=0)
    state = golden.state_dict()
    for name, value in from_reference(theirs.state_dict()).items():  # running statistics too
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)
    mine = {name: p.grad for name, p in golden.named_parameters()}
    gradients = from_reference({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    wrong, whole = torch.zeros(()), torch.zeros(())
    for name, value in gradients.items():
        error = (mine[name] - value).norm()
        assert float(error) < 0.05 * float(value.norm()) or name == "project.0.bias", name  # that one is rounding: a norm follows
        wrong, whole = wrong + error.square(), whole + value.square().sum()
    assert float(wrong / whole) < 1e-8


def test_a_checkpoint_of_theirs_is_read(golden: NeuroNet, tmp_path: Path) -> None:
    names = their_names(golden.state_dict())
    state = {names[name]: value for name, value in golden.state_dict().items()}
    state["projectors_bn.running_mean"] = torch.zeros(16)
    content = {"model_name": "NeuroNet", "model_state": state, "model_parameter": SMALL, "hyperparameter": {"mask_ratio": 0.8}}
    torch.save(content, tmp_path / "best_model.pth")
    made = import_neuronet(tmp_path / "best_model.pth")
    assert all(torch.equal(value, golden.state_dict()[name]) for name, value in made.state_dict().items())
    assert made.mask.kept(73) == 14 and not made.training
    torch.save({**content, "model_parameter": T}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="do not fit"):
        import_neuronet(tmp_path / "other.pth")
    torch.save({"weights": 1}, tmp_path / "strange.pth")
    with pytest.raises(UserError, match="no checkpoint of NeuroNet"):
        import_neuronet(tmp_path / "strange.pth")


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "made"),))

    torch.save({"model_state": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="cannot be read"):
        import_neuronet(tmp_path / "evil.pth")
    assert not (tmp_path / "made").exists()
