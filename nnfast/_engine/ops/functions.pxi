"""The columns of the ops table. A function may be NULL; a trait that is not set is 0."""

ctypedef struct OpFunctions:
    const char* name
    OpTraits traits
    # Computes z from the shard's rows of x, and returns the activation that is left to apply: linear if it
    # is fused.
    int (*forward)(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil
    # Computes dX from dZ.
    void (*backward)(const Shard* shard, const Op* op) noexcept nogil
    # grads = (grads +) the parameters' gradients from some rows of the block: what belongs to the thread.
    void (*gradient)(const Shard* shard, const Op* op, Range rows, real* grads,
                     bint accumulate) noexcept nogil
    # The same of a whole batch, and the optimizer's step while they are in cache.
    void (*update)(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil
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


cdef enum:
    MAX_OPS = 64

cdef OpFunctions OP_TABLE[MAX_OPS]
cdef int n_ops = 0


cdef OpFunctions* add_op(const char* name) except NULL:
    """A new row of the table. Its number is the op's kind."""
    global n_ops
    cdef OpFunctions* row = &OP_TABLE[n_ops]
    if n_ops == MAX_OPS:
        raise RuntimeError("the ops table is full")
    memset(row, 0, sizeof(OpFunctions))
    row.name = name
    n_ops += 1
    return row


cdef const char* op_name(int kind) noexcept nogil:
    return OP_TABLE[kind].name


cdef OpTraits op_traits(int kind) noexcept nogil:
    return OP_TABLE[kind].traits
