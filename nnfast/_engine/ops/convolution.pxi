"""The ops convolution, transposed_convolution and depthwise, which differ only in the kernels that they call.

The window of a transposed convolution is that of the convolution from its output images to its input images.
"""

cdef int forward_convolution(const Shard* shard, const Op* op, const Matrix* x,
                             int activation) noexcept nogil:
    """z = conv(x, W) + b. If the activation is a ReLU, it is fused."""
    cdef const Model* model = shard.run.model
    cdef Matrix z = preactivation(shard, op)
    convolve(window_of(op), x, parameter_data(model, op.w), parameter_data(model, op.b), &z,
             activation == ACT_RELU, shard.scratch)
    return ACT_LINEAR if activation == ACT_RELU else activation


cdef void backward_convolution(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    convolve_input(window_of(op), &dz, parameter_data(shard.run.model, op.w), &dx, shard.scratch)


cdef int forward_transposed(const Shard* shard, const Op* op, const Matrix* x,
                            int activation) noexcept nogil:
    """z = the input gradient of a convolution whose output gradient is x, plus b. A ReLU is fused."""
    cdef const Model* model = shard.run.model
    cdef Matrix z = preactivation(shard, op)
    convolve_input(window_of(op), x, parameter_data(model, op.w), &z, shard.scratch)
    add_channels(window_of(op).c, parameter_data(model, op.b), activation == ACT_RELU, &z, shard.scratch)
    return ACT_LINEAR if activation == ACT_RELU else activation


cdef void backward_transposed(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    convolve(window_of(op), &dz, parameter_data(shard.run.model, op.w), NULL, &dx, False, shard.scratch)


cdef int forward_depthwise(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = conv(x, W) + b with separate filters for each channel. If the activation is a ReLU, it is fused."""
    cdef const Model* model = shard.run.model
    cdef Matrix z = preactivation(shard, op)
    depthwise(window_of(op), x, parameter_data(model, op.w), parameter_data(model, op.b), &z,
              activation == ACT_RELU, shard.scratch)
    return ACT_LINEAR if activation == ACT_RELU else activation


cdef void backward_depthwise(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    depthwise_input(window_of(op), &dz, parameter_data(shard.run.model, op.w), &dx, shard.scratch)


# ---- dW and db -----------------------------------------------------------------------------------

ctypedef void (*WeightGradient)(const Window* win, const Matrix* x, const Matrix* dz, Py_ssize_t k0,
                                Py_ssize_t k1, real* dw, bint accumulate, real* scratch) noexcept nogil


cdef void transposed_weight(const Window* win, const Matrix* x, const Matrix* dz, Py_ssize_t k0,
                            Py_ssize_t k1, real* dw, bint accumulate, real* scratch) noexcept nogil:
    """convolve_weight for a transposed convolution: dz are the input images, and x the output gradients."""
    convolve_weight(win, dz, x, k0, k1, dw, accumulate, scratch)


cdef inline Py_ssize_t filter_rows(const Model* model, const Op* op) noexcept nogil:
    """Return the number of rows of the kernel, seen as a matrix with out_c columns."""
    return parameter_size(&model.parameters[op.w]) // window_of(op).out_c


cdef void filter_gradient(const Shard* shard, const Op* op, Range rows, real* grads, bint accumulate,
                          WeightGradient weight_gradient) noexcept nogil:
    """Write the thread's rows of dW to the flat gradients; the last thread also writes db."""
    cdef const Model* model = shard.run.model
    cdef Matrix x = x_rows(shard.block, op, rows.first, rows.m)
    cdef Matrix dz = dy_rows(shard.block, op, rows.first, rows.m)
    cdef Py_ssize_t k = filter_rows(model, op)
    weight_gradient(window_of(op), &x, &dz, split_begin(k, TILE_M, shard.thread, shard.n_threads),
                    split_begin(k, TILE_M, shard.thread + 1, shard.n_threads),
                    gradient_of(model, op.w, grads), accumulate, shard.scratch)
    if op.b >= 0 and shard.thread == shard.n_threads - 1:
        convolve_bias(parameter_size(&model.parameters[op.b]), &dz, gradient_of(model, op.b, grads),
                      accumulate)


cdef void update_filters(const Shard* shard, const Op* op, const StepConstants* step,
                         WeightGradient weight_gradient) noexcept nogil:
    """Compute dW and apply the optimizer step for the thread's rows; the last thread also updates b."""
    cdef const Model* model = shard.run.model
    cdef Py_ssize_t k = filter_rows(model, op), cols = window_of(op).out_c
    cdef Py_ssize_t k0 = split_begin(k, TILE_M, shard.thread, shard.n_threads)
    cdef Py_ssize_t k1 = split_begin(k, TILE_M, shard.thread + 1, shard.n_threads)
    # A batch of images that threads share consists of a single micro-batch.
    filter_gradient(shard, op, Range(0, shard.rows, 0), <real*>model.grads, False, weight_gradient)
    step_range(model, op.w, k0 * cols, (k1 - k0) * cols, step)
    if op.b >= 0 and shard.thread == shard.n_threads - 1:
        step_range(model, op.b, 0, parameter_size(&model.parameters[op.b]), step)


cdef void gradient_convolution(const Shard* shard, const Op* op, Range rows, real* grads,
                               bint accumulate) noexcept nogil:
    if is_trained(shard.run.model, op.w):
        filter_gradient(shard, op, rows, grads, accumulate, convolve_weight)


cdef void update_convolution(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    if is_trained(shard.run.model, op.w):
        update_filters(shard, op, step, convolve_weight)


cdef void gradient_transposed(const Shard* shard, const Op* op, Range rows, real* grads,
                              bint accumulate) noexcept nogil:
    if is_trained(shard.run.model, op.w):
        filter_gradient(shard, op, rows, grads, accumulate, transposed_weight)


cdef void update_transposed(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    if is_trained(shard.run.model, op.w):
        update_filters(shard, op, step, transposed_weight)


cdef void gradient_depthwise(const Shard* shard, const Op* op, Range rows, real* grads,
                             bint accumulate) noexcept nogil:
    if is_trained(shard.run.model, op.w):
        filter_gradient(shard, op, rows, grads, accumulate, depthwise_weight)


cdef void update_depthwise(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    if is_trained(shard.run.model, op.w):
        update_filters(shard, op, step, depthwise_weight)


# ---- scratch and work ----------------------------------------------------------------------------

cdef Py_ssize_t scratch_convolution(const Op* op) noexcept nogil:
    return convolution_scratch(window_of(op))


cdef double flops_convolution(const Op* op) noexcept nogil:
    """Return the number of operations per row of a convolution or a transposed convolution."""
    cdef const Window* win = window_of(op)
    return 2.0 * win.out_h * win.out_w * win.out_c * win.kernel_h * win.kernel_w * (win.c // win.groups)


cdef Py_ssize_t scratch_depthwise(const Op* op) noexcept nogil:
    return depthwise_scratch(window_of(op))
