"""Gathering of inputs, targets and sample weights from the data into a block."""

cdef void gather_shard_inputs(const Shard* shard) noexcept nogil:
    """Gather the shard's rows of x or, if the first op uses split-K, the parts that this thread reads."""
    cdef const Run* run = shard.run
    cdef const Model* model = run.model
    cdef const Op* op = run.op_list.ops
    cdef SplitKHalf s
    cdef Matrix x
    cdef int half
    if shard.n_threads == 1 or not run.op_list.single_reader or not OP_TABLE[op.kind].splits_k \
            or not uses_split_k(shard, op):
        x = input_of(shard, op)
        gather_inputs(run.data, run.order, shard.first + shard.begin, 0, model.in_scale, model.in_offset,
                      &x, model.n_in)
        return
    for half in range(2):
        s = split_k_half(shard, op, half)
        x = matrix(address(shard.block, op.x, s.row, op.ld_x) + s.begin, s.rows, s.n, op.ld_x)
        gather_inputs(run.data, run.order, shard.first + s.row, s.begin, model.in_scale, model.in_offset, &x,
                      model.n_in)


cdef void gather_shard_targets(const Shard* shard) noexcept nogil:
    """Gather the targets and sample weights of the shard's rows, and set their activity penalties to 0."""
    cdef const Run* run = shard.run
    cdef const Block* block = shard.block
    cdef const Model* model = run.model
    cdef const Objective* objective = run.objective
    cdef Matrix y = matrix(<real*>block.y + shard.begin * model.ld_out, n_rows(shard), model.n_out,
                           model.ld_out)
    cdef Py_ssize_t r
    gather_targets(run.data, run.order, shard.first + shard.begin, objective.target_scale,
                   objective.target_offset, &y)
    for r in range(shard.begin, shard.end):
        block.weight[r] = 1
        block.activity[r] = 0
    if run.data.weight != NULL:
        for r in range(shard.begin, shard.end):
            block.weight[r] = run.data.weight[source_row(run.order, shard.first + r)]
