"""Computation of the losses of a shard's rows and of their divisor, and the output of predictions."""

cdef inline Matrix output_rows(const Shard* shard, int k) noexcept nogil:
    """Return the shard's rows of the k-th output."""
    cdef const Head* head = &shard.run.model.heads[k]
    return matrix(address(shard.block, shard.run.op_list.out[k], shard.begin * head.steps, head.ld),
                  n_rows(shard) * head.steps, head.n, head.ld)


cdef inline const real* mask_row(const Shard* shard, int k, Py_ssize_t r) noexcept nogil:
    """Return the mask of the shard's row r of the k-th output, which has one."""
    cdef Py_ssize_t ld = shard.run.op_list.ld_mask[k]
    return address(shard.block, shard.run.op_list.mask[k], shard.begin + r, ld)


cdef void write_outputs(const Shard* shard) noexcept nogil:
    """Write the predictions of the shard's rows to run.outputs, in the data's own order."""
    cdef const Run* run = shard.run
    cdef Py_ssize_t r, s, row, steps
    cdef Matrix y
    cdef real* out
    cdef int k
    for k in range(run.model.n_heads):
        y, steps = output_rows(shard, k), run.model.heads[k].steps
        out = <real*>run.outputs[k]
        for r in range(n_rows(shard)):
            row = source_row(run.order, shard.first + shard.begin + r) * steps
            for s in range(steps):
                copy_row(y.data + (r * steps + s) * y.ld, y.cols, out + (row + s) * y.cols)
    write_masks(shard)


cdef void write_masks(const Shard* shard) noexcept nogil:
    """Write the masks of the shard's rows, if they are wanted; they follow the predictions."""
    cdef const Run* run = shard.run
    cdef Py_ssize_t r, n
    cdef const real* mask
    cdef int k, next = run.model.n_heads
    for k in range(run.model.n_heads):
        n = run.model.heads[k].mask_steps
        if n == 0:
            continue
        if run.outputs[next] != NULL:
            for r in range(n_rows(shard)):
                mask = mask_row(shard, k, r)
                copy_row(mask, n, <real*>run.outputs[next]
                         + source_row(run.order, shard.first + shard.begin + r) * n)
        next += 1


cdef inline bint is_fused_with_loss(const Run* run, const Op* op) noexcept nogil:
    """Return whether the loss of an output takes this op's pre-activations."""
    return op.head >= 0 and objective_of(run, op.head).fused


cdef void activate_outputs(const Shard* shard) noexcept nogil:
    """Apply the activations that were left to the losses."""
    cdef const Op* op
    cdef Matrix y
    cdef int i
    for i in range(shard.run.op_list.n_ops):
        op = &shard.run.op_list.ops[i]
        if is_fused_with_loss(shard.run, op):
            y = output_of(shard, op)
            activation_forward(op.activation, op.alpha, y.data, &y)


cdef void losses_of(const Shard* shard, const Scales* scales, bint gradient) noexcept nogil:
    """Compute the rows' losses with activity penalties, and the gradients of the outputs if `gradient`.

    If there are several outputs, the losses of each are computed as well.
    """
    cdef const Run* run = shard.run
    cdef const Block* block = shard.block
    cdef Py_ssize_t r
    cdef double weight
    cdef double* loss
    cdef int k
    for k in range(run.model.n_heads):
        head_losses(shard, scales, k, gradient)
    if run.n_losses > 1:
        for r in range(shard.begin, shard.end):
            block.loss[r] = 0
        for k in range(run.model.n_heads):
            weight = run.model.heads[k].loss_weight
            loss = block.loss + (k + 1) * block.rows
            for r in range(shard.begin, shard.end):
                block.loss[r] += weight * loss[r]
    if run.model.active:
        for r in range(shard.begin, shard.end):
            block.loss[r] += block.activity[r]


cdef Py_ssize_t equal_steps(const real* mask, Py_ssize_t rows, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Return how many of the n rows of a sample from row i on are all real or all masked.

    A step of the mask has `rows` rows.
    """
    cdef Py_ssize_t j
    for j in range(1, n):
        if mask[(i + j) // rows] != mask[i // rows]:
            return j
    return n


cdef inline const double* step_weights(const Shard* shard, int k, Py_ssize_t r) noexcept nogil:
    """Return the weights of the steps of the shard's row r; NULL if a sample has one weight."""
    cdef const TargetView* view = &shard.run.data.targets[k]
    if view.weight == NULL or view.weight_steps == 1:
        return NULL
    return view.weight + source_row(shard.run.order, shard.first + shard.begin + r) * view.weight_steps


cdef void losses_of_steps(const Shard* shard, int k, const Matrix* outputs, const Matrix* targets,
                          double scale, real* dy, double* loss) noexcept nogil:
    """Compute the losses of samples with several rows each: the weighted mean of the losses of their rows.

    Masked rows have no loss and no gradient, except that a supplied gradient is complete.
    """
    cdef const Objective* objective = objective_of(shard.run, k)
    cdef const double* weight = shard.block.weight + k * shard.block.rows + shard.begin
    cdef Py_ssize_t steps = shard.run.model.heads[k].steps, real_steps = shard.run.model.heads[k].mask_steps
    cdef Py_ssize_t r, i, j, end, n
    cdef const real* mask = NULL
    cdef const double* own      # the weights of the sample's steps and of those from i on, or NULL
    cdef const double* rest = NULL
    cdef double values[16]
    cdef double factor = 1      # that of a supplied gradient, whose loss is a sum
    cdef Matrix rows
    if objective.kind == LOSS_MAXIMUM_OUTPUT:
        maximum_output(outputs, steps, scale, dy, loss)
        return
    if objective.kind == LOSS_SUPPLIED_GRADIENT:
        real_steps = 0
    for r in range(n_rows(shard)):
        if objective.kind != LOSS_SUPPLIED_GRADIENT:
            factor = weight[r] / steps
        loss[r] = 0
        i, end, own = r * steps, (r + 1) * steps, step_weights(shard, k, r)
        if real_steps > 0:
            mask = mask_row(shard, k, r)
        while i < end:
            n = min(<Py_ssize_t>16, end - i)
            if real_steps > 0:
                n = equal_steps(mask, steps // real_steps, i - r * steps, n)
                if mask[(i - r * steps) * real_steps // steps] == 0:
                    if dy != NULL:
                        memset(dy + i * outputs.ld, 0, n * outputs.ld * sizeof(real))
                    i += n
                    continue
            rows = rows_of(outputs, i, n)
            if own != NULL:
                rest = own + i - r * steps
            loss_rows(objective, &rows, targets.data + i * targets.ld, rest, scale * factor,
                      NULL if dy == NULL else dy + i * outputs.ld, values, shard.scratch)
            for j in range(n):
                loss[r] += values[j]
            i += n
        loss[r] *= factor


cdef void copy_matrix(const Matrix* x, real* y, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(x.rows):
        copy_row(x.data + i * x.ld, x.cols, y + i * ld)


cdef void losses_of_weighted_steps(const Shard* shard, int k, const Matrix* outputs, const Matrix* targets,
                                   double scale, real* dy, double* loss) noexcept nogil:
    """Compute the losses of samples in one row each, whose steps have weights: the means of weighted losses.

    Kernels need padded rows, which steps within a row are not. So tiles of 16 steps × 16 features are copied.
    """
    cdef Py_ssize_t steps = shard.run.data.targets[k].weight_steps, n = outputs.cols // steps, r, i, q, at
    cdef real a[256]
    cdef real y[256]
    cdef real da[256]
    cdef double values[16]
    cdef double share
    cdef Matrix tile, part
    cdef int j
    memset(a, 0, sizeof(a))
    memset(y, 0, sizeof(y))
    for r in range(n_rows(shard)):
        loss[r] = 0
        for i in range(ceil_div(steps, 16)):
            for q in range(ceil_div(n, 16)):
                at = r * outputs.ld + 16 * (i * n + q)
                tile = matrix(a, min(<Py_ssize_t>16, steps - 16 * i), min(<Py_ssize_t>16, n - 16 * q), 16)
                share = tile.cols / <double>outputs.cols
                part = matrix(outputs.data + at, tile.rows, tile.cols, n)
                copy_matrix(&part, a, 16)
                part.data = targets.data + at
                copy_matrix(&part, y, 16)
                loss_rows(objective_of(shard.run, k), &tile, y, step_weights(shard, k, r) + 16 * i,
                          scale * share, NULL if dy == NULL else da, values, shard.scratch)
                for j in range(tile.rows):
                    loss[r] += share * values[j]
                if dy != NULL:
                    tile.data = da
                    copy_matrix(&tile, dy + at, n)


cdef void head_losses(const Shard* shard, const Scales* scales, int k, bint gradient) noexcept nogil:
    """Compute the losses of the rows of one output; write the gradient if `gradient`."""
    cdef const Run* run = shard.run
    cdef const Head* head = &run.model.heads[k]
    cdef const Objective* objective = objective_of(run, k)
    cdef const Block* block = shard.block
    cdef const double* weight = block.weight + k * block.rows
    cdef double* loss = block.loss + (k + 1 if run.n_losses > 1 else 0) * block.rows
    cdef double factor = objective.value_scale * scales.reduction[k]
    cdef real* dy = address(block, run.op_list.dy[k], 0, head.ld) if gradient else NULL
    cdef Py_ssize_t r
    cdef Matrix outputs = output_rows(shard, k), targets
    cdef double scale
    if objective.kind == LOSS_PYTHON:
        team_wait(run)
        if shard.thread == 0:
            restore_float_mode(run.float_mode)
            run.call(run.context, k, shard.first, shard.rows, address(block, run.op_list.out[k], 0, head.ld),
                     NULL if head.mask_steps == 0 else address(block, run.op_list.mask[k], 0, 0), dy, loss)
            flush_subnormals()
        team_wait(run)
    else:
        targets = target_rows(shard, k)
        dy = dy + shard.begin * head.steps * head.ld if gradient else NULL
        scale = scales.mean * scales.reduction[k] * objective.gradient_scale * head.loss_weight
        if head.steps > 1 or head.mask_steps > 0:
            losses_of_steps(shard, k, &outputs, &targets, scale, dy, loss + shard.begin)
        elif run.data.targets[k].weight_steps > 1 and objective.kind != LOSS_SUPPLIED_GRADIENT:
            losses_of_weighted_steps(shard, k, &outputs, &targets, scale, dy, loss + shard.begin)
        else:
            loss_rows(objective, &outputs, targets.data, weight + shard.begin, scale, dy, loss + shard.begin,
                      shard.scratch)
    if factor != 1 or objective.limit < INFINITY:
        for r in range(shard.begin, shard.end):
            loss[r] *= factor
            if loss[r] > weight[r] * objective.limit:
                loss[r] = weight[r] * objective.limit


cdef double denominator(const Run* run, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Return the divisor for the losses of these rows; it is bit-identical on all threads."""
    cdef const double* weight = run.data.targets[0].weight
    cdef double total = 0
    cdef Py_ssize_t r
    if not objective_of(run, 0).weighted_mean or weight == NULL:
        return <double>rows
    for r in range(first, first + rows):
        total += weight[source_row(run.order, r)]
    return total if total != 0 else INFINITY


cdef double reduction_factor(const Run* run, int head, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """Return the factor of these rows' losses; it is bit-identical on all threads. See `reduction_of`."""
    cdef const double* weight = run.data.targets[head].weight
    cdef int reduction = objective_of(run, head).reduction
    cdef double total = 0
    cdef Py_ssize_t r, i, steps = run.data.targets[head].weight_steps
    if reduction == REDUCTION_SUM:
        return <double>rows
    if reduction == REDUCTION_MEAN or weight == NULL:
        return 1
    for r in range(first, first + rows):
        for i in range(steps):
            total += weight[source_row(run.order, r) * steps + i]
    return rows * steps / total if total != 0 else 0


cdef inline double penalty_scale(const Run* run, double divisor) noexcept nogil:
    return 1 / divisor if objective_of(run, 0).weighted_mean else 1
