"""The second phase of a step: gradients of the parameters, and what the optimizer makes of them.

Part of the executor. Two ways: `update_parameters` sends the gradient of a few rows of W straight
into the optimizer's step; where a norm of the gradients, or a sum of partial ones, is needed first,
`add_gradients` writes them and `apply_gradients` follows.
"""

cdef enum:
    SUM_BLOCK = 4096    # parameters whose penalties or squares are added by one thread


# ---- arrays of parameters: what is done to each besides the optimizer's rule ---------------------

cdef inline real* array(const Model* model, int which) noexcept nogil:
    """An op's array of parameters, NULL where it has none."""
    return NULL if which < 0 else <real*>model.params + model.arrays[which].begin


cdef inline bint is_trained(const Model* model, int which) noexcept nogil:
    """Whether an op has this array, and the optimizer changes it."""
    return which >= 0 and model.arrays[which].trained


cdef inline Py_ssize_t array_size(const Array* a) noexcept nogil:
    return a.outer * a.rows * a.cols


cdef inline Adjust adjust_of(const Model* model, int which, double share) noexcept nogil:
    """share: what the regularizers are multiplied by."""
    cdef Adjust a
    a.l1 = model.arrays[which].l1 * share
    a.l2 = model.arrays[which].l2 * share
    a.factor = 1
    a.clip = model.optimizer.clip_value
    return a


cdef double sum_blocks(const Run* run, bint penalty, int t, double share) noexcept nogil:
    """Σ over all arrays, in blocks of SUM_BLOCK elements that are shared out among the threads
    and added in order: of the regularizers' penalties, or of squared gradients.

    Every thread must call it; all get the same bits.
    """
    cdef const Model* model = run.model
    cdef const real* w = <const real*>model.params
    cdef const real* g = <const real*>model.grads
    cdef Adjust adjust
    cdef Py_ssize_t block = 0, i, j, n, p
    cdef double total = 0
    cdef int k
    for k in range(model.n_arrays):
        if not model.arrays[k].trained:
            continue
        adjust = adjust_of(model, k, share)
        for i in range(blocks(array_size(&model.arrays[k]), SUM_BLOCK)):
            if block % run.n_threads == t:
                p = model.arrays[k].begin + i * SUM_BLOCK
                n = min(<Py_ssize_t>SUM_BLOCK, array_size(&model.arrays[k]) - i * SUM_BLOCK)
                if penalty:
                    run.sums[block] = penalty_of(&adjust, n, w + p)
                else:
                    run.sums[block] = sum_of_squares(&adjust, n, g + p, w + p)
            block += 1
    team_wait(run)
    for j in range(block):
        total += run.sums[j]
    return total


cdef double array_norm(const Run* run, int which) noexcept nogil:
    """The norm of one array's gradient, from the blocks that sum_blocks left."""
    cdef Py_ssize_t block = 0, i
    cdef double total = 0
    cdef int k
    for k in range(which + 1):
        if not run.model.arrays[k].trained:
            continue
        for i in range(blocks(array_size(&run.model.arrays[k]), SUM_BLOCK)):
            if k == which:
                total += run.sums[block]
            block += 1
    return sqrt(total)


cdef inline double clip_factor(double norm, double limit) noexcept nogil:
    return limit / norm if norm > limit else 1


cdef void regularize_gradients(const Run* run, int t, double share) noexcept nogil:
    """Add the regularizers' gradients to model.grads, in thread t's range."""
    cdef const Model* model = run.model
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t p
    cdef const Array* a
    cdef real w
    cdef real* grads = <real*>model.grads
    cdef int k
    for k in range(model.n_arrays):
        a = &model.arrays[k]
        if not a.trained:
            continue
        for p in range(max(p0, a.begin), min(p1, a.begin + array_size(a))):
            w = (<const real*>model.params)[p]
            grads[p] += <real>(2 * share * a.l2) * w + <real>(share * a.l1) * ((w > 0) - (w < 0))


cdef void apply_gradients(const Run* run, const Step* step, int t) noexcept nogil:
    """Clip by norm where asked for, then the optimizer's step for thread t's range of the flat
    parameters, array by array. model.grads must be complete in that range, or, with clipping by
    norm, everywhere."""
    cdef const Model* model = run.model
    cdef const Update* update = &model.optimizer
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t begin, end
    cdef Adjust adjust
    cdef double factor = 1
    cdef int k
    if update.clip_norm > 0 or update.global_norm > 0:
        team_wait(run)
        factor = sqrt(sum_blocks(run, False, t, step.share))
        factor = clip_factor(factor, update.global_norm) if update.global_norm > 0 else 1
    for k in range(model.n_arrays):
        begin = max(p0, model.arrays[k].begin)
        end = min(p1, model.arrays[k].begin + array_size(&model.arrays[k]))
        if begin >= end or not model.arrays[k].trained:
            continue
        adjust = adjust_of(model, k, step.share)
        adjust.factor = factor
        if update.clip_norm > 0:
            adjust.factor = clip_factor(array_norm(run, k), update.clip_norm)
        update_step(update, step, &adjust, end - begin, <real*>model.params + begin,
                    <const real*>model.grads + begin, <real*>model.slots + begin, model.slot_stride)


cdef void constrain_arrays(const Run* run, int t) noexcept nogil:
    """What the constraints ask for after a step; the step must be complete."""
    cdef const Array* a
    cdef real* w
    cdef Py_ssize_t i, begin
    cdef int k, n = run.n_threads
    for k in range(run.model.n_arrays):
        a = &run.model.arrays[k]
        w = array(run.model, k)
        if not a.trained:
            continue
        if a.constraint == CONSTRAINT_NON_NEG:
            begin = cut(array_size(a), 16, t, n)
            constrain_sign(w + begin, cut(array_size(a), 16, t + 1, n) - begin)
        elif a.constraint == CONSTRAINT_NORM and a.axis == AXIS_COLUMNS:
            for i in range(a.outer):
                constrain_columns(a, w + i * a.rows * a.cols, cut(a.cols, 16, t, n),
                                  cut(a.cols, 16, t + 1, n))
        elif a.constraint == CONSTRAINT_NORM and a.axis == AXIS_ROWS:
            for i in range(cut(a.rows, 1, t, n), cut(a.rows, 1, t + 1, n)):
                constrain_run(a, w + i * a.cols, a.cols)
        elif a.constraint == CONSTRAINT_NORM and t == 0:
            constrain_run(a, w, array_size(a))


# ---- chunks of a batch ---------------------------------------------------------------------------

# Rows of a block whose gradients are added up.
ctypedef struct Range:
    Py_ssize_t first, m


cdef inline real* partial(const Run* run, Py_ssize_t c) noexcept nogil:
    """Chunk c's gradient."""
    return <real*>run.partials + c * run.model.n_params


cdef inline Range chunk_of(const Run* run, Py_ssize_t c, Py_ssize_t rows) noexcept nogil:
    """Chunk c of a batch of so many rows."""
    cdef Py_ssize_t first = cut(rows, 4, c, run.n_chunks)
    return Range(first, cut(rows, 4, c + 1, run.n_chunks) - first)


cdef void sum_partials(const Run* run, Py_ssize_t p0, Py_ssize_t p1) noexcept nogil:
    """grads = Σ over chunks, in chunk order, from p0 to p1; those of a single one are there already."""
    cdef real* grads = <real*>run.model.grads
    cdef const real* part
    cdef Py_ssize_t c, p, q
    cdef int cols
    cdef vreal total
    if run.n_chunks == 1:
        return
    for q in range(blocks(p1 - p0, VLEN)):
        p = p0 + q * VLEN
        cols = <int>min(<Py_ssize_t>VLEN, p1 - p)
        part = <const real*>run.partials + p
        total = load_cols(part, cols)
        for c in range(1, run.n_chunks):
            part += run.model.n_params
            total = total + load_cols(part, cols)
        store_cols(grads + p, total, cols)


# ---- dW, db; dgamma, dbeta -----------------------------------------------------------------------

cdef inline real* gradient_of(const Model* model, int which, real* grads) noexcept nogil:
    """An array's part of flat gradients, NULL where there is none."""
    return grads + model.arrays[which].begin if is_trained(model, which) else NULL


cdef void norm_gradient(const Part* part, const Op* op, Range rows, real* grads,
                        bint accumulate) noexcept nogil:
    """Thread t's channels of dgamma and dbeta to flat gradients."""
    cdef const Run* run = part.run
    cdef const Block* block = part.block
    cdef const real* x = slot(block, op.x, rows.first, op.ld_x)
    cdef const real* dy = slot(block, op.dy, rows.first, op.ld_y)
    cdef real* dgamma = gradient_of(run.model, op.w, grads)
    cdef real* dbeta = gradient_of(run.model, op.b, grads)
    cdef Py_ssize_t groups = op.n_in // op.channels
    cdef Py_ssize_t c0 = cut(op.channels, 16, part.t, part.team)
    cdef Py_ssize_t c1 = cut(op.channels, 16, part.t + 1, part.team)
    if dgamma == NULL and dbeta == NULL:
        return      # and of the first layer there is no dy
    if normalizes_batch(run, op):
        # The way back has them already.
        if dgamma != NULL:
            memcpy(dgamma + c0, stat(run, op, STAT_DGAMMA) + c0, (c1 - c0) * sizeof(real))
        if dbeta != NULL:
            memcpy(dbeta + c0, stat(run, op, STAT_DBETA) + c0, (c1 - c0) * sizeof(real))
    elif op.kind == OP_LAYER_NORM:
        layer_gradient_sums(rows.m, groups, op.channels, c0, c1, x, op.ld_x,
                            slot(block, op.s, rows.first, op.ld_s), op.ld_s, dy, op.ld_y, dgamma, dbeta,
                            accumulate)
    else:
        batch_gradient_sums(rows.m, groups, op.channels, c0, c1, x, op.ld_x, stat(run, op, STAT_MEAN),
                            stat(run, op, STAT_RSTD), dy, op.ld_y, dgamma, dbeta, accumulate)


cdef void step_range(const Model* model, int which, Py_ssize_t i, Py_ssize_t n,
                     const Step* step) noexcept nogil:
    """The optimizer's step for elements i … i + n of an array, whose gradient is in model.grads."""
    cdef Py_ssize_t p = model.arrays[which].begin + i
    cdef Adjust adjust = adjust_of(model, which, step.share)
    update_step(&model.optimizer, step, &adjust, n, <real*>model.params + p, <const real*>model.grads + p,
                <real*>model.slots + p, model.slot_stride)


cdef void update_channels(const Part* part, const Op* op, const Step* step, int which) noexcept nogil:
    """The optimizer's step for thread t's channels of gamma or beta, whose partial gradients are there."""
    cdef const Model* model = part.run.model
    cdef Py_ssize_t c0 = cut(op.channels, 16, part.t, part.team)
    cdef Py_ssize_t c1 = cut(op.channels, 16, part.t + 1, part.team)
    if is_trained(model, which) and c0 < c1:
        sum_partials(part.run, model.arrays[which].begin + c0, model.arrays[which].begin + c1)
        step_range(model, which, c0, c1 - c0, step)


cdef inline Py_ssize_t filter_rows(const Model* model, const Op* op) noexcept nogil:
    """Of a convolution's kernel as a matrix with a column for each output channel."""
    return array_size(&model.arrays[op.w]) // op.window.out_c


cdef void filter_gradient(const Part* part, const Op* op, Range rows, real* grads,
                          bint accumulate) noexcept nogil:
    """Thread t's rows of a convolution's dW, db by the last thread, to flat gradients."""
    cdef const Model* model = part.run.model
    cdef const real* x = slot(part.block, op.x, rows.first, op.ld_x)
    cdef const real* dz = slot(part.block, op.dy, rows.first, op.ld_y)
    cdef Py_ssize_t k = filter_rows(model, op)
    window_weight_gradient(op, rows.m, x, dz, cut(k, TILE_M, part.t, part.team),
                           cut(k, TILE_M, part.t + 1, part.team), gradient_of(model, op.w, grads), accumulate,
                           part.scratch)
    if op.b >= 0 and part.t == part.team - 1:
        convolve_bias(&op.window, rows.m, dz, op.ld_y, gradient_of(model, op.b, grads), accumulate)


cdef void update_filters(const Part* part, const Op* op, const Step* step) noexcept nogil:
    """Gradient and step of thread t's rows of a convolution's kernel; the last one has the bias."""
    cdef const Model* model = part.run.model
    cdef Py_ssize_t k = filter_rows(model, op), cols = op.window.out_c
    cdef Py_ssize_t k0 = cut(k, TILE_M, part.t, part.team)
    cdef Py_ssize_t k1 = cut(k, TILE_M, part.t + 1, part.team)
    # A batch of images that threads share is one chunk.
    filter_gradient(part, op, Range(0, part.rows), <real*>model.grads, False)
    step_range(model, op.w, k0 * cols, (k1 - k0) * cols, step)
    if op.b >= 0 and part.t == part.team - 1:
        step_range(model, op.b, 0, cols, step)


cdef void update_bias(const Part* part, const Op* op, const Step* step) noexcept nogil:
    """db and the optimizer's step: one thread's work."""
    cdef const Model* model = part.run.model
    cdef Range rows
    cdef Py_ssize_t c
    for c in range(part.run.n_chunks):
        rows = chunk_of(part.run, c, part.rows)
        dense_bias_gradient(rows.m, op.n_out, slot(part.block, op.dy, rows.first, op.ld_y), op.ld_y,
                            gradient_of(model, op.b, partial(part.run, c)), False)
    sum_partials(part.run, model.arrays[op.b].begin, model.arrays[op.b].begin + op.n_out)
    step_range(model, op.b, 0, op.n_out, step)


cdef void update_dense(const Part* part, const Op* op, const Step* step) noexcept nogil:
    """dW and the optimizer's step for the rows of W that belong to thread t.

    The gradient of a block of W goes to scratch and straight into the update, while it is in cache.
    """
    cdef const Model* model = part.run.model
    cdef real* params = <real*>model.params + model.arrays[op.w].begin
    cdef real* slots = <real*>model.slots + model.arrays[op.w].begin
    cdef Py_ssize_t n = op.n_out, step_cols = even_part(n, GRADIENT_COLS, PANEL)
    cdef const real* x = slot(part.block, op.x, 0, op.ld_x)
    cdef const real* dz = slot(part.block, op.dy, 0, op.ld_y)
    cdef real* dw = part.scratch + gradient_scratch(op.n_in, n)
    cdef Py_ssize_t begin = cut(op.n_in, TILE_M, part.t, part.team)
    cdef Py_ssize_t end = cut(op.n_in, TILE_M, part.t + 1, part.team)
    cdef Py_ssize_t n_blocks = blocks(end - begin, GRADIENT_ROWS), block, rows, cols, i, q, j, r
    cdef Adjust adjust = adjust_of(model, op.w, step.share)
    for block in range(n_blocks):
        i = begin + block * GRADIENT_ROWS
        rows = min(<Py_ssize_t>GRADIENT_ROWS, end - i)
        for q in range(blocks(n, step_cols)):
            j = q * step_cols
            cols = min(step_cols, n - j)
            dense_weight_gradient(rows, part.rows, cols, part.run.n_chunks, x + i, op.ld_x, dz + j, op.ld_y,
                                  dw, cols, False, part.scratch)
            if cols == n:
                update_step(&model.optimizer, step, &adjust, rows * n, params + i * n, dw, slots + i * n,
                            model.slot_stride)
            else:
                for r in range(rows):
                    update_step(&model.optimizer, step, &adjust, cols, params + (i + r) * n + j,
                                dw + r * cols, slots + (i + r) * n + j, model.slot_stride)


cdef void update_parameters(const Part* part, const Step* step) noexcept nogil:
    """Gradients and the optimizer's step for the rows of W, and the channels, that belong to thread t."""
    cdef const Run* run = part.run
    cdef const Op* op
    cdef Py_ssize_t c
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.kind == OP_BATCH_NORM or op.kind == OP_LAYER_NORM:
            for c in range(run.n_chunks):
                norm_gradient(part, op, chunk_of(run, c, part.rows), partial(run, c), False)
            update_channels(part, op, step, op.w)
            update_channels(part, op, step, op.b)
        elif has_kernel(op) and is_trained(run.model, op.w):
            update_filters(part, op, step)
        elif op.kind == OP_DENSE and is_trained(run.model, op.w):
            update_dense(part, op, step)
            if op.b >= 0 and part.t == part.team - 1:
                update_bias(part, op, step)


cdef void dense_gradient(const Part* part, const Op* op, Range rows, real* grads,
                         bint accumulate) noexcept nogil:
    """Thread t's rows of a dense layer's dW, db by the last thread, to flat gradients."""
    cdef const real* x = slot(part.block, op.x, rows.first, op.ld_x)
    cdef const real* dz = slot(part.block, op.dy, rows.first, op.ld_y)
    cdef real* dw = gradient_of(part.run.model, op.w, grads)
    cdef Py_ssize_t i = cut(op.n_in, TILE_M, part.t, part.team)
    cdef Py_ssize_t end = cut(op.n_in, TILE_M, part.t + 1, part.team)
    cdef Py_ssize_t k
    while i < end:
        k = min(<Py_ssize_t>GRADIENT_ROWS, end - i)
        dense_weight_gradient(k, rows.m, op.n_out, 1, x + i, op.ld_x, dz, op.ld_y, dw + i * op.n_out,
                              op.n_out, accumulate, part.scratch)
        i += k
    if op.b >= 0 and part.t == part.team - 1:
        dense_bias_gradient(rows.m, op.n_out, dz, op.ld_y, gradient_of(part.run.model, op.b, grads),
                            accumulate)


cdef void add_gradients(const Part* part, Range rows, real* grads, bint accumulate) noexcept nogil:
    """grads = (grads +) the gradients of all ops, from these rows of the block: what belongs to thread t."""
    cdef const Op* op
    cdef int o
    for o in range(part.run.chain.n_ops):
        op = &part.run.chain.ops[o]
        if op.kind == OP_BATCH_NORM or op.kind == OP_LAYER_NORM:
            norm_gradient(part, op, rows, grads, accumulate)
        elif has_kernel(op) and is_trained(part.run.model, op.w):
            filter_gradient(part, op, rows, grads, accumulate)
        elif op.kind == OP_DENSE and is_trained(part.run.model, op.w):
            dense_gradient(part, op, rows, grads, accumulate)


cdef void whole_gradients(const Part* part) noexcept nogil:
    """The gradients of a whole batch's chunks, as far as they belong to thread t."""
    cdef Py_ssize_t c
    for c in range(part.run.n_chunks):
        add_gradients(part, chunk_of(part.run, c, part.rows), partial(part.run, c), False)


# ---- averages ------------------------------------------------------------------------------------

cdef void keep_averages(const Run* run) noexcept nogil:
    """The batch's means and variances into those that inference uses."""
    cdef real* kept = <real*>run.model.params
    cdef const Op* op
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.kind == OP_BATCH_NORM and not op.frozen:
            keep_average(op.channels, stat(run, op, STAT_MEAN), op.momentum, kept + op.mean)
            keep_average(op.channels, stat(run, op, STAT_VARIANCE), op.momentum, kept + op.variance)


cdef void take_average(const Run* run, int t) noexcept nogil:
    """Trained params = their moving average, in thread t's range."""
    cdef const Model* model = run.model
    cdef const real* averages = <const real*>model.slots + (model.optimizer.n_slots - 1) * model.slot_stride
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t begin, end
    cdef int k
    for k in range(model.n_arrays):
        begin = max(p0, model.arrays[k].begin)
        end = min(p1, model.arrays[k].begin + array_size(&model.arrays[k]))
        if begin < end and model.arrays[k].trained:
            memcpy(<real*>model.params + begin, averages + begin, (end - begin) * sizeof(real))
