"""The memory of the steps of a recurrent layer, and what enters and leaves it besides the gates.

Row r of slot k is row k · rows + r. All (slot, row) pairs therefore form one matrix, and dW is one product.
Step t is in slot t, but if masks leave a group no active row in a step, that step takes no slot.
"""

cdef enum:
    MAX_GROUPS = 8      # maximum number of groups whose pairs are moved together
    STEP_ROWS = 24      # maximum number of rows that go through all steps together; their gates stay in cache

# What the steps of some rows leave for the backward pass. Each array has a row for each step and row.
ctypedef struct StepMemory:
    Py_ssize_t rows     # rows per slot
    Py_ssize_t slots    # in training, one more than steps; in inference two, which take turns
    real* inputs        # copies of [h of the step before, x]
    real* gates         # the gates, `units` columns each; later the gradients of their pre-activations
    real* states        # LSTM: c of the step before; GRU that resets first: r ⊙ h
    real* outputs       # LSTM: tanh(c)
    real* hidden        # with recurrent dropout: h of the step before; `inputs` has it after the dropout

# A group of samples of x and y, or of their gradients, which are `ld` apart; each has all its steps. Row i of
# the memory belongs to sample order[i]: samples with more real steps come first.
ctypedef struct StepData:
    Py_ssize_t rows
    Py_ssize_t copies       # number of copies of [h x] that are written: one in inference
    bint sorted             # whether samples were sorted by their numbers of real steps
    int32_t order[STEP_ROWS]
    real* x
    Py_ssize_t ld_x
    real* y
    Py_ssize_t ld_y
    real* x2                # initial states, then the mask
    Py_ssize_t ld_x2
    const real* x_factors   # of the dropout, in rows of whole vectors, one for each copy; NULL: there is none
    const real* h_factors


# The states that a stateful layer keeps from batch to batch: `batch` rows of h, then those of c.
ctypedef struct CarriedStates:
    real* data          # NULL: the layer is not stateful
    Py_ssize_t batch
    Py_ssize_t first    # position of the group's first row in its epoch; batches have `batch` rows each


cdef inline real* carried_row(const CarriedStates* carried, int state, Py_ssize_t row,
                              Py_ssize_t units) noexcept nogil:
    """Return row `row` of the group in h (0) or c (1)."""
    return carried.data + (state * carried.batch + (carried.first + row) % carried.batch) * units


cdef inline int n_states(const Recurrence* s) noexcept nogil:
    """Return the number of states: h and, for an LSTM, c."""
    return 2 if s.cell == CELL_LSTM else 1


cdef inline Py_ssize_t ld_states(const Recurrence* s) noexcept nogil:
    return s.ld_units if s.cell == CELL_LSTM or s.cell == CELL_GRU_RESET_BEFORE else 0


cdef inline Py_ssize_t ld_outputs(const Recurrence* s) noexcept nogil:
    return s.ld_units if s.cell == CELL_LSTM else 0


cdef inline Py_ssize_t ld_hidden(const Recurrence* s) noexcept nogil:
    return s.ld_units if s.recurrent_rate > 0 else 0


cdef StepMemory step_memory(const Recurrence* s, real* p, Py_ssize_t rows, Py_ssize_t slots,
                            Py_ssize_t steps) noexcept nogil:
    """Divide memory among the arrays: `slots` slots for inputs and states, `steps` for the others."""
    cdef StepMemory m
    m.rows = rows
    m.slots = slots
    m.inputs = p
    m.states = m.inputs + slots * rows * s.ld_inputs
    m.hidden = m.states + slots * rows * ld_states(s)
    m.gates = m.hidden + slots * rows * ld_hidden(s)
    m.outputs = m.gates + steps * rows * s.ld_gates
    return m


cdef inline StepMemory memory_of_rows(const Recurrence* s, const StepMemory* m,
                                      Py_ssize_t first) noexcept nogil:
    """Return the memory of the rows from `first` on."""
    cdef StepMemory part = m[0]
    part.inputs += first * s.ld_inputs
    part.gates += first * s.ld_gates
    part.states += first * ld_states(s)
    part.outputs += first * ld_outputs(s)
    part.hidden += first * ld_hidden(s)
    return part


cdef inline real* slot_rows(const StepMemory* m, real* array, Py_ssize_t k, Py_ssize_t ld) noexcept nogil:
    """Return the rows of slot k of an array of the memory."""
    return array + (k & 1 if m.slots == 2 else k) * m.rows * ld


cdef inline real* h_before(const Recurrence* s, const StepMemory* m, Py_ssize_t k) noexcept nogil:
    """Return the rows of h before the step of slot k; they are `h_stride` apart."""
    if s.recurrent_rate > 0:
        return slot_rows(m, m.hidden, k, s.ld_units)
    return slot_rows(m, m.inputs, k, s.ld_inputs)


cdef inline Py_ssize_t h_stride(const Recurrence* s) noexcept nogil:
    return s.ld_units if s.recurrent_rate > 0 else s.ld_inputs


cdef inline Py_ssize_t step_of_x(const Recurrence* s, Py_ssize_t t) noexcept nogil:
    """Return the step of x that is read in step t."""
    return s.steps - 1 - t if s.backwards else t


cdef inline real* step_of_y(const Recurrence* s, const StepData* d, Py_ssize_t t) noexcept nogil:
    """Return the rows of y of step t, or NULL if it has none."""
    if s.sequences:
        return d.y + (s.steps - 1 - t if s.reverses_y else t) * s.y_stride
    return d.y if t == s.steps - 1 else NULL


cdef inline real* states_in_y(const Recurrence* s, const StepData* d) noexcept nogil:
    """Return the rows of the final states in y."""
    return d.y + (s.steps if s.sequences else 1) * s.units


# ---- masks -----------------------------------------------------------------------------------------

cdef inline bint is_masked(const Recurrence* s, const StepData* d, Py_ssize_t row,
                           Py_ssize_t t) noexcept nogil:
    """Return whether the x of step t is only padding in a row of the memory."""
    return s.masked and d.x2[d.order[row] * d.ld_x2 + s.n_initial * s.units + step_of_x(s, t)] == 0


cdef void set_order(const Recurrence* s, StepData* d, bint sorts) noexcept nogil:
    """Set the order of the samples: by decreasing numbers of real steps if `sorts`, else as they are.

    If sequences are padded at one end, the rows that are real in a step are then the first ones.
    """
    cdef Py_ssize_t n[STEP_ROWS]
    cdef Py_ssize_t i, j, own
    d.sorted = sorts and s.masked
    for i in range(d.rows):
        d.order[i] = <int32_t>i
        if not d.sorted:
            continue
        own = n_real_steps(s.steps, d.x2 + i * d.ld_x2 + s.n_initial * s.units)
        j = i
        while j > 0 and n[j - 1] < own:
            n[j], d.order[j] = n[j - 1], d.order[j - 1]
            j -= 1
        n[j], d.order[j] = own, <int32_t>i


cdef inline Py_ssize_t active_rows(const Recurrence* s, const StepData* d, Py_ssize_t t) noexcept nogil:
    """Return the number of rows up to the last one that is real in step t; only these are computed."""
    cdef Py_ssize_t n = d.rows
    if s.masked:
        while n > 0 and is_masked(s, d, n - 1, t):
            n -= 1
    return n


cdef inline bint takes_slot(const StepData* d, Py_ssize_t active) noexcept nogil:
    """Return whether a step with this number of active rows takes a slot of the memory."""
    return active > 0 or not d.sorted


cdef Py_ssize_t slots_taken(const Recurrence* s, const StepData* d) noexcept nogil:
    """Return the number of slots that the steps take."""
    cdef Py_ssize_t t, n = 0
    for t in range(s.steps):
        n += takes_slot(d, active_rows(s, d, t))
    return n


cdef inline void move_row(real* array, Py_ssize_t ld, Py_ssize_t source, Py_ssize_t to) noexcept nogil:
    memcpy(array + to * ld, array + source * ld, ld * sizeof(real))


cdef Py_ssize_t compact_steps(const Recurrence* s, const StepMemory* m, const StepData* groups,
                              Py_ssize_t n_groups, Py_ssize_t group_rows) noexcept nogil:
    """Move the active (slot, row) pairs together for dW; return their number, rounded up to a multiple of 4.

    The pairs that are added for this are zero.
    """
    cdef Py_ssize_t step[MAX_GROUPS]    # of each group, whose slots are those of other steps
    cdef Py_ssize_t k, g, i, n, source, to = 0
    memset(step, 0, sizeof(step))
    for k in range(s.steps):
        for g in range(n_groups):
            n = 0
            while n == 0 and step[g] < s.steps:
                n = active_rows(s, &groups[g], step[g])
                step[g] += 1
            source = k * m.rows + g * group_rows
            if source != to:
                for i in range(n):
                    move_row(m.inputs, s.ld_inputs, source + i, to + i)
                    move_row(m.gates, s.ld_gates, source + i, to + i)
                    move_row(m.states, ld_states(s), source + i, to + i)
            to += n
    while to % 4 != 0:
        memset(m.inputs + to * s.ld_inputs, 0, s.ld_inputs * sizeof(real))
        memset(m.gates + to * s.ld_gates, 0, s.ld_gates * sizeof(real))
        memset(m.states + to * ld_states(s), 0, ld_states(s) * sizeof(real))
        to += 1
    return to


cdef inline void multiply_row(const real* x, const real* factors, Py_ssize_t n, real* y) noexcept nogil:
    """y[:n] = x·factors, then zeros up to a whole vector."""
    cdef Py_ssize_t j, q
    for q in range(ceil_div(n, VLEN)):
        j = q * VLEN
        vstore(y + j, load_cols(x + j, <int>(n - j)) * vload(factors + j))


# ---- forward --------------------------------------------------------------------------------------

cdef void copy_x(const Recurrence* s, const StepMemory* m, const StepData* d, Py_ssize_t t,
                 Py_ssize_t k) noexcept nogil:
    """Copy the x of step t to its place in slot k; the x of a masked step may be anything and becomes 0."""
    cdef real* inputs = slot_rows(m, m.inputs, k, s.ld_inputs) + s.units
    cdef real* to
    cdef const real* x = d.x + step_of_x(s, t) * s.features
    cdef Py_ssize_t i, g, n = s.features, copies = d.copies, size = copy_size(s)
    if not s.masked and d.x_factors == NULL and n <= VLEN and copies == 1:
        for i in range(d.rows):
            vstore(inputs + i * s.ld_inputs, load_cols(x + i * d.ld_x, <int>n))
        return
    for i in range(d.rows):
        x = d.x + d.order[i] * d.ld_x + step_of_x(s, t) * n
        for g in range(copies):
            to = inputs + i * s.ld_inputs + g * size
            if is_masked(s, d, i, t):
                memset(to, 0, n * sizeof(real))
            elif d.x_factors != NULL:
                multiply_row(x, d.x_factors + (i * copies + g) * ld_features(s), n, to)
            else:
                copy_cols(x, n, to)


cdef void feed_h(const Recurrence* s, const StepMemory* m, const StepData* d, Py_ssize_t k) noexcept nogil:
    """Write the h of slot k, after the dropout, to its places before x."""
    cdef real* inputs = slot_rows(m, m.inputs, k, s.ld_inputs)
    cdef const real* h = h_before(s, m, k)
    cdef Py_ssize_t n = d.copies, size = copy_size(s), i, g
    for i in range(d.rows):
        for g in range(n):
            if d.h_factors == NULL:
                copy_cols(h + i * s.ld_units, s.units, inputs + i * s.ld_inputs + g * size)
            else:
                multiply_row(h + i * s.ld_units, d.h_factors + (i * n + g) * s.ld_units, s.units,
                             inputs + i * s.ld_inputs + g * size)


cdef void start_states(const Recurrence* s, const StepMemory* m, const StepData* d,
                       const CarriedStates* carried) noexcept nogil:
    """Set h and c before the first step: to what was given, to what the last batch left, or to zero."""
    cdef Py_ssize_t i, u = s.units
    cdef real* h = h_before(s, m, 0)
    cdef real* state
    cdef const real* given
    memset(m.inputs, 0, d.rows * s.ld_inputs * sizeof(real))
    memset(m.states, 0, d.rows * ld_states(s) * sizeof(real))
    memset(m.hidden, 0, d.rows * ld_hidden(s) * sizeof(real))
    for i in range(d.rows):
        state = m.states + i * s.ld_units
        if s.n_initial > 0:
            given = d.x2 + d.order[i] * d.ld_x2
            copy_cols(given, u, h + i * h_stride(s))
            if s.n_initial > 1:
                copy_cols(given + u, u, state)
        elif carried.data != NULL:
            copy_cols(carried_row(carried, 0, d.order[i], u), u, h + i * h_stride(s))
            if s.cell == CELL_LSTM:
                copy_cols(carried_row(carried, 1, d.order[i], u), u, state)
    if s.recurrent_rate > 0:
        feed_h(s, m, d, 0)


cdef void write_masked_y(const Recurrence* s, const StepMemory* m, const StepData* d, Py_ssize_t t,
                         Py_ssize_t k) noexcept nogil:
    """Write the y of the rows that are masked in step t: zero or h, which is in slot k."""
    cdef Py_ssize_t i
    cdef const real* h = h_before(s, m, k)
    cdef real* y = step_of_y(s, d, t)
    for i in range(d.rows if y != NULL else 0):
        if is_masked(s, d, i, t):
            if s.zero_masked:
                memset(y + d.order[i] * d.ld_y, 0, s.units * sizeof(real))
            else:
                copy_row(h + i * h_stride(s), s.units, y + d.order[i] * d.ld_y)


cdef void keep_states(const Recurrence* s, const StepMemory* m, const StepData* d, Py_ssize_t t,
                      Py_ssize_t k) noexcept nogil:
    """Copy the states of the rows that are masked in step t from slot k to the next one."""
    cdef Py_ssize_t i, u = s.units
    for i in range(d.rows):
        if is_masked(s, d, i, t):
            copy_cols(h_before(s, m, k) + i * h_stride(s), u, h_before(s, m, k + 1) + i * h_stride(s))
            if s.cell == CELL_LSTM:
                copy_cols(slot_rows(m, m.states, k, s.ld_units) + i * s.ld_units, u,
                          slot_rows(m, m.states, k + 1, s.ld_units) + i * s.ld_units)


cdef void finish_states(const Recurrence* s, const StepMemory* m, const StepData* d, Py_ssize_t k,
                        const CarriedStates* carried) noexcept nogil:
    """Write h and c of slot k, the last one, to y and to where the next batch finds them."""
    cdef Py_ssize_t i, u = s.units
    cdef const real* h = h_before(s, m, k)
    cdef const real* c = slot_rows(m, m.states, k, s.ld_units)
    cdef real* y
    for i in range(d.rows):
        y = states_in_y(s, d) + d.order[i] * d.ld_y
        if s.returns_states:
            copy_row(h + i * h_stride(s), u, y)
            if s.cell == CELL_LSTM:
                copy_row(c + i * s.ld_units, u, y + u)
        if carried.data != NULL:
            copy_row(h + i * h_stride(s), u, carried_row(carried, 0, d.order[i], u))
            if s.cell == CELL_LSTM:
                copy_row(c + i * s.ld_units, u, carried_row(carried, 1, d.order[i], u))


cdef void clear_padding(const Recurrence* s, const StepMemory* m, Py_ssize_t first) noexcept nogil:
    """Clear the rows from `first` on in all steps, so that they add nothing to dW."""
    cdef Py_ssize_t t, n = m.rows - first
    for t in range(s.steps):
        memset(slot_rows(m, m.inputs, t, s.ld_inputs) + first * s.ld_inputs, 0,
               n * s.ld_inputs * sizeof(real))
        memset(slot_rows(m, m.states, t, ld_states(s)) + first * ld_states(s), 0,
               n * ld_states(s) * sizeof(real))
        memset(slot_rows(m, m.gates, t, s.ld_gates) + first * s.ld_gates, 0, n * s.ld_gates * sizeof(real))


# ---- backward -------------------------------------------------------------------------------------

cdef void start_gradients(const Recurrence* s, const StepData* g, real* dh, real* dc) noexcept nogil:
    """Set the gradients of h and c after the last step."""
    cdef Py_ssize_t i
    cdef const real* dy
    memset(dh, 0, STEP_ROWS * s.ld_units * sizeof(real))
    memset(dc, 0, STEP_ROWS * s.ld_units * sizeof(real))
    if s.returns_states:
        for i in range(g.rows):
            dy = states_in_y(s, g) + g.order[i] * g.ld_y
            copy_cols(dy, s.units, dh + i * s.ld_units)
            if s.cell == CELL_LSTM:
                copy_cols(dy + s.units, s.units, dc + i * s.ld_units)


cdef void take_kept_gradients(const Recurrence* s, const StepData* mask, const StepData* g, Py_ssize_t t,
                              Py_ssize_t computed, real* dh, const real* dc, real* kept) noexcept nogil:
    """Store the gradients that masked rows pass on to h and c of the step before.

    mask: the data of the forward pass. kept: rows for dh, then rows for dc; rows from `computed` on stay in
    dh and dc.
    """
    cdef Py_ssize_t i, q, j, p
    cdef const real* dy = step_of_y(s, g, t)
    cdef vreal total
    for i in range(g.rows):
        if not is_masked(s, mask, i, t):
            continue
        for q in range(ceil_div(s.units, VLEN)):
            j = q * VLEN
            p = i * s.ld_units + j
            total = vload(dh + p)
            if dy != NULL and not s.zero_masked:
                total = total + load_cols(dy + g.order[i] * g.ld_y + j, <int>(s.units - j))
            if i >= computed:
                vstore(dh + p, total)
            else:
                vstore(kept + p, total)
                vstore(kept + STEP_ROWS * s.ld_units + p, vload(dc + p))


cdef void put_kept_gradients(const Recurrence* s, const StepData* mask, Py_ssize_t t, Py_ssize_t computed,
                             const real* kept, real* dh, real* dc) noexcept nogil:
    """Replace the gradients of masked rows by those that `take_kept_gradients` stored."""
    cdef Py_ssize_t i
    for i in range(computed):
        if is_masked(s, mask, i, t):
            copy_cols(kept + i * s.ld_units, s.units, dh + i * s.ld_units)
            copy_cols(kept + (STEP_ROWS + i) * s.ld_units, s.units, dc + i * s.ld_units)


cdef void clear_masked(const Recurrence* s, const StepData* mask, Py_ssize_t t, Py_ssize_t computed,
                       real* gates) noexcept nogil:
    """Clear dz of the rows that are masked in step t, if it will be read."""
    cdef Py_ssize_t i
    for i in range(computed if mask.sorted else mask.rows):
        if is_masked(s, mask, i, t):
            memset(gates + i * s.ld_gates, 0, gate_sums(s) * s.units * sizeof(real))


cdef void finish_gradients(const Recurrence* s, const StepData* g, const real* dh,
                           const real* dc) noexcept nogil:
    """Write the gradients of the initial states, and zeros for the mask."""
    cdef Py_ssize_t i
    cdef real* dx2
    for i in range(g.rows):
        dx2 = g.x2 + g.order[i] * g.ld_x2
        copy_row(dh + i * s.ld_units, s.units, dx2)
        if s.n_initial > 1:
            copy_row(dc + i * s.ld_units, s.units, dx2 + s.units)
        if s.masked:
            memset(dx2 + s.n_initial * s.units, 0, s.steps * sizeof(real))
