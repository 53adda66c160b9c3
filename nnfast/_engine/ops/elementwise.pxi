"""Elementwise ops: activation, affine, dropout, noise."""

ctypedef struct AffineSettings:
    double scale, offset

ctypedef struct DropoutSettings:
    double rate
    int64_t seeded      # whether `seed` is the key of its random stream; if not, the model's seed is
    uint64_t seed
    int64_t broadcast   # whether elements of a sample share mask elements
    int64_t sizes[3]    # a sample's axes, if so
    int64_t strides[3]  # distance in the mask per step along each axis, 0 if the mask is shared

ctypedef struct NoiseSettings:
    double stddev
    int64_t seeded
    uint64_t seed


cdef int forward_activation(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """Return the activation unchanged, because the caller applies it."""
    return activation


cdef void backward_copy(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dZ, for activations, noise, and dropout outside of training."""
    cdef Matrix dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    affine(&dz, &dx, 1, 0)


cdef int forward_affine(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """y = scale·x + offset."""
    cdef const AffineSettings* settings = <const AffineSettings*>settings_of(op)
    cdef Matrix y = output_of(shard, op)
    affine(x, &y, settings.scale, settings.offset)
    return activation


cdef void backward_affine(const Shard* shard, const Op* op) noexcept nogil:
    """dX = scale·dY."""
    cdef Matrix dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    affine(&dz, &dx, (<const AffineSettings*>settings_of(op)).scale, 0)


cdef inline uint64_t random_key(const Run* run, const Op* op, int64_t seeded, uint64_t seed) noexcept nogil:
    """Return the key of the op's random stream in the current epoch; layers with equal seeds share it."""
    if seeded:
        return mask_key(seed, run.epoch, 0)
    return mask_key(run.model.seed, run.epoch, op.node)


cdef inline Py_ssize_t epoch_row(const Shard* shard, const Op* op) noexcept nogil:
    """Return the position of the shard's first row in its epoch, which selects its random stream."""
    return (shard.run.row_offset + shard.first + shard.begin) * op.steps


cdef void apply_dropout(const Shard* shard, const Op* op, const Matrix* x, const Matrix* y) noexcept nogil:
    """y = x·mask / (1 − rate)."""
    cdef const DropoutSettings* settings = <const DropoutSettings*>settings_of(op)
    cdef uint64_t key = random_key(shard.run, op, settings.seeded, settings.seed)
    if settings.rate >= 1:
        affine(x, y, 0, 0)
    elif settings.broadcast:
        dropout_broadcast(x, y, settings.rate, key, epoch_row(shard, op), settings.sizes, settings.strides)
    else:
        dropout(x, y, settings.rate, key, epoch_row(shard, op))


cdef int forward_dropout(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """y = x·mask / (1 − rate) in training, y = x otherwise."""
    cdef Matrix y = output_of(shard, op)
    if shard.run.training:
        apply_dropout(shard, op, x, &y)
    else:
        affine(x, &y, 1, 0)
    return activation


cdef void backward_dropout(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dZ·mask / (1 − rate); the mask of the forward pass is regenerated."""
    cdef Matrix dz, dx
    if shard.run.training:
        dz, dx = output_gradient(shard, op), input_gradient(shard, op)
        apply_dropout(shard, op, &dz, &dx)
    else:
        backward_copy(shard, op)


cdef int forward_noise(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """y = x + Gaussian noise in training, y = x otherwise."""
    cdef const NoiseSettings* settings = <const NoiseSettings*>settings_of(op)
    cdef Matrix y = output_of(shard, op)
    if shard.run.training:
        gaussian_noise(x, &y, settings.stddev, random_key(shard.run, op, settings.seeded, settings.seed),
                       epoch_row(shard, op))
    else:
        affine(x, &y, 1, 0)
    return activation
