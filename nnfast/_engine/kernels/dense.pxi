"""The three GEMMs of a dense layer, with tiles from gemm.pxi or, if there are many zeros, gemm_sparse.pxi.

    forward   y[m,n]  = x[m,k] · w[k,n] + b
    backward  dx[m,k] = dz[m,n] · wᵀ          (panels of wᵀ are packed by a register transpose)
              dw[k,n] = xᵀ · dz,  db[n] = Σ dz

Each element of y and dx is accumulated in the order of the reduction dimension, regardless of the tile that
computes it. With a single output, the order depends only on k. How sums over rows are split depends only on
shapes. Results therefore do not depend on the tile or the thread, and a row of y or dx does not depend on the
rest of the batch.
"""

cdef enum:
    GRADIENT_COLS = 512     # maximum number of columns of dW per fused gradient and update


cdef Py_ssize_t columns_scratch(Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Return how many elements dense_weight_gradient needs for packed columns or a transpose, for any m."""
    cdef Py_ssize_t rows = min(k, <Py_ssize_t>GRADIENT_ROWS)
    return ceil_div(rows, TILE_M) * TILE_M * BLOCK_K + 16 if n > 4 * PANEL else BITMASK_BITS * (rows + VLEN)


cdef Py_ssize_t gradient_scratch(Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Return the scratch size of dense_weight_gradient in elements, including the sums of one part."""
    cdef Py_ssize_t rows = min(k, <Py_ssize_t>GRADIENT_ROWS), cols = min(n, <Py_ssize_t>GRADIENT_COLS)
    return columns_scratch(k, n) + max(rows * cols + VLEN, BITMASK_BITS * (rows + VLEN))


cdef Py_ssize_t dense_scratch(Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Return the scratch size in elements for the GEMMs of a layer with w (k, n), including a block of dW."""
    cdef Py_ssize_t cols = min(n, <Py_ssize_t>GRADIENT_COLS)
    return max(max(min(<Py_ssize_t>BLOCK_K, max(k, n) + VLEN) * min(n + PANEL, <Py_ssize_t>PANELS * PANEL),
                   <Py_ssize_t>(BITMASK_BITS * SPARSE_N * VLEN)),
               gradient_scratch(k, n) + min(k, <Py_ssize_t>GRADIENT_ROWS) * cols)


cdef void gemm(const Matrix* a, const Matrix* w, bint transposed, const real* start, const Matrix* c,
               real lower_bound, const real* mask, real* panel) noexcept nogil:
    """c[m,n] = start + a[m,depth] · w[depth,n] (wᵀ if `transposed`), followed by lower_bound or mask.

    lower_bound and mask are explained in Gemm; start (n) may be NULL for zeros. A cache block of `a` stays in
    the L2 cache while it is multiplied by all panels of w, and a panel stays in the L1 cache while all rows
    of the block are multiplied by it. Between blocks of the reduction dimension, c holds the partial sums, so
    that blocking does not change the order of summation. panel: scratch with dense_scratch elements.
    """
    cdef bint packed = transposed or worth_packing(a.rows, a.cols, c.cols), last
    cdef Py_ssize_t rows = even_length(a.rows, BLOCK_M, TILE_M)
    cdef Py_ssize_t part = even_length(a.cols, BLOCK_K, VLEN)
    cdef Py_ssize_t r, d, q, i, j, p, width
    cdef Gemm t
    if a.rows >= 16 and mostly_zero(a, max_nonzero_fraction(c.cols, a.cols)):
        sparse_gemm(a, w, transposed, start, c, lower_bound, mask, panel)
        return
    t.lda = a.ld
    t.ldc = c.ld
    t.ld_mask = c.ld
    for r in range(ceil_div(a.rows, rows)):
        i = r * rows
        for d in range(ceil_div(a.cols, part) if a.cols > 0 else 1):
            p = d * part
            t.depth = min(part, a.cols - p)
            last = p + t.depth == a.cols
            for q in range(ceil_div(c.cols, PANEL)):
                j = q * PANEL
                width = min(c.cols - j, <Py_ssize_t>PANEL)
                t.a = a.data + i * a.ld + p
                t.b = panel
                t.ldb = PANEL
                if transposed:
                    pack_transposed(width, t.depth, w.data + j * w.ld + p, w.ld, panel)
                elif packed:
                    if q % PANELS == 0:
                        pack_panels(t.depth, min(c.cols - j, <Py_ssize_t>(PANELS * PANEL)),
                                    w.data + p * w.ld + j, w.ld, panel)
                    t.b = panel + q % PANELS * PANEL * t.depth
                else:
                    t.b = w.data + p * w.ld + j
                    t.ldb = w.ld
                t.c = c.data + i * c.ld + j
                set_epilogue(&t, p == 0, last, start, j, lower_bound, mask, i * c.ld + j)
                gemm_rows(min(rows, a.rows - i), width, &t)


cdef void add_rows(Py_ssize_t m, Py_ssize_t n, const real* x, real* y, Py_ssize_t ld,
                   real lower_bound) noexcept nogil:
    """y[m, n] = max(lower_bound, y + x). x and y have stride ld and columns padded to whole vectors."""
    cdef Py_ssize_t i, q, at
    cdef vreal low = vsplat(lower_bound)
    for i in range(m):
        for q in range(ceil_div(n, VLEN)):
            at = i * ld + q * VLEN
            vstore(y + at, vmax(low, vload(y + at) + vload(x + at)))


cdef inline void add_scaled_rows(int depth, Py_ssize_t n, const real* x, const real* w, Py_ssize_t ldw,
                                 real* y) noexcept nogil:
    """y[n] += x[depth] · w[depth, n]; depth is a compile-time constant at every call site."""
    cdef vreal xp[8]
    cdef vreal sum
    cdef Py_ssize_t q, j
    cdef int p
    for p in range(depth):
        xp[p] = vsplat(x[p])
    for q in range(ceil_div(n, VLEN)):
        j = q * VLEN
        sum = vload(y + j)
        for p in range(depth):
            sum = sum + xp[p] * vload(w + p * ldw + j)
        vstore(y + j, sum)


cdef void row_forward(Py_ssize_t k, Py_ssize_t n, const real* x, const real* w, const real* b, real* y,
                      bint relu) noexcept nogil:
    """y[n] = x[k] · w[k, n] + b: dense_forward for a single row. w is read once, in memory order, eight rows
    at a time, and the row of sums stays in the L1 cache."""
    cdef Py_ssize_t p = 0, q, j
    for q in range(ceil_div(n, VLEN)):
        j = q * VLEN
        vstore(y + j, vsplat(0) if b == NULL else vload(b + j))
    while p + 8 <= k:
        add_scaled_rows(8, n, x + p, w + p * n, n, y)
        p += 8
    while p < k:
        add_scaled_rows(1, n, x + p, w + p * n, n, y)
        p += 1
    if relu:
        for q in range(ceil_div(n, VLEN)):
            vstore(y + q * VLEN, vmax(vsplat(0), vload(y + q * VLEN)))


cdef void dense_forward_one(const Matrix* x, const real* w, const real* b, const Matrix* y,
                            bint relu) noexcept nogil:
    """y[m,1] = x[m,k] · w[k,1] + b: dense_forward with a single output. Vectors along n would use
    only one lane. The products of each row are therefore summed per lane and then over the lanes, for VLEN
    rows at a time."""
    cdef vreal acc[16]
    cdef real out[16]
    cdef vreal total
    cdef Py_ssize_t q, p, first, r, rows, whole = x.cols // VLEN
    cdef int s, left = <int>(x.cols % VLEN)
    cdef vreal rest = vload_n(w + whole * VLEN, left) if left > 0 else vsplat(0)
    for q in range(ceil_div(x.rows, VLEN)):
        first = q * VLEN
        rows = min(<Py_ssize_t>VLEN, x.rows - first)
        for r in range(VLEN):
            acc[r] = vsplat(0)
        for r in range(rows):
            for p in range(whole):
                acc[r] = acc[r] + vload(x.data + (first + r) * x.ld + p * VLEN) * vload(w + p * VLEN)
            if left > 0:
                acc[r] = acc[r] + vload_n(x.data + (first + r) * x.ld + whole * VLEN, left) * rest
        vtranspose(acc)
        s = VLEN // 2
        while s > 0:
            for r in range(s):
                acc[r] = acc[r] + acc[r + s]
            s = s // 2
        total = acc[0] + (vsplat(0) if b == NULL else vsplat(b[0]))
        vstore(out, vmax(vsplat(0), total) if relu else total)
        for r in range(rows):
            y.data[(first + r) * y.ld] = out[r]


cdef void dense_forward(const Matrix* x, const real* w, const real* b, const Matrix* y, bint relu,
                        real* scratch) noexcept nogil:
    """y[m,n] = x[m,k] · w[k,n] + b; b may be NULL, and a ReLU is fused if `relu`.

    The rows of x and y are padded to a multiple of 4, and their columns to whole vectors. w and b must be
    readable up to one vector past their ends. scratch has dense_scratch(k, n) elements.
    """
    cdef Matrix weights
    if y.cols == 1:
        dense_forward_one(x, w, b, y, relu)
    elif x.rows == 1:
        row_forward(x.cols, y.cols, x.data, w, b, y.data, relu)
    else:
        weights = matrix(w, x.cols, y.cols, y.cols)
        gemm(x, &weights, False, b, y, 0 if relu else -INFINITY, NULL, scratch)


cdef void dense_input_gradient(const Matrix* dz, const real* w, const Matrix* dx, const real* mask,
                               real* scratch) noexcept nogil:
    """dx[m,k] = dz[m,n] · wᵀ, zero where mask ≤ 0.

    mask has the shape and stride of dx, or is NULL. dz, dx and mask are padded as in dense_forward.
    """
    cdef Matrix weights = matrix(w, dx.cols, dz.cols, dz.cols)
    gemm(dz, &weights, True, NULL, dx, -INFINITY, mask, scratch)


cdef void transposed_gemm(const Matrix* x, const Matrix* dz, const Matrix* dw, bint accumulate,
                          real* scratch) noexcept nogil:
    """dw[k,n] = x[m,k]ᵀ · dz[m,n], plus the old dw if `accumulate`.

    The columns of dz are padded to whole vectors. scratch has columns_scratch(k, n) elements for packed
    columns of x; if it is NULL, they are never packed.
    """
    cdef Gemm t
    cdef bint packed = scratch != NULL and worth_packing_columns(x.rows, dz.cols)
    cdef Py_ssize_t part = even_length(x.rows, BLOCK_K, 1) if packed else x.rows
    cdef Py_ssize_t d, q, i, j, p
    t.ldb = dz.ld
    t.ldc = dw.ld
    t.lower_bound = -INFINITY
    t.mask = NULL
    t.ld_mask = 0
    for d in range(ceil_div(x.rows, part) if x.rows > 0 else 1):
        i = d * part
        t.depth = min(part, x.rows - i)
        if packed:
            pack_columns(x.cols, t.depth, x.data + i * x.ld, x.ld, scratch)
        for q in range(ceil_div(dz.cols, PANEL)):
            j = q * PANEL
            if packed:
                for p in range(t.depth):    # fetches the next panel, whose rows are far apart
                    prefetch(dz.data + (i + p) * dz.ld + j + PANEL)
            t.a = x.data + i * x.ld
            if packed:
                t.a = scratch
            t.lda = TILE_M if packed else x.ld
            t.next_a = TILE_M * t.depth if packed else TILE_M
            t.b = dz.data + i * dz.ld + j
            t.c = dw.data + j
            t.start = ZEROS
            if accumulate or i > 0:
                t.start = NULL
            gemm_columns(x.cols, min(dz.cols - j, <Py_ssize_t>PANEL), &t)


cdef inline bint better_transposed(Py_ssize_t k, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """Return whether dzᵀ · x leaves clearly fewer lanes idle than xᵀ · dz, as happens with few outputs."""
    cdef Py_ssize_t as_is = ceil_div(k, TILE_Q) * TILE_Q * ceil_div(n, VLEN) * VLEN
    cdef Py_ssize_t transposed = ceil_div(n, TILE_Q) * TILE_Q * ceil_div(k, VLEN) * VLEN
    return m >= 32 and k >= VLEN and 5 * transposed <= 4 * as_is


# The division of rows into n parts, which have a multiple of `unit` rows each, except for the last.
ctypedef struct Parts:
    Py_ssize_t n, unit


cdef void weight_gradient_by_transpose(bint sparse, Parts parts, const Matrix* x, const Matrix* dz,
                                       const Matrix* dw, bint accumulate, real* scratch,
                                       real* spare) noexcept nogil:
    """Compute dense_weight_gradient as (dzᵀ · x)ᵀ, for BITMASK_BITS columns of dz at a time.

    sparse: whether zeros of dz are skipped. spare: scratch for the sums of one part.
    """
    cdef Py_ssize_t m = x.rows, k = x.cols, ld = ceil_div(k, VLEN) * VLEN, q, j, cols, c, r, rows
    cdef Matrix sums, z, z_part, x_part
    for q in range(ceil_div(dz.cols, BITMASK_BITS)):
        j = q * BITMASK_BITS
        cols = min(<Py_ssize_t>BITMASK_BITS, dz.cols - j)
        z = columns_from(dz, j, cols)
        if accumulate:
            transpose(k, cols, dw.data + j, dw.ld, scratch, ld)
        for c in range(parts.n):
            r = split_begin(m, parts.unit, c, parts.n)
            rows = split_begin(m, parts.unit, c + 1, parts.n) - r
            sums = matrix(spare if c > 0 else scratch, cols, k, ld)
            z_part = rows_of(&z, r, rows)
            x_part = rows_of(x, r, rows)
            if sparse:
                sparse_transposed_gemm(&z_part, &x_part, &sums, accumulate)
            else:
                transposed_gemm(&z_part, &x_part, &sums, accumulate, NULL)
            if c > 0:
                add_rows(1, cols * ld, spare, scratch, 0, -INFINITY)
        transpose_back(cols, k, scratch, ld, dw.data + j, dw.ld)


cdef void dense_weight_gradient(const Matrix* x, const Matrix* dz, const Matrix* dw, Parts parts,
                                bint accumulate, real* scratch) noexcept nogil:
    """dw[k,n] = xᵀ · dz for k ≤ GRADIENT_ROWS columns of x, plus the old dw if `accumulate`.

    The columns of dz are padded to whole vectors. Whole vectors are read from x, even past the end of its
    last row. scratch has gradient_scratch(k, n) elements. The m rows are divided into `parts`; each part is
    summed separately, and then the parts are added. With several parts, n must be at most GRADIENT_COLS,
    `accumulate` must be False and dw must be contiguous; up to one vector is written past the end of dw.
    """
    cdef Py_ssize_t m = x.rows, k = x.cols, n = dz.cols, c, r, rows
    cdef real* spare = scratch + columns_scratch(k, n)
    cdef bint sparse_x = k >= 16 and mostly_zero(x, max_nonzero_fraction(n, m // parts.n))
    # The factor 0.95 is for the transpose, which takes at most a twentieth of the time of the arithmetic.
    cdef bint sparse_dz = (not sparse_x and n >= 16 and m >= 48
                           and mostly_zero(dz, 0.95 * max_nonzero_fraction(k, m // parts.n)))
    cdef Matrix sums, x_part, z_part
    if not sparse_x and (sparse_dz or better_transposed(k, m, n)):
        weight_gradient_by_transpose(sparse_dz, parts, x, dz, dw, accumulate, scratch, spare)
        return
    for c in range(parts.n):
        r = split_begin(m, parts.unit, c, parts.n)
        rows = split_begin(m, parts.unit, c + 1, parts.n) - r
        x_part = rows_of(x, r, rows)
        z_part = rows_of(dz, r, rows)
        sums = matrix(spare if c > 0 else dw.data, k, n, n if c > 0 else dw.ld)
        if sparse_x:
            sparse_transposed_gemm(&x_part, &z_part, &sums, accumulate)
        else:
            transposed_gemm(&x_part, &z_part, &sums, accumulate, scratch)
        if c > 0:
            add_rows(1, k * n, spare, dw.data, 0, -INFINITY)


cdef inline void sum_columns(int nv, Py_ssize_t m, int last, const real* dz, Py_ssize_t ldz, real* db,
                             bint accumulate) noexcept nogil:
    """db = Σ_i dz[i, :], plus the old db if `accumulate`, for nv vectors of columns.

    The last vector has `last` columns. nv is a compile-time constant at every call site. Each run of TERMS
    rows is summed separately and then added to the total. BLOCK_ROWS is a multiple of TERMS, so that summing
    block by block and summing over all rows give bit-identical results.
    """
    cdef vreal total[4]
    cdef vreal part[4]
    cdef Py_ssize_t q, i
    cdef int j
    for j in range(nv):
        total[j] = vsplat(0)
        if accumulate:
            total[j] = load_cols(db + j * VLEN, last if j == nv - 1 else VLEN)
    for q in range(ceil_div(m, TERMS)):
        for j in range(nv):
            part[j] = vsplat(0)
        for i in range(q * TERMS, min((q + 1) * TERMS, m)):
            for j in range(nv):
                part[j] = part[j] + vload(dz + i * ldz + j * VLEN)
        for j in range(nv):
            total[j] = total[j] + part[j]
    for j in range(nv):
        store_cols(db + j * VLEN, total[j], last if j == nv - 1 else VLEN)


cdef void dense_bias_gradient(const Matrix* dz, real* db, bint accumulate) noexcept nogil:
    """db[n] = Σ_i dz[i, :], plus the old db if `accumulate`."""
    cdef Py_ssize_t j = 0, left = ceil_div(dz.cols, VLEN)
    while left >= 4:
        sum_columns(4, dz.rows, <int>min(dz.cols - j - 3 * VLEN, <Py_ssize_t>VLEN), dz.data + j, dz.ld,
                    db + j, accumulate)
        left -= 4
        j += 4 * VLEN
    while left > 0:
        sum_columns(1, dz.rows, <int>min(dz.cols - j, <Py_ssize_t>VLEN), dz.data + j, dz.ld, db + j,
                    accumulate)
        left -= 1
        j += VLEN


cdef enum:
    FEW_INPUTS = 3      # up to which `few_inputs_gradient` is faster than a register tile


cdef void few_inputs_gradient(const Matrix* x, const Matrix* dz, real* dw, Py_ssize_t ld,
                              bint accumulate) noexcept nogil:
    """dw[k,n] = xᵀ · dz for a few columns of x, plus the old dw if `accumulate`.

    A register tile would have one sum for each vector of dw and wait for each addition; here are four.
    """
    cdef vreal a, b, c, d
    cdef const real* z
    cdef const real* v
    cdef Py_ssize_t k, q, p, whole = dz.rows - dz.rows % 4
    cdef int width
    for k in range(x.cols):
        for q in range(ceil_div(dz.cols, VLEN)):
            width = <int>min(dz.cols - q * VLEN, <Py_ssize_t>VLEN)
            a = b = c = d = vsplat(0)
            z, v = dz.data + q * VLEN, x.data + k
            for p in range(0, whole, 4):
                a = a + vsplat(v[0]) * vload(z)
                b = b + vsplat(v[x.ld]) * vload(z + dz.ld)
                c = c + vsplat(v[2 * x.ld]) * vload(z + 2 * dz.ld)
                d = d + vsplat(v[3 * x.ld]) * vload(z + 3 * dz.ld)
                z += 4 * dz.ld
                v += 4 * x.ld
            for p in range(whole, dz.rows):
                a = a + vsplat(x.data[p * x.ld + k]) * load_cols(dz.data + p * dz.ld + q * VLEN, width)
            a = (a + b) + (c + d)
            store_cols(dw + k * ld + q * VLEN,
                       a + load_cols(dw + k * ld + q * VLEN, width) if accumulate else a, width)
