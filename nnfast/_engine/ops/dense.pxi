"""The dense op: y = f(x·W + b).

If W is large compared with the batch, x·W is computed by split-K: the threads divide the reduction
dimension, and each thread keeps the rows of W that it updates in its cache.
"""

cdef enum:
    LARGE_KERNEL = 32768    # minimum number of elements of W for which split-K is worth its two barriers


# ---- split-K -------------------------------------------------------------------------------------

cdef inline bint uses_split_k(const Shard* shard, const Op* op) noexcept nogil:
    """Return whether threads that share a batch divide K instead of the batch's rows.

    The answer depends only on shapes.
    """
    return (op.steps == 1 and shard.run.whole != NULL and shard.run.n_microbatches == 1 and op.dy >= 0
            and op.n_in >= max(2 * shard.rows, <Py_ssize_t>(2 * TILE_M)) and op.n_out >= VLEN
            and op.n_in * op.n_out >= LARGE_KERNEL)


# One thread's part of the product with one half of W.
ctypedef struct SplitKHalf:
    Py_ssize_t row, rows    # first row in the batch, and number of rows, possibly 0
    Py_ssize_t begin, n     # first index and length along the reduction dimension


cdef inline SplitKHalf split_k_half(const Shard* shard, const Op* op, int half) noexcept nogil:
    """Return the thread's part of the product with this half of W.

    The rows of the two products are stacked and divided among the threads. Each of two threads computes one
    product; if there are more threads, several of them share a product.
    """
    cdef SplitKHalf s
    cdef Py_ssize_t rows = ceil_div(shard.rows, 4) * 4, middle = split_begin(op.n_in, TILE_M, 1, 2)
    cdef Py_ssize_t above = half * rows
    s.row = min(max(split_begin(2 * rows, 4, shard.thread, shard.n_threads) - above, 0), shard.rows)
    s.rows = min(max(split_begin(2 * rows, 4, shard.thread + 1, shard.n_threads) - above, 0),
                 shard.rows) - s.row
    s.begin = half * middle
    s.n = op.n_in - middle if half else middle
    return s


cdef void forward_split_k(const Shard* shard, const Op* op, bint relu) noexcept nogil:
    """z (m, n) = x·W + b as the sum of two products, one for each half of K, with an optional fused ReLU.

    The memory of dY holds the second product until the two are added.
    """
    cdef const Block* block = shard.block
    cdef const real* w = parameter_data(shard.run.model, op.w)
    cdef SplitKHalf s
    cdef Matrix x, z
    cdef int half
    # Each thread gathers its own part of the first op's input, unless other ops read the input, too.
    if op != shard.run.op_list.ops or not shard.run.op_list.single_reader:
        team_wait(shard.run)
    for half in range(2):
        s = split_k_half(shard, op, half)
        if s.rows > 0:
            x = x_rows(block, op, s.row, s.rows)
            x = columns_from(&x, s.begin, s.n)
            z = dy_rows(block, op, s.row, s.rows) if half else z_rows(block, op, s.row, s.rows)
            dense_forward(&x, w + s.begin * op.n_out, NULL if half else parameter_data(shard.run.model, op.b),
                          &z, False, shard.scratch)
    team_wait(shard.run)
    add_rows(n_rows(shard), op.n_out, output_gradient(shard, op).data, preactivation(shard, op).data, op.ld_y,
             0 if relu else -INFINITY)


cdef void input_gradient_by_columns(const Shard* shard, const Op* op) noexcept nogil:
    """Compute the thread's columns of dX for all rows of the batch."""
    cdef const Block* block = shard.block
    cdef Py_ssize_t j = split_begin(op.n_in, PANEL, shard.thread, shard.n_threads)
    cdef Py_ssize_t end = split_begin(op.n_in, PANEL, shard.thread + 1, shard.n_threads)
    cdef Matrix dz = dy_rows(block, op, 0, shard.rows), dx
    team_wait(shard.run)
    if j < end:
        dx = dx_rows(block, op, 0, shard.rows)
        dx = columns_from(&dx, j, end - j)
        dense_input_gradient(&dz, parameter_data(shard.run.model, op.w) + j * op.n_out, &dx,
                             x_rows(block, op, 0, shard.rows).data + j if op.applies_relu_backward else NULL,
                             shard.scratch)
    team_wait(shard.run)


# ---- forward and backward ------------------------------------------------------------------------

cdef int forward_dense(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z (m, n) = x·W + b, with x (m, k) and W (k, n). If the activation is a ReLU, it is fused."""
    cdef const Model* model = shard.run.model
    cdef bint relu = activation == ACT_RELU
    cdef Matrix z
    if uses_split_k(shard, op):
        forward_split_k(shard, op, relu)
    else:
        z = preactivation(shard, op)
        dense_forward(x, parameter_data(model, op.w), parameter_data(model, op.b), &z, relu, shard.scratch)
    return ACT_LINEAR if relu else activation


cdef void backward_dense(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dZ·Wᵀ, times the derivative of the ReLU that produced x if applies_relu_backward is set."""
    cdef Matrix dz, dx
    if uses_split_k(shard, op):
        input_gradient_by_columns(shard, op)
        return
    dz, dx = output_gradient(shard, op), input_gradient(shard, op)
    dense_input_gradient(&dz, parameter_data(shard.run.model, op.w), &dx,
                         input_of(shard, op).data if op.applies_relu_backward else NULL, shard.scratch)


# ---- dW and db -----------------------------------------------------------------------------------

cdef void gradient_dense(const Shard* shard, const Op* op, Range rows, real* grads,
                         bint accumulate) noexcept nogil:
    """Write the thread's rows of dW = xᵀ·dZ to the flat gradients; the last thread also writes db."""
    cdef const Model* model = shard.run.model
    cdef Matrix x = x_rows(shard.block, op, rows.first, rows.m)
    cdef Matrix dz = dy_rows(shard.block, op, rows.first, rows.m)
    cdef Matrix x_columns, dw_rows
    cdef real* dw = gradient_of(model, op.w, grads)
    cdef Py_ssize_t i = split_begin(op.n_in, TILE_M, shard.thread, shard.n_threads)
    cdef Py_ssize_t end = split_begin(op.n_in, TILE_M, shard.thread + 1, shard.n_threads)
    cdef Py_ssize_t k
    if dw == NULL:
        return
    while i < end:
        k = min(<Py_ssize_t>GRADIENT_ROWS, end - i)
        x_columns = columns_from(&x, i, k)
        dw_rows = matrix(dw + i * op.n_out, k, op.n_out, op.n_out)
        dense_weight_gradient(&x_columns, &dz, &dw_rows, Parts(1, 4), accumulate, shard.scratch)
        i += k
    if op.b >= 0 and shard.thread == shard.n_threads - 1:
        dense_bias_gradient(&dz, gradient_of(model, op.b, grads), accumulate)


cdef void update_bias(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    """Compute db and apply the optimizer step to b, on one thread."""
    cdef const Model* model = shard.run.model
    cdef Range rows
    cdef Matrix dz
    cdef Py_ssize_t c
    for c in range(shard.run.n_microbatches):
        rows = rows_of_microbatch(shard.run, c, shard.rows)
        dz = dy_rows(shard.block, op, rows.first, rows.m)
        dense_bias_gradient(&dz, gradient_of(model, op.b, partial(shard.run, c)), False)
    sum_partials(shard.run, model.parameters[op.b].begin, model.parameters[op.b].begin + op.n_out)
    step_range(model, op.b, 0, op.n_out, step)


cdef void update_weights(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    """Compute dW and apply the optimizer step to the thread's rows of W.

    The gradient of each block of W is written to scratch and used for the update while it is in cache.
    """
    cdef const Model* model = shard.run.model
    cdef real* params = parameter_data(model, op.w)
    cdef real* slots = <real*>model.slots + model.parameters[op.w].begin
    cdef Py_ssize_t n = op.n_out, step_cols = even_length(n, GRADIENT_COLS, PANEL)
    cdef Matrix x = x_rows(shard.block, op, 0, shard.rows)
    cdef Matrix dz = dy_rows(shard.block, op, 0, shard.rows)
    cdef Matrix x_columns, dz_columns, dw_block
    cdef real* dw = shard.scratch + gradient_scratch(op.n_in, n)
    cdef Py_ssize_t begin = split_begin(op.n_in, TILE_M, shard.thread, shard.n_threads)
    cdef Py_ssize_t end = split_begin(op.n_in, TILE_M, shard.thread + 1, shard.n_threads)
    cdef Py_ssize_t n_blocks = ceil_div(end - begin, GRADIENT_ROWS), block, rows, cols, i, q, j, r
    cdef GradientTransform transform = gradient_transform(model, op.w, step.regularizer_scale)
    for block in range(n_blocks):
        i = begin + block * GRADIENT_ROWS
        rows = min(<Py_ssize_t>GRADIENT_ROWS, end - i)
        for q in range(ceil_div(n, step_cols)):
            j = q * step_cols
            cols = min(step_cols, n - j)
            x_columns, dz_columns = columns_from(&x, i, rows), columns_from(&dz, j, cols)
            dw_block = matrix(dw, rows, cols, cols)
            dense_weight_gradient(&x_columns, &dz_columns, &dw_block,
                                  Parts(shard.run.n_microbatches, 4 * op.steps), False, shard.scratch)
            if cols == n:
                update_step(&model.optimizer, step, &transform, rows * n, params + i * n, dw, slots + i * n,
                            model.slot_stride)
            else:
                for r in range(rows):
                    update_step(&model.optimizer, step, &transform, cols, params + (i + r) * n + j,
                                dw + r * cols, slots + (i + r) * n + j, model.slot_stride)


cdef void update_dense(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    if not is_trained(shard.run.model, op.w):
        return
    update_weights(shard, op, step)
    if op.b >= 0 and shard.thread == shard.n_threads - 1:
        update_bias(shard, op, step)


# ---- scratch and work ----------------------------------------------------------------------------

cdef Py_ssize_t scratch_dense(const Op* op) noexcept nogil:
    return dense_scratch(op.n_in, op.n_out)


cdef double flops_dense(const Op* op) noexcept nogil:
    return 2.0 * op.n_in * op.n_out
