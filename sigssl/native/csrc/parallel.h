// Work shared among threads: by the OpenMP runtime that torch already uses, handed over as a function pointer, else by threads of our own.
#pragma once
#include <pthread.h>
#include <stdint.h>

namespace {

typedef void (*Body)(void*);
typedef void (*ParallelRuntime)(Body, void*, unsigned, unsigned);  // GOMP_parallel, which libgomp, libomp and libiomp5 all have

// Items 0 .. count - 1 drawn by whichever thread is free. Results must not depend on who draws what.
struct Queue {
    const void* args;
    int64_t count;
    int64_t next = 0;
    int64_t draw() { return __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED); }
};

template <Body body> void* thread_main(void* p) {
    body(p);
    return nullptr;
}

template <Body body> void run_parallel(Queue* queue, int64_t threads, ParallelRuntime runtime) {
    if (threads > queue->count) threads = queue->count;
    if (threads <= 1) return body(queue);
    if (runtime) return runtime(body, queue, (unsigned)threads, 0);
    pthread_t others[255];
    int started = 0;
    while (started < threads - 1 && started < 255 && !pthread_create(&others[started], nullptr, thread_main<body>, queue)) started++;
    body(queue);
    for (int i = 0; i < started; i++) pthread_join(others[i], nullptr);
}

}  // namespace
