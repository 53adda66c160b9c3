"""Forward and backward passes through the op list for one shard. Some ops contain barriers."""

cdef void forward_pass(const Shard* shard, bint keep_logits) noexcept nogil:
    """Compute every op's output. keep_logits: leave activations that are fused with a loss to that."""
    cdef const Run* run = shard.run
    cdef const Op* op
    cdef Matrix x, y
    cdef int i, activation
    for i in range(run.op_list.n_ops):
        op = &run.op_list.ops[i]
        x = input_of(shard, op)
        if i == 0 and shard.x != NULL:
            x.data, x.ld = <real*>shard.x, op.n_in
        activation = ACT_LINEAR if keep_logits and is_fused_with_loss(run, op) else op.activation
        activation = OP_TABLE[op.kind].forward(shard, op, &x, activation)
        y = output_of(shard, op)
        activation_forward(activation, op.alpha, preactivation(shard, op).data, &y)
        if op.y_l1 != 0 or op.y_l2 != 0:
            add_activity(&y, op.steps, op.y_l1, op.y_l2, shard.block.activity + shard.begin)


cdef void add_bases(const Shard* shard, const Op* op) noexcept nogil:
    """Add the gradients that ops further on have contributed to dX and dX2, if there are any."""
    cdef Matrix dx, base
    if op.dx_base >= 0:
        dx = input_gradient(shard, op)
        base = op_rows(shard.block, op, op.dx_base, op.x_column, shard.begin, n_rows(shard), op.n_in, op.ld_x)
        add_rows(dx.rows, dx.cols, base.data, dx.data, dx.ld, -INFINITY)
    if op.dx2_base >= 0:
        dx = second_gradient(shard, op)
        base = op_rows(shard.block, op, op.dx2_base, op.x2_column, shard.begin, n_rows(shard), op.n_in2,
                       op.ld_x2)
        add_rows(dx.rows, dx.cols, base.data, dx.data, dx.ld, -INFINITY)


cdef void backward_pass(const Shard* shard) noexcept nogil:
    """Compute dZ of every op before which something is trained, from the gradient of the predictions.

    The parameters' gradients are computed later.
    """
    cdef const Run* run = shard.run
    cdef const Op* op
    cdef Matrix y, dy, source
    cdef int i
    for i in range(run.op_list.n_ops - 1, -1, -1):
        op = &run.op_list.ops[i]
        if op.dy < 0:
            continue
        dy = output_gradient(shard, op)
        if op.dy_source != op.dy:
            source = op_rows(shard.block, op, op.dy_source, op.y_column, shard.begin, n_rows(shard), op.n_out,
                             op.ld_y)
            affine(&source, &dy, 1, 0)
        y = output_of(shard, op)
        if (op.y_l1 != 0 or op.y_l2 != 0) and shard.activity_scale != 0:
            add_activity_gradient(&y, shard.activity_scale * op.y_l1, shard.activity_scale * op.y_l2, dy.data)
        if not (op.relu_backward_done or is_fused_with_loss(run, op)):
            activation_backward(op.activation, op.alpha, preactivation(shard, op).data, y.data, dy.data, &dy)
        if op.dx >= 0 or op.dx2 >= 0 or OP_TABLE[op.kind].sums_backward:
            OP_TABLE[op.kind].backward(shard, op)
        add_bases(shard, op)


cdef void rows_phase(Shard* shard, const Scales* scales, bint gradient) noexcept nogil:
    """Run gather, forward pass, loss and, if `gradient` is set, the backward pass for the shard's rows."""
    gather_shard_inputs(shard)
    gather_shard_targets(shard)
    forward_pass(shard, True)
    losses_of(shard, scales, gradient)
    if gradient:
        shard.activity_scale = 0 if objective_of(shard.run, 0).kind == LOSS_MAXIMUM_OUTPUT else scales.mean
        backward_pass(shard)
    if shard.run.outputs != NULL:
        activate_outputs(shard)
        write_outputs(shard)


cdef void prepare_ops(const Run* run, int thread) noexcept nogil:
    """Let each op prepare for a run, on thread 0: normalizations load their fixed statistics."""
    cdef const Op* op
    cdef int i
    if run.stats == NULL:
        return
    for i in range(run.op_list.n_ops):
        op = &run.op_list.ops[i]
        if thread == 0 and OP_TABLE[op.kind].prepare != NULL:
            OP_TABLE[op.kind].prepare(run, op)
    team_wait(run)


cdef void finish_step(const Run* run) noexcept nogil:
    """Let each op finish a step, on one thread: normalizations update their moving averages."""
    cdef const Op* op
    cdef int i
    for i in range(run.op_list.n_ops):
        op = &run.op_list.ops[i]
        if OP_TABLE[op.kind].after_step != NULL:
            OP_TABLE[op.kind].after_step(run, op)
