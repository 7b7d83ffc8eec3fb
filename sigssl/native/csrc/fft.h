// Real Fourier transforms of LANES frames at once: row i of a block holds sample i of every frame.
#pragma once
#include "simd.h"

namespace {

// A transform of n = 2^a 3^b 5^c samples, mirrored field by field in features/cpp.py. An even one is a complex transform of half
// the length, then split; an odd one a complex transform of its own length. Its bins end where the digits of the mixed radix put
// them: nothing is reordered, everything else goes through `at`.
struct Transform {
    int64_t size, points, stages;  // real samples; complex points; factors of `points`
    const int64_t* radices;        // [stages], the widest butterflies first
    const float* twiddles;         // stage by stage: [points of a sub-transform][radix - 1][cos, sin]
    const float* split;            // even: [points / 2 + 1][cos, sin] of -2 pi k / size
    const int64_t* at;             // [size / 2 + 1]: the row where each bin's power ends
};

struct Complex {
    vf re, im;
};
INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
INLINE Complex operator*(Complex a, float s) { return {a.re * s, a.im * s}; }
INLINE Complex turned(Complex a) { return {a.im, -a.re}; }  // times -i
INLINE Complex times(Complex a, float c, float s) { return {a.re * c - a.im * s, a.re * s + a.im * c}; }
INLINE Complex get2(const float* rows, int64_t point) { return {load(rows + 2 * point * LANES), load(rows + (2 * point + 1) * LANES)}; }
INLINE void put2(float* rows, int64_t point, Complex x) {
    store(rows + 2 * point * LANES, x.re);
    store(rows + (2 * point + 1) * LANES, x.im);
}

INLINE void fourier2(Complex& a, Complex& b) {
    const Complex d = a - b;
    a = a + b;
    b = d;
}

INLINE void fourier4(Complex& a, Complex& b, Complex& c, Complex& d) {
    fourier2(a, c);
    fourier2(b, d);
    const Complex t = turned(d);
    d = c - t;
    c = c + t;
    fourier2(a, b);
    const Complex second = b;  // outputs in order: a, c + t, a - b, c - t
    b = c;
    c = second;
}

template <int R> struct Radix {};
INLINE void fourier(Radix<2>, Complex* x) { fourier2(x[0], x[1]); }
INLINE void fourier(Radix<4>, Complex* x) { fourier4(x[0], x[1], x[2], x[3]); }

INLINE void fourier(Radix<3>, Complex* x) {
    const Complex t = x[1] + x[2], s = turned(x[1] - x[2]) * 0.8660254037844386f;
    const Complex m = x[0] - t * 0.5f;
    x[0] = x[0] + t;
    x[1] = m + s;
    x[2] = m - s;
}

INLINE void fourier(Radix<5>, Complex* x) {
    constexpr float C1 = 0.30901699437494742f, C2 = -0.80901699437494742f, S1 = 0.95105651629515357f, S2 = 0.58778525229247313f;
    const Complex t1 = x[1] + x[4], t2 = x[2] + x[3], d1 = turned(x[1] - x[4]), d2 = turned(x[2] - x[3]);
    const Complex m1 = x[0] + t1 * C1 + t2 * C2, m2 = x[0] + t1 * C2 + t2 * C1;
    const Complex s1 = d1 * S1 + d2 * S2, s2 = d1 * S2 - d2 * S1;
    x[0] = x[0] + t1 + t2;
    x[1] = m1 + s1;
    x[2] = m2 + s2;
    x[3] = m2 - s2;
    x[4] = m1 - s1;
}

INLINE void fourier(Radix<8>, Complex* x) {
    constexpr float H = 0.70710678118654752f;
    Complex e[4] = {x[0], x[2], x[4], x[6]}, o[4] = {x[1], x[3], x[5], x[7]};
    fourier(Radix<4>(), e);
    fourier(Radix<4>(), o);
    o[1] = Complex{o[1].re + o[1].im, o[1].im - o[1].re} * H;
    o[2] = turned(o[2]);
    o[3] = Complex{o[3].im - o[3].re, -o[3].re - o[3].im} * H;
    for (int i = 0; i < 4; i++) {
        x[i] = e[i] + o[i];
        x[i + 4] = e[i] - o[i];
    }
}

// One stage, decimation in frequency, in place: butterflies of R points `stride` apart in each block of R * stride.
template <int R> static void stage(float* rows, int64_t points, int64_t stride, const float* twiddles) {
    for (int64_t block = 0; block < points; block += R * stride) {
        const float* w = twiddles;
        for (int64_t j = block; j < block + stride; j++, w += 2 * (R - 1)) {
            Complex x[R];
#pragma GCC unroll 8
            for (int q = 0; q < R; q++) x[q] = get2(rows, j + q * stride);
            fourier(Radix<R>(), x);
            put2(rows, j, x[0]);
            if (stride == 1) {
#pragma GCC unroll 8
                for (int q = 1; q < R; q++) put2(rows, j + q, x[q]);
            } else {
#pragma GCC unroll 8
                for (int q = 1; q < R; q++) put2(rows, j + q * stride, times(x[q], w[2 * q - 2], w[2 * q - 1]));
            }
        }
    }
}

// Power of each bin into the real row of its point, from a complex transform of half the length; the last bin goes beside bin 0.
// The samples were halved beforehand (in the window), which is exact.
static void split_power(float* rows, const Transform& f) {
    for (int64_t k = 0; k <= f.points / 2; k++) {
        float* near = rows + f.at[k] * LANES;
        float* far = rows + f.at[k ? f.points - k : 0] * LANES;
        const vf a = load(near), b = load(near + LANES), c = load(far), d = load(far + LANES);
        const Complex even = {a + c, b - d}, odd = times(Complex{b + d, c - a}, f.split[2 * k], f.split[2 * k + 1]);
        const Complex x = even + odd, y = even - odd;
        store(rows + f.at[k] * LANES, x.re * x.re + x.im * x.im);
        store(rows + f.at[f.points - k] * LANES, y.re * y.re + y.im * y.im);
    }
}

// Rows of samples, `points` pairs of them, to the power of bin k in row at[k].
static void power_spectrum(float* rows, const Transform& f) {
    const float* twiddles = f.twiddles;
    int64_t stride = f.points;
    for (int64_t s = 0; s < f.stages; s++) {
        const int64_t radix = f.radices[s];
        stride /= radix;
        if (radix == 8) stage<8>(rows, f.points, stride, twiddles);
        else if (radix == 5) stage<5>(rows, f.points, stride, twiddles);
        else if (radix == 4) stage<4>(rows, f.points, stride, twiddles);
        else if (radix == 3) stage<3>(rows, f.points, stride, twiddles);
        else stage<2>(rows, f.points, stride, twiddles);
        twiddles += 2 * (radix - 1) * stride;
    }
    if (f.points != f.size) return split_power(rows, f);
    for (int64_t k = 0; k <= f.size / 2; k++) {
        const vf re = load(rows + f.at[k] * LANES), im = load(rows + (f.at[k] + 1) * LANES);
        store(rows + f.at[k] * LANES, re * re + im * im);
    }
}

}  // namespace
