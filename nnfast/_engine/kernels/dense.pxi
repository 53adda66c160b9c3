"""The dense layer's three products, all through one register tile.

    forward   y[m,n]  = x[m,k] · w[k,n] + b
    backward  dx[m,k] = dz[m,n] · wᵀ          (panels of wᵀ are packed by a register transpose)
              dw[k,n] = xᵀ · dz,  db[n] = Σ dz

Every element of a result is one chain of multiply-adds in the order of the inner index (of a single
output: in an order that its inner size fixes), whatever tile computes it: so results do not depend on
the batch, the tile or the thread.
"""

cdef real ZEROS[32]     # a row to start from; static memory is zero

# Calls of the register tile: c[rows, cols] = start + Σ_p a(:, p)·b[p, :], then `floor` or `gate`.
ctypedef struct Product:
    Py_ssize_t tiles        # one below the other; 1 of the `columns` tiles and where rows are fewer
    Py_ssize_t depth        # of the inner index p
    const real* a           # a(i, p) = a[i·lda + p], or a[p·lda + i] in the `columns` tiles
    Py_ssize_t lda
    const real* b           # rows of whole vectors
    Py_ssize_t ldb
    real* c
    Py_ssize_t ldc
    int rows, cols          # what is stored of the tile
    const real* start       # one row that all rows start from; NULL: c itself
    real floor              # the result is at least this: 0 for relu, else −inf
    const real* gate        # the result is zero where gate ≤ 0; NULL: nowhere
    Py_ssize_t ldg


cdef inline void tile(int mr, int nv, bint columns, const Product* t) noexcept nogil:
    """t.tiles register tiles, one below the other.

    mr, nv and columns are constants in every call, so that the loops over them are unrolled and acc
    lives in registers. For that gcc wants them within another loop (what it unrolls later still goes
    through memory), and no branch between the first load of acc and its stores: what differs from
    call to call is in pointers and strides.
    """
    cdef vreal acc[12][2]
    cdef vreal bp[2]
    cdef vreal ap, floor = vsplat(t.floor), zero = vsplat(0)
    cdef real edge[12 * 32]
    cdef bint whole = t.rows >= mr and t.cols >= nv * VLEN
    cdef const real* ar = t.a
    cdef const real* a
    cdef const real* b
    # Part tiles go through `edge`: the arithmetic has no edge cases.
    cdef real* c = t.c if whole else edge
    cdef Py_ssize_t ldc = t.ldc if whole else nv * VLEN
    cdef const real* start = t.start
    cdef const real* gate = t.gate
    cdef Py_ssize_t lda = t.lda, ldb = t.ldb, lds = 0, ldg = t.ldg, depth = t.depth, p, q
    cdef int i, j
    if start == NULL:
        start = c
        lds = ldc
        if not whole:
            for i in range(t.rows):
                memcpy(edge + i * nv * VLEN, t.c + i * t.ldc, t.cols * sizeof(real))
    for q in range(t.tiles):
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vload(start + i * lds + j * VLEN)
        a = ar
        b = t.b
        for p in range(depth):
            for j in range(nv):
                bp[j] = vload(b + j * VLEN)
            for i in range(mr):
                ap = vsplat(a[i] if columns else a[i * lda])
                for j in range(nv):
                    acc[i][j] = acc[i][j] + ap * bp[j]
            b += ldb
            a += lda if columns else 1
        if gate == NULL:
            for i in range(mr):
                for j in range(nv):
                    vstore(c + i * ldc + j * VLEN, vmax(floor, acc[i][j]))
        else:
            for i in range(mr):
                for j in range(nv):
                    vstore(c + i * ldc + j * VLEN,
                           vselect(vgt(vload(gate + i * ldg + j * VLEN), zero), acc[i][j], zero))
            gate += mr * ldg
        ar += mr * lda
        c += mr * ldc
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


cdef void product_rows(Py_ssize_t m, Py_ssize_t n, Product* t) noexcept nogil:
    """c[m, n] for n ≤ PANEL; a, c and gate may be read and written up to the next multiple of 4 rows
    and of a vector. Tiles are of one height, and of one less below them: 16 rows are 8 + 8, not 12 + 4."""
    cdef Py_ssize_t steps = blocks(m, TILE_Q), tiles = blocks(steps, 3), high
    cdef int height, vectors = 2 if n > VLEN else 1
    if tiles == 0:
        return
    height = <int>blocks(steps, tiles)
    high = steps - tiles * (height - 1)
    t.cols = vectors * VLEN
    t.rows = height * TILE_Q
    t.tiles = high
    run_tile(False, height, vectors, t)
    if high < tiles:
        t.a += high * t.rows * t.lda
        t.c += high * t.rows * t.ldc
        if t.gate != NULL:
            t.gate += high * t.rows * t.ldg
        t.rows = (height - 1) * TILE_Q
        t.tiles = tiles - high
        run_tile(False, height - 1, vectors, t)


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
    cdef Py_ssize_t j, q, width
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
    t.start = ZEROS
    t.floor = 0 if relu else -INFINITY
    t.gate = NULL
    t.ldg = 0
    for q in range(blocks(n, PANEL)):
        j = q * PANEL
        width = min(n - j, <Py_ssize_t>PANEL)
        t.a = x
        t.c = y + j
        t.b = w + j
        t.ldb = n
        if packed:
            pack_panel(k, width, w + j, n, panel)
            t.b = panel
            t.ldb = PANEL
        if b != NULL:
            t.start = b + j
        product_rows(m, width, &t)


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
    t.start = ZEROS
    t.floor = -INFINITY
    t.gate = NULL
    t.ldg = ldx
    for q in range(blocks(k, PANEL)):
        j = q * PANEL
        width = min(k - j, <Py_ssize_t>PANEL)
        pack_transposed(width, n, w + j * n, n, panel)
        t.a = dz
        t.c = dx + j
        if gate != NULL:
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
    t.tiles = 1
    t.start = ZEROS
    if accumulate:
        t.start = NULL
    t.floor = -INFINITY
    t.gate = NULL
    t.ldg = 0
    for q in range(blocks(n, PANEL)):
        j = q * PANEL
        width = min(n - j, <Py_ssize_t>PANEL)
        t.b = dz + j
        t.c = dw + j
        t.cols = <int>width
        run_tile(True, <int>blocks(k, TILE_Q), 2 if width > VLEN else 1, &t)


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
