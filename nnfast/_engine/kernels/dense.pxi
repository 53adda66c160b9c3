"""The dense layer's three products, through one register tile (with many zeros: sparse_products.pxi).

    forward   y[m,n]  = x[m,k] · w[k,n] + b
    backward  dx[m,k] = dz[m,n] · wᵀ          (panels of wᵀ are packed by a register transpose)
              dw[k,n] = xᵀ · dz,  db[n] = Σ dz

Every element of a result is one chain of multiply-adds in the order of the inner index (of a single
output: in an order that its inner size fixes), whatever tile computes it: so results do not depend on
the batch, the tile or the thread.
"""

cdef enum:
    ROWS = 192              # of a, and
    DEPTH = 256             # of the inner index, that are multiplied at a time
    PANELS = 8              # of w that are packed at a time
    GRADIENT_ROWS = 96      # of dW that go to the optimizer at a time, and
    GRADIENT_COLS = 512     # columns of it

cdef real ZEROS[64]     # a row to start from; static memory is zero

# Calls of the register tile: c[rows, cols] = start + Σ_p a(:, p)·b[p, :], then `floor` or `gate`.
ctypedef struct Product:
    Py_ssize_t tiles        # one below the other; 1 where fewer rows or columns are stored than a tile has
    Py_ssize_t depth        # of the inner index p
    const real* a           # a(i, p) = a[i·lda + p], a[p·lda + i] in `columns` tiles, or as in sparse_tile
    Py_ssize_t lda
    Py_ssize_t next_a       # from one tile's a to that of the tile below
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
        for i in range(mr):
            prefetch(c + (mr + i) * ldc)    # the next tile's sums may come from far away
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
        ar += t.next_a
        c += mr * ldc
        start += mr * lds
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
    t.next_a = t.rows * t.lda
    run_tile(False, height, vectors, t)
    if high < tiles:
        t.a += high * t.next_a
        t.c += high * t.rows * t.ldc
        if t.gate != NULL:
            t.gate += high * t.rows * t.ldg
        t.rows = (height - 1) * TILE_Q
        t.tiles = tiles - high
        t.next_a = t.rows * t.lda
        run_tile(False, height - 1, vectors, t)


cdef void product_columns(Py_ssize_t k, Py_ssize_t n, Product* t) noexcept nogil:
    """c[k, n] for n ≤ PANEL, of which no more than that is written; tiles of TILE_M rows, then one of
    what is left."""
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
        run_tile(True, <int>blocks(left, TILE_Q), vectors, t)


cdef void pack_panels(Py_ssize_t k, Py_ssize_t n, const real* w, Py_ssize_t ldw, real* panels) noexcept nogil:
    """panels[n / PANEL][k, PANEL] = w[:, :n], zero-filled. Row by row, so that w is read as it lies in
    memory."""
    cdef Py_ssize_t p, q, j
    for p in range(k):
        for q in range(blocks(n, PANEL)):
            j = q * PANEL
            prefetch(w + (p + 8) * ldw + j)
            vstore(panels + j * k + p * PANEL, load_cols(w + p * ldw + j, <int>(n - j)))
            vstore(panels + j * k + p * PANEL + VLEN, load_cols(w + p * ldw + j + VLEN, <int>(n - j) - VLEN))


cdef void pack_transposed(Py_ssize_t rows, Py_ssize_t n, const real* w, Py_ssize_t ldw, real* panel,
                          Py_ssize_t ldp) noexcept nogil:
    """panel[n, ldp] = w[:rows, :n]ᵀ for rows ≤ ldp; what lies past `rows` is not defined.

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
                prefetch(w + (r + i + ldp) * ldw + c)     # of the panel that comes next
                square[i] = vload(w + min(r + i, rows - 1) * ldw + c)
            vtranspose(square)
            for i in range(VLEN):
                vstore(panel + (c + i) * ldp + r, square[i])


cdef inline void copy_cols(const real* x, Py_ssize_t n, real* y) noexcept nogil:
    """y[:n] = x[:n], zeros up to a whole vector."""
    cdef Py_ssize_t q
    for q in range(blocks(n, VLEN)):
        vstore(y + q * VLEN, load_cols(x + q * VLEN, <int>(n - q * VLEN)))


cdef void pack_columns(Py_ssize_t k, Py_ssize_t m, const real* x, Py_ssize_t ldx, real* panel) noexcept nogil:
    """Columns of x as the `columns` tiles read them: TILE_M at a time, panel[m, TILE_M] each. Up to a
    vector is written past the end."""
    cdef Py_ssize_t q, p, i, v
    for q in range(blocks(k, TILE_M)):
        i = q * TILE_M
        for p in range(m):
            for v in range(blocks(TILE_M, VLEN)):
                vstore(panel + p * TILE_M + v * VLEN,
                       load_cols(x + p * ldx + i + v * VLEN, <int>min(k - i - v * VLEN, <Py_ssize_t>VLEN)))
        panel += m * TILE_M


cdef void transpose(Py_ssize_t rows, Py_ssize_t cols, const real* a, Py_ssize_t lda, real* b,
                    Py_ssize_t ldb) noexcept nogil:
    """b[cols, rows] = aᵀ; b's rows are written up to a whole vector, with a's last row again."""
    cdef vreal square[16]
    cdef Py_ssize_t rq, cq, r, c, i
    for cq in range(blocks(cols, VLEN)):
        c = cq * VLEN
        for rq in range(blocks(rows, VLEN)):
            r = rq * VLEN
            for i in range(VLEN):
                square[i] = load_cols(a + min(r + i, rows - 1) * lda + c, <int>(cols - c))
            vtranspose(square)
            for i in range(min(<Py_ssize_t>VLEN, cols - c)):
                vstore(b + (c + i) * ldb + r, square[i])


cdef void transpose_back(Py_ssize_t rows, Py_ssize_t cols, const real* a, Py_ssize_t lda, real* b,
                         Py_ssize_t ldb) noexcept nogil:
    """b[cols, rows] = aᵀ, and nothing else of b; a's rows are readable up to a whole vector."""
    cdef vreal square[16]
    cdef Py_ssize_t rq, cq, r, c, i
    for rq in range(blocks(rows, VLEN)):
        r = rq * VLEN
        for cq in range(blocks(cols, VLEN)):
            c = cq * VLEN
            for i in range(VLEN):
                square[i] = vload(a + min(r + i, rows - 1) * lda + c)
            vtranspose(square)
            for i in range(min(<Py_ssize_t>VLEN, cols - c)):
                store_cols(b + (c + i) * ldb + r, square[i], <int>(rows - r))


cdef inline Py_ssize_t cut(Py_ssize_t n, Py_ssize_t step, Py_ssize_t t, Py_ssize_t parts) noexcept nogil:
    """Where part t of n begins, in whole steps."""
    return min(n, blocks(n, step) * t // parts * step)


cdef inline Py_ssize_t even_part(Py_ssize_t n, Py_ssize_t most, Py_ssize_t step) noexcept nogil:
    """Whole steps of which so many go through n that none is larger than `most`, and all but the last
    are equal; `most` is a multiple of `step`."""
    return blocks(blocks(n, step), blocks(n, most)) * step if n > 0 else step


cdef inline bint worth_packing_columns(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """dW packs the columns of x when many rows of x are read for many panels."""
    return m >= 16 and n > 4 * PANEL


cdef Py_ssize_t columns_scratch(Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Elements where dense_weight_gradient packs columns or has its transpose, for any number of rows."""
    cdef Py_ssize_t rows = min(k, <Py_ssize_t>GRADIENT_ROWS)
    return blocks(rows, TILE_M) * TILE_M * DEPTH + 16 if n > 4 * PANEL else WORD * (rows + VLEN)


cdef Py_ssize_t gradient_scratch(Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Elements of scratch of dense_weight_gradient: for columns, and for the sums of a part."""
    cdef Py_ssize_t rows = min(k, <Py_ssize_t>GRADIENT_ROWS), cols = min(n, <Py_ssize_t>GRADIENT_COLS)
    return columns_scratch(k, n) + max(rows * cols + VLEN, WORD * (rows + VLEN))


cdef Py_ssize_t dense_scratch(Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Elements of scratch that the products of a layer (k, n) need, a block of dW among them."""
    cdef Py_ssize_t cols = min(n, <Py_ssize_t>GRADIENT_COLS)
    return max(max(min(<Py_ssize_t>DEPTH, max(k, n) + VLEN) * min(n + PANEL, <Py_ssize_t>PANELS * PANEL),
                   <Py_ssize_t>(WORD * SPARSE_N * VLEN)),
               gradient_scratch(k, n) + min(k, <Py_ssize_t>GRADIENT_ROWS) * cols)


cdef inline bint worth_packing(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Forward packs W when many rows share the panel and its rows lie far apart."""
    return m >= 64 and n > 2 * PANEL and k >= 128


cdef inline void set_ends(Product* t, bint first, bint last, const real* start, Py_ssize_t col, real floor,
                          const real* gate, Py_ssize_t place) noexcept nogil:
    """What a product's sums start from in the first part of the inner index, and what is done with them after
    the last: in between c holds them."""
    t.start = NULL
    if first:
        t.start = ZEROS
    if first and start != NULL:
        t.start = start + col
    t.floor = floor if last else -INFINITY
    t.gate = NULL
    if last and gate != NULL:
        t.gate = gate + place


cdef void multiply(Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth, const real* a, Py_ssize_t lda,
                   const real* w, Py_ssize_t ldw, bint transposed, const real* start, real* c,
                   Py_ssize_t ldc, real floor, const real* gate, real* panel) noexcept nogil:
    """c[m,n] = start + a[m,depth] · w[depth,n] (or wᵀ), with `floor` or `gate` as in Product.

    In blocks of rows and of the inner index, so that the rows of a stay in the second-level cache while
    all panels of w pass, and a panel stays in the first-level cache while these rows pass. c holds the sums
    between the blocks: each is one chain still.
    """
    cdef bint packed = transposed or worth_packing(m, depth, n), last
    cdef Py_ssize_t rows = even_part(m, ROWS, TILE_M)
    cdef Py_ssize_t part = even_part(depth, DEPTH, VLEN)
    cdef Py_ssize_t r, d, q, i, j, p, width
    cdef Product t
    if m >= 16 and mostly_zero(m, depth, a, lda, most_nonzero(n, depth)):
        sparse_multiply(m, n, depth, a, lda, w, ldw, transposed, start, c, ldc, floor, gate, panel)
        return
    t.lda = lda
    t.ldc = ldc
    t.ldg = ldc
    for r in range(blocks(m, rows)):
        i = r * rows
        for d in range(blocks(depth, part) if depth > 0 else 1):
            p = d * part
            t.depth = min(part, depth - p)
            last = p + t.depth == depth
            for q in range(blocks(n, PANEL)):
                j = q * PANEL
                width = min(n - j, <Py_ssize_t>PANEL)
                t.a = a + i * lda + p
                t.b = panel
                t.ldb = PANEL
                if transposed:
                    pack_transposed(width, t.depth, w + j * ldw + p, ldw, panel, PANEL)
                elif packed:
                    if q % PANELS == 0:
                        pack_panels(t.depth, min(n - j, <Py_ssize_t>(PANELS * PANEL)), w + p * ldw + j, ldw,
                                    panel)
                    t.b = panel + q % PANELS * PANEL * t.depth
                else:
                    t.b = w + p * ldw + j
                    t.ldb = ldw
                t.c = c + i * ldc + j
                set_ends(&t, p == 0, last, start, j, floor, gate, i * ldc + j)
                product_rows(min(rows, m - i), width, &t)


cdef void add_rows(Py_ssize_t m, Py_ssize_t n, const real* x, real* y, Py_ssize_t ld,
                   real floor) noexcept nogil:
    """y[m, n] = max(floor, y + x); columns padded to whole vectors."""
    cdef Py_ssize_t i, q, at
    cdef vreal low = vsplat(floor)
    for i in range(m):
        for q in range(blocks(n, VLEN)):
            at = i * ld + q * VLEN
            vstore(y + at, vmax(low, vload(y + at) + vload(x + at)))


cdef inline void add_row_products(int depth, Py_ssize_t n, const real* x, const real* w, Py_ssize_t ldw,
                                  real* y) noexcept nogil:
    """y[n] += x[depth] · w[depth, n]; depth is a constant in every call."""
    cdef vreal xp[8]
    cdef vreal sum
    cdef Py_ssize_t q, j
    cdef int p
    for p in range(depth):
        xp[p] = vsplat(x[p])
    for q in range(blocks(n, VLEN)):
        j = q * VLEN
        sum = vload(y + j)
        for p in range(depth):
            sum = sum + xp[p] * vload(w + p * ldw + j)
        vstore(y + j, sum)


cdef void row_forward(Py_ssize_t k, Py_ssize_t n, const real* x, const real* w, const real* b, real* y,
                      bint relu) noexcept nogil:
    """dense_forward of a single row. W is read once, eight rows at a time, as it lies in memory; the row
    of sums stays in the first-level cache."""
    cdef Py_ssize_t p = 0, q, j
    for q in range(blocks(n, VLEN)):
        j = q * VLEN
        vstore(y + j, vsplat(0) if b == NULL else vload(b + j))
    while p + 8 <= k:
        add_row_products(8, n, x + p, w + p * n, n, y)
        p += 8
    while p < k:
        add_row_products(1, n, x + p, w + p * n, n, y)
        p += 1
    if relu:
        for q in range(blocks(n, VLEN)):
            vstore(y + q * VLEN, vmax(vsplat(0), vload(y + q * VLEN)))


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
                        real* scratch) noexcept nogil:
    """y[m,n] = x[m,k] · w[k,n] + b (b may be NULL), relu fused where asked for.

    x and y: rows padded to a multiple of 4, columns to whole vectors; w and b readable one
    vector past their end.
    """
    if n == 1:
        dense_forward_one(m, k, x, ldx, w, b, y, ldy, relu)
    elif m == 1:
        row_forward(k, n, x, w, b, y, relu)
    else:
        multiply(m, n, k, x, ldx, w, n, False, b, y, ldy, 0 if relu else -INFINITY, NULL, scratch)


cdef void dense_input_gradient(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, const real* dz,
                               Py_ssize_t ldz, const real* w, real* dx, Py_ssize_t ldx,
                               const real* gate, real* scratch) noexcept nogil:
    """dx[m,k] = dz[m,n] · wᵀ, zero where gate ≤ 0 (gate: like dx, or NULL).

    dz, dx, gate: padded as in dense_forward.
    """
    multiply(m, k, n, dz, ldz, w, n, True, NULL, dx, ldx, -INFINITY, gate, scratch)


cdef void column_products(Py_ssize_t k, Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx,
                          const real* dz, Py_ssize_t ldz, real* dw, Py_ssize_t lddw, bint accumulate,
                          real* scratch) noexcept nogil:
    """dw[k,n] = (dw +) xᵀ · dz. dz: columns padded to whole vectors. scratch: columns_scratch(k, n) elements,
    where the columns of x come to lie side by side if that is worth it; NULL: it is not."""
    cdef Product t
    cdef bint packed = scratch != NULL and worth_packing_columns(m, n)
    cdef Py_ssize_t part = even_part(m, DEPTH, 1) if packed else m
    cdef Py_ssize_t d, q, i, j, p
    t.ldb = ldz
    t.ldc = lddw
    t.floor = -INFINITY
    t.gate = NULL
    t.ldg = 0
    for d in range(blocks(m, part) if m > 0 else 1):
        i = d * part
        t.depth = min(part, m - i)
        if packed:
            pack_columns(k, t.depth, x + i * ldx, ldx, scratch)
        for q in range(blocks(n, PANEL)):
            j = q * PANEL
            if packed:
                for p in range(t.depth):    # of the next panel, whose rows are far apart
                    prefetch(dz + (i + p) * ldz + j + PANEL)
            t.a = x + i * ldx
            if packed:
                t.a = scratch
            t.lda = TILE_M if packed else ldx
            t.next_a = TILE_M * t.depth if packed else TILE_M
            t.b = dz + i * ldz + j
            t.c = dw + j
            t.start = ZEROS
            if accumulate or i > 0:
                t.start = NULL
            product_columns(k, min(n - j, <Py_ssize_t>PANEL), &t)


cdef inline bint better_transposed(Py_ssize_t k, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """Whether tiles of dzᵀ · x have clearly fewer idle lanes than those of xᵀ · dz, as for a few outputs."""
    cdef Py_ssize_t as_is = blocks(k, TILE_Q) * TILE_Q * blocks(n, VLEN) * VLEN
    cdef Py_ssize_t transposed = blocks(n, TILE_Q) * TILE_Q * blocks(k, VLEN) * VLEN
    return m >= 32 and k >= VLEN and 5 * transposed <= 4 * as_is


cdef void transposed_column_products(bint sparse, Py_ssize_t k, Py_ssize_t m, Py_ssize_t n, Py_ssize_t parts,
                                     const real* x, Py_ssize_t ldx, const real* dz, Py_ssize_t ldz, real* dw,
                                     Py_ssize_t lddw, bint accumulate, real* scratch,
                                     real* spare) noexcept nogil:
    """`column_products` by way of the transpose dzᵀ · x, of WORD columns of dz at a time."""
    cdef Py_ssize_t ld = blocks(k, VLEN) * VLEN, q, j, cols, c, r, rows
    cdef real* sums
    for q in range(blocks(n, WORD)):
        j = q * WORD
        cols = min(<Py_ssize_t>WORD, n - j)
        if accumulate:
            transpose(k, cols, dw + j, lddw, scratch, ld)
        for c in range(parts):
            r = cut(m, 4, c, parts)
            rows = cut(m, 4, c + 1, parts) - r
            sums = spare if c > 0 else scratch
            if sparse:
                sparse_column_products(cols, rows, k, dz + r * ldz + j, ldz, x + r * ldx, ldx, sums, ld,
                                       accumulate)
            else:
                column_products(cols, rows, k, dz + r * ldz + j, ldz, x + r * ldx, ldx, sums, ld, accumulate,
                                NULL)
            if c > 0:
                add_rows(1, cols * ld, spare, scratch, 0, -INFINITY)
        transpose_back(cols, k, scratch, ld, dw + j, lddw)


cdef void dense_weight_gradient(Py_ssize_t k, Py_ssize_t m, Py_ssize_t n, Py_ssize_t parts, const real* x,
                                Py_ssize_t ldx, const real* dz, Py_ssize_t ldz, real* dw, Py_ssize_t lddw,
                                bint accumulate, real* scratch) noexcept nogil:
    """dw[k,n] = (dw +) xᵀ · dz for k ≤ GRADIENT_ROWS columns of x.

    dz: columns padded to whole vectors. x: readable for whole vectors from its first column on, which may
    end in the next row, or behind the last one. scratch: gradient_scratch(k, n) elements. parts: of the
    rows, each summed up by itself, and then all; with several, n ≤ GRADIENT_COLS, dw is new and in one piece,
    and up to a vector is written behind it.
    """
    cdef real* spare = scratch + columns_scratch(k, n)
    cdef bint sparse_x = k >= 16 and mostly_zero(m, k, x, ldx, most_nonzero(n, m // parts))
    # A transpose takes as long as a twentieth of the arithmetic, or less.
    cdef bint sparse_dz = (not sparse_x and n >= 16 and m >= 48
                           and mostly_zero(m, n, dz, ldz, 0.95 * most_nonzero(k, m // parts)))
    cdef Py_ssize_t c, r, rows
    if not sparse_x and (sparse_dz or better_transposed(k, m, n)):
        transposed_column_products(sparse_dz, k, m, n, parts, x, ldx, dz, ldz, dw, lddw, accumulate, scratch,
                                   spare)
        return
    for c in range(parts):
        r = cut(m, 4, c, parts)
        rows = cut(m, 4, c + 1, parts) - r
        if sparse_x:
            sparse_column_products(k, rows, n, x + r * ldx, ldx, dz + r * ldz, ldz, spare if c > 0 else dw,
                                   n if c > 0 else lddw, accumulate)
        else:
            column_products(k, rows, n, x + r * ldx, ldx, dz + r * ldz, ldz, spare if c > 0 else dw,
                            n if c > 0 else lddw, accumulate, scratch)
        if c > 0:
            add_rows(1, k * n, spare, dw, 0, -INFINITY)


cdef inline void sum_columns(int nv, Py_ssize_t m, int last, const real* dz, Py_ssize_t ldz, real* db,
                             bint accumulate) noexcept nogil:
    """nv vectors of columns, of which the last one has `last` columns; nv is a constant in every call. TERMS
    rows are added up by themselves, then to those before. Blocks of BLOCK_ROWS rows end where TERMS of them
    do, so that sums are the same for all rows at once."""
    cdef vreal total[4]
    cdef vreal part[4]
    cdef Py_ssize_t q, i
    cdef int j
    for j in range(nv):
        total[j] = vsplat(0)
        if accumulate:
            total[j] = load_cols(db + j * VLEN, last if j == nv - 1 else VLEN)
    for q in range(blocks(m, TERMS)):
        for j in range(nv):
            part[j] = vsplat(0)
        for i in range(q * TERMS, min((q + 1) * TERMS, m)):
            for j in range(nv):
                part[j] = part[j] + vload(dz + i * ldz + j * VLEN)
        for j in range(nv):
            total[j] = total[j] + part[j]
    for j in range(nv):
        store_cols(db + j * VLEN, total[j], last if j == nv - 1 else VLEN)


cdef void dense_bias_gradient(Py_ssize_t m, Py_ssize_t n, const real* dz, Py_ssize_t ldz, real* db,
                              bint accumulate) noexcept nogil:
    """db[n] = (db +) Σ_i dz[i, :]"""
    cdef Py_ssize_t j = 0, left = blocks(n, VLEN)
    while left >= 4:
        sum_columns(4, m, <int>min(n - j - 3 * VLEN, <Py_ssize_t>VLEN), dz + j, ldz, db + j, accumulate)
        left -= 4
        j += 4 * VLEN
    while left > 0:
        sum_columns(1, m, <int>min(n - j, <Py_ssize_t>VLEN), dz + j, ldz, db + j, accumulate)
        left -= 1
        j += VLEN
