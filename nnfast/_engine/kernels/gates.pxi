"""The gates of a recurrent layer in one step: the register tile, and the weights in its order.

The rows [h x] of a step are contiguous, so that the tile computes all gates of VLEN units as one chain per
element: bias, then h, then x. A row does not depend on the rest of the batch. A cell with one gate, or with
masks of its own for each gate, uses the tile of gemm.pxi instead, gate by gate.
"""

# The arrays of one layer. A kernel has `kernel_gates` · units columns.
ctypedef struct RecurrentWeights:
    const real* k   # for x
    const real* r   # for h
    const real* b   # or NULL


cdef inline Py_ssize_t padded_units(const Recurrence* s) noexcept nogil:
    """Return the number of units rounded up to whole vectors."""
    return ceil_div(s.units, VLEN) * VLEN


cdef inline int kernel_gates(const Recurrence* s) noexcept nogil:
    """Return the number of gates in a kernel."""
    return 4 if s.cell == CELL_LSTM else 1 if s.cell == CELL_SIMPLE else 3


cdef inline int gate_sums(const Recurrence* s) noexcept nogil:
    """Return the number of sums per unit: a GRU has those of h and of x for its last gate."""
    return 1 if s.cell == CELL_SIMPLE else 4


cdef inline bint is_gru(const Recurrence* s) noexcept nogil:
    return s.cell == CELL_GRU or s.cell == CELL_GRU_RESET_BEFORE


cdef inline int n_copies(const Recurrence* s) noexcept nogil:
    """Return the number of copies of [h x] in a row: with recurrent dropout, each gate has its own masks."""
    return kernel_gates(s) if s.recurrent_rate > 0 else 1


cdef inline Py_ssize_t ld_features(const Recurrence* s) noexcept nogil:
    """Return the stride of rows of features in scratch.

    The masks of x depend on it, so it does not depend on the instruction set; no vector is longer than 16.
    """
    return ceil_div(s.features, 16) * 16


cdef inline Py_ssize_t copy_size(const Recurrence* s) noexcept nogil:
    return s.ld_inputs // n_copies(s)


cdef inline Py_ssize_t panel_units(const Recurrence* s, bint drops_h) noexcept nogil:
    """Return the number of units in a panel of weights; those of PANEL units are for `sums_by_gate`."""
    return PANEL if s.cell == CELL_SIMPLE or (drops_h and s.recurrent_rate > 0) else VLEN


# ---- the register tile ---------------------------------------------------------------------------

# Arguments of the register tile: sums[rows, vectors] = start + a · b.
ctypedef struct GateTile:
    Py_ssize_t tiles        # number of vertically stacked tiles
    Py_ssize_t depth        # of the whole row or, for a GRU, of h
    Py_ssize_t x_depth      # for a GRU
    const real* a
    Py_ssize_t lda
    const real* b           # contiguous rows of vectors
    const real* start
    real* sums


cdef inline void gate_tile(int mr, bint gru, const GateTile* t) noexcept nogil:
    """sums = start + a · b for t.tiles tiles of mr rows and 4 vectors.

    gru: h has products with the vectors 0, 1 and 2, and x with 0, 1 and 3. The first two arguments are
    compile-time constants at every call site.
    """
    cdef vreal acc[6][4]
    cdef vreal bp[4]
    cdef vreal ap
    cdef const real* a = t.a
    cdef const real* b
    cdef const real* start = t.start
    cdef real* sums = t.sums
    cdef Py_ssize_t lda = t.lda, depth = t.depth, x_depth = t.x_depth, p, q
    cdef int i, j, n = 3 if gru else 4
    for q in range(t.tiles):
        for i in range(mr):
            for j in range(4):
                acc[i][j] = vload(start + j * VLEN)
        b = t.b
        for p in range(depth):
            for j in range(n):
                bp[j] = vload(b + j * VLEN)
            for i in range(mr):
                ap = vsplat(a[i * lda + p])
                for j in range(n):
                    acc[i][j] = acc[i][j] + ap * bp[j]
            b += n * VLEN
        if gru:
            for p in range(depth, depth + x_depth):
                for j in range(3):
                    bp[j] = vload(b + j * VLEN)
                for i in range(mr):
                    ap = vsplat(a[i * lda + p])
                    acc[i][0] = acc[i][0] + ap * bp[0]
                    acc[i][1] = acc[i][1] + ap * bp[1]
                    acc[i][3] = acc[i][3] + ap * bp[2]
                b += 3 * VLEN
        for i in range(mr):
            for j in range(4):
                vstore(sums + (i * 4 + j) * VLEN, acc[i][j])
        a += mr * lda
        sums += mr * 4 * VLEN


cdef void lstm_1(const GateTile* t) noexcept nogil: gate_tile(1, False, t)
cdef void lstm_2(const GateTile* t) noexcept nogil: gate_tile(2, False, t)
cdef void lstm_3(const GateTile* t) noexcept nogil: gate_tile(3, False, t)
cdef void lstm_4(const GateTile* t) noexcept nogil: gate_tile(4, False, t)
cdef void lstm_5(const GateTile* t) noexcept nogil: gate_tile(5, False, t)
cdef void lstm_6(const GateTile* t) noexcept nogil: gate_tile(6, False, t)
cdef void gru_1(const GateTile* t) noexcept nogil: gate_tile(1, True, t)
cdef void gru_2(const GateTile* t) noexcept nogil: gate_tile(2, True, t)
cdef void gru_3(const GateTile* t) noexcept nogil: gate_tile(3, True, t)
cdef void gru_4(const GateTile* t) noexcept nogil: gate_tile(4, True, t)
cdef void gru_5(const GateTile* t) noexcept nogil: gate_tile(5, True, t)
cdef void gru_6(const GateTile* t) noexcept nogil: gate_tile(6, True, t)


ctypedef void (*GateTileFunction)(const GateTile* t) noexcept nogil

# Six heights of each kind of tile.
cdef GateTileFunction[12] GATE_TILES

GATE_TILES = [
    lstm_1, lstm_2, lstm_3, lstm_4, lstm_5, lstm_6,
    gru_1, gru_2, gru_3, gru_4, gru_5, gru_6,
]

cdef enum:  # the first tiles of each kind
    LSTM_TILES = 0
    GRU_TILES = 6


cdef void gate_rows(Py_ssize_t m, int kind, GateTile* t) noexcept nogil:
    """Compute m rows of sums in tiles of nearly equal height: 16 rows become 6 + 5 + 5."""
    cdef Py_ssize_t tiles = ceil_div(m, GATE_TILE_M), height = ceil_div(m, tiles)
    cdef Py_ssize_t high = m - tiles * (height - 1)
    t.tiles = high
    GATE_TILES[kind + height - 1](t)
    if high < tiles:
        t.a += high * height * t.lda
        t.sums += high * height * 4 * VLEN
        t.tiles = tiles - high
        GATE_TILES[kind + height - 2](t)


cdef void plain_rows(Py_ssize_t m, Py_ssize_t n, Gemm* t) noexcept nogil:
    """Compute c[m, n] = start + a · b for n ≤ PANEL. Rows are padded to a multiple of 4; see gemm_rows."""
    t.lower_bound = -INFINITY
    t.mask = NULL
    t.ld_mask = 0
    gemm_rows(m, n, t)


cdef void sums_by_gate(const Recurrence* s, Py_ssize_t m, Py_ssize_t units, const real* inputs,
                       const real* panel, real* sums) noexcept nogil:
    """Compute m rows of sums of `units` ≤ PANEL units gate by gate, each from its own copy of [h x].

    The sums are the same chains as in the register tile. Rows are padded to a multiple of 4.
    """
    cdef Py_ssize_t n = kernel_gates(s), copy, g
    cdef Gemm t
    t.lda = s.ld_inputs
    t.ldb = n * PANEL
    t.ldc = gate_sums(s) * PANEL
    for g in range(gate_sums(s)):
        copy = min(g, n - 1)
        t.start = panel + g * PANEL
        t.a = inputs + copy * copy_size(s)
        t.b = panel + (gate_sums(s) + copy) * PANEL
        t.c = sums + g * PANEL
        t.depth = s.units + s.features
        if is_gru(s) and g == 2:        # of the product with h alone
            t.depth = s.units
        elif is_gru(s) and g == 3:      # and of that with x
            t.a += s.units
            t.b += s.units * t.ldb
            t.depth = s.features
        plain_rows(m, units, &t)


# ---- packing --------------------------------------------------------------------------------------

cdef inline vreal unit_cols(const Recurrence* s, const real* row, int gate, Py_ssize_t u) noexcept nogil:
    """Return a gate's columns of units u … u + VLEN − 1 in a row of a kernel, 0 past the last."""
    return load_cols(row + gate * s.units + u, <int>(s.units - u))


cdef void pack_gates(const Recurrence* s, Py_ssize_t rows, const real* w, Py_ssize_t u, Py_ssize_t width,
                     real* panel) noexcept nogil:
    """panel[rows, gates, width] = in the first vector, the columns of units u … u + VLEN − 1 of all gates."""
    cdef Py_ssize_t p
    cdef int g, n = kernel_gates(s)
    for p in range(rows):
        for g in range(n):
            vstore(panel + (p * n + g) * width, unit_cols(s, w + p * n * s.units, g, u))


cdef void pack_start(const Recurrence* s, const real* b, Py_ssize_t u, Py_ssize_t width,
                     real* start) noexcept nogil:
    """start[sums, width] = in the first vector, the biases, from which the sums start."""
    cdef int g
    if b == NULL:
        for g in range(gate_sums(s)):
            vstore(start + g * width, vsplat(0))
    elif not is_gru(s):
        pack_gates(s, 1, b, u, width, start)
    else:
        for g in range(2):
            vstore(start + g * width, unit_cols(s, b, g, u))
        vstore(start + 2 * width, vsplat(0))
        vstore(start + 3 * width, unit_cols(s, b, 2, u))
        if s.cell == CELL_GRU:      # it has another row of biases, for h
            for g in range(3):
                vstore(start + g * width, vload(start + g * width) + unit_cols(s, b + 3 * s.units, g, u))


cdef Py_ssize_t forward_panel_size(const Recurrence* s, Py_ssize_t width) noexcept nogil:
    """Return the size of a panel of `width` units, with the biases."""
    return width * (gate_sums(s) + kernel_gates(s) * (s.units + s.features))


cdef void pack_forward(const Recurrence* s, const RecurrentWeights* w, Py_ssize_t width,
                       real* panels) noexcept nogil:
    """Write panels of `width` units, vector by vector: the biases, then the rows of r and of k."""
    cdef Py_ssize_t row = width * kernel_gates(s), q, u, p
    cdef real* panel
    for q in range(ceil_div(s.units, VLEN)):
        u = q * VLEN
        panel = panels + u // width * forward_panel_size(s, width) + u % width
        pack_start(s, w.b, u, width, panel)
        panel += width * gate_sums(s)
        pack_gates(s, s.units, w.r, u, width, panel)
        pack_gates(s, s.features, w.k, u, width, panel + s.units * row)
        if s.cell == CELL_GRU_RESET_BEFORE:     # the product with r ⊙ h follows later
            for p in range(s.units):
                vstore(panel + p * row + 2 * width, vsplat(0))


cdef void pack_candidate(const Recurrence* s, const real* r, real* panels) noexcept nogil:
    """panels[units / VLEN][units, VLEN] = the columns of r of the last of a GRU's three gates."""
    cdef Py_ssize_t q, p
    for q in range(ceil_div(s.units, VLEN)):
        for p in range(s.units):
            vstore(panels + (q * s.units + p) * VLEN, unit_cols(s, r + p * 3 * s.units, 2, q * VLEN))


cdef inline Py_ssize_t transposed_panel_size(Py_ssize_t depth) noexcept nogil:
    """Return the size of a panel of a transpose. Packing some rows writes up to VLEN − 1 rows more."""
    return PANEL * (depth + VLEN)


# Columns of a kernel, whose transpose becomes rows of panels of `depth` rows.
ctypedef struct TransposedPart:
    Matrix w
    Py_ssize_t first        # row of the panels
    Py_ssize_t depth
    real* panels


cdef TransposedPart transposed_part(const Matrix* w, Py_ssize_t column, Py_ssize_t n, Py_ssize_t first,
                                    Py_ssize_t depth, real* panels) noexcept nogil:
    return TransposedPart(columns_from(w, column, n), first, depth, panels)


cdef void pack_transposed_parts(int n, const TransposedPart* parts) noexcept nogil:
    """Write panels[rows / PANEL][depth, PANEL], the transposes of n parts of kernels, for dz · wᵀ."""
    cdef const TransposedPart* part
    cdef Py_ssize_t q
    cdef int k
    for k in range(n):
        part = &parts[k]
        for q in range(ceil_div(part.w.rows, PANEL)):
            pack_transposed(min(part.w.rows - q * PANEL, <Py_ssize_t>PANEL), part.w.cols,
                            part.w.data + q * PANEL * part.w.ld, part.w.ld,
                            part.panels + q * transposed_panel_size(part.depth) + part.first * PANEL)


# ---- what cells have in common -------------------------------------------------------------------

# The addresses that a cell uses in one step; each matrix has `rows` rows.
ctypedef struct CellRows:
    Py_ssize_t rows
    Py_ssize_t width        # units that the forward pass computes, at most VLEN
    Py_ssize_t units
    Py_ssize_t ld_gates, ld_units, ld_inputs, ld_h, ld_y
    Py_ssize_t plane, ld_sums   # strides of the gates and of the rows of the sums
    real* gates             # gate g is `units` · g further on
    real* before            # an LSTM has c of the step before here, a GRU that resets first r ⊙ h
    real* state
    real* output            # an LSTM has tanh(c) here
    const real* last        # h of the step before; its rows, and those of h, are ld_h apart
    const real* fed         # the same after the dropout of the last gate
    real* h
    real* y                 # y or, in the backward pass, dy; NULL: only the last step has a y
    int32_t* order          # the row of y that belongs to each row


cdef inline bint uses_default_activations(const Recurrence* s) noexcept nogil:
    return s.activation == ACT_TANH and s.recurrent_activation == ACT_SIGMOID


cdef inline void store_h(const CellRows* c, Py_ssize_t i, vreal h) noexcept nogil:
    """Store h of row i. Lanes past the last unit are overwritten by x later."""
    vstore(c.h + i * c.ld_h, h)
    if c.y != NULL:
        store_cols(c.y + c.order[i] * c.ld_y, h, <int>c.width)


cdef inline vreal step_dh(const CellRows* c, Py_ssize_t r, Py_ssize_t u, const real* dh) noexcept nogil:
    """Return the gradient of h: that from the next step, plus that of y."""
    cdef vreal total = vload(dh + r * c.ld_units + u)
    if c.y == NULL:
        return total
    return total + load_cols(c.y + c.order[r] * c.ld_y + u, <int>min(c.units - u, <Py_ssize_t>VLEN))


cdef void copy_gates(const CellRows* c, int n, const real* planes, Py_ssize_t plane) noexcept nogil:
    """Copy n planes, which are `plane` apart, to those of the gates."""
    cdef Py_ssize_t r
    cdef int g
    for g in range(n):
        for r in range(c.rows):
            copy_row(planes + r * c.ld_gates + g * plane, c.units, c.gates + r * c.ld_gates + g * c.units)


# ---- activations that are not computed in the cell's own loop -----------------------------------------

cdef inline real* gate_plane(const Recurrence* s, const CellRows* c, int gate) noexcept nogil:
    return c.gates + gate * s.units


cdef inline real* preactivation_plane(const Recurrence* s, const CellRows* c, int gate) noexcept nogil:
    """Return the plane of a gate's pre-activations, or NULL if they are not kept."""
    return gate_plane(s, c, gate_sums(s) + gate) if s.keeps_z else NULL


cdef void activate_gate(const Recurrence* s, const CellRows* c, int gate, bint recurrent, real* z,
                        Py_ssize_t ld) noexcept nogil:
    """Apply the activation or, if `recurrent`, the recurrent one to c.width units of a gate.

    The pre-activations z are kept if the derivative needs them.
    """
    cdef Matrix y = matrix(z, c.rows, VLEN, ld)
    cdef real* kept = preactivation_plane(s, c, gate)
    cdef Py_ssize_t i
    if kept != NULL:
        for i in range(c.rows):
            store_cols(kept + i * c.ld_gates, vload(z + i * ld), <int>c.width)
    if recurrent:
        activation_forward(<int>s.recurrent_activation, s.recurrent_alpha, z, &y)
    else:
        activation_forward(<int>s.activation, s.alpha, z, &y)


cdef void through_gate(const Recurrence* s, const CellRows* c, int gate, bint recurrent,
                       real* d) noexcept nogil:
    """Multiply the gradient d of a gate, whose rows are as far apart as the gates', by its derivative."""
    cdef Matrix dz = matrix(d, c.rows, s.units, c.ld_gates)
    cdef const real* z = preactivation_plane(s, c, gate)
    cdef const real* y = gate_plane(s, c, gate)
    if recurrent:
        activation_backward(<int>s.recurrent_activation, s.recurrent_alpha, z, y, d, &dz)
    else:
        activation_backward(<int>s.activation, s.alpha, z, y, d, &dz)
