"""The ops: one row each. Executor, scratch sizes and cost model know of an op what its row says."""

memset(OP_TABLE, 0, sizeof(OP_TABLE))

OP_TABLE[<int>OP_DENSE].forward = forward_dense
OP_TABLE[<int>OP_DENSE].backward = backward_dense
OP_TABLE[<int>OP_DENSE].gradient = gradient_dense
OP_TABLE[<int>OP_DENSE].update = update_dense
OP_TABLE[<int>OP_DENSE].scratch = scratch_dense
OP_TABLE[<int>OP_DENSE].flops = flops_dense
OP_TABLE[<int>OP_DENSE].splits_k = True
OP_TABLE[<int>OP_DENSE].reads_data = True

OP_TABLE[<int>OP_ACTIVATION].forward = forward_activation
OP_TABLE[<int>OP_ACTIVATION].backward = backward_copy

OP_TABLE[<int>OP_DROPOUT].forward = forward_dropout
OP_TABLE[<int>OP_DROPOUT].backward = backward_dropout

OP_TABLE[<int>OP_AFFINE].forward = forward_affine
OP_TABLE[<int>OP_AFFINE].backward = backward_affine

OP_TABLE[<int>OP_NOISE].forward = forward_noise
OP_TABLE[<int>OP_NOISE].backward = backward_copy

OP_TABLE[<int>OP_STANDARDIZE].forward = forward_standardize
OP_TABLE[<int>OP_STANDARDIZE].backward = backward_standardize
OP_TABLE[<int>OP_STANDARDIZE].prepare = prepare_standardize

OP_TABLE[<int>OP_BATCH_NORM].forward = forward_batch_norm
OP_TABLE[<int>OP_BATCH_NORM].backward = backward_batch_norm
OP_TABLE[<int>OP_BATCH_NORM].gradient = gradient_batch_norm
OP_TABLE[<int>OP_BATCH_NORM].update = update_batch_norm
OP_TABLE[<int>OP_BATCH_NORM].prepare = prepare_batch_norm
OP_TABLE[<int>OP_BATCH_NORM].after_step = keep_batch_statistics
OP_TABLE[<int>OP_BATCH_NORM].whole_batch = True
OP_TABLE[<int>OP_BATCH_NORM].sums_backward = True

OP_TABLE[<int>OP_LAYER_NORM].forward = forward_layer_norm
OP_TABLE[<int>OP_LAYER_NORM].backward = backward_layer_norm
OP_TABLE[<int>OP_LAYER_NORM].gradient = gradient_layer_norm
OP_TABLE[<int>OP_LAYER_NORM].update = update_layer_norm

OP_TABLE[<int>OP_RESAMPLE].forward = forward_resample
OP_TABLE[<int>OP_RESAMPLE].backward = backward_resample
OP_TABLE[<int>OP_RESAMPLE].scratch = scratch_resample

OP_TABLE[<int>OP_CONVOLUTION].forward = forward_convolution
OP_TABLE[<int>OP_CONVOLUTION].backward = backward_convolution
OP_TABLE[<int>OP_CONVOLUTION].gradient = gradient_convolution
OP_TABLE[<int>OP_CONVOLUTION].update = update_convolution
OP_TABLE[<int>OP_CONVOLUTION].scratch = scratch_convolution
OP_TABLE[<int>OP_CONVOLUTION].flops = flops_convolution
OP_TABLE[<int>OP_CONVOLUTION].has_window = True

OP_TABLE[<int>OP_DEPTHWISE].forward = forward_depthwise
OP_TABLE[<int>OP_DEPTHWISE].backward = backward_depthwise
OP_TABLE[<int>OP_DEPTHWISE].gradient = gradient_depthwise
OP_TABLE[<int>OP_DEPTHWISE].update = update_depthwise
OP_TABLE[<int>OP_DEPTHWISE].scratch = scratch_depthwise
OP_TABLE[<int>OP_DEPTHWISE].flops = window_flops
OP_TABLE[<int>OP_DEPTHWISE].has_window = True

OP_TABLE[<int>OP_MAX_POOL].forward = forward_max_pool
OP_TABLE[<int>OP_MAX_POOL].backward = backward_max_pool
OP_TABLE[<int>OP_MAX_POOL].flops = window_flops
OP_TABLE[<int>OP_MAX_POOL].has_window = True

OP_TABLE[<int>OP_AVERAGE_POOL].forward = forward_average_pool
OP_TABLE[<int>OP_AVERAGE_POOL].backward = backward_average_pool
OP_TABLE[<int>OP_AVERAGE_POOL].flops = window_flops
OP_TABLE[<int>OP_AVERAGE_POOL].has_window = True


cdef void needs_of(const Op* op, OpNeeds* needs) noexcept nogil:
    """What core has to know of an op."""
    cdef const OpFunctions* functions = &OP_TABLE[op.kind]
    needs.scratch = functions.scratch(op) if functions.scratch != NULL else 0
    needs.flops = 10.0 * op.n_out + (functions.flops(op) if functions.flops != NULL else 0)
    needs.has_window = functions.has_window
    needs.whole_batch = functions.whole_batch and not op.frozen
