"""Recurrent layers: the loops over the steps. Each cell has a file for its arithmetic."""

# A step, its slot, and the number of rows that are computed in it.
ctypedef struct Step:
    Py_ssize_t t, k, rows


cdef CellRows cell_rows(const Recurrence* s, const StepMemory* m, const StepData* d, const Step* step,
                        Py_ssize_t u) noexcept nogil:
    """Return the addresses that the cell uses in a step, for the units from u on."""
    cdef Py_ssize_t k = step.k
    cdef CellRows c
    c.rows = step.rows
    c.order = <int32_t*>d.order
    c.width = min(s.units - u, <Py_ssize_t>VLEN)
    c.units, c.ld_gates, c.ld_units = s.units, s.ld_gates, s.ld_units
    c.ld_inputs, c.ld_y = s.ld_inputs, d.ld_y
    c.gates = slot_rows(m, m.gates, k, s.ld_gates) + u
    c.before = slot_rows(m, m.states, k, s.ld_units) + u
    c.state = slot_rows(m, m.states, k + 1, s.ld_units) + u
    c.output = slot_rows(m, m.outputs, k, s.ld_units) + u
    c.ld_h = h_stride(s)
    c.last = h_before(s, m, k) + u
    c.h = h_before(s, m, k + 1) + u
    c.fed = slot_rows(m, m.inputs, k, s.ld_inputs) + u
    c.y = step_of_y(s, d, step.t)
    if c.y != NULL:
        c.y += u
    return c


# The weights in the order of the forward pass, and scratch.
ctypedef struct ForwardScratch:
    const real* panels
    const real* candidate   # GRU that resets first: the panels of pack_candidate
    real* sums              # of STEP_ROWS rows of the register tile, or of all units of a single row
    const RecurrentWeights* unpacked    # for a single row, which has no panels; else NULL


cdef void finish_reset(const Recurrence* s, const ForwardScratch* w, const StepMemory* m, const StepData* d,
                       const Step* step) noexcept nogil:
    """Compute g and h of a step of a GRU that resets before the product."""
    cdef Py_ssize_t q
    cdef GateTile tile
    cdef CellRows cell
    tile.depth = s.units
    tile.lda = s.ld_units
    tile.start = ZEROS
    for q in range(ceil_div(s.units, VLEN)):
        tile.a = slot_rows(m, m.states, step.k, s.ld_units)
        tile.b = w.candidate + q * s.units * VLEN
        tile.sums = w.sums
        gate_rows(step.rows, SIMPLE_TILES, &tile)
        cell = cell_rows(s, m, d, step, q * VLEN)
        gru_finish(s, &cell, w.sums)


cdef void recurrent_forward(const Recurrence* s, const ForwardScratch* w, const StepMemory* m,
                            const StepData* d, const CarriedStates* carried) noexcept nogil:
    """Compute all steps of d.rows ≤ STEP_ROWS rows."""
    cdef Py_ssize_t q, i
    cdef Step step
    cdef int tiles = GRU_TILES if is_gru(s) else LSTM_TILES if s.cell == CELL_LSTM else SIMPLE_TILES
    cdef GateTile tile
    cdef CellRows cell
    cdef real* sums
    start_states(s, m, d, carried)
    tile.depth = s.units if is_gru(s) else s.units + s.features
    tile.x_depth = s.features
    tile.lda = s.ld_inputs
    step.k = 0
    for step.t in range(s.steps):
        step.rows = active_rows(s, d, step.t)
        if not takes_slot(d, step.rows):
            write_masked_y(s, m, d, step.t, step.k)
            continue
        copy_x(s, m, d, step.t, step.k)
        if w.unpacked != NULL and step.rows > 0:
            gate_row(s, w.unpacked, slot_rows(m, m.inputs, step.k, s.ld_inputs), w.sums)
        for q in range(ceil_div(s.units, VLEN) if step.rows > 0 else 0):
            if w.unpacked == NULL:
                tile.a = slot_rows(m, m.inputs, step.k, s.ld_inputs)
                tile.start = w.panels + q * forward_panel_size(s)
                tile.b = tile.start + gate_sums(s) * VLEN
                tile.sums = w.sums
                gate_rows(step.rows, tiles, &tile)
            cell = cell_rows(s, m, d, &step, q * VLEN)
            sums = w.sums if w.unpacked == NULL else w.sums + q * gate_sums(s) * VLEN
            if s.cell == CELL_LSTM:
                lstm_forward(s, &cell, sums)
            elif s.cell == CELL_GRU:
                gru_forward(s, &cell, sums)
            elif s.cell == CELL_SIMPLE:
                simple_forward(s, &cell, sums)
            else:
                gru_reset(s, &cell, sums)
        if s.cell == CELL_GRU_RESET_BEFORE and step.rows > 0:
            finish_reset(s, w, m, d, &step)
        if s.masked:
            keep_states(s, m, d, step.t, step.k)
            write_masked_y(s, m, d, step.t, step.k)
        if s.recurrent_rate > 0:
            for i in range(d.rows):
                feed_h(s, m, d, step.k + 1, i)
        step.k += 1
    finish_states(s, m, d, step.k, carried)


# ---- backward -------------------------------------------------------------------------------------

cdef void times_transpose(const Recurrence* s, const real* dz, Py_ssize_t depth, const real* panels,
                          const Matrix* out, bint add) noexcept nogil:
    """out = dz · wᵀ, plus the old values if `add`. Rows are padded to a multiple of 4."""
    cdef Gemm t
    cdef Py_ssize_t q
    t.depth = depth
    t.lda = s.ld_gates
    t.ldb = PANEL
    t.ldc = out.ld
    t.start = ZEROS
    if add:
        t.start = NULL
    t.lower_bound = -INFINITY
    t.mask = NULL
    t.ld_mask = 0
    for q in range(ceil_div(out.cols, PANEL)):
        t.a = dz
        t.b = panels + q * transposed_panel_size(depth)
        t.c = out.data + q * PANEL
        gemm_rows(out.rows, min(out.cols - q * PANEL, <Py_ssize_t>PANEL), &t)


# The transposes of the weights, and scratch for STEP_ROWS rows.
ctypedef struct BackwardScratch:
    real* dh        # the gradient of h, and of c, from the steps that follow
    real* dc        # a GRU that resets first has the gradient of r ⊙ h here
    real* dx
    real* spare     # it has the size of the gates
    real* kept      # the gradients of h and c in masked steps
    real* product   # with recurrent dropout: the gradient of h after it
    real* r_panels
    real* k_panels
    real* candidate     # a GRU that resets first has the part of r for g here


cdef void pack_backward(const Recurrence* s, const RecurrentWeights* w, const BackwardScratch* to,
                        bint for_x) noexcept nogil:
    """Pack the transpose of r, in the order of the gates' planes, and, if `for_x`, that of k."""
    cdef Py_ssize_t n = kernel_gates(s) * s.units, u = s.units
    cdef Matrix r = matrix(w.r, u, n, n), k = matrix(w.k, s.features, n, n)
    cdef TransposedPart parts[3]
    # Packing the first part overwrites rows of the second one.
    if s.cell == CELL_GRU:
        parts[0] = transposed_part(&r, 2 * u, u, 0, n, to.r_panels)
        parts[1] = transposed_part(&r, 0, 2 * u, u, n, to.r_panels)
    elif s.cell == CELL_GRU_RESET_BEFORE:
        parts[0] = transposed_part(&r, 2 * u, u, 0, u, to.candidate)
        parts[1] = transposed_part(&r, 0, 2 * u, 0, 2 * u, to.r_panels)
    else:
        parts[0] = transposed_part(&r, 0, n, 0, n, to.r_panels)
        parts[1] = transposed_part(&r, 0, 0, 0, n, to.r_panels)
    parts[2] = transposed_part(&k, 0, n, 0, n, to.k_panels)
    pack_transposed_parts(3 if for_x else 2, parts)


cdef void cell_backward(const Recurrence* s, const CellRows* c, const BackwardScratch* w,
                        const real* factors) noexcept nogil:
    """Compute dz of a step in the memory of the gates, and the parts of dh that need no product with dz.

    factors: those of the dropout of h, or NULL.
    """
    cdef Matrix drh = matrix(w.dc, c.rows, s.units, s.ld_units)
    if s.cell == CELL_LSTM:
        lstm_backward(s, c, w.dh, w.dc, w.spare)
    elif s.cell == CELL_SIMPLE:
        simple_backward(s, c, w.dh, w.spare)
    elif s.cell == CELL_GRU:
        gru_backward(s, c, w.dh, w.spare)
    else:
        gru_backward_z_and_g(s, c, w.dh, w.spare)
        times_transpose(s, w.spare + 3 * padded_units(s), s.units, w.candidate, &drh, False)
        gru_backward_reset(s, c, w.dc, factors, w.dh, w.spare)


cdef void h_backward(const Recurrence* s, const CellRows* c, const BackwardScratch* w,
                     const real* factors) noexcept nogil:
    """Write dh of the step before: what it has, for a GRU, plus the product of dz with the transpose of r.

    factors: those of the dropout of h, or NULL.
    """
    cdef Py_ssize_t u = s.units, depth = kernel_gates(s) * u, i, j, p, q
    cdef const real* dz = c.gates
    cdef Matrix dh = matrix(w.dh, c.rows, u, s.ld_units), product = matrix(w.product, c.rows, u, s.ld_units)
    cdef vreal total
    if s.cell == CELL_GRU_RESET_BEFORE:
        dz, depth = c.gates + u, 2 * u
    if factors == NULL:
        times_transpose(s, dz, depth, w.r_panels, &dh, is_gru(s))
        return
    times_transpose(s, dz, depth, w.r_panels, &product, False)
    for i in range(c.rows):
        for q in range(ceil_div(u, VLEN)):
            j = q * VLEN
            p = i * s.ld_units + j
            total = vload(product.data + p) * vload(factors + p)
            vstore(dh.data + p, total + vload(dh.data + p) if is_gru(s) else total)


cdef void x_backward(const Recurrence* s, const StepData* d, const StepData* g, Py_ssize_t t, const real* dz,
                     const BackwardScratch* w) noexcept nogil:
    """Write dX of a step, which is 0 in rows that are not active."""
    cdef Py_ssize_t i, ld = ceil_div(s.features, VLEN) * VLEN, active = active_rows(s, d, t)
    cdef Matrix dx = matrix(w.dx, active, s.features, ld)
    cdef real* to
    if active > 0:
        times_transpose(s, dz, kernel_gates(s) * s.units, w.k_panels, &dx, False)
    for i in range(g.rows):
        to = g.x + g.order[i] * g.ld_x + step_of_x(s, t) * s.features
        if i >= active:
            memset(to, 0, s.features * sizeof(real))
            continue
        if d.x_factors != NULL:
            multiply_row(dx.data + i * ld, d.x_factors + i * ld, s.features, dx.data + i * ld)
        copy_row(dx.data + i * ld, s.features, to)


cdef void recurrent_backward(const Recurrence* s, const StepMemory* m, const StepData* d, const StepData* g,
                             const BackwardScratch* w) noexcept nogil:
    """Replace the gates by the gradients dz of their pre-activations; compute dX and those of initial states.

    g: the gradients of x, y and x2; those of x and x2 are not computed if their addresses are NULL. The rows
    of the group are padded to a multiple of 4.
    """
    cdef Py_ssize_t t, computed
    cdef Step step
    cdef CellRows cell
    start_gradients(s, g, w.dh, w.dc)
    step.k = slots_taken(s, d)
    for t in range(s.steps):
        step.t = s.steps - 1 - t
        step.rows = active_rows(s, d, step.t)
        step.k -= takes_slot(d, step.rows)
        computed = min(d.rows, ceil_div(step.rows, 4) * 4)
        cell = cell_rows(s, m, g, &step, 0)
        if s.masked:
            take_kept_gradients(s, d, g, step.t, computed, w.dh, w.dc, w.kept)
        if step.rows > 0:
            cell_backward(s, &cell, w, d.h_factors)
        if s.masked and takes_slot(d, step.rows):
            clear_masked(s, d, step.t, computed, cell.gates)
        if step.rows > 0 and (step.k > 0 or g.x2 != NULL):
            h_backward(s, &cell, w, d.h_factors)
        if s.masked:
            put_kept_gradients(s, d, step.t, computed, w.kept, w.dh, w.dc)
        if g.x != NULL:
            x_backward(s, d, g, step.t, cell.gates + (s.units if is_gru(s) else 0), w)
    if g.x2 != NULL:
        finish_gradients(s, g, w.dh, w.dc)
