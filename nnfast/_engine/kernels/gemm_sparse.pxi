"""The dense layer's products where much of a is zero, as behind a relu.

    c[m, n] = start + Σ_p a(m, p) · b[p, n]

A word of 64 bits says which of a row's next 64 factors are not zero, and only their rows of b are multiplied.
The sums have the order of those in dense.pxi, and a product with zero adds nothing: results have the same
bits, so that the choice between the two may look at the data. They differ in two cases: where b holds
infinities or NaN, which a zero hides here, and where a sum is −0, which stays that if nothing is added.
"""

cdef enum:
    WORD = 64               # of the inner index at a time
    SPARSE_ROWS = 512       # of a


cdef inline uint64_t nonzero_word(const real* x, Py_ssize_t n) noexcept nogil:
    """Bit p is set where x[p] is not zero, for n ≤ WORD elements."""
    cdef uint64_t word = 0
    cdef Py_ssize_t q, whole = n // VLEN
    if n == WORD:       # nearly always: a loop of constants, which is unrolled
        for q in range(WORD // VLEN):
            word |= <uint64_t>vnonzero(vload(x + q * VLEN)) << (q * VLEN)
        return word
    for q in range(whole):
        word |= <uint64_t>vnonzero(vload(x + q * VLEN)) << (q * VLEN)
    if n > whole * VLEN:
        word |= <uint64_t>vnonzero(vload_n(x + whole * VLEN, <int>(n - whole * VLEN))) << (whole * VLEN)
    return word


cdef inline double most_nonzero(Py_ssize_t n, Py_ssize_t depth) noexcept nogil:
    """The share of a up to which skipping zeros is faster, of a product with n columns.

    Counted in multiply-adds of a vector, as measured; the register tile takes depth · vectors of them for a
    row, and skipping is to take a tenth less. A factor takes as many as there are vectors and SPARSE_SPLAT
    for its own load in each part of the columns, or 7 for the latency of a sum where a part has few; each
    word of a part takes 32 besides. So the share s is that of

        0.9 · depth · vectors = s · depth · factor + 32 · parts · words
    """
    cdef Py_ssize_t vectors = ceil_div(n, VLEN), words = ceil_div(depth, WORD)
    cdef Py_ssize_t parts = ceil_div(vectors, SPARSE_N)
    cdef double factor = max(<double>vectors + SPARSE_SPLAT * parts, 7.0 * parts / SPARSE_M)
    return (0.9 * <double>(depth * vectors) - <double>(32 * parts * words)) / (<double>depth * factor)


cdef bint mostly_zero(const Matrix* a, double most) noexcept nogil:
    """Whether at most such a share of a[m, k] is not zero, by eight of its rows."""
    cdef Py_ssize_t s, q, count = 0
    if a.rows < 8 or a.cols < 8 or most < 0.1:
        return False
    for s in range(8):
        for q in range(ceil_div(a.cols, WORD)):
            count += count_bits(nonzero_word(a.data + s * (a.rows - 1) // 7 * a.ld + q * WORD,
                                             min(<Py_ssize_t>WORD, a.cols - q * WORD)))
    return <double>count <= most * <double>(8 * a.cols)


cdef inline void add_next(int nv, uint64_t* word, const real* a, Py_ssize_t step, const real* b,
                          Py_ssize_t ldb, vreal* acc) noexcept nogil:
    """acc += a[p]·b[p, :] for the first p of the word, which leaves it."""
    cdef Py_ssize_t p = first_bit(word[0])
    cdef vreal ap = vsplat_at(a + p * step)
    cdef int j
    word[0] &= word[0] - 1
    for j in range(nv):
        acc[j] = acc[j] + ap * vload(b + p * ldb + j * VLEN)


cdef inline void sparse_tile(int nv, const Product* t, const uint64_t* words) noexcept nogil:
    """t.rows rows of c = start + Σ_p a(:, p)·b[p, :] for depth ≤ WORD, where a(i, p) = a[i·next_a + p·lda];
    words[i] says for which p that is not zero."""
    cdef vreal acc[2][8]
    cdef uint64_t word[2]
    cdef const real* a[2]
    cdef real* c
    cdef Py_ssize_t row[2]
    cdef Py_ssize_t lds = 0, q
    cdef const real* start = t.start
    cdef vreal floor = vsplat(t.floor), zero = vsplat(0)
    cdef bint whole = t.cols == nv * VLEN
    cdef int r, j, e, last = t.cols - (nv - 1) * VLEN
    if start == NULL:
        start = t.c
        lds = t.ldc
    for q in range(ceil_div(t.rows, SPARSE_M)):
        for r in range(SPARSE_M):
            row[r] = min(q * SPARSE_M + r, <Py_ssize_t>t.rows - 1)  # the last one twice, if it is alone
            a[r] = t.a + row[r] * t.next_a
            word[r] = words[row[r]]
            for j in range(nv - 1):
                acc[r][j] = vload(start + row[r] * lds + j * VLEN)
            acc[r][nv - 1] = load_cols(start + row[r] * lds + (nv - 1) * VLEN, VLEN if whole else last)
        if SPARSE_M == 2:
            for e in range(min(count_bits(word[0]), count_bits(word[1]))):
                add_next(nv, &word[0], a[0], t.lda, t.b, t.ldb, acc[0])
                add_next(nv, &word[1], a[1], t.lda, t.b, t.ldb, acc[1])
            while word[1] != 0:
                add_next(nv, &word[1], a[1], t.lda, t.b, t.ldb, acc[1])
        while word[0] != 0:
            add_next(nv, &word[0], a[0], t.lda, t.b, t.ldb, acc[0])
        for r in range(SPARSE_M):
            c = t.c + row[r] * t.ldc
            if t.gate != NULL:
                for j in range(nv):
                    vstore(c + j * VLEN,
                           vselect(vgt(vload(t.gate + row[r] * t.ldg + j * VLEN), zero), acc[r][j], zero))
            else:
                for j in range(nv - 1):
                    vstore(c + j * VLEN, vmax(floor, acc[r][j]))
                store_cols(c + (nv - 1) * VLEN, vmax(floor, acc[r][nv - 1]), VLEN if whole else last)


cdef void sparse_1(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(1, t, words)
cdef void sparse_2(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(2, t, words)
cdef void sparse_3(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(3, t, words)
cdef void sparse_4(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(4, t, words)
cdef void sparse_5(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(5, t, words)
cdef void sparse_6(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(6, t, words)
cdef void sparse_7(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(7, t, words)
cdef void sparse_8(const Product* t, const uint64_t* words) noexcept nogil: sparse_tile(8, t, words)


ctypedef void (*SparseTile)(const Product* t, const uint64_t* words) noexcept nogil

# By the tile's vectors, 1 to 8.
cdef SparseTile[8] SPARSE_TILES

SPARSE_TILES = [sparse_1, sparse_2, sparse_3, sparse_4, sparse_5, sparse_6, sparse_7, sparse_8]


cdef inline void sparse_rows(const Product* t, const uint64_t* words) noexcept nogil:
    """The tile that is as wide as t.cols."""
    SPARSE_TILES[ceil_div(t.cols, VLEN) - 1](t, words)


cdef void sparse_multiply(const Matrix* a, const Matrix* w, bint transposed, const real* start, const Matrix* c, real floor,
                          const real* gate, real* panel) noexcept nogil:
    """`multiply` where a is sparse: WORD rows of w, as wide as a tile, stay in the first-level cache while
    all rows of a pass."""
    cdef uint64_t words[SPARSE_ROWS]
    cdef Py_ssize_t cols = even_part(c.cols, SPARSE_N * VLEN, VLEN), part = even_part(a.cols, WORD, VLEN)
    cdef Py_ssize_t rows = even_part(a.rows, SPARSE_ROWS, SPARSE_M)
    cdef bint last
    cdef Py_ssize_t d, q, r, i, j, p
    cdef Product t
    t.lda = 1
    t.next_a = a.ld
    t.ldc = c.ld
    t.ldg = c.ld
    for r in range(ceil_div(a.rows, rows)):
        t.rows = <int>min(rows, a.rows - r * rows)
        for d in range(ceil_div(a.cols, part)):
            p = d * part
            t.depth = min(part, a.cols - p)
            last = p + t.depth == a.cols
            t.a = a.data + r * rows * a.ld + p
            for i in range(t.rows):
                words[i] = nonzero_word(t.a + i * a.ld, t.depth)
            for q in range(ceil_div(c.cols, cols)):
                j = q * cols
                t.cols = <int>ceil_div(min(cols, c.cols - j), VLEN) * VLEN
                t.b = panel
                t.ldb = t.cols
                if transposed:
                    pack_transposed(min(cols, c.cols - j), t.depth, w.data + j * w.ld + p, w.ld, panel, t.cols)
                elif c.cols <= SPARSE_N * VLEN:
                    t.b = w.data + p * w.ld
                    t.ldb = w.ld
                else:
                    for i in range(t.depth):
                        copy_cols(w.data + (p + i) * w.ld + j, min(cols, c.cols - j), panel + i * t.cols)
                t.c = c.data + r * rows * c.ld + j
                set_ends(&t, p == 0, last, start, j, floor, gate, r * rows * c.ld + j)
                sparse_rows(&t, words)


cdef void sparse_column_products(const Matrix* x, const Matrix* dz, const Matrix* dw, bint accumulate) noexcept nogil:
    """`column_products` where x is sparse, WORD rows at a time."""
    cdef uint64_t words[GRADIENT_ROWS]
    cdef Py_ssize_t cols = even_part(dz.cols, SPARSE_N * VLEN, VLEN), part = even_part(x.rows, WORD, 1)
    cdef Py_ssize_t d, q, i, j
    cdef Product t
    t.rows = <int>x.cols
    t.lda = x.ld
    t.next_a = 1
    t.ldb = dz.ld
    t.ldc = dw.ld
    t.floor = -INFINITY
    t.gate = NULL
    t.ldg = 0
    for d in range(ceil_div(x.rows, part)):
        i = d * part
        t.depth = min(part, x.rows - i)
        t.a = x.data + i * x.ld
        for q in range(ceil_div(x.cols, VLEN)):
            j = q * VLEN
            mark_columns(t.a + j, x.ld, <int>t.depth, <int>(x.cols - j), words + j)
        for q in range(ceil_div(dz.cols, cols)):
            j = q * cols
            t.cols = <int>min(cols, dz.cols - j)
            t.b = dz.data + i * dz.ld + j
            t.c = dw.data + j
            t.start = ZEROS
            if accumulate or i > 0:
                t.start = NULL
            sparse_rows(&t, words)
