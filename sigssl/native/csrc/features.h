// Waveform to log filter energies or cepstra in one pass: LANES frames at once, of whatever items, from framing to the logarithm.
#pragma once
#include <math.h>

#include "fft.h"
#include "memory.h"
#include "parallel.h"

namespace {

enum Energy { NO_ENERGY = 0, RAW_ENERGY = 1, WINDOWED_ENERGY = 2 };

// Mirrored field by field in features/cpp.py. A null pointer means absent.
struct FrameArgs {
    int64_t batch, frames, width;                  // of the output
    int64_t item_stride, sample_stride;            // of the signals, in samples
    int64_t window, hop, left, repeat_edge;        // framing; `left` samples are reflected before the signal
    int64_t kaldi, remove_dc, energy, energy_at;   // whether frames are shaped as Kaldi does; what the energy is taken of; its column
    int64_t filters, cepstra, first;               // outputs before the cosines, or bins; after them, or 0; column of the first
    int64_t magnitude, logarithm, add_floor;       // add the floor, or take it for the least value
    int64_t threads;
    Transform fft;
    const float* signals;
    const int64_t *lengths, *starts;               // [batch] samples; [batch + 1] frames of all the items before
    const float *gains, *taper;                    // [batch]; [window], half of it for an even transform
    const int64_t *filter_first, *filter_count;    // [filters] bins
    const float *weights, *cosines;                // the filters' weights end to end; [filters][cepstra]
    float preemphasis, floor, energy_scale, energy_floor;
    float* out;                                    // [batch][frames][width]
    ParallelRuntime runtime;
};

constexpr int64_t GROUPS = 8;  // of LANES frames that a thread takes at a time

INLINE int64_t whole_vectors(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// Natural logarithm within 1 ulp of normal x: x = 2^e (1 + f), f about 0, and log(1 + f) = f - s (f - r(s^2)), s = f / (2 + f).
INLINE vf logarithm(vf x) {
    const vi shift = ((vi)x - 0x3f3504f3) & (vi)(vu{} + 0xff800000u);  // to 1 + f in [sqrt(1/2), sqrt(2))
    const vf e = __builtin_convertvector(shift >> 23, vf), f = (vf)((vi)x - shift) - 1.0f;
    const vf s = f / (2.0f + f), w = s * s;
    vf r = splat(2.0f / 11);
    r = r * w + 2.0f / 9;
    r = r * w + 2.0f / 7;
    r = r * w + 2.0f / 5;
    r = r * w + 2.0f / 3;
    const vf y = e * 0.693145752f + (f - (s * (f - w * r) - e * 1.42860677e-06f));  // ln 2 in two parts
    const vf special = select(x == 0.0f, splat(-INFINITY), x);  // infinite and NaN stay what they are
    return select((x > 0.0f) & (x < INFINITY), y, special);
}

// Where sample `at` of the extended signal lies in a signal of n samples.
static int64_t reflected(int64_t at, int64_t n, bool repeat_edge) {
    if (at >= 0 && at < n) return at;
    const int64_t period = repeat_edge ? 2 * n : n > 1 ? 2 * n - 2 : 1;
    const int64_t inside = ((at % period) + period) % period, mirrored = (repeat_edge ? period - 1 : period) - inside;
    return inside < mirrored ? inside : mirrored;
}

// The frames of a group: where each lane's samples are read from and where its features go.
struct Group {
    int count = 0;
    const float* from[LANES];
    float* to[LANES];
    float gain[LANES];
};

// Take frame `t` of item `b` in; one that the signal does not hold whole, up to a multiple of LANES, is copied to `edge` [LANES][.].
static void take_frame(const FrameArgs& a, Group& g, int64_t b, int64_t t, float* edge) {
    const int lane = g.count++;
    const float* signal = a.signals + b * a.item_stride;
    const int64_t begin = t * a.hop - a.left, length = a.lengths[b], room = whole_vectors(a.window);
    g.from[lane] = signal + begin;
    g.to[lane] = a.out + (b * a.frames + t) * a.width;
    g.gain[lane] = a.gains ? a.gains[b] : 1.0f;
    if (begin >= 0 && begin + room <= length && a.sample_stride == 1) return;
    float* copy = edge + lane * room;
    for (int64_t i = 0; i < a.window; i++) copy[i] = signal[reflected(begin + i, length, a.repeat_edge) * a.sample_stride];
    g.from[lane] = copy;
}

// Samples of a group, times gain and, where nothing comes between, window, to rows; returns their sum.
static vf load_frames(const FrameArgs& a, const Group& g, float* rows, int64_t step) {
    const vf gain = load(g.gain);
    vf sums[4] = {};
    for (int64_t i = 0; i < a.window; i += LANES) {
        vf r[LANES];
        for (int l = 0; l < LANES; l++) r[l] = load(g.from[l] + i);
        Stage<LANES / 2>::run(r);
        const int64_t count = a.window - i < LANES ? a.window - i : LANES;
        float* to = rows + i * step * LANES;
        if (a.kaldi) {
            for (int64_t k = 0; k < count; k++) {
                store(to + k * step * LANES, r[k] * gain);
                sums[k & 3] += r[k] * gain;
            }
        } else {
            for (int64_t k = 0; k < count; k++) store(to + k * step * LANES, r[k] * gain * a.taper[i + k]);
        }
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Kaldi's shaping in place: subtract the mean, pre-emphasise with d[-1] = d[0], window. Returns the energy, if it is asked for.
static vf shape_frames(const FrameArgs& a, float* rows, int64_t step, vf total) {
    const vf mean = a.remove_dc ? total / (float)a.window : splat(0.0f);
    vf raw = splat(0.0f), windowed = splat(0.0f), before = load(rows) - mean;
    for (int64_t i = 0; i < a.window; i++) {
        float* row = rows + i * step * LANES;
        const vf d = load(row) - mean, y = (d - before * a.preemphasis) * a.taper[i];
        store(row, y);
        raw += d * d;
        windowed += y * y;
        before = d;
    }
    return a.energy == RAW_ENERGY ? raw : windowed;
}

INLINE vf floored(const FrameArgs& a, vf x) { return a.add_floor ? x + a.floor : select(x < a.floor, splat(a.floor), x); }

// Energies of the filters, or the bins themselves, with the logarithm if there is one: rows of `made`.
static void filter_energies(const FrameArgs& a, const float* rows, float* made) {
    const float* weights = a.weights;
    for (int64_t m = 0; m < a.filters; m++) {
        vf x;
        if (weights) {
            const int64_t *at = a.fft.at + a.filter_first[m], count = a.filter_count[m];
            x = splat(0.0f);
            for (int64_t k = 0; k < count; k++) x += load(rows + at[k] * LANES) * weights[k];
            weights += count;
        } else {
            x = load(rows + a.fft.at[m] * LANES);
        }
        store(made + m * LANES, a.logarithm ? logarithm(floored(a, x)) : x);
    }
}

static void cosine_transform(const FrameArgs& a, const float* energies, float* made) {
    for (int64_t c = 0; c < a.cepstra; c++) {
        vf x = splat(0.0f);
        for (int64_t m = 0; m < a.filters; m++) x += load(energies + m * LANES) * a.cosines[m * a.cepstra + c];
        store(made + c * LANES, x);
    }
}

// Rows of features to one row of each lane's frame.
static void store_frames(const FrameArgs& a, const Group& g, const float* rows) {
    for (int64_t k = 0; k < a.width; k += LANES) {
        vf r[LANES];
        for (int i = 0; i < LANES; i++) r[i] = load(rows + (k + i) * LANES);
        Stage<LANES / 2>::run(r);
        if (a.width - k >= LANES)
            for (int l = 0; l < g.count; l++) store(g.to[l] + k, r[l]);
        else
            for (int l = 0; l < g.count; l++) memcpy(g.to[l] + k, &r[l], (a.width - k) * 4);
    }
}

struct FrameScratch {
    float *rows, *edge, *energies, *made;
};

static void group_features(const FrameArgs& a, Group& g, const FrameScratch& s) {
    for (int l = g.count; l < LANES; l++) g.from[l] = g.from[0], g.gain[l] = g.gain[0];
    const bool odd = a.fft.points == a.fft.size;
    const int64_t step = odd ? 2 : 1, used = a.window * step;
    if (odd) memset(s.rows, 0, used * LANES * 4);  // imaginary parts
    memset(s.rows + used * LANES, 0, (2 * a.fft.points - used) * LANES * 4);
    vf energy = load_frames(a, g, s.rows, step);
    if (a.kaldi) energy = shape_frames(a, s.rows, step, energy);
    power_spectrum(s.rows, a.fft);
    if (a.magnitude)
        for (int64_t k = 0; k <= a.fft.size / 2; k++)
            for (int l = 0; l < LANES; l++) s.rows[a.fft.at[k] * LANES + l] = sqrtf(s.rows[a.fft.at[k] * LANES + l]);
    filter_energies(a, s.rows, a.cepstra ? s.energies : s.made + a.first * LANES);
    if (a.cepstra) cosine_transform(a, s.energies, s.made + a.first * LANES);
    if (a.energy) {
        const vf scaled = energy * a.energy_scale, least = splat(1.1920928955078125e-07f);
        const vf x = logarithm(select(scaled < least, least, scaled)), low = splat(a.energy_floor);
        store(s.made + a.energy_at * LANES, select(x < low, low, x));
    }
    store_frames(a, g, s.made);
}

// Frames [from, to) of all the items end to end.
static void frame_range(const FrameArgs& a, int64_t from, int64_t to, const FrameScratch& s) {
    int64_t b = 0;
    for (int64_t high = a.batch; high - b > 1;) {
        const int64_t middle = (b + high) / 2;
        if (a.starts[middle] <= from) b = middle;
        else high = middle;
    }
    for (int64_t frame = from; frame < to;) {
        Group g;
        for (; g.count < LANES && frame < to; frame++) {
            while (frame >= a.starts[b + 1]) b++;
            take_frame(a, g, b, frame - a.starts[b], s.edge);
        }
        group_features(a, g, s);
    }
}

// The first items of the queue are ranges of frames, the others clear what lies behind an item's frames.
static void frame_worker(void* p) {
    Queue& queue = *(Queue*)p;
    const FrameArgs& a = *(const FrameArgs*)queue.args;
    const FlushDenormals flush;
    const int64_t total = a.starts[a.batch], range = GROUPS * LANES, ranges = (total + range - 1) / range;
    const int64_t rows = 2 * a.fft.points, edge = whole_vectors(a.window), energies = whole_vectors(a.filters + 1), made = whole_vectors(a.width);
    Memory memory((rows + edge + energies + made) * LANES);
    Cursor cursor{memory.floats};
    const FrameScratch scratch = {cursor.take(rows * LANES), cursor.take(edge * LANES), cursor.take(energies * LANES), cursor.take(made * LANES)};
    memset(memory.floats, 0, (rows + edge + energies + made) * LANES * 4);
    for (int64_t i = queue.draw(); i < queue.count; i = queue.draw()) {
        if (i < ranges) {
            frame_range(a, i * range, total < (i + 1) * range ? total : (i + 1) * range, scratch);
        } else {
            const int64_t b = i - ranges, count = a.starts[b + 1] - a.starts[b];
            memset(a.out + (b * a.frames + count) * a.width, 0, (a.frames - count) * a.width * 4);
        }
    }
}

static void frame_features(const FrameArgs* a) {
    const int64_t range = GROUPS * LANES;
    Queue queue{a, (a->starts[a->batch] + range - 1) / range + a->batch};
    run_parallel<frame_worker>(&queue, a->threads, a->runtime);
}

}  // namespace
