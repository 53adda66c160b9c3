"""Ops that subtract a mean and divide by a standard deviation: batch_, layer_, group_norm, standardize."""

ctypedef struct BatchNormSettings:
    double epsilon, momentum

ctypedef struct LayerNormSettings:
    double epsilon

ctypedef struct GroupNormSettings:
    double epsilon
    int64_t groups      # number of groups of channels

ctypedef struct StandardizeSettings:
    int64_t invert      # if set, z = x·std + mean


cdef inline const BatchNormSettings* batch_norm_settings(const Op* op) noexcept nogil:
    return <const BatchNormSettings*>settings_of(op)


cdef inline bint uses_batch(const Run* run, const Op* op) noexcept nogil:
    """Return whether a batch normalization uses the batch's own mean and variance."""
    return run.training and not op.frozen


cdef inline Py_ssize_t groups_of(const Op* op) noexcept nogil:
    """Return the number of groups in a row, each of which has all channels."""
    return op.n_in // op.channels


cdef inline Py_ssize_t channel(const Shard* shard, const Op* op, int thread) noexcept nogil:
    """Return the first channel assigned to a thread."""
    return split_begin(op.channels, 16, thread, shard.n_threads)


cdef inline ChannelRange channels_of(const Shard* shard, const Op* op) noexcept nogil:
    """Return the channels that this thread sums over the batch."""
    return ChannelRange(op.channels, channel(shard, op, shard.thread), channel(shard, op, shard.thread + 1))


cdef inline real* row_stats(const Block* block, const Op* op, Py_ssize_t sample) noexcept nogil:
    """Return the address of the statistics of all groups in the first row of a sample."""
    return address(block, op.stats, sample * op.steps, op.ld_stats)


# ---- the update of parameters with one element per channel ------------------------------------------

cdef void update_channels(const Shard* shard, const Op* op, const StepConstants* step,
                          int which) noexcept nogil:
    """Sum partial gradients and apply the optimizer step to the thread's channels of a parameter."""
    cdef const Model* model = shard.run.model
    cdef Py_ssize_t c0 = channel(shard, op, shard.thread), c1 = channel(shard, op, shard.thread + 1)
    if is_trained(model, which) and c0 < c1:
        sum_partials(shard.run, model.parameters[which].begin + c0, model.parameters[which].begin + c1)
        step_range(model, which, c0, c1 - c0, step)


cdef void update_per_channel(const Shard* shard, const Op* op, const StepConstants* step) noexcept nogil:
    """The fused update of ops whose parameters have one element per channel."""
    cdef Py_ssize_t c
    for c in range(shard.run.n_microbatches):
        OP_TABLE[op.kind].gradient(shard, op, rows_of_microbatch(shard.run, c, shard.rows),
                                   partial(shard.run, c), False)
    update_channels(shard, op, step, op.w)
    update_channels(shard, op, step, op.b)


# ---- fixed statistics ----------------------------------------------------------------------------

cdef void load_fixed_statistics(const Run* run, const Op* op, double epsilon, bint invert) noexcept nogil:
    """Compute means and reciprocal standard deviations from the moving averages or fixed statistics."""
    cdef const real* means = parameter_data(run.model, op.mean)
    cdef const real* variances = parameter_data(run.model, op.variance)
    cdef Py_ssize_t j
    cdef real mean, rstd
    for j in range(op.ld_stats):    # repeats the channels if a row has several groups
        mean = means[j % op.channels]
        rstd = reciprocal_root(variances[j % op.channels], epsilon)
        stat(run, op, STAT_MEAN)[j] = 0 if invert else mean
        stat(run, op, STAT_RSTD)[j] = 1 / rstd if invert else rstd
        stat(run, op, STAT_SHIFT)[j] = mean if invert else 0


cdef void prepare_batch_norm(const Run* run, const Op* op) noexcept nogil:
    if not uses_batch(run, op):
        load_fixed_statistics(run, op, batch_norm_settings(op).epsilon, False)


cdef void prepare_standardize(const Run* run, const Op* op) noexcept nogil:
    load_fixed_statistics(run, op, 0, (<const StandardizeSettings*>settings_of(op)).invert != 0)


# ---- batch normalization -------------------------------------------------------------------------

cdef int forward_batch_norm(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = gamma·(x − mean)·rstd + beta, per channel.

    In training, each thread computes the batch statistics of its channels between two barriers.
    """
    cdef const Run* run = shard.run
    cdef Matrix whole, mask, z = preactivation(shard, op)
    cdef Groups groups
    if uses_batch(run, op):
        whole = x_rows(shard.block, op, 0, shard.rows)
        team_wait(run)
        groups = all_groups(&whole, op.channels)
        if op.x2 >= 0:
            mask = x2_rows(shard.block, op, 0, shard.rows)
            groups = real_groups(&whole, op.channels, &mask)
            if shard.thread == 0:
                stat(run, op, STAT_REAL)[0] = <real>groups.count
        batch_statistics(&groups, &whole, channels_of(shard, op), batch_norm_settings(op).epsilon,
                         stat(run, op, STAT_MEAN), stat(run, op, STAT_VARIANCE), stat(run, op, STAT_RSTD))
        team_wait(run)
    normalize(x, op.channels, stat(run, op, STAT_MEAN), stat(run, op, STAT_RSTD),
              parameter_data(run.model, op.w), parameter_data(run.model, op.b), &z)
    return activation


cdef void masked_input_gradient(const Shard* shard, const Op* op) noexcept nogil:
    """Compute dX of sequences: the statistics depend on the real steps alone."""
    cdef const Run* run = shard.run
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    cdef Matrix mask = second_input(shard, op), one, d
    cdef Py_ssize_t r, t, at
    cdef bint counts
    for r in range(x.rows):
        for t in range(mask.cols):
            at, counts = t * op.channels, mask.data[r * mask.ld + t] != 0
            one = matrix(x.data + r * x.ld + at, 1, op.channels, x.ld)
            d = matrix(dz.data + r * dz.ld + at, 1, op.channels, dz.ld)
            batch_input_gradient(&one, op.channels, stat(run, op, STAT_MEAN), stat(run, op, STAT_RSTD),
                                 parameter_data(run.model, op.w),
                                 stat(run, op, STAT_DGAMMA) if counts else NULL,
                                 stat(run, op, STAT_DBETA) if counts else NULL,
                                 stat(run, op, STAT_REAL)[0], &d, dx.data + r * dx.ld + at)


cdef void backward_batch_norm(const Shard* shard, const Op* op) noexcept nogil:
    """Compute dX and, in training, also dgamma and dbeta, on which dX depends."""
    cdef const Run* run = shard.run
    cdef bint batch = uses_batch(run, op)
    cdef Matrix x, dz
    if batch:
        x, dz = x_rows(shard.block, op, 0, shard.rows), dy_rows(shard.block, op, 0, shard.rows)
        team_wait(run)
        batch_gradient_sums(&x, channels_of(shard, op), stat(run, op, STAT_MEAN), stat(run, op, STAT_RSTD),
                            &dz, stat(run, op, STAT_DGAMMA), stat(run, op, STAT_DBETA), False)
        team_wait(run)
    if op.dx >= 0 and batch and op.x2 >= 0:
        masked_input_gradient(shard, op)
    elif op.dx >= 0:
        x, dz = input_of(shard, op), output_gradient(shard, op)
        batch_input_gradient(&x, op.channels, stat(run, op, STAT_MEAN),
                             stat(run, op, STAT_RSTD), parameter_data(run.model, op.w),
                             stat(run, op, STAT_DGAMMA) if batch else NULL,
                             stat(run, op, STAT_DBETA) if batch else NULL,
                             <double>(shard.rows * groups_of(op)), &dz,
                             input_gradient(shard, op).data)


cdef void take_sums(const real* sums, Py_ssize_t c0, Py_ssize_t c1, real* gradient,
                    bint accumulate) noexcept nogil:
    """gradient[c0:c1] = sums[c0:c1], or += if `accumulate`; nothing if the gradient is NULL."""
    cdef Py_ssize_t c
    if gradient == NULL:
        return
    for c in range(c0, c1):
        gradient[c] = gradient[c] + sums[c] if accumulate else sums[c]


cdef void gradient_batch_norm(const Shard* shard, const Op* op, Range rows, real* grads,
                              bint accumulate) noexcept nogil:
    """Write the thread's channels of dgamma and dbeta to the flat gradients."""
    cdef const Run* run = shard.run
    cdef real* dgamma = gradient_of(run.model, op.w, grads)
    cdef real* dbeta = gradient_of(run.model, op.b, grads)
    cdef Py_ssize_t c0 = channel(shard, op, shard.thread), c1 = channel(shard, op, shard.thread + 1)
    cdef Matrix x, dz
    if dgamma == NULL and dbeta == NULL:
        return      # nothing to compute, and dy may not exist
    if uses_batch(run, op):
        # The backward pass has already computed dgamma and dbeta.
        take_sums(stat(run, op, STAT_DGAMMA), c0, c1, dgamma, accumulate)
        take_sums(stat(run, op, STAT_DBETA), c0, c1, dbeta, accumulate)
    else:
        x, dz = x_rows(shard.block, op, rows.first, rows.m), dy_rows(shard.block, op, rows.first, rows.m)
        batch_gradient_sums(&x, channels_of(shard, op), stat(run, op, STAT_MEAN), stat(run, op, STAT_RSTD),
                            &dz, dgamma, dbeta, accumulate)


cdef void keep_batch_statistics(const Run* run, const Op* op) noexcept nogil:
    """Update the moving averages, which inference uses, with the batch's mean and variance.

    A batch without real steps has none.
    """
    if not op.frozen and (op.x2 < 0 or stat(run, op, STAT_REAL)[0] != 0):
        update_moving_average(op.channels, stat(run, op, STAT_MEAN), batch_norm_settings(op).momentum,
                              parameter_data(run.model, op.mean))
        update_moving_average(op.channels, stat(run, op, STAT_VARIANCE), batch_norm_settings(op).momentum,
                              parameter_data(run.model, op.variance))


# ---- layer normalization -------------------------------------------------------------------------

cdef int forward_layer_norm(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = gamma·(x − mean)·rstd + beta, with the mean and rstd of each group in a row."""
    cdef Matrix z = preactivation(shard, op)
    layer_normalize(x, op.channels, (<const LayerNormSettings*>settings_of(op)).epsilon,
                    parameter_data(shard.run.model, op.w), parameter_data(shard.run.model, op.b), &z,
                    NULL if op.stats < 0 else row_stats(shard.block, op, shard.begin), op.ld_stats)
    return activation


cdef void backward_layer_norm(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op)
    layer_input_gradient(&x, op.channels, row_stats(shard.block, op, shard.begin),
                         op.ld_stats, parameter_data(shard.run.model, op.w), &dz,
                         input_gradient(shard, op).data)


cdef void gradient_layer_norm(const Shard* shard, const Op* op, Range rows, real* grads,
                              bint accumulate) noexcept nogil:
    """Write the thread's channels of dgamma and dbeta to the flat gradients."""
    cdef real* dgamma = gradient_of(shard.run.model, op.w, grads)
    cdef real* dbeta = gradient_of(shard.run.model, op.b, grads)
    cdef Matrix x, dz
    if dgamma == NULL and dbeta == NULL:
        return      # nothing to compute, and dy may not exist
    x, dz = x_rows(shard.block, op, rows.first, rows.m), dy_rows(shard.block, op, rows.first, rows.m)
    layer_gradient_sums(&x, channels_of(shard, op),
                        row_stats(shard.block, op, rows.first), op.ld_stats,
                        &dz, dgamma, dbeta, accumulate)


# ---- group normalization (Wu, He 2018) ------------------------------------------------------------
# A sample is a matrix of positions × channels.

cdef inline Matrix sample_of(const Op* op, const Matrix* a, Py_ssize_t row) noexcept nogil:
    return matrix(a.data + row * a.ld, op.n_in // op.channels, op.channels, op.channels)


cdef inline Py_ssize_t ld_group_stats(const Op* op) noexcept nogil:
    return op.ld_stats // N_GROUP_STATS


cdef int forward_group_norm(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = gamma·(x − mean)·rstd + beta, with the mean and rstd of each group of channels in a sample."""
    cdef const GroupNormSettings* settings = <const GroupNormSettings*>settings_of(op)
    cdef Matrix z = preactivation(shard, op), x_sample, z_sample
    cdef Groups positions
    cdef Py_ssize_t row, ld = ld_group_stats(op)
    cdef real* s = shard.scratch
    for row in range(x.rows):
        if op.stats >= 0:
            s = row_stats(shard.block, op, shard.begin) + row * op.ld_stats
        x_sample, z_sample = sample_of(op, x, row), sample_of(op, &z, row)
        positions = all_groups(&x_sample, op.channels)
        # The place of dgamma holds the variances meanwhile.
        batch_statistics(&positions, &x_sample, ChannelRange(op.channels, 0, op.channels), settings.epsilon,
                         s + GROUP_MEAN * ld, s + GROUP_DGAMMA * ld, s + GROUP_RSTD * ld)
        share_in_groups(op.channels, settings.groups, settings.epsilon, s + GROUP_MEAN * ld,
                        s + GROUP_DGAMMA * ld, s + GROUP_RSTD * ld)
        normalize(&x_sample, op.channels, s + GROUP_MEAN * ld, s + GROUP_RSTD * ld,
                  parameter_data(shard.run.model, op.w), parameter_data(shard.run.model, op.b), &z_sample)
    return activation


cdef void backward_group_norm(const Shard* shard, const Op* op) noexcept nogil:
    """dX = rstd·(h − mean(h) − x̂·mean(h·x̂)) with h = gamma·dy; also each sample's dgamma and dbeta."""
    cdef Py_ssize_t groups = (<const GroupNormSettings*>settings_of(op)).groups
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op), dx, x_sample, h
    cdef Py_ssize_t row, ld = ld_group_stats(op), n = op.channels
    cdef const real* gamma = parameter_data(shard.run.model, op.w)
    cdef real* s
    for row in range(x.rows):
        s = row_stats(shard.block, op, shard.begin) + row * op.ld_stats
        x_sample, h = sample_of(op, &x, row), sample_of(op, &dz, row)
        batch_gradient_sums(&x_sample, ChannelRange(n, 0, n), s + GROUP_MEAN * ld, s + GROUP_RSTD * ld, &h,
                            s + GROUP_DGAMMA * ld, s + GROUP_DBETA * ld, False)
        if op.dx < 0:
            continue
        group_sums(n, groups, gamma, s + GROUP_DGAMMA * ld, shard.scratch)
        group_sums(n, groups, gamma, s + GROUP_DBETA * ld, shard.scratch + ld)
        dx = input_gradient(shard, op)
        dx = sample_of(op, &dx, row)
        if gamma != NULL:
            batch_input_gradient(&x_sample, n, NULL, gamma, NULL, NULL, NULL, 1, &h, dx.data)
            h = dx
        batch_input_gradient(&x_sample, n, s + GROUP_MEAN * ld, s + GROUP_RSTD * ld, NULL, shard.scratch,
                             shard.scratch + ld, <double>op.n_in / groups, &h, dx.data)


cdef void gradient_group_norm(const Shard* shard, const Op* op, Range rows, real* grads,
                              bint accumulate) noexcept nogil:
    """Write the thread's channels of dgamma and dbeta, summed over the samples, to the flat gradients."""
    cdef real* dgamma = gradient_of(shard.run.model, op.w, grads)
    cdef real* dbeta = gradient_of(shard.run.model, op.b, grads)
    cdef Py_ssize_t c0 = channel(shard, op, shard.thread), c1 = channel(shard, op, shard.thread + 1)
    cdef real* s = row_stats(shard.block, op, rows.first) + c0
    cdef Matrix sums
    if dgamma != NULL:
        sums = matrix(s + GROUP_DGAMMA * ld_group_stats(op), rows.m * op.steps, c1 - c0, op.ld_stats)
        dense_bias_gradient(&sums, dgamma + c0, accumulate)
    if dbeta != NULL:
        sums = matrix(s + GROUP_DBETA * ld_group_stats(op), rows.m * op.steps, c1 - c0, op.ld_stats)
        dense_bias_gradient(&sums, dbeta + c0, accumulate)


cdef Py_ssize_t scratch_group_norm(const Op* op) noexcept nogil:
    return op.ld_stats


# ---- standardization -----------------------------------------------------------------------------

cdef int forward_standardize(const Shard* shard, const Op* op, const Matrix* x,
                             int activation) noexcept nogil:
    """z = (x − mean)·rstd with fixed statistics, or z = x·std + mean if `invert` is set."""
    cdef Matrix z = preactivation(shard, op)
    normalize(x, op.n_in, stat(shard.run, op, STAT_MEAN), stat(shard.run, op, STAT_RSTD), NULL,
              stat(shard.run, op, STAT_SHIFT), &z)
    return activation


cdef void backward_standardize(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op)
    batch_input_gradient(&x, op.n_in, NULL, stat(shard.run, op, STAT_RSTD), NULL, NULL, NULL,
                         1, &dz, input_gradient(shard, op).data)
