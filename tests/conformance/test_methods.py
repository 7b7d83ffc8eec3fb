"""What every method must keep to, whatever it is: each `recipes/conf/<method>/tiny.yaml` is run through all of it.

A new method is found by itself; a method without a tiny configuration fails the completeness test.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import sigssl
import sigssl.methods
from sigssl.config import build, describe
from sigssl.methods import Method
from sigssl.training.checkpoint import save_encoder
from sigssl.training.optim import groups
from sigssl.types import Batch, Encoder, Hidden

CONF = Path(__file__).resolve().parents[2] / "recipes" / "conf"
TINY = {p.parent.name: p for p in sorted(CONF.glob("*/tiny.yaml")) if "method:" in p.read_text(encoding="utf-8")}
SECONDS = 0.6  # of the test signals

pytestmark = pytest.mark.parametrize("name", TINY)


@pytest.fixture
def method(name: str) -> Method:
    torch.manual_seed(0)
    made = build(yaml.safe_load(TINY[name].read_text(encoding="utf-8"))["method"], where=str(TINY[name]))
    assert isinstance(made, Method)
    return made.eval()


def encoder_of(method: Method) -> Encoder:
    assert isinstance(method.encoder, Encoder)
    return method.encoder


def batch_of(method: Method, x: Tensor, lengths: Tensor) -> Batch:
    return Batch(x, lengths, tuple(map(str, range(len(x)))), False, encoder_of(method).sample_rate)


def signals(method: Method, items: int = 3) -> Batch:
    """Chirps in noise, each item a fifth shorter than the one before."""
    rate = encoder_of(method).sample_rate
    samples = int(rate * SECONDS)
    time = torch.arange(samples) / rate
    pitch = torch.linspace(0.01, 0.03, items)[:, None] * rate
    noise = torch.randn(items, samples, generator=torch.Generator().manual_seed(0))
    x = 0.1 * torch.sin(6.283 * pitch * time * (1 + time)) + 0.01 * noise
    lengths = torch.tensor([samples * (5 - i) // 5 for i in range(items)])
    x[torch.arange(samples) >= lengths[:, None]] = 0
    return batch_of(method, x[:, None], lengths)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def states(method: Method, batch: Batch) -> Hidden:
    with torch.no_grad():
        return encoder_of(method)(batch.x, batch.lengths)


def with_nan_padding(batch: Batch) -> Batch:
    padding = torch.arange(batch.x.shape[2]) >= batch.lengths[:, None]
    return Batch(batch.x.masked_fill(padding[:, None], float("nan")), batch.lengths, batch.ids, False, batch.sample_rate)


def test_encoder_says_what_it_is(name: str, method: Method) -> None:
    encoder = encoder_of(method)
    hidden = states(method, signals(method))
    assert len(hidden.states) == encoder.num_layers + 1
    assert all(s.shape == hidden.states[0].shape and s.shape[2] == encoder.dim for s in hidden.states)
    expected = signals(method).lengths / encoder.hop
    assert (hidden.lengths - expected).abs().max() <= 3, "one frame per hop, give or take the ends"


def test_loss_has_its_parts(name: str, method: Method) -> None:
    out = method(signals(method), rng())
    assert {"loss", "weight"} <= out.keys()
    assert all(v.ndim == 0 and bool(v.isfinite()) for v in out.values())
    assert out["loss"].dtype == torch.float32 and float(out["weight"]) > 0


def test_padding_changes_nothing(name: str, method: Method) -> None:
    clean, dirty = signals(method), with_nan_padding(signals(method))
    a, b = states(method, clean), states(method, dirty)
    for left, right in zip(a.states, b.states, strict=True):
        for item, n in enumerate(a.lengths.tolist()):
            assert torch.equal(left[item, :n], right[item, :n])
    with torch.no_grad():
        assert torch.equal(method(clean, rng())["loss"], method(dirty, rng())["loss"])


def test_items_do_not_depend_on_one_another(name: str, method: Method) -> None:
    batch = signals(method)
    before = states(method, batch)
    batch.x[1] = torch.randn(batch.x[1].shape, generator=rng(5))
    after = states(method, batch)
    for left, right in zip(before.states, after.states, strict=True):
        for item in (0, 2):
            n = int(before.lengths[item])
            assert torch.equal(left[item, :n], right[item, :n])


def test_reported_lengths_are_real(name: str, method: Method) -> None:
    """Alone, an item has as many frames as it has when it is padded in a batch; every length of 1 or more is accepted."""
    hop = encoder_of(method).hop
    lengths = torch.tensor([*range(1, 201, 19), *range(hop, 200 * hop, 33 * hop), 5 * hop - 1, 5 * hop + 1])
    x = torch.randn(len(lengths), 1, int(lengths.max()), generator=rng()) * 0.1
    together = states(method, batch_of(method, x, lengths)).lengths
    for item, n in enumerate(lengths.tolist()):
        alone = states(method, batch_of(method, x[item : item + 1, :, :n], lengths[item : item + 1]))
        assert alone.states[-1].shape[1] == int(alone.lengths) == int(together[item])


def test_every_parameter_learns(name: str, method: Method) -> None:
    """In one step, so that DistributedDataParallel need not look for unused ones."""
    method.train()(signals(method), rng())["loss"].backward()
    silent = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    updated = {id(p) for group in groups(method, 0.01) for p in group["params"]}
    assert updated == {id(p) for p in method.parameters() if p.requires_grad}
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in method.parameters())


@pytest.mark.parametrize("kind", ["zero", "constant", "one frame", "loud"])
def test_odd_inputs_stay_finite(name: str, method: Method, kind: str) -> None:
    batch = signals(method)
    changed = {
        "zero": batch_of(method, torch.zeros_like(batch.x), batch.lengths),
        "constant": batch_of(method, torch.ones_like(batch.x), batch.lengths),
        "one frame": batch_of(
            method, batch.x[..., : encoder_of(method).hop // 2], batch.lengths.clamp(max=encoder_of(method).hop // 2)
        ),
        "loud": batch_of(method, batch.x * 10, batch.lengths),
    }[kind]
    loss = method.train()(changed, rng())["loss"]
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in method.parameters())
    assert all(bool(s.isfinite().all()) for s in states(method, changed).states)


def test_state_and_config_make_the_same_method(name: str, method: Method) -> None:
    again = build(describe(method))
    assert describe(again) == describe(method)
    again.load_state_dict(method.state_dict(), strict=True)
    batch = signals(method)
    assert torch.equal(again.eval()(batch, rng())["loss"], method(batch, rng())["loss"])


def test_saved_encoder_gives_the_same_states(name: str, method: Method, tmp_path: Path) -> None:
    save_encoder(tmp_path / "encoder", method.encoder)
    loaded = sigssl.load(tmp_path / "encoder")
    batch = signals(method)
    with torch.no_grad():
        got = loaded(batch.x, batch.lengths)
    assert all(torch.equal(a, b) for a, b in zip(got.states, states(method, batch).states, strict=True))


def test_eval_is_deterministic(name: str, method: Method) -> None:
    batch = signals(method)
    first, second = states(method, batch), states(method, batch)
    assert all(torch.equal(a, b) for a, b in zip(first.states, second.states, strict=True))
    assert torch.equal(method(batch, rng())["loss"], method(batch, rng())["loss"])
    assert not torch.equal(method(batch, rng())["loss"], method(batch, rng(1))["loss"]), "views come from the generator"


def test_overfits_one_batch(name: str, method: Method) -> None:
    batch = signals(method)
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        loss = method(batch, rng())["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0], losses[::5]


def test_bf16_stays_close(name: str, method: Method) -> None:
    batch = signals(method)
    with torch.autocast("cpu", torch.bfloat16):
        low = states(method, batch)
        loss = method(batch, rng())["loss"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, method(batch, rng())["loss"], rtol=0.05, atol=0)
    for a, b in zip(states(method, batch).states, low.states, strict=True):
        for item, n in enumerate(low.lengths.tolist()):
            error = (a[item, :n] - b[item, :n].float()).norm() / a[item, :n].norm()
            assert float(error) < 0.03


def test_every_method_has_configurations(name: str) -> None:
    """Completeness, run once per method folder: both files are there, and every exported method class is in the suite."""
    assert (CONF / name / "base.yaml").is_file(), "the paper's values"
    used = {yaml.safe_load(path.read_text(encoding="utf-8"))["method"]["class_path"].rpartition(".")[2] for path in TINY.values()}
    public = [getattr(sigssl.methods, n) for n in sigssl.methods.__all__]
    methods = {c.__name__ for c in public if inspect.isclass(c) and issubclass(c, Method) and not inspect.isabstract(c)}
    assert methods == used
    folders = {p.parent.name for p in CONF.glob("*/base.yaml") if "method:" in p.read_text(encoding="utf-8")}
    assert folders == TINY.keys(), "each needs a tiny.yaml"
