"""The gates of a recurrent layer in one step: the register tile, and the weights in its order.

The rows [h x] of a step are contiguous, so that the tile computes all gates of VLEN units as one chain per
element: bias, then h, then x. A row does not depend on the rest of the batch.
"""

cdef enum:
    GATE_TILE_N = 4     # vectors per row of the register tile

# The arrays of one layer.
ctypedef struct RecurrentWeights:
    const real* k   # (features, gates · units)
    const real* r   # (units, gates · units)
    const real* b   # (gates · units), or NULL


cdef inline Py_ssize_t padded_units(const Recurrence* s) noexcept nogil:
    """Return the number of units rounded up to whole vectors."""
    return ceil_div(s.units, VLEN) * VLEN


# ---- the register tile ---------------------------------------------------------------------------

# Arguments of the register tile: sums[rows, GATE_TILE_N vectors] = start + a · b.
ctypedef struct GateTile:
    Py_ssize_t tiles        # number of vertically stacked tiles
    Py_ssize_t depth
    const real* a
    Py_ssize_t lda
    const real* b
    const real* start
    real* sums


cdef inline void gate_tile(int mr, const GateTile* t) noexcept nogil:
    """sums = start + a · b for t.tiles tiles of mr rows, a compile-time constant at every call site."""
    cdef vreal acc[6][GATE_TILE_N]
    cdef vreal bp[GATE_TILE_N]
    cdef vreal ap
    cdef const real* a = t.a
    cdef const real* b
    cdef const real* start = t.start
    cdef real* sums = t.sums
    cdef Py_ssize_t lda = t.lda, depth = t.depth, p, q
    cdef int i, j
    for q in range(t.tiles):
        for i in range(mr):
            for j in range(GATE_TILE_N):
                acc[i][j] = vload(start + j * VLEN)
        b = t.b
        for p in range(depth):
            for j in range(GATE_TILE_N):
                bp[j] = vload(b + j * VLEN)
            for i in range(mr):
                ap = vsplat(a[i * lda + p])
                for j in range(GATE_TILE_N):
                    acc[i][j] = acc[i][j] + ap * bp[j]
            b += GATE_TILE_N * VLEN
        for i in range(mr):
            for j in range(GATE_TILE_N):
                vstore(sums + (i * GATE_TILE_N + j) * VLEN, acc[i][j])
        a += mr * lda
        sums += mr * GATE_TILE_N * VLEN


cdef void gates_1(const GateTile* t) noexcept nogil: gate_tile(1, t)
cdef void gates_2(const GateTile* t) noexcept nogil: gate_tile(2, t)
cdef void gates_3(const GateTile* t) noexcept nogil: gate_tile(3, t)
cdef void gates_4(const GateTile* t) noexcept nogil: gate_tile(4, t)
cdef void gates_5(const GateTile* t) noexcept nogil: gate_tile(5, t)
cdef void gates_6(const GateTile* t) noexcept nogil: gate_tile(6, t)


ctypedef void (*GateTileFunction)(const GateTile* t) noexcept nogil

# Indexed by the number of rows less 1.
cdef GateTileFunction[6] GATE_TILES

GATE_TILES = [gates_1, gates_2, gates_3, gates_4, gates_5, gates_6]


cdef void gate_rows(Py_ssize_t m, GateTile* t) noexcept nogil:
    """Compute m rows of sums in tiles of nearly equal height: 16 rows become 6 + 5 + 5."""
    cdef Py_ssize_t tiles = ceil_div(m, GATE_TILE_M), height = ceil_div(m, tiles)
    cdef Py_ssize_t high = m - tiles * (height - 1)
    t.tiles = high
    GATE_TILES[height - 1](t)
    if high < tiles:
        t.a += high * height * t.lda
        t.sums += high * height * GATE_TILE_N * VLEN
        t.tiles = tiles - high
        GATE_TILES[height - 2](t)


# ---- packing --------------------------------------------------------------------------------------

cdef inline void pack_gates(const Recurrence* s, Py_ssize_t rows, const real* w, Py_ssize_t u,
                            real* panel) noexcept nogil:
    """panel[rows, gates, VLEN] = the columns of units u … u + VLEN − 1 of all gates, or zeros."""
    cdef Py_ssize_t p
    cdef int g, width = <int>min(s.units - u, <Py_ssize_t>VLEN)
    for p in range(rows):
        for g in range(GATE_TILE_N):
            vstore(panel + (p * GATE_TILE_N + g) * VLEN,
                   load_cols(w + (p * GATE_TILE_N + g) * s.units + u, width))


cdef void pack_forward(const Recurrence* s, const RecurrentWeights* w, real* panels) noexcept nogil:
    """panels[units / VLEN][1 + units + features][gates, VLEN] = bias, r and k, as the tile reads them."""
    cdef Py_ssize_t q, row = GATE_TILE_N * VLEN
    for q in range(ceil_div(s.units, VLEN)):
        if w.b != NULL:
            pack_gates(s, 1, w.b, q * VLEN, panels)
        else:
            memset(panels, 0, row * sizeof(real))
        pack_gates(s, s.units, w.r, q * VLEN, panels + row)
        pack_gates(s, s.features, w.k, q * VLEN, panels + (1 + s.units) * row)
        panels += (1 + s.units + s.features) * row


cdef Py_ssize_t forward_panels_size(const Recurrence* s) noexcept nogil:
    return padded_units(s) * GATE_TILE_N * (1 + s.units + s.features)


cdef void pack_backward(const Recurrence* s, Py_ssize_t rows, const real* w,
                        real* panels) noexcept nogil:
    """panels[rows / PANEL][gates · units, PANEL] = wᵀ, for the products of dz with the transpose of k or r."""
    cdef Py_ssize_t q, depth = GATE_TILE_N * s.units
    for q in range(ceil_div(rows, PANEL)):
        pack_transposed(min(rows - q * PANEL, <Py_ssize_t>PANEL), depth, w + q * PANEL * depth, depth,
                        panels, PANEL)
        panels += ceil_div(depth, VLEN) * VLEN * PANEL


cdef Py_ssize_t backward_panels_size(const Recurrence* s, Py_ssize_t rows) noexcept nogil:
    return ceil_div(rows, PANEL) * PANEL * ceil_div(GATE_TILE_N * s.units, VLEN) * VLEN


# ---- what cells have in common -------------------------------------------------------------------

# The addresses that a cell uses in one step; each matrix has `rows` rows.
ctypedef struct CellRows:
    Py_ssize_t rows
    Py_ssize_t width        # units that the forward pass computes, at most VLEN
    Py_ssize_t units
    Py_ssize_t ld_gates, ld_units, ld_inputs, ld_y
    real* gates             # gate g is `units` · g further on
    real* before            # c of the step before
    real* state
    real* output            # tanh(c)
    real* h
    real* y                 # or its gradient; NULL: this step has none


cdef inline void store_h(const CellRows* c, Py_ssize_t i, vreal h) noexcept nogil:
    """Store h of row i. Lanes past the last unit are overwritten by x later."""
    vstore(c.h + i * c.ld_inputs, h)
    if c.y != NULL:
        store_cols(c.y + i * c.ld_y, h, <int>c.width)


cdef inline vreal step_dh(const CellRows* c, Py_ssize_t r, Py_ssize_t u, const real* dh) noexcept nogil:
    """Return the gradient of h: that from the next step, plus that of y."""
    cdef vreal total = vload(dh + r * c.ld_units + u)
    if c.y == NULL:
        return total
    return total + load_cols(c.y + r * c.ld_y + u, <int>min(c.units - u, <Py_ssize_t>VLEN))
