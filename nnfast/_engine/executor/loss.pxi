"""Computation of the losses of a shard's rows and of their divisor, and the output of predictions."""

cdef void write_outputs(const Shard* shard, bint logits) noexcept nogil:
    """Write the predictions of the shard's rows to run.outputs, in the data's own order."""
    cdef const Run* run = shard.run
    cdef const Model* model = run.model
    cdef Py_ssize_t r
    cdef real* y = address(shard.block, run.op_list.out, shard.begin, model.ld_out)
    cdef Matrix outputs = matrix(y, n_rows(shard), model.n_out, model.ld_out)
    cdef const Op* last = &run.op_list.ops[run.op_list.n_ops - 1]
    if logits:
        activation_forward(last.activation, last.alpha, y, &outputs)
    for r in range(shard.end - shard.begin):
        copy_row(y + r * model.ld_out, model.n_out,
                 <real*>run.outputs + source_row(run.order, shard.first + shard.begin + r) * model.n_out)


cdef void losses_of(const Shard* shard, const Scales* scales, real* dy) noexcept nogil:
    """Compute each row's loss with its activity penalty; write the gradient to dy unless it is NULL."""
    cdef const Run* run = shard.run
    cdef const Model* model = run.model
    cdef const Block* block = shard.block
    cdef Py_ssize_t r, ld = model.ld_out
    cdef double factor = run.objective.value_scale * scales.reduction
    cdef Matrix outputs
    if run.objective.kind == LOSS_PYTHON:
        team_wait(run)
        if shard.thread == 0:
            restore_float_mode(run.float_mode)
            run.call(run.context, shard.first, shard.rows, address(block, run.op_list.out, 0, ld),
                     block.weight, dy - shard.begin * ld, block.loss)
            flush_subnormals()
        team_wait(run)
    else:
        outputs = matrix(address(block, run.op_list.out, shard.begin, ld), n_rows(shard), model.n_out, ld)
        loss_rows(run.objective, &outputs, <real*>block.y + shard.begin * ld, block.weight + shard.begin,
                  scales.mean * scales.reduction * run.objective.gradient_scale, dy, block.loss + shard.begin,
                  shard.scratch)
    if factor != 1 or run.objective.limit < INFINITY:
        for r in range(shard.begin, shard.end):
            block.loss[r] *= factor
            if block.loss[r] > block.weight[r] * run.objective.limit:
                block.loss[r] = block.weight[r] * run.objective.limit
    if model.active:
        for r in range(shard.begin, shard.end):
            block.loss[r] += block.activity[r]


cdef double denominator(const Run* run, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Return the divisor for the losses of these rows; it is bit-identical on all threads."""
    cdef double total = 0
    cdef Py_ssize_t r
    if not run.objective.weighted_mean or run.data.weight == NULL:
        return <double>rows
    for r in range(first, first + rows):
        total += run.data.weight[source_row(run.order, r)]
    return total if total != 0 else INFINITY


cdef double reduction_factor(const Run* run, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Return the factor of these rows' losses; it is bit-identical on all threads. See `reduction_of`."""
    cdef double total = 0
    cdef Py_ssize_t r
    if run.objective.reduction == REDUCTION_SUM:
        return <double>rows
    if run.objective.reduction == REDUCTION_MEAN or run.data.weight == NULL:
        return 1
    for r in range(first, first + rows):
        total += run.data.weight[source_row(run.order, r)]
    return rows / total if total != 0 else 0


cdef inline double penalty_scale(const Run* run, double divisor) noexcept nogil:
    return 1 / divisor if run.objective.weighted_mean else 1
