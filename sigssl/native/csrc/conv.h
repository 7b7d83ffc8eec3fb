// Causal depthwise convolution and SiLU in one pass, channels dense, rows of all channels streamed in time order.
#pragma once
#include "parallel.h"
#include "simd.h"

namespace {

// Mirrored field by field in cpp.py.
struct ConvArgs {
    int64_t batch, steps, channels, taps, threads;
    View x, out, dout, dx;                 // channels dense
    const float *weight, *bias, *before;   // [taps][channels]; [channels]; [batch][taps - 1][channels] or null
    const int64_t* start;                  // [batch][steps], the step where each step's sequence begins; null: none is cut
    float *dparams, *dbefore;              // [batch * ranges][taps + 1][channels], the last row for the bias; like before
    ParallelRuntime runtime;
};

constexpr int64_t RANGE = 128;  // steps of one item that one thread takes at a time

INLINE vf fetch(const View& v, int64_t at) { return v.type == FLOAT32 ? load((const float*)v.data + at) : widen((const uint16_t*)v.data + at); }
INLINE void emit(const View& v, int64_t at, vf x) {
    if (v.type == FLOAT32) store((float*)v.data + at, x);
    else narrow((uint16_t*)v.data + at, x);
}

// Whether the tap that looks back from step t to step t - back may see it.
INLINE bool sees(const ConvArgs& a, int64_t b, int64_t t, int64_t back) {
    return !a.start || t - back >= a.start[b * a.steps + t];
}

// A step's row of inputs as floats, from x or from what came before it; zeros otherwise.
static void input_row(const ConvArgs& a, int64_t b, int64_t t, float* row) {
    if (t >= 0) {
        const int64_t base = b * a.x.batch + t * a.x.time;
        int64_t c = 0;
        for (; c + LANES <= a.channels; c += LANES) store(row + c, fetch(a.x, base + c));
        for (; c < a.channels; c++) row[c] = get(a.x, base + c);
    } else if (a.before) {
        memcpy(row, a.before + (b * (a.taps - 1) + t + a.taps - 1) * a.channels, a.channels * 4);
    } else {
        memset(row, 0, a.channels * 4);
    }
}

// The taps' rows for step t out of a ring of rows; a cut tap sees `zeros`.
INLINE void tap_rows(const ConvArgs& a, int64_t b, int64_t t, const float* ring, const float* zeros, const float** rows) {
    for (int64_t k = 0; k < a.taps; k++) {
        const int64_t back = a.taps - 1 - k;
        rows[k] = sees(a, b, t, back) ? ring + ((t - back + a.taps) % a.taps) * a.channels : zeros;
    }
}

template <int TAPS> INLINE vf convolve(const ConvArgs& a, const float* const* rows, int64_t c, int64_t stride) {
    const int taps = TAPS ? TAPS : (int)a.taps;
    vf s = a.bias ? load(a.bias + c) : splat(0.0f);
    for (int k = 0; k < taps; k++) s = load(a.weight + k * stride + c) * load(rows[k] + c) + s;
    return s;
}

INLINE float convolve1(const ConvArgs& a, const float* const* rows, int64_t c) {
    float s = a.bias ? a.bias[c] : 0.0f;
    for (int64_t k = 0; k < a.taps; k++) s += a.weight[k * a.channels + c] * rows[k][c];
    return s;
}

template <int TAPS> static void conv_forward_range(const ConvArgs& a, int64_t b, int64_t first, int64_t last, float* ring) {
    float* zeros = ring + a.taps * a.channels;
    const float* rows[64];
    memset(zeros, 0, a.channels * 4);
    for (int64_t t = first - a.taps + 1; t < first; t++) input_row(a, b, t, ring + ((t + a.taps) % a.taps) * a.channels);
    for (int64_t t = first; t < last; t++) {
        input_row(a, b, t, ring + (t % a.taps) * a.channels);
        tap_rows(a, b, t, ring, zeros, rows);
        const int64_t base = b * a.out.batch + t * a.out.time;
        int64_t c = 0;
        for (; c + LANES <= a.channels; c += LANES) {
            const vf s = convolve<TAPS>(a, rows, c, a.channels);
            emit(a.out, base + c, s * sigmoid(s));
        }
        for (; c < a.channels; c++) {
            const float s = convolve1(a, rows, c);
            put(a.out, base + c, s * sigmoid(splat(s))[0]);
        }
    }
}

// Gradients for the steps [first, last): the outputs that see them run to last + taps - 1, and are computed again here.
static void conv_backward_range(const ConvArgs& a, int64_t b, int64_t first, int64_t last, float* dparams, float* memory) {
    const int64_t taps = a.taps, width = a.channels, past = first ? first : 1 - taps;
    const int64_t end = last + taps - 1 < a.steps ? last + taps - 1 : a.steps;
    float *ring = memory, *zeros = ring + taps * width, *ds = zeros + width;  // ds: [last - first + taps - 1][channels]
    const float* rows[64];
    memset(zeros, 0, width * 4);
    memset(dparams, 0, (taps + 1) * width * 4);
    for (int64_t t = first - taps + 1; t < first; t++) input_row(a, b, t, ring + ((t + taps) % taps) * width);
    for (int64_t t = first; t < end; t++) {
        input_row(a, b, t, ring + (t % taps) * width);
        tap_rows(a, b, t, ring, zeros, rows);
        float* d = ds + (t - first) * width;
        const int64_t base = b * a.dout.batch + t * a.dout.time;
        for (int64_t c = 0; c < width; c += LANES) {
            if (c + LANES <= width) {
                const vf s = convolve<0>(a, rows, c, width), gate = sigmoid(s);
                store(d + c, fetch(a.dout, base + c) * gate * (1.0f + s * (1.0f - gate)));
                if (t >= last) continue;
                const vf own = load(d + c);
                for (int64_t k = 0; k < taps; k++) {
                    float* w = dparams + k * width + c;
                    store(w, own * load(rows[k] + c) + load(w));
                }
                float* bias = dparams + taps * width + c;
                store(bias, load(bias) + own);
                continue;
            }
            for (int64_t i = c; i < width; i++) {
                const float s = convolve1(a, rows, i), gate = sigmoid(splat(s))[0];
                d[i] = get(a.dout, base + i) * gate * (1.0f + s * (1.0f - gate));
                if (t >= last) continue;
                for (int64_t k = 0; k < taps; k++) dparams[k * width + i] += d[i] * rows[k][i];
                dparams[taps * width + i] += d[i];
            }
        }
    }
    for (int64_t t = past; t < last; t++) {
        float* row = ring;
        memset(row, 0, width * 4);
        for (int64_t back = 0; back < taps; back++) {
            const int64_t from = t + back;
            if (from < first || from >= end || !sees(a, b, from, back)) continue;
            const float *w = a.weight + (taps - 1 - back) * width, *d = ds + (from - first) * width;
            for (int64_t c = 0; c < width; c++) row[c] += w[c] * d[c];
        }
        if (t < 0) {
            if (a.dbefore) memcpy(a.dbefore + (b * (taps - 1) + t + taps - 1) * width, row, width * 4);
            continue;
        }
        const int64_t base = b * a.dx.batch + t * a.dx.time;
        int64_t c = 0;
        for (; c + LANES <= width; c += LANES) emit(a.dx, base + c, load(row + c));
        for (; c < width; c++) put(a.dx, base + c, row[c]);
    }
}

template <bool BACKWARD> static void conv_worker(void* p) {
    Queue& queue = *(Queue*)p;
    const ConvArgs& a = *(const ConvArgs*)queue.args;
    const FlushDenormals flush;
    const int64_t ranges = queue.count / a.batch, rows = a.taps + 1 + (BACKWARD ? RANGE + a.taps : 0);
    float* memory = (float*)aligned_alloc(64, (rows * a.channels * 4 + 127) / 64 * 64);
    for (int64_t i = queue.draw(); i < queue.count; i = queue.draw()) {
        const int64_t b = i / ranges, first = i % ranges * RANGE, last = first + RANGE < a.steps ? first + RANGE : a.steps;
        if (BACKWARD) conv_backward_range(a, b, first, last, a.dparams + i * (a.taps + 1) * a.channels, memory);
        else if (a.taps == 4) conv_forward_range<4>(a, b, first, last, memory);
        else conv_forward_range<0>(a, b, first, last, memory);
    }
    free(memory);
}

static void conv_forward(const ConvArgs* a) {
    Queue queue{a, a->batch * ((a->steps + RANGE - 1) / RANGE)};
    run_parallel<conv_worker<false>>(&queue, a->threads, a->runtime);
}

static void conv_backward(const ConvArgs* a) {
    Queue queue{a, a->batch * ((a->steps + RANGE - 1) / RANGE)};
    run_parallel<conv_worker<true>>(&queue, a->threads, a->runtime);
}

}  // namespace
