"""The intensity op: random contrast or brightness of images."""

cdef inline const IntensitySettings* intensity_of(const Op* op) noexcept nogil:
    return <const IntensitySettings*>settings_of(op)


cdef inline uint64_t intensity_key(const Run* run, const Op* op) noexcept nogil:
    """Return the key of the random stream for contrast or brightness."""
    return random_key(run, op, intensity_of(op).seeded, intensity_of(op).seed)


cdef int forward_intensity(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """y = the images with another contrast or brightness in training, y = x otherwise."""
    cdef Matrix y = output_of(shard, op)
    if shard.run.training:
        change_intensity(intensity_of(op), x, &y, intensity_key(shard.run, op), epoch_row(shard, op),
                         shard.scratch)
    else:
        affine(x, &y, 1, 0)
    return activation


cdef void backward_intensity(const Shard* shard, const Op* op) noexcept nogil:
    """Compute dX; the random numbers and means of the forward pass are computed again."""
    cdef Matrix x = input_of(shard, op), dy = output_gradient(shard, op), dx = input_gradient(shard, op)
    if shard.run.training:
        intensity_backward(intensity_of(op), &x, &dy, &dx, intensity_key(shard.run, op),
                           epoch_row(shard, op), shard.scratch)
    else:
        backward_copy(shard, op)


cdef Py_ssize_t scratch_intensity(const Op* op) noexcept nogil:
    """Return the scratch size in elements: one row of pixels."""
    return intensity_of(op).width * intensity_of(op).channels + 16
