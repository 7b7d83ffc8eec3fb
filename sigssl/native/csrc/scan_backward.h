// Gradients of the scan: chunks from last to first, each recomputed from its saved state, the adjoint state carried backwards.
#pragma once
#include "scan.h"

namespace {

constexpr int PAIR = 2;  // states at a time

// A chunk's channels, [STEPS][WIDTH] each.
struct Tiles {
    float *u, *delta, *slope, *input, *z, *dy, *y, *dinput, *ddelta;
};

// Decays, states before each step, for PAIR states: [STEPS][PAIR][WIDTH] each.
struct History {
    float *decay, *before;
};

// Recompute a chunk's states n .. n + PAIR; adds C h to y where the gate needs it, and dy h to C's gradient, lane by lane.
template <bool RESETS, bool GATED>
static void recompute(const float* A, const float* start, const float* b, int64_t b_stride, const float* c, int64_t c_stride,
                      const Tiles& t, const History& history, float* dC, const uint8_t* resets, int count) {
    vf h[PAIR][VECTORS], rate[PAIR][VECTORS];
    for (int s = 0; s < PAIR; s++)
        for (int v = 0; v < VECTORS; v++) {
            h[s][v] = load(start + s * WIDTH + v * LANES);
            rate[s][v] = load(A + s * WIDTH + v * LANES);
        }
    for (int i = 0; i < count; i++, b += b_stride, c += c_stride) {
        vf dc[PAIR];
        for (int s = 0; s < PAIR; s++) dc[s] = load(dC + (s * STEPS + i) * LANES);
        for (int v = 0; v < VECTORS; v++) {
            const int at = i * WIDTH + v * LANES;
            const vf d = load(t.delta + at), x = load(t.input + at), dy = load(t.dy + at);
            vf y = GATED ? load(t.y + at) : splat(0.0f);
            for (int s = 0; s < PAIR; s++) {
                if (RESETS && resets[i]) h[s][v] = splat(0.0f);
                const vf a = exp2(d * rate[s][v]);
                const int slot = (i * PAIR + s) * WIDTH + v * LANES;
                store(history.decay + slot, a);
                store(history.before + slot, h[s][v]);
                h[s][v] = a * h[s][v] + x * b[s];
                dc[s] = dy * h[s][v] + dc[s];
                if (GATED) y = h[s][v] * c[s] + y;
            }
            if (GATED) store(t.y + at, y);
        }
        for (int s = 0; s < PAIR; s++) store(dC + (s * STEPS + i) * LANES, dc[s]);
    }
}

// The adjoint g_t = C_t dy_t + a_{t+1} g_{t+1} of states n .. n + PAIR, from the last step to the first.
// `carry` holds a g of the following step on entry and of the first step on return; rates are in units of log2(e).
template <bool RESETS>
static void sweep(const float* A, float* carry, float* dA, const float* b, int64_t b_stride, const float* c, int64_t c_stride,
                  const Tiles& t, const History& history, float* dB, const uint8_t* resets, int count) {
    vf g[PAIR][VECTORS], da[PAIR][VECTORS], rate[PAIR][VECTORS];
    for (int s = 0; s < PAIR; s++)
        for (int v = 0; v < VECTORS; v++) {
            g[s][v] = load(carry + s * WIDTH + v * LANES);
            da[s][v] = load(dA + s * WIDTH + v * LANES);
            rate[s][v] = load(A + s * WIDTH + v * LANES);
        }
    for (int i = count - 1; i >= 0; i--) {
        const float *bi = b + i * b_stride, *ci = c + i * c_stride;
        vf db[PAIR];
        for (int s = 0; s < PAIR; s++) db[s] = load(dB + (s * STEPS + i) * LANES);
        for (int v = 0; v < VECTORS; v++) {
            const int at = i * WIDTH + v * LANES;
            const vf d = load(t.delta + at), x = load(t.input + at), dy = load(t.dy + at);
            vf dinput = load(t.dinput + at), ddelta = load(t.ddelta + at);
            for (int s = 0; s < PAIR; s++) {
                const int slot = (i * PAIR + s) * WIDTH + v * LANES;
                const vf now = dy * ci[s] + g[s][v];
                dinput = now * bi[s] + dinput;
                db[s] = now * x + db[s];
                const vf left = now * load(history.decay + slot);
                const vf w = left * load(history.before + slot);
                da[s][v] = w * d + da[s][v];
                ddelta = w * rate[s][v] + ddelta;
                g[s][v] = RESETS && resets[i] ? splat(0.0f) : left;
            }
            store(t.dinput + at, dinput);
            store(t.ddelta + at, ddelta);
        }
        for (int s = 0; s < PAIR; s++) store(dB + (s * STEPS + i) * LANES, db[s]);
    }
    for (int s = 0; s < PAIR; s++)
        for (int v = 0; v < VECTORS; v++) {
            store(carry + s * WIDTH + v * LANES, g[s][v]);
            store(dA + s * WIDTH + v * LANES, da[s][v]);
        }
}

// What a slice of blocks keeps from chunk to chunk, [blocks][padded N][WIDTH], and the lanes' sums of dB and dC, [padded N][STEPS][LANES].
struct Carried {
    float *A, *adjoint, *dA, *dskip, *dbias, *dB, *dC, *start;
};

// Load a chunk of one block: inputs, step sizes, and the output's gradient, passed back through the gate where there is one.
static void load_chunk(const ScanArgs& a, const Block& block, const Tiles& t, int64_t b, int64_t first, int count) {
    load_tile(t.u, a.u, b, first, count, block.channel, block.width);
    load_tile(t.delta, a.delta, b, first, count, block.channel, block.width);
    load_tile(t.dy, a.dout, b, first, count, block.channel, block.width);
    if (a.z.data) load_tile(t.z, a.z, b, first, count, block.channel, block.width);
    step_sizes(a, block, t.delta, t.slope, count);
    for (int i = 0; i < count * WIDTH; i += LANES) {
        const vf u = load(t.u + i);
        store(t.input + i, load(t.delta + i) * u);
        store(t.dinput + i, splat(0.0f));
        store(t.ddelta + i, splat(0.0f));
        if (!a.z.data) continue;
        const vf z = load(t.z + i), gate = sigmoid(z), dout = load(t.dy + i);
        store(t.y + i, u * load(block.skip + i % WIDTH));
        store(t.dy + i, dout * z * gate);
        store(t.z + i, dout * gate * (1.0f + z * (1.0f - gate)));
    }
}

// Gradients of a chunk's channels from the sums over states, written out.
static void store_chunk(const ScanArgs& a, const Block& block, const Tiles& t, Carried& k, int64_t b, int64_t first, int count) {
    for (int i = 0; i < count * WIDTH; i += LANES) {
        const int lane = i % WIDTH;
        const vf u = load(t.u + i), dy = load(t.dy + i), dinput = load(t.dinput + i);
        const vf ddelta = (load(t.ddelta + i) * LN2 + dinput * u) * load(t.slope + i);
        store(k.dskip + lane, load(k.dskip + lane) + dy * u);
        store(k.dbias + lane, load(k.dbias + lane) + ddelta);
        store(t.dinput + i, dinput * load(t.delta + i) + dy * load(block.skip + lane));
        store(t.ddelta + i, ddelta);
        if (a.z.data) store(t.z + i, load(t.z + i) * load(t.y + i));
    }
    store_tile(t.dinput, a.du, b, first, count, block.channel, block.width);
    store_tile(t.ddelta, a.ddelta, b, first, count, block.channel, block.width);
    if (a.z.data) store_tile(t.z, a.dz, b, first, count, block.channel, block.width);
}

template <bool RESETS, bool GATED>
static void backward_chunk(const ScanArgs& a, const Tiles& t, const History& history, const Carried& k, Rows B,
                           Rows C, const uint8_t* resets, int count) {
    for (int n = 0; n < padded(a.states); n += PAIR) {
        recompute<RESETS, GATED>(k.A + n * WIDTH, k.start + n * WIDTH, B.data + n, B.stride, C.data + n, C.stride, t, history,
                                 k.dC + n * STEPS * LANES, resets, count);
        sweep<RESETS>(k.A + n * WIDTH, k.adjoint + n * WIDTH, k.dA + n * WIDTH, B.data + n, B.stride, C.data + n, C.stride, t, history,
                      k.dB + n * STEPS * LANES, resets, count);
    }
}

typedef void (*ChunkKernel)(const ScanArgs&, const Tiles&, const History&, const Carried&, Rows, Rows, const uint8_t*, int);

// All of time for the blocks [low, high) of one group of one item.
static void backward_slice(const ScanArgs& a, int64_t b, int64_t g, int64_t slice, int64_t low, int64_t high, float* memory) {
    Cursor s{memory};
    const int rows = padded(a.states), state = rows * WIDTH, tile = STEPS * WIDTH;
    const int64_t states = a.states * a.channels, end = valid_steps(a, b), map = a.groups * a.states;
    float *pads = s.take(2 * STEPS * rows), *dB = s.take(rows * STEPS * LANES), *dC = s.take(rows * STEPS * LANES), *start = s.take(state);
    const Tiles t = {s.take(tile), s.take(tile), s.take(tile), s.take(tile), s.take(tile), s.take(tile), s.take(tile), s.take(tile), s.take(tile)};
    const History history = {s.take(PAIR * tile), s.take(PAIR * tile)};
    float* carried = s.take((high - low) * (3 * state + 2 * WIDTH));
    auto keep = [&](int64_t index) {
        float* p = carried + (index - low) * (3 * state + 2 * WIDTH);
        return Carried{p, p + state, p + 2 * state, p + 3 * state, p + 3 * state + WIDTH, dB, dC, start};
    };
    const ChunkKernel kernel = a.resets ? (a.z.data ? backward_chunk<true, true> : backward_chunk<true, false>)
                                        : (a.z.data ? backward_chunk<false, true> : backward_chunk<false, false>);
    memset(carried, 0, (high - low) * (3 * state + 2 * WIDTH) * 4);
    for (int64_t i = low; i < high; i++) {
        const Block block = make_block(a, g, i);
        copy_states(keep(i).A, a.A, a, block);
        copy_states(keep(i).adjoint, a.dlast + b * states, a, block);
        clear_steps(a.du, b, end, a.steps, block.channel, block.width);
        clear_steps(a.ddelta, b, end, a.steps, block.channel, block.width);
        clear_steps(a.dz, b, end, a.steps, block.channel, block.width);
    }
    const int64_t item = (slice * a.batch + b) * a.steps;
    for (int64_t i = end; i < a.steps; i++) {
        memset(a.dB + (item + i) * map + g * a.states, 0, a.states * 4);
        memset(a.dC + (item + i) * map + g * a.states, 0, a.states * 4);
    }
    for (int64_t chunk = (end + STEPS - 1) / STEPS - 1; chunk >= 0; chunk--) {
        const int64_t first = chunk * STEPS;
        const int count = (int)(end - first < STEPS ? end - first : STEPS);
        const Rows B = B_rows(a, b, first, g, count, pads), C = C_rows(a, b, first, g, count, pads + STEPS * rows);
        memset(dB, 0, rows * STEPS * LANES * 4);
        memset(dC, 0, rows * STEPS * LANES * 4);
        for (int64_t i = low; i < high; i++) {
            const Block block = make_block(a, g, i);
            Carried k = keep(i);
            copy_states(start, a.saved + (b * a.chunks + chunk) * states, a, block);
            load_chunk(a, block, t, b, first, count);
            kernel(a, t, history, k, B, C, a.resets ? a.resets + b * a.steps + first : nullptr, count);
            store_chunk(a, block, t, k, b, first, count);
        }
        for (int i = 0; i < count; i++)
            for (int n = 0; n < a.states; n++) {
                const int64_t at = (item + first + i) * map + g * a.states + n;
                a.dB[at] = sum(load(dB + (n * STEPS + i) * LANES));
                a.dC[at] = sum(load(dC + (n * STEPS + i) * LANES));
            }
    }
    for (int64_t i = low; i < high; i++) {
        const Block block = make_block(a, g, i);
        const Carried k = keep(i);
        write_states(a.dA + b * states, k.dA, a, block);
        if (a.dinit) write_states(a.dinit + b * states, k.adjoint, a, block);
        memcpy(a.dskip + b * a.channels + block.channel, k.dskip, block.width * 4);
        memcpy(a.dbias + b * a.channels + block.channel, k.dbias, block.width * 4);
    }
}

static void backward_worker(void* p) {
    Queue& queue = *(Queue*)p;
    const ScanArgs& a = *(const ScanArgs*)queue.args;
    const FlushDenormals flush;
    const int64_t rows = padded(a.states), blocks = (a.channels / a.groups + WIDTH - 1) / WIDTH, most = blocks / a.slices + 1;
    Memory owner(2 * STEPS * rows + 2 * rows * STEPS * LANES + rows * WIDTH + (9 + 2 * PAIR) * STEPS * WIDTH + most * (3 * rows + 2) * WIDTH + 256);
    for (int64_t i = queue.draw(); i < queue.count; i = queue.draw()) {
        const int64_t slice = i % a.slices, g = i / a.slices % a.groups, b = i / (a.slices * a.groups);
        backward_slice(a, b, g, slice, slice * blocks / a.slices, (slice + 1) * blocks / a.slices, owner.floats);
    }
}

static void scan_backward(const ScanArgs* a) {
    Queue queue{a, a->batch * a->groups * a->slices};
    run_parallel<backward_worker>(&queue, a->threads, a->runtime);
}

}  // namespace
