"""The dense layer's three products, all through one register tile.

    forward   y[m,n]  = x[m,k] · w[k,n] + b
    backward  dx[m,k] = dz[m,n] · wᵀ          (panels of wᵀ are packed by a register transpose)
              dw[k,n] = xᵀ · dz,  db[n] = Σ dz

Every element of a result is one chain of multiply-adds in the order of the inner index (of a single
output: in an order that its inner size fixes), whatever tile computes it: so results do not depend on
the batch, the tile or the thread.
"""

cdef enum Finish:
    FINISH_STORE, FINISH_RELU, FINISH_GATE

cdef enum Start:
    START_ZERO, START_BIAS, START_C

# One call of the register tile: c[rows, cols] = start + Σ_p a(:, p)·b[p, :], then `finish`.
ctypedef struct Product:
    Py_ssize_t depth        # of the inner index p
    const real* a           # a(i, p) = a[i·lda + p], or a[p·lda + i] in the `columns` tiles
    Py_ssize_t lda
    const real* b           # rows of whole vectors
    Py_ssize_t ldb
    real* c
    Py_ssize_t ldc
    int rows, cols          # what is stored of the tile
    int start
    const real* bias        # START_BIAS
    int finish
    const real* gate        # FINISH_GATE: the result is zero where gate ≤ 0
    Py_ssize_t ldg


cdef inline void tile(int mr, int nv, bint columns, const Product* t) noexcept nogil:
    """The register tile. mr, nv and columns are constants in every call, so that the loops over
    them are unrolled and acc lives in registers."""
    cdef vreal acc[12][2]
    cdef vreal bp[2]
    cdef vreal ap
    cdef real edge[12 * 32]
    cdef bint whole = t.rows >= mr and t.cols >= nv * VLEN
    cdef const real* a = t.a
    cdef const real* b = t.b
    cdef Py_ssize_t lda = t.lda, ldb = t.ldb, p
    cdef int i, j
    for i in range(mr):
        for j in range(nv):
            acc[i][j] = vsplat(0)
    if t.start == START_BIAS:
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vload(t.bias + j * VLEN)
    elif t.start == START_C:
        # Part tiles go through `edge`: the arithmetic has no edge cases.
        if not whole:
            for i in range(t.rows):
                memcpy(edge + i * nv * VLEN, t.c + i * t.ldc, t.cols * sizeof(real))
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vload(t.c + i * t.ldc + j * VLEN if whole else edge + (i * nv + j) * VLEN)
    for p in range(t.depth):
        for j in range(nv):
            bp[j] = vload(b + j * VLEN)
        for i in range(mr):
            ap = vsplat(a[i] if columns else a[i * lda])
            for j in range(nv):
                acc[i][j] = acc[i][j] + ap * bp[j]
        b += ldb
        a += lda if columns else 1
    if t.finish == FINISH_RELU:
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vmax(vsplat(0), acc[i][j])
    elif t.finish == FINISH_GATE:
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vselect(vgt(vload(t.gate + i * t.ldg + j * VLEN), vsplat(0)),
                                    acc[i][j], vsplat(0))
    for i in range(mr):
        for j in range(nv):
            vstore(t.c + i * t.ldc + j * VLEN if whole else edge + (i * nv + j) * VLEN, acc[i][j])
    if not whole:
        for i in range(t.rows):
            memcpy(t.c + i * t.ldc, edge + i * nv * VLEN, t.cols * sizeof(real))


cdef void rows_1x1(const Product* t) noexcept nogil: tile(TILE_Q, 1, False, t)
cdef void rows_1x2(const Product* t) noexcept nogil: tile(TILE_Q, 2, False, t)
cdef void rows_2x1(const Product* t) noexcept nogil: tile(2 * TILE_Q, 1, False, t)
cdef void rows_2x2(const Product* t) noexcept nogil: tile(2 * TILE_Q, 2, False, t)
cdef void rows_3x1(const Product* t) noexcept nogil: tile(3 * TILE_Q, 1, False, t)
cdef void rows_3x2(const Product* t) noexcept nogil: tile(3 * TILE_Q, 2, False, t)
cdef void cols_1x1(const Product* t) noexcept nogil: tile(TILE_Q, 1, True, t)
cdef void cols_1x2(const Product* t) noexcept nogil: tile(TILE_Q, 2, True, t)
cdef void cols_2x1(const Product* t) noexcept nogil: tile(2 * TILE_Q, 1, True, t)
cdef void cols_2x2(const Product* t) noexcept nogil: tile(2 * TILE_Q, 2, True, t)
cdef void cols_3x1(const Product* t) noexcept nogil: tile(3 * TILE_Q, 1, True, t)
cdef void cols_3x2(const Product* t) noexcept nogil: tile(3 * TILE_Q, 2, True, t)


cdef inline void run_tile(bint columns, int height, int vectors, const Product* t) noexcept nogil:
    """The tile of height · TILE_Q rows (height 1, 2, 3) and 1 or 2 vectors."""
    cdef int which = 6 * columns + 2 * (height - 1) + vectors - 1
    if which == 0:
        rows_1x1(t)
    elif which == 1:
        rows_1x2(t)
    elif which == 2:
        rows_2x1(t)
    elif which == 3:
        rows_2x2(t)
    elif which == 4:
        rows_3x1(t)
    elif which == 5:
        rows_3x2(t)
    elif which == 6:
        cols_1x1(t)
    elif which == 7:
        cols_1x2(t)
    elif which == 8:
        cols_2x1(t)
    elif which == 9:
        cols_2x2(t)
    elif which == 10:
        cols_3x1(t)
    else:
        cols_3x2(t)


cdef inline int next_height(Py_ssize_t rows) noexcept nogil:
    """Tile height, in steps of TILE_Q, that cuts `rows` into equal parts: 16 is 8 + 8, not 12 + 4."""
    cdef Py_ssize_t steps = (rows + TILE_Q - 1) // TILE_Q
    cdef Py_ssize_t tiles = (steps + 2) // 3
    return <int>((steps + tiles - 1) // tiles)


cdef void product_rows(Py_ssize_t m, Py_ssize_t n, Product* t) noexcept nogil:
    """c[m, n] for n ≤ PANEL, tile under tile; a, c and gate may be read and written up to the
    next multiple of 4 rows and of a vector."""
    cdef Py_ssize_t i = 0
    cdef int height, vectors = 2 if n > VLEN else 1
    t.cols = vectors * VLEN
    while i < m:
        height = next_height(m - i)
        t.rows = height * TILE_Q
        run_tile(False, height, vectors, t)
        i += t.rows
        t.a += t.rows * t.lda
        t.c += t.rows * t.ldc
        if t.finish == FINISH_GATE:
            t.gate += t.rows * t.ldg


cdef void pack_panel(Py_ssize_t k, Py_ssize_t n, const real* w, Py_ssize_t ldw, real* panel) noexcept nogil:
    """panel[k, PANEL] = w[:, :n], zero-filled."""
    cdef Py_ssize_t p
    for p in range(k):
        vstore(panel + p * PANEL, load_cols(w + p * ldw, <int>n))
        vstore(panel + p * PANEL + VLEN, load_cols(w + p * ldw + VLEN, <int>n - VLEN))


cdef void pack_transposed(Py_ssize_t rows, Py_ssize_t n, const real* w, Py_ssize_t ldw,
                          real* panel) noexcept nogil:
    """panel[n, PANEL] = w[:rows, :n]ᵀ for rows ≤ PANEL; what lies past `rows` is not defined.

    Reads and writes whole squares: up to VLEN − 1 elements past the end of a row of w, and the
    panel up to the next multiple of VLEN rows.
    """
    cdef vreal square[16]
    cdef Py_ssize_t rq, cq, r, c, i
    for rq in range(blocks(rows, VLEN)):
        r = rq * VLEN
        for cq in range(blocks(n, VLEN)):
            c = cq * VLEN
            for i in range(VLEN):
                square[i] = vload(w + min(r + i, rows - 1) * ldw + c)
            vtranspose(square)
            for i in range(VLEN):
                vstore(panel + (c + i) * PANEL + r, square[i])


cdef inline bint worth_packing(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Forward packs W when many rows share the panel and its rows lie far apart."""
    return m >= 64 and n > 2 * PANEL and k >= 128


cdef inline void row_tile(int nv, Py_ssize_t k, const real* x, const real* w, Py_ssize_t ldw,
                          const real* b, bint relu, real* y) noexcept nogil:
    """nv vectors of one row; nv is a constant in every call."""
    cdef vreal acc[8]
    cdef vreal xp
    cdef Py_ssize_t p
    cdef int j
    for j in range(nv):
        acc[j] = vsplat(0) if b == NULL else vload(b + j * VLEN)
    for p in range(k):
        xp = vsplat(x[p])
        for j in range(nv):
            acc[j] = acc[j] + xp * vload(w + j * VLEN)
        w += ldw
    for j in range(nv):
        vstore(y + j * VLEN, vmax(vsplat(0), acc[j]) if relu else acc[j])


cdef void row_forward(Py_ssize_t k, Py_ssize_t n, const real* x, const real* w, const real* b, real* y,
                      bint relu) noexcept nogil:
    """dense_forward of a single row: as many columns at a time as there are accumulators, so that W is
    read in the order in which it lies in memory."""
    cdef Py_ssize_t j = 0, left = blocks(n, VLEN)
    cdef const real* bj
    cdef int step
    while left > 0:
        bj = b
        if b != NULL:
            bj = b + j
        if left >= 8:
            step = 8
            row_tile(8, k, x, w + j, n, bj, relu, y + j)
        elif left >= 4:
            step = 4
            row_tile(4, k, x, w + j, n, bj, relu, y + j)
        elif left >= 2:
            step = 2
            row_tile(2, k, x, w + j, n, bj, relu, y + j)
        else:
            step = 1
            row_tile(1, k, x, w + j, n, bj, relu, y + j)
        left -= step
        j += step * VLEN


cdef void dense_forward_one(Py_ssize_t m, Py_ssize_t k, const real* x, Py_ssize_t ldx, const real* w,
                            const real* b, real* y, Py_ssize_t ldy, bint relu) noexcept nogil:
    """dense_forward with a single output, which as a column of vectors would waste all lanes but one:
    each row's products are summed lane by lane, then over the lanes, VLEN rows at a time."""
    cdef vreal acc[16]
    cdef real out[16]
    cdef vreal total
    cdef Py_ssize_t q, p, first, r, rows, whole = k // VLEN
    cdef int s, left = <int>(k % VLEN)
    cdef vreal rest = vload_n(w + whole * VLEN, left) if left > 0 else vsplat(0)
    for q in range(blocks(m, VLEN)):
        first = q * VLEN
        rows = min(<Py_ssize_t>VLEN, m - first)
        for r in range(VLEN):
            acc[r] = vsplat(0)
        for r in range(rows):
            for p in range(whole):
                acc[r] = acc[r] + vload(x + (first + r) * ldx + p * VLEN) * vload(w + p * VLEN)
            if left > 0:
                acc[r] = acc[r] + vload_n(x + (first + r) * ldx + whole * VLEN, left) * rest
        vtranspose(acc)
        s = VLEN // 2
        while s > 0:
            for r in range(s):
                acc[r] = acc[r] + acc[r + s]
            s = s // 2
        total = acc[0] + (vsplat(0) if b == NULL else vsplat(b[0]))
        vstore(out, vmax(vsplat(0), total) if relu else total)
        for r in range(rows):
            y[(first + r) * ldy] = out[r]


cdef void dense_forward(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, const real* x, Py_ssize_t ldx,
                        const real* w, const real* b, real* y, Py_ssize_t ldy, bint relu,
                        real* panel) noexcept nogil:
    """y[m,n] = x[m,k] · w[k,n] + b (b may be NULL), relu fused where asked for.

    x and y: rows padded to a multiple of 4, columns to whole vectors; w and b readable one
    vector past their end. panel: k × PANEL elements.
    """
    cdef Product t
    cdef Py_ssize_t i, j, q, rows, width
    cdef bint packed = worth_packing(m, k, n)
    if n == 1:
        dense_forward_one(m, k, x, ldx, w, b, y, ldy, relu)
        return
    if m == 1:
        row_forward(k, n, x, w, b, y, relu)
        return
    t.depth = k
    t.lda = ldx
    t.ldc = ldy
    t.start = START_ZERO if b == NULL else START_BIAS
    t.finish = FINISH_RELU if relu else FINISH_STORE
    i = 0
    while i < m:
        # Unpacked: a few rows pass all the panels while they are in the first-level cache.
        rows = m if packed else next_height(m - i) * TILE_Q
        for q in range(blocks(n, PANEL)):
            j = q * PANEL
            width = min(n - j, <Py_ssize_t>PANEL)
            t.a = x + i * ldx
            t.c = y + i * ldy + j
            t.b = w + j
            t.ldb = n
            if packed:
                pack_panel(k, width, w + j, n, panel)
                t.b = panel
                t.ldb = PANEL
            t.bias = b + j
            product_rows(rows, width, &t)
        i += rows


cdef void dense_input_gradient(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, const real* dz,
                               Py_ssize_t ldz, const real* w, real* dx, Py_ssize_t ldx,
                               const real* gate, real* panel) noexcept nogil:
    """dx[m,k] = dz[m,n] · wᵀ, zero where gate ≤ 0 (gate: like dx, or NULL).

    dz, dx, gate: padded as in dense_forward. panel: n × PANEL elements.
    """
    cdef Product t
    cdef Py_ssize_t j, q, width
    t.depth = n
    t.lda = ldz
    t.b = panel
    t.ldb = PANEL
    t.ldc = ldx
    t.start = START_ZERO
    t.finish = FINISH_STORE if gate == NULL else FINISH_GATE
    t.ldg = ldx
    for q in range(blocks(k, PANEL)):
        j = q * PANEL
        width = min(k - j, <Py_ssize_t>PANEL)
        pack_transposed(width, n, w + j * n, n, panel)
        t.a = dz
        t.c = dx + j
        t.gate = gate + j
        product_rows(m, width, &t)


cdef void dense_weight_gradient(Py_ssize_t k, Py_ssize_t m, Py_ssize_t n, const real* x,
                                Py_ssize_t ldx, const real* dz, Py_ssize_t ldz, real* dw,
                                bint accumulate) noexcept nogil:
    """dw[k,n] = (dw +) xᵀ · dz for k ≤ TILE_M columns of x; dw is contiguous.

    x: readable up to the next multiple of 4 columns; dz: columns padded to whole vectors.
    """
    cdef Product t
    cdef Py_ssize_t j, q, width
    t.depth = m
    t.a = x
    t.lda = ldx
    t.ldb = ldz
    t.ldc = n
    t.rows = <int>k
    t.start = START_C if accumulate else START_ZERO
    t.finish = FINISH_STORE
    for q in range(blocks(n, PANEL)):
        j = q * PANEL
        width = min(n - j, <Py_ssize_t>PANEL)
        t.b = dz + j
        t.c = dw + j
        t.cols = <int>width
        run_tile(True, next_height(k), 2 if width > VLEN else 1, &t)


cdef void dense_bias_gradient(Py_ssize_t m, Py_ssize_t n, const real* dz, Py_ssize_t ldz, real* db,
                              bint accumulate) noexcept nogil:
    """db[n] = (db +) Σ_i dz[i, :]"""
    cdef Py_ssize_t i, j, q
    cdef int width
    cdef vreal total
    for q in range(blocks(n, VLEN)):
        j = q * VLEN
        width = <int>min(n - j, <Py_ssize_t>VLEN)
        total = load_cols(db + j, width) if accumulate else vsplat(0)
        for i in range(m):
            total = total + vload(dz + i * ldz + j)
        store_cols(db + j, total, width)
