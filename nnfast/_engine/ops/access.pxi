"""The addresses of an op's tensors, statistics and parameters, used by every other file in this folder."""

# The rows of a block that one thread works on.
ctypedef struct Shard:
    const Run* run
    const Block* block
    Py_ssize_t first        # position of the block's first row in the epoch
    Py_ssize_t rows         # number of rows in the block
    Py_ssize_t begin, end   # range of this thread's rows
    int thread, n_threads   # this thread's index; number of threads that share the block
    real* scratch
    double activity_scale   # factor of the gradients of activity penalties; 0: they have none
    const real* x           # contiguous rows that the first op reads instead of its input, or NULL

# Factors of the losses and gradients of a batch.
ctypedef struct Scales:
    double mean         # 1 / divisor of the losses, the factor of all gradients
    double reduction[MAX_HEADS]     # further factors of each output's losses and gradients, not of penalties

# m rows of a block, beginning with row `first`; all belong to the micro-batch of this number.
ctypedef struct Range:
    Py_ssize_t first, m, number


cdef inline real* address(const Block* block, Py_ssize_t offset, Py_ssize_t row,
                          Py_ssize_t ld) noexcept nogil:
    """Return the address of a row of the tensor at this offset in the arena."""
    return <real*>block.arena + offset * block.rows + row * ld


cdef inline Py_ssize_t n_rows(const Shard* shard) noexcept nogil:
    return shard.end - shard.begin


# ---- tensors of an op, for some rows of a block ---------------------------------------------------
# A sample has op.steps rows, one after the other, in all of an op's tensors.

cdef inline Matrix op_rows(const Block* block, const Op* op, Py_ssize_t offset, Py_ssize_t column,
                           Py_ssize_t first, Py_ssize_t n, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    """Return columns, from `column` on, of the rows of n samples of a tensor, from sample `first` on."""
    return matrix(address(block, offset, first * op.steps, ld) + column, n * op.steps, cols, ld)


cdef inline Matrix x_rows(const Block* block, const Op* op, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    return op_rows(block, op, op.x, op.x_column, first, n, op.n_in, op.ld_x)


cdef inline Matrix x2_rows(const Block* block, const Op* op, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    return op_rows(block, op, op.x2, op.x2_column, first, n, op.n_in2, op.ld_x2)


cdef inline Matrix dx_rows(const Block* block, const Op* op, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    return op_rows(block, op, op.dx, op.x_column, first, n, op.n_in, op.ld_x)


cdef inline Matrix y_rows(const Block* block, const Op* op, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    return op_rows(block, op, op.y, op.y_column, first, n, op.n_out, op.ld_y)


cdef inline Matrix z_rows(const Block* block, const Op* op, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Return rows of the pre-activation z."""
    return op_rows(block, op, op.z, op.y_column, first, n, op.n_out, op.ld_y)


cdef inline Matrix dy_rows(const Block* block, const Op* op, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Return rows of dY, which becomes dZ in place when it is multiplied by the activation's derivative."""
    return op_rows(block, op, op.dy, op.y_column, first, n, op.n_out, op.ld_y)


# ---- the same for the rows of a shard -------------------------------------------------------------

cdef inline Matrix input_of(const Shard* shard, const Op* op) noexcept nogil:
    return x_rows(shard.block, op, shard.begin, n_rows(shard))


cdef inline Matrix input_gradient(const Shard* shard, const Op* op) noexcept nogil:
    return dx_rows(shard.block, op, shard.begin, n_rows(shard))


cdef inline Matrix output_of(const Shard* shard, const Op* op) noexcept nogil:
    return y_rows(shard.block, op, shard.begin, n_rows(shard))


cdef inline Matrix preactivation(const Shard* shard, const Op* op) noexcept nogil:
    return z_rows(shard.block, op, shard.begin, n_rows(shard))


cdef inline Matrix output_gradient(const Shard* shard, const Op* op) noexcept nogil:
    return dy_rows(shard.block, op, shard.begin, n_rows(shard))


cdef void team_wait(const Run* run) noexcept nogil:
    """Wait at a barrier for all threads of the run."""
    if run.n_threads > 1:
        team_barrier()


# ---- statistics of normalizations ----------------------------------------------------------------

cdef enum Statistic:
    STAT_MEAN, STAT_RSTD
    STAT_VARIANCE, STAT_DGAMMA, STAT_DBETA                  # batch statistics
    STAT_REAL, N_BATCH_STATS                                # number of real steps, in the first element
    STAT_SHIFT = 2, N_FIXED_STATS                           # fixed statistics
    N_ROW_STATS = 2                                         # mean and rstd of each group in a row
    GROUP_MEAN = 0, GROUP_RSTD, GROUP_DGAMMA, GROUP_DBETA, N_GROUP_STATS    # of each channel in a sample


cdef inline real* stat(const Run* run, const Op* op, int which) noexcept nogil:
    """Return the array of one statistic, with one element per channel."""
    return <real*>run.stats + op.stats + which * op.ld_stats


# ---- parameters ----------------------------------------------------------------------------------

cdef inline real* parameter_data(const Model* model, int which) noexcept nogil:
    """Return the address of a parameter array; NULL if `which` is −1, because the op has no such array."""
    return NULL if which < 0 else <real*>model.parameters[which].data


cdef inline bint is_trained(const Model* model, int which) noexcept nogil:
    """Return whether the op has this parameter array and the optimizer trains it."""
    return which >= 0 and model.parameters[which].trained


cdef inline Py_ssize_t parameter_size(const Parameter* a) noexcept nogil:
    return a.outer * a.rows * a.cols


cdef inline GradientTransform gradient_transform(const Model* model, int which,
                                                 double regularizer_scale) noexcept nogil:
    """Return an array's gradient transform: regularizers are scaled, and there is no clipping by norm."""
    cdef GradientTransform a
    a.l1 = model.parameters[which].l1 * regularizer_scale
    a.l2 = model.parameters[which].l2 * regularizer_scale
    a.clip_factor = 1
    a.clip_value = model.optimizer.clip_value
    return a


cdef inline real* gradient_of(const Model* model, int which, real* grads) noexcept nogil:
    """Return the address of an array's gradient in `grads`, or NULL if the array is not trained."""
    return grads + model.parameters[which].begin if is_trained(model, which) else NULL


cdef void step_range(const Model* model, int which, Py_ssize_t i, Py_ssize_t n,
                     const StepConstants* step) noexcept nogil:
    """Apply the optimizer step to elements i … i + n − 1 of an array; the gradient is in model.grads."""
    cdef Py_ssize_t p = model.parameters[which].begin + i
    cdef GradientTransform transform = gradient_transform(model, which, step.regularizer_scale)
    update_step(&model.optimizer, step, &transform, n, parameter_data(model, which) + i,
                <const real*>model.grads + p, <real*>model.slots + p, model.slot_stride)


# ---- micro-batches -------------------------------------------------------------------------------

cdef inline real* partial(const Run* run, Py_ssize_t c) noexcept nogil:
    """Return the address of micro-batch c's gradient, without the sparse gradients."""
    return <real*>run.partials + c * run.model.n_dense


cdef inline Range rows_of_microbatch(const Run* run, Py_ssize_t c, Py_ssize_t rows) noexcept nogil:
    """Return the range of rows of micro-batch c in a batch of `rows` rows."""
    cdef Py_ssize_t first = split_begin(rows, 4, c, run.n_microbatches)
    return Range(first, split_begin(rows, 4, c + 1, run.n_microbatches) - first, c)


cdef void sum_partials(const Run* run, Py_ssize_t p0, Py_ssize_t p1) noexcept nogil:
    """grads[p0:p1] = the sum of the gradients of all micro-batches, in a fixed order.

    A single micro-batch writes to grads directly, so nothing is left to add.
    """
    cdef real* grads = <real*>run.model.grads
    cdef const real* part
    cdef Py_ssize_t c, p, q
    cdef int cols
    cdef vreal total
    if run.n_microbatches == 1:
        return
    for q in range(ceil_div(p1 - p0, VLEN)):
        p = p0 + q * VLEN
        cols = <int>min(<Py_ssize_t>VLEN, p1 - p)
        part = <const real*>run.partials + p
        total = load_cols(part, cols)
        for c in range(1, run.n_microbatches):
            part += run.model.n_dense
            total = total + load_cols(part, cols)
        store_cols(grads + p, total, cols)


# ---- settings ------------------------------------------------------------------------------------

cdef inline const void* settings_of(const Op* op) noexcept nogil:
    """Return the op's settings; the caller casts them to the struct for this kind of op."""
    return op.settings


cdef inline const Window* window_of(const Op* op) noexcept nogil:
    """Return the settings of an op that moves a window over images."""
    return <const Window*>settings_of(op)


cdef double window_flops(const Op* op) noexcept nogil:
    """Return the number of operations per row: two for each pixel of each window."""
    return 2.0 * op.n_out * window_of(op).kernel_h * window_of(op).kernel_w
