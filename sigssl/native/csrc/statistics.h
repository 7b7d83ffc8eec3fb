// Sums over an utterance: its energy, and the mean and variance of its frames. Each is taken by one thread in a fixed order, so
// that results depend neither on the number of threads nor on the other items.
#pragma once
#include <math.h>

#include "parallel.h"
#include "simd.h"

namespace {

typedef double vd __attribute__((vector_size(LANES * 8), aligned(8), may_alias));

// Mirrored field by field in features/cpp.py.
struct EnergyArgs {
    int64_t batch, parts, item_stride, sample_stride, threads;
    const float* signals;
    const int64_t* lengths;  // [batch]
    double* sums;            // [batch][parts]: squares of each stretch of PART samples
    ParallelRuntime runtime;
};

constexpr int64_t PART = 1 << 15;

static double sum_of_squares(const float* x, int64_t count, int64_t stride) {
    vf sums[4] = {};
    double rest = 0.0;
    int64_t i = 0;
    if (stride == 1)
        for (; i + 4 * LANES <= count; i += 4 * LANES)
            for (int k = 0; k < 4; k++) {
                const vf v = load(x + i + k * LANES);
                sums[k] += v * v;
            }
    for (; i < count; i++) rest += (double)x[i * stride] * x[i * stride];
    return (double)sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

static void energy_worker(void* p) {
    Queue& queue = *(Queue*)p;
    const EnergyArgs& a = *(const EnergyArgs*)queue.args;
    for (int64_t i = queue.draw(); i < queue.count; i = queue.draw()) {
        const int64_t b = i / a.parts, from = i % a.parts * PART, left = a.lengths[b] - from;
        const float* x = a.signals + b * a.item_stride + from * a.sample_stride;
        a.sums[i] = left > 0 ? sum_of_squares(x, left < PART ? left : PART, a.sample_stride) : 0.0;
    }
}

static void signal_energy(const EnergyArgs* a) {
    Queue queue{a, a->batch * a->parts};
    run_parallel<energy_worker>(&queue, a->threads, a->runtime);
}

// Mirrored field by field in features/cpp.py.
struct NormaliseArgs {
    int64_t batch, frames, width, variance, threads;
    const int64_t* lengths;  // [batch]
    float* data;             // [batch][frames][width], in place
    ParallelRuntime runtime;
};

constexpr int64_t BLOCK = 128;  // rows that are summed in single precision

INLINE vf load_some(const float* p, int count) {
    if (count == LANES) return load(p);
#if LANES == 16
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#else
    vf x = splat(0.0f);
    for (int k = 0; k < count; k++) x[k] = p[k];
    return x;
#endif
}

INLINE void store_some(float* p, vf x, int count) {
    if (count == LANES) return store(p, x);
#if LANES == 16
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)x);
#else
    for (int k = 0; k < count; k++) p[k] = x[k];
#endif
}

// Sum over rows of x - mean, or of its square, for `count` columns.
template <bool squared> INLINE vd column_sums(const float* x, int64_t rows, int64_t width, int count, vf mean) {
    vd total = {};
    for (int64_t from = 0; from < rows; from += BLOCK) {
        const int64_t to = from + BLOCK < rows ? from + BLOCK : rows;
        vf sums[4] = {};
        for (int64_t t = from; t < to; t++) {
            const vf d = load_some(x + t * width, count) - mean;
            sums[t & 3] += squared ? d * d : d;
        }
        total += __builtin_convertvector((sums[0] + sums[1]) + (sums[2] + sums[3]), vd);
    }
    return total;
}

// Columns [0, count) of one item; a column that is constant to rounding becomes 0.
static void normalise_columns(float* x, int64_t rows, int64_t width, int count, bool variance) {
    const vf mean = __builtin_convertvector(column_sums<false>(x, rows, width, count, splat(0.0f)) / (double)rows, vf);
    vf scale = splat(1.0f);
    if (variance) {
        const vd squares = column_sums<true>(x, rows, width, count, mean);
        for (int k = 0; k < LANES; k++) {
            const float std = sqrtf((float)(squares[k] / (double)(rows > 1 ? rows - 1 : 1)));
            scale[k] = std > 4 * 1.1920928955078125e-07f * fabsf(mean[k]) ? 1 / (std + 1e-10f) : 0.0f;
        }
    }
    for (int64_t t = 0; t < rows; t++) store_some(x + t * width, (load_some(x + t * width, count) - mean) * scale, count);
}

static void normalise_worker(void* p) {
    Queue& queue = *(Queue*)p;
    const NormaliseArgs& a = *(const NormaliseArgs*)queue.args;
    const int64_t blocks = queue.count / a.batch;  // 1, or as many as there are vectors of columns
    for (int64_t i = queue.draw(); i < queue.count; i = queue.draw()) {
        const int64_t b = i / blocks, rows = a.lengths[b];
        const int64_t from = blocks > 1 ? i % blocks * LANES : 0, to = blocks > 1 && from + LANES < a.width ? from + LANES : a.width;
        for (int64_t c = from; c < to && rows; c += LANES)
            normalise_columns(a.data + b * a.frames * a.width + c, rows, a.width, to - c < LANES ? (int)(to - c) : LANES, a.variance);
    }
}

static void normalise(const NormaliseArgs* a) {
    const int64_t blocks = a->threads > 1 && a->batch < 2 * a->threads ? (a->width + LANES - 1) / LANES : 1;
    Queue queue{a, a->batch * blocks};
    run_parallel<normalise_worker>(&queue, a->threads, a->runtime);
}

}  // namespace
