"""The update of the parameters: penalties, clipping, the optimizer's step, constraints, moving averages.

There are two code paths. `update_parameters` is fused: it computes the gradient of a few rows of W and
immediately applies the optimizer's step to them. If a norm of the gradients or a sum of partial gradients
is needed first, `add_gradients` writes the gradients, and `apply_gradients` follows.
"""

cdef enum:
    SUM_BLOCK = 4096    # number of elements whose penalties or squares one thread sums at a time


cdef double sum_blocks(const Run* run, bint penalty, int t, double regularizer_scale) noexcept nogil:
    """Return Σ over all trained parameters of the regularizers' penalties, or of the squared gradients.

    Parameters are divided into blocks of SUM_BLOCK elements. Threads share the blocks, and the sums of the
    blocks are added in order. Every thread must call this function; all get bit-identical results.
    """
    cdef const Model* model = run.model
    cdef const real* w
    cdef const real* g
    cdef GradientTransform transform
    cdef Py_ssize_t block = 0, i, j, n
    cdef double total = 0
    cdef int k
    for k in range(model.n_parameters):
        if not model.parameters[k].trained:
            continue
        transform = gradient_transform(model, k, regularizer_scale)
        for i in range(ceil_div(parameter_size(&model.parameters[k]), SUM_BLOCK)):
            if block % run.n_threads == t:
                w = parameter_data(model, k) + i * SUM_BLOCK
                n = min(<Py_ssize_t>SUM_BLOCK, parameter_size(&model.parameters[k]) - i * SUM_BLOCK)
                if penalty:
                    run.sums[block] = penalty_of(&transform, n, w)
                else:
                    g = <const real*>model.grads + model.parameters[k].begin + i * SUM_BLOCK
                    run.sums[block] = sum_of_squares(&transform, n, g, w)
            block += 1
    team_wait(run)
    for j in range(block):
        total += run.sums[j]
    return total


cdef double parameter_norm(const Run* run, int which) noexcept nogil:
    """Return the norm of one array's gradient, computed from the block sums that sum_blocks wrote."""
    cdef Py_ssize_t block = 0, i
    cdef double total = 0
    cdef int k
    for k in range(which + 1):
        if not run.model.parameters[k].trained:
            continue
        for i in range(ceil_div(parameter_size(&run.model.parameters[k]), SUM_BLOCK)):
            if k == which:
                total += run.sums[block]
            block += 1
    return sqrt(total)


cdef inline double norm_clip_factor(double norm, double limit) noexcept nogil:
    return limit / norm if norm > limit else 1


cdef void regularize_gradients(const Run* run, int t, double regularizer_scale) noexcept nogil:
    """Add the gradients of the regularizers to model.grads in thread t's range."""
    cdef const Model* model = run.model
    cdef Py_ssize_t p0 = split_begin(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = split_begin(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t p
    cdef const Parameter* a
    cdef real w
    cdef real* grads = <real*>model.grads
    cdef int k
    for k in range(model.n_parameters):
        a = &model.parameters[k]
        if not a.trained:
            continue
        for p in range(max(p0, a.begin), min(p1, a.begin + parameter_size(a))):
            w = parameter_data(model, k)[p - a.begin]
            grads[p] += (<real>(2 * regularizer_scale * a.l2) * w
                         + <real>(regularizer_scale * a.l1) * ((w > 0) - (w < 0)))


cdef void apply_gradients(const Run* run, const StepConstants* step, int share, int t) noexcept nogil:
    """Clip the gradients by norm if configured, and apply the optimizer's step to thread t's range.

    model.grads must be complete in that range; of sparse gradients, the segments of number `share` must be.
    Clipping by norm reads all of model.grads, after a barrier.
    """
    cdef const Model* model = run.model
    cdef const OptimizerSettings* update = &model.optimizer
    cdef bint clips = update.clip_norm > 0 or update.global_norm > 0
    cdef Py_ssize_t n = model.n_params if clips else model.n_dense
    cdef Py_ssize_t p0 = split_begin(n, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = split_begin(n, 16, t + 1, run.n_threads)
    cdef Py_ssize_t begin, end
    cdef const Parameter* a
    cdef GradientTransform transform
    cdef double factor = 1
    cdef int k
    if clips:
        write_sparse_gradients(run, share, t)
        team_wait(run)
        factor = sqrt(sum_blocks(run, False, t, step.regularizer_scale))
        factor = norm_clip_factor(factor, update.global_norm) if update.global_norm > 0 else 1
    for k in range(model.n_parameters):
        a = &model.parameters[k]
        begin = max(p0, a.begin)
        end = min(p1, a.begin + parameter_size(a))
        if begin >= end or not a.trained:
            continue
        transform = gradient_transform(model, k, step.regularizer_scale)
        transform.clip_factor = factor
        if update.clip_norm > 0:
            transform.clip_factor = norm_clip_factor(parameter_norm(run, k), update.clip_norm)
        update_step(update, step, &transform, end - begin, parameter_data(model, k) + begin - a.begin,
                    <const real*>model.grads + begin, <real*>model.slots + begin, model.slot_stride)
    if not clips:
        step_all_sparse(run, share, t, step)


cdef void constrain_parameters(const Run* run, int t) noexcept nogil:
    """Apply the constraints to the parameters. The optimizer's step must be complete."""
    cdef const Parameter* a
    cdef real* w
    cdef Py_ssize_t i, begin
    cdef int k, n = run.n_threads
    for k in range(run.model.n_parameters):
        a = &run.model.parameters[k]
        w = parameter_data(run.model, k)
        if not a.trained:
            continue
        if a.constraint == CONSTRAINT_NON_NEG:
            begin = split_begin(parameter_size(a), 16, t, n)
            constrain_sign(w + begin, split_begin(parameter_size(a), 16, t + 1, n) - begin)
        elif a.constraint == CONSTRAINT_NORM and a.axis == AXIS_COLUMNS:
            for i in range(a.outer):
                constrain_columns(a, w + i * a.rows * a.cols, split_begin(a.cols, 16, t, n),
                                  split_begin(a.cols, 16, t + 1, n))
        elif a.constraint == CONSTRAINT_NORM and a.axis == AXIS_ROWS:
            for i in range(split_begin(a.rows, 1, t, n), split_begin(a.rows, 1, t + 1, n)):
                constrain_run(a, w + i * a.cols, a.cols)
        elif a.constraint == CONSTRAINT_NORM and t == 0:
            constrain_run(a, w, parameter_size(a))


cdef void update_parameters(const Shard* shard, const StepConstants* step) noexcept nogil:
    """Compute gradients and apply the optimizer's step, fused, for the thread's rows and channels."""
    cdef const Op* op
    cdef int i
    for i in range(shard.run.op_list.n_ops):
        op = &shard.run.op_list.ops[i]
        if OP_TABLE[op.kind].update != NULL:
            OP_TABLE[op.kind].update(shard, op, step)


cdef void take_average(const Run* run, int t) noexcept nogil:
    """Replace the trained parameters in thread t's range by their moving averages."""
    cdef const Model* model = run.model
    cdef const real* averages = <const real*>model.slots + (model.optimizer.n_slots - 1) * model.slot_stride
    cdef Py_ssize_t p0 = split_begin(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = split_begin(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t begin, end
    cdef const Parameter* a
    cdef int k
    for k in range(model.n_parameters):
        a = &model.parameters[k]
        begin = max(p0, a.begin)
        end = min(p1, a.begin + parameter_size(a))
        if begin < end and a.trained:
            memcpy(parameter_data(model, k) + begin - a.begin, averages + begin,
                   (end - begin) * sizeof(real))
