"""The parametric ReLU: an op with a trainable slope for each channel."""

ctypedef struct SlopeSettings:
    double threshold    # elements above it are left as they are


cdef inline real threshold_of(const Op* op) noexcept nogil:
    return <real>(<const SlopeSettings*>settings_of(op)).threshold


cdef int forward_prelu(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """y = x if x > threshold, else alpha·x."""
    cdef Matrix y = output_of(shard, op)
    prelu_product(x, threshold_of(op), op.channels, parameter_data(shard.run.model, op.w), x, &y)
    return activation


cdef void backward_prelu(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    prelu_product(&x, threshold_of(op), op.channels, parameter_data(shard.run.model, op.w), &dz, &dx)


cdef void gradient_prelu(const Shard* shard, const Op* op, Range rows, real* grads,
                         bint accumulate) noexcept nogil:
    """Write the thread's channels of dalpha to the flat gradients."""
    cdef real* dalpha = gradient_of(shard.run.model, op.w, grads)
    cdef Matrix x, dz
    if dalpha == NULL:
        return      # nothing to compute, and dy may not exist
    x, dz = x_rows(shard.block, op, rows.first, rows.m), dy_rows(shard.block, op, rows.first, rows.m)
    prelu_slope_gradient(&x, threshold_of(op), channels_of(shard, op), &dz, dalpha, accumulate)
