"""Times, peak memory and bounds of the selective scan beside every peer that imports.  python tests/bench/mamba.py [--quick]

Contestants take turns in one process, so that a busy machine disturbs all alike; medians and minima over the turns, in ms.
Peers: mamba_ssm's reference, mambapy's parallel scan, torch's associative_scan; modules: transformers' slow path.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from sigssl.nn import Mamba, selective_scan
from sigssl.nn.scan import engines

SHAPES = [(8, 200, 512, 16), (1, 1000, 1536, 16), (4, 4000, 512, 16)]
OURS = ("cpp", "torch")
LOOPS = ("mamba_ssm ref",)  # autograd through a loop over time: quadratic, minutes beyond a few hundred steps
Scan = Callable[..., Tensor]


def inputs(shape: tuple[int, int, int, int], time_last: bool) -> dict[str, Tensor]:
    batch, steps, channels, states = shape
    g = torch.Generator().manual_seed(0)

    def sequence(width: int) -> Tensor:
        x = torch.randn(batch, steps, width, generator=g).transpose(1, 2)
        return (x.contiguous() if time_last else x).requires_grad_()

    x = {"u": sequence(channels), "delta": sequence(channels), "B": sequence(states), "C": sequence(states)}
    x["A"] = (-torch.arange(1.0, states + 1).repeat(channels, 1)).requires_grad_()
    x["D"] = torch.ones(channels).requires_grad_()
    x["delta_bias"] = torch.full((channels,), -4.0).requires_grad_()
    return x


def by_states(
    scan: Callable[[Tensor, Tensor], Tensor],
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
) -> Tensor:
    """A scan over [B, L, D, N] of decays and inputs as a whole selective scan."""
    step = F.softplus(delta.transpose(1, 2) + delta_bias)
    x = u.transpose(1, 2)
    h = scan(torch.exp(step[..., None] * A), (step * x)[..., None] * B.transpose(1, 2)[:, :, None])
    return ((h @ C.transpose(1, 2)[..., None])[..., 0] + D * x).transpose(1, 2)


def peers() -> Iterator[tuple[str, Scan]]:
    """Every peer that imports here."""
    stubs = ("selective_scan_cuda", "causal_conv1d_cuda")
    for name in stubs:  # only while mamba_ssm is imported: left in place they mislead transformers
        sys.modules.setdefault(name, types.ModuleType(name))
    try:
        reference = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_ref
        yield "mamba_ssm ref", partial(reference, delta_softplus=True)
    except Exception as error:
        print(f"no mamba_ssm: {type(error).__name__}: {error}")
    for name in [n for n in sys.modules if n in stubs or n.split(".")[0] in ("mamba_ssm", "causal_conv1d")]:
        del sys.modules[name]
    try:
        block = importlib.import_module("mambapy.mamba").MambaBlock

        def mambapy(
            method: str, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor
        ) -> Tensor:
            step = F.softplus(delta.transpose(1, 2) + delta_bias)
            return getattr(block, method)(None, u.transpose(1, 2), step, A, B.transpose(1, 2), C.transpose(1, 2), D).transpose(1, 2)

        yield "mambapy pscan", partial(mambapy, "selective_scan")
    except ImportError as error:
        print(f"no mambapy: {error}")
    from torch._higher_order_ops.associative_scan import associative_scan

    def join(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    yield "torch associative_scan", partial(by_states, lambda a, x: associative_scan(join, (a, x), 1, combine_mode="generic")[1])


def turns(contestants: dict[str, Callable[[], object]], seconds: float, most: int) -> dict[str, list[float]]:
    """Times in ms; each is warmed up once, then all take turns until the slower half of the time is spent."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    alive = {}
    for name, call in contestants.items():
        try:
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
            alive[name] = call
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:100]}")
    spent = dict.fromkeys(alive, 0.0)
    for _ in range(most):
        for name, call in alive.items():
            if spent[name] > seconds:
                continue
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            spent[name] += elapsed
            times[name].append(1e3 * elapsed)
    return {name: t[1:] or t for name, t in times.items() if t}


def scan_calls(x: dict[str, Tensor], scan: Scan) -> tuple[Callable[[], object], Callable[[], object]]:
    weights = torch.randn(x["u"].shape)

    def forward() -> object:
        with torch.no_grad():
            return scan(**x)

    return forward, lambda: torch.autograd.grad(scan(**x), list(x.values()), weights)


def table(title: str, times: dict[str, list[float]], mine: Callable[[str], bool]) -> None:
    """One Markdown table: median, minimum, and how many times slower than each of ours the best peer is."""
    best = min((statistics.median(t) for name, t in times.items() if not mine(name)), default=float("nan"))
    fastest = min((min(t) for name, t in times.items() if not mine(name)), default=float("nan"))
    print(f"\n{title}\n\n| contestant | median ms | minimum ms | best peer / ours, medians | minima |\n|---|---|---|---|---|")
    for name, t in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        ratios = f"{best / statistics.median(t):.1f} | {fastest / min(t):.1f}" if mine(name) else "|"
        print(f"| {name} | {statistics.median(t):.2f} | {min(t):.2f} | {ratios} |")


def bandwidth() -> float:
    """Bytes per second of a copy that leaves the caches, read and write."""
    x = torch.ones(1 << 26)
    y = torch.empty_like(x)
    times = turns({"copy": lambda: y.copy_(x)}, 2, 10)["copy"]
    return 2 * x.nbytes / (min(times) / 1e3)


def bound(shape: tuple[int, int, int, int], rate: float) -> tuple[float, float]:
    """Milliseconds to move the inputs and outputs once: forward, forward and backward."""
    batch, steps, channels, states = shape
    forward = 4 * batch * steps * (3 * channels + 2 * states)
    return 1e3 * forward / rate, 1e3 * (forward + 4 * batch * steps * (5 * channels + 4 * states)) / rate


PEAK = """
import resource, sys, torch
sys.path.insert(0, sys.argv[3])
import mamba as bench
name, shape = sys.argv[1], tuple(int(n) for n in sys.argv[2].split(","))
scan = bench.contestants()[name]
for size in ((1, 8, shape[2], shape[3]), shape):
    x = bench.inputs(size, False)
    weights = torch.randn(x["u"].shape)
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # forget the peak so far
    kib = lambda key: int(next(l for l in open("/proc/self/status") if l.startswith(key)).split()[1])
    before = kib("VmRSS")
    y = scan(**x)
    grads = torch.autograd.grad(y, list(x.values()), weights)
    peak = kib("VmHWM")
own = sum(v.nbytes for v in (*x.values(), *grads, y, weights))
result = sum(v.nbytes for v in (*grads, y))
print(peak - before, result // 1024, own // 1024)
"""


def peak_memory(name: str, shape: tuple[int, int, int, int]) -> str:
    """Forward and backward in a process of its own: what is needed beyond inputs, output and their gradients."""
    words = [sys.executable, "-c", PEAK, name, ",".join(map(str, shape)), str(Path(__file__).parent)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{name}: failed: {done.stderr.strip().splitlines()[-1][:100]}"
    peak, result, own = (int(n) for n in done.stdout.split()[-3:])
    extra = peak - result
    return f"| {name} | {shape} | {extra / 1024:.1f} | {own / 1024:.1f} | {100 * extra / own:.1f} % |"


def contestants() -> dict[str, Scan]:
    """Ours by engine, and the peers."""
    ours = {name: partial(selective_scan, delta_softplus=True, backend=name) for name in OURS}
    return {**ours, **dict(peers())}


def modules(d_model: int, batch: int, steps: int, seconds: float) -> None:
    """Whole layers: ours, transformers' slow path, and what else one would put in its place."""
    layers: dict[str, torch.nn.Module] = {f"sigssl.nn.Mamba, {name}": Mamba(d_model, backend=name) for name in OURS}
    try:
        hf = importlib.import_module("transformers.models.mamba.modeling_mamba")
        config = importlib.import_module("transformers").MambaConfig(hidden_size=d_model, num_hidden_layers=1, use_mambapy=False)
        layers["transformers slow path"] = hf.MambaMixer(config, layer_idx=0)
    except Exception as error:
        print(f"no transformers: {type(error).__name__}: {error}")
    layers["nn.TransformerEncoderLayer"] = torch.nn.TransformerEncoderLayer(d_model, 4, 4 * d_model, batch_first=True)
    layers["nn.LSTM"] = torch.nn.LSTM(d_model, d_model, batch_first=True)
    x = torch.randn(batch, steps, d_model)

    def output(layer: torch.nn.Module) -> Tensor:
        y = layer(x)
        return y[0] if isinstance(y, tuple) else y

    def forward(layer: torch.nn.Module) -> object:
        with torch.no_grad():
            return output(layer)

    def both(layer: torch.nn.Module) -> object:
        return torch.autograd.grad(output(layer).sum(), list(layer.parameters()), allow_unused=True)

    for kind, call in (("forward", forward), ("forward + backward", both)):
        chosen = {n: m for n, m in layers.items() if not (kind != "forward" and "slow path" in n and steps > 200)}
        times = turns({name: partial(call, layer) for name, layer in chosen.items()}, seconds, 30)
        table(f"Module, d_model {d_model}, B {batch}, L {steps}, {kind}", times, lambda name: name.startswith("sigssl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first shape only, few turns")
    parser.add_argument("--threads", type=int, default=2, help="cores used (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = 1.0 if options.quick else 5.0
    print(f"torch {torch.__version__}, {options.threads} threads; engines:")
    for name, works, detail in engines():
        print(f"- {name}: {'works' if works else 'does not run'}: {detail}")
    rate = bandwidth()
    print(f"\nmeasured bandwidth of a copy: {rate / 1e9:.1f} GB/s")
    for shape in SHAPES[:1] if options.quick else SHAPES:
        limits = bound(shape, rate)
        calls: dict[str, dict[str, Callable[[], object]]] = {"forward": {}, "forward + backward": {}}
        for layout, time_last in (("", False), (", time last", True)):
            x = inputs(shape, time_last)
            for name, scan in contestants().items():
                if time_last and name not in OURS:
                    continue
                forward, both = scan_calls(x, scan)
                calls["forward"][name + layout] = forward
                if name not in LOOPS or shape[1] <= 200:
                    calls["forward + backward"][name + layout] = both
        for (kind, chosen), limit in zip(calls.items(), limits, strict=True):
            title = f"(B, L, D, N) = {shape}, {kind}; bandwidth bound {limit:.2f} ms"
            table(title, turns(chosen, seconds, 40), lambda name: name.split(",")[0] in OURS)
    print("\nPeak memory of forward + backward beyond inputs, output and their gradients\n")
    print("| contestant | shape | extra MiB | inputs, output, gradients MiB | extra |\n|---|---|---|---|---|")
    for shape in SHAPES[:1] if options.quick else (SHAPES[0], SHAPES[2]):
        for name in contestants():
            if name not in LOOPS:
                print(peak_memory(name, shape), flush=True)
    if not options.quick:
        print(
            "\nLinear in L: cpp, B 1, D 512, N 16, forward + backward\n\n| L | median ms | microseconds per step |\n|---|---|---|"
        )
        for steps in (1_000, 10_000, 100_000):
            _, both = scan_calls(inputs((1, steps, 512, 16), False), contestants()["cpp"])
            median = statistics.median(turns({"cpp": both}, seconds, 15)["cpp"])
            print(f"| {steps} | {median:.1f} | {1e3 * median / steps:.2f} |")
    for batch, steps in [(8, 200)] if options.quick else [(8, 200), (4, 4000)]:
        modules(256, batch, steps, seconds)


if __name__ == "__main__":
    main()
