"""Ops that go through their input element by element: activation, affine, dropout, noise."""

ctypedef struct AffineSettings:
    double scale, offset

ctypedef struct DropoutSettings:
    double rate

ctypedef struct NoiseSettings:
    double stddev


cdef int forward_activation(const Shard* shard, const Op* op, const real* x, Py_ssize_t ld_x,
                            int activation) noexcept nogil:
    """The pass applies the activation."""
    return activation


cdef void backward_copy(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dZ: of an activation, a noise, and a dropout outside of training."""
    affine(n_rows(shard), op.n_in, output_gradient(shard, op), op.ld_y, input_gradient(shard, op), op.ld_x,
           1, 0)


cdef int forward_affine(const Shard* shard, const Op* op, const real* x, Py_ssize_t ld_x,
                        int activation) noexcept nogil:
    """y = scale·x + offset."""
    cdef const AffineSettings* settings = <const AffineSettings*>settings_of(op)
    affine(n_rows(shard), op.n_in, input_of(shard, op), op.ld_x, output_of(shard, op), op.ld_y,
           settings.scale, settings.offset)
    return activation


cdef void backward_affine(const Shard* shard, const Op* op) noexcept nogil:
    """dX = scale·dY."""
    affine(n_rows(shard), op.n_in, output_gradient(shard, op), op.ld_y, input_gradient(shard, op), op.ld_x,
           (<const AffineSettings*>settings_of(op)).scale, 0)


cdef inline uint64_t random_key(const Run* run, const Op* op) noexcept nogil:
    """The random stream of an op in the present epoch."""
    return mask_key(run.model.seed, run.epoch, op.layer)


cdef inline Py_ssize_t epoch_row(const Shard* shard) noexcept nogil:
    """The number in its epoch of the shard's first row: its place in random streams."""
    return shard.run.row_offset + shard.first + shard.begin


cdef int forward_dropout(const Shard* shard, const Op* op, const real* x, Py_ssize_t ld_x,
                         int activation) noexcept nogil:
    """y = x·mask / (1 − rate) in training, else x."""
    cdef const Run* run = shard.run
    cdef real* rows = input_of(shard, op)
    cdef real* y = output_of(shard, op)
    if run.training:
        dropout(n_rows(shard), op.n_in, rows, op.ld_x, y, op.ld_y, (<const DropoutSettings*>settings_of(op)).rate, random_key(run, op),
                epoch_row(shard))
    else:
        affine(n_rows(shard), op.n_in, rows, op.ld_x, y, op.ld_y, 1, 0)
    return activation


cdef void backward_dropout(const Shard* shard, const Op* op) noexcept nogil:
    """The mask of the way forward is drawn again."""
    cdef const Run* run = shard.run
    if run.training:
        dropout(n_rows(shard), op.n_in, output_gradient(shard, op), op.ld_y, input_gradient(shard, op),
                op.ld_x,
                (<const DropoutSettings*>settings_of(op)).rate, random_key(run, op), epoch_row(shard))
    else:
        backward_copy(shard, op)


cdef int forward_noise(const Shard* shard, const Op* op, const real* x, Py_ssize_t ld_x,
                       int activation) noexcept nogil:
    """y = x + normal noise in training, else x."""
    cdef const Run* run = shard.run
    cdef real* rows = input_of(shard, op)
    cdef real* y = output_of(shard, op)
    if run.training:
        gaussian_noise(n_rows(shard), op.n_in, rows, op.ld_x, y, op.ld_y, (<const NoiseSettings*>settings_of(op)).stddev, random_key(run, op),
                       epoch_row(shard))
    else:
        affine(n_rows(shard), op.n_in, rows, op.ld_x, y, op.ld_y, 1, 0)
    return activation
