"""GEMMs built from one register tile.

Each element of a result is accumulated in the order of the reduction dimension, regardless of the tile that
computes it, so results do not depend on the batch, the tile or the thread.
"""

cdef enum:
    BLOCK_M = 192           # maximum number of rows of A per cache block
    BLOCK_K = 256           # maximum length of the reduction per cache block
    PANELS = 8              # maximum number of panels of B packed at a time
    GRADIENT_ROWS = 96      # maximum number of rows of dW per fused gradient and update

cdef real ZEROS[64]     # initial values of sums; static memory is zero-initialized

# Arguments of the register tile: c[rows, cols] = start + Σ_p a(:, p)·b[p, :], followed by `lower_bound` or
# `mask`.
ctypedef struct Gemm:
    Py_ssize_t tiles        # number of vertically stacked tiles; 1 if the tile is stored only partly
    Py_ssize_t depth        # length of the reduction, the range of p
    const real* a           # a(i, p) = a[i·lda + p], in `columns` tiles a[p·lda + i]; see also sparse_tile
    Py_ssize_t lda
    Py_ssize_t next_a       # distance in a from one tile to the next
    const real* b           # rows consist of whole vectors
    Py_ssize_t ldb
    real* c
    Py_ssize_t ldc
    int rows, cols          # rows and columns of the tile that are stored
    const real* start       # initial sums, the same for all rows; NULL: sums start from c
    real lower_bound        # lower bound of the results: 0 for a ReLU, else −∞
    const real* mask        # results are zero where mask ≤ 0; NULL: no mask
    Py_ssize_t ld_mask


cdef inline void tile(int mr, int nv, bint columns, const Gemm* t) noexcept nogil:
    """c = start + a · b, then lower_bound or mask, for t.tiles register tiles of mr rows and nv vectors.

    mr, nv and columns are compile-time constants at every call site, so that the loops over them are
    unrolled and acc stays in registers. gcc does this only if these loops are nested in another loop and if
    there is no branch between the first load of acc and its stores. (gcc would unroll outermost loops too
    late to keep acc in registers.) Differences between calls are therefore expressed by pointers and strides.
    """
    cdef vreal acc[12][2]
    cdef vreal bp[2]
    cdef vreal ap, lower_bound = vsplat(t.lower_bound), zero = vsplat(0)
    cdef real edge[12 * 32]
    cdef bint whole = t.rows >= mr and t.cols >= nv * VLEN
    cdef const real* ar = t.a
    cdef const real* a
    cdef const real* b
    # Partial tiles go through `edge`, so that the arithmetic has no edge cases.
    cdef real* c = t.c if whole else edge
    cdef Py_ssize_t ldc = t.ldc if whole else nv * VLEN
    cdef const real* start = t.start
    cdef const real* mask = t.mask
    cdef Py_ssize_t lda = t.lda, ldb = t.ldb, lds = 0, ld_mask = t.ld_mask, depth = t.depth, p, q
    cdef int i, j
    if start == NULL:
        start = c
        lds = ldc
        if not whole:
            copy_block(t.rows, t.cols, t.c, t.ldc, edge, ldc)
    for q in range(t.tiles):
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vload(start + i * lds + j * VLEN)
        a = ar
        b = t.b
        for i in range(mr):
            prefetch(c + (mr + i) * ldc)    # the next tile of c may not be in the cache
        for p in range(depth):
            for j in range(nv):
                bp[j] = vload(b + j * VLEN)
            for i in range(mr):
                ap = vsplat(a[i] if columns else a[i * lda])
                for j in range(nv):
                    acc[i][j] = acc[i][j] + ap * bp[j]
            b += ldb
            a += lda if columns else 1
        if mask == NULL:
            for i in range(mr):
                for j in range(nv):
                    vstore(c + i * ldc + j * VLEN, vmax(lower_bound, acc[i][j]))
        else:
            for i in range(mr):
                for j in range(nv):
                    vstore(c + i * ldc + j * VLEN,
                           vselect(vgt(vload(mask + i * ld_mask + j * VLEN), zero), acc[i][j], zero))
            mask += mr * ld_mask
        ar += t.next_a
        c += mr * ldc
        start += mr * lds
    if not whole:
        copy_block(t.rows, t.cols, edge, ldc, t.c, t.ldc)


cdef void rows_1x1(const Gemm* t) noexcept nogil: tile(TILE_Q, 1, False, t)
cdef void rows_1x2(const Gemm* t) noexcept nogil: tile(TILE_Q, 2, False, t)
cdef void rows_2x1(const Gemm* t) noexcept nogil: tile(2 * TILE_Q, 1, False, t)
cdef void rows_2x2(const Gemm* t) noexcept nogil: tile(2 * TILE_Q, 2, False, t)
cdef void rows_3x1(const Gemm* t) noexcept nogil: tile(3 * TILE_Q, 1, False, t)
cdef void rows_3x2(const Gemm* t) noexcept nogil: tile(3 * TILE_Q, 2, False, t)
cdef void cols_1x1(const Gemm* t) noexcept nogil: tile(TILE_Q, 1, True, t)
cdef void cols_1x2(const Gemm* t) noexcept nogil: tile(TILE_Q, 2, True, t)
cdef void cols_2x1(const Gemm* t) noexcept nogil: tile(2 * TILE_Q, 1, True, t)
cdef void cols_2x2(const Gemm* t) noexcept nogil: tile(2 * TILE_Q, 2, True, t)
cdef void cols_3x1(const Gemm* t) noexcept nogil: tile(3 * TILE_Q, 1, True, t)
cdef void cols_3x2(const Gemm* t) noexcept nogil: tile(3 * TILE_Q, 2, True, t)


ctypedef void (*TileFunction)(const Gemm* t) noexcept nogil

# Indexed by the kind of tile, its height in units of TILE_Q rows (1, 2, 3) and its width in vectors (1, 2).
cdef TileFunction[12] TILES

TILES = [
    rows_1x1, rows_1x2, rows_2x1, rows_2x2, rows_3x1, rows_3x2,
    cols_1x1, cols_1x2, cols_2x1, cols_2x2, cols_3x1, cols_3x2,
]


cdef inline void run_tile(bint columns, int height, int vectors, const Gemm* t) noexcept nogil:
    """Compute a tile of height · TILE_Q rows (height 1, 2 or 3) and 1 or 2 vectors."""
    TILES[6 * columns + 2 * (height - 1) + vectors - 1](t)


cdef inline void gemm_rows(Py_ssize_t m, Py_ssize_t n, Gemm* t) noexcept nogil:
    """Compute c[m, n] for n ≤ PANEL in tiles of nearly equal height: 16 rows become 8 + 8, not 12 + 4.

    The rows of a, c and mask are padded to a multiple of 4, and the columns of c and mask to whole vectors.
    The padding of c is overwritten.
    """
    cdef Py_ssize_t steps = ceil_div(m, TILE_Q), tiles = ceil_div(steps, 3), high
    cdef int height, vectors = 2 if n > VLEN else 1
    if tiles == 0:
        return
    height = <int>ceil_div(steps, tiles)
    high = steps - tiles * (height - 1)
    t.cols = vectors * VLEN
    t.rows = height * TILE_Q
    t.tiles = high
    t.next_a = t.rows * t.lda
    run_tile(False, height, vectors, t)
    if high < tiles:
        t.a += high * t.next_a
        t.c += high * t.rows * t.ldc
        if t.mask != NULL:
            t.mask += high * t.rows * t.ld_mask
        t.rows = (height - 1) * TILE_Q
        t.tiles = tiles - high
        t.next_a = t.rows * t.lda
        run_tile(False, height - 1, vectors, t)


cdef inline void gemm_columns(Py_ssize_t k, Py_ssize_t n, Gemm* t) noexcept nogil:
    """Compute c[k, n], but no padding, for n ≤ PANEL: tiles of TILE_M rows, then one for the remainder."""
    cdef Py_ssize_t tiles = k // TILE_M, left = k % TILE_M, at_once, q
    cdef int vectors = 2 if n > VLEN else 1
    t.cols = <int>n
    t.rows = TILE_M
    at_once = tiles if n == vectors * VLEN else 1
    t.tiles = at_once
    for q in range(tiles // at_once if tiles > 0 else 0):
        run_tile(True, 3, vectors, t)
        t.a += at_once * t.next_a
        t.c += at_once * TILE_M * t.ldc
    if left > 0:
        t.rows = <int>left
        t.tiles = 1
        run_tile(True, <int>ceil_div(left, TILE_Q), vectors, t)


cdef void pack_panels(Py_ssize_t k, Py_ssize_t n, const real* w, Py_ssize_t ldw, real* panels) noexcept nogil:
    """panels[n / PANEL][k, PANEL] = w[:, :n], padded with zeros. w is read row by row, in memory order."""
    cdef Py_ssize_t p, q, j
    for p in range(k):
        for q in range(ceil_div(n, PANEL)):
            j = q * PANEL
            prefetch(w + (p + 8) * ldw + j)
            vstore(panels + j * k + p * PANEL, load_cols(w + p * ldw + j, <int>(n - j)))
            vstore(panels + j * k + p * PANEL + VLEN, load_cols(w + p * ldw + j + VLEN, <int>(n - j) - VLEN))


cdef inline void pack_transposed_wide(Py_ssize_t rows, Py_ssize_t n, const real* w, Py_ssize_t ldw,
                                      real* panel, Py_ssize_t ldp) noexcept nogil:
    """panel[n, ldp] = w[:rows, :n]ᵀ for rows ≤ ldp; columns of the panel from `rows` on are undefined.

    Squares of VLEN × VLEN elements are read and written. Reads therefore extend up to VLEN − 1 elements past
    the end of a row of w, and writes up to the next multiple of VLEN rows of the panel.
    """
    cdef vreal square[16]
    cdef Py_ssize_t rq, cq, r, c, i
    for rq in range(ceil_div(rows, VLEN)):
        r = rq * VLEN
        for cq in range(ceil_div(n, VLEN)):
            c = cq * VLEN
            for i in range(VLEN):
                prefetch(w + (r + i + ldp) * ldw + c)     # the next panel
                square[i] = vload(w + min(r + i, rows - 1) * ldw + c)
            vtranspose(square)
            for i in range(VLEN):
                vstore(panel + (c + i) * ldp + r, square[i])


cdef void pack_transposed(Py_ssize_t rows, Py_ssize_t n, const real* w, Py_ssize_t ldw,
                          real* panel) noexcept nogil:
    """The same for a panel of PANEL columns."""
    pack_transposed_wide(rows, n, w, ldw, panel, PANEL)


cdef inline void copy_cols(const real* x, Py_ssize_t n, real* y) noexcept nogil:
    """y[:n] = x[:n], then zeros up to a whole vector."""
    cdef Py_ssize_t q
    for q in range(ceil_div(n, VLEN)):
        vstore(y + q * VLEN, load_cols(x + q * VLEN, <int>(n - q * VLEN)))


cdef void pack_columns(Py_ssize_t k, Py_ssize_t m, const real* x, Py_ssize_t ldx, real* panel) noexcept nogil:
    """panel[k / TILE_M][m, TILE_M] = x[:m, :k], the order in which `columns` tiles read x. Up to one vector
    is written past the end of the panel."""
    cdef Py_ssize_t q, p, i, v
    for q in range(ceil_div(k, TILE_M)):
        i = q * TILE_M
        for p in range(m):
            for v in range(ceil_div(TILE_M, VLEN)):
                vstore(panel + p * TILE_M + v * VLEN,
                       load_cols(x + p * ldx + i + v * VLEN, <int>min(k - i - v * VLEN, <Py_ssize_t>VLEN)))
        panel += m * TILE_M


cdef void transpose(Py_ssize_t rows, Py_ssize_t cols, const real* a, Py_ssize_t lda, real* b,
                    Py_ssize_t ldb) noexcept nogil:
    """b[cols, rows] = aᵀ; rows of b are padded to whole vectors with copies of the last row of a."""
    cdef vreal square[16]
    cdef Py_ssize_t rq, cq, r, c, i
    for cq in range(ceil_div(cols, VLEN)):
        c = cq * VLEN
        for rq in range(ceil_div(rows, VLEN)):
            r = rq * VLEN
            for i in range(VLEN):
                square[i] = load_cols(a + min(r + i, rows - 1) * lda + c, <int>(cols - c))
            vtranspose(square)
            for i in range(min(<Py_ssize_t>VLEN, cols - c)):
                vstore(b + (c + i) * ldb + r, square[i])


cdef void transpose_back(Py_ssize_t rows, Py_ssize_t cols, const real* a, Py_ssize_t lda, real* b,
                         Py_ssize_t ldb) noexcept nogil:
    """b[cols, rows] = aᵀ. The padding of b is not written; whole vectors are read from the rows of a."""
    cdef vreal square[16]
    cdef Py_ssize_t rq, cq, r, c, i
    for rq in range(ceil_div(rows, VLEN)):
        r = rq * VLEN
        for cq in range(ceil_div(cols, VLEN)):
            c = cq * VLEN
            for i in range(VLEN):
                square[i] = vload(a + min(r + i, rows - 1) * lda + c)
            vtranspose(square)
            for i in range(min(<Py_ssize_t>VLEN, cols - c)):
                store_cols(b + (c + i) * ldb + r, square[i], <int>(rows - r))


cdef inline bint worth_packing_columns(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """Return whether to pack the columns of x for dW: many rows are read for many panels."""
    return m >= 16 and n > 4 * PANEL


cdef inline bint worth_packing(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Return whether to pack W in the forward pass: many rows of x share a panel whose rows are far apart."""
    return m >= 64 and n > 2 * PANEL and k >= 128


cdef inline void set_epilogue(Gemm* t, bint first, bint last, const real* start, Py_ssize_t col,
                              real lower_bound, const real* mask, Py_ssize_t offset) noexcept nogil:
    """Set the initial sums for the first block of the reduction and the epilogue for the last block.

    Between blocks, c holds the partial sums.
    """
    t.start = NULL
    if first:
        t.start = ZEROS
    if first and start != NULL:
        t.start = start + col
    t.lower_bound = lower_bound if last else -INFINITY
    t.mask = NULL
    if last and mask != NULL:
        t.mask = mask + offset
