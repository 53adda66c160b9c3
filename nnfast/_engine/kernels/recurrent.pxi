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
    if s.cell == CELL_GRU_RESET_BEFORE and d.copies > 1:
        c.fed += 2 * copy_size(s)
    c.y = step_of_y(s, d, step.t)
    if c.y != NULL:
        c.y += u
    return c


# The weights in the order of the forward pass, and scratch.
ctypedef struct ForwardScratch:
    Py_ssize_t width        # units in a panel
    Py_ssize_t n_panels
    const real* panels
    const real* candidate   # GRU that resets first: the panels of pack_candidate
    real* sums              # of STEP_ROWS rows of a panel, or of all units of a single row
    const RecurrentWeights* unpacked    # for a single row, which has no panels; else NULL


cdef inline void panel_sums(const Recurrence* s, const ForwardScratch* w, Py_ssize_t m, const real* inputs,
                            Py_ssize_t q) noexcept nogil:
    """Compute m rows of sums of the units of panel q."""
    cdef GateTile tile
    tile.start = w.panels + q * forward_panel_size(s, w.width)
    if w.width > VLEN:
        sums_by_gate(s, m, min(s.units - q * PANEL, <Py_ssize_t>PANEL), inputs, tile.start, w.sums)
        return
    tile.depth = s.units if is_gru(s) else s.units + s.features
    tile.x_depth = s.features
    tile.a = inputs
    tile.lda = s.ld_inputs
    tile.b = tile.start + gate_sums(s) * VLEN
    tile.sums = w.sums
    gate_rows(m, GRU_TILES if is_gru(s) else LSTM_TILES, &tile)


cdef void finish_reset(const Recurrence* s, const ForwardScratch* w, const StepMemory* m, const StepData* d,
                       const Step* step) noexcept nogil:
    """Compute g and h of a step of a GRU that resets before the product."""
    cdef Py_ssize_t q
    cdef Gemm t
    cdef CellRows cell
    t.depth = s.units
    t.lda = s.ld_units
    t.ldb = t.ldc = VLEN
    t.start = ZEROS
    for q in range(ceil_div(s.units, VLEN)):
        t.a = slot_rows(m, m.states, step.k, s.ld_units)
        t.b = w.candidate + q * s.units * VLEN
        t.c = w.sums
        plain_rows(step.rows, VLEN, &t)
        cell = cell_rows(s, m, d, step, q * VLEN)
        gru_finish(s, &cell, w.sums)


cdef inline void cell_forward(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Compute the gates and the states of c.width units."""
    if s.cell == CELL_LSTM:
        lstm_forward(s, c, sums)
    elif s.cell == CELL_GRU:
        gru_forward(s, c, sums)
    elif s.cell == CELL_SIMPLE:
        simple_forward(s, c, sums)
    else:
        gru_reset(s, c, sums)


cdef inline void step_forward(const Recurrence* s, const ForwardScratch* w, const StepMemory* m,
                              const StepData* d, const Step* step) noexcept nogil:
    """Compute the active rows of a step."""
    cdef const real* inputs = slot_rows(m, m.inputs, step.k, s.ld_inputs)
    cdef Py_ssize_t p, q, u
    cdef CellRows cell
    cdef real* sums = w.sums
    if w.unpacked != NULL:
        gate_row(s, w.unpacked, inputs, sums)
    for p in range(w.n_panels):
        if w.unpacked == NULL:
            panel_sums(s, w, step.rows, inputs, p)
            sums = w.sums
        for q in range(w.width // VLEN):
            u = p * w.width + q * VLEN
            if u >= s.units:
                break
            cell = cell_rows(s, m, d, step, u)
            cell.plane, cell.ld_sums = w.width, gate_sums(s) * w.width
            cell_forward(s, &cell, sums)
            sums += VLEN if w.unpacked == NULL else gate_sums(s) * VLEN
    if s.cell == CELL_GRU_RESET_BEFORE:
        finish_reset(s, w, m, d, step)


cdef void recurrent_forward(const Recurrence* s, const ForwardScratch* w, const StepMemory* m,
                            const StepData* d, const CarriedStates* carried) noexcept nogil:
    """Compute all steps of d.rows ≤ STEP_ROWS rows."""
    cdef Step step
    start_states(s, m, d, carried)
    step.k = 0
    for step.t in range(s.steps):
        step.rows = active_rows(s, d, step.t)
        if not takes_slot(d, step.rows):
            write_masked_y(s, m, d, step.t, step.k)
            continue
        copy_x(s, m, d, step.t, step.k)
        if step.rows > 0:
            step_forward(s, w, m, d, &step)
        if s.masked:
            keep_states(s, m, d, step.t, step.k)
            write_masked_y(s, m, d, step.t, step.k)
        if s.recurrent_rate > 0:
            feed_h(s, m, d, step.k + 1)
        step.k += 1
    finish_states(s, m, d, step.k, carried)


# ---- backward -------------------------------------------------------------------------------------

# A product of the gradients of consecutive gates with the transpose of a kernel.
ctypedef struct GateProduct:
    const real* dz          # its rows are padded to a multiple of 4
    Py_ssize_t depth        # number of columns of dz
    const real* panels      # of pack_transposed_parts
    Py_ssize_t panel_size
    const real* factors     # of the dropout, or NULL
    Py_ssize_t copy         # the copy of the factors that belongs to the first gate
    real* product           # scratch, needed with factors


cdef void times_transpose(const Recurrence* s, const GateProduct* g, const Matrix* out,
                          bint add) noexcept nogil:
    """out = dz · wᵀ, plus the old values if `add`."""
    cdef Gemm t
    cdef Py_ssize_t q
    t.depth = g.depth
    t.lda = s.ld_gates
    t.ldb = PANEL
    t.ldc = out.ld
    t.start = ZEROS
    if add:
        t.start = NULL
    for q in range(ceil_div(out.cols, PANEL)):
        t.a = g.dz
        t.b = g.panels + q * g.panel_size
        t.c = out.data + q * PANEL
        plain_rows(out.rows, min(out.cols - q * PANEL, <Py_ssize_t>PANEL), &t)


cdef void through_dropout(const Recurrence* s, const GateProduct* all_gates, const Matrix* out,
                          bint add) noexcept nogil:
    """out = Σ factors ⊙ (dz · wᵀ) over all gates that have factors of their own; the same without factors."""
    cdef GateProduct g = all_gates[0]
    cdef Py_ssize_t n = n_copies(s), width = s.units if n > 1 else g.depth, parts = g.depth // width, k, i, q
    cdef Matrix product = matrix(g.product, out.rows, out.cols, out.ld)
    cdef const real* factors
    cdef real* to
    cdef vreal total
    if g.factors == NULL:
        times_transpose(s, &g, out, add)
        return
    g.depth = width
    for k in range(parts):
        times_transpose(s, &g, &product, False)
        for i in range(out.rows):
            factors = g.factors + (i * n + (g.copy + k) % n) * out.ld
            to = out.data + i * out.ld
            for q in range(ceil_div(out.cols, VLEN)):
                total = vload(product.data + i * out.ld + q * VLEN) * vload(factors + q * VLEN)
                vstore(to + q * VLEN, total + vload(to + q * VLEN) if add or k > 0 else total)
        g.dz += width
        g.panels += width * PANEL


# The transposes of the weights, and scratch for STEP_ROWS rows.
ctypedef struct BackwardScratch:
    real* dh        # the gradient of h, and of c, from the steps that follow
    real* dc        # a GRU that resets first has the gradient of r ⊙ h here
    real* dx
    real* spare     # it has the size of the gates
    real* kept      # the gradients of h and c in masked steps
    real* product   # with dropout: the gradients of what a gate reads
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
    cdef GateProduct g = GateProduct(w.spare + 3 * padded_units(s), s.units, w.candidate,
                                     transposed_panel_size(s.units), NULL, 0, NULL)
    if s.cell == CELL_LSTM:
        lstm_backward(s, c, w.dh, w.dc, w.spare)
    elif s.cell == CELL_SIMPLE:
        simple_backward(s, c, w.dh, w.spare)
    elif s.cell == CELL_GRU:
        gru_backward(s, c, w.dh, w.spare)
    else:
        gru_backward_z_and_g(s, c, w.dh, w.spare)
        times_transpose(s, &g, &drh, False)
        gru_backward_reset(s, c, w.dc, factors, w.dh, w.spare)


cdef void h_backward(const Recurrence* s, const CellRows* c, const BackwardScratch* w,
                     const real* factors) noexcept nogil:
    """Write dh of the step before: what it has, for a GRU, plus the product of dz with the transpose of r.

    factors: those of the dropout of h, or NULL.
    """
    cdef Py_ssize_t depth = kernel_gates(s) * s.units
    cdef Matrix dh = matrix(w.dh, c.rows, s.units, s.ld_units)
    cdef GateProduct g = GateProduct(c.gates, depth, w.r_panels, transposed_panel_size(depth), factors, 0,
                                     w.product)
    if s.cell == CELL_GRU:      # its first plane is that of the last gate
        g.copy = 2
    elif s.cell == CELL_GRU_RESET_BEFORE:
        g.dz, g.depth = c.gates + s.units, 2 * s.units
        g.panel_size = transposed_panel_size(g.depth)
    through_dropout(s, &g, &dh, is_gru(s))


cdef void x_backward(const Recurrence* s, const StepData* d, const StepData* g, Py_ssize_t t, const real* dz,
                     const BackwardScratch* w) noexcept nogil:
    """Write dX of a step, which is 0 in rows that are not active."""
    cdef Py_ssize_t i, depth = kernel_gates(s) * s.units, active = active_rows(s, d, t)
    cdef Matrix dx = matrix(w.dx, active, s.features, ld_features(s))
    cdef GateProduct product = GateProduct(dz, depth, w.k_panels, transposed_panel_size(depth), d.x_factors,
                                           0, w.product)
    cdef real* to
    if active > 0:
        through_dropout(s, &product, &dx, False)
    for i in range(g.rows):
        to = g.x + g.order[i] * g.ld_x + step_of_x(s, t) * s.features
        if i < active:
            copy_row(dx.data + i * dx.ld, s.features, to)
        else:
            memset(to, 0, s.features * sizeof(real))


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
