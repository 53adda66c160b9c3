"""The divisors of the losses of outputs with masks: numbers of real steps, or the sums of their weights.

They must be known before the first loss is computed. The ops that masks depend on are therefore computed
twice: first for all rows of the batch, and later with all other ops. Until then, the memory of the losses
holds the share of each row and micro-batch in the divisors, so that their sums have the same order.
"""

cdef inline bint divides_by_real_steps(const Run* run, int k) noexcept nogil:
    """Return whether the engine divides the losses of an output by the number or weight of its real steps."""
    cdef const Objective* objective = objective_of(run, k)
    return (run.model.heads[k].mask_steps > 0 and objective.reduction != REDUCTION_SUM
            and objective.kind != LOSS_PYTHON)


cdef inline int loss_column(const Run* run, int k) noexcept nogil:
    """Return the position of an output's losses among all losses."""
    return k + 1 if run.n_losses > 1 else 0


cdef double real_weight(const Shard* shard, int k, Py_ssize_t r) noexcept nogil:
    """Return the number of real steps in the shard's row r, for a weighted mean the sum of their weights."""
    cdef const Head* head = &shard.run.model.heads[k]
    cdef const TargetView* view = &shard.run.data.targets[k]
    cdef const real* mask = mask_row(shard, k, r)
    cdef const double* weight = NULL
    cdef double total = 0
    cdef Py_ssize_t i
    if objective_of(shard.run, k).reduction == REDUCTION_WEIGHTED_MEAN and view.weight != NULL:
        weight = view.weight + source_row(shard.run.order, shard.first + shard.begin + r) * view.weight_steps
    for i in range(head.steps):
        if mask[i * head.mask_steps // head.steps] != 0:
            total += 1 if weight == NULL else weight[i * view.weight_steps // head.steps]
    return total


cdef void weigh_real_steps(const Shard* shard) noexcept nogil:
    """Write the share of each of the shard's rows in the divisors to the memory of its losses."""
    cdef const Run* run = shard.run
    cdef const Op* op
    cdef Matrix x
    cdef double* loss
    cdef Py_ssize_t r
    cdef int i, k
    gather_shard_inputs(shard)
    for i in range(run.op_list.n_ops):
        op = &run.op_list.ops[i]
        if op.early:
            x = input_of(shard, op)
            OP_TABLE[op.kind].forward(shard, op, &x, ACT_LINEAR)
    for k in range(run.model.n_heads):
        if divides_by_real_steps(run, k):
            loss = shard.block.loss + loss_column(run, k) * shard.block.rows + shard.begin
            for r in range(n_rows(shard)):
                loss[r] = real_weight(shard, k, r)


cdef void weigh_microbatch(const Run* run, const Microbatch* micro, const Block* block,
                           real* scratch) noexcept nogil:
    """Write the share of a micro-batch in the divisors to the memory of its losses."""
    cdef Py_ssize_t r = micro.begin, m
    cdef Accumulators* sums = run.microbatch_loss + micro.number * run.n_losses
    cdef Shard shard
    cdef int k, column
    memset(sums, 0, run.n_losses * sizeof(Accumulators))
    while r < micro.end:
        m = min(block.rows, micro.end - r)
        shard = block_shard(run, block, micro.batch_first + r, m, scratch)
        weigh_real_steps(&shard)
        for k in range(run.model.n_heads):
            if divides_by_real_steps(run, k):
                column = loss_column(run, k)
                add_losses(&sums[column], block.loss + column * block.rows, m)
        r += m


cdef void scale_by_real_steps(const Run* run, Py_ssize_t first, Py_ssize_t rows, int t, bint whole,
                              real* scratch, Scales* scales) noexcept nogil:
    """Let the losses of outputs with masks be means over real steps. Every thread must call this function."""
    cdef Shard shard
    cdef Microbatch micro
    cdef Py_ssize_t c = t
    cdef double total
    cdef int k
    if whole:
        shard = whole_shard(run, first, rows, t, scratch)
        weigh_real_steps(&shard)
    else:
        while c < run.n_microbatches:
            micro = microbatch(run, c, first, rows)
            weigh_microbatch(run, &micro, &run.blocks[t], scratch)
            c += run.n_threads
    team_wait(run)
    for k in range(run.model.n_heads):
        if divides_by_real_steps(run, k):
            total = whole_loss(run, loss_column(run, k), rows) if whole \
                else microbatches_loss(run, loss_column(run, k))
            scales.reduction[k] = rows * run.model.heads[k].steps / total if total > 0 else 0
    team_wait(run)      # before losses overwrite these sums


cdef void scale_pass_by_real_steps(Run* run, int t, real* scratch, Scales* scales) noexcept nogil:
    """Do the same for all rows, once in a pass that takes several calls."""
    if run.model.masked and not run.masks_counted:
        scale_by_real_steps(run, 0, run.data.n, t, False, scratch, scales)
        if t == 0:
            memcpy(run.reductions, scales.reduction, run.model.n_heads * sizeof(double))
            run.masks_counted = True
