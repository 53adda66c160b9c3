/* Measure the limits of one core (multiply-adds, bytes updated in place, bytes read) and the latency
   between two cores. machine.py compiles this file for the processor it runs on. REAL is float or double. */
#ifndef REAL
#define REAL float
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define ACCUMULATORS 24
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define ACCUMULATORS 12
#else /* NEON has 32 registers, SSE 16 */
#define VECTOR_BYTES 16
#define ACCUMULATORS 12
#endif
#define BARRIER __asm__ volatile("" ::: "memory") /* keeps the compiler from merging the repeats */

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
enum { LANES = sizeof(vec) / sizeof(REAL) };

long vector_bytes(void) { return VECTOR_BYTES; }

/* Run multiply-adds and return their number of FLOPs. Independent accumulators hide the FMA latency. */
double multiply_adds(long repeats, REAL *out) {
    vec x[ACCUMULATORS], sum = {0}, a = sum + (REAL)0.5, b = sum + (REAL)1.0;
    for (int i = 0; i < ACCUMULATORS; i++) x[i] = sum + (REAL)i;
    for (long r = 0; r < repeats; r++) {
#pragma GCC unroll 24
        for (int i = 0; i < ACCUMULATORS; i++) x[i] = x[i] * a + b;
        __asm__ volatile("" : "+r"(r));
    }
    for (int i = 0; i < ACCUMULATORS; i++) sum += x[i];
    *out = sum[0];
    return 2.0 * LANES * ACCUMULATORS * repeats;
}

/* Compute p = a·p + b in place; the length must be a multiple of four vectors. */
void update(vec *p, long vectors, long repeats) {
    vec zero = {0}, a = zero + (REAL)0.5, b = zero + (REAL)1.0;
    for (long r = 0; r < repeats; r++) {
#pragma GCC unroll 4
        for (long i = 0; i < vectors; i++) p[i] = p[i] * a + b;
        BARRIER;
    }
}

/* Read all elements of p and store their sum in *out, so that the compiler keeps the reads. */
void read(const vec *p, long vectors, long repeats, REAL *out) {
    vec s[8] = {{0}}, sum = {0};
    for (long r = 0; r < repeats; r++) {
        for (long i = 0; i + 8 <= vectors; i += 8)
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) s[j] += p[i + j];
        BARRIER;
    }
    for (int j = 0; j < 8; j++) sum += s[j];
    *out = sum[0];
}

/* Two threads call this function and alternate: one writes the odd numbers up to 2·turns to *shared, the
   other writes the even numbers. Each thread waits until it sees the number before its own. */
void take_turns(long *shared, long odd, long turns) {
    for (long i = 2 - odd; i <= 2 * turns; i += 2) {
        while (__atomic_load_n(shared, __ATOMIC_ACQUIRE) != i - 1) {}
        __atomic_store_n(shared, i, __ATOMIC_RELEASE);
    }
}
