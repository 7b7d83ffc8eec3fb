"""Every engine that runs here against the float64 loop: values, gradients, lengths, resets, groups, odd shapes and strides."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from sigssl.errors import UserError
from sigssl.nn import selective_scan
from sigssl.nn.scan import choose_engine, dispatch, engines

WORKING = {name for name, works, _ in engines() if works}
LONG = ("u", "delta", "B", "C", "z")  # inputs with a time axis


def engine(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(name not in WORKING, reason=f"the {name} engine does not run here"))


ENGINES = [engine("torch"), engine("cpp")]
every_engine = pytest.mark.parametrize("backend", ENGINES)


def problem(
    batch: int = 2,
    dim: int = 16,
    steps: int = 20,
    states: int = 4,
    groups: int | None = None,
    extras: str = "D z bias init",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Random inputs by argument name, all with gradients."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    maps = (batch, states, steps) if groups is None else (batch, groups, states, steps)
    inputs = {"u": normal(batch, dim, steps), "delta": normal(batch, dim, steps), "B": normal(*maps), "C": normal(*maps)}
    inputs["A"] = -torch.exp(normal(dim, states))
    optional = {
        "D": ("D", (dim,)),
        "z": ("z", (batch, dim, steps)),
        "bias": ("delta_bias", (dim,)),
        "init": ("initial_state", (batch, dim, states)),
    }
    inputs |= {optional[e][0]: normal(*optional[e][1]) for e in extras.split()}
    return {name: x.requires_grad_() for name, x in inputs.items()}


def changed(inputs: dict[str, Tensor], change: Any, names: tuple[str, ...] = LONG) -> dict[str, Tensor]:
    """The inputs with `change` applied to those in `names`."""
    return {k: (change(v.detach()) if k in names else v.detach()).requires_grad_() for k, v in inputs.items()}


def run(inputs: dict[str, Tensor], backend: str, dtype: torch.dtype | None = None, **options: Any) -> dict[str, Tensor]:
    """Output, last state and all gradients under one fixed random weighting."""
    x = inputs if dtype is None else changed(inputs, lambda v: v.to(dtype), tuple(inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, last = selective_scan(**x, return_last_state=True, backend=backend, **options)
    g = torch.Generator().manual_seed(99)
    weights = [torch.randn(o.shape, generator=g).to(o.dtype) for o in (y, last)]
    grads = torch.autograd.grad([y, last], list(x.values()), weights)
    return {"y": y, "last": last, **{f"d{k}": v for k, v in zip(x, grads, strict=True)}}


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name, reference in expected.items():
        value = got[name].double()
        assert value.shape == reference.shape
        assert value.isfinite().all(), name
        if reference.numel():
            scale, error = reference.abs().max().item(), (value - reference).abs().max().item()
            assert error <= tolerance * max(scale, 1e-6), f"{name}: {error:.2e} of {scale:.2e}"


def check(inputs: dict[str, Tensor], backend: str, tolerance: float = 1e-5, **options: Any) -> None:
    assert_close(run(inputs, backend, **options), run(inputs, "reference", torch.float64, **options), tolerance)


@every_engine
@pytest.mark.parametrize("steps", [1, 2, 3, 16, 63, 64, 65, 129])
def test_lengths_of_time_around_the_chunk(backend: str, steps: int) -> None:
    check(problem(steps=steps, dim=32), backend, delta_softplus=True)


@every_engine
@pytest.mark.parametrize(("dim", "states"), [(1, 1), (15, 2), (16, 3), (17, 16), (33, 5), (100, 16), (512, 4), (16, 64)])
def test_widths_around_the_block(backend: str, dim: int, states: int) -> None:
    check(problem(dim=dim, states=states, steps=37), backend, delta_softplus=True)


@every_engine
def test_a_thousand_steps(backend: str) -> None:
    check(problem(steps=1000, dim=8), backend, delta_softplus=True)


@every_engine
@pytest.mark.parametrize("extras", ["", "D", "z", "bias", "init", "D z", "D z bias init"])
@pytest.mark.parametrize("softplus", [True, False])
def test_every_optional_input(backend: str, extras: str, softplus: bool) -> None:
    inputs = problem(extras=extras, steps=35)
    if not softplus:
        inputs = changed(inputs, lambda x: x.abs() * 0.3, ("delta", "delta_bias"))
    check(inputs, backend, delta_softplus=softplus)


@every_engine
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups(backend: str, groups: int) -> None:
    check(problem(dim=24, groups=groups, steps=40), backend, delta_softplus=True)


@every_engine
@pytest.mark.parametrize("shift", [-50.0, 50.0])
def test_extreme_step_sizes(backend: str, shift: float) -> None:
    check(changed(problem(extras="D z", steps=50), lambda x: x * 5 + shift, ("delta",)), backend, delta_softplus=True)


@every_engine
def test_extreme_decays(backend: str) -> None:
    decays = -torch.logspace(-6, 3, 64).reshape(16, 4)
    check(changed(problem(steps=50), lambda _: decays.clone(), ("A",)), backend, delta_softplus=True)


@every_engine
def test_lengths_hide_the_padding_and_its_nans(backend: str) -> None:
    lengths = torch.tensor([0, 1, 64, 65, 70])
    inputs = problem(batch=5, steps=70)
    expected = run(inputs, "reference", torch.float64, delta_softplus=True, lengths=lengths)
    past = torch.arange(70) >= lengths[:, None, None]
    got = run(changed(inputs, lambda x: x.masked_fill(past, torch.nan)), backend, delta_softplus=True, lengths=lengths)
    assert_close(got, expected, 1e-5)
    for name in ("y", "du", "ddelta", "dB", "dC", "dz"):
        assert not got[name].masked_select(past).any()


@every_engine
def test_resets_separate_packed_sequences(backend: str) -> None:
    resets = torch.zeros(2, 70, dtype=torch.bool)
    resets[0, [0, 16, 63, 64]] = True
    resets[1, [5, 65, 66, 69]] = True
    check(problem(steps=70), backend, delta_softplus=True, resets=resets)
    check(problem(steps=70), backend, delta_softplus=True, resets=resets, lengths=torch.tensor([64, 70]))


@every_engine
@pytest.mark.parametrize("layout", ["channels last", "strided"])
def test_memory_layouts(backend: str, layout: str) -> None:
    def channels_last(x: Tensor) -> Tensor:
        return x.transpose(1, 2).contiguous().transpose(1, 2) if x.ndim == 3 else x

    def strided(x: Tensor) -> Tensor:
        return torch.stack([x, torch.full_like(x, torch.nan)], -1).flatten(-2)[..., ::2]

    inputs = problem(dim=40, steps=70)
    expected = run(inputs, "reference", torch.float64, delta_softplus=True)
    other = changed(inputs, strided if layout == "strided" else channels_last, tuple(inputs))
    assert_close(run(other, backend, delta_softplus=True), expected, 1e-5)


@every_engine
@pytest.mark.parametrize("channels_last", [True, False])
def test_bfloat16_inputs_keep_a_float32_state(backend: str, channels_last: bool) -> None:
    def half(x: Tensor) -> Tensor:
        x = x.bfloat16()
        return x.transpose(1, 2).contiguous().transpose(1, 2) if channels_last else x

    inputs = changed(problem(dim=40, steps=70), half)
    expected = run(inputs, "reference", torch.float64, delta_softplus=True)
    got = run(inputs, backend, delta_softplus=True)
    assert got["y"].dtype == torch.bfloat16 and got["last"].dtype == torch.float32
    assert_close(got, expected, 1e-2)
    assert_close({"last": got["last"]}, {"last": expected["last"]}, 1e-5)


@every_engine
@pytest.mark.parametrize("sizes", [(0, 4, 5, 3), (2, 4, 0, 3), (2, 0, 5, 3)])
def test_zero_sizes(backend: str, sizes: tuple[int, int, int, int]) -> None:
    batch, dim, steps, states = sizes
    inputs = problem(batch, dim, steps, states)
    got = run(inputs, backend, delta_softplus=True)
    assert got["y"].shape == (batch, dim, steps)
    if steps == 0:
        assert torch.equal(got["last"], inputs["initial_state"])


@every_engine
def test_causal(backend: str) -> None:
    inputs = {k: v.detach() for k, v in problem(steps=40).items()}
    before = selective_scan(**inputs, backend=backend, delta_softplus=True)
    inputs["u"] = inputs["u"].clone()
    inputs["u"][..., 33] += 1
    after = selective_scan(**inputs, backend=backend, delta_softplus=True)
    assert isinstance(before, Tensor) and isinstance(after, Tensor)
    assert torch.equal(before[..., :33], after[..., :33]) and not torch.equal(before[..., 33:], after[..., 33:])


@every_engine
def test_bit_equal_again_and_close_under_two_threads(backend: str) -> None:
    inputs = problem(batch=3, dim=200, steps=70)
    first, second = (run(inputs, backend, delta_softplus=True) for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)
    torch.set_num_threads(2)
    try:
        third, fourth = (run(inputs, backend, delta_softplus=True) for _ in range(2))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(third[k], fourth[k]) for k in third)
    assert_close(third, {k: v.double() for k, v in first.items()}, 1e-5)


def test_gradcheck_of_the_pure_torch_engine() -> None:
    inputs = changed(problem(2, 4, 7, 3, 2), Tensor.double, ("A", *LONG, "D", "delta_bias", "initial_state"))
    resets = torch.zeros(2, 7, dtype=torch.bool)
    resets[0, 4] = True

    def scan(*values: Tensor) -> Any:
        named = dict(zip(inputs, values, strict=True))
        options = {"delta_softplus": True, "return_last_state": True, "lengths": torch.tensor([7, 5])}
        return selective_scan(**named, **options, resets=resets, backend="torch")

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()), fast_mode=True)


@every_engine
def test_a_second_derivative_is_refused(backend: str) -> None:
    inputs = problem()
    y = selective_scan(**inputs, backend=backend)
    assert isinstance(y, Tensor)
    (grad,) = torch.autograd.grad(y.sum(), inputs["u"], create_graph=True)
    with pytest.raises(UserError, match="no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": torch.zeros(2, 16, 3)}, "delta has shape"),
        ({"A": torch.zeros(3, 4)}, "A is"),
        ({"B": torch.zeros(2, 5, 20)}, "B has shape"),
        ({"B": torch.zeros(2, 3, 4, 20), "C": torch.zeros(2, 3, 4, 20)}, "16 channels do not divide into 3 groups"),
        ({"lengths": torch.tensor([1, 21])}, "lengths run from 1 to 21, expected 0 to 20"),
    ],
)
def test_errors_say_what_was_expected(change: dict[str, Tensor], message: str) -> None:
    x = {**problem(), "lengths": None, **change}
    with pytest.raises(UserError, match=message):
        dispatch._check(*(x[name] for name in ("u", "delta", "A", "B", "C", "z", "lengths")))


def test_the_variable_chooses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGSSL_MAMBA_BACKEND", "torch")
    assert choose_engine("cpu", False, True) == "torch"
    assert choose_engine("cpu", False, True, "reference") == "reference"
    monkeypatch.setenv("SIGSSL_MAMBA_BACKEND", "cup")
    with pytest.raises(UserError, match="Did you mean 'cpp'"):
        choose_engine("cpu", False, True)
    with pytest.raises(UserError, match="'mamba_ssm' cannot run here: it runs on cuda, the tensors are on cpu"):
        choose_engine("cpu", False, True, "mamba_ssm")
