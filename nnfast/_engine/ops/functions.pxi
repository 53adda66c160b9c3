"""What the executor may ask of an op; a row of the table has a function, or NULL, for each."""

ctypedef struct OpFunctions:
    # Computes z, and returns the activation that is left to apply: linear if it is fused. x: the shard's
    # rows.
    int (*forward)(const Shard* shard, const Op* op, const real* x, Py_ssize_t ld_x,
                   int activation) noexcept nogil
    # Computes dX from dZ.
    void (*backward)(const Shard* shard, const Op* op) noexcept nogil
    # grads = (grads +) the parameters' gradients from some rows of the block: what belongs to the thread.
    void (*gradient)(const Shard* shard, const Op* op, Range rows, real* grads,
                     bint accumulate) noexcept nogil
    # The same of a whole batch, and the optimizer's step while they are in cache.
    void (*update)(const Shard* shard, const Op* op, const Step* step) noexcept nogil
    # Called by one thread before a run, and after each step.
    void (*prepare)(const Run* run, const Op* op) noexcept nogil
    void (*after_step)(const Run* run, const Op* op) noexcept nogil
    # Elements of scratch, and the arithmetic of one row besides 10 operations for each output.
    Py_ssize_t (*scratch)(const Op* op) noexcept nogil
    double (*flops)(const Op* op) noexcept nogil
    bint splits_k           # its W may be divided among the threads
    bint reads_data         # as the first op it can read the data's own rows
    bint has_window         # it moves a window over images
    bint whole_batch        # it looks at the batch as a whole, unless it is frozen
    bint sums_backward      # `backward` is called even if dX is not needed


cdef OpFunctions OP_TABLE[N_OPS]
