// Selective scan, forward and backward, on blocks of WIDTH channels with time sequential in chunks of STEPS.
#pragma once
#include "memory.h"
#include "parallel.h"
#include "simd.h"

namespace {

// Mirrored field by field in cpp.py. Float arrays are dense; a null pointer means absent.
struct ScanArgs {
    int64_t batch, steps, channels, groups, states, chunks, slices, softplus, threads;
    View u, delta, z, out, dout, du, ddelta, dz;
    const float *B, *C;                                                    // [batch, time, group] strides, states dense
    int64_t B_batch, B_time, B_group, C_batch, C_time, C_group;
    const float *A, *skip, *bias, *init;                                   // A log2(e) [N][D]; [D]; [D]; [batch][N][D]
    const int64_t* lengths;                                                // [batch]
    const uint8_t* resets;                                                 // [batch][steps]
    float *last, *saved;                                                   // [batch][N][D]; [batch][chunks][N][D]
    const float* dlast;                                                    // [batch][N][D]
    float *dA, *dskip, *dbias, *dinit;                                     // [batch][N][D], [batch][D], [batch][D], [batch][N][D]
    float *dB, *dC;                                                        // [slices][batch][steps][groups][N]
    ParallelRuntime runtime;
};

constexpr int UNROLL = 4;  // states are padded to a multiple of this

// Where a block lies, and its parameters with absent channels and states as zero.
struct Block {
    int64_t channel;
    int width;
    float skip[WIDTH], bias[WIDTH];
};

INLINE int padded(int64_t states) { return (int)((states + UNROLL - 1) / UNROLL * UNROLL); }
INLINE int64_t valid_steps(const ScanArgs& a, int64_t b) { return a.lengths ? a.lengths[b] : a.steps; }

// One row of parameters or states: WIDTH floats, zero where absent.
INLINE void copy_in(float* row, const float* from, int width) {
    for (int k = 0; k < WIDTH; k++) row[k] = from && k < width ? from[k] : 0.0f;
}

static Block make_block(const ScanArgs& a, int64_t group, int64_t index) {
    const int64_t per_group = a.channels / a.groups, first = index * WIDTH;
    Block block;
    block.channel = group * per_group + first;
    block.width = (int)(per_group - first < WIDTH ? per_group - first : WIDTH);
    copy_in(block.skip, a.skip ? a.skip + block.channel : nullptr, block.width);
    copy_in(block.bias, a.bias ? a.bias + block.channel : nullptr, block.width);
    return block;
}

// States [N][channels] of one item -> [padded N][WIDTH], and back.
static void copy_states(float* to, const float* from, const ScanArgs& a, const Block& block) {
    const int rows = padded(a.states);
    for (int n = 0; n < rows; n++)
        copy_in(to + n * WIDTH, from && n < a.states ? from + n * a.channels + block.channel : nullptr, block.width);
}
static void write_states(float* to, const float* from, const ScanArgs& a, const Block& block) {
    for (int n = 0; n < a.states; n++) memcpy(to + n * a.channels + block.channel, from + n * WIDTH, block.width * 4);
}

// Rows of B or C of a chunk: in place where the states fill whole groups of UNROLL, else copied and padded.
struct Rows {
    const float* data;
    int64_t stride;
};
static Rows map_rows(const float* from, int64_t stride, int64_t states, int count, float* padding) {
    const int rows = padded(states);
    if (rows == states) return {from, stride};
    for (int t = 0; t < count; t++)
        for (int n = 0; n < rows; n++) padding[t * rows + n] = n < states ? from[t * stride + n] : 0.0f;
    return {padding, rows};
}
static Rows B_rows(const ScanArgs& a, int64_t b, int64_t t, int64_t g, int count, float* padding) {
    return map_rows(a.B + b * a.B_batch + t * a.B_time + g * a.B_group, a.B_time, a.states, count, padding);
}
static Rows C_rows(const ScanArgs& a, int64_t b, int64_t t, int64_t g, int count, float* padding) {
    return map_rows(a.C + b * a.C_batch + t * a.C_time + g * a.C_group, a.C_time, a.states, count, padding);
}

// delta + bias, through softplus; `slope` receives the derivative where given.
static void step_sizes(const ScanArgs& a, const Block& block, float* delta, float* slope, int count) {
    for (int i = 0; i < count * WIDTH; i += LANES) {
        const vf raw = load(delta + i) + load(block.bias + i % WIDTH);
        store(delta + i, a.softplus ? softplus(raw) : raw);
        if (slope) store(slope + i, a.softplus ? sigmoid(raw) : splat(1.0f));
    }
}

// y += C h over a chunk, h updated in place: UNROLL states at a time, their states and decay rates in registers.
template <bool RESETS>
static void advance(const float* A, float* states, Rows B, Rows C, const float* delta, const float* input, float* y,
                    const uint8_t* resets, int count, int rows) {
    for (int n = 0; n < rows; n += UNROLL) {
        vf h[UNROLL][VECTORS], rate[UNROLL][VECTORS];
        for (int s = 0; s < UNROLL; s++)
            for (int v = 0; v < VECTORS; v++) {
                h[s][v] = load(states + (n + s) * WIDTH + v * LANES);
                rate[s][v] = load(A + (n + s) * WIDTH + v * LANES);
            }
        for (int t = 0; t < count; t++) {
            const float *b = B.data + t * B.stride + n, *c = C.data + t * C.stride + n;
            for (int v = 0; v < VECTORS; v++) {
                const int at = t * WIDTH + v * LANES;
                const vf d = load(delta + at), x = load(input + at);
                vf out = load(y + at);
                for (int s = 0; s < UNROLL; s++) {
                    if (RESETS && resets[t]) h[s][v] = splat(0.0f);
                    h[s][v] = exp2(d * rate[s][v]) * h[s][v] + x * b[s];
                    out = h[s][v] * c[s] + out;
                }
                store(y + at, out);
            }
        }
        for (int s = 0; s < UNROLL; s++)
            for (int v = 0; v < VECTORS; v++) store(states + (n + s) * WIDTH + v * LANES, h[s][v]);
    }
}

// All of time for one block of one item.
static void forward_block(const ScanArgs& a, int64_t b, int64_t g, int64_t index, float* scratch) {
    const Block block = make_block(a, g, index);
    const int rows = padded(a.states);
    float *A = scratch, *h = A + rows * WIDTH, *pads = h + rows * WIDTH;
    float *u = pads + 2 * STEPS * rows, *delta = u + STEPS * WIDTH, *input = delta + STEPS * WIDTH, *y = input + STEPS * WIDTH;
    const int64_t states = a.states * a.channels, end = valid_steps(a, b);
    copy_states(A, a.A, a, block);
    copy_states(h, a.init ? a.init + b * states : nullptr, a, block);
    for (int64_t t = 0, chunk = 0; t < end; t += STEPS, chunk++) {
        const int count = (int)(end - t < STEPS ? end - t : STEPS);
        if (a.saved) write_states(a.saved + (b * a.chunks + chunk) * states, h, a, block);
        load_tile(u, a.u, b, t, count, block.channel, block.width);
        load_tile(delta, a.delta, b, t, count, block.channel, block.width);
        step_sizes(a, block, delta, nullptr, count);
        for (int i = 0; i < count * WIDTH; i += LANES) {
            store(input + i, load(delta + i) * load(u + i));
            store(y + i, load(u + i) * load(block.skip + i % WIDTH));
        }
        const Rows B = B_rows(a, b, t, g, count, pads), C = C_rows(a, b, t, g, count, pads + STEPS * rows);
        if (a.resets) advance<true>(A, h, B, C, delta, input, y, a.resets + b * a.steps + t, count, rows);
        else advance<false>(A, h, B, C, delta, input, y, nullptr, count, rows);
        if (a.z.data) {
            load_tile(u, a.z, b, t, count, block.channel, block.width);
            for (int i = 0; i < count * WIDTH; i += LANES) store(y + i, load(y + i) * load(u + i) * sigmoid(load(u + i)));
        }
        store_tile(y, a.out, b, t, count, block.channel, block.width);
    }
    clear_steps(a.out, b, end, a.steps, block.channel, block.width);
    write_states(a.last + b * states, h, a, block);
}

static void forward_worker(void* p) {
    Queue& queue = *(Queue*)p;
    const ScanArgs& a = *(const ScanArgs*)queue.args;
    const FlushDenormals flush;
    const int rows = padded(a.states);
    Memory scratch(2 * rows * WIDTH + 2 * STEPS * rows + 4 * STEPS * WIDTH);
    const int64_t per_group = (a.channels / a.groups + WIDTH - 1) / WIDTH;
    for (int64_t i = queue.draw(); i < queue.count; i = queue.draw())
        forward_block(a, i / (a.groups * per_group), i / per_group % a.groups, i % per_group, scratch.floats);
}

static void scan_forward(const ScanArgs* a) {
    const int64_t per_group = (a->channels / a->groups + WIDTH - 1) / WIDTH;
    Queue queue{a, a->batch * a->groups * per_group};
    run_parallel<forward_worker>(&queue, a->threads, a->runtime);
}

}  // namespace
