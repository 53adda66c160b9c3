"""The mini-batch loop, gather → forward → loss → backward → update, which each thread runs as a worker.

A batch is split into micro-batches by its shape alone, and their gradients are added in a fixed order, so
the number of threads never changes a result. There are two ways to divide a step among threads:

  whole batch    All threads share one batch in two phases with a barrier after each: rows
                 (gather, forward, loss, dX), then parameters (dW, db, update).
  micro-batches  Each thread processes its own micro-batches in blocks that stay in cache. After a
                 barrier, the gradients are added up.

Each call from Python opens one parallel region, which only calls a worker(run, t) on each thread t.
"""

# ---- workers: what each thread of the team runs ------------------------------------------------

cdef void train_worker(Run* run, int t) noexcept nogil:
    """Run steps until n_steps are done, the deadline has passed or a loss is not finite.

    Each thread keeps its own position and step count. Thread 0 also writes them to `run`, for Python, and
    only between two barriers.
    """
    cdef Model* model = run.model
    cdef Py_ssize_t n = run.data.n, done = 0, batch_index = run.batch_index, first, rows, c
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    # Threads share the whole batch if they cannot divide its micro-batches evenly. A single thread also
    # processes the batch as a whole.
    cdef bint whole = run.whole != NULL and (run.n_threads == 1 or run.n_microbatches % run.n_threads != 0)
    cdef double loss, divisor
    cdef Scales scales
    cdef Shard shard
    cdef Microbatch micro
    cdef StepConstants step
    cdef WarmupProduct warmup
    cdef int k
    # An update fused with the gradients is impossible if sums over several gradients come first.
    cdef bint fused = whole and not (model.optimizer.clip_norm > 0 or model.optimizer.global_norm > 0
                                     or run.op_list.shares_parameters)
    warmup.t = 0
    warmup.value = 1
    if t == 0:
        run.float_mode = mode
    prepare_ops(run, t)
    while done < run.n_steps and not run.stop:
        if run.order != NULL and (batch_index == 0 or (done == 0 and not run.order_ready)):
            if t == 0:
                shuffle(model.seed, run.epoch, n, run.order)
            team_wait(run)
        first = batch_index * run.batch
        rows = min(run.batch, n - first)
        divisor = denominator(run, first, rows)
        scales.mean = 1.0 / divisor
        for k in range(model.n_heads):
            scales.reduction[k] = reduction_factor(run, k, first, rows)
        if model.masked:
            scale_by_real_steps(run, first, rows, t, whole, scratch, &scales)
        step = step_constants(&model.optimizer, run.lr[done], run.iterations + done + 1, &warmup)
        step.regularizer_scale = penalty_scale(run, divisor)
        if whole:
            shard = whole_shard(run, first, rows, t, scratch)
            rows_phase(&shard, &scales, True)
            team_wait(run)
            loss = whole_loss(run, 0, rows) / divisor
        else:
            c = t
            while c < run.n_microbatches:
                micro = microbatch(run, c, first, rows)
                microbatch_pass(run, &micro, &scales, True, &run.blocks[t], scratch)
                c += run.n_threads
            team_wait(run)
            loss = microbatches_loss(run, 0) / divisor
        if model.regularized:
            loss += sum_blocks(run, True, t, step.regularizer_scale)
        batch_index += 1
        if t == 0:
            run.losses[done * run.n_losses] = loss
            for k in range(1, run.n_losses):
                run.losses[done * run.n_losses + k] = (
                    whole_loss(run, k, rows) if whole else microbatches_loss(run, k)) / divisor
            run.steps_done = done + 1
            run.batch_index = batch_index
            if not isfinite(loss):
                run.status = STATUS_NONFINITE
            elif (done & 15) == 15 or run.n_threads > 1 or rows > 1024 or model.n_params > 100000 \
                    or rows * run.op_list.n_values > 200000:
                run.stop = seconds_now() > run.deadline
        if isfinite(loss):
            if fused:
                update_parameters(&shard, &step)
            else:
                if whole:
                    whole_gradients(&shard)
                    team_wait(run)
                sum_partials(run, split_begin(model.n_dense, 16, t, run.n_threads),
                             split_begin(model.n_dense, 16, t + 1, run.n_threads))
                apply_gradients(run, &step, t if whole else 0, t)
            if model.batch_norms and t == 0:
                finish_step(run)
            if model.optimizer.ema_period > 0 \
                    and (run.iterations + done + 1) % model.optimizer.ema_period == 0:
                team_wait(run)
                take_average(run, t)
            if model.constrained:   # after the average, which is that of unconstrained weights
                team_wait(run)
                constrain_parameters(run, t)
        elif not whole:     # gradients were computed before the loss was known
            drop_sparse_gradients(run, t)
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
    """Write predictions to run.outputs unless it is NULL and, if wanted, losses to microbatch_loss."""
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    cdef const Block* block = &run.blocks[t]
    cdef Py_ssize_t c = run.first_microbatch + t, r, end, m
    cdef double penalty
    cdef Scales scales
    cdef Shard shard
    cdef Microbatch micro
    cdef const Input* input = run.model.inputs
    cdef int k
    cdef bint direct = (OP_TABLE[run.op_list.ops[0].kind].reads_data and run.op_list.single_reader
                        and in_place(run.data.inputs, input.scale, input.offset))
    scales.mean = 1
    if run.wants_losses:
        for k in range(run.model.n_heads):
            scales.reduction[k] = run.reductions[k]
    prepare_ops(run, t)
    if run.wants_losses:
        scale_pass_by_real_steps(run, t, scratch, &scales)
    if run.wants_losses and run.model.regularized and run.first_microbatch == 0:
        penalty = sum_blocks(run, True, t, penalty_scale(run, run.denominator))
        if t == 0:
            run.penalty = penalty
    while c < run.end_microbatch:
        if run.wants_losses:
            micro = microbatch(run, c, 0, run.data.n)
            microbatch_pass(run, &micro, &scales, False, block, scratch)
        else:
            r = split_begin(run.data.n, 4, c, run.n_microbatches)
            end = split_begin(run.data.n, 4, c + 1, run.n_microbatches)
            while r < end:
                m = min(block.rows, end - r)
                shard = block_shard(run, block, r, m, scratch)
                # The GEMM reads one row or groups of four rows; a partial group would read past the data.
                if direct and (m * run.op_list.ops[0].steps % 4 == 0 or m * run.op_list.ops[0].steps == 1):
                    shard.x = <const real*>run.data.inputs.x + r * input.n
                else:
                    gather_shard_inputs(&shard)
                forward_pass(&shard, False)
                write_outputs(&shard)
                r += m
        c += run.n_threads
    restore_float_mode(mode)


cdef void gradient_worker(Run* run, int t) noexcept nogil:
    """Write losses to microbatch_loss and the gradient of Σ weight·loss / denominator to model.grads.

    The pass stops at the deadline. `run.stop` then tells the caller to call again, which resumes the pass.
    """
    cdef uint64_t mode = flush_subnormals()
    cdef real* scratch = <real*>run.scratch + t * run.scratch_size
    cdef Py_ssize_t n = run.data.n, c = t
    cdef Microbatch micro
    cdef Scales scales
    cdef int k
    cdef double penalty, regularizer_scale = penalty_scale(run, run.denominator)
    cdef bint late = False, complete = True
    scales.mean = 1.0 / run.denominator
    for k in range(run.model.n_heads):
        scales.reduction[k] = run.reductions[k]
    prepare_ops(run, t)
    scale_pass_by_real_steps(run, t, scratch, &scales)
    while c < run.n_microbatches and not late:
        micro = microbatch(run, c, 0, n)
        while micro.begin + run.microbatch_rows[c] < micro.end and not late:
            run.microbatch_rows[c] = block_pass(run, &micro, micro.begin + run.microbatch_rows[c],
                                                &scales, True, &run.blocks[t], scratch) - micro.begin
            late = seconds_now() > run.deadline
        c += run.n_threads
    team_wait(run)
    for c in range(run.n_microbatches):
        complete &= run.microbatch_rows[c] == rows_of_microbatch(run, c, n).m
    if complete:
        sum_partials(run, split_begin(run.model.n_dense, 16, t, run.n_threads),
                     split_begin(run.model.n_dense, 16, t + 1, run.n_threads))
        write_sparse_gradients(run, 0, t)
        if run.model.regularized:
            penalty = sum_blocks(run, True, t, regularizer_scale)
            if t == 0:
                run.penalty = penalty
            regularize_gradients(run, t, regularizer_scale)
    if t == 0:
        run.stop = not complete
    restore_float_mode(mode)


cdef void input_gradient_worker(Run* run, int t) noexcept nogil:
    """Write ∂loss/∂x of every row to run.input_gradient."""
    cdef uint64_t mode = flush_subnormals()
    cdef Py_ssize_t c = run.first_microbatch + t
    prepare_ops(run, t)
    while c < run.end_microbatch:
        input_gradient_pass(run, c, &run.blocks[t], <real*>run.scratch + t * run.scratch_size)
        c += run.n_threads
    restore_float_mode(mode)


# ---- the parallel regions ------------------------------------------------------------------------

cdef int join_team(Run* run) noexcept nogil:
    """Return this thread's number; set n_threads to the team's actual size."""
    if threadid() == 0:
        run.n_threads = team_size()
    team_barrier()
    return threadid()


cdef void run_train(Run* run) noexcept nogil:
    if run.n_threads == 1:
        train_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            train_worker(run, join_team(run))


cdef void run_infer(Run* run) noexcept nogil:
    if run.n_threads == 1:
        infer_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            infer_worker(run, join_team(run))


cdef void run_gradient(Run* run) noexcept nogil:
    if run.n_threads == 1:
        gradient_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            gradient_worker(run, join_team(run))


cdef void run_input_gradient(Run* run) noexcept nogil:
    if run.n_threads == 1:
        input_gradient_worker(run, 0)
    else:
        with parallel(num_threads=run.n_threads):
            input_gradient_worker(run, join_team(run))
