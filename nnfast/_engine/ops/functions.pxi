"""The columns of the ops table. Functions that an op lacks are NULL, and traits that are not set are 0."""

ctypedef struct OpFunctions:
    const char* name
    OpTraits traits
    # Compute z from the shard's rows of x; return the activation that the caller still has to apply, which is
    # linear if the activation was fused.
    int (*forward)(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil
    # Compute dX from dZ.
    void (*backward)(const Shard* shard, const Op* op) noexcept nogil
    # Write the gradients of the thread's parameter ranges, computed from some rows of the block, to grads; if
    # `accumulate`, add them.
    void (*gradient)(const Shard* shard, const Op* op, Range rows, real* grads,
                     bint accumulate) noexcept nogil
    # The fused update for a batch that threads share: compute gradients, then apply the optimizer step while
    # they are in cache.
    void (*update)(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil
    # One thread calls `prepare` before a run and `after_step` after each step.
    void (*prepare)(const Run* run, const Op* op) noexcept nogil
    void (*after_step)(const Run* run, const Op* op) noexcept nogil
    # The scratch size in elements, and the number of operations per row in addition to 10 for each output.
    Py_ssize_t (*scratch)(const Op* op) noexcept nogil
    double (*flops)(const Op* op) noexcept nogil
    bint reads_data         # if it is the first op, it can read the user's data in place
    bint has_window         # the op moves a window over images
    bint has_steps          # the op goes through the steps of sequences, one after the other
    bint reads_ids          # the elements of x name rows of its weights
    bint whole_batch        # the op needs the whole batch at once, unless it is frozen
    bint adds_penalty       # `forward` adds a penalty to the loss of each row
    bint sums_backward      # `backward` runs even without dX: parameter gradients need what it computes


cdef enum:
    MAX_OPS = 64

cdef OpFunctions OP_TABLE[MAX_OPS]
cdef int n_ops = 0


cdef OpFunctions* add_op(const char* name) except NULL:
    """Append a row to the table and return it. The row's index is the op's kind."""
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
