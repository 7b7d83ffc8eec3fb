// Batch norm apart for each place, with what follows it: out = elu(norm(x) + shortcut). x is [places][items][length][channels], dense.
// One thread takes a place at a time, which stays in its cache from the sums to the outputs.
#pragma once
#include "conv.h"

namespace {

// Mirrored field by field in place_norm.py.
struct PlaceNormArgs {
    int64_t places, items, length, channels, type, elu, shortcut_length, threads;  // channels: a multiple of 16
    const char *x, *shortcut, *upper;                   // shortcut, null or [places][items][shortcut_length][channels]; upper: gradient of out
    char *out, *dx, *dshortcut;
    const float *weight, *bias;                // [channels]
    float *mean, *variance, *dweight, *dbias;  // [places][channels]; the variance of what is there, not the unbiased one
    double eps;
    ParallelRuntime runtime;
};

constexpr int64_t TOGETHER = 64;  // rows that are summed before the sum joins the total: keeps the error small

struct Strip {  // LANES channels of one tensor
    char* data;
    int64_t type, stride;
    static Strip of(const char* base, int64_t type, int64_t first, int64_t stride) { return {(char*)base + first * (type == FLOAT32 ? 4 : 2), type, stride}; }
    vf operator[](int64_t row) const {
        return type == FLOAT32 ? load((const float*)data + row * stride) : widen((const uint16_t*)data + row * stride);
    }
    void put(int64_t row, vf x) const {
        if (type == FLOAT32) store((float*)data + row * stride, x);
        else narrow((uint16_t*)data + row * stride, x);
    }
};

template <typename Term> INLINE vf total(int64_t rows, Term term) {
    vf all = splat(0.0f);
    for (int64_t r = 0; r < rows; r += TOGETHER) {
        const int64_t end = r + TOGETHER < rows ? r + TOGETHER : rows;
        vf some = splat(0.0f);
        for (int64_t i = r; i < end; i++) some += term(i);
        all += some;
    }
    return all;
}

INLINE vf inverse_root(vf x) {
    for (int i = 0; i < LANES; i++) x[i] = 1.0f / __builtin_sqrtf(x[i]);
    return x;
}

static void place_forward(const PlaceNormArgs& a, int64_t place, int64_t c) {
    const int64_t count = a.items * a.length, first = place * count * a.channels + c, at = place * a.channels + c;
    const Strip x = Strip::of(a.x, a.type, first, a.channels), out = Strip::of(a.out, a.type, first, a.channels);
    const vf mean = total(count, [&](int64_t r) { return x[r]; }) / (float)count;
    const vf variance = total(count, [&](int64_t r) { const vf d = x[r] - mean; return d * d; }) / (float)count;
    store(a.mean + at, mean);
    store(a.variance + at, variance);
    const vf scale = load(a.weight + c) * inverse_root(variance + (float)a.eps), bias = load(a.bias + c);
    for (int64_t i = 0; i < a.items; i++) {
        const Strip beside = Strip::of(a.shortcut, a.type, (place * a.items + i) * a.shortcut_length * a.channels + c, a.channels);
        for (int64_t t = 0; t < a.length; t++) {
            const int64_t r = i * a.length + t;
            vf y = (x[r] - mean) * scale + bias;
            if (a.shortcut) y += beside[t];
            out.put(r, a.elu ? select(y > 0.0f, y, negative_exp(y) - 1.0f) : y);
        }
    }
}

// The gradient before the ELU is upper (1 or 1 + out); it is the shortcut's own, and the norm's is d -> scale (d - mean d - z mean(d z)).
static void place_backward(const PlaceNormArgs& a, int64_t place, int64_t c) {
    const int64_t count = a.items * a.length, first = place * count * a.channels + c, at = place * a.channels + c;
    const Strip x = Strip::of(a.x, a.type, first, a.channels), out = Strip::of(a.out, a.type, first, a.channels);
    const Strip upper = Strip::of(a.upper, a.type, first, a.channels), dx = Strip::of(a.dx, a.type, first, a.channels);
    const vf mean = load(a.mean + at), spread = inverse_root(load(a.variance + at) + (float)a.eps);
    auto gradient = [&](int64_t r) {
        const vf d = upper[r];
        if (!a.elu) return d;
        const vf y = out[r];
        return select(y > 0.0f, d, d * (y + 1.0f));
    };
    vf along = splat(0.0f);
    const vf sum = total(count, [&](int64_t r) {
        const vf d = gradient(r);
        along += d * ((x[r] - mean) * spread);
        return d;
    });
    store(a.dweight + at, along);
    store(a.dbias + at, sum);
    const vf scale = load(a.weight + c) * spread, tilt = along * spread / (float)count, level = sum / (float)count;
    for (int64_t i = 0; i < a.items; i++) {
        const Strip beside = Strip::of(a.dshortcut, a.type, (place * a.items + i) * a.shortcut_length * a.channels + c, a.channels);
        for (int64_t t = 0; t < a.length; t++) {
            const int64_t r = i * a.length + t;
            const vf d = gradient(r);
            dx.put(r, (d - level - (x[r] - mean) * tilt) * scale);
            if (a.dshortcut) beside.put(t, d);
        }
        if (a.dshortcut)  // the end that was cut off
            for (int64_t t = a.length; t < a.shortcut_length; t++) beside.put(t, splat(0.0f));
    }
}

template <bool BACKWARD> static void place_worker(void* p) {
    Queue& queue = *(Queue*)p;
    const PlaceNormArgs& a = *(const PlaceNormArgs*)queue.args;
    for (int64_t place = queue.draw(); place < queue.count; place = queue.draw())
        for (int64_t c = 0; c < a.channels; c += LANES) BACKWARD ? place_backward(a, place, c) : place_forward(a, place, c);
}

static void place_norm_forward(const PlaceNormArgs* a) {
    Queue queue{a, a->places};
    run_parallel<place_worker<false>>(&queue, a->threads, a->runtime);
}

static void place_norm_backward(const PlaceNormArgs* a) {
    Queue queue{a, a->places};
    run_parallel<place_worker<true>>(&queue, a->threads, a->runtime);
}

}  // namespace
