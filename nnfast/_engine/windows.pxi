"""Part of the executor: the ops that move a window over images."""

cdef void window_forward(const Model* model, const Op* op, Py_ssize_t m, const real* x, Py_ssize_t ld_x,
                         real* z, bint relu, real* scratch) noexcept nogil:
    """m images; relu: fused where there are weights."""
    cdef const Window* win = &op.window
    if op.kind == OP_CONVOLUTION:
        convolve(win, m, x, ld_x, array(model, op.w), array(model, op.b), z, op.ld_y, relu, scratch)
    elif op.kind == OP_DEPTHWISE:
        depthwise(win, m, x, ld_x, array(model, op.w), array(model, op.b), z, op.ld_y, relu, scratch)
    else:
        pool(win, op.kind == OP_MAX_POOL, m, x, ld_x, z, op.ld_y)


cdef void window_backward(const Model* model, const Op* op, Py_ssize_t m, const real* x, const real* y,
                          const real* dz, real* dx, real* scratch) noexcept nogil:
    """dx of m images."""
    cdef const Window* win = &op.window
    if op.kind == OP_CONVOLUTION:
        convolve_input(win, m, dz, op.ld_y, array(model, op.w), dx, op.ld_x, scratch)
    elif op.kind == OP_DEPTHWISE:
        depthwise_input(win, m, dz, op.ld_y, array(model, op.w), dx, op.ld_x, scratch)
    else:
        pool_back(win, op.kind == OP_MAX_POOL, m, x, op.ld_x, y, dz, op.ld_y, op.dx_relu, dx)


cdef inline bint has_kernel(const Op* op) noexcept nogil:
    """Whether it is one of the following, that have weights."""
    return op.kind == OP_CONVOLUTION or op.kind == OP_DEPTHWISE


cdef void window_weight_gradient(const Op* op, Py_ssize_t m, const real* x, const real* dz, Py_ssize_t k0,
                                 Py_ssize_t k1, real* dw, bint accumulate, real* scratch) noexcept nogil:
    """Rows k0 … k1 of dw = (dw +) the gradient from m images."""
    if op.kind == OP_CONVOLUTION:
        convolve_weight(&op.window, m, x, op.ld_x, dz, op.ld_y, k0, k1, dw, accumulate, scratch)
    else:
        depthwise_weight(&op.window, m, x, op.ld_x, dz, op.ld_y, k0, k1, dw, accumulate, scratch)


cdef Py_ssize_t window_scratch(int kind, const Window* win) noexcept nogil:
    """Elements of scratch that an op needs."""
    if kind == OP_CONVOLUTION:
        return convolution_scratch(win)
    return depthwise_scratch(win) if kind == OP_DEPTHWISE else 0
