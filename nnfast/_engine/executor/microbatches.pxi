"""Micro-batches: a batch is split by its shape alone, and losses and gradients are added in a fixed order.

Results therefore do not depend on the number of threads. A micro-batch is processed in blocks that stay in
cache. If threads share the batch, all its micro-batches are processed at once.
"""

cdef inline Shard block_shard(const Run* run, const Block* block, Py_ssize_t first, Py_ssize_t rows,
                              real* scratch) noexcept nogil:
    """Return the shard of a thread that processes a block alone."""
    cdef Shard shard
    shard.run = run
    shard.block = block
    shard.first = first
    shard.rows = shard.end = rows
    shard.begin = 0
    shard.thread = 0
    shard.n_threads = 1
    shard.activity_scale = 0
    shard.x = NULL
    shard.scratch = scratch
    return shard


cdef inline Shard whole_shard(const Run* run, Py_ssize_t first, Py_ssize_t rows, int t,
                              real* scratch) noexcept nogil:
    """Return the shard of thread t in a batch that all threads share."""
    cdef Shard shard = block_shard(run, run.whole, first, rows, scratch)
    shard.begin = split_begin(rows, 4, t, run.n_threads)
    shard.end = split_begin(rows, 4, t + 1, run.n_threads)
    shard.thread = t
    shard.n_threads = run.n_threads
    return shard


cdef void add_losses(Accumulators* sum, const double* loss, Py_ssize_t m) noexcept nogil:
    """sum += Σ loss over m rows. m must be a multiple of 4 in every call except the last."""
    cdef double a = sum.a, b = sum.b, c = sum.c, d = sum.d
    cdef Py_ssize_t i
    for i in range(0, m - m % 4, 4):
        a += loss[i]
        b += loss[i + 1]
        c += loss[i + 2]
        d += loss[i + 3]
    for i in range(m - m % 4, m):
        a += loss[i]
    sum[0] = Accumulators(a, b, c, d)


cdef void add_gradients(const Shard* shard, Range rows, real* grads, bint accumulate) noexcept nogil:
    """Write the gradients of all ops over these rows of the block to grads, or add them if `accumulate`.

    Each thread computes its own range of every parameter.
    """
    cdef const Op* op
    cdef int i
    for i in range(shard.run.op_list.n_ops):
        op = &shard.run.op_list.ops[i]
        if OP_TABLE[op.kind].gradient != NULL:
            OP_TABLE[op.kind].gradient(shard, op, rows, grads, accumulate or op.adds_parameters)


cdef void whole_gradients(const Shard* shard) noexcept nogil:
    """For a batch that threads share, compute this thread's part of every micro-batch's gradients."""
    cdef Py_ssize_t c
    for c in range(shard.run.n_microbatches):
        add_gradients(shard, rows_of_microbatch(shard.run, c, shard.rows), partial(shard.run, c), False)


# A micro-batch: its number, the position of its batch in the epoch, and its range of rows in the batch.
ctypedef struct Microbatch:
    Py_ssize_t number, batch_first, begin, end


cdef inline Microbatch microbatch(const Run* run, Py_ssize_t number, Py_ssize_t first,
                                  Py_ssize_t rows) noexcept nogil:
    """Return micro-batch `number` of a batch of `rows` rows that begins at position `first`."""
    return Microbatch(number, first, split_begin(rows, 4, number, run.n_microbatches),
                      split_begin(rows, 4, number + 1, run.n_microbatches))


cdef inline Py_ssize_t block_pass(const Run* run, const Microbatch* micro, Py_ssize_t r, const Scales* scales,
                                  bint gradient, const Block* block, real* scratch) noexcept nogil:
    """Add loss and gradient of the block that begins at row r to the micro-batch; return the block's end."""
    cdef Py_ssize_t m = min(block.rows, micro.end - r)
    cdef Shard shard = block_shard(run, block, micro.batch_first + r, m, scratch)
    cdef Accumulators* sums = run.microbatch_loss + micro.number * run.n_losses
    cdef int k
    rows_phase(&shard, scales, gradient)
    for k in range(run.n_losses):
        if r == micro.begin:
            sums[k] = Accumulators(0, 0, 0, 0)
        add_losses(&sums[k], block.loss + k * block.rows, m)
    if gradient:
        add_gradients(&shard, Range(0, m, micro.number), partial(run, micro.number), r > micro.begin)
    return r + m


cdef void microbatch_pass(const Run* run, const Microbatch* micro, const Scales* scales, bint gradient,
                          const Block* block, real* scratch) noexcept nogil:
    """Process all blocks of a micro-batch; write the loss to microbatch_loss, the gradient to partials."""
    cdef Py_ssize_t r = micro.begin
    cdef int k
    while r < micro.end:
        r = block_pass(run, micro, r, scales, gradient, block, scratch)
    if micro.begin == micro.end:
        for k in range(run.n_losses):
            run.microbatch_loss[micro.number * run.n_losses + k] = Accumulators(0, 0, 0, 0)
        if gradient:
            memset(partial(run, micro.number), 0, run.model.n_dense * sizeof(real))
            clear_sparse_gradients(run, micro.number)


cdef void input_gradient_pass(const Run* run, Py_ssize_t c, const Block* block, real* scratch) noexcept nogil:
    """Write ∂loss/∂x of each row in micro-batch c to run.input_gradients."""
    cdef const Input* input
    cdef Py_ssize_t r = split_begin(run.data.n, 4, c, run.n_microbatches)
    cdef Py_ssize_t end = split_begin(run.data.n, 4, c + 1, run.n_microbatches)
    cdef Py_ssize_t m
    cdef Shard shard
    cdef Matrix dx, out
    cdef Scales scales
    cdef int k
    scales.mean = 1
    for k in range(run.model.n_heads):
        scales.reduction[k] = 1
    while r < end:
        m = min(block.rows, end - r)
        shard = block_shard(run, block, r, m, scratch)
        rows_phase(&shard, &scales, True)
        for k in range(run.model.n_inputs):
            # By the chain rule, multiply by the factor that scales the input.
            input = &run.model.inputs[k]
            dx = input_matrix(&shard, run.op_list.dx[k], k)
            out = matrix(<real*>run.input_gradients[k] + r * input.n, m, input.n, input.n)
            affine(&dx, &out, input.scale, 0)
        r += m


cdef double microbatches_loss(const Run* run, int which) noexcept nogil:
    """Return the sum of the micro-batches' losses: the total (0) or that of one output."""
    cdef double total = 0
    cdef Py_ssize_t c
    for c in range(run.n_microbatches):
        total += sum_of(&run.microbatch_loss[c * run.n_losses + which])
    return total


cdef double whole_loss(const Run* run, int which, Py_ssize_t rows) noexcept nogil:
    """Return the micro-batches' loss for a batch that threads share, bit-identical on every thread."""
    cdef double total = 0
    cdef Accumulators sum
    cdef Range microbatch
    cdef Py_ssize_t c
    for c in range(run.n_microbatches):
        microbatch = rows_of_microbatch(run, c, rows)
        sum = Accumulators(0, 0, 0, 0)
        add_losses(&sum, run.whole.loss + which * run.whole.rows + microbatch.first, microbatch.m)
        total += sum_of(&sum)
    return total
