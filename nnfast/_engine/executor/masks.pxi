"""The numbers of real steps in a batch, by which the losses of outputs with masks are divided.

They must be known before the first loss is computed. The ops that masks depend on are therefore computed
twice: first for all rows of the batch, and later with all other ops.
"""

cdef void count_steps_of(const Shard* shard, double* counts) noexcept nogil:
    """Add the numbers of the shard's real steps of each output to counts."""
    cdef const Run* run = shard.run
    cdef const Head* head
    cdef const Op* op
    cdef Matrix x
    cdef Py_ssize_t r
    cdef int i, k
    gather_shard_inputs(shard)
    for i in range(run.op_list.n_ops):
        op = &run.op_list.ops[i]
        if op.early:
            x = input_of(shard, op)
            OP_TABLE[op.kind].forward(shard, op, &x, ACT_LINEAR)
    for k in range(run.model.n_heads):
        head = &run.model.heads[k]
        if head.mask_steps > 0:
            for r in range(n_rows(shard)):
                counts[k] += n_real_steps(head.mask_steps, mask_row(shard, k, r))


cdef void scale_by_real_steps(const Run* run, Py_ssize_t first, Py_ssize_t rows, int t, bint whole,
                              real* scratch, Scales* scales) noexcept nogil:
    """Let the losses of outputs with masks be means over real steps. Every thread must call this function."""
    cdef double* own = run.real_steps + t * run.model.n_heads
    cdef const Block* block = &run.blocks[t]
    cdef Shard shard
    cdef Py_ssize_t c, r, end, m
    cdef double total
    cdef int i, k
    memset(own, 0, run.model.n_heads * sizeof(double))
    if whole:
        shard = whole_shard(run, first, rows, t, scratch)
        count_steps_of(&shard, own)
    else:
        c = t
        while c < run.n_microbatches:
            r = split_begin(rows, 4, c, run.n_microbatches)
            end = split_begin(rows, 4, c + 1, run.n_microbatches)
            while r < end:
                m = min(block.rows, end - r)
                shard = block_shard(run, block, first + r, m, scratch)
                count_steps_of(&shard, own)
                r += m
            c += run.n_threads
    team_wait(run)
    for k in range(run.model.n_heads):
        if run.model.heads[k].mask_steps == 0 or objective_of(run, k).reduction == REDUCTION_SUM:
            continue
        total = 0
        for i in range(run.n_threads):
            total += run.real_steps[i * run.model.n_heads + k]
        scales.reduction[k] = rows * run.model.heads[k].mask_steps / total if total > 0 else 0
