"""The second phase of a step: gradients of the parameters, and what the optimizer makes of them.

Part of the executor. Two ways: `update_parameters` sends the gradient of a few rows of W straight
into the optimizer's step; where a norm of the gradients, or a sum of partial ones, is needed first,
they are written to model.grads and `apply_gradients` follows.
"""

cdef enum:
    SUM_BLOCK = 4096    # parameters whose penalties or squares are added by one thread


# ---- arrays of parameters: what is done to each besides the optimizer's rule ---------------------

cdef inline Py_ssize_t array_begin(const Op* op, int bias) noexcept nogil:
    return op.b if bias else op.w


cdef inline Py_ssize_t array_size(const Op* op, int bias) noexcept nogil:
    """Elements of an op's kernel or bias; 0 where it has none."""
    if array_begin(op, bias) < 0:
        return 0
    return op.n_out if bias else op.n_in * op.n_out


cdef inline Adjust adjust_of(const Run* run, const Op* op, int bias) noexcept nogil:
    cdef Adjust a
    a.l1 = op.b_l1 if bias else op.w_l1
    a.l2 = op.b_l2 if bias else op.w_l2
    a.factor = 1
    a.clip = run.model.optimizer.clip_value
    return a


cdef double sum_blocks(const Run* run, bint penalty, int t) noexcept nogil:
    """Σ over all arrays, in blocks of SUM_BLOCK elements that are shared out among the threads
    and added in order: of the regularizers' penalties, or of squared gradients.

    Every thread must call it; all get the same bits.
    """
    cdef const Model* model = run.model
    cdef const real* w = <const real*>model.params
    cdef const real* g = <const real*>model.grads
    cdef const Op* op
    cdef Adjust adjust
    cdef Py_ssize_t block = 0, i, j, n, p
    cdef double total = 0
    cdef int o, bias
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        for bias in range(2):
            adjust = adjust_of(run, op, bias)
            for i in range(blocks(array_size(op, bias), SUM_BLOCK)):
                if block % run.n_threads == t:
                    p = array_begin(op, bias) + i * SUM_BLOCK
                    n = min(<Py_ssize_t>SUM_BLOCK, array_size(op, bias) - i * SUM_BLOCK)
                    if penalty:
                        run.sums[block] = penalty_of(&adjust, n, w + p)
                    else:
                        run.sums[block] = sum_of_squares(&adjust, n, g + p, w + p)
                block += 1
    team_wait(run)
    for j in range(block):
        total += run.sums[j]
    return total


cdef double array_norm(const Run* run, int which_op, int which) noexcept nogil:
    """The norm of one array's gradient, from the blocks that sum_blocks left."""
    cdef Py_ssize_t block = 0, i
    cdef double total = 0
    cdef int o, bias
    for o in range(run.chain.n_ops):
        for bias in range(2):
            for i in range(blocks(array_size(&run.chain.ops[o], bias), SUM_BLOCK)):
                if o == which_op and bias == which:
                    total += run.sums[block]
                block += 1
    return sqrt(total)


cdef inline double clip_factor(double norm, double limit) noexcept nogil:
    return limit / norm if norm > limit else 1


cdef void regularize_gradients(const Run* run, int t) noexcept nogil:
    """Add the regularizers' gradients to model.grads, in thread t's range."""
    cdef const Model* model = run.model
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t p
    cdef const Op* op
    cdef Adjust adjust
    cdef real w
    cdef real* grads = <real*>model.grads
    cdef int o, bias
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        for bias in range(2):
            adjust = adjust_of(run, op, bias)
            for p in range(max(p0, array_begin(op, bias)),
                           min(p1, array_begin(op, bias) + array_size(op, bias))):
                w = (<const real*>model.params)[p]
                grads[p] += <real>(2 * adjust.l2) * w + <real>adjust.l1 * ((w > 0) - (w < 0))


cdef void apply_gradients(const Run* run, const Step* step, int t) noexcept nogil:
    """Clip by norm where asked for, then the optimizer's step for thread t's range of the flat
    parameters, array by array. model.grads must be complete in that range, or, with clipping by
    norm, everywhere."""
    cdef const Model* model = run.model
    cdef const Update* update = &model.optimizer
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t begin, end
    cdef const Op* op
    cdef Adjust adjust
    cdef double factor = 1
    cdef int o, bias
    if update.clip_norm > 0 or update.global_norm > 0:
        team_wait(run)
        factor = sqrt(sum_blocks(run, False, t))
        factor = clip_factor(factor, update.global_norm) if update.global_norm > 0 else 1
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        for bias in range(2):
            begin = max(p0, array_begin(op, bias))
            end = min(p1, array_begin(op, bias) + array_size(op, bias))
            if begin >= end:
                continue
            adjust = adjust_of(run, op, bias)
            adjust.factor = factor
            if update.clip_norm > 0:
                adjust.factor = clip_factor(array_norm(run, o, bias), update.clip_norm)
            update_step(update, step, &adjust, end - begin, <real*>model.params + begin,
                        <const real*>model.grads + begin, <real*>model.slots + begin, model.n_params)


# ---- parameters: dW, db, update ---------------------------------------------------------------

cdef void update_parameters(const Run* run, const Block* block, Py_ssize_t m, Step* step, int t,
                            real* scratch) noexcept nogil:
    """dW, db and the optimizer's step for the rows of W that belong to thread t.

    The gradient of TILE_M rows at a time goes to scratch and straight into the update, while
    it is in the first-level cache; w and the slots are fetched meanwhile.
    """
    cdef const Model* model = run.model
    cdef const Op* op
    cdef real* params = <real*>model.params
    cdef real* slots = <real*>model.slots
    cdef const real* dz
    cdef Py_ssize_t i, rows, end, p
    cdef Adjust adjust
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.w < 0:
            continue
        adjust = adjust_of(run, op, 0)
        dz = slot(block, op.dy, 0, op.ld_y)
        i = cut(op.n_in, TILE_M, t, run.n_threads)
        end = cut(op.n_in, TILE_M, t + 1, run.n_threads)
        while i < end:
            rows = min(<Py_ssize_t>TILE_M, end - i)
            p = op.w + i * op.n_out
            dense_weight_gradient(rows, m, op.n_out, slot(block, op.x, 0, op.ld_x) + i, op.ld_x,
                                  dz, op.ld_y, scratch, False)
            update_step(&model.optimizer, step, &adjust, rows * op.n_out, params + p, scratch,
                        slots + p, model.n_params)
            i += rows
        if op.b >= 0 and t == run.n_threads - 1:
            dense_bias_gradient(m, op.n_out, dz, op.ld_y, scratch, False)
            adjust = adjust_of(run, op, 1)
            update_step(&model.optimizer, step, &adjust, op.n_out, params + op.b, scratch,
                        slots + op.b, model.n_params)


cdef void write_gradients(const Run* run, const Block* block, Py_ssize_t m, int t) noexcept nogil:
    """dW, db to model.grads, the rows of W that belong to thread t."""
    cdef const Op* op
    cdef real* grads = <real*>run.model.grads
    cdef Py_ssize_t i, end, rows
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.w < 0:
            continue
        i = cut(op.n_in, TILE_M, t, run.n_threads)
        end = cut(op.n_in, TILE_M, t + 1, run.n_threads)
        while i < end:
            rows = min(<Py_ssize_t>TILE_M, end - i)
            dense_weight_gradient(rows, m, op.n_out, slot(block, op.x, 0, op.ld_x) + i, op.ld_x,
                                  slot(block, op.dy, 0, op.ld_y), op.ld_y,
                                  grads + op.w + i * op.n_out, False)
            i += rows
        if op.b >= 0 and t == run.n_threads - 1:
            dense_bias_gradient(m, op.n_out, slot(block, op.dy, 0, op.ld_y), op.ld_y, grads + op.b,
                                False)


cdef void add_gradients(const Run* run, const Block* block, Py_ssize_t m, real* grads,
                        bint accumulate) noexcept nogil:
    """grads = (grads +) dW, db of all ops, from m rows."""
    cdef const Op* op
    cdef Py_ssize_t i, q
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.w < 0:
            continue
        for q in range(blocks(op.n_in, TILE_M)):
            i = q * TILE_M
            dense_weight_gradient(min(<Py_ssize_t>TILE_M, op.n_in - i), m, op.n_out,
                                  slot(block, op.x, 0, op.ld_x) + i, op.ld_x,
                                  slot(block, op.dy, 0, op.ld_y), op.ld_y,
                                  grads + op.w + i * op.n_out, accumulate)
        if op.b >= 0:
            dense_bias_gradient(m, op.n_out, slot(block, op.dy, 0, op.ld_y), op.ld_y,
                                grads + op.b, accumulate)


cdef void take_average(const Run* run, int t) noexcept nogil:
    """params = their moving average, in thread t's range."""
    cdef const Model* model = run.model
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    memcpy(<real*>model.params + p0,
           <real*>model.slots + (model.optimizer.n_slots - 1) * model.n_params + p0,
           (p1 - p0) * sizeof(real))


cdef void sum_partials(const Run* run, int t) noexcept nogil:
    """grads = Σ over chunks, in chunk order, in thread t's range."""
    cdef Py_ssize_t p0 = cut(run.model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(run.model.n_params, 16, t + 1, run.n_threads)
    cdef real* grads = <real*>run.model.grads
    cdef const real* part
    cdef Py_ssize_t c, p
    for c in range(run.n_chunks):
        part = <const real*>run.partials + c * run.model.n_params
        if c == 0:
            memcpy(grads + p0, part + p0, (p1 - p0) * sizeof(real))
        else:
            for p in range(p0, p1):
                grads[p] += part[p]
