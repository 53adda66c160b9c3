"""Declarations of simd.h and team.h for Cython. `vreal` is a vector; + − * / work lane by lane."""

from libc.stdint cimport int32_t, uint64_t

cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef float vreal
    ctypedef int vmask
    const char* ISA_NAME
    const int ISA_IS_REAL
    const int VLEN, TILE_M, TILE_Q, TILE_N, PANEL, GATE_TILE_M, SPARSE_M, SPARSE_N
    const double SPARSE_SPLAT
    const int EXP_DEGREE, LOG_TERMS, LOG1P_TERMS, EXACT_SCALE
    const real LN2_HIGH, LN2_LOW, HALF_LN2, LOG2_E, EXP_OVERFLOW, EXP_UNDERFLOW, EXP_LIMIT, TANH_LIMIT
    const real REAL_TINY, REAL_HUGE, SUBNORMAL_SCALE, SUBNORMAL_EXPONENT
    const real* EXP_SERIES
    const real* INVERSE_FACTORIAL
    const real* ERFC_SCALED
    const int ERFC_TERMS, ERF_TERMS
    const real* NORMAL_TAIL_ROOT
    const int NORMAL_TAIL_TERMS

    vreal vload(const real* p)
    void vstore(real* p, vreal v)
    vreal vsplat(real s)
    vreal vsplat_at(const real* p)
    vreal vload_n(const real* p, int n)
    void vstore_n(real* p, vreal v, int n)
    vreal vkeep_n(vreal v, int n)
    vmask vgt(vreal a, vreal b)
    vreal vselect(vmask m, vreal a, vreal b)
    vreal vmax(vreal a, vreal b)
    vreal vmin(vreal a, vreal b)
    vreal vabs(vreal v)
    vreal vhalf_bits(vreal v)
    vreal vcopysign(vreal size, vreal sign)
    real vsum(vreal v)
    real vpeak(vreal v)
    unsigned int vnonzero(vreal v)
    void mark_columns(const real* x, Py_ssize_t ld, int rows, int cols, uint64_t* words)
    int first_bit(uint64_t word)
    int count_bits(uint64_t word)
    const int32_t[16][4] BITS_SET
    const int32_t[16] BITS_COUNT
    vreal vround(vreal v)
    vreal vrounded(vreal t)
    vreal vscale(vreal a, vreal t)
    vreal vfrexp(vreal x, vreal* e)
    vreal vrecip(vreal a)
    vreal vsqrt(vreal a)
    void vtranspose(vreal* rows)

    uint64_t flush_subnormals()
    void restore_float_mode(uint64_t old)
    double seconds_now()
    void prefetch(const void* p)

cdef extern from "team.h" nogil:
    void team_barrier()
    int team_size()
    int thread_limit()
    int threads_of_team(int n)
    int end_team()
    const int HAS_OPENMP
