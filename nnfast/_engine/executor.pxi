"""The mini-batch loop: gather → forward → loss → backward → update, switches only.

Two ways of cutting a step into work, chosen by shape alone, so that the thread count never
changes a result:

  shared batch   all threads work on one batch in two phases with a barrier after each:
                 rows (gather, forward, loss, dX), then parameters (dW, db, update).
  chunks         many rows and few parameters: fixed chunks of rows, each gone through in
                 blocks that stay in cache, each with its own partial gradient; after a
                 barrier the partials are added in chunk order.

Loops over threads are written as worker functions (run, t); the parallel region only calls
them, and opens once per call from Python.
"""

cdef inline real* slot(const Block* block, Py_ssize_t place, Py_ssize_t row, Py_ssize_t ld) noexcept nogil:
    return <real*>block.arena + place * block.rows + row * ld


cdef inline Py_ssize_t cut(Py_ssize_t n, Py_ssize_t step, Py_ssize_t t, Py_ssize_t parts) noexcept nogil:
    """Where part t of n begins, in whole steps."""
    return min(n, blocks(n, step) * t // parts * step)


# What one thread does of a block of rows.
ctypedef struct Part:
    const Run* run
    const Block* block
    Py_ssize_t first    # position in the epoch of the block's first row
    Py_ssize_t rows     # of the block
    Py_ssize_t r0, r1   # this thread's rows
    int t
    real* scratch
    const real* x       # the first op reads these rows, n_in apart; NULL: what was gathered


# ---- normalizations --------------------------------------------------------------------------

cdef enum Statistic:
    STAT_MEAN, STAT_RSTD
    STAT_VARIANCE, STAT_DGAMMA, STAT_DBETA  # of a batch
    STAT_SHIFT = 2                          # of what is given


cdef inline real* stat(const Run* run, const Op* op, int which) noexcept nogil:
    """One number for each channel."""
    return <real*>run.stats + op.s + which * op.ld_s


cdef void given_statistics(const Run* run, int t) noexcept nogil:
    """The means and variances that do not come from the batch, ready for use."""
    cdef const real* kept = <const real*>run.model.params
    cdef const Op* op
    cdef Py_ssize_t j
    cdef real mean, rstd
    cdef bint invert
    cdef int o
    if run.stats == NULL:
        return
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if t == 0 and (op.kind == OP_STANDARDIZE or op.kind == OP_BATCH_NORM and not run.training):
            for j in range(op.ld_s):    # again and again, where a row has several groups
                mean = kept[op.mean + j % op.channels]
                rstd = reciprocal_root(kept[op.variance + j % op.channels], op.epsilon)
                invert = op.kind == OP_STANDARDIZE and op.beta != 0
                stat(run, op, STAT_MEAN)[j] = 0 if invert else mean
                stat(run, op, STAT_RSTD)[j] = 1 / rstd if invert else rstd
                stat(run, op, STAT_SHIFT)[j] = mean if invert else 0
    team_wait(run)


cdef void normalize_rows(const Part* part, const Op* op) noexcept nogil:
    """The forward pass of batch normalization, layer normalization and standardization."""
    cdef const Run* run = part.run
    cdef const Block* block = part.block
    cdef const real* gamma = array(run.model, op.w)
    cdef const real* beta = array(run.model, op.b)
    cdef Py_ssize_t m = part.r1 - part.r0, groups = op.n_in // op.channels
    cdef const real* x = slot(block, op.x, part.r0, op.ld_x)
    cdef real* y = slot(block, op.z, part.r0, op.ld_y)
    if op.kind == OP_LAYER_NORM:
        layer_normalize(m, groups, op.channels, x, op.ld_x, op.epsilon, gamma, beta, y, op.ld_y,
                        NULL if op.s < 0 else slot(block, op.s, part.r0, op.ld_s), op.ld_s)
        return
    if op.kind == OP_STANDARDIZE:
        normalize(m, 1, op.n_in, x, op.ld_x, stat(run, op, STAT_MEAN), stat(run, op, STAT_RSTD), NULL,
                  stat(run, op, STAT_SHIFT), y, op.ld_y)
        return
    if run.training:
        team_wait(run)
        batch_statistics(part.rows, groups, op.channels, cut(op.channels, 16, part.t, run.n_threads),
                         cut(op.channels, 16, part.t + 1, run.n_threads), slot(block, op.x, 0, op.ld_x),
                         op.ld_x, op.epsilon, stat(run, op, STAT_MEAN), stat(run, op, STAT_VARIANCE),
                         stat(run, op, STAT_RSTD))
        team_wait(run)
    normalize(m, groups, op.channels, x, op.ld_x, stat(run, op, STAT_MEAN), stat(run, op, STAT_RSTD),
              gamma, beta, y, op.ld_y)


cdef void normalize_rows_back(const Part* part, const Op* op) noexcept nogil:
    """dx of the same; in training also dgamma and dbeta of batch normalization, which it needs."""
    cdef const Run* run = part.run
    cdef const Block* block = part.block
    cdef const real* gamma = array(run.model, op.w)
    cdef Py_ssize_t m = part.r1 - part.r0, groups = op.n_in // op.channels
    cdef const real* x = slot(block, op.x, part.r0, op.ld_x)
    cdef const real* dy = slot(block, op.dy, part.r0, op.ld_y)
    cdef real* dx = slot(block, op.dx, part.r0, op.ld_x)
    cdef bint batch = op.kind == OP_BATCH_NORM and run.training
    if batch:
        team_wait(run)
        batch_gradient_sums(part.rows, groups, op.channels, cut(op.channels, 16, part.t, run.n_threads),
                            cut(op.channels, 16, part.t + 1, run.n_threads),
                            slot(block, op.x, 0, op.ld_x), op.ld_x, stat(run, op, STAT_MEAN),
                            stat(run, op, STAT_RSTD), slot(block, op.dy, 0, op.ld_y), op.ld_y,
                            stat(run, op, STAT_DGAMMA), stat(run, op, STAT_DBETA), False)
        team_wait(run)
    if op.dx < 0:
        return
    if op.kind == OP_LAYER_NORM:
        layer_input_gradient(m, groups, op.channels, x, op.ld_x, slot(block, op.s, part.r0, op.ld_s),
                             op.ld_s, gamma, dy, op.ld_y, dx)
    elif op.kind == OP_STANDARDIZE:
        batch_input_gradient(m, 1, op.n_in, x, op.ld_x, NULL, stat(run, op, STAT_RSTD), NULL, NULL, NULL,
                             1, dy, op.ld_y, dx)
    else:
        batch_input_gradient(m, groups, op.channels, x, op.ld_x, stat(run, op, STAT_MEAN),
                             stat(run, op, STAT_RSTD), gamma,
                             stat(run, op, STAT_DGAMMA) if batch else NULL,
                             stat(run, op, STAT_DBETA) if batch else NULL,
                             <double>(part.rows * groups), dy, op.ld_y, dx)


# ---- rows: gather, forward, loss, backward ---------------------------------------------------

cdef void gather_rows(const Part* part, bint targets) noexcept nogil:
    """Rows first + r0 … first + r1 of the epoch into rows r0 … r1 of the block."""
    cdef const Run* run = part.run
    cdef const Block* block = part.block
    cdef const Model* model = run.model
    cdef const Objective* objective = run.objective
    cdef Py_ssize_t r, r0 = part.r0, first = part.first + part.r0, m = part.r1 - part.r0
    gather_inputs(run.data, run.order, first, m, model.n_in, model.in_scale, model.in_offset,
                  slot(block, 0, r0, model.ld_in), model.ld_in)
    if not targets:
        return
    gather_targets(run.data, run.order, first, m, model.n_out, objective.target_scale,
                   objective.target_offset, <real*>block.y + r0 * model.ld_out, model.ld_out)
    for r in range(r0, part.r1):
        block.weight[r] = 1
        block.activity[r] = 0
    if run.data.weight != NULL:
        for r in range(r0, part.r1):
            block.weight[r] = run.data.weight[source_row(run.order, part.first + r)]


cdef inline uint64_t image_key(const Run* run, const Op* op) noexcept nogil:
    """The random stream of a flip, a shift or a crop; with a seed of its own that of any such layer."""
    if op.resampling.seeded:
        return mask_key(op.resampling.seed, run.epoch, 0)
    return mask_key(run.model.seed, run.epoch, op.layer)


cdef void forward_rows(const Part* part, bint keep_logits) noexcept nogil:
    cdef const Run* run = part.run
    cdef const Model* model = run.model
    cdef const Block* block = part.block
    cdef const Op* op
    cdef int i, activation
    cdef Py_ssize_t r0 = part.r0, m = part.r1 - part.r0
    cdef const real* x
    cdef real* y
    cdef real* z
    cdef Py_ssize_t ld_x
    for i in range(run.chain.n_ops):
        op = &run.chain.ops[i]
        x = slot(block, op.x, r0, op.ld_x)
        ld_x = op.ld_x
        if i == 0 and part.x != NULL:
            x = part.x
            ld_x = op.n_in
        y = slot(block, op.y, r0, op.ld_y)
        z = slot(block, op.z, r0, op.ld_y)
        activation = op.activation
        if keep_logits and i == run.chain.n_ops - 1:
            activation = ACT_LINEAR
        if op.kind == OP_DENSE:
            dense_forward(m, op.n_in, op.n_out, x, ld_x, array(model, op.w), array(model, op.b), z,
                          op.ld_y, activation == ACT_RELU, part.scratch)
            if activation == ACT_RELU:
                activation = ACT_LINEAR
        elif op.kind == OP_DROPOUT and run.training:
            dropout(m, op.n_in, x, op.ld_x, y, op.ld_y, op.alpha,
                    mask_key(model.seed, run.epoch, op.layer), run.row_offset + part.first + r0)
        elif op.kind == OP_NOISE and run.training:
            gaussian_noise(m, op.n_in, x, op.ld_x, y, op.ld_y, op.alpha,
                           mask_key(model.seed, run.epoch, op.layer), run.row_offset + part.first + r0)
        elif op.kind == OP_DROPOUT or op.kind == OP_NOISE:
            affine(m, op.n_in, x, op.ld_x, y, op.ld_y, 1, 0)
        elif op.kind == OP_AFFINE:
            affine(m, op.n_in, x, op.ld_x, y, op.ld_y, op.alpha, op.beta)
        elif op.kind == OP_RESAMPLE:
            resample(m, &op.resampling, x, op.ld_x, y, op.ld_y, run.training, image_key(run, op),
                     run.row_offset + part.first + r0, part.scratch)
        elif op.kind >= OP_CONVOLUTION:
            window_forward(model, op, m, x, ld_x, z, activation == ACT_RELU and has_kernel(op), part.scratch)
            if has_kernel(op) and activation == ACT_RELU:
                activation = ACT_LINEAR
        elif op.kind != OP_ACTIVATION:
            normalize_rows(part, op)
        activation_forward(activation, op.alpha, m, op.n_out, z, y, op.ld_y)
        if op.y_l1 != 0 or op.y_l2 != 0:
            add_activity(m, op.n_out, y, op.ld_y, op.y_l1, op.y_l2, block.activity + r0)


cdef void backward_rows(const Part* part, double scale) noexcept nogil:
    """From the gradient of the prediction to every dZ; dW is left for the parameter phase."""
    cdef const Run* run = part.run
    cdef const Model* model = run.model
    cdef const Block* block = part.block
    cdef const Op* op
    cdef int i
    cdef Py_ssize_t r0 = part.r0, m = part.r1 - part.r0
    cdef real* x
    cdef real* dx
    cdef real* dy
    for i in range(run.chain.n_ops - 1, -1, -1):
        op = &run.chain.ops[i]
        x = slot(block, op.x, r0, op.ld_x)
        dy = slot(block, op.dy, r0, op.ld_y)
        dx = slot(block, op.dx, r0, op.ld_x)
        if (op.y_l1 != 0 or op.y_l2 != 0) and run.objective.kind != LOSS_PEAK:
            add_activity_gradient(m, op.n_out, slot(block, op.y, r0, op.ld_y), op.ld_y,
                                  scale * op.y_l1, scale * op.y_l2, dy)
        if not (op.dz_ready or (run.objective.fused and i == run.chain.n_ops - 1)):
            activation_backward(op.activation, op.alpha, m, op.n_out, slot(block, op.z, r0, op.ld_y),
                                slot(block, op.y, r0, op.ld_y), dy, dy, op.ld_y)
        if op.kind == OP_BATCH_NORM or op.kind == OP_LAYER_NORM or op.kind == OP_STANDARDIZE:
            normalize_rows_back(part, op)
        if op.dx < 0:
            return
        if op.kind == OP_DENSE:
            dense_input_gradient(m, op.n_in, op.n_out, dy, op.ld_y, array(model, op.w), dx, op.ld_x,
                                 x if op.dx_relu else NULL, part.scratch)
        elif op.kind >= OP_CONVOLUTION:
            window_backward(model, op, m, x, slot(block, op.y, r0, op.ld_y), dy, dx, part.scratch)
        elif op.kind == OP_DROPOUT and run.training:
            dropout(m, op.n_in, dy, op.ld_y, dx, op.ld_x, op.alpha,
                    mask_key(model.seed, run.epoch, op.layer), run.row_offset + part.first + r0)
        elif op.kind == OP_AFFINE:
            affine(m, op.n_in, dy, op.ld_y, dx, op.ld_x, op.alpha, 0)
        elif op.kind == OP_RESAMPLE:
            resample_back(m, &op.resampling, dy, op.ld_y, dx, op.ld_x, run.training, image_key(run, op),
                          run.row_offset + part.first + r0, part.scratch)
        elif op.kind == OP_ACTIVATION or op.kind == OP_DROPOUT or op.kind == OP_NOISE:
            affine(m, op.n_in, dy, op.ld_y, dx, op.ld_x, 1, 0)


cdef void outputs_out(const Part* part, bint logits) noexcept nogil:
    """Predictions of these rows to run.outputs, in the data's own order."""
    cdef const Run* run = part.run
    cdef const Model* model = run.model
    cdef Py_ssize_t r
    cdef real* y = slot(part.block, run.chain.out, part.r0, model.ld_out)
    cdef const Op* last = &run.chain.ops[run.chain.n_ops - 1]
    if logits:
        activation_forward(last.activation, last.alpha, part.r1 - part.r0, model.n_out, y, y, model.ld_out)
    for r in range(part.r1 - part.r0):
        copy_row(y + r * model.ld_out, model.n_out,
                 <real*>run.outputs + source_row(run.order, part.first + part.r0 + r) * model.n_out)


cdef void losses_of(const Part* part, double scale, real* dy) noexcept nogil:
    """Each row's loss with the penalties of its outputs, and its gradient into dy unless NULL."""
    cdef const Run* run = part.run
    cdef const Model* model = run.model
    cdef const Block* block = part.block
    cdef Py_ssize_t r, ld = model.ld_out
    if run.objective.kind == LOSS_CALL:
        team_wait(run)
        if part.t == 0:
            restore_float_mode(run.float_mode)
            run.call(run.context, part.first, part.rows, slot(block, run.chain.out, 0, ld),
                     block.weight, dy - part.r0 * ld, block.loss)
            flush_subnormals()
        team_wait(run)
    else:
        loss_rows(run.objective, part.r1 - part.r0, model.n_out, slot(block, run.chain.out, part.r0, ld),
                  <real*>block.y + part.r0 * ld, ld, block.weight + part.r0,
                  scale * run.objective.slope_scale, dy, block.loss + part.r0, part.scratch)
    if run.objective.value_scale != 1 or run.objective.limit < INFINITY:
        for r in range(part.r0, part.r1):
            block.loss[r] *= run.objective.value_scale
            if block.loss[r] > block.weight[r] * run.objective.limit:
                block.loss[r] = block.weight[r] * run.objective.limit
    if model.active:
        for r in range(part.r0, part.r1):
            block.loss[r] += block.activity[r]


cdef void rows_phase(const Part* part, double scale, bint gradient) noexcept nogil:
    """Gather, forward, loss and (with `gradient`) backward of rows r0 … r1. Where a whole batch is
    looked at (batch normalization, a loss of the caller's) threads wait for each other within."""
    cdef const Run* run = part.run
    cdef const Op* last = &run.chain.ops[run.chain.n_ops - 1]
    gather_rows(part, True)
    forward_rows(part, run.objective.fused)
    losses_of(part, scale, slot(part.block, last.dy, part.r0, last.ld_y) if gradient else NULL)
    if gradient:
        backward_rows(part, scale)
    if run.outputs != NULL:
        outputs_out(part, run.objective.fused)


cdef double denominator(const Run* run, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """What the losses of these rows of the epoch are divided by. All threads add up the same."""
    cdef double total = 0
    cdef Py_ssize_t r
    if not run.objective.weighted_mean or run.data.weight == NULL:
        return <double>rows
    for r in range(first, first + rows):
        total += run.data.weight[source_row(run.order, r)]
    return total if total != 0 else INFINITY


cdef inline double share_of_penalties(const Run* run, double divisor) noexcept nogil:
    return 1 / divisor if run.objective.weighted_mean else 1


# ---- chunks ------------------------------------------------------------------------------------

cdef inline Part block_part(const Run* run, const Block* block, Py_ssize_t first, Py_ssize_t rows,
                            real* scratch) noexcept nogil:
    """A block that one thread does alone."""
    cdef Part part
    part.run = run
    part.block = block
    part.first = first
    part.rows = part.r1 = rows
    part.r0 = 0
    part.t = 0
    part.x = NULL
    part.scratch = scratch
    return part


cdef double batch_loss(const Block* block, Py_ssize_t m) noexcept nogil:
    """Σ of the rows' losses in four fixed strands: every thread comes to the same bits."""
    cdef double a = 0, b = 0, c = 0, d = 0
    cdef Py_ssize_t i
    for i in range(0, m - m % 4, 4):
        a += block.loss[i]
        b += block.loss[i + 1]
        c += block.loss[i + 2]
        d += block.loss[i + 3]
    for i in range(m - m % 4, m):
        a += block.loss[i]
    return (a + b) + (c + d)


cdef inline Py_ssize_t block_pass(const Run* run, Py_ssize_t c, Py_ssize_t first, Py_ssize_t begin,
                                  Py_ssize_t r, Py_ssize_t end, double scale, bint gradient,
                                  const Block* block, real* scratch) noexcept nogil:
    """A block of chunk c from row r on: its loss and gradient are added to the chunk's. Returns the next
    block's row."""
    cdef Py_ssize_t m = min(block.rows, end - r)
    cdef Part part = block_part(run, block, first + r, m, scratch)
    rows_phase(&part, scale, gradient)
    run.chunk_loss[c] = batch_loss(block, m) + (run.chunk_loss[c] if r > begin else 0)
    if gradient:
        add_gradients(&part, <real*>run.partials + c * run.model.n_params, r > begin)
    return r + m


cdef void chunk_pass(const Run* run, Py_ssize_t c, Py_ssize_t first, Py_ssize_t rows, double scale,
                     bint gradient, const Block* block, real* scratch) noexcept nogil:
    """Chunk c of `rows` rows, block after block: loss into chunk_loss, gradient into partials."""
    cdef Py_ssize_t begin = cut(rows, 4, c, run.n_chunks), end = cut(rows, 4, c + 1, run.n_chunks)
    cdef Py_ssize_t r = begin
    while r < end:
        r = block_pass(run, c, first, begin, r, end, scale, gradient, block, scratch)
    if begin == end:
        run.chunk_loss[c] = 0
        if gradient:
            memset(<real*>run.partials + c * run.model.n_params, 0, run.model.n_params * sizeof(real))


cdef void sensitivity_pass(const Run* run, Py_ssize_t c, const Block* block, real* scratch) noexcept nogil:
    """Chunk c of all rows: the gradient of each row's loss with respect to its input."""
    cdef const Model* model = run.model
    cdef const Op* op = &run.chain.ops[0]
    cdef Py_ssize_t r = cut(run.data.n, 4, c, run.n_chunks), end = cut(run.data.n, 4, c + 1, run.n_chunks)
    cdef Py_ssize_t m
    cdef Part part
    while r < end:
        m = min(block.rows, end - r)
        part = block_part(run, block, r, m, scratch)
        rows_phase(&part, 1, True)
        # The gather's own scale is part of the chain.
        affine(m, model.n_in, slot(block, op.dx, 0, op.ld_x), op.ld_x,
               <real*>run.sensitivity + r * model.n_in, model.n_in, model.in_scale, 0)
        r += m


cdef double chunks_loss(const Run* run) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t c
    for c in range(run.n_chunks):
        total += run.chunk_loss[c]
    return total


# ---- workers: what each thread of the team runs ------------------------------------------------

cdef void team_wait(const Run* run) noexcept nogil:
    if run.n_threads > 1:
        team_barrier()


cdef void train_worker(Run* run, int t) noexcept nogil:
    """Steps until n_steps, the deadline or a loss that is not finite.

    Position and step count are kept by each thread for itself; thread 0 writes what Python
    reads. It may do so between the two barriers of a step only.
    """
    cdef Model* model = run.model
    cdef Py_ssize_t n = run.data.n, done = 0, batch_index = run.batch_index, first, rows, c
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    cdef const Block* block = &run.blocks[t if run.n_chunks > 0 else 0]
    cdef double loss, scale, divisor
    cdef Part part
    cdef Step step
    cdef Products products
    cdef bint norms = model.optimizer.clip_norm > 0 or model.optimizer.global_norm > 0
    products.t = 0
    products.value = 1
    if t == 0:
        run.float_mode = mode
    given_statistics(run, t)
    while done < run.n_steps and not run.stop:
        if run.order != NULL and (batch_index == 0 or (done == 0 and not run.order_ready)):
            if t == 0:
                shuffle(model.seed, run.epoch, n, run.order)
            team_wait(run)
        first = batch_index * run.batch
        rows = min(run.batch, n - first)
        divisor = denominator(run, first, rows)
        scale = 1.0 / divisor
        step = prepare(&model.optimizer, run.lr[done], run.iterations + done + 1, &products)
        step.share = share_of_penalties(run, divisor)
        if run.n_chunks == 0:
            part = block_part(run, block, first, rows, scratch)
            part.r0 = cut(rows, 4, t, run.n_threads)
            part.r1 = cut(rows, 4, t + 1, run.n_threads)
            part.t = t
            rows_phase(&part, scale, True)
            team_wait(run)
            loss = batch_loss(block, rows) / divisor
        else:
            c = t
            while c < run.n_chunks:
                chunk_pass(run, c, first, rows, scale, True, block, scratch)
                c += run.n_threads
            team_wait(run)
            loss = chunks_loss(run) / divisor
        if model.regularized:
            loss += sum_blocks(run, True, t, step.share)
        batch_index += 1
        if t == 0:
            run.losses[done] = loss
            run.steps_done = done + 1
            run.batch_index = batch_index
            if not isfinite(loss):
                run.status = STATUS_NONFINITE
            elif (done & 15) == 15 or run.n_threads > 1 or rows > 1024 or model.n_params > 100000 \
                    or rows * run.chain.width > 200000:
                run.stop = seconds_now() > run.deadline
        if isfinite(loss):
            if run.n_chunks == 0 and not norms:
                update_parameters(&part, &step)
            else:
                if run.n_chunks == 0:
                    write_gradients(&part)
                else:
                    sum_partials(run, t)
                apply_gradients(run, &step, t)
            if model.batch_norms and t == 0:
                keep_averages(run)
            if model.optimizer.ema_period > 0 \
                    and (run.iterations + done + 1) % model.optimizer.ema_period == 0:
                team_wait(run)
                take_average(run, t)
            if model.constrained:   # the average, too, which is of weights before this
                team_wait(run)
                constrain_arrays(run, t)
        team_wait(run)
        done += 1
        if first + rows == n:
            batch_index = 0
            if t == 0:
                run.batch_index = 0
                run.epoch += 1
            team_wait(run)
        if not isfinite(loss):
            break
    restore_float_mode(mode)


cdef void infer_worker(Run* run, int t) noexcept nogil:
    """Predictions to run.outputs (if any) and, where they are wanted, losses to chunk_loss."""
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    cdef const Block* block = &run.blocks[t]
    cdef Py_ssize_t c = run.first_chunk + t, r, end, m
    cdef double penalty
    cdef Part part
    cdef bint direct = (run.chain.ops[0].kind == OP_DENSE
                        and in_place(run.data, run.model.in_scale, run.model.in_offset))
    given_statistics(run, t)
    if run.losses_too and run.model.regularized and run.first_chunk == 0:
        penalty = sum_blocks(run, True, t, share_of_penalties(run, run.denominator))
        if t == 0:
            run.penalty = penalty
    while c < run.end_chunk:
        if run.losses_too:
            chunk_pass(run, c, 0, run.data.n, 1, False, block, scratch)
        else:
            r = cut(run.data.n, 4, c, run.n_chunks)
            end = cut(run.data.n, 4, c + 1, run.n_chunks)
            while r < end:
                m = min(block.rows, end - r)
                part = block_part(run, block, r, m, scratch)
                # Products read rows in fours: the last ones might lie behind the data.
                if direct and m % 4 == 0:
                    part.x = <const real*>run.data.x + r * run.model.n_in
                else:
                    gather_rows(&part, False)
                forward_rows(&part, False)
                outputs_out(&part, False)
                r += m
        c += run.n_threads
    restore_float_mode(mode)


cdef void gradient_worker(Run* run, int t) noexcept nogil:
    """Loss to chunk_loss and the gradient of Σ weight·loss / denominator to model.grads, or as much of
    it as there is time for: `stop` says that there is more to do."""
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    cdef Py_ssize_t n = run.data.n, c = t, begin, end
    cdef double penalty, share = share_of_penalties(run, run.denominator)
    cdef bint late = False, complete = True
    given_statistics(run, t)
    while c < run.n_chunks and not late:
        begin, end = cut(n, 4, c, run.n_chunks), cut(n, 4, c + 1, run.n_chunks)
        while begin + run.chunk_rows[c] < end and not late:
            run.chunk_rows[c] = block_pass(run, c, 0, begin, begin + run.chunk_rows[c], end,
                                           1.0 / run.denominator, True, &run.blocks[t], scratch) - begin
            late = seconds_now() > run.deadline
        c += run.n_threads
    team_wait(run)
    for c in range(run.n_chunks):
        complete &= run.chunk_rows[c] == cut(n, 4, c + 1, run.n_chunks) - cut(n, 4, c, run.n_chunks)
    if complete:
        sum_partials(run, t)
        if run.model.regularized:
            penalty = sum_blocks(run, True, t, share)
            if t == 0:
                run.penalty = penalty
            regularize_gradients(run, t, share)
    if t == 0:
        run.stop = not complete
    restore_float_mode(mode)


cdef void sensitivity_worker(Run* run, int t) noexcept nogil:
    """∂loss/∂x of every row to run.sensitivity."""
    cdef uint64_t mode = flush_subnormals()
    cdef Py_ssize_t c = run.first_chunk + t
    given_statistics(run, t)
    while c < run.end_chunk:
        sensitivity_pass(run, c, &run.blocks[t], <real*>run.scratch + t * run.scratch_size)
        c += run.n_threads
    restore_float_mode(mode)


# ---- the parallel regions ------------------------------------------------------------------------

cdef int join_team(Run* run) noexcept nogil:
    """This thread's number; n_threads becomes what the run time really gave."""
    if threadid() == 0:
        run.n_threads = team_size()
    team_barrier()
    return threadid()


cdef void train(Run* run) noexcept nogil:
    if run.n_threads == 1:
        train_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            train_worker(run, join_team(run))


cdef void infer(Run* run) noexcept nogil:
    if run.n_threads == 1:
        infer_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            infer_worker(run, join_team(run))


cdef void gradient(Run* run) noexcept nogil:
    if run.n_threads == 1:
        gradient_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            gradient_worker(run, join_team(run))


cdef void sensitivity(Run* run) noexcept nogil:
    if run.n_threads == 1:
        sensitivity_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            sensitivity_worker(run, join_team(run))
