"""Ops that pool the pixels of a window: maximum and average."""

cdef int forward_max_pool(const Shard* shard, const Op* op, const real* x, Py_ssize_t ld_x,
                          int activation) noexcept nogil:
    pool(window_of(op), True, n_rows(shard), x, ld_x, before_activation(shard, op), op.ld_y)
    return activation


cdef void backward_max_pool(const Shard* shard, const Op* op) noexcept nogil:
    """The gradient of a window goes to its first maximum."""
    pool_back(window_of(op), True, n_rows(shard), input_of(shard, op), op.ld_x, output_of(shard, op),
              output_gradient(shard, op), op.ld_y, op.applies_relu_backward, input_gradient(shard, op))


cdef int forward_average_pool(const Shard* shard, const Op* op, const real* x, Py_ssize_t ld_x,
                              int activation) noexcept nogil:
    pool(window_of(op), False, n_rows(shard), x, ld_x, before_activation(shard, op), op.ld_y)
    return activation


cdef void backward_average_pool(const Shard* shard, const Op* op) noexcept nogil:
    pool_back(window_of(op), False, n_rows(shard), input_of(shard, op), op.ld_x, output_of(shard, op),
              output_gradient(shard, op), op.ld_y, op.applies_relu_backward, input_gradient(shard, op))
