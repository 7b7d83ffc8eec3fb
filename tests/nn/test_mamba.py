"""The layer: parameters, streaming, lengths, packing, precision, threads of data loaders, checkpointing, compilation."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sigssl.config import build, describe
from sigssl.errors import UserError
from sigssl.nn import BiMamba, Mamba, MambaBlock, MambaEncoder, selective_scan
from sigssl.nn.scan import engines

WORKING = {name for name, works, _ in engines() if works}
ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(name not in WORKING, reason=f"the {name} engine does not run here"))
    for name in ("torch", "cpp")
]
LENGTHS = torch.tensor([40, 1, 33])
pytestmark = pytest.mark.filterwarnings("ignore:the selective scan runs on its pure torch engine")  # where no compiler is


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_parameters_have_mamba_ssm_s_names_shapes_and_start() -> None:
    layer = Mamba(256)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "A_log": (512, 16),
        "D": (512,),
        "in_proj.weight": (1024, 256),
        "conv1d.weight": (512, 1, 4),
        "conv1d.bias": (512,),
        "x_proj.weight": (48, 512),
        "dt_proj.weight": (512, 16),
        "dt_proj.bias": (512,),
        "out_proj.weight": (256, 512),
    }
    assert sum(p.numel() for p in layer.parameters()) == 437_760
    torch.testing.assert_close(layer.A_log[7], torch.arange(1, 17).float().log())
    dt = nn.functional.softplus(layer.dt_proj.bias)
    assert dt.min() > 0.0009 and dt.max() < 0.101 and layer.dt_proj.weight.abs().max() <= 0.25
    assert [n for n, p in layer.named_parameters() if getattr(p, "_no_weight_decay", False)] == ["A_log", "D"]


@pytest.mark.parametrize("backend", ENGINES)
def test_one_step_at_a_time_equals_the_whole(backend: str) -> None:
    layer, x = Mamba(24, backend=backend), torch.randn(2, 19, 24)
    conv, ssm = layer.allocate_inference_cache(2)
    with torch.no_grad():
        steps = torch.cat([layer.step(x[:, t : t + 1], conv, ssm)[0] for t in range(19)], 1)
        whole, state = layer.forward_with_state(x)
    torch.testing.assert_close(steps, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(conv, state.conv)
    torch.testing.assert_close(ssm, state.ssm, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ENGINES)
def test_chunks_equal_the_whole_gradients_too(backend: str) -> None:
    layer, x = Mamba(24, backend=backend), torch.randn(2, 50, 24)
    whole = layer(x)
    parts, state = [], None
    for chunk in x.split([1, 2, 33, 14], 1):
        y, state = layer.forward_with_state(chunk, state)
        parts.append(y)
    streamed = torch.cat(parts, 1)
    torch.testing.assert_close(streamed, whole, rtol=1e-5, atol=1e-6)
    wanted = list(layer.parameters())
    for a, b in zip(
        torch.autograd.grad(streamed.square().sum(), wanted), torch.autograd.grad(whole.square().sum(), wanted), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("kind", [Mamba, BiMamba, MambaBlock])
def test_padding_changes_nothing(backend: str, kind: Any) -> None:
    layer, x = kind(16, backend=backend), torch.randn(3, 40, 16)
    past = (torch.arange(40) >= LENGTHS[:, None])[..., None]
    results = []
    for filler in (0.0, torch.nan):
        layer.zero_grad()
        inputs = x.masked_fill(past, filler).requires_grad_()
        y = layer(inputs, LENGTHS)
        y.masked_fill(past, 0).square().sum().backward()
        assert inputs.grad is not None and not inputs.grad.masked_select(past).any()
        results.append([y.detach(), *(p.grad.clone() for p in layer.parameters() if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b) and a.isfinite().all()
    for i, length in enumerate(LENGTHS.tolist()):
        alone = layer(x[i : i + 1, :length])
        torch.testing.assert_close(results[0][0][i : i + 1, :length], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("kind", [Mamba, BiMamba])
def test_packed_sequences_do_not_see_each_other(backend: str, kind: Any) -> None:
    layer, parts = kind(16, backend=backend), [torch.randn(1, n, 16) for n in (7, 1, 33, 20)]
    resets = torch.zeros(1, 61, dtype=torch.bool)
    resets[0, [0, 7, 8, 41]] = True
    packed = layer(torch.cat(parts, 1), resets=resets)
    torch.testing.assert_close(packed, torch.cat([layer(p) for p in parts], 1), rtol=1e-5, atol=1e-6)
    padded = nn.functional.pad(torch.cat(parts, 1), (0, 0, 0, 5), value=torch.nan)
    within = layer(padded, torch.tensor([61]), nn.functional.pad(resets, (0, 5)))
    torch.testing.assert_close(within[:, :61], packed, rtol=1e-5, atol=1e-6)


def test_state_after_a_reset_forgets_what_came_before() -> None:
    layer, x = Mamba(16, backend="torch"), torch.randn(2, 12, 16)
    resets = torch.zeros(2, 12, dtype=torch.bool)
    resets[:, 10] = True
    _, state = layer.forward_with_state(x, resets=resets)
    _, expected = layer.forward_with_state(x[:, 10:])
    torch.testing.assert_close(state.conv, expected.conv)
    torch.testing.assert_close(state.ssm, expected.ssm)


def test_causal_and_not() -> None:
    x = torch.randn(1, 30, 16)
    later = x.clone()
    later[:, 20] += 1
    one, both = Mamba(16), BiMamba(16, merge="concat")
    assert torch.equal(one(x)[:, :20], one(later)[:, :20])
    assert not torch.equal(both(x)[:, 0], both(later)[:, 0])


def test_encoder_states_streaming_and_config() -> None:
    encoder = MambaEncoder(input_dim=10, dim=16, layers=3).eval()
    x = torch.randn(3, 40, 10)
    states = encoder(x, LENGTHS)
    assert len(states) == 4 and all(s.shape == (3, 40, 16) for s in states)
    spoilt = encoder(x.masked_fill((torch.arange(40) >= LENGTHS[:, None])[..., None], torch.nan), LENGTHS)
    assert all(torch.equal(a[i, :n], b[i, :n]) for a, b in zip(states, spoilt, strict=True) for i, n in enumerate(LENGTHS))
    whole = encoder(x)
    first, memory = encoder.stream(x[:, :17])
    second, _ = encoder.stream(x[:, 17:], memory)
    for a, b, c in zip(first, second, whole, strict=True):
        torch.testing.assert_close(torch.cat([a, b], 1), c, rtol=1e-4, atol=1e-5)
    again = build(describe(encoder))
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(again.eval()(x)[-1], whole[-1])
    with pytest.raises(UserError, match="cannot stream"):
        MambaEncoder(10, 16, 1, bidirectional=True).stream(x)
    with pytest.raises(UserError, match="expected 'rms' or 'layer'"):
        MambaBlock(16, norm="batch")


@pytest.mark.parametrize("backend", ENGINES)
def test_bfloat16_autocast_stays_close(backend: str) -> None:
    layer, x = Mamba(32, backend=backend), torch.randn(2, 50, 32)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert (y - exact).norm() < 2e-2 * exact.norm()
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("backend", ENGINES)
def test_activation_checkpointing_and_deterministic_mode(backend: str) -> None:
    layer, x = Mamba(16, backend=backend), torch.randn(2, 40, 16, requires_grad=True)
    torch.use_deterministic_algorithms(True)
    try:
        grads = []
        for y in (layer(x), checkpoint(layer, x, use_reentrant=False)):
            assert isinstance(y, Tensor)
            grads.append(torch.autograd.grad(y.square().sum(), [x, *layer.parameters()]))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


COMPILED = """
import sys, torch
from sigssl.nn import Mamba
torch.manual_seed(0)
for backend in sys.argv[1:]:
    layer, x, lengths = Mamba(16, backend=backend), torch.randn(2, 40, 16), torch.tensor([40, 31])
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    expected, got = layer(x, lengths), compiled(x, lengths)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    wanted = list(layer.parameters())
    for a, b in zip(torch.autograd.grad(got.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
"""


def test_compiles_as_one_graph() -> None:
    # in a process of its own: the type checks that the tests switch on cannot be compiled
    subprocess.run([sys.executable, "-c", COMPILED, *sorted({"torch", "cpp"} & WORKING)], check=True, capture_output=True)


def _in_child(queue: Any) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # as a data loader's worker does: torch's own operators hang on more after a fork
    layer = Mamba(64)(torch.ones(2, 40, 64)).detach()
    torch.set_num_threads(2)
    u, maps = torch.ones(2, 64, 40), torch.ones(2, 4, 40)
    scan = selective_scan(u, u, -torch.ones(64, 4), maps, maps)
    assert isinstance(scan, Tensor)
    queue.put((layer.numpy(), scan.numpy()))


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_runs_in_a_forked_worker() -> None:
    torch.manual_seed(0)
    expected = Mamba(64)(torch.ones(2, 40, 64)).detach()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_in_child, args=(queue,))
    worker.start()
    layer, scan = (torch.from_numpy(x) for x in queue.get(timeout=60))
    worker.join(60)
    torch.testing.assert_close(layer, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scan[0, 0, :1], torch.tensor([4.0]))


def test_learns_to_carry_a_cue_over_time() -> None:
    encoder = MambaEncoder(input_dim=4, dim=16, layers=1, dropout=0.0)
    head = nn.Linear(16, 2)
    cue = torch.randint(0, 2, (16,))
    x = torch.randn(16, 30, 4) * 0.1
    x[:, 0, 0] = cue * 2.0 - 1.0
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 1e-2)
    for _ in range(60):
        loss = nn.functional.cross_entropy(head(encoder(x)[-1][:, -1]), cue)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


def _rank(rank: int, rendezvous: str, queue: Any) -> None:
    """One of two ranks: half of the batch, gradients joined by DDP, then by FSDP."""
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = MambaEncoder(8, 16, 2, dropout=0.0), torch.randn(4, 20, 8)
    half = x[2 * rank : 2 * rank + 2]
    wrapped = nn.parallel.DistributedDataParallel(model)
    wrapped(half)[-1].sin().mean().backward()
    joined = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    mesh = distributed.init_device_mesh("cpu", (2,))
    for module in (*model.blocks, model):
        fully_shard(module, mesh=mesh)
    model(half)[-1].sin().mean().backward()
    sharded = {n: p.grad.full_tensor() for n, p in model.named_parameters()}  # type: ignore[union-attr, operator]
    if rank == 0:
        queue.put([{n: g.numpy() for n, g in grads.items()} for grads in (joined, sharded)])
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_ranks_equal_one_under_ddp_and_fsdp(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = MambaEncoder(8, 16, 2, dropout=0.0), torch.randn(4, 20, 8)
    model(x)[-1].sin().mean().backward()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    ranks = [context.Process(target=_rank, args=(r, str(tmp_path / "rendezvous"), queue)) for r in range(2)]
    for rank in ranks:
        rank.start()
    for grads in queue.get(timeout=120):
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(torch.from_numpy(grads[name]), parameter.grad, rtol=1e-4, atol=1e-6)
    for rank in ranks:
        rank.join(60)
