"""The embedding op: rows of a table, looked up by the elements of x, which are whole numbers."""

ctypedef struct EmbeddingSettings:
    int64_t rows, cols      # of the table


cdef inline const EmbeddingSettings* embedding_of(const Op* op) noexcept nogil:
    return <const EmbeddingSettings*>settings_of(op)


cdef int forward_embedding(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef const EmbeddingSettings* s = embedding_of(op)
    cdef Matrix w = matrix(parameter_data(shard.run.model, op.w), s.rows, s.cols, s.cols)
    cdef Matrix y = output_of(shard, op)
    look_up(x, &w, &y)
    return activation


cdef void backward_embedding(const Shard* shard, const Op* op) noexcept nogil:
    """dX = 0: ids have no gradient."""
    cdef Matrix dx = input_gradient(shard, op)
    cdef Py_ssize_t r
    for r in range(dx.rows):
        memset(dx.data + r * dx.ld, 0, dx.cols * sizeof(real))


cdef void gradient_embedding(const Shard* shard, const Op* op, Range rows, real* grads,
                             bint accumulate) noexcept nogil:
    """Add the gradients of the rows that the ids name to the sparse gradient, for the thread's rows of w."""
    cdef const Run* run = shard.run
    cdef Matrix ids = x_rows(shard.block, op, rows.first, rows.m)
    cdef Matrix dy = dy_rows(shard.block, op, rows.first, rows.m)
    cdef int segment = segment_of(run, rows.number, shard.thread)
    cdef SparseGradient* g
    cdef RowSums sums
    cdef Py_ssize_t first, begin, end
    if not is_trained(run.model, op.w):
        return
    g = &run.sparse[run.model.parameters[op.w].sparse]
    begin = row_share(g, shard.thread, shard.n_threads)
    end = row_share(g, shard.thread + 1, shard.n_threads)
    if g.by_row:
        add_in_place(&ids, &dy, g.cols, begin, end, <real*>g.sums)
        return
    if not accumulate:
        clear_segment(g, segment)
    first = segment * g.capacity
    sums = RowSums(g.place + rows.number * g.n, g.rows + first, <real*>g.sums + first * g.ld, g.ld,
                   g.last[segment])
    add_rows_by_id(&ids, &dy, g.cols, begin, end, &sums)
    g.last[segment] = sums.last


cdef void update_embedding(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    """Compute the gradients of the thread's rows of w, and apply the optimizer step to them."""
    cdef const Run* run = shard.run
    cdef Py_ssize_t c
    if not is_trained(run.model, op.w):
        return
    for c in range(run.n_microbatches):
        gradient_embedding(shard, op, rows_of_microbatch(run, c, shard.rows), NULL, False)
    step_sparse(run, &run.sparse[run.model.parameters[op.w].sparse], shard.thread, shard.thread,
                shard.scratch, step)


cdef Py_ssize_t scratch_embedding(const Op* op) noexcept nogil:
    return rows_per_block(embedding_of(op).cols) * embedding_of(op).cols
