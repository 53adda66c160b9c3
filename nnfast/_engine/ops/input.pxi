"""Gathering of inputs, targets and sample weights from the data into a block."""

cdef void gather_shard_inputs(const Shard* shard) noexcept nogil:
    """Gather the shard's rows of all inputs or, if the first op uses split-K, the parts this thread reads."""
    cdef const Run* run = shard.run
    cdef const Op* op = run.op_list.ops
    cdef Matrix x
    cdef int k
    if shard.n_threads > 1 and run.op_list.single_reader and OP_TABLE[op.kind].traits.splits_k \
            and uses_split_k(shard, op):
        gather_split_k(shard, op)
        return
    for k in range(run.model.n_inputs):
        x = input_rows(shard, k)
        gather_inputs(&run.data.inputs[k], run.order, shard.first + shard.begin, 0,
                      run.model.inputs[k].scale, run.model.inputs[k].offset, &x, x.cols)


cdef inline Matrix input_matrix(const Shard* shard, Py_ssize_t offset, int k) noexcept nogil:
    """Return the shard's rows of the k-th input or of its gradient, which is at this offset."""
    cdef const OpList* op_list = shard.run.op_list
    return matrix(address(shard.block, offset, shard.begin, op_list.ld_x[k]) + op_list.x_column[k],
                  n_rows(shard), shard.run.model.inputs[k].n, op_list.ld_x[k])


cdef inline Matrix input_rows(const Shard* shard, int k) noexcept nogil:
    """Return the shard's rows of the k-th input."""
    return input_matrix(shard, shard.run.op_list.x[k], k)


cdef void gather_split_k(const Shard* shard, const Op* op) noexcept nogil:
    """Gather the parts of the only input that this thread multiplies by its halves of W."""
    cdef const Run* run = shard.run
    cdef const Input* input = run.model.inputs
    cdef SplitKHalf s
    cdef Matrix x
    cdef int half
    for half in range(2):
        s = split_k_half(shard, op, half)
        x = x_rows(shard.block, op, s.row, s.rows)
        x = columns_from(&x, s.begin, s.n)
        gather_inputs(run.data.inputs, run.order, shard.first + s.row, s.begin, input.scale, input.offset, &x,
                      input.n)


cdef inline Matrix target_rows(const Shard* shard, int k) noexcept nogil:
    """Return the shard's rows of the targets of the k-th output."""
    cdef const Head* head = &shard.run.model.heads[k]
    return matrix(<real*>shard.block.y + head.y * shard.block.rows + shard.begin * head.steps * head.ld,
                  n_rows(shard) * head.steps, head.n, head.ld)


cdef void gather_shard_targets(const Shard* shard) noexcept nogil:
    """Gather the targets and sample weights of the shard's rows, and set their activity penalties to 0."""
    cdef const Run* run = shard.run
    cdef const Block* block = shard.block
    cdef const Objective* objective
    cdef const double* weight
    cdef double* own
    cdef Matrix y
    cdef Py_ssize_t r
    cdef int k
    for r in range(shard.begin, shard.end):
        block.activity[r] = 0
    for k in range(run.model.n_heads):
        objective = objective_of(run, k)
        y = target_rows(shard, k)
        gather_targets(&run.data.targets[k], run.order, shard.first + shard.begin, run.model.heads[k].steps,
                       objective.target_scale, objective.target_offset, &y)
        weight, own = run.data.targets[k].weight, block.weight + k * block.rows
        for r in range(shard.begin, shard.end):
            own[r] = 1
        if weight != NULL and run.data.targets[k].weight_steps == 1:
            for r in range(shard.begin, shard.end):
                own[r] = weight[source_row(run.order, shard.first + r)]
