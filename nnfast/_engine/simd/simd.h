/* simd.h: one vector type per instruction set, and its primitives. This file and team.h are the
 * only C code in the engine.
 *
 * It is included once per variant. NNFAST_DOUBLE selects the real type, and the compiler's macros
 * (__AVX512F__, __AVX2__) select the width. With NNFAST_SCALAR, or without vector extensions in the
 * compiler, vectors have one element. Everything else is written in Cython on top of this.
 */
#ifndef NNFAST_SIMD_H
#define NNFAST_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#ifdef NNFAST_DOUBLE
typedef double real;
typedef int64_t ireal; /* integer of the same width, for bit operations */
#define REAL(f, d) d
#else
typedef float real;
typedef int32_t ireal;
#define REAL(f, d) f
#endif

/* ---- the vector type ------------------------------------------------------------------ */

#if defined(__GNUC__) && !defined(NNFAST_SCALAR)
#define VECTOR(type, bytes) type __attribute__((vector_size(bytes), aligned(sizeof(type)), may_alias))
#define INLINE static inline __attribute__((always_inline))
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define ISA_NAME "avx512"
#define VBYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define ISA_NAME "avx2"
#define VBYTES 32
#else
#define ISA_NAME "base"
#define VBYTES 16
#endif
typedef VECTOR(real, VBYTES) vreal;
typedef VECTOR(ireal, VBYTES) vint;
#else
#define INLINE static __inline
#define ISA_NAME "base"
#define VBYTES REAL(4, 8)
#define SCALAR 1
typedef real vreal;
typedef ireal vint;
#endif

#define VLEN ((int)(VBYTES / sizeof(real)))

/* Register tile of GEMMs: TILE_M rows × TILE_N vectors. Tiles with fewer rows have a multiple of TILE_Q rows.
 * 12×2 accumulators make use of the 32 registers of AVX-512; other instruction sets have 16 and use 6×2. */
#if VBYTES == 64
#define TILE_M 12
#define TILE_Q 4
#else
#define TILE_M 6
#define TILE_Q 2
#endif
#define TILE_N 2
#define PANEL (TILE_N * VLEN)

/* Rows of the tile of recurrent layers, which is four vectors wide. */
#if VBYTES == 64
#define GATE_TILE_M 6
#else
#define GATE_TILE_M 3
#endif

/* Zero skipping: a tile has SPARSE_M rows × SPARSE_N vectors of accumulators. Two FMA units need eight
 * independent accumulators to stay busy. SPARSE_SPLAT: cost of vsplat_at, in multiply-adds. */
#if VBYTES == 64
#define SPARSE_M 2
#define SPARSE_N 4
#define SPARSE_SPLAT 0.7
#else
#define SPARSE_M 1
#define SPARSE_N 8
#define SPARSE_SPLAT 1.0
#endif

/* 1 if vectors have the width that ISA_NAME promises; the tests assert it. */
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define ISA_IS_REAL (VBYTES == 64)
#elif defined(__AVX2__) && defined(__FMA__)
#define ISA_IS_REAL (VBYTES == 32)
#else
#define ISA_IS_REAL 1
#endif

#if !SCALAR
/* No memcpy here: gcc 12 splits a 64-byte copy into two halves. */
INLINE vreal vload(const real *p) { return *(const vreal *)p; }
INLINE void vstore(real *p, vreal v) { *(vreal *)p = v; }
INLINE vreal vsplat(real s) { return s - (vreal){0}; }
INLINE vint visplat(ireal s) { return s - (vint){0}; }
#else
INLINE vreal vload(const real *p) { return *p; }
INLINE void vstore(real *p, vreal v) { *p = v; }
INLINE vreal vsplat(real s) { return s; }
INLINE vint visplat(ireal s) { return s; }
#endif
/* Return *p in all lanes. A 64-byte load uses the full bandwidth of the L1 cache for a cycle. With AVX-512,
 * *p is therefore loaded into a general-purpose register, which does not compete with vector loads. */
INLINE vreal vsplat_at(const real *p)
{
#if VBYTES == 64
    REAL(uint32_t, uint64_t) bits;
    memcpy(&bits, p, sizeof bits);
    __asm__("" : "+r"(bits)); /* keeps gcc from loading *p into a vector register */
    return (vreal)REAL(_mm512_set1_epi32((int)bits), _mm512_set1_epi64((long long)bits));
#else
    return vsplat(*p);
#endif
}
INLINE vint as_bits(vreal v) { vint b; memcpy(&b, &v, sizeof b); return b; }
INLINE vreal from_bits(vint b) { vreal v; memcpy(&v, &b, sizeof v); return v; }

/* ---- comparison, selection, the first n lanes -------------------------------------------
 * In lanes with a NaN, vmax(a, b) and vmin(a, b) return b, so the argument whose NaN must be kept is b. */

#if VBYTES == 64 && !defined(NNFAST_DOUBLE)
typedef __mmask16 vmask;
#define FIRST(n) ((__mmask16)((1u << (n)) - 1u))
INLINE vmask vgt(vreal a, vreal b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ); }
INLINE vreal vselect(vmask m, vreal a, vreal b) { return (vreal)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a); }
INLINE vreal vmax(vreal a, vreal b) { return (vreal)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vreal vmin(vreal a, vreal b) { return (vreal)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE vreal vload_n(const real *p, int n) { return (vreal)_mm512_maskz_loadu_ps(FIRST(n), p); }
INLINE void vstore_n(real *p, vreal v, int n) { _mm512_mask_storeu_ps(p, FIRST(n), (__m512)v); }
INLINE vreal vkeep_n(vreal v, int n) { return (vreal)_mm512_maskz_mov_ps(FIRST(n), (__m512)v); }
#elif VBYTES == 64
typedef __mmask8 vmask;
#define FIRST(n) ((__mmask8)((1u << (n)) - 1u))
INLINE vmask vgt(vreal a, vreal b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ); }
INLINE vreal vselect(vmask m, vreal a, vreal b) { return (vreal)_mm512_mask_blend_pd(m, (__m512d)b, (__m512d)a); }
INLINE vreal vmax(vreal a, vreal b) { return (vreal)_mm512_max_pd((__m512d)a, (__m512d)b); }
INLINE vreal vmin(vreal a, vreal b) { return (vreal)_mm512_min_pd((__m512d)a, (__m512d)b); }
INLINE vreal vload_n(const real *p, int n) { return (vreal)_mm512_maskz_loadu_pd(FIRST(n), p); }
INLINE void vstore_n(real *p, vreal v, int n) { _mm512_mask_storeu_pd(p, FIRST(n), (__m512d)v); }
INLINE vreal vkeep_n(vreal v, int n) { return (vreal)_mm512_maskz_mov_pd(FIRST(n), (__m512d)v); }
#elif SCALAR
typedef int vmask;
INLINE vmask vgt(vreal a, vreal b) { return a > b; }
INLINE vreal vselect(vmask m, vreal a, vreal b) { return m ? a : b; }
INLINE vreal vmax(vreal a, vreal b) { return a > b ? a : b; }
INLINE vreal vmin(vreal a, vreal b) { return a < b ? a : b; }
INLINE vreal vload_n(const real *p, int n) { return n > 0 ? *p : (real)0; }
INLINE void vstore_n(real *p, vreal v, int n) { if (n > 0) *p = v; }
INLINE vreal vkeep_n(vreal v, int n) { return n > 0 ? v : (real)0; }
#else
typedef vint vmask;
INLINE vmask vgt(vreal a, vreal b) { return (vmask)(a > b); }
INLINE vreal vselect(vmask m, vreal a, vreal b) { return from_bits((m & as_bits(a)) | (~m & as_bits(b))); }
#if defined(__AVX2__) && !defined(NNFAST_DOUBLE)
INLINE vreal vmax(vreal a, vreal b) { return (vreal)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vreal vmin(vreal a, vreal b) { return (vreal)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__AVX2__)
INLINE vreal vmax(vreal a, vreal b) { return (vreal)_mm256_max_pd((__m256d)a, (__m256d)b); }
INLINE vreal vmin(vreal a, vreal b) { return (vreal)_mm256_min_pd((__m256d)a, (__m256d)b); }
#else
INLINE vreal vmax(vreal a, vreal b) { return vselect((vmask)(a > b), a, b); }
INLINE vreal vmin(vreal a, vreal b) { return vselect((vmask)(a < b), a, b); }
#endif
INLINE vint lanes(void) { vint l; for (int i = 0; i < VLEN; i++) l[i] = i; return l; }
INLINE vreal vkeep_n(vreal v, int n) { return from_bits((lanes() < visplat(n)) & as_bits(v)); }
#if VBYTES == 32 && !defined(NNFAST_DOUBLE)
INLINE vreal vload_n(const real *p, int n) { return (vreal)_mm256_maskload_ps(p, (__m256i)(lanes() < visplat(n))); }
/* Store in halves, because a masked store decodes into about forty instructions on AMD processors. */
INLINE void vstore_n(real *p, vreal v, int n)
{
    __m128 part = _mm256_castps256_ps128((__m256)v);
    if (n >= 8) {
        vstore(p, v);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps((__m256)v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, part);
}
#elif VBYTES == 32
INLINE vreal vload_n(const real *p, int n) { return (vreal)_mm256_maskload_pd(p, (__m256i)(lanes() < visplat(n))); }
INLINE void vstore_n(real *p, vreal v, int n)
{
    __m128d part = _mm256_castpd256_pd128((__m256d)v);
    if (n >= 4) {
        vstore(p, v);
        return;
    }
    if (n & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd((__m256d)v, 1);
        p += 2;
    }
    if (n & 1) _mm_store_sd(p, part);
}
#else
INLINE vreal vload_n(const real *p, int n) { vreal v = vsplat(0); for (int i = 0; i < n; i++) v[i] = p[i]; return v; }
INLINE void vstore_n(real *p, vreal v, int n) { for (int i = 0; i < n; i++) p[i] = v[i]; }
#endif
#endif

INLINE vreal vabs(vreal v) { return from_bits(as_bits(v) & visplat(REAL(0x7fffffff, 0x7fffffffffffffffLL))); }
INLINE vreal vcopysign(vreal size, vreal sign)
{
    vint s = visplat(REAL((ireal)0x80000000u, (ireal)0x8000000000000000ull));
    return from_bits((as_bits(size) & ~s) | (as_bits(sign) & s));
}

/* Sum and maximum over lanes. The vector is repeatedly folded in half, so the order is fixed. */
#if SCALAR
INLINE real vsum(vreal v) { return v; }
INLINE real vpeak(vreal v) { return v; }
#else
/* Index vectors are written out, because gcc 12 would compile a loop to lane-by-lane code. */
#define LANES2(F, s) F(0, s), F(1, s)
#define LANES4(F, s) LANES2(F, s), F(2, s), F(3, s)
#define LANES8(F, s) LANES4(F, s), F(4, s), F(5, s), F(6, s), F(7, s)
#define LANES16(F, s) LANES8(F, s), F(8, s), F(9, s), F(10, s), F(11, s), F(12, s), F(13, s), F(14, s), F(15, s)
#if VBYTES == 64
#define LANES(F, s) REAL(LANES16(F, s), LANES8(F, s))
#elif VBYTES == 32
#define LANES(F, s) REAL(LANES8(F, s), LANES4(F, s))
#else
#define LANES(F, s) REAL(LANES4(F, s), LANES2(F, s))
#endif
#ifdef __clang__ /* gcc has this builtin only since version 12 */
#define vshuffle(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define vshuffle(a, b, ...) __builtin_shuffle(a, b, (vint){__VA_ARGS__})
#endif
#define FOLD(l, half) (((l) + (half)) & (VLEN - 1))
#define vfold(v, half) vshuffle(v, v, LANES(FOLD, half)) /* lane i gets lane i + half */
INLINE real vsum(vreal v)
{
    if (VLEN > 8) v += vfold(v, 8);
    if (VLEN > 4) v += vfold(v, 4);
    if (VLEN > 2) v += vfold(v, 2);
    return v[0] + v[1];
}
INLINE real vpeak(vreal v)
{
    if (VLEN > 8) v = vmax(v, vfold(v, 8));
    if (VLEN > 4) v = vmax(v, vfold(v, 4));
    if (VLEN > 2) v = vmax(v, vfold(v, 2));
    return v[0] > v[1] ? v[0] : v[1];
}
#endif

/* ---- nonzero lanes ----------------------------------------------------------------------
 * vnonzero returns a bitmask of the nonzero lanes. For each value of four bits, BITS_SET lists the
 * positions of the set bits in ascending order, and BITS_COUNT holds their number. */

#if VBYTES == 64 && !defined(NNFAST_DOUBLE)
INLINE unsigned vnonzero(vreal v) { return _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ); }
#elif VBYTES == 64
INLINE unsigned vnonzero(vreal v) { return _mm512_cmp_pd_mask((__m512d)v, _mm512_setzero_pd(), _CMP_NEQ_UQ); }
#elif SCALAR
INLINE unsigned vnonzero(vreal v) { return v != 0; }
#elif VBYTES == 32 && !defined(NNFAST_DOUBLE)
INLINE unsigned vnonzero(vreal v) { return (unsigned)_mm256_movemask_ps((__m256)(v != vsplat(0))); }
#elif VBYTES == 32
INLINE unsigned vnonzero(vreal v) { return (unsigned)_mm256_movemask_pd((__m256d)(v != vsplat(0))); }
#elif defined(__SSE2__) && !defined(NNFAST_DOUBLE)
INLINE unsigned vnonzero(vreal v) { return (unsigned)_mm_movemask_ps((__m128)(v != vsplat(0))); }
#elif defined(__SSE2__)
INLINE unsigned vnonzero(vreal v) { return (unsigned)_mm_movemask_pd((__m128d)(v != vsplat(0))); }
#else
INLINE unsigned vnonzero(vreal v) { unsigned b = 0; for (int i = 0; i < VLEN; i++) b |= (unsigned)(v[i] != 0) << i; return b; }
#endif
#if SCALAR
#define NONZERO(v) (-(vint)((v) != 0))
#else
#define NONZERO(v) (vint)((v) != vsplat(0))
#endif
/* Write the bitmasks of the first VLEN columns of x (rows, cols), for at most 64 rows: bit r of words[i]
 * is set if x[r, i] is nonzero. Columns from `cols` on count as zero. */
INLINE void mark_columns(const real *x, ptrdiff_t ld, int rows, int cols, uint64_t *words)
{
    const int bits = 8 * (int)sizeof(real);
    for (int i = 0; i < VLEN; i++) words[i] = 0;
    for (int first = 0; first < rows; first += bits) {
        vint marks = visplat(0);
        ireal lane[VLEN];
        for (int r = first; r < rows && r < first + bits; r++) {
            vreal v = cols >= VLEN ? vload(x + r * ld) : vload_n(x + r * ld, cols);
            marks |= NONZERO(v) & visplat((ireal)((uint64_t)1 << (r - first)));
        }
        memcpy(lane, &marks, sizeof marks);
        for (int i = 0; i < VLEN; i++) words[i] |= (uint64_t)(REAL(uint32_t, uint64_t))lane[i] << first;
    }
}
#if defined(__GNUC__)
#define first_bit(word) __builtin_ctzll(word)
#define count_bits(word) __builtin_popcountll(word)
#else
INLINE int count_bits(uint64_t word) { int n = 0; for (; word; word &= word - 1) n++; return n; }
INLINE int first_bit(uint64_t word) { return count_bits((word & (0 - word)) - 1); }
#endif
static const int32_t BITS_SET[16][4] = {
    {0}, {0}, {1}, {0, 1}, {2}, {0, 2}, {1, 2}, {0, 1, 2},
    {3}, {0, 3}, {1, 3}, {0, 1, 3}, {2, 3}, {0, 2, 3}, {1, 2, 3}, {0, 1, 2, 3}};
static const int32_t BITS_COUNT[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};

/* ---- constants and exponent bits for exp and log ---------------------------------------- */

#define EXPONENT_SHIFT REAL(23, 52)
/* Adding 1.5·2^(mantissa bits) rounds a number to the nearest integer and leaves it in the low bits. */
#define ROUND_MAGIC REAL(12582912.0f, 6755399441055744.0)
/* ln 2 in two parts; the first has so few bits that k·LN2_HIGH is exact even without an FMA. */
#define LN2_HIGH REAL(0.693359375f, 6.93145751953125e-1)
#define LN2_LOW REAL(-2.12194440e-4f, 1.42860682030941723212e-6)
#define HALF_LN2 REAL(0.34657359f, 0.34657359027997264)
#define LOG2_E REAL(1.44269504f, 1.4426950408889634)
#define EXP_OVERFLOW REAL(88.72283f, 709.782712893384)
#define EXP_UNDERFLOW REAL(-87.336548f, -708.3964185322642) /* largest x for which e^x is subnormal */
#define EXP_LIMIT REAL(110.0f, 750.0) /* e^x is infinite or, for −x, 0 beyond */
#define LOG_TERMS REAL(5, 11)    /* terms of the atanh series for |s| ≤ 3 − 2√2 */
#define LOG1P_TERMS REAL(9, 18)  /* terms of the same series for |s| ≤ 1/3 */
#define TANH_LIMIT REAL(20.0f, 40.0)
#define REAL_TINY REAL(1.17549435e-38f, 2.2250738585072014e-308)
#define REAL_HUGE REAL(3.4028235e38f, 1.7976931348623157e308)
#define SUBNORMAL_SCALE REAL(33554432.0f, 18014398509481984.0) /* 2^25, 2^54 */
#define SUBNORMAL_EXPONENT REAL(25.0f, 54.0)

static const real INVERSE_FACTORIAL[] = {
    (real)1, (real)1, (real)(1. / 2.), (real)(1. / 6.), (real)(1. / 24.), (real)(1. / 120.),
    (real)(1. / 720.), (real)(1. / 5040.), (real)(1. / 40320.), (real)(1. / 362880.), (real)(1. /
    3628800.), (real)(1. / 39916800.), (real)(1. / 479001600.), (real)(1. / 6227020800.), (real)(1.
    / 87178291200.), (real)(1. / 1307674368000.), (real)(1. / 20922789888000.), (real)(1. /
    355687428096000.)};

/* e^r for |r| ≤ ln 2 / 2, lowest power first. float32: e^r − 1 has a relative error of 1.6e-8. float64: Taylor. */
static const real EXP_SERIES[] = {
#ifdef NNFAST_DOUBLE
    1., 1., 1. / 2., 1. / 6., 1. / 24., 1. / 120., 1. / 720., 1. / 5040., 1. / 40320., 1. / 362880.,
    1. / 3628800., 1. / 39916800., 1. / 479001600.};
#else
    1.0f, 1.0f, 0.5f, 0.16666541993618011f, 0.04166628047823906f, 0.008366644382476807f, 0.0013946554390713573f};
#endif
#define EXP_DEGREE ((int)(sizeof EXP_SERIES / sizeof(real)) - 1)

/* (1 + 2x)·e^(x²)·erfc(x) as a polynomial in (x − 3.75)/(x + 3.75), a form that is smooth over the
 * whole half-line (Shepherd and Laframboise, 1981). Chebyshev fit for x in [0, 30], highest power
 * first; the errors are 1.6e-9 in float32 and 1.7e-17 in float64. */
#ifdef NNFAST_DOUBLE
static const real ERFC_SCALED[] = {
    -2.5345220081597656e-09, -1.2326394490875055e-09, 3.2888438572773146e-08,
    1.694026936228198e-08, -2.521324611665602e-07, -4.919773791893441e-08,
    1.7472879478286034e-06, -9.795609979958418e-07, -1.1442344708679574e-05,
    2.2387063389949446e-05, 5.1648627266575505e-05, -0.0002901549328966874,
    0.00029371374295995807, 0.0017556260158476966, -0.009746579565812962, 0.02836227740008842,
    -0.058693398589163406, 0.0923043211615843, -0.10880393014176631, 0.08227673849010973,
    0.0035854154854647684, -0.14024059858554666, 1.2375126308378275};
#else
static const real ERFC_SCALED[] = {
    -6.571705201e-06f, -2.581027730e-04f, 3.824747133e-04f, 1.740156048e-03f, -9.805951169e-03f,
    2.836455397e-02f, -5.867410895e-02f, 9.230451036e-02f, -1.088068439e-01f, 8.227668548e-02f,
    3.585579362e-03f, -1.402405970e-01f, 1.237512629e+00f};
#endif
#define ERFC_TERMS ((int)(sizeof ERFC_SCALED / sizeof(real)))
#define ERF_TERMS REAL(10, 18) /* Taylor terms of erf for |x| ≤ 0.75 */

/* Φ(−a)^(−1/4) as a polynomial, highest power first; minimax fit of a·Φ(−a) on [0, 6] with error 1.1e-8. */
static const real NORMAL_TAIL_ROOT[] = {
    (real)1.409560355e-06, (real)-1.934859938e-05, (real)1.303245663e-04, (real)-4.801290052e-04,
    (real)1.237398945e-03, (real)-1.550530782e-03, (real)3.617302049e-03, (real)5.150461569e-03,
    (real)3.179196641e-02, (real)1.181663349e-01, (real)2.372268736e-01, (real)1.189206600};
#define NORMAL_TAIL_TERMS ((int)(sizeof NORMAL_TAIL_ROOT / sizeof(real)))

/* Return v rounded to the upper half of its mantissa, so that its square is exact. */
INLINE vreal vhalf_bits(vreal v)
{
    vint lower = visplat(REAL(0xfff, 0x7ffffffLL));
    return from_bits((as_bits(v) + visplat(REAL(0x800, 0x4000000LL))) & ~lower);
}

/* vround returns a number that stands for v rounded to an integer k; vrounded returns k, and vscale a·2^k.
 * EXACT_SCALE: whether results of vscale overflow to infinity and become subnormal as they should. Otherwise,
 * they must be normal, and a must be near 1: adding ROUND_MAGIC has left k in the low bits. */
#if VBYTES == 64
#define EXACT_SCALE 1
#define NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#ifdef NNFAST_DOUBLE
INLINE vreal vround(vreal v) { return (vreal)_mm512_roundscale_pd((__m512d)v, NEAREST); }
INLINE vreal vscale(vreal a, vreal k) { return (vreal)_mm512_scalef_pd((__m512d)a, (__m512d)k); }
#else
INLINE vreal vround(vreal v) { return (vreal)_mm512_roundscale_ps((__m512)v, NEAREST); }
INLINE vreal vscale(vreal a, vreal k) { return (vreal)_mm512_scalef_ps((__m512)a, (__m512)k); }
#endif
INLINE vreal vrounded(vreal k) { return k; }
#else
#define EXACT_SCALE 0
INLINE vreal vround(vreal v) { return v + vsplat(ROUND_MAGIC); }
INLINE vreal vrounded(vreal t) { return t - vsplat(ROUND_MAGIC); }
INLINE vreal vscale(vreal a, vreal t) { return from_bits(as_bits(a) + (as_bits(t) << EXPONENT_SHIFT)); }
#endif

/* Return m and write e such that x = m·2^e and m is in [√½, √2), for normal x > 0. */
INLINE vreal vfrexp(vreal x, vreal *e)
{
    vint bits = as_bits(x);
    vint root_half = visplat(REAL(0x3f3504f3, 0x3fe6a09e667f3bcdLL));
    vint k = (bits - root_half) >> EXPONENT_SHIFT;
    vreal magic = vsplat(ROUND_MAGIC);
    *e = from_bits(as_bits(magic) + k) - magic;
    return from_bits(bits - (k << EXPONENT_SHIFT));
}

/* ---- reciprocal and square root for the optimizers ---------------------------------------
 * float32: a 12- or 14-bit approximation and one Newton step, because exact division and square
 * root took 7 ns per 16 weights in Adam. float64: exact. */

#if VBYTES == 64 && !defined(NNFAST_DOUBLE)
INLINE vreal vrecip(vreal a)
{
    vreal r = (vreal)_mm512_rcp14_ps((__m512)a);
    return r * (vsplat(2.0f) - a * r);
}
INLINE vreal vsqrt(vreal a)
{
    vreal b = vmax(vsplat(REAL_TINY), a), r = (vreal)_mm512_rsqrt14_ps((__m512)b), s = b * r;
    return s * (vsplat(1.5f) - vsplat(0.5f) * s * r);
}
#elif VBYTES == 32 && !defined(NNFAST_DOUBLE)
INLINE vreal vrecip(vreal a)
{
    vreal r = (vreal)_mm256_rcp_ps((__m256)a);
    return r * (vsplat(2.0f) - a * r);
}
INLINE vreal vsqrt(vreal a)
{
    vreal b = vmax(vsplat(REAL_TINY), a), r = (vreal)_mm256_rsqrt_ps((__m256)b), s = b * r;
    return s * (vsplat(1.5f) - vsplat(0.5f) * s * r);
}
#elif SCALAR
INLINE vreal vrecip(vreal a) { return (real)1 / a; }
INLINE vreal vsqrt(vreal a) { return REAL(sqrtf, sqrt)(a); }
#else
INLINE vreal vrecip(vreal a) { return vsplat(1) / a; }
INLINE vreal vsqrt(vreal a)
{
#if VBYTES == 64
    return (vreal)_mm512_sqrt_pd((__m512d)a);
#elif VBYTES == 32
    return (vreal)_mm256_sqrt_pd((__m256d)a);
#else
    for (int i = 0; i < VLEN; i++) a[i] = REAL(sqrtf, sqrt)(a[i]);
    return a;
#endif
}
#endif

/* ---- VLEN × VLEN transpose in registers ---------------------------------------------------
 * Stage s exchanges off-diagonal s × s blocks; after log2(VLEN) stages, rows have become columns. */

#if SCALAR
INLINE void vtranspose(vreal *r) { (void)r; }
#else
#define LOW(l, s) ((l) & (s) ? VLEN + (l) - (s) : (l))
#define HIGH(l, s) ((l) & (s) ? VLEN + (l) : (l) + (s))
#define TRANSPOSE_STAGE(s)                                            \
    {                                                                 \
        for (int i = 0; i < VLEN; i++)                                \
            if (!(i & (s))) {                                         \
                vreal a = r[i], b = r[i + (s)];                       \
                r[i] = vshuffle(a, b, LANES(LOW, s));                 \
                r[i + (s)] = vshuffle(a, b, LANES(HIGH, s));          \
            }                                                         \
    }
INLINE void vtranspose(vreal *r)
{
    TRANSPOSE_STAGE(1)
    if (VLEN > 2) TRANSPOSE_STAGE(2 % VLEN)
    if (VLEN > 4) TRANSPOSE_STAGE(4 % VLEN)
    if (VLEN > 8) TRANSPOSE_STAGE(8 % VLEN)
}
#endif

/* ---- processor state, clock, prefetching --------------------------------------------------
 * Subnormal numbers make a step six times slower, and the Adam slots of dead units decay to such
 * numbers. They are therefore flushed to zero, but only inside the compiled loop. */

INLINE uint64_t flush_subnormals(void)
{
#if defined(__x86_64__) || defined(_M_X64)
    uint64_t old = _mm_getcsr();
    _mm_setcsr((unsigned)old | 0x8040u);
    return old;
#elif defined(__aarch64__) && defined(__GNUC__)
    uint64_t old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"(old | (1ull << 24)));
    return old;
#else
    return 0;
#endif
}

INLINE void restore_float_mode(uint64_t old)
{
#if defined(__x86_64__) || defined(_M_X64)
    _mm_setcsr((unsigned)old);
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("msr fpcr, %0" : : "r"(old));
#else
    (void)old;
#endif
}

INLINE double seconds_now(void)
{
    struct timespec now;
#ifdef CLOCK_MONOTONIC
    clock_gettime(CLOCK_MONOTONIC, &now);
#else
    timespec_get(&now, TIME_UTC);
#endif
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#if defined(__GNUC__)
#define prefetch(p) __builtin_prefetch(p)
#else
#define prefetch(p) ((void)(p))
#endif

#endif
