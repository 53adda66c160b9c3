"""Recurrent layers: the memory of the steps, and the loops over them.

The register tile is in gates.pxi, the arithmetic of the cell in lstm.pxi. In the memory of the steps, row r
of step t is row t · rows + r. All (step, row) pairs therefore form one matrix, and dW is a single product.
"""

cdef enum:
    STEP_ROWS = 24      # maximum number of rows that go through all steps together; their gates stay in cache

# What the steps of some rows leave for the backward pass. Each array has a row for each step and row.
ctypedef struct StepMemory:
    Py_ssize_t rows     # rows per step
    Py_ssize_t slots    # step t is in slot t mod `slots`: all steps in training, two in inference
    real* inputs        # [h of the step before, x]
    real* gates         # the gates, `units` columns each; later the gradients of their pre-activations
    real* states        # LSTM: c of the step before
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
    c.h = step_rows(m, m.inputs, t + 1, s.ld_inputs) + u
    c.y = NULL
    if s.sequences:
        c.y = d.y + t * s.units + u
    elif t == s.steps - 1:
        c.y = d.y + u
    return c


cdef void recurrent_forward(const Recurrence* s, const real* panels, const StepMemory* m, const StepData* d,
                            real* sums) noexcept nogil:
    """Compute all steps of d.rows ≤ STEP_ROWS rows. sums: scratch for STEP_ROWS rows of the register tile."""
    cdef Py_ssize_t t, q, row = GATE_TILE_N * VLEN
    cdef GateTile tile
    cdef CellRows cell
    clear_start(s, m, d.rows)
    tile.depth = s.units + s.features
    tile.lda = s.ld_inputs
    for t in range(s.steps):
        copy_x(s, m, d, t)
        for q in range(ceil_div(s.units, VLEN)):
            tile.a = step_rows(m, m.inputs, t, s.ld_inputs)
            tile.start = panels + q * (1 + tile.depth) * row
            tile.b = tile.start + row
            tile.sums = sums
            gate_rows(d.rows, &tile)
            cell = cell_rows(s, m, d, t, q * VLEN)
            lstm_forward(s, &cell, sums)


cdef void clear_padding(const Recurrence* s, const StepMemory* m, Py_ssize_t first) noexcept nogil:
    """Clear the rows from `first` on in all steps, so that they add nothing to dW."""
    cdef Py_ssize_t t, n = m.rows - first
    for t in range(s.steps):
        memset(step_rows(m, m.inputs, t, s.ld_inputs) + first * s.ld_inputs, 0,
               n * s.ld_inputs * sizeof(real))
        memset(step_rows(m, m.gates, t, s.ld_gates) + first * s.ld_gates, 0, n * s.ld_gates * sizeof(real))


# ---- backward -------------------------------------------------------------------------------------

cdef void times_transpose(const Recurrence* s, Py_ssize_t rows, const real* dz, Py_ssize_t cols,
                          const real* panels, const Matrix* out) noexcept nogil:
    """out[rows, cols] = dz · wᵀ for panels from pack_backward. Rows are padded to a multiple of 4."""
    cdef Gemm t
    cdef Py_ssize_t q
    t.depth = GATE_TILE_N * s.units
    t.lda = s.ld_gates
    t.ldb = PANEL
    t.ldc = out.ld
    t.start = ZEROS
    t.lower_bound = -INFINITY
    t.mask = NULL
    t.ld_mask = 0
    for q in range(ceil_div(cols, PANEL)):
        t.a = dz
        t.b = panels + q * PANEL * ceil_div(t.depth, VLEN) * VLEN
        t.c = out.data + q * PANEL
        gemm_rows(rows, min(cols - q * PANEL, <Py_ssize_t>PANEL), &t)


# Scratch of the backward pass, for STEP_ROWS rows.
ctypedef struct BackwardScratch:
    real* dh        # the gradient of h, and of c, from the steps that follow
    real* dc
    real* dx
    real* spare     # of the size of the gates
    const real* r_panels
    const real* k_panels


cdef void recurrent_backward(const Recurrence* s, const StepMemory* m, const StepData* g,
                             const BackwardScratch* w) noexcept nogil:
    """Replace the gates by the gradients dz of their pre-activations, and compute dX unless g.x is NULL.

    g: the gradients of x and y. The rows of the group are padded to a multiple of 4.
    """
    cdef Py_ssize_t t, i, ld_dx = ceil_div(s.features, VLEN) * VLEN
    cdef Matrix dh = matrix(w.dh, g.rows, s.units, s.ld_units)
    cdef Matrix dx = matrix(w.dx, g.rows, s.features, ld_dx)
    cdef CellRows cell
    cdef real* dz
    memset(w.dh, 0, STEP_ROWS * s.ld_units * sizeof(real))
    memset(w.dc, 0, STEP_ROWS * s.ld_units * sizeof(real))
    for t in range(s.steps - 1, -1, -1):
        cell = cell_rows(s, m, g, t, 0)
        lstm_backward(s, &cell, w.dh, w.dc, w.spare)
        dz = cell.gates
        if t > 0:
            times_transpose(s, g.rows, dz, s.units, w.r_panels, &dh)
        if g.x != NULL:
            times_transpose(s, g.rows, dz, s.features, w.k_panels, &dx)
            for i in range(g.rows):
                copy_row(w.dx + i * ld_dx, s.features, g.x + i * g.ld_x + step_of_x(s, t) * s.features)
