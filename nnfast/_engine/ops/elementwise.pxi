"""Elementwise ops: activation, clipped_relu, affine, dropout, noise."""

ctypedef struct ClippedReluSettings:
    double negative_slope, max_value, threshold

ctypedef struct AffineSettings:
    double scale, offset

ctypedef struct DropoutSettings:
    double rate
    int64_t seeded      # whether `seed` is the key of its random stream; if not, the model's seed is
    uint64_t seed
    int64_t broadcast   # whether elements of a sample share mask elements
    int64_t sizes[3]    # a sample's axes, if so
    int64_t strides[3]  # distance in the mask per step along each axis, 0 if the mask is shared
    double scale, offset, dropped   # kept elements become scale·x + offset, the others `dropped`

ctypedef struct NoiseSettings:
    double stddev
    int64_t seeded
    uint64_t seed
    int64_t multiplies  # whether x is multiplied by 1 + noise; if not, noise is added to it


cdef int forward_activation(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """Return the activation unchanged, because the caller applies it."""
    return activation


cdef int forward_clipped_relu(const Shard* shard, const Op* op, const Matrix* x,
                              int activation) noexcept nogil:
    cdef const ClippedReluSettings* settings = <const ClippedReluSettings*>settings_of(op)
    cdef Matrix y = output_of(shard, op)
    clipped_relu(x, settings.negative_slope, settings.max_value, settings.threshold, &y)
    return activation


cdef void backward_clipped_relu(const Shard* shard, const Op* op) noexcept nogil:
    cdef const ClippedReluSettings* settings = <const ClippedReluSettings*>settings_of(op)
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    clipped_relu_gradient(&x, settings.negative_slope, settings.max_value, settings.threshold, &dz, &dx)


cdef void backward_copy(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dZ, for activations, added noise, and dropout outside of training."""
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


cdef void apply_dropout(const Shard* shard, const Op* op, const Matrix* x, const Matrix* y, double offset,
                        double dropped) noexcept nogil:
    """y = scale·x + offset where the mask keeps an element, else `dropped`."""
    cdef const DropoutSettings* settings = <const DropoutSettings*>settings_of(op)
    cdef MaskRule rule = MaskRule(settings.rate, settings.scale, offset, dropped)
    cdef uint64_t key = random_key(shard.run, op, settings.seeded, settings.seed)
    if settings.rate >= 1:
        affine(x, y, 0, 0)
    elif settings.broadcast:
        dropout_broadcast(x, y, &rule, key, epoch_row(shard, op), settings.sizes, settings.strides)
    else:
        dropout(x, y, &rule, key, epoch_row(shard, op))


cdef int forward_dropout(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """Drop elements of x in training, y = x otherwise."""
    cdef const DropoutSettings* settings = <const DropoutSettings*>settings_of(op)
    cdef Matrix y = output_of(shard, op)
    if shard.run.training:
        apply_dropout(shard, op, x, &y, settings.offset, settings.dropped)
    else:
        affine(x, &y, 1, 0)
    return activation


cdef void backward_dropout(const Shard* shard, const Op* op) noexcept nogil:
    """dX = scale·dZ·mask; the mask of the forward pass is regenerated."""
    cdef Matrix dz, dx
    if shard.run.training:
        dz, dx = output_gradient(shard, op), input_gradient(shard, op)
        apply_dropout(shard, op, &dz, &dx, -0.0, 0)    # adding −0 changes no number, not even −0
    else:
        backward_copy(shard, op)


cdef void apply_noise(const Shard* shard, const Op* op, const Matrix* x, const Matrix* y) noexcept nogil:
    """y = x + noise, or x·(1 + noise), with Gaussian noise."""
    cdef const NoiseSettings* settings = <const NoiseSettings*>settings_of(op)
    cdef uint64_t key = random_key(shard.run, op, settings.seeded, settings.seed)
    gaussian_noise(x, y, settings.stddev, settings.multiplies != 0, key, epoch_row(shard, op))


cdef int forward_noise(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """Add or multiply Gaussian noise in training, y = x otherwise."""
    cdef Matrix y = output_of(shard, op)
    if shard.run.training:
        apply_noise(shard, op, x, &y)
    else:
        affine(x, &y, 1, 0)
    return activation


cdef void backward_noise(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dZ·(1 + noise) in training if the noise multiplies; it is regenerated. Otherwise, dX = dZ."""
    cdef Matrix dz, dx
    if shard.run.training and (<const NoiseSettings*>settings_of(op)).multiplies != 0:
        dz, dx = output_gradient(shard, op), input_gradient(shard, op)
        apply_noise(shard, op, &dz, &dx)
    else:
        backward_copy(shard, op)
