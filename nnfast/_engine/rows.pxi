"""What a thread does with its rows of a step: gather → forward → loss → backward, switches only.

Where something looks at the whole batch (batch normalization, a loss of the caller's) or divides a large W
threads wait for each other within.
"""

cdef enum:
    LARGE_KERNEL = 32768    # numbers of W, so many that it is worth two barriers to leave them where they are


cdef inline real* slot(const Block* block, Py_ssize_t place, Py_ssize_t row, Py_ssize_t ld) noexcept nogil:
    return <real*>block.arena + place * block.rows + row * ld


# What one thread does of a block of rows.
ctypedef struct Part:
    const Run* run
    const Block* block
    Py_ssize_t first    # position in the epoch of the block's first row
    Py_ssize_t rows     # of the block
    Py_ssize_t r0, r1   # this thread's rows
    int t, team         # its number, and how many threads share the block
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


cdef inline bint normalizes_batch(const Run* run, const Op* op) noexcept nogil:
    """Whether an op takes its mean and variance from the batch."""
    return op.kind == OP_BATCH_NORM and run.training and not op.frozen


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
        if t == 0 and (op.kind == OP_STANDARDIZE
                       or op.kind == OP_BATCH_NORM and not normalizes_batch(run, op)):
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
    if normalizes_batch(run, op):
        team_wait(run)
        batch_statistics(part.rows, groups, op.channels, cut(op.channels, 16, part.t, part.team),
                         cut(op.channels, 16, part.t + 1, part.team), slot(block, op.x, 0, op.ld_x),
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
    cdef bint batch = normalizes_batch(run, op)
    if batch:
        team_wait(run)
        batch_gradient_sums(part.rows, groups, op.channels, cut(op.channels, 16, part.t, part.team),
                            cut(op.channels, 16, part.t + 1, part.team),
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


# ---- dense layers whose W outweighs the batch ------------------------------------------------

cdef inline bint outweighs(const Part* part, const Op* op) noexcept nogil:
    """Whether threads that share a batch divide this dense layer's W among them instead of its rows: two take
    what they will update, so that W stays in their caches. By shape alone."""
    return (op.kind == OP_DENSE and part.run.whole != NULL and part.run.n_chunks == 1 and op.dy >= 0
            and op.n_in >= max(2 * part.rows, <Py_ssize_t>(2 * TILE_M)) and op.n_out >= VLEN
            and op.n_in * op.n_out >= LARGE_KERNEL)


# What a thread does of the product with one half of such a W.
ctypedef struct Share:
    Py_ssize_t row, rows    # of the batch; none: rows = 0
    Py_ssize_t begin, n     # of the inner index


cdef inline Share share_of(const Part* part, const Op* op, int half) noexcept nogil:
    """The rows of both halves' products, one below the other, are divided among the threads: two have a half
    each, of more several have rows of the same."""
    cdef Share s
    cdef Py_ssize_t rows = blocks(part.rows, 4) * 4, middle = cut(op.n_in, TILE_M, 1, 2)
    cdef Py_ssize_t above = half * rows
    s.row = min(max(cut(2 * rows, 4, part.t, part.team) - above, 0), part.rows)
    s.rows = min(max(cut(2 * rows, 4, part.t + 1, part.team) - above, 0), part.rows) - s.row
    s.begin = half * middle
    s.n = op.n_in - middle if half else middle
    return s


cdef void forward_by_halves(const Part* part, const Op* op, bint relu) noexcept nogil:
    """z = x·W + b as the sum of two products, of either half of the inner index; relu fused where asked for.
    The second product waits where the gradient will be."""
    cdef const Block* block = part.block
    cdef const real* w = array(part.run.model, op.w)
    cdef Share s
    cdef int half
    if op != part.run.chain.ops:    # the first one's inputs each thread has gathered for itself
        team_wait(part.run)
    for half in range(2):
        s = share_of(part, op, half)
        if s.rows > 0:
            dense_forward(s.rows, s.n, op.n_out, slot(block, op.x, s.row, op.ld_x) + s.begin, op.ld_x,
                          w + s.begin * op.n_out, NULL if half else array(part.run.model, op.b),
                          slot(block, op.dy if half else op.z, s.row, op.ld_y), op.ld_y, False, part.scratch)
    team_wait(part.run)
    add_rows(part.r1 - part.r0, op.n_out, slot(block, op.dy, part.r0, op.ld_y),
             slot(block, op.z, part.r0, op.ld_y), op.ld_y, 0 if relu else -INFINITY)


cdef void input_gradient_by_columns(const Part* part, const Op* op) noexcept nogil:
    """dX of the columns that belong to thread t, for all rows of the batch."""
    cdef const Block* block = part.block
    cdef Py_ssize_t j = cut(op.n_in, PANEL, part.t, part.team)
    cdef Py_ssize_t end = cut(op.n_in, PANEL, part.t + 1, part.team)
    team_wait(part.run)
    if j < end:
        dense_input_gradient(part.rows, end - j, op.n_out, slot(block, op.dy, 0, op.ld_y), op.ld_y,
                             array(part.run.model, op.w) + j * op.n_out, slot(block, op.dx, 0, op.ld_x) + j,
                             op.ld_x, slot(block, op.x, 0, op.ld_x) + j if op.dx_relu else NULL, part.scratch)
    team_wait(part.run)


# ---- rows: gather, forward, loss, backward ---------------------------------------------------

cdef void gather_rows(const Part* part, bint targets) noexcept nogil:
    """Rows first + r0 … first + r1 of the epoch into rows r0 … r1 of the block; where the first W is divided,
    the columns that this thread multiplies with its part."""
    cdef const Run* run = part.run
    cdef const Block* block = part.block
    cdef const Model* model = run.model
    cdef const Objective* objective = run.objective
    cdef Py_ssize_t r, r0 = part.r0, first = part.first + part.r0, m = part.r1 - part.r0
    cdef Share s
    cdef int half
    if part.team > 1 and outweighs(part, run.chain.ops):
        for half in range(2):
            s = share_of(part, run.chain.ops, half)
            gather_inputs(run.data, run.order, part.first + s.row, s.rows, model.n_in, s.begin, s.n,
                          model.in_scale, model.in_offset, slot(block, 0, s.row, model.ld_in) + s.begin,
                          model.ld_in)
    else:
        gather_inputs(run.data, run.order, first, m, model.n_in, 0, model.n_in, model.in_scale,
                      model.in_offset, slot(block, 0, r0, model.ld_in), model.ld_in)
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
            if outweighs(part, op):
                forward_by_halves(part, op, activation == ACT_RELU)
            else:
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
        if outweighs(part, op):
            input_gradient_by_columns(part, op)
        elif op.kind == OP_DENSE:
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
    """Gather, forward, loss and (with `gradient`) backward of rows r0 … r1. Threads may wait for each other
    within."""
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
