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

cdef enum:
    SUM_BLOCK = 4096    # parameters whose penalties or squares are added by one thread


cdef inline real* slot(const Block* block, Py_ssize_t place, Py_ssize_t row, Py_ssize_t ld) noexcept nogil:
    return <real*>block.arena + place * block.rows + row * ld


cdef inline Py_ssize_t cut(Py_ssize_t n, Py_ssize_t step, Py_ssize_t t, Py_ssize_t parts) noexcept nogil:
    """Where part t of n begins, in whole steps."""
    return min(n, blocks(n, step) * t // parts * step)


# ---- rows: gather, forward, loss, backward ---------------------------------------------------

cdef void gather_rows(const Run* run, const Block* block, Py_ssize_t first, Py_ssize_t r0,
                      Py_ssize_t r1, bint targets) noexcept nogil:
    """Rows first + r0 … first + r1 of the epoch into rows r0 … r1 of the block."""
    cdef const Model* model = run.model
    cdef Py_ssize_t r, row, size = row_bytes(run.data, model.n_in)
    # Shuffled rows come from anywhere: ask for about 2 KB of them ahead.
    cdef Py_ssize_t ahead = 1 + 2048 // (size + 1)
    for r in range(r0, r1):
        row = source_row(run.order, first + r)
        if run.order != NULL and r + ahead < r1:
            prefetch_bytes(<const char*>run.data.x + run.order[first + r + ahead] * size, size)
        gather_row(run.data, row, model.n_in, model.in_scale, model.in_offset,
                   slot(block, 0, r, model.ld_in))
        if targets:
            gather_targets(run.data, row, model.n_out, model.loss.target_scale,
                           model.loss.target_offset, <real*>block.y + r * model.ld_out)
            block.weight[r] = 1 if run.data.weight == NULL else run.data.weight[row]


cdef void forward_rows(const Run* run, const Block* block, Py_ssize_t first, Py_ssize_t r0,
                       Py_ssize_t r1, bint keep_logits, real* scratch) noexcept nogil:
    cdef const Model* model = run.model
    cdef const real* params = <const real*>model.params
    cdef const Op* op
    cdef int i, activation
    cdef Py_ssize_t m = r1 - r0
    cdef real* x
    cdef real* y
    cdef real* z
    for i in range(run.chain.n_ops):
        op = &run.chain.ops[i]
        x = slot(block, op.x, r0, op.ld_x)
        y = slot(block, op.y, r0, op.ld_y)
        z = slot(block, op.z, r0, op.ld_y)
        activation = op.activation
        if keep_logits and i == run.chain.n_ops - 1:
            activation = ACT_LINEAR
        if op.kind == OP_DENSE:
            dense_forward(m, op.n_in, op.n_out, x, op.ld_x, params + op.w,
                          <const real*>NULL if op.b < 0 else params + op.b, z, op.ld_y,
                          activation == ACT_RELU, scratch)
            if activation == ACT_RELU:
                continue
        elif op.kind == OP_DROPOUT:
            if run.dropout:
                dropout(m, op.n_in, x, op.ld_x, y, op.ld_y, op.alpha,
                        mask_key(model.seed, run.epoch, op.layer), first + r0)
            else:
                affine(m, op.n_in, x, op.ld_x, y, op.ld_y, 1, 0)
        elif op.kind == OP_AFFINE:
            affine(m, op.n_in, x, op.ld_x, y, op.ld_y, op.alpha, op.beta)
        activation_forward(activation, op.alpha, m, op.n_out, z, y, op.ld_y)


cdef void backward_rows(const Run* run, const Block* block, Py_ssize_t first, Py_ssize_t r0,
                        Py_ssize_t r1, real* scratch) noexcept nogil:
    """From the gradient of the prediction to every dZ; dW is left for the parameter phase."""
    cdef const Model* model = run.model
    cdef const Op* op
    cdef int i
    cdef Py_ssize_t m = r1 - r0
    cdef real* x
    cdef real* dx
    cdef real* dy
    for i in range(run.chain.n_ops - 1, -1, -1):
        op = &run.chain.ops[i]
        x = slot(block, op.x, r0, op.ld_x)
        dy = slot(block, op.dy, r0, op.ld_y)
        dx = slot(block, op.dx, r0, op.ld_x)
        if not (op.dz_ready or (model.loss.fused and i == run.chain.n_ops - 1)):
            activation_backward(op.activation, op.alpha, m, op.n_out, slot(block, op.z, r0, op.ld_y),
                                slot(block, op.y, r0, op.ld_y), dy, dy, op.ld_y)
        if op.dx < 0:
            return
        if op.kind == OP_DENSE:
            dense_input_gradient(m, op.n_in, op.n_out, dy, op.ld_y, <const real*>model.params + op.w,
                                 dx, op.ld_x, x if op.dx_relu else NULL, scratch)
        elif op.kind == OP_DROPOUT and run.dropout:
            dropout(m, op.n_in, dy, op.ld_y, dx, op.ld_x, op.alpha,
                    mask_key(model.seed, run.epoch, op.layer), first + r0)
        else:
            affine(m, op.n_in, dy, op.ld_y, dx, op.ld_x, op.alpha if op.kind == OP_AFFINE else 1, 0)


cdef void outputs_out(const Run* run, const Block* block, Py_ssize_t first, Py_ssize_t r0,
                      Py_ssize_t r1, bint logits) noexcept nogil:
    """Predictions of these rows to run.outputs, in the data's own order."""
    cdef const Model* model = run.model
    cdef Py_ssize_t r
    cdef real* y = slot(block, run.chain.out, r0, model.ld_out)
    cdef const Op* last = &run.chain.ops[run.chain.n_ops - 1]
    if logits:
        activation_forward(last.activation, last.alpha, r1 - r0, model.n_out, y, y, model.ld_out)
    for r in range(r1 - r0):
        memcpy(<real*>run.outputs + source_row(run.order, first + r0 + r) * model.n_out,
               y + r * model.ld_out, model.n_out * sizeof(real))


cdef void rows_phase(const Run* run, const Block* block, Py_ssize_t first, Py_ssize_t r0,
                     Py_ssize_t r1, double scale, bint gradient, real* scratch) noexcept nogil:
    """Gather, forward, loss and (with `gradient`) backward of rows r0 … r1."""
    cdef const Model* model = run.model
    cdef const Op* last = &run.chain.ops[run.chain.n_ops - 1]
    if r0 == r1:
        return
    gather_rows(run, block, first, r0, r1, True)
    forward_rows(run, block, first, r0, r1, model.loss.fused, scratch)
    loss_rows(&model.loss, r1 - r0, model.n_out, slot(block, run.chain.out, r0, model.ld_out),
              <real*>block.y + r0 * model.ld_out, model.ld_out, block.weight + r0, scale,
              slot(block, last.dy, r0, model.ld_out) if gradient else NULL, block.loss + r0, scratch)
    if gradient:
        backward_rows(run, block, first, r0, r1, scratch)
    if run.outputs != NULL:
        outputs_out(run, block, first, r0, r1, model.loss.fused)


# ---- arrays of parameters: what is done to each besides the optimizer's rule ---------------------

cdef inline Py_ssize_t array_begin(const Op* op, int bias) noexcept nogil:
    return op.b if bias else op.w


cdef inline Py_ssize_t array_size(const Op* op, int bias) noexcept nogil:
    """Elements of an op's kernel or bias; 0 where it has none."""
    if array_begin(op, bias) < 0:
        return 0
    return op.n_out if bias else op.n_in * op.n_out


cdef inline Adjust adjust_of(const Run* run, const Op* op, int bias) noexcept nogil:
    cdef Adjust a
    a.l1 = op.b_l1 if bias else op.w_l1
    a.l2 = op.b_l2 if bias else op.w_l2
    a.factor = 1
    a.clip = run.model.optimizer.clip_value
    return a


cdef double sum_blocks(const Run* run, bint penalty, int t) noexcept nogil:
    """Σ over all arrays, in blocks of SUM_BLOCK elements that are shared out among the threads
    and added in order: of the regularizers' penalties, or of squared gradients.

    Every thread must call it; all get the same bits.
    """
    cdef const Model* model = run.model
    cdef const real* w = <const real*>model.params
    cdef const real* g = <const real*>model.grads
    cdef const Op* op
    cdef Adjust adjust
    cdef Py_ssize_t block = 0, i, j, n, p
    cdef double total = 0
    cdef int o, bias
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        for bias in range(2):
            adjust = adjust_of(run, op, bias)
            for i in range(blocks(array_size(op, bias), SUM_BLOCK)):
                if block % run.n_threads == t:
                    p = array_begin(op, bias) + i * SUM_BLOCK
                    n = min(<Py_ssize_t>SUM_BLOCK, array_size(op, bias) - i * SUM_BLOCK)
                    if penalty:
                        run.sums[block] = penalty_of(&adjust, n, w + p)
                    else:
                        run.sums[block] = sum_of_squares(&adjust, n, g + p, w + p)
                block += 1
    team_wait(run)
    for j in range(block):
        total += run.sums[j]
    return total


cdef double array_norm(const Run* run, int which_op, int which) noexcept nogil:
    """The norm of one array's gradient, from the blocks that sum_blocks left."""
    cdef Py_ssize_t block = 0, i
    cdef double total = 0
    cdef int o, bias
    for o in range(run.chain.n_ops):
        for bias in range(2):
            for i in range(blocks(array_size(&run.chain.ops[o], bias), SUM_BLOCK)):
                if o == which_op and bias == which:
                    total += run.sums[block]
                block += 1
    return sqrt(total)


cdef inline double clip_factor(double norm, double limit) noexcept nogil:
    return limit / norm if norm > limit else 1


cdef void regularize_gradients(const Run* run, int t) noexcept nogil:
    """Add the regularizers' gradients to model.grads, in thread t's range."""
    cdef const Model* model = run.model
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t p
    cdef const Op* op
    cdef Adjust adjust
    cdef real w
    cdef real* grads = <real*>model.grads
    cdef int o, bias
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        for bias in range(2):
            adjust = adjust_of(run, op, bias)
            for p in range(max(p0, array_begin(op, bias)),
                           min(p1, array_begin(op, bias) + array_size(op, bias))):
                w = (<const real*>model.params)[p]
                grads[p] += <real>(2 * adjust.l2) * w + <real>adjust.l1 * ((w > 0) - (w < 0))


cdef void apply_gradients(const Run* run, const Step* step, int t) noexcept nogil:
    """Clip by norm where asked for, then the optimizer's step for thread t's range of the flat
    parameters, array by array. model.grads must be complete in that range, or, with clipping by
    norm, everywhere."""
    cdef const Model* model = run.model
    cdef const Update* update = &model.optimizer
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    cdef Py_ssize_t begin, end
    cdef const Op* op
    cdef Adjust adjust
    cdef double factor = 1
    cdef int o, bias
    if update.clip_norm > 0 or update.global_norm > 0:
        team_wait(run)
        factor = sqrt(sum_blocks(run, False, t))
        factor = clip_factor(factor, update.global_norm) if update.global_norm > 0 else 1
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        for bias in range(2):
            begin = max(p0, array_begin(op, bias))
            end = min(p1, array_begin(op, bias) + array_size(op, bias))
            if begin >= end:
                continue
            adjust = adjust_of(run, op, bias)
            adjust.factor = factor
            if update.clip_norm > 0:
                adjust.factor = clip_factor(array_norm(run, o, bias), update.clip_norm)
            update_step(update, step, &adjust, end - begin, <real*>model.params + begin,
                        <const real*>model.grads + begin, <real*>model.slots + begin, model.n_params)


# ---- parameters: dW, db, update ---------------------------------------------------------------

cdef void update_parameters(const Run* run, const Block* block, Py_ssize_t m, Step* step, int t,
                            real* scratch) noexcept nogil:
    """dW, db and the optimizer's step for the rows of W that belong to thread t.

    The gradient of TILE_M rows at a time goes to scratch and straight into the update, while
    it is in the first-level cache; w and the slots are fetched meanwhile.
    """
    cdef const Model* model = run.model
    cdef const Op* op
    cdef real* params = <real*>model.params
    cdef real* slots = <real*>model.slots
    cdef const real* dz
    cdef Py_ssize_t i, rows, end, p
    cdef Adjust adjust
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.w < 0:
            continue
        adjust = adjust_of(run, op, 0)
        dz = slot(block, op.dy, 0, op.ld_y)
        i = cut(op.n_in, TILE_M, t, run.n_threads)
        end = cut(op.n_in, TILE_M, t + 1, run.n_threads)
        while i < end:
            rows = min(<Py_ssize_t>TILE_M, end - i)
            p = op.w + i * op.n_out
            dense_weight_gradient(rows, m, op.n_out, slot(block, op.x, 0, op.ld_x) + i, op.ld_x,
                                  dz, op.ld_y, scratch, False)
            update_step(&model.optimizer, step, &adjust, rows * op.n_out, params + p, scratch,
                        slots + p, model.n_params)
            i += rows
        if op.b >= 0 and t == run.n_threads - 1:
            dense_bias_gradient(m, op.n_out, dz, op.ld_y, scratch, False)
            adjust = adjust_of(run, op, 1)
            update_step(&model.optimizer, step, &adjust, op.n_out, params + op.b, scratch,
                        slots + op.b, model.n_params)


cdef void write_gradients(const Run* run, const Block* block, Py_ssize_t m, int t) noexcept nogil:
    """dW, db to model.grads, the rows of W that belong to thread t."""
    cdef const Op* op
    cdef real* grads = <real*>run.model.grads
    cdef Py_ssize_t i, end, rows
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.w < 0:
            continue
        i = cut(op.n_in, TILE_M, t, run.n_threads)
        end = cut(op.n_in, TILE_M, t + 1, run.n_threads)
        while i < end:
            rows = min(<Py_ssize_t>TILE_M, end - i)
            dense_weight_gradient(rows, m, op.n_out, slot(block, op.x, 0, op.ld_x) + i, op.ld_x,
                                  slot(block, op.dy, 0, op.ld_y), op.ld_y,
                                  grads + op.w + i * op.n_out, False)
            i += rows
        if op.b >= 0 and t == run.n_threads - 1:
            dense_bias_gradient(m, op.n_out, slot(block, op.dy, 0, op.ld_y), op.ld_y, grads + op.b,
                                False)


cdef void add_gradients(const Run* run, const Block* block, Py_ssize_t m, real* grads,
                        bint accumulate) noexcept nogil:
    """grads = (grads +) dW, db of all ops, from m rows."""
    cdef const Op* op
    cdef Py_ssize_t i, q
    cdef int o
    for o in range(run.chain.n_ops):
        op = &run.chain.ops[o]
        if op.w < 0:
            continue
        for q in range(blocks(op.n_in, TILE_M)):
            i = q * TILE_M
            dense_weight_gradient(min(<Py_ssize_t>TILE_M, op.n_in - i), m, op.n_out,
                                  slot(block, op.x, 0, op.ld_x) + i, op.ld_x,
                                  slot(block, op.dy, 0, op.ld_y), op.ld_y,
                                  grads + op.w + i * op.n_out, accumulate)
        if op.b >= 0:
            dense_bias_gradient(m, op.n_out, slot(block, op.dy, 0, op.ld_y), op.ld_y,
                                grads + op.b, accumulate)


cdef void take_average(const Run* run, int t) noexcept nogil:
    """params = their moving average, in thread t's range."""
    cdef const Model* model = run.model
    cdef Py_ssize_t p0 = cut(model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(model.n_params, 16, t + 1, run.n_threads)
    memcpy(<real*>model.params + p0,
           <real*>model.slots + (model.optimizer.n_slots - 1) * model.n_params + p0,
           (p1 - p0) * sizeof(real))


cdef void sum_partials(const Run* run, int t) noexcept nogil:
    """grads = Σ over chunks, in chunk order, in thread t's range."""
    cdef Py_ssize_t p0 = cut(run.model.n_params, 16, t, run.n_threads)
    cdef Py_ssize_t p1 = cut(run.model.n_params, 16, t + 1, run.n_threads)
    cdef real* grads = <real*>run.model.grads
    cdef const real* part
    cdef Py_ssize_t c, p
    for c in range(run.n_chunks):
        part = <const real*>run.partials + c * run.model.n_params
        if c == 0:
            memcpy(grads + p0, part + p0, (p1 - p0) * sizeof(real))
        else:
            for p in range(p0, p1):
                grads[p] += part[p]


# ---- chunks ------------------------------------------------------------------------------------

cdef void chunk_pass(const Run* run, Py_ssize_t c, Py_ssize_t first, Py_ssize_t rows, double scale,
                     bint gradient, const Block* block, real* scratch) noexcept nogil:
    """Chunk c of `rows` rows, block after block: loss into chunk_loss, gradient into partials."""
    cdef Py_ssize_t begin = cut(rows, 4, c, run.n_chunks), end = cut(rows, 4, c + 1, run.n_chunks)
    cdef Py_ssize_t r = begin, m, i
    cdef real* partial = <real*>run.partials + c * run.model.n_params
    cdef double loss = 0
    while r < end:
        m = min(block.rows, end - r)
        rows_phase(run, block, first + r, 0, m, scale, gradient, scratch)
        for i in range(m):
            loss += block.loss[i]
        if gradient:
            add_gradients(run, block, m, partial, r > begin)
        r += m
    run.chunk_loss[c] = loss
    if gradient and begin == end:
        memset(partial, 0, run.model.n_params * sizeof(real))


cdef double chunks_loss(const Run* run) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t c
    for c in range(run.n_chunks):
        total += run.chunk_loss[c]
    return total


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
    cdef double loss, scale
    cdef Step step
    cdef Products products
    cdef bint norms = model.optimizer.clip_norm > 0 or model.optimizer.global_norm > 0
    products.t = 0
    products.value = 1
    while done < run.n_steps and not run.stop:
        if run.order != NULL and (batch_index == 0 or (done == 0 and not run.order_ready)):
            if t == 0:
                shuffle(model.seed, run.epoch, n, run.order)
            team_wait(run)
        first = batch_index * run.batch
        rows = min(run.batch, n - first)
        scale = 1.0 / rows
        step = prepare(&model.optimizer, run.lr[done], run.iterations + done + 1, &products)
        if run.n_chunks == 0:
            rows_phase(run, block, first, cut(rows, 4, t, run.n_threads),
                       cut(rows, 4, t + 1, run.n_threads), scale, True, scratch)
            team_wait(run)
            loss = batch_loss(block, rows) / rows
        else:
            c = t
            while c < run.n_chunks:
                chunk_pass(run, c, first, rows, scale, True, block, scratch)
                c += run.n_threads
            team_wait(run)
            loss = chunks_loss(run) / rows
        if model.regularized:
            loss += sum_blocks(run, True, t)
        batch_index += 1
        if t == 0:
            run.losses[done] = loss
            run.steps_done = done + 1
            run.batch_index = batch_index
            if not isfinite(loss):
                run.status = STATUS_NONFINITE
            elif (done & 15) == 15 or rows > 1024 or model.n_params > 100000:
                run.stop = seconds_now() > run.deadline
        if isfinite(loss):
            if run.n_chunks == 0 and not norms:
                update_parameters(run, block, rows, &step, t, scratch)
            else:
                if run.n_chunks == 0:
                    write_gradients(run, block, rows, t)
                else:
                    sum_partials(run, t)
                apply_gradients(run, &step, t)
        team_wait(run)
        done += 1
        if model.optimizer.ema_period > 0 and (run.iterations + done) % model.optimizer.ema_period == 0:
            take_average(run, t)
            team_wait(run)
        if not isfinite(loss):
            break
        if first + rows == n:
            batch_index = 0
            if t == 0:
                run.batch_index = 0
                run.epoch += 1
            team_wait(run)
    restore_float_mode(mode)


cdef void infer_worker(Run* run, int t) noexcept nogil:
    """Predictions to run.outputs (if any) and, where there are targets, losses to chunk_loss."""
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    cdef const Block* block = &run.blocks[t]
    cdef bint targets = run.data.y != NULL or run.data.labels != NULL
    cdef Py_ssize_t c = t, r, end, m
    cdef double penalty
    if targets and run.model.regularized:
        penalty = sum_blocks(run, True, t)
        if t == 0:
            run.penalty = penalty
    while c < run.n_chunks:
        if targets:
            chunk_pass(run, c, 0, run.data.n, 1, False, block, scratch)
        else:
            r = cut(run.data.n, 4, c, run.n_chunks)
            end = cut(run.data.n, 4, c + 1, run.n_chunks)
            while r < end:
                m = min(block.rows, end - r)
                gather_rows(run, block, r, 0, m, False)
                forward_rows(run, block, r, 0, m, False, scratch)
                outputs_out(run, block, r, 0, m, False)
                r += m
        c += run.n_threads
    restore_float_mode(mode)


cdef void gradient_worker(Run* run, int t) noexcept nogil:
    """Loss to chunk_loss and the gradient of Σ weight·loss / n to model.grads."""
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    cdef Py_ssize_t c = t
    cdef double penalty
    if run.model.regularized:
        penalty = sum_blocks(run, True, t)
        if t == 0:
            run.penalty = penalty
    while c < run.n_chunks:
        chunk_pass(run, c, 0, run.data.n, 1.0 / run.data.n, True, &run.blocks[t], scratch)
        c += run.n_threads
    team_wait(run)
    sum_partials(run, t)
    if run.model.regularized:
        regularize_gradients(run, t)
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
