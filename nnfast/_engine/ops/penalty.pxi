"""A penalty that other ops compute, which is added to the loss."""

ctypedef struct PenaltySettings:
    double weight


cdef int forward_penalty(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """y = x; add weight·Σ x2 to the activity penalty of each sample."""
    cdef Matrix x2 = second_input(shard, op), y = output_of(shard, op)
    affine(x, &y, 1, 0)
    add_row_sums(&x2, op.steps, (<const PenaltySettings*>settings_of(op)).weight,
                 shard.block.activity + shard.begin)
    return activation


cdef void backward_penalty(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dY, dX2 = weight·(factor of the penalties); without an offset, dY itself serves as dX."""
    cdef Matrix dx
    if op.dx >= 0:
        backward_copy(shard, op)
    if op.dx2 >= 0:
        dx = second_gradient(shard, op)
        set_all(&dx, (<const PenaltySettings*>settings_of(op)).weight * shard.activity_scale)
