"""Scaled dot-product attention of one sample: O = softmax(scale·Q·Kᵀ)·V for each head, and its gradients.

The scores of a few queries are computed, normalized and multiplied by V while they are in the L1 cache. All
products use the register tile of gemm.pxi, so every sum is one chain whose order depends on shapes alone.
"""

cdef enum:
    QUERY_ROWS = 24     # maximum number of queries whose scores are computed together
    DROPPED_ROWS = 192  # maximum number of rows of probabilities after the dropout in the backward pass

# Rows of x are queries, and rows of x2 are keys and values. Each row has the numbers of all heads one after
# the other, and then the masks: a mask is the number of a column, or < 0 if there is none.
ctypedef struct AttentionSettings:
    int64_t heads, queries, keys, key_dim, value_dim
    int64_t ld_x, ld_x2     # strides of the rows
    int64_t v_column        # first column of the values; 0 if they are the keys themselves
    int64_t query_mask      # column of x: whether the query is real
    int64_t key_mask        # column of x2: whether the key is real
    int64_t mask            # first column of x: whether each key may be used
    int64_t mask_heads      # number of masks in a row of x or in the constant: 1, or one per head
    int64_t constant        # whether there are such masks that are the same for all samples
    int64_t causal          # whether query i uses the keys up to number i alone
    int64_t window          # query i uses keys at distances below this; 0: all
    int64_t given           # whether the rows of x are scores instead of queries
    int64_t returns_scores  # whether the probabilities follow in y
    double scale
    double rate             # of the dropout of the probabilities
    int64_t seeded
    uint64_t seed

# The tensors of a sample, or their gradients; NULL if they are not needed.
ctypedef struct AttentionData:
    real* x
    real* x2
    real* y
    real* p                 # the probabilities of all heads, kept for the backward pass; NULL: they are not
    const real* constant    # the masks that are the same for all samples
    bint drops              # whether probabilities are dropped
    uint64_t key            # of the dropout's random stream
    Py_ssize_t row          # position of the sample's first row of probabilities in the epoch

ctypedef struct AttentionScratch:
    real* queries       # of a head, times the scale
    real* k_panels      # keys, or their transpose
    real* v_panels      # values, or their transpose
    real* scores        # of QUERY_ROWS queries, or their gradients
    real* dropped       # probabilities after the dropout
    real* product       # QUERY_ROWS rows of a product
    real* dy            # gradients of a head's outputs
    real* real_keys     # 1 for each real key of the sample
    real* allowed       # 1 for each key that a query may use


cdef inline Py_ssize_t whole_vectors(Py_ssize_t n) noexcept nogil:
    """Return n rounded up to whole vectors of any type."""
    return ceil_div(n, 16) * 16


cdef inline Py_ssize_t padded_queries(const AttentionSettings* s) noexcept nogil:
    """Return the number of rows of the probabilities of a head, a multiple of the tile's smallest height."""
    return ceil_div(s.queries, 4) * 4


cdef inline Py_ssize_t probabilities_size(const AttentionSettings* s) noexcept nogil:
    """Return the number of elements of a sample's probabilities."""
    return s.heads * padded_queries(s) * whole_vectors(s.keys)


# ---- masks ---------------------------------------------------------------------------------------

cdef inline Py_ssize_t key_limit(const AttentionSettings* s, Py_ssize_t end) noexcept nogil:
    """Return the number of keys that the queries before number `end` may use, except for masks."""
    if s.causal:
        return min(s.keys, end)
    return min(s.keys, end - 1 + s.window) if s.window > 0 else s.keys


cdef const real* allowed_keys(const AttentionSettings* s, const AttentionData* d, const AttentionScratch* w,
                              Py_ssize_t h, Py_ssize_t i) noexcept nogil:
    """Return an array with 1 for each key that query i of head h may use; NULL: all up to the limit."""
    cdef Py_ssize_t j, first = max(<Py_ssize_t>0, i + 1 - s.window) if s.window > 0 else 0
    cdef Py_ssize_t number = h if s.mask_heads > 1 else 0
    cdef const real* row = d.x + i * s.ld_x
    if s.mask < 0 and not s.constant and first == 0:
        return w.real_keys if s.key_mask >= 0 else NULL
    for j in range(s.keys):
        w.allowed[j] = j >= first and w.real_keys[j] != 0
    if s.mask >= 0:
        for j in range(s.keys):
            w.allowed[j] = w.allowed[j] if row[s.mask + number * s.keys + j] != 0 else 0
    if s.constant:
        row = d.constant + (number * s.queries + i) * s.keys
        for j in range(s.keys):
            w.allowed[j] = w.allowed[j] if row[j] != 0 else 0
    return w.allowed


cdef void find_real_keys(const AttentionSettings* s, const AttentionData* d, real* real_keys) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(s.keys):
        real_keys[j] = s.key_mask < 0 or d.x2[j * s.ld_x2 + s.key_mask] != 0


# ---- rows ----------------------------------------------------------------------------------------

cdef inline vreal masked_part(const real* row, const real* allowed, Py_ssize_t j,
                              Py_ssize_t n) noexcept nogil:
    """Return vector j of a row of n scores; those that are not allowed are −∞."""
    cdef vreal v = row_part(row, j, n, -INFINITY)
    if allowed == NULL:
        return v
    return vselect(vgt(vload(allowed + j * VLEN), vsplat(0)), v, vsplat(-INFINITY))


cdef void masked_softmax(Py_ssize_t n, const real* allowed, Py_ssize_t ld, real* row) noexcept nogil:
    """row (ld) = softmax of the first n elements that are allowed, zeros elsewhere; all zeros if none is."""
    cdef vreal peak = vsplat(-INFINITY), total = vsplat(0), v, top
    cdef Py_ssize_t j, vectors = ceil_div(n, VLEN)
    for j in range(vectors):
        peak = vmax(peak, masked_part(row, allowed, j, n))
    top = vsplat(vpeak(peak))
    if vpeak(peak) == -INFINITY:
        vectors = 0
    for j in range(vectors):
        v = v_exp(masked_part(row, allowed, j, n) - top)
        vstore(row + j * VLEN, v)
        total = total + v
    top = vsplat(1 / vsum(total))
    for j in range(vectors):
        vstore(row + j * VLEN, vload(row + j * VLEN) * top)
    for j in range(vectors, ld // VLEN):
        vstore(row + j * VLEN, vsplat(0))


cdef void softmax_gradient(Py_ssize_t n, real* p, const real* dp) noexcept nogil:
    """p (n) = p ⊙ (dp − Σ p·dp), the gradient of the scores in place of the probabilities p."""
    cdef vreal total = vsplat(0)
    cdef Py_ssize_t j
    for j in range(ceil_div(n, VLEN)):
        total = total + vload(p + j * VLEN) * row_part(dp, j, n, 0)
    total = vsplat(vsum(total))
    for j in range(ceil_div(n, VLEN)):
        vstore(p + j * VLEN, vload(p + j * VLEN) * (row_part(dp, j, n, 0) - total))


cdef void take_columns(const real* x, Py_ssize_t ld_x, Py_ssize_t rows, Py_ssize_t cols, double scale,
                       real* y) noexcept nogil:
    """y = scale·x[rows, cols], with columns padded to whole vectors and rows to a multiple of 4 by zeros."""
    cdef Py_ssize_t i, q, ld = whole_vectors(cols)
    cdef vreal factor = vsplat(<real>scale)
    for i in range(rows):
        for q in range(ld // VLEN):
            vstore(y + i * ld + q * VLEN, load_cols(x + i * ld_x + q * VLEN, <int>(cols - q * VLEN)) * factor)
    memset(y + rows * ld, 0, (ceil_div(rows, 4) * 4 - rows) * ld * sizeof(real))


cdef void put_columns(const real* x, Py_ssize_t rows, Py_ssize_t cols, double scale, real* y,
                      Py_ssize_t ld_y) noexcept nogil:
    """y[rows, cols] = scale·x, whose rows are whole vectors."""
    cdef Py_ssize_t i, q, ld = whole_vectors(cols)
    cdef vreal factor = vsplat(<real>scale)
    for i in range(rows):
        for q in range(ceil_div(cols, VLEN)):
            store_cols(y + i * ld_y + q * VLEN, vload(x + i * ld + q * VLEN) * factor,
                       <int>(cols - q * VLEN))


# ---- products ------------------------------------------------------------------------------------

cdef void pack_transposes(Py_ssize_t rows, Py_ssize_t cols, const real* w, Py_ssize_t ld,
                          real* panels) noexcept nogil:
    """panels[rows / PANEL][cols, PANEL] = wᵀ."""
    cdef Py_ssize_t q
    for q in range(ceil_div(rows, PANEL)):
        pack_transposed(min(rows - q * PANEL, <Py_ssize_t>PANEL), cols, w + q * PANEL * ld, ld,
                        panels + q * transposed_panel_size(cols))


cdef void panel_product(const Matrix* a, const real* panels, Py_ssize_t panel_size,
                        const Matrix* c) noexcept nogil:
    """c = a · panels. Rows of a and c are padded to a multiple of 4, and columns of c to whole vectors."""
    cdef Py_ssize_t q
    cdef Gemm t
    t.depth = a.cols
    t.lda = a.ld
    t.ldb = PANEL
    t.ldc = c.ld
    t.start = ZEROS
    t.lower_bound = -INFINITY
    t.mask = NULL
    t.ld_mask = 0
    for q in range(ceil_div(c.cols, PANEL)):
        t.a = a.data
        t.b = panels + q * panel_size
        t.c = c.data + q * PANEL
        gemm_rows(a.rows, min(c.cols - q * PANEL, <Py_ssize_t>PANEL), &t)


cdef void key_product(bint causal, Py_ssize_t i, const Matrix* p, const real* rows, const Matrix* y,
                      bint accumulate) noexcept nogil:
    """y[keys, cols] = pᵀ · rows, plus the old y if `accumulate`; the first row of p is that of query i.

    Causal probabilities are skipped where they are zero.
    """
    cdef Py_ssize_t step = 2 * TILE_M if causal else p.cols, ld = whole_vectors(y.cols), q, j, first
    cdef Matrix a, b, c
    for q in range(ceil_div(p.cols, step)):
        j = q * step
        first = min(max(j - i, <Py_ssize_t>0), p.rows) if causal else 0
        a = matrix(p.data + first * p.ld + j, p.rows - first, min(step, p.cols - j), p.ld)
        b = matrix(rows + first * ld, a.rows, y.cols, ld)
        c = rows_of(y, j, a.cols)
        transposed_gemm(&a, &b, &c, accumulate, NULL)


# ---- forward -------------------------------------------------------------------------------------

cdef void drop_probabilities(const AttentionSettings* s, const AttentionData* d, Py_ssize_t h, Py_ssize_t i,
                             const Matrix* x, const Matrix* y) noexcept nogil:
    """y = x with some elements dropped and the others scaled; the rows are queries i … of head h."""
    cdef MaskRule rule = MaskRule(s.rate, 1 / (1 - s.rate), -0.0, 0)
    dropout(x, y, &rule, d.key, d.row + h * s.queries + i)


cdef void head_scores(const AttentionSettings* s, const AttentionData* d, const AttentionScratch* w,
                      Py_ssize_t i, const Matrix* p) noexcept nogil:
    """p = the scores of the queries from i on, for the keys up to the limit."""
    cdef Matrix queries
    cdef Py_ssize_t r
    if s.given:
        for r in range(p.rows):
            copy_row(d.x + (i + r) * s.ld_x, p.cols, p.data + r * p.ld)
        return
    queries = matrix(w.queries + i * whole_vectors(s.key_dim), p.rows, s.key_dim, whole_vectors(s.key_dim))
    panel_product(&queries, w.k_panels, transposed_panel_size(s.key_dim), p)


cdef void head_probabilities(const AttentionSettings* s, const AttentionData* d, const AttentionScratch* w,
                             Py_ssize_t h, Py_ssize_t i, const Matrix* p) noexcept nogil:
    """Replace scores by probabilities, and write these to y if they are returned."""
    cdef Py_ssize_t r, n
    cdef real* row
    for r in range(p.rows):
        row = p.data + r * p.ld
        n = key_limit(s, i + r + 1)
        if s.query_mask >= 0 and d.x[(i + r) * s.ld_x + s.query_mask] == 0:
            n = 0
        masked_softmax(n, allowed_keys(s, d, w, h, i + r), p.ld, row)
        if s.returns_scores:
            copy_row(row, s.keys, d.y + s.queries * s.heads * s.value_dim
                     + (h * s.queries + i + r) * s.keys)


cdef void attention_forward(const AttentionSettings* s, const AttentionData* d,
                            const AttentionScratch* w) noexcept nogil:
    """Compute y and, if they are kept, the probabilities of a sample."""
    cdef Py_ssize_t ld = whole_vectors(s.keys), length = even_length(s.queries, QUERY_ROWS, 4)
    cdef Py_ssize_t h, q, i, rows
    cdef Matrix p, product
    find_real_keys(s, d, w.real_keys)
    for h in range(s.heads):
        if not s.given:
            take_columns(d.x + h * s.key_dim, s.ld_x, s.queries, s.key_dim, s.scale, w.queries)
            pack_transposes(s.keys, s.key_dim, d.x2 + h * s.key_dim, s.ld_x2, w.k_panels)
        pack_panels(s.keys, s.value_dim, d.x2 + s.v_column + h * s.value_dim, s.ld_x2, w.v_panels)
        for q in range(ceil_div(s.queries, length)):
            i = q * length
            rows = min(length, s.queries - i)
            p = matrix(w.scores if d.p == NULL else d.p + (h * padded_queries(s) + i) * ld, rows,
                       key_limit(s, i + rows), ld)
            head_scores(s, d, w, i, &p)
            head_probabilities(s, d, w, h, i, &p)
            if d.drops:
                product = matrix(w.dropped, rows, p.cols, ld)
                drop_probabilities(s, d, h, i, &p, &product)
                p = product
            product = matrix(w.product, rows, s.value_dim, whole_vectors(s.value_dim))
            panel_product(&p, w.v_panels, s.keys * PANEL, &product)
            put_columns(w.product, rows, s.value_dim, 1, d.y + (i * s.heads + h) * s.value_dim,
                        s.heads * s.value_dim)


# ---- backward ------------------------------------------------------------------------------------

cdef void add_score_gradients(const AttentionSettings* s, const AttentionData* g, Py_ssize_t h, Py_ssize_t i,
                              const Matrix* dp) noexcept nogil:
    """Add the gradients of the probabilities that are returned to dp."""
    cdef const real* row
    cdef Py_ssize_t r, j
    for r in range(dp.rows):
        row = g.y + s.queries * s.heads * s.value_dim + (h * s.queries + i + r) * s.keys
        for j in range(dp.cols):
            dp.data[r * dp.ld + j] += row[j]


cdef void head_score_gradients(const AttentionSettings* s, const AttentionData* d, const AttentionData* g,
                               const AttentionScratch* w, Py_ssize_t h, Py_ssize_t i,
                               const Matrix* p) noexcept nogil:
    """Replace the probabilities of some queries by the gradients of their scores."""
    cdef Matrix dy = matrix(w.dy + i * whole_vectors(s.value_dim), p.rows, s.value_dim,
                            whole_vectors(s.value_dim))
    cdef Matrix dp = matrix(w.scores, p.rows, p.cols, p.ld)
    cdef Py_ssize_t r
    panel_product(&dy, w.v_panels, transposed_panel_size(s.value_dim), &dp)
    if d.drops:
        drop_probabilities(s, d, h, i, &dp, &dp)
    if s.returns_scores:
        add_score_gradients(s, g, h, i, &dp)
    for r in range(p.rows):
        softmax_gradient(p.cols, p.data + r * p.ld, dp.data + r * p.ld)


cdef void query_gradients(const AttentionSettings* s, const AttentionData* g, const AttentionScratch* w,
                          Py_ssize_t h, Py_ssize_t i, const Matrix* ds) noexcept nogil:
    """Write the gradients of some queries of a head, or of their scores if these are given."""
    cdef Matrix product = matrix(w.product, ds.rows, s.key_dim, whole_vectors(s.key_dim))
    cdef Py_ssize_t r
    if s.given:
        for r in range(ds.rows):
            copy_row(ds.data + r * ds.ld, s.keys, g.x + (i + r) * s.ld_x)
        return
    panel_product(ds, w.k_panels, s.keys * PANEL, &product)
    put_columns(w.product, ds.rows, s.key_dim, s.scale, g.x + i * s.ld_x + h * s.key_dim, s.ld_x)


cdef void clear_masks(Py_ssize_t rows, Py_ssize_t first, real* x, Py_ssize_t ld) noexcept nogil:
    """Clear the columns of x after the numbers of all heads: masks have no gradient."""
    cdef Py_ssize_t i
    for i in range(rows):
        memset(x + i * ld + first, 0, (ld - first) * sizeof(real))


cdef void value_gradients(const AttentionSettings* s, const AttentionData* d, const AttentionScratch* w,
                          Py_ssize_t h, const Matrix* p, const Matrix* dv) noexcept nogil:
    """dv = the probabilities after the dropout, transposed, times the gradients of the outputs."""
    cdef Py_ssize_t ld = whole_vectors(s.value_dim), q, i
    cdef Matrix part, dropped
    if not d.drops:
        key_product(s.causal, 0, p, w.dy, dv, False)
        return
    for q in range(ceil_div(s.queries, DROPPED_ROWS)):
        i = q * DROPPED_ROWS
        part = rows_of(p, i, min(s.queries - i, <Py_ssize_t>DROPPED_ROWS))
        dropped = matrix(w.dropped, part.rows, part.cols, part.ld)
        drop_probabilities(s, d, h, i, &part, &dropped)
        key_product(s.causal, i, &dropped, w.dy + i * ld, dv, i > 0)


cdef void head_gradients(const AttentionSettings* s, const AttentionData* d, const AttentionData* g,
                         const AttentionScratch* w, Py_ssize_t h) noexcept nogil:
    """Compute the gradients of a head; those of the scores overwrite the probabilities."""
    cdef Py_ssize_t ld = whole_vectors(s.keys), length = even_length(s.queries, QUERY_ROWS, 4), q, i, rows
    cdef real* p = d.p + h * padded_queries(s) * ld
    cdef Matrix all_rows = matrix(p, s.queries, s.keys, ld), part, gradient
    take_columns(g.y + h * s.value_dim, s.heads * s.value_dim, s.queries, s.value_dim, 1, w.dy)
    if g.x2 != NULL:
        gradient = matrix(g.x2 + s.v_column + h * s.value_dim, s.keys, s.value_dim, s.ld_x2)
        value_gradients(s, d, w, h, &all_rows, &gradient)
    pack_transposes(s.keys, s.value_dim, d.x2 + s.v_column + h * s.value_dim, s.ld_x2, w.v_panels)
    if g.x != NULL and not s.given:
        pack_panels(s.keys, s.key_dim, d.x2 + h * s.key_dim, s.ld_x2, w.k_panels)
    for q in range(ceil_div(s.queries, length)):
        i = q * length
        rows = min(length, s.queries - i)
        part = matrix(p + i * ld, rows, key_limit(s, i + rows), ld)
        head_score_gradients(s, d, g, w, h, i, &part)
        if g.x != NULL:
            query_gradients(s, g, w, h, i, &part)
    if g.x2 != NULL and not s.given:
        take_columns(d.x + h * s.key_dim, s.ld_x, s.queries, s.key_dim, s.scale, w.queries)
        gradient = matrix(g.x2 + h * s.key_dim, s.keys, s.key_dim, s.ld_x2)
        key_product(s.causal, 0, &all_rows, w.queries, &gradient, s.v_column == 0)


cdef void attention_backward(const AttentionSettings* s, const AttentionData* d, const AttentionData* g,
                             const AttentionScratch* w) noexcept nogil:
    """Compute the gradients g.x and g.x2 of a sample from g.y, unless they are NULL."""
    cdef Py_ssize_t h
    for h in range(s.heads):
        head_gradients(s, d, g, w, h)
    if g.x != NULL:
        clear_masks(s.queries, s.keys if s.given else s.heads * s.key_dim, g.x, s.ld_x)
    if g.x2 != NULL:
        clear_masks(s.keys, s.v_column + s.heads * s.value_dim, g.x2, s.ld_x2)
