"""A draw from a normal distribution whose mean and log-variance are computed by other ops."""

ctypedef struct SamplingSettings:
    int64_t seeded      # whether `seed` is the key of its random stream; if not, the model's seed is
    uint64_t seed

cdef enum:
    INFERENCE_EPOCH = -1    # the epoch in the keys of passes that do not train; no training reaches it


cdef inline uint64_t sampling_key(const Run* run, const Op* op) noexcept nogil:
    """Return the key of the op's draws, which inference makes, too: always the same ones."""
    cdef const SamplingSettings* settings = <const SamplingSettings*>settings_of(op)
    cdef uint64_t epoch = run.epoch if run.training else <uint64_t>INFERENCE_EPOCH
    if settings.seeded:
        return mask_key(settings.seed, epoch, 0)
    return mask_key(run.model.seed, epoch, op.node)


cdef int forward_sampling(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """y = x + exp(x2 / 2)·z with standard normal z."""
    cdef Matrix x2 = second_input(shard, op), y = output_of(shard, op)
    normal_sample(x, &x2, sampling_key(shard.run, op), epoch_row(shard, op), &y)
    return activation


cdef void backward_sampling(const Shard* shard, const Op* op) noexcept nogil:
    """dX = dY, dX2 = exp(x2 / 2)·z·dY / 2; without an offset, dY itself serves as dX."""
    cdef Matrix dy = output_gradient(shard, op), x2, dx
    if op.dx >= 0:
        backward_copy(shard, op)
    if op.dx2 >= 0:
        x2, dx = second_input(shard, op), second_gradient(shard, op)
        log_variance_gradient(&x2, &dy, sampling_key(shard.run, op), epoch_row(shard, op), &dx)
