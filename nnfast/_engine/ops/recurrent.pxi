"""The recurrent op: all steps of a recurrent layer, forward and backward through time.

The samples of x and y are rows with all steps. What the backward pass needs is kept in the arena; in
inference, the scratch holds two steps of a group of rows.
"""

cdef enum:
    UNPACKED_STEPS = 4  # up to which a single row reads weights where they are; packing costs five steps
    SUM_PAIRS = 256     # maximum number of (step, row) pairs summed separately into dW


cdef inline const Recurrence* recurrence_of(const Op* op) noexcept nogil:
    return <const Recurrence*>settings_of(op)


cdef inline RecurrentWeights recurrent_weights(const Shard* shard, const Op* op) noexcept nogil:
    cdef const Model* model = shard.run.model
    return RecurrentWeights(parameter_data(model, op.w), parameter_data(model, op.recurrent),
                            parameter_data(model, op.b))


cdef inline StepMemory kept_steps(const Shard* shard, const Op* op) noexcept nogil:
    """Return the memory of all steps and sequences of the block, whose number is a multiple of 4."""
    cdef const Recurrence* s = recurrence_of(op)
    return step_memory(s, address(shard.block, op.stats, 0, 0), ceil_div(shard.rows * op.steps, 4) * 4,
                       s.steps + 1, s.steps)


cdef Py_ssize_t states_size(const Recurrence* s) noexcept nogil:
    """Return the size of the memory for inference."""
    return 2 * STEP_ROWS * (s.ld_inputs + ld_states(s) + ld_outputs(s) + ld_hidden(s) + s.ld_gates)


# ---- the rows of a group -------------------------------------------------------------------------

cdef inline real* rows_from(const Matrix* a, Py_ssize_t first) noexcept nogil:
    return NULL if a.data == NULL else a.data + first * a.ld


cdef inline void take_group(const Matrix* x, const Matrix* y, const Matrix* x2, Py_ssize_t first,
                            Py_ssize_t rows, StepData* d) noexcept nogil:
    """Set d to some samples of x, y and x2, or of their gradients."""
    d.rows = rows
    d.x, d.ld_x = rows_from(x, first), x.ld
    d.y, d.ld_y = rows_from(y, first), y.ld
    d.x2, d.ld_x2 = rows_from(x2, first), x2.ld
    d.x_factors = d.h_factors = NULL


cdef inline bint sorts_rows(const Shard* shard) noexcept nogil:
    """Return whether samples may be sorted: not if threads share the batch, because dW is a sum over rows."""
    return shard.block != shard.run.whole


cdef inline Matrix initial_states(const Shard* shard, const Op* op) noexcept nogil:
    """Return x2, the initial states and the mask; its address is NULL if there are none."""
    return second_input(shard, op) if op.n_in2 > 0 else matrix(NULL, 0, 0, 0)


cdef inline CarriedStates carried_states(const Shard* shard, const Op* op, Py_ssize_t first) noexcept nogil:
    """Return the states of a stateful layer that belong to the rows from `first` on."""
    cdef CarriedStates carried = CarriedStates(parameter_data(shard.run.model, op.mean), 1, 0)
    if carried.data != NULL:
        carried.batch = shard.run.model.parameters[op.mean].cols // recurrence_of(op).units
        carried.first = shard.run.row_offset + shard.first + shard.begin + first
    return carried


cdef Py_ssize_t factors_size(const Recurrence* s) noexcept nogil:
    """Return the size of the factors of the dropout."""
    return STEP_ROWS * n_copies(s) * ((ld_features(s) if s.rate > 0 else 0) + ld_hidden(s))


cdef const real* draw_factors(double rate, uint64_t key, Py_ssize_t first, const StepData* d, Py_ssize_t cols,
                              real* factors) noexcept nogil:
    """Write the factors of a dropout, 0 or 1 / (1 − rate), in `cols` columns for all rows of a group.

    first: the position of the group's first sample in its epoch.
    """
    cdef MaskRule rule = MaskRule(rate, 0, 1 / (1 - rate), 0)
    cdef Py_ssize_t i
    cdef Matrix row
    memset(factors, 0, d.rows * cols * sizeof(real))
    for i in range(d.rows):
        row = matrix(factors + i * cols, 1, cols, cols)
        dropout(&row, &row, &rule, key, first + d.order[i])
    return factors


cdef void set_factors(const Shard* shard, const Op* op, Py_ssize_t first, StepData* d,
                      real* factors) noexcept nogil:
    """Draw the factors of the dropout of x and of h for a group of rows."""
    cdef const Recurrence* s = recurrence_of(op)
    cdef uint64_t key
    cdef Py_ssize_t row = epoch_row(shard, op) + first, cols = n_copies(s) * ld_features(s)
    d.copies = n_copies(s) if op.stats >= 0 else 1
    if not shard.run.training:
        return
    key = random_key(shard.run, op, s.seeded, s.seed)
    if s.rate > 0:
        d.x_factors = draw_factors(s.rate, key, row, d, cols, factors)
        factors += STEP_ROWS * cols
    if s.recurrent_rate > 0:
        d.h_factors = draw_factors(s.recurrent_rate, subkey(key, <uint64_t>-1), row, d,
                                   n_copies(s) * s.ld_units, factors)


cdef int forward_recurrent(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """Compute the shard's rows in groups that stay in cache."""
    cdef const Recurrence* s = recurrence_of(op)
    cdef RecurrentWeights w = recurrent_weights(shard, op)
    cdef Matrix y = output_of(shard, op), x2 = initial_states(shard, op)
    cdef real* panels = shard.scratch
    cdef real* candidate = panels + panels_size(s)
    cdef real* sums = candidate + candidate_size(s)
    cdef real* factors = sums + sums_size(s)
    cdef real* states = factors + factors_size(s)
    cdef Py_ssize_t rows = x.rows, length = even_length(rows, STEP_ROWS, 4), q, first
    cdef bint kept = op.stats >= 0
    cdef StepMemory memory, group
    cdef StepData data
    cdef CarriedStates carried
    cdef Py_ssize_t width = panel_units(s, shard.run.training)
    cdef ForwardScratch scratch = ForwardScratch(width, ceil_div(s.units, width), panels, candidate, sums,
                                                 NULL)
    if rows == 0:
        return activation
    memory = kept_steps(shard, op) if kept else step_memory(s, states, STEP_ROWS, 2, 2)
    if (rows == 1 and s.steps <= UNPACKED_STEPS and s.cell != CELL_GRU_RESET_BEFORE
            and not (s.recurrent_rate > 0 and shard.run.training)):
        scratch.unpacked = &w
        scratch.width, scratch.n_panels = VLEN, ceil_div(s.units, VLEN)
    else:
        pack_forward(s, &w, width, panels)
    if s.cell == CELL_GRU_RESET_BEFORE:
        pack_candidate(s, w.r, candidate)
    for q in range(ceil_div(rows, length)):
        first = q * length
        take_group(x, &y, &x2, first, min(length, rows - first), &data)
        set_order(s, &data, sorts_rows(shard))
        set_factors(shard, op, first, &data, factors)
        carried = carried_states(shard, op, first)
        group = memory_of_rows(s, &memory, shard.begin * op.steps + first if kept else 0)
        recurrent_forward(s, &scratch, &group, &data, &carried)
    if kept and shard.end == shard.rows:
        clear_padding(s, &memory, shard.rows * op.steps)
    return activation


cdef void backward_recurrent(const Shard* shard, const Op* op) noexcept nogil:
    """Compute dz of all steps, in the memory of the gates, and dX and dX2 if they are needed."""
    cdef const Recurrence* s = recurrence_of(op)
    cdef RecurrentWeights weights = recurrent_weights(shard, op)
    cdef Matrix x = input_of(shard, op), y = output_of(shard, op), x2 = initial_states(shard, op)
    cdef Matrix dy = output_gradient(shard, op), dx, dx2 = second_gradient(shard, op)
    cdef Py_ssize_t rows = x.rows, length = even_length(rows, STEP_ROWS, 4), q, first
    cdef StepMemory memory = kept_steps(shard, op), group
    cdef StepData data, gradients
    cdef BackwardScratch w
    cdef real* factors
    dx = input_gradient(shard, op)
    if op.dx < 0:
        dx.data = NULL
    if op.dx2 < 0:
        dx2.data = NULL
    w.r_panels = shard.scratch
    w.candidate = w.r_panels + transposed_size(s, s.units)
    w.k_panels = w.candidate + candidate_size(s)
    w.dh = w.k_panels + transposed_size(s, s.features)
    w.dc = w.dh + STEP_ROWS * s.ld_units
    w.spare = w.dc + STEP_ROWS * s.ld_units
    w.dx = w.spare + STEP_ROWS * s.ld_gates
    w.kept = w.dx + STEP_ROWS * ld_features(s)
    w.product = w.kept + 2 * STEP_ROWS * s.ld_units
    factors = w.product + STEP_ROWS * max(s.ld_units, ld_features(s))
    pack_backward(s, &weights, &w, dx.data != NULL)
    for q in range(ceil_div(rows, length)):
        first = q * length
        take_group(&x, &y, &x2, first, min(length, rows - first), &data)
        set_order(s, &data, sorts_rows(shard))
        set_factors(shard, op, first, &data, factors)
        take_group(&dx, &dy, &dx2, first, data.rows, &gradients)
        gradients.copies = data.copies
        memcpy(gradients.order, data.order, sizeof(data.order))
        group = memory_of_rows(s, &memory, shard.begin * op.steps + first)
        recurrent_backward(s, &group, &data, &gradients, &w)


# ---- dW and db -----------------------------------------------------------------------------------

cdef inline void add_to_row(Py_ssize_t n, const real* x, real* y) noexcept nogil:
    """y[:n] += x[:n]."""
    cdef Py_ssize_t q
    cdef int cols
    for q in range(ceil_div(n, VLEN)):
        cols = <int>min(n - q * VLEN, <Py_ssize_t>VLEN)
        store_cols(y + q * VLEN, load_cols(y + q * VLEN, cols) + vload(x + q * VLEN), cols)


cdef void add_product(const Shard* shard, const Matrix* inputs, const Matrix* dz, real* dw, Py_ssize_t ld,
                      bint accumulate) noexcept nogil:
    """Write the thread's rows of dw = inputsᵀ · dz; if `accumulate`, sum them separately and add the sums."""
    cdef Py_ssize_t k = inputs.cols, n = dz.cols, rows, r
    cdef Py_ssize_t i = split_begin(k, TILE_M, shard.thread, shard.n_threads)
    cdef Py_ssize_t end = split_begin(k, TILE_M, shard.thread + 1, shard.n_threads)
    cdef real* sums = shard.scratch + gradient_scratch(k, n)
    cdef Matrix columns, dw_rows
    if k <= FEW_INPUTS:
        columns = columns_from(inputs, i, end - i)
        few_inputs_gradient(&columns, dz, dw + i * ld, ld, accumulate)
        return
    while i < end:
        rows = min(<Py_ssize_t>GRADIENT_ROWS, end - i)
        columns = columns_from(inputs, i, rows)
        dw_rows = matrix(sums if accumulate else dw + i * ld, rows, n, n if accumulate else ld)
        dense_weight_gradient(&columns, dz, &dw_rows, Parts(1, 4), False, shard.scratch)
        for r in range(rows if accumulate else 0):
            add_to_row(n, sums + r * n, dw + (i + r) * ld)
        i += rows


# Consecutive gates of a kernel, and where their gradients begin among the planes of the gates.
ctypedef struct GateRange:
    Py_ssize_t first, n, plane


cdef void add_gate_products(const Shard* shard, const Recurrence* s, const Matrix* inputs,
                            const Matrix* gates, const GateRange* g, real* dw,
                            bint accumulate) noexcept nogil:
    """Write the thread's rows of some gates of dw; `inputs` are those of the first copy of [h x]."""
    cdef bint copied = n_copies(s) > 1
    cdef Py_ssize_t parts = g.n if copied else 1, width = g.n // parts * s.units, k
    cdef Matrix own, dz
    for k in range(parts):
        own = columns_from(inputs, (g.first + k) * copy_size(s) if copied else 0, inputs.cols)
        dz = columns_from(gates, g.plane * s.units + k * width, width)
        add_product(shard, &own, &dz, dw + g.first * s.units + k * width, kernel_gates(s) * s.units,
                    accumulate)


cdef void recurrent_kernel_gradient(const Shard* shard, const Recurrence* s, const StepMemory* m,
                                    const Matrix* gates, real* dr, bint accumulate) noexcept nogil:
    """Write the thread's rows of dr. The planes of a GRU are those of h for g, then z and r."""
    cdef Matrix h = matrix(m.inputs, gates.rows, s.units, s.ld_inputs)
    cdef Matrix reset = matrix(m.states, gates.rows, s.units, ld_states(s))
    cdef Matrix dz = columns_from(gates, 3 * s.units, s.units)
    cdef GateRange every = GateRange(0, kernel_gates(s), 0), z_and_r = GateRange(0, 2, 1)
    cdef GateRange g = GateRange(2, 1, 0)
    if not is_gru(s):
        add_gate_products(shard, s, &h, gates, &every, dr, accumulate)
        return
    add_gate_products(shard, s, &h, gates, &z_and_r, dr, accumulate)
    if s.cell == CELL_GRU:
        add_gate_products(shard, s, &h, gates, &g, dr, accumulate)
    else:
        add_product(shard, &reset, &dz, dr + 2 * s.units, 3 * s.units, accumulate)


cdef void recurrent_bias_gradient(const Recurrence* s, const Matrix* gates, real* db,
                                  bint accumulate) noexcept nogil:
    """Write db; a GRU that resets after the product has a row of biases for x and one for h."""
    cdef Py_ssize_t n = kernel_gates(s) * s.units
    cdef Matrix dz = columns_from(gates, s.units if is_gru(s) else 0, n)
    dense_bias_gradient(&dz, db, accumulate)
    if s.cell == CELL_GRU:
        dz = columns_from(gates, s.units, 2 * s.units)
        dense_bias_gradient(&dz, db + n, accumulate)
        dz = columns_from(gates, 0, s.units)
        dense_bias_gradient(&dz, db + n + 2 * s.units, accumulate)


cdef Py_ssize_t pairs_of(const Shard* shard, const Op* op, const StepMemory* m) noexcept nogil:
    """Return the number of (step, row) pairs of the block, of which masks have left only the active ones."""
    cdef const Recurrence* s = recurrence_of(op)
    cdef Matrix x = input_of(shard, op), y = output_of(shard, op), x2 = initial_states(shard, op)
    cdef Py_ssize_t rows = x.rows, length = even_length(rows, STEP_ROWS, 4), g
    cdef StepData groups[MAX_GROUPS]
    if not (s.masked and sorts_rows(shard)) or ceil_div(rows, length) > MAX_GROUPS:
        return s.steps * m.rows
    for g in range(ceil_div(rows, length)):
        take_group(&x, &y, &x2, g * length, min(length, rows - g * length), &groups[g])
        set_order(s, &groups[g], True)
    return compact_steps(s, m, groups, ceil_div(rows, length), length)


cdef void gradient_recurrent(const Shard* shard, const Op* op, Range rows, real* grads,
                             bint accumulate) noexcept nogil:
    """Write the thread's rows of dk and dr to the flat gradients; the last thread also writes db.

    All (step, row) pairs of the block are one matrix; rows that are only padding are zero. Blocks of pairs
    are summed separately and then added, so that rounding errors of long sequences stay small.
    """
    cdef const Recurrence* s = recurrence_of(op)
    cdef const Model* model = shard.run.model
    cdef StepMemory m = kept_steps(shard, op), part
    cdef Py_ssize_t n = kernel_gates(s) * s.units, pairs, length, q
    cdef Matrix x, gates
    cdef GateRange every = GateRange(0, kernel_gates(s), is_gru(s))
    if not is_trained(model, op.w):
        return
    pairs = pairs_of(shard, op, &m)
    length = even_length(pairs, SUM_PAIRS, 4)
    for q in range(max(<Py_ssize_t>1, ceil_div(pairs, length))):
        part = memory_of_rows(s, &m, q * length)
        gates = matrix(part.gates, min(length, pairs - q * length), n, s.ld_gates)
        x = matrix(part.inputs + s.units, gates.rows, s.features, s.ld_inputs)
        recurrent_kernel_gradient(shard, s, &part, &gates, gradient_of(model, op.recurrent, grads),
                                  accumulate or q > 0)
        add_gate_products(shard, s, &x, &gates, &every, gradient_of(model, op.w, grads), accumulate or q > 0)
    gates = matrix(m.gates, pairs, n, s.ld_gates)
    if op.b >= 0 and shard.thread == shard.n_threads - 1:
        recurrent_bias_gradient(s, &gates, gradient_of(model, op.b, grads), accumulate)


cdef void step_rows_of(const Shard* shard, int which, Py_ssize_t rows, Py_ssize_t cols,
                       const StepConstants* step) noexcept nogil:
    """Apply the optimizer step to the thread's rows of a kernel."""
    cdef Py_ssize_t i = split_begin(rows, TILE_M, shard.thread, shard.n_threads)
    cdef Py_ssize_t end = split_begin(rows, TILE_M, shard.thread + 1, shard.n_threads)
    step_range(shard.run.model, which, i * cols, (end - i) * cols, step)


cdef void update_recurrent(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    """Compute gradients and apply the optimizer step to the thread's rows; the last thread also updates b."""
    cdef const Recurrence* s = recurrence_of(op)
    cdef const Model* model = shard.run.model
    cdef Py_ssize_t n = kernel_gates(s) * s.units
    if not is_trained(model, op.w):
        return
    # A batch of sequences that threads share consists of a single micro-batch.
    gradient_recurrent(shard, op, Range(0, shard.rows, 0), <real*>model.grads, False)
    step_rows_of(shard, op.recurrent, s.units, n, step)
    step_rows_of(shard, op.w, s.features, n, step)
    if op.b >= 0 and shard.thread == shard.n_threads - 1:
        step_range(model, op.b, 0, parameter_size(&model.parameters[op.b]), step)


# ---- scratch and work ----------------------------------------------------------------------------

cdef Py_ssize_t transposed_size(const Recurrence* s, Py_ssize_t rows) noexcept nogil:
    """Return the size of the transpose of a kernel with this number of rows."""
    return ceil_div(rows, PANEL) * transposed_panel_size(kernel_gates(s) * s.units)


cdef Py_ssize_t candidate_size(const Recurrence* s) noexcept nogil:
    """Return the size of the packed part of r for g, or of its transpose."""
    if s.cell != CELL_GRU_RESET_BEFORE:
        return 0
    return max(padded_units(s) * s.units, ceil_div(s.units, PANEL) * transposed_panel_size(s.units))


cdef Py_ssize_t panels_size(const Recurrence* s) noexcept nogil:
    """Return the size of the packed weights of the forward pass."""
    return forward_panel_size(s, ceil_div(s.units, PANEL) * PANEL)


cdef Py_ssize_t sums_size(const Recurrence* s) noexcept nogil:
    """Return the size of the sums of a panel or of all units of a single row."""
    return max(STEP_ROWS * panel_units(s, True), padded_units(s)) * gate_sums(s)


cdef Py_ssize_t scratch_recurrent(const Op* op) noexcept nogil:
    cdef const Recurrence* s = recurrence_of(op)
    cdef Py_ssize_t n = kernel_gates(s) * s.units
    cdef Py_ssize_t forward = (panels_size(s) + candidate_size(s) + sums_size(s) + factors_size(s)
                               + states_size(s))
    cdef Py_ssize_t backward = (transposed_size(s, s.units) + candidate_size(s)
                                + transposed_size(s, s.features)
                                + STEP_ROWS * (4 * s.ld_units + s.ld_gates + ld_features(s)
                                               + max(s.ld_units, ld_features(s))) + factors_size(s))
    cdef Py_ssize_t sums = min(max(s.units, s.features), <Py_ssize_t>GRADIENT_ROWS) * n + VLEN
    return max(max(forward, backward), gradient_scratch(max(s.units, s.features), n) + sums)


cdef double flops_recurrent(const Op* op) noexcept nogil:
    cdef const Recurrence* s = recurrence_of(op)
    return 2.0 * s.steps * (s.units + s.features) * kernel_gates(s) * s.units
