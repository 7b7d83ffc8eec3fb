"""Choice of engine, checks of arguments, and the public `selective_scan` in mamba_ssm's argument meanings."""

from __future__ import annotations

import os
import warnings
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sigssl.errors import UserError, nearest
from sigssl.native import library
from sigssl.nn.scan import fused, ops, reference
from sigssl.nn.scan.problem import ScanInput, state_dtype

BACKENDS = ("auto", "mamba_ssm", "triton", "cpp", "torch", "reference")
VARIABLE = "SIGSSL_MAMBA_BACKEND"


def selective_scan(
    u: Float[Tensor, "batch dim steps"],
    delta: Float[Tensor, "batch dim steps"],
    A: Float[Tensor, "dim states"],
    B: Float[Tensor, "batch *groups states steps"],
    C: Float[Tensor, "batch *groups states steps"],
    D: Float[Tensor, " dim"] | None = None,
    z: Float[Tensor, "batch dim steps"] | None = None,
    delta_bias: Float[Tensor, " dim"] | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Float[Tensor, "batch dim states"] | None = None,
    lengths: Int[Tensor, " batch"] | None = None,
    resets: Bool[Tensor, "batch steps"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "batch dim steps"] | tuple[Float[Tensor, "batch dim steps"], Float[Tensor, "batch dim states"]]:
    """Selective state-space scan (Gu & Dao 2023, algorithm 2) with the arguments of mamba_ssm's `selective_scan_fn`.

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t;  y_t = (<C_t, h_t> + D u_t) SiLU(z_t). B and C may have groups, [B, G, N, L].
    u, delta, z, B and C may be bfloat16 or float16; the state is float32 all the same (float64 for float64 inputs).
    Inputs may be non-contiguous; views of [B, L, D] tensors are the fastest.

    Args:
        u: inputs.
        delta: step sizes, before bias and softplus.
        A: decays, real, negative for a stable state.
        B: input maps, one per step.
        C: output maps, one per step.
        D: skip weights.
        z: gates.
        delta_bias: added to delta.
        delta_softplus: pass delta through softplus.
        return_last_state: also return the state after the last valid step, in float32; it has gradients.
        initial_state: the state before the first step, zeros if absent; it has gradients.
        lengths: valid steps of each item. What is behind them, NaN included, changes nothing; outputs and gradients there are zero.
        resets: true on steps that start from a zero state: packed sequences.
        backend: "auto" or one of mamba_ssm, triton, cpp, torch, reference; the variable SIGSSL_MAMBA_BACKEND replaces "auto".

    Returns:
        y in u's dtype, and with `return_last_state` also the state [B, D, N].

    Raises:
        UserError: shapes or dtypes that do not fit, a backend that is unknown or does not run here.
    """
    _check(u, delta, A, B, C, z, lengths)
    engine = choose_engine(u.device.type, u.dtype == torch.float64, initial_state is None and resets is None, backend)
    if engine == "mamba_ssm":
        y, last = fused.scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, lengths)
        return (y, last) if return_last_state else y
    extras = (D, z, delta_bias, initial_state, lengths, resets)
    inputs = _time_major(u, delta, A, B, C, *extras, delta_softplus)
    if engine == "reference":
        y, last = reference.scan(inputs)
    else:
        y, last, _ = ops.scan_forward(*inputs, engine)
    y = y.transpose(1, 2)
    return (y, last) if return_last_state else y


def _time_major(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    init: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    softplus: bool,
) -> ScanInput:
    """The engines' form of the public arguments; sequences stay views."""
    dtype = state_dtype(u)
    needed = (u, delta, A, B, C, D, z, bias, init)

    def precise(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.to(dtype)

    def rows(x: Tensor) -> Tensor:
        return (x if x.ndim == 4 else x.unsqueeze(1)).permute(0, 3, 1, 2)

    return ScanInput(
        u=u.transpose(1, 2),
        delta=delta.transpose(1, 2),
        A=A.to(dtype),
        B=rows(B),
        C=rows(C),
        D=precise(D),
        z=None if z is None else z.transpose(1, 2),
        bias=precise(bias),
        init=precise(init),
        lengths=None if lengths is None else lengths.to(device=u.device, dtype=torch.int64),
        resets=None if resets is None else resets.to(u.device),
        softplus=softplus,
        grad=torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in needed),
    )


def _check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, z: Tensor | None, lengths: Tensor | None) -> None:
    batch, channels, steps = u.shape
    states = A.shape[1]
    for name, x in (("u", u), ("delta", delta), ("z", z)):
        if x is not None and x.shape != u.shape:
            raise UserError(f"selective_scan: {name} has shape {list(x.shape)}, expected {[batch, channels, steps]} as u has.")
    if A.is_complex() or A.shape[0] != channels:
        raise UserError(f"selective_scan: A is {A.dtype} {list(A.shape)}, expected real [{channels}, states].")
    for name, x in (("B", B), ("C", C)):
        if x.ndim not in (3, 4) or x.shape[0] != batch or x.shape[-2:] != (states, steps) or x.shape[1:-2] != B.shape[1:-2]:
            raise UserError(
                f"selective_scan: {name} has shape {list(x.shape)}, expected {[batch, states, steps]} or "
                f"[{batch}, groups, {states}, {steps}], the same groups in B and C. Maps that do not vary over time "
                f"must be expanded over the steps."
            )
    if B.ndim == 4 and (B.shape[1] == 0 or channels % B.shape[1]):
        raise UserError(f"selective_scan: {channels} channels do not divide into {B.shape[1]} groups.")
    if lengths is not None and not torch.compiler.is_compiling() and lengths.device.type == "cpu" and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > steps:
            raise UserError(f"selective_scan: lengths run from {low} to {high}, expected 0 to {steps}, the steps of u.")


def choose_engine(device: str, double: bool, fresh: bool, backend: str = "auto") -> str:
    """The engine that will run.

    Args:
        device: type of the device, "cpu" or "cuda".
        double: whether inputs are float64, which torch and reference alone take.
        fresh: no initial state and no resets, which mamba_ssm's kernel does not know.
        backend: what the caller asked for; "auto" leaves it to SIGSSL_MAMBA_BACKEND, then to what is there.

    Raises:
        UserError: an unknown backend, or one that was asked for by name and cannot run.
    """
    asked = os.environ.get(VARIABLE, "auto") if backend == "auto" else backend
    if asked not in BACKENDS:
        raise UserError(f"selective_scan: no backend {asked!r}; there are {', '.join(BACKENDS)}.{nearest(asked, BACKENDS)}")
    if asked in ("torch", "reference"):
        return asked
    if asked != "auto":
        reason = _unfit(asked, device, double, fresh) or _missing(asked)
        if reason:
            raise UserError(f"selective_scan: backend {asked!r} cannot run here: {reason}. Use backend='auto' or 'torch'.")
        return asked
    if double:
        return "torch"
    reasons = []
    for engine in ("cpp",) if device == "cpu" else ("mamba_ssm", "triton"):
        reason = _unfit(engine, device, double, fresh) or _missing(engine)
        if not reason:
            return engine
        reasons.append(f"{engine}: {reason}")
    _warn_slow(device, "; ".join(reasons))
    return "torch"


# What torch.compiler.assume_constant_result does, without importing torch._dynamo, which takes two seconds of every start
choose_engine.__dict__["_dynamo_marked_constant"] = True


def _unfit(engine: str, device: str, double: bool, fresh: bool) -> str:
    home = "cpu" if engine == "cpp" else "cuda"
    if engine == "triton" and os.environ.get("TRITON_INTERPRET") == "1":
        home = device
    if device != home:
        return f"it runs on {home}, the tensors are on {device}"
    if double:
        return "it takes no float64"
    return "" if fresh or engine != "mamba_ssm" else "it takes neither an initial state nor resets"


@cache
def _missing(engine: str) -> str:
    """Why an engine cannot run, or nothing."""
    if engine == "cpp":
        return library.missing()
    if engine == "mamba_ssm":
        return fused.missing()
    from sigssl.nn.scan import triton_engine

    return triton_engine.missing()


@cache
def _warn_slow(device: str, reasons: str) -> None:
    remedy = "a C++ compiler (g++ or clang++)" if device == "cpu" else "triton (pip install triton) or mamba-ssm"
    warnings.warn(
        f"the selective scan runs on its pure torch engine, several times slower than it could ({reasons}). Install {remedy}, "
        f"or set {VARIABLE}=torch to say that this is meant. `sigssl doctor` shows what runs.",
        stacklevel=3,
    )


def engines() -> list[tuple[str, bool, str]]:
    """Every engine as (name, whether it works, detail), found out by really running forward and backward with it."""
    results = []
    for name in BACKENDS[1:]:
        try:
            results.append((name, True, _trial(name)))
        except Exception as error:  # whatever a broken installation raises is what the caller wants to read
            results.append((name, False, f"{type(error).__name__}: {error}"))
    return results


def _trial(name: str) -> str:
    device = "cuda" if name == "mamba_ssm" or (name == "triton" and os.environ.get("TRITON_INTERPRET") != "1") else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device")
    u = torch.ones(1, 4, 8, device=device, requires_grad=True)
    maps = torch.ones(1, 2, 8, device=device)
    y = selective_scan(u, u, -torch.ones(4, 2, device=device), maps, maps, backend=name)
    assert isinstance(y, Tensor)
    (grad,) = torch.autograd.grad(y.sum(), u)
    expected = torch.tensor([2 * (1 - 2.718281828**-t) / (1 - 2.718281828**-1) for t in range(1, 9)])
    if not (torch.allclose(y.detach()[0, 0].cpu(), expected, rtol=1e-4) and bool(grad.isfinite().all())):
        raise UserError(f"wrong result: {y[0, 0].tolist()}, expected {expected.tolist()}")
    if name == "cpp":
        return library.detail()
    return "a loop over time, for tests" if name == "reference" else f"on {device}"
