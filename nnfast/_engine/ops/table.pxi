"""The ops table. The row of an op holds all that the executor, the plan and the cost model know about it."""

cdef OpFunctions* table_row

table_row = add_op(b"dense")
table_row.forward = forward_dense
table_row.backward = backward_dense
table_row.gradient = gradient_dense
table_row.update = update_dense
table_row.scratch = scratch_dense
table_row.flops = flops_dense
table_row.reads_data = True
table_row.traits.applies_activation = True
table_row.traits.last_axis = True
table_row.traits.fuses_relu_backward = True
table_row.traits.splits_k = True
table_row.traits.ignores_y = True

table_row = add_op(b"activation")
table_row.forward = forward_activation
table_row.backward = backward_copy
table_row.traits.is_activation = True
table_row.traits.elementwise = True
table_row.traits.works_in_place = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"clipped_relu")
table_row.forward = forward_clipped_relu
table_row.backward = backward_clipped_relu
table_row.traits.elementwise = True
table_row.traits.ignores_y = True

table_row = add_op(b"dropout")
table_row.forward = forward_dropout
table_row.backward = backward_dropout
table_row.traits.training_only = True
table_row.traits.elementwise = True
table_row.traits.works_in_place = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"affine")
table_row.forward = forward_affine
table_row.backward = backward_affine
table_row.traits.elementwise = True
table_row.traits.works_in_place = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"noise")
table_row.forward = forward_noise
table_row.backward = backward_noise
table_row.traits.training_only = True
table_row.traits.elementwise = True
table_row.traits.works_in_place = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"standardize")
table_row.forward = forward_standardize
table_row.backward = backward_standardize
table_row.prepare = prepare_standardize
table_row.traits.feature_statistics = N_FIXED_STATS

table_row = add_op(b"batch_norm")
table_row.forward = forward_batch_norm
table_row.backward = backward_batch_norm
table_row.gradient = gradient_batch_norm
table_row.update = update_per_channel
table_row.prepare = prepare_batch_norm
table_row.after_step = keep_batch_statistics
table_row.whole_batch = True
table_row.sums_backward = True
table_row.traits.applies_activation = True
table_row.traits.channel_statistics = N_BATCH_STATS
table_row.traits.ignores_y = True

table_row = add_op(b"layer_norm")
table_row.forward = forward_layer_norm
table_row.backward = backward_layer_norm
table_row.gradient = gradient_layer_norm
table_row.update = update_per_channel
table_row.traits.applies_activation = True
table_row.traits.sample_statistics = N_ROW_STATS
table_row.traits.ignores_y = True

table_row = add_op(b"group_norm")
table_row.forward = forward_group_norm
table_row.backward = backward_group_norm
table_row.gradient = gradient_group_norm
table_row.update = update_per_channel
table_row.scratch = scratch_group_norm
table_row.sums_backward = True
table_row.traits.applies_activation = True
table_row.traits.sample_channel_statistics = N_GROUP_STATS
table_row.traits.ignores_y = True

table_row = add_op(b"prelu")
table_row.forward = forward_prelu
table_row.backward = backward_prelu
table_row.gradient = gradient_prelu
table_row.update = update_per_channel
table_row.traits.ignores_y = True

table_row = add_op(b"resample")
table_row.forward = forward_resample
table_row.backward = backward_resample
table_row.scratch = scratch_resample
table_row.traits.numbers_per_line = TAP_SIZE
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"intensity")
table_row.forward = forward_intensity
table_row.backward = backward_intensity
table_row.scratch = scratch_intensity
table_row.traits.training_only = True
table_row.traits.ignores_y = True

table_row = add_op(b"convolution")
table_row.forward = forward_convolution
table_row.backward = backward_convolution
table_row.gradient = gradient_convolution
table_row.update = update_convolution
table_row.scratch = scratch_convolution
table_row.flops = flops_convolution
table_row.has_window = True
table_row.traits.applies_activation = True
table_row.traits.copies_images = True
table_row.traits.ignores_y = True

table_row = add_op(b"transposed_convolution")
table_row.forward = forward_transposed
table_row.backward = backward_transposed
table_row.gradient = gradient_transposed
table_row.update = update_transposed
table_row.scratch = scratch_convolution
table_row.flops = flops_convolution
table_row.has_window = True
table_row.traits.applies_activation = True
table_row.traits.copies_images = True
table_row.traits.ignores_y = True

table_row = add_op(b"depthwise")
table_row.forward = forward_depthwise
table_row.backward = backward_depthwise
table_row.gradient = gradient_depthwise
table_row.update = update_depthwise
table_row.scratch = scratch_depthwise
table_row.flops = window_flops
table_row.has_window = True
table_row.traits.applies_activation = True
table_row.traits.copies_images = True
table_row.traits.repeats_channels = True
table_row.traits.ignores_y = True

table_row = add_op(b"recurrent")
table_row.forward = forward_recurrent
table_row.backward = backward_recurrent
table_row.gradient = gradient_recurrent
table_row.update = update_recurrent
table_row.scratch = scratch_recurrent
table_row.flops = flops_recurrent
table_row.has_steps = True
table_row.sums_backward = True
table_row.traits.keeps_steps = True
table_row.traits.reads_x2 = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"attention")
table_row.forward = forward_attention
table_row.backward = backward_attention
table_row.scratch = scratch_attention
table_row.flops = flops_attention
table_row.traits.keeps_steps = True
table_row.traits.ignores_y = True

table_row = add_op(b"embedding")
table_row.forward = forward_embedding
table_row.backward = backward_embedding
table_row.gradient = gradient_embedding
table_row.update = update_embedding
table_row.scratch = scratch_embedding
table_row.reads_ids = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"max_pool")
table_row.forward = forward_max_pool
table_row.backward = backward_max_pool
table_row.flops = window_flops
table_row.has_window = True
table_row.traits.fuses_relu_backward = True

table_row = add_op(b"average_pool")
table_row.forward = forward_average_pool
table_row.backward = backward_average_pool
table_row.flops = window_flops
table_row.has_window = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"step_mask")
table_row.forward = forward_step_mask
table_row.traits.stops_gradient = True

table_row = add_op(b"zero_steps")
table_row.forward = forward_zero_steps
table_row.backward = backward_zero_steps
table_row.traits.reads_x2 = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"masked_mean")
table_row.forward = forward_masked_mean
table_row.backward = backward_masked_mean
table_row.traits.reads_x2 = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"sum")
table_row.forward = forward_sum
table_row.backward = backward_sum
table_row.traits.applies_activation = True
table_row.traits.elementwise = True
table_row.traits.works_in_place = True
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"multiply")
table_row.forward = forward_multiply
table_row.backward = backward_multiply
table_row.traits.applies_activation = True
table_row.traits.elementwise = True
table_row.traits.works_in_place = True
table_row.traits.ignores_y = True

table_row = add_op(b"maximum")
table_row.forward = forward_maximum
table_row.backward = backward_maximum
table_row.traits.applies_activation = True
table_row.traits.elementwise = True

table_row = add_op(b"minimum")
table_row.forward = forward_minimum
table_row.backward = backward_minimum
table_row.traits.applies_activation = True
table_row.traits.elementwise = True

table_row = add_op(b"dot")
table_row.forward = forward_dot
table_row.backward = backward_dot
table_row.flops = flops_dot
table_row.traits.applies_activation = True

table_row = add_op(b"copy_blocks")
table_row.forward = forward_copy_blocks
table_row.backward = backward_copy_blocks
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"strided")
table_row.forward = forward_strided
table_row.backward = backward_strided
table_row.traits.ignores_x = True
table_row.traits.ignores_y = True

table_row = add_op(b"unit_norm")
table_row.forward = forward_unit_norm
table_row.backward = backward_unit_norm
table_row.traits.applies_activation = True

table_row = add_op(b"divide")
table_row.forward = forward_divide
table_row.backward = backward_divide
table_row.traits.applies_activation = True
table_row.traits.elementwise = True

table_row = add_op(b"power")
table_row.forward = forward_power
table_row.backward = backward_power
table_row.traits.applies_activation = True
table_row.traits.elementwise = True

table_row = add_op(b"powers")
table_row.forward = forward_powers
table_row.backward = backward_powers
table_row.traits.applies_activation = True
table_row.traits.elementwise = True

table_row = add_op(b"sampling")
table_row.forward = forward_sampling
table_row.backward = backward_sampling
table_row.traits.passes_gradient = True

table_row = add_op(b"penalty")
table_row.forward = forward_penalty
table_row.backward = backward_penalty
table_row.adds_penalty = True
table_row.traits.passes_gradient = True


cdef void needs_of(const Op* op, OpNeeds* needs) noexcept nogil:
    """Fill in what the core needs to know about an op."""
    cdef const OpFunctions* functions = &OP_TABLE[op.kind]
    needs.scratch = functions.scratch(op) if functions.scratch != NULL else 0
    needs.flops = op.steps * (10.0 * op.n_out + (functions.flops(op) if functions.flops != NULL else 0))
    needs.has_window = functions.has_window
    needs.has_steps = functions.has_steps
    needs.ids = op.n_in if functions.reads_ids else 0
    needs.whole_batch = functions.whole_batch and not op.frozen
    needs.adds_penalty = functions.adds_penalty
