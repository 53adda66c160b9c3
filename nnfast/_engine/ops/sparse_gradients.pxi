"""Sparse gradients: those of arrays of which a batch reads only some rows.

A micro-batch keeps the gradients of the rows that it reads. Before an update, each thread adds up those of
the rows in its range of the array, in the order of the micro-batches. All other rows have the gradient 0.
"""

cdef enum:
    UPDATE_BLOCK = 2048     # elements of an array whose gradients are written to scratch at a time
    ROW_STEP = 16           # threads share rows in these steps: only the array ends with a partial vector


cdef inline int segment_of(const Run* run, Py_ssize_t c, int share) noexcept nogil:
    """Return the number of a segment of micro-batch c."""
    return <int>(c * run.n_shares) + share


cdef void clear_segment(const SparseGradient* g, int segment) noexcept nogil:
    if not g.by_row:
        memset(g.rows + segment * g.capacity, 0, (1 + g.last[segment]) * sizeof(int32_t))
        g.last[segment] = 0


cdef inline void clear_rows(const SparseGradient* g, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Clear the gradients by row of rows begin … end − 1."""
    memset(<real*>g.sums + begin * g.cols, 0, (end - begin) * g.cols * sizeof(real))


cdef void clear_sparse_gradients(const Run* run, Py_ssize_t c) noexcept nogil:
    """Clear the sparse gradients of micro-batch c, which one thread processes alone."""
    cdef int k
    for k in range(run.model.n_sparse):
        clear_segment(&run.sparse[k], segment_of(run, c, 0))


cdef void merge_segments(const Run* run, const SparseGradient* g, int share, Py_ssize_t begin,
                         Py_ssize_t end) noexcept nogil:
    """Add up the micro-batches' gradients of rows begin … end − 1, and note in `merged` where the totals are.

    share: which of the segments of each micro-batch contains these rows.
    """
    cdef Py_ssize_t c, p, q, i, total, ld = g.ld, cols = g.cols
    cdef int32_t* merged = g.merged
    cdef real* sums = <real*>g.sums
    cdef int segment
    if g.by_row:
        return
    for c in range(run.n_microbatches):
        segment = segment_of(run, c, share)
        q = segment * g.capacity
        for p in range(q + 1, q + 1 + g.last[segment]):
            i = g.rows[p] - 1
            if begin <= i < end:
                total = p
                if c > 0:   # without a branch that depends on whether there is a total
                    total = merged[i] + (p & -<Py_ssize_t>(merged[i] == 0))
                    sum_of_rows(sums + p * ld, sums + merged[i] * ld, cols, sums + total * ld)
                merged[i] = <int32_t>total


cdef void take_merged(const SparseGradient* g, Py_ssize_t begin, Py_ssize_t n, real* out) noexcept nogil:
    """out (n, cols) = the merged gradients of rows begin … begin + n − 1, or 0; clear them."""
    cdef Py_ssize_t i, cols = g.cols, ld = g.ld
    cdef int32_t* merged = g.merged + begin
    cdef const real* sums = <const real*>g.sums
    if g.by_row:
        memcpy(out, sums + begin * cols, n * cols * sizeof(real))
        clear_rows(g, begin, begin + n)
        return
    for i in range(n):
        copy_row(sums + merged[i] * ld, cols, out + i * cols)
        merged[i] = 0


cdef inline Py_ssize_t row_share(const SparseGradient* g, int t, int n_threads) noexcept nogil:
    """Return the first of thread t's rows of the array."""
    return split_begin(g.n, ROW_STEP, t, n_threads)


cdef inline Py_ssize_t rows_per_block(Py_ssize_t cols) noexcept nogil:
    return max(<Py_ssize_t>1, UPDATE_BLOCK // (cols * ROW_STEP)) * ROW_STEP


cdef void write_sparse_gradients(const Run* run, int share, int t) noexcept nogil:
    """Write the gradients of thread t's rows of all arrays to model.grads, zeros included."""
    cdef const SparseGradient* g
    cdef Py_ssize_t begin, end
    cdef real* grads
    cdef int k
    for k in range(run.model.n_sparse):
        g = &run.sparse[k]
        grads = gradient_of(run.model, g.parameter, <real*>run.model.grads)
        if grads != NULL:
            begin, end = row_share(g, t, run.n_threads), row_share(g, t + 1, run.n_threads)
            merge_segments(run, g, share, begin, end)
            take_merged(g, begin, end - begin, grads + begin * g.cols)


cdef void step_sparse(const Run* run, const SparseGradient* g, int share, int t, real* scratch,
                      const StepConstants* step) noexcept nogil:
    """Apply the optimizer step to thread t's rows of an array, also to those whose gradient is 0."""
    cdef const Model* model = run.model
    cdef Py_ssize_t begin = row_share(g, t, run.n_threads), end = row_share(g, t + 1, run.n_threads)
    cdef Py_ssize_t rows = rows_per_block(g.cols), q, i, n
    cdef GradientTransform transform = gradient_transform(model, g.parameter, step.regularizer_scale)
    cdef real* w = parameter_data(model, g.parameter)
    cdef real* slots = <real*>model.slots + model.parameters[g.parameter].begin
    cdef const real* gradient = scratch
    merge_segments(run, g, share, begin, end)
    for q in range(ceil_div(end - begin, rows)):
        i = begin + q * rows
        n = min(rows, end - i)
        if g.by_row:
            gradient = <const real*>g.sums + i * g.cols
        else:
            take_merged(g, i, n, scratch)
        update_step(&model.optimizer, step, &transform, n * g.cols, w + i * g.cols, gradient,
                    slots + i * g.cols, model.slot_stride)
        if g.by_row:
            clear_rows(g, i, i + n)


cdef void step_all_sparse(const Run* run, int share, int t, const StepConstants* step) noexcept nogil:
    """Apply the optimizer step to thread t's rows of all trained arrays with sparse gradients."""
    cdef int k
    for k in range(run.model.n_sparse):
        if is_trained(run.model, run.sparse[k].parameter):
            step_sparse(run, &run.sparse[k], share, t, <real*>run.scratch + t * run.scratch_size, step)


cdef void drop_sparse_gradients(const Run* run, int t) noexcept nogil:
    """Clear thread t's rows of the gradients by row, which are not used because the loss is not finite."""
    cdef const SparseGradient* g
    cdef int k
    for k in range(run.model.n_sparse):
        g = &run.sparse[k]
        if g.by_row:
            clear_rows(g, row_share(g, t, run.n_threads), row_share(g, t + 1, run.n_threads))
