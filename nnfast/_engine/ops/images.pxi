"""The resample op: padding, resizing, flips, shifts, crops, zooms and rotations of images."""

cdef inline const Resampling* resampling_of(const Op* op) noexcept nogil:
    return <const Resampling*>settings_of(op)


cdef inline uint64_t image_key(const Run* run, const Op* op) noexcept nogil:
    """Return the key of the random stream for flips, shifts, crops, zooms or rotations."""
    return random_key(run, op, resampling_of(op).seeded, resampling_of(op).seed)


cdef int forward_resample(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef Matrix y = output_of(shard, op)
    resample(resampling_of(op), x, &y, shard.run.training, image_key(shard.run, op),
             epoch_row(shard, op), shard.scratch)
    return activation


cdef void backward_resample(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix dy = output_gradient(shard, op), dx = input_gradient(shard, op)
    resample_backward(resampling_of(op), &dy, &dx, shard.run.training, image_key(shard.run, op),
                      epoch_row(shard, op), shard.scratch)


cdef enum:
    TAP_SIZE = 8    # upper bound of a Tap's size (kernels/images.pxi), in elements


cdef Py_ssize_t scratch_resample(const Op* op) noexcept nogil:
    """Return the scratch size in elements: a tap for each output row and column, and one row of the input."""
    cdef const Resampling* s = resampling_of(op)
    return TAP_SIZE * (s.n_out[0] + s.n_out[1]) + s.n_in[1] * s.channels + 16
