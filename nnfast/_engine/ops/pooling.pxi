"""The pooling ops: maximum and average over a window."""

cdef int forward_max_pool(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef Matrix z = preactivation(shard, op)
    pool(window_of(op), True, x, &z)
    return activation


cdef int forward_average_pool(const Shard* shard, const Op* op, const Matrix* x,
                              int activation) noexcept nogil:
    cdef Matrix z = preactivation(shard, op)
    pool(window_of(op), False, x, &z)
    return activation


cdef inline void pool_gradient(const Shard* shard, const Op* op, bint largest) noexcept nogil:
    cdef Matrix x = input_of(shard, op), dy = output_gradient(shard, op)
    pool_backward(window_of(op), largest, &x, output_of(shard, op).data, &dy, op.applies_relu_backward,
                  input_gradient(shard, op).data)


cdef void backward_max_pool(const Shard* shard, const Op* op) noexcept nogil:
    """Compute dX: each window's gradient goes to its first maximum."""
    pool_gradient(shard, op, True)


cdef void backward_average_pool(const Shard* shard, const Op* op) noexcept nogil:
    pool_gradient(shard, op, False)
