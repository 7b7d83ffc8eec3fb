// Vectors of LANES floats through the compilers' vector extensions, exp2, sigmoid, softplus, and tiles of any layout and type.
// Everything has internal linkage: this header is compiled once per instruction set, and nothing may be merged across them.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int VECTORS = 2;                // vectors side by side: hides the latency of the recurrence
constexpr int WIDTH = VECTORS * LANES;    // channels of a block
constexpr int STEPS = 64;                 // time steps of a chunk

typedef float vf __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

enum Type { FLOAT32 = 0, BFLOAT16 = 1 };

// [batch, time, channel] with strides in elements.
struct View {
    char* data;
    int64_t batch, time, lane;
    int64_t type;
};

INLINE vf splat(float x) { return vf{} + x; }
INLINE vf load(const float* p) { return *(const vf*)p; }
INLINE void store(float* p, vf x) { *(vf*)p = x; }
INLINE vf select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
INLINE vf maximum(vf a, vf b) { return select(a > b, a, b); }

INLINE float sum(vf x) {
    float s[LANES];
    store(s, x);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) s[i] += s[i + width];
    return s[0];
}

// 2^x to about 1 ulp: 2^n (1 + f q(f)) with n the nearest integer, exact at x = 0 so that slow decays keep no systematic error.
INLINE vf exp2(vf x) {
#if LANES == 16
    const vf n = (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vf f = x - n;
#else
    x = select(x < -126.0f, splat(-126.0f), select(x > 128.0f, splat(128.0f), x));
    const vf shifted = x + 12582912.0f;  // 1.5 * 2^23: the integer part ends up in the low bits
    const vf f = x - (shifted - 12582912.0f);
#endif
    vf p = splat(1.3264726899e-03f);
    p = p * f + 9.6715126606e-03f;
    p = p * f + 5.5507337442e-02f;
    p = p * f + 2.4022242085e-01f;
    p = p * f + 6.9314697760e-01f;
    p = p * f + 1.0f;
#if LANES == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return (vf)((vi)p + ((vi)shifted << 23));
#endif
}

constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

INLINE vf negative_exp(vf x) {  // exp(-|x|)
    return exp2((vf)((vi)x | INT32_MIN) * LOG2E);
}

INLINE vf sigmoid(vf x) {
    const vf e = negative_exp(x);
    return select(x < 0.0f, e, splat(1.0f)) / (1.0f + e);
}

// log(1 + exp(x)) = max(x, 0) + 2 atanh(e / (2 + e)), e = exp(-|x|); relative precision is kept for very negative x.
INLINE vf softplus(vf x) {
    const vf e = negative_exp(x);
    const vf s = e / (2.0f + e), w = s * s;
    vf p = splat(1.0f / 13);
    p = p * w + 1.0f / 11;
    p = p * w + 1.0f / 9;
    p = p * w + 1.0f / 7;
    p = p * w + 1.0f / 5;
    p = p * w + 1.0f / 3;
    p = p * w + 1.0f;
    return maximum(x, splat(0.0f)) + 2.0f * s * p;
}

INLINE vf widen(const uint16_t* p) { return (vf)(__builtin_convertvector(*(const vh*)p, vu) << 16); }

INLINE void narrow(uint16_t* p, vf x) {  // to the nearest, ties to even; NaN stays NaN
    const vu bits = (vu)x;
    const vu rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const vu nan = (vu)(x != x);
    *(vh*)p = __builtin_convertvector((nan & 0x7fc0) | (~nan & rounded), vh);
}

INLINE float widen1(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, 4);
    return x;
}

INLINE uint16_t narrow1(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE float get(const View& v, int64_t at) { return v.type == FLOAT32 ? ((const float*)v.data)[at] : widen1(((const uint16_t*)v.data)[at]); }

INLINE void put(const View& v, int64_t at, float x) {
    if (v.type == FLOAT32) ((float*)v.data)[at] = x;
    else ((uint16_t*)v.data)[at] = narrow1(x);
}

template <int... I> struct Sequence {};
template <int N, int... I> struct Count : Count<N - 1, N - 1, I...> {};
template <int... I> struct Count<0, I...> { typedef Sequence<I...> type; };

template <int d, int... I> INLINE void swap_pair(vf& a, vf& b, Sequence<I...>) {
#ifdef __clang__
    const vf low = __builtin_shufflevector(a, b, (I & d ? LANES + (I ^ d) : I)...);
    const vf high = __builtin_shufflevector(a, b, (I & d ? LANES + I : I ^ d)...);
#else
    const vf low = __builtin_shuffle(a, b, vi{(I & d ? LANES + (I ^ d) : I)...});
    const vf high = __builtin_shuffle(a, b, vi{(I & d ? LANES + I : I ^ d)...});
#endif
    a = low;
    b = high;
}

template <int d> struct Stage {
    INLINE void run(vf* r) {
        for (int i = 0; i < LANES; i++)
            if (!(i & d)) swap_pair<d>(r[i], r[i + d], typename Count<LANES>::type());
        Stage<d / 2>::run(r);
    }
};
template <> struct Stage<0> {
    INLINE void run(vf*) {}
};

// Tile [STEPS][WIDTH] <- steps [t, t + count) and channels [c, c + width) of item b; missing channels become zero.
static void load_tile(float* tile, const View& v, int64_t b, int64_t t, int count, int64_t c, int width) {
    const int64_t base = b * v.batch + t * v.time + c * v.lane;
    if (v.lane == 1 && width == WIDTH) {
        for (int i = 0; i < count; i++)
            for (int k = 0; k < WIDTH; k += LANES) {
                const int64_t at = base + i * v.time + k;
                store(tile + i * WIDTH + k, v.type == FLOAT32 ? load((const float*)v.data + at) : widen((const uint16_t*)v.data + at));
            }
        return;
    }
    int done = 0;
    if (v.time == 1 && width == WIDTH)
        for (; done + LANES <= count; done += LANES)
            for (int k = 0; k < WIDTH; k += LANES) {
                vf r[LANES];
                for (int i = 0; i < LANES; i++) {
                    const int64_t at = base + done + (k + i) * v.lane;
                    r[i] = v.type == FLOAT32 ? load((const float*)v.data + at) : widen((const uint16_t*)v.data + at);
                }
                Stage<LANES / 2>::run(r);
                for (int i = 0; i < LANES; i++) store(tile + (done + i) * WIDTH + k, r[i]);
            }
    for (int i = done; i < count; i++)
        for (int k = 0; k < WIDTH; k++) tile[i * WIDTH + k] = k < width ? get(v, base + i * v.time + k * v.lane) : 0.0f;
}

// The inverse of load_tile; missing channels are not written.
static void store_tile(const float* tile, const View& v, int64_t b, int64_t t, int count, int64_t c, int width) {
    const int64_t base = b * v.batch + t * v.time + c * v.lane;
    if (v.lane == 1 && width == WIDTH) {
        for (int i = 0; i < count; i++)
            for (int k = 0; k < WIDTH; k += LANES) {
                const int64_t at = base + i * v.time + k;
                const vf x = load(tile + i * WIDTH + k);
                if (v.type == FLOAT32) store((float*)v.data + at, x);
                else narrow((uint16_t*)v.data + at, x);
            }
        return;
    }
    int done = 0;
    if (v.time == 1 && width == WIDTH)
        for (; done + LANES <= count; done += LANES)
            for (int k = 0; k < WIDTH; k += LANES) {
                vf r[LANES];
                for (int i = 0; i < LANES; i++) r[i] = load(tile + (done + i) * WIDTH + k);
                Stage<LANES / 2>::run(r);
                for (int i = 0; i < LANES; i++) {
                    const int64_t at = base + done + (k + i) * v.lane;
                    if (v.type == FLOAT32) store((float*)v.data + at, r[i]);
                    else narrow((uint16_t*)v.data + at, r[i]);
                }
            }
    for (int i = done; i < count; i++)
        for (int k = 0; k < width; k++) put(v, base + i * v.time + k * v.lane, tile[i * WIDTH + k]);
}

// Steps [from, to) of a block set to zero: what lies behind an item's length.
static void clear_steps(const View& v, int64_t b, int64_t from, int64_t to, int64_t c, int width) {
    if (!v.data) return;
    for (int64_t t = from; t < to; t++)
        for (int k = 0; k < width; k++) put(v, b * v.batch + t * v.time + (c + k) * v.lane, 0.0f);
}

// Denormals to zero while a kernel runs: decaying states would crawl through them on silence.
struct FlushDenormals {
#if defined(__SSE__)
    unsigned saved = _mm_getcsr();
    FlushDenormals() { _mm_setcsr(saved | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(saved); }
#endif
};

}  // namespace
