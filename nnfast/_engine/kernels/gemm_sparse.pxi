"""The GEMMs of a dense layer with zero skipping, for an `a` with many zeros, such as the output of a ReLU.

    c[m, n] = start + Σ_p a(m, p) · b[p, n]

For every 64 elements of a row of `a`, a bitmask marks those that are nonzero, and only the corresponding rows
of b are multiplied. The order of summation is the same as in dense.pxi, and a product with zero adds nothing.
Results are therefore bit-identical, and the choice between the two may depend on the data. There are two
exceptions: infinities and NaN in b are ignored here where `a` is zero, and a sum of −0 stays −0 if nothing is
added to it.
"""

cdef enum:
    BITMASK_BITS = 64       # maximum length of the reduction per bitmask
    SPARSE_ROWS = 512       # maximum number of rows of `a` per cache block


cdef inline uint64_t nonzero_bitmask(const real* x, Py_ssize_t n) noexcept nogil:
    """Return the bitmask of n ≤ BITMASK_BITS elements: bit p is set if x[p] is nonzero."""
    cdef uint64_t bitmask = 0
    cdef Py_ssize_t q, whole = n // VLEN
    if n == BITMASK_BITS:       # the usual case; the loop has a constant length, so it is unrolled
        for q in range(BITMASK_BITS // VLEN):
            bitmask |= <uint64_t>vnonzero(vload(x + q * VLEN)) << (q * VLEN)
        return bitmask
    for q in range(whole):
        bitmask |= <uint64_t>vnonzero(vload(x + q * VLEN)) << (q * VLEN)
    if n > whole * VLEN:
        bitmask |= <uint64_t>vnonzero(vload_n(x + whole * VLEN, <int>(n - whole * VLEN))) << (whole * VLEN)
    return bitmask


cdef inline double max_nonzero_fraction(Py_ssize_t n, Py_ssize_t depth) noexcept nogil:
    """Return the largest nonzero fraction of `a` for which zero skipping is faster in a GEMM with n columns.

    The unit of this cost model is the time of one vector multiply-add; the constants have been measured. The
    register tile takes depth · vectors units per row, where `vectors` is the number of vectors in n columns.
    Zero skipping must save a tenth of this time. It divides the vectors into `parts` of at most SPARSE_N.
    `factor` is the cost of a nonzero element in all parts: one unit per vector, plus SPARSE_SPLAT per part to
    load the element. It is at least 7 / SPARSE_M units per part, because an addition has a latency of 7 units
    and SPARSE_M rows are computed concurrently. Each of the row's `bitmasks` costs 32 units per part. The
    fraction s therefore satisfies

        0.9 · depth · vectors = s · depth · factor + 32 · parts · bitmasks
    """
    cdef Py_ssize_t vectors = ceil_div(n, VLEN), bitmasks = ceil_div(depth, BITMASK_BITS)
    cdef Py_ssize_t parts = ceil_div(vectors, SPARSE_N)
    cdef double factor = max(<double>vectors + SPARSE_SPLAT * parts, 7.0 * parts / SPARSE_M)
    return (0.9 * <double>(depth * vectors) - <double>(32 * parts * bitmasks)) / (<double>depth * factor)


cdef bint mostly_zero(const Matrix* a, double most) noexcept nogil:
    """Return whether the nonzero fraction of a[m, k], estimated from eight of its rows, is at most `most`."""
    cdef Py_ssize_t s, q, count = 0
    if a.rows < 8 or a.cols < 8 or most < 0.1:
        return False
    for s in range(8):
        for q in range(ceil_div(a.cols, BITMASK_BITS)):
            count += count_bits(nonzero_bitmask(a.data + s * (a.rows - 1) // 7 * a.ld + q * BITMASK_BITS,
                                                min(<Py_ssize_t>BITMASK_BITS, a.cols - q * BITMASK_BITS)))
    return <double>count <= most * <double>(8 * a.cols)


cdef inline void add_next(int nv, uint64_t* bitmask, const real* a, Py_ssize_t step, const real* b,
                          Py_ssize_t ldb, vreal* acc) noexcept nogil:
    """acc += a[p]·b[p, :] for the lowest set bit p of the bitmask, then clear this bit."""
    cdef Py_ssize_t p = first_bit(bitmask[0])
    cdef vreal ap = vsplat_at(a + p * step)
    cdef int j
    bitmask[0] &= bitmask[0] - 1
    for j in range(nv):
        acc[j] = acc[j] + ap * vload(b + p * ldb + j * VLEN)


cdef inline void sparse_tile(int nv, const Gemm* t, const uint64_t* bitmasks) noexcept nogil:
    """c = start + Σ_p a(:, p)·b[p, :] for t.rows rows and depth ≤ BITMASK_BITS.

    a(i, p) is a[i·next_a + p·lda], and bitmasks[i] marks the nonzero elements of row i.
    """
    cdef vreal acc[2][8]
    cdef uint64_t bitmask[2]
    cdef const real* a[2]
    cdef real* c
    cdef Py_ssize_t row[2]
    cdef Py_ssize_t lds = 0, q
    cdef const real* start = t.start
    cdef vreal lower_bound = vsplat(t.lower_bound), zero = vsplat(0)
    cdef bint whole = t.cols == nv * VLEN
    cdef int r, j, e, last = t.cols - (nv - 1) * VLEN
    if start == NULL:
        start = t.c
        lds = t.ldc
    for q in range(ceil_div(t.rows, SPARSE_M)):
        for r in range(SPARSE_M):
            row[r] = min(q * SPARSE_M + r, <Py_ssize_t>t.rows - 1)  # an unpaired last row is computed twice
            a[r] = t.a + row[r] * t.next_a
            bitmask[r] = bitmasks[row[r]]
            for j in range(nv - 1):
                acc[r][j] = vload(start + row[r] * lds + j * VLEN)
            acc[r][nv - 1] = load_cols(start + row[r] * lds + (nv - 1) * VLEN, VLEN if whole else last)
        if SPARSE_M == 2:
            for e in range(min(count_bits(bitmask[0]), count_bits(bitmask[1]))):
                add_next(nv, &bitmask[0], a[0], t.lda, t.b, t.ldb, acc[0])
                add_next(nv, &bitmask[1], a[1], t.lda, t.b, t.ldb, acc[1])
            while bitmask[1] != 0:
                add_next(nv, &bitmask[1], a[1], t.lda, t.b, t.ldb, acc[1])
        while bitmask[0] != 0:
            add_next(nv, &bitmask[0], a[0], t.lda, t.b, t.ldb, acc[0])
        for r in range(SPARSE_M):
            c = t.c + row[r] * t.ldc
            if t.mask != NULL:
                for j in range(nv):
                    vstore(c + j * VLEN,
                           vselect(vgt(vload(t.mask + row[r] * t.ld_mask + j * VLEN), zero), acc[r][j], zero))
            else:
                for j in range(nv - 1):
                    vstore(c + j * VLEN, vmax(lower_bound, acc[r][j]))
                store_cols(c + (nv - 1) * VLEN, vmax(lower_bound, acc[r][nv - 1]), VLEN if whole else last)


cdef void sparse_1(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(1, t, bitmasks)
cdef void sparse_2(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(2, t, bitmasks)
cdef void sparse_3(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(3, t, bitmasks)
cdef void sparse_4(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(4, t, bitmasks)
cdef void sparse_5(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(5, t, bitmasks)
cdef void sparse_6(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(6, t, bitmasks)
cdef void sparse_7(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(7, t, bitmasks)
cdef void sparse_8(const Gemm* t, const uint64_t* bitmasks) noexcept nogil: sparse_tile(8, t, bitmasks)


ctypedef void (*SparseTile)(const Gemm* t, const uint64_t* bitmasks) noexcept nogil

# Indexed by the number of vectors in a tile (1 to 8), minus one.
cdef SparseTile[8] SPARSE_TILES

SPARSE_TILES = [sparse_1, sparse_2, sparse_3, sparse_4, sparse_5, sparse_6, sparse_7, sparse_8]


cdef inline void sparse_rows(const Gemm* t, const uint64_t* bitmasks) noexcept nogil:
    """Compute a tile with enough vectors for t.cols."""
    SPARSE_TILES[ceil_div(t.cols, VLEN) - 1](t, bitmasks)


cdef void sparse_gemm(const Matrix* a, const Matrix* w, bint transposed, const real* start, const Matrix* c,
                      real lower_bound, const real* mask, real* panel) noexcept nogil:
    """c[m, n] = start + a · w (or wᵀ): `gemm` with zero skipping. BITMASK_BITS rows of w, as wide as a tile,
    stay in the L1 cache while up to SPARSE_ROWS rows of `a` are multiplied by them."""
    cdef uint64_t bitmasks[SPARSE_ROWS]
    cdef Py_ssize_t cols = even_length(c.cols, SPARSE_N * VLEN,
                                       VLEN), part = even_length(a.cols, BITMASK_BITS, VLEN)
    cdef Py_ssize_t rows = even_length(a.rows, SPARSE_ROWS, SPARSE_M)
    cdef bint last
    cdef Py_ssize_t d, q, r, i, j, p
    cdef Gemm t
    t.lda = 1
    t.next_a = a.ld
    t.ldc = c.ld
    t.ld_mask = c.ld
    for r in range(ceil_div(a.rows, rows)):
        t.rows = <int>min(rows, a.rows - r * rows)
        for d in range(ceil_div(a.cols, part)):
            p = d * part
            t.depth = min(part, a.cols - p)
            last = p + t.depth == a.cols
            t.a = a.data + r * rows * a.ld + p
            for i in range(t.rows):
                bitmasks[i] = nonzero_bitmask(t.a + i * a.ld, t.depth)
            for q in range(ceil_div(c.cols, cols)):
                j = q * cols
                t.cols = <int>ceil_div(min(cols, c.cols - j), VLEN) * VLEN
                t.b = panel
                t.ldb = t.cols
                if transposed:
                    pack_transposed_wide(min(cols, c.cols - j), t.depth, w.data + j * w.ld + p, w.ld, panel,
                                         t.cols)
                elif c.cols <= SPARSE_N * VLEN:
                    t.b = w.data + p * w.ld
                    t.ldb = w.ld
                else:
                    for i in range(t.depth):
                        copy_cols(w.data + (p + i) * w.ld + j, min(cols, c.cols - j), panel + i * t.cols)
                t.c = c.data + r * rows * c.ld + j
                set_epilogue(&t, p == 0, last, start, j, lower_bound, mask, r * rows * c.ld + j)
                sparse_rows(&t, bitmasks)


cdef void sparse_transposed_gemm(const Matrix* x, const Matrix* dz, const Matrix* dw,
                                 bint accumulate) noexcept nogil:
    """Compute dw[k, n] as `transposed_gemm` does, but with zero skipping.

    Up to BITMASK_BITS rows of x and dz are processed at a time; k must be at most GRADIENT_ROWS.
    """
    cdef uint64_t bitmasks[GRADIENT_ROWS]
    cdef Py_ssize_t cols = even_length(dz.cols, SPARSE_N * VLEN,
                                       VLEN), part = even_length(x.rows, BITMASK_BITS, 1)
    cdef Py_ssize_t d, q, i, j
    cdef Gemm t
    t.rows = <int>x.cols
    t.lda = x.ld
    t.next_a = 1
    t.ldb = dz.ld
    t.ldc = dw.ld
    t.lower_bound = -INFINITY
    t.mask = NULL
    t.ld_mask = 0
    for d in range(ceil_div(x.rows, part)):
        i = d * part
        t.depth = min(part, x.rows - i)
        t.a = x.data + i * x.ld
        for q in range(ceil_div(x.cols, VLEN)):
            j = q * VLEN
            mark_columns(t.a + j, x.ld, <int>t.depth, <int>(x.cols - j), bitmasks + j)
        for q in range(ceil_div(dz.cols, cols)):
            j = q * cols
            t.cols = <int>min(cols, dz.cols - j)
            t.b = dz.data + i * dz.ld + j
            t.c = dw.data + j
            t.start = ZEROS
            if accumulate or i > 0:
                t.start = NULL
            sparse_rows(&t, bitmasks)
