"""Recurrent layers: the memory of the steps, and the loops over them.

The register tile is in gates.pxi, and each cell has a file for its arithmetic. In the memory of the steps,
row r of step t is row t · rows + r. All (step, row) pairs therefore form one matrix, and dW is one product.
"""

cdef enum:
    STEP_ROWS = 24      # maximum number of rows that go through all steps together; their gates stay in cache

# What the steps of some rows leave for the backward pass. Each array has a row for each step and row.
ctypedef struct StepMemory:
    Py_ssize_t rows     # rows per step
    Py_ssize_t slots    # step t is in slot t mod `slots`: all steps in training, two in inference
    real* inputs        # [h of the step before, x]
    real* gates         # the gates, `units` columns each; later the gradients of their pre-activations
    real* states        # LSTM: c of the step before; GRU that resets first: r ⊙ h
    real* outputs       # LSTM: tanh(c)

# A group of rows of x, y and their gradients, whose samples are `ld` apart; each sample has all its steps.
ctypedef struct StepData:
    Py_ssize_t rows
    real* x
    Py_ssize_t ld_x
    real* y
    Py_ssize_t ld_y


cdef inline real* step_rows(const StepMemory* m, real* array, Py_ssize_t t, Py_ssize_t ld) noexcept nogil:
    """Return the rows of step t of an array of the memory."""
    return array + t % m.slots * m.rows * ld


cdef inline Py_ssize_t step_of_x(const Recurrence* s, Py_ssize_t t) noexcept nogil:
    """Return the step of x that is read in step t."""
    return s.steps - 1 - t if s.backwards else t


cdef inline StepMemory memory_of_rows(const Recurrence* s, const StepMemory* m,
                                      Py_ssize_t first) noexcept nogil:
    """Return the memory of the rows from `first` on."""
    cdef StepMemory part = m[0]
    part.inputs += first * s.ld_inputs
    part.gates += first * s.ld_gates
    part.states += first * s.ld_units
    part.outputs += first * s.ld_units
    return part


# ---- forward --------------------------------------------------------------------------------------

cdef void copy_x(const Recurrence* s, const StepMemory* m, const StepData* d, Py_ssize_t t) noexcept nogil:
    """Copy the step's x to its place behind h."""
    cdef real* inputs = step_rows(m, m.inputs, t, s.ld_inputs) + s.units
    cdef const real* x = d.x + step_of_x(s, t) * s.features
    cdef Py_ssize_t i
    for i in range(d.rows):
        copy_cols(x + i * d.ld_x, s.features, inputs + i * s.ld_inputs)


cdef void clear_start(const Recurrence* s, const StepMemory* m, Py_ssize_t rows) noexcept nogil:
    """Set the initial h and c to zero."""
    memset(m.inputs, 0, rows * s.ld_inputs * sizeof(real))
    memset(m.states, 0, rows * s.ld_units * sizeof(real))


cdef CellRows cell_rows(const Recurrence* s, const StepMemory* m, const StepData* d, Py_ssize_t t,
                        Py_ssize_t u) noexcept nogil:
    """Return the addresses that the cell uses in step t, for the units from u on."""
    cdef CellRows c
    c.rows = d.rows
    c.width = min(s.units - u, <Py_ssize_t>VLEN)
    c.units, c.ld_gates, c.ld_units = s.units, s.ld_gates, s.ld_units
    c.ld_inputs, c.ld_y = s.ld_inputs, d.ld_y
    c.gates = step_rows(m, m.gates, t, s.ld_gates) + u
    c.before = step_rows(m, m.states, t, s.ld_units) + u
    c.state = step_rows(m, m.states, t + 1, s.ld_units) + u
    c.output = step_rows(m, m.outputs, t, s.ld_units) + u
    c.last = step_rows(m, m.inputs, t, s.ld_inputs) + u
    c.h = step_rows(m, m.inputs, t + 1, s.ld_inputs) + u
    c.y = NULL
    if s.sequences:
        c.y = d.y + t * s.units + u
    elif t == s.steps - 1:
        c.y = d.y + u
    return c


# The weights in the order of the forward pass, and scratch.
ctypedef struct ForwardScratch:
    const real* panels
    const real* candidate   # GRU that resets first: the panels of pack_candidate
    real* sums              # of STEP_ROWS rows of the register tile


cdef void finish_reset(const Recurrence* s, const ForwardScratch* w, const StepMemory* m, const StepData* d,
                       Py_ssize_t t) noexcept nogil:
    """Compute g and h of a step of a GRU that resets before the product."""
    cdef Py_ssize_t q
    cdef GateTile tile
    cdef CellRows cell
    tile.depth = s.units
    tile.lda = s.ld_units
    tile.start = ZEROS
    for q in range(ceil_div(s.units, VLEN)):
        tile.a = step_rows(m, m.states, t, s.ld_units)
        tile.b = w.candidate + q * s.units * VLEN
        tile.sums = w.sums
        gate_rows(d.rows, SIMPLE_TILES, &tile)
        cell = cell_rows(s, m, d, t, q * VLEN)
        gru_finish(s, &cell, w.sums)


cdef void recurrent_forward(const Recurrence* s, const ForwardScratch* w, const StepMemory* m,
                            const StepData* d) noexcept nogil:
    """Compute all steps of d.rows ≤ STEP_ROWS rows."""
    cdef Py_ssize_t t, q
    cdef int tiles = GRU_TILES if is_gru(s) else LSTM_TILES if s.cell == CELL_LSTM else SIMPLE_TILES
    cdef GateTile tile
    cdef CellRows cell
    clear_start(s, m, d.rows)
    tile.depth = s.units if is_gru(s) else s.units + s.features
    tile.x_depth = s.features
    tile.lda = s.ld_inputs
    for t in range(s.steps):
        copy_x(s, m, d, t)
        for q in range(ceil_div(s.units, VLEN)):
            tile.a = step_rows(m, m.inputs, t, s.ld_inputs)
            tile.start = w.panels + q * forward_panel_size(s)
            tile.b = tile.start + gate_sums(s) * VLEN
            tile.sums = w.sums
            gate_rows(d.rows, tiles, &tile)
            cell = cell_rows(s, m, d, t, q * VLEN)
            if s.cell == CELL_LSTM:
                lstm_forward(s, &cell, w.sums)
            elif s.cell == CELL_GRU:
                gru_forward(s, &cell, w.sums)
            elif s.cell == CELL_SIMPLE:
                simple_forward(s, &cell, w.sums)
            else:
                gru_reset(s, &cell, w.sums)
        if s.cell == CELL_GRU_RESET_BEFORE:
            finish_reset(s, w, m, d, t)


cdef void clear_padding(const Recurrence* s, const StepMemory* m, Py_ssize_t first) noexcept nogil:
    """Clear the rows from `first` on in all steps, so that they add nothing to dW."""
    cdef Py_ssize_t t, n = m.rows - first
    for t in range(s.steps):
        memset(step_rows(m, m.inputs, t, s.ld_inputs) + first * s.ld_inputs, 0,
               n * s.ld_inputs * sizeof(real))
        memset(step_rows(m, m.states, t, s.ld_units) + first * s.ld_units, 0, n * s.ld_units * sizeof(real))
        memset(step_rows(m, m.gates, t, s.ld_gates) + first * s.ld_gates, 0, n * s.ld_gates * sizeof(real))


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


cdef void step_backward(const Recurrence* s, const CellRows* c, const BackwardScratch* w,
                        bint first) noexcept nogil:
    """Compute dz of a step in the memory of the gates, and dh of the step before unless this is the first."""
    cdef Py_ssize_t u = s.units, depth = kernel_gates(s) * u
    cdef const real* dz = c.gates
    cdef Matrix dh = matrix(w.dh, c.rows, u, s.ld_units), drh = matrix(w.dc, c.rows, u, s.ld_units)
    if s.cell == CELL_LSTM:
        lstm_backward(s, c, w.dh, w.dc, w.spare)
    elif s.cell == CELL_SIMPLE:
        simple_backward(s, c, w.dh, w.spare)
    elif s.cell == CELL_GRU:
        gru_backward(s, c, w.dh, w.spare)
    else:
        gru_backward_z_and_g(s, c, w.dh, w.spare)
        times_transpose(s, w.spare + 3 * padded_units(s), u, w.candidate, &drh, False)
        gru_backward_reset(s, c, w.dc, w.dh, w.spare)
        dz, depth = c.gates + u, 2 * u
    if not first:
        times_transpose(s, dz, depth, w.r_panels, &dh, is_gru(s))


cdef void recurrent_backward(const Recurrence* s, const StepMemory* m, const StepData* g,
                             const BackwardScratch* w) noexcept nogil:
    """Replace the gates by the gradients dz of their pre-activations, and compute dX unless g.x is NULL.

    g: the gradients of x and y. The rows of the group are padded to a multiple of 4.
    """
    cdef Py_ssize_t t, i
    cdef Matrix dx = matrix(w.dx, g.rows, s.features, ceil_div(s.features, VLEN) * VLEN)
    cdef CellRows cell
    memset(w.dh, 0, STEP_ROWS * s.ld_units * sizeof(real))
    memset(w.dc, 0, STEP_ROWS * s.ld_units * sizeof(real))
    for t in range(s.steps - 1, -1, -1):
        cell = cell_rows(s, m, g, t, 0)
        step_backward(s, &cell, w, t == 0)
        if g.x != NULL:
            times_transpose(s, cell.gates + (s.units if is_gru(s) else 0), kernel_gates(s) * s.units,
                            w.k_panels, &dx, False)
            for i in range(g.rows):
                copy_row(dx.data + i * dx.ld, s.features, g.x + i * g.ld_x + step_of_x(s, t) * s.features)
