// What a worker computes in.
#pragma once
#include <stdint.h>
#include <stdlib.h>

namespace {

// Memory of a worker, 64-byte aligned, and a cursor that deals it out.
struct Memory {
    float* floats;
    explicit Memory(int64_t count) : floats((float*)aligned_alloc(64, (count * 4 + 63) / 64 * 64)) {}
    ~Memory() { free(floats); }
};
struct Cursor {
    float* next;
    float* take(int64_t count) {
        float* p = next;
        next += (count + 15) / 16 * 16;
        return p;
    }
};

}  // namespace
