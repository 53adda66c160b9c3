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
                        mask_key(model.seed, run.epoch, op.layer), run.row_offset + first + r0)
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
                    mask_key(model.seed, run.epoch, op.layer), run.row_offset + first + r0)
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
            elif (done & 15) == 15 or run.n_threads > 1 or rows > 1024 or model.n_params > 100000:
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
        if first + rows == n:
            batch_index = 0
            if t == 0:
                run.batch_index = 0
                run.epoch += 1
            team_wait(run)
        if not isfinite(loss):
            break
        if model.optimizer.ema_period > 0 and (run.iterations + done) % model.optimizer.ema_period == 0:
            take_average(run, t)
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
