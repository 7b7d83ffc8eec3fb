"""The scan as Triton kernels: one program for each item and block of channels, time in tiles, a parallel scan inside a tile.

A program keeps nothing of size [L, D, N]: for one state at a time it scans a tile [channels, steps] and carries the tile's last
state through a small buffer. The backward kernel walks the tiles from last to first and scans the adjoint in reverse.
Imported only where Triton is, see triton_engine.py. Triton reads annotations as its own, so arguments have none but `constexpr`.
"""
# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl


@triton.jit
def _join(a1, x1, a2, x2):
    """Compose h -> a1 h + x1 with h -> a2 h + x2."""
    return a1 * a2, a2 * x1 + x2


@triton.jit
def _sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def _step_size(raw, SOFTPLUS: tl.constexpr):
    if SOFTPLUS:
        e = tl.exp(-tl.abs(raw))
        return tl.maximum(raw, 0.0) + tl.where(e < 1e-3, e * (1.0 - 0.5 * e), tl.log(1.0 + e))
    return raw


@triton.jit
def _tile(x, b, t, d, stride_b, stride_t, stride_d, mask):
    """Channels by steps, as float32, zero where masked."""
    at = x + b.to(tl.int64) * stride_b + d[:, None].to(tl.int64) * stride_d + t[None, :].to(tl.int64) * stride_t
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _put(x, value, b, t, d, stride_b, stride_t, stride_d, mask):
    at = x + b.to(tl.int64) * stride_b + d[:, None].to(tl.int64) * stride_d + t[None, :].to(tl.int64) * stride_t
    tl.store(at, value.to(x.dtype.element_ty), mask=mask)


@triton.jit
def _decay(delta, rate, resets, b, t, end, steps, RESETS: tl.constexpr):
    """exp(delta A), zero on steps that reset the state; rates are in units of log2(e)."""
    a = tl.exp2(delta * rate[:, None])
    if RESETS:
        cut = tl.load(resets + b.to(tl.int64) * steps + t, mask=(t >= 0) & (t < end), other=0)
        a = tl.where(cut[None, :] != 0, 0.0, a)
    return a


@triton.jit
def forward_kernel(
    u, ub, ut, ud, delta, db, dt, dd, z, zb, zt, zd,
    out, ob, ot, od, B, Bb, Bt, Bg, Bn, C, Cb, Ct, Cg, Cn,
    A, skip, bias, lengths, resets, state, saved,
    steps, channels, groups, chunks, N: tl.constexpr, SKIP: tl.constexpr, GATE: tl.constexpr,
    BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, LENGTHS: tl.constexpr, RESETS: tl.constexpr, GRAD: tl.constexpr,
    WIDTH: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Outputs and last state; `state` [B, N, D] holds the initial state on entry and the last one on return."""
    block, g, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    size = channels // groups
    local = block * WIDTH + tl.arange(0, WIDTH)
    d = g * size + local
    inside = local < size
    end = tl.load(lengths + b).to(tl.int32) if LENGTHS else steps
    shift = tl.load(bias + d, mask=inside, other=0.0) if BIAS else tl.zeros([WIDTH], tl.float32)
    weight = tl.load(skip + d, mask=inside, other=0.0) if SKIP else tl.zeros([WIDTH], tl.float32)
    column = tl.arange(0, STEPS)
    for chunk in range(0, chunks):
        t = chunk * STEPS + column
        mask = inside[:, None] & (t < end)[None, :]
        x = _tile(u, b, t, d, ub, ut, ud, mask)
        step = tl.where(mask, _step_size(_tile(delta, b, t, d, db, dt, dd, mask) + shift[:, None], SOFTPLUS), 0.0)
        y = x * weight[:, None]
        x = x * step
        for n in range(N):
            rate = tl.load(A + d * N + n, mask=inside, other=0.0)
            b_n = tl.load(B + b.to(tl.int64) * Bb + t * Bt + g * Bg + n * Bn, mask=t < end, other=0.0).to(tl.float32)
            c_n = tl.load(C + b.to(tl.int64) * Cb + t * Ct + g * Cg + n * Cn, mask=t < end, other=0.0).to(tl.float32)
            place = state + (b.to(tl.int64) * N + n) * channels + d
            before = tl.load(place, mask=inside, other=0.0)
            if GRAD:
                tl.store(saved + ((b.to(tl.int64) * chunks + chunk) * N + n) * channels + d, before, mask=inside)
            a = _decay(step, rate, resets, b, t, end, steps, RESETS)
            through, h = tl.associative_scan((a, x * b_n[None, :]), 1, _join)
            h += through * before[:, None]
            y += h * c_n[None, :]
            tl.store(place, tl.sum(tl.where(column[None, :] == STEPS - 1, h, 0.0), 1), mask=inside)
        if GATE:
            gate = _tile(z, b, t, d, zb, zt, zd, mask)
            y *= gate * _sigmoid(gate)
        _put(out, tl.where(mask, y, 0.0), b, t, d, ob, ot, od, inside[:, None] & (t < steps)[None, :])
        tl.debug_barrier()  # the next tile reads the state that other threads of this program wrote


@triton.jit
def backward_kernel(
    u, ub, ut, ud, delta, db, dt, dd, z, zb, zt, zd,
    dout, ob, ot, od, B, Bb, Bt, Bg, Bn, C, Cb, Ct, Cg, Cn,
    A, skip, bias, lengths, resets, saved,
    du, dub, dut, dud, ddelta, ddb, ddt, ddd, dz, dzb, dzt, dzd,
    dA, dB, dC, dskip, dbias, adjoint,
    steps, channels, groups, chunks, N: tl.constexpr, SKIP: tl.constexpr, GATE: tl.constexpr,
    BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, LENGTHS: tl.constexpr, RESETS: tl.constexpr,
    WIDTH: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Gradients. `adjoint` [B, N, D] holds the last state's on entry and the initial state's on return; dA is zero on entry.

    dB and dC [blocks, B, L, G, N] hold each block's own sum: no atomic addition, so that results repeat bit by bit.
    """
    block, g, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    size = channels // groups
    local = block * WIDTH + tl.arange(0, WIDTH)
    d = g * size + local
    inside = local < size
    end = tl.load(lengths + b).to(tl.int32) if LENGTHS else steps
    shift = tl.load(bias + d, mask=inside, other=0.0) if BIAS else tl.zeros([WIDTH], tl.float32)
    weight = tl.load(skip + d, mask=inside, other=0.0) if SKIP else tl.zeros([WIDTH], tl.float32)
    column = tl.arange(0, STEPS)
    sum_skip, sum_bias = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    for back in range(0, chunks):
        chunk = chunks - 1 - back
        t = chunk * STEPS + column
        mask = inside[:, None] & (t < end)[None, :]
        earlier = mask & (column > 0)[None, :]
        later = inside[:, None] & ((t + 1 < end) & (column < STEPS - 1))[None, :]
        u_t, u_before = _tile(u, b, t, d, ub, ut, ud, mask), _tile(u, b, t - 1, d, ub, ut, ud, earlier)
        raw = _tile(delta, b, t, d, db, dt, dd, mask) + shift[:, None]
        step = tl.where(mask, _step_size(raw, SOFTPLUS), 0.0)
        raw_before = _tile(delta, b, t - 1, d, db, dt, dd, earlier) + shift[:, None]
        step_before = tl.where(earlier, _step_size(raw_before, SOFTPLUS), 0.0)
        raw_after = _tile(delta, b, t + 1, d, db, dt, dd, later) + shift[:, None]
        step_after = tl.where(later, _step_size(raw_after, SOFTPLUS), 0.0)
        dy = _tile(dout, b, t, d, ob, ot, od, mask)
        slope = dy
        if GATE:
            gate = _tile(z, b, t, d, zb, zt, zd, mask)
            s = _sigmoid(gate)
            slope = dy * s * (1.0 + gate * (1.0 - s))
            dy = dy * gate * s
        y, s1, dstep = u_t * weight[:, None], tl.zeros_like(u_t), tl.zeros_like(u_t)
        for n in range(N):
            rate = tl.load(A + d * N + n, mask=inside, other=0.0)
            b_row, c_row = B + b.to(tl.int64) * Bb + g * Bg + n * Bn, C + b.to(tl.int64) * Cb + g * Cg + n * Cn
            b_n = tl.load(b_row + t * Bt, mask=t < end, other=0.0).to(tl.float32)
            b_before = tl.load(b_row + (t - 1) * Bt, mask=(t < end) & (column > 0), other=0.0).to(tl.float32)
            c_n = tl.load(c_row + t * Ct, mask=t < end, other=0.0).to(tl.float32)
            start = tl.load(saved + ((b.to(tl.int64) * chunks + chunk) * N + n) * channels + d, mask=inside, other=0.0)
            # the state before each step: the scan of the steps before it, the identity standing before the first
            a_before = _decay(step_before, rate, resets, b, tl.where(column > 0, t - 1, -1), end, steps, RESETS)
            through, h = tl.associative_scan((a_before, step_before * u_before * b_before[None, :]), 1, _join)
            h += through * start[:, None]
            a = _decay(step, rate, resets, b, t, end, steps, RESETS)
            left = a * h
            now = left + step * u_t * b_n[None, :]
            # the adjoint of each step's state; what comes from behind the tile already went through that step's decay
            place = adjoint + (b.to(tl.int64) * N + n) * channels + d
            behind = tl.load(place, mask=inside, other=0.0)
            a_after = _decay(step_after, rate, resets, b, tl.where(column < STEPS - 1, t + 1, -1), end, steps, RESETS)
            through, G = tl.associative_scan((a_after, dy * c_n[None, :]), 1, _join, reverse=True)
            G += through * behind[:, None]
            tl.store(place, tl.sum(tl.where(column[None, :] == 0, a * G, 0.0), 1), mask=inside)
            y += now * c_n[None, :]
            s1 += G * b_n[None, :]
            w = G * left
            dstep += w * rate[:, None]
            slot = dA + (b.to(tl.int64) * N + n) * channels + d
            tl.store(slot, tl.load(slot, mask=inside, other=0.0) + tl.sum(w * step, 1), mask=inside)
            row = (((block * tl.num_programs(2) + b).to(tl.int64) * steps + t) * groups + g) * N + n
            tl.store(dB + row, tl.sum(G * step * u_t, 0), mask=t < steps)
            tl.store(dC + row, tl.sum(now * dy, 0), mask=t < steps)
        dstep = dstep * 0.6931471805599453 + s1 * u_t
        if SOFTPLUS:
            dstep *= _sigmoid(raw)
        dstep = tl.where(mask, dstep, 0.0)
        room = inside[:, None] & (t < steps)[None, :]
        _put(du, tl.where(mask, s1 * step + dy * weight[:, None], 0.0), b, t, d, dub, dut, dud, room)
        _put(ddelta, dstep, b, t, d, ddb, ddt, ddd, room)
        if GATE:
            _put(dz, tl.where(mask, slope * y, 0.0), b, t, d, dzb, dzt, dzd, room)
        sum_skip += tl.sum(dy * u_t, 1)
        sum_bias += tl.sum(dstep, 1)
        tl.debug_barrier()
    tl.store(dskip + b.to(tl.int64) * channels + d, sum_skip, mask=inside)
    tl.store(dbias + b.to(tl.int64) * channels + d, sum_bias, mask=inside)
