"""Normalization over the batch (Ioffe, Szegedy 2015) and within a row (Ba, Kiros, Hinton 2016).

A row has `groups` × `channels` elements: group g of row i begins at x + i·ldx + g·channels.
x̂ is (x − mean)·rstd with rstd = 1/√(variance + ε), and y = gamma·x̂ + beta; gamma and beta may be NULL.
Functions that sum over the batch take a range of channels, so that each thread can process some of the
channels.
"""

# Channels per group, and the range of channels that one thread sums over the batch.
ctypedef struct ChannelRange:
    Py_ssize_t channels, begin, end


cdef inline real reciprocal_root(double variance, double epsilon) noexcept nogil:
    """Return 1/√(variance + ε), where the root is at least 1e-7, as in Keras' Normalization layer."""
    return <real>(1 / max(1e-7, sqrt(variance + epsilon)))


cdef inline vreal factor_of(const real* gamma, Py_ssize_t c, int width) noexcept nogil:
    """Return a vector of elements of gamma, or of ones if gamma is NULL."""
    return vsplat(1) if gamma == NULL else load_cols(gamma + c, width)


cdef void normalize(const Matrix* x, Py_ssize_t channels, const real* mean, const real* rstd,
                    const real* gamma, const real* beta, const Matrix* y) noexcept nogil:
    """y (m, n) = gamma·x̂ + beta with one mean and one rstd per channel; y may alias x."""
    cdef Py_ssize_t groups = x.cols // channels
    cdef Py_ssize_t i, g, q, c
    cdef int width
    cdef vreal v
    cdef const real* xg
    cdef real* yg
    for i in range(x.rows):
        for g in range(groups):
            xg = x.data + i * x.ld + g * channels
            yg = y.data + i * y.ld + g * channels
            for q in range(ceil_div(channels, VLEN)):
                c = q * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                v = load_cols(xg + c, width) - load_cols(mean + c, width)
                v = v * (load_cols(rstd + c, width) * factor_of(gamma, c, width))
                if beta != NULL:
                    v = v + load_cols(beta + c, width)
                store_cols(yg + c, v, width)


# ---- over the batch ------------------------------------------------------------------------------

# The groups of channels that statistics are computed over: all groups, or those of the real steps of
# sequences. A row has one group for each step.
ctypedef struct Groups:
    Grid grid
    Matrix mask         # (rows, steps): 1 for each real step; without data, all steps are real
    Py_ssize_t first    # offset of the first group
    double count


cdef inline Groups all_groups(const Matrix* x, Py_ssize_t channels) noexcept nogil:
    cdef Groups a
    a.grid = grid_of(x.rows, x.cols // channels, x.ld, channels)
    a.mask = matrix(NULL, 0, 0, 0)
    a.first = 0
    a.count = <double>(x.rows * (x.cols // channels))
    return a


cdef Groups real_groups(const Matrix* x, Py_ssize_t channels, const Matrix* mask) noexcept nogil:
    """Return the groups of the real steps; their number may be 0."""
    cdef Groups a
    cdef Py_ssize_t i, t
    a.grid = Grid(x.rows, mask.cols, x.ld, channels)
    a.mask = mask[0]
    a.first = a.count = 0
    for i in range(x.rows - 1, -1, -1):
        for t in range(mask.cols - 1, -1, -1):
            if mask.data[i * mask.ld + t] != 0:
                a.first = i * x.ld + t * channels
                a.count += 1
    return a


cdef void group_sum(const Groups* groups, const real* x, int width, bint squares, vreal shift,
                    double* total) noexcept nogil:
    """total[k] = Σ (x − shift), or Σ (x − shift)² if `squares`, over the groups, for lanes k < width."""
    cdef Py_ssize_t i, t, n = 0
    cdef vreal run = vsplat(0)
    if groups.mask.data == NULL:
        grid_sum(&groups.grid, x, width, squares, shift, total)
        return
    memset(total, 0, VLEN * sizeof(double))
    for i in range(groups.grid.rows):
        for t in range(groups.grid.cols):
            if groups.mask.data[i * groups.mask.ld + t] != 0:
                run = run + term(x + i * groups.grid.row + t * groups.grid.col, width, squares, shift)
                n += 1
                if n % TERMS == 0:
                    add_lanes(run, total)
                    run = vsplat(0)
    add_lanes(run, total)


cdef inline void moments(const Groups* groups, const real* x, int width, real* mean,
                         real* variance) noexcept nogil:
    """Write the mean and variance of a vector of channels over the groups; 0 if there are none.

    Differences from the first group are summed, so that a mean far from zero is accurate, too. The variance
    is corrected for the rounding error of the mean.
    """
    cdef double total[16]
    cdef double lost[16]
    cdef real origin[16]
    cdef real centre[16]
    cdef double count = max(1.0, groups.count)
    cdef int k
    vstore(origin, vsplat(0) if groups.count == 0 else load_cols(x + groups.first, width))
    group_sum(groups, x, width, False, vload(origin), total)
    for k in range(VLEN):
        total[k] /= count
        centre[k] = <real>(origin[k] + total[k])
        lost[k] = total[k] - (<double>centre[k] - origin[k])
    store_cols(mean, vload(centre), width)
    group_sum(groups, x, width, True, vload(centre), total)
    for k in range(VLEN):
        total[k] = max(0.0, total[k] / count - lost[k] * lost[k])
    store_cols(variance, rounded(total), width)


cdef void batch_statistics(const Groups* groups, const Matrix* x, ChannelRange part, double epsilon,
                           real* mean, real* variance, real* rstd) noexcept nogil:
    """Write the mean, variance and rstd of each channel; the variance is the biased one, as in Keras."""
    cdef Py_ssize_t q, c
    cdef int width, k
    for q in range(ceil_div(part.end - part.begin, VLEN)):
        c = part.begin + q * VLEN
        width = <int>min(part.end - c, <Py_ssize_t>VLEN)
        moments(groups, x.data + c, width, mean + c, variance + c)
        for k in range(width):
            rstd[c + k] = reciprocal_root(variance[c + k], epsilon)


cdef inline Py_ssize_t unit_rows(Py_ssize_t groups) noexcept nogil:
    """Return the number of rows whose gradients are summed separately and then added to the total.

    BLOCK_ROWS is a multiple of this number, so that the sums are the same for any number of blocks.
    """
    cdef Py_ssize_t rows = TERMS
    while rows > 1 and rows * groups > TERMS:
        rows //= 2
    return rows


cdef inline void add_gradient(const real* x, const real* dy, const real* s, bint batch, vreal mean, int width,
                              vreal* total, vreal* product) noexcept nogil:
    """total += dy and product += dy·(x − mean); unless `batch`, product += dy·x̂ with the statistics s."""
    cdef vreal d = load_cols(dy, width), v = load_cols(x, width)
    v = v - mean if batch else (v - vsplat(s[0])) * vsplat(s[1])
    total[0] = total[0] + d
    product[0] = product[0] + d * v


cdef inline void gradient_sums(Matrix x, Py_ssize_t channels, const real* s, Py_ssize_t ld_s, vreal mean,
                               vreal rstd, Matrix dy, int width, real* dgamma, real* dbeta,
                               bint accumulate) noexcept nogil:
    """dgamma = Σ dy·x̂ and dbeta = Σ dy for a vector of channels, plus the old values if `accumulate`.

    dgamma or dbeta may be NULL. Summing block by block gives bit-identical results. If s is NULL, the
    statistics are mean and rstd, else they are those of each group in s. For speed, calls for whole vectors
    pass a constant width, and calls for batch statistics pass NULL as s.
    """
    cdef Py_ssize_t groups = x.cols // channels
    cdef Py_ssize_t unit = unit_rows(groups), run = even_length(groups, TERMS, 2), u, q, i, g, n, rows
    # If a row has one group, the inner loop runs over rows.
    cdef Py_ssize_t step_x = channels, step_y = channels, step_s = 2
    cdef const real* xi
    cdef const real* yi
    cdef const real* si = x.data
    cdef double totals[16]
    cdef double products[16]
    cdef vreal a = vsplat(0), b = vsplat(0), c = vsplat(0), d = vsplat(0)
    cdef vreal total = load_cols(dbeta, width) if accumulate and dbeta != NULL else vsplat(0)
    cdef vreal product = load_cols(dgamma, width) if accumulate and dgamma != NULL else vsplat(0)
    if groups == 1:
        step_x, step_y, step_s = x.ld, dy.ld, ld_s
    for u in range(ceil_div(x.rows, unit)):
        rows = min(unit, x.rows - u * unit)
        if groups > run:
            memset(totals, 0, sizeof(totals))
            memset(products, 0, sizeof(products))
        for q in range(ceil_div(groups, run)):
            a = b = c = d = vsplat(0)
            n = rows if groups == 1 else min(run, groups - q * run)
            for i in range(u * unit, u * unit + (1 if groups == 1 else rows)):
                xi = x.data + i * x.ld + q * run * step_x
                yi = dy.data + i * dy.ld + q * run * step_y
                if s != NULL:
                    si = s + i * ld_s + q * run * step_s
                for g in range(n // 2):
                    add_gradient(xi, yi, si, s == NULL, mean, width, &a, &b)
                    add_gradient(xi + step_x, yi + step_y, si + step_s, s == NULL, mean, width, &c, &d)
                    xi += 2 * step_x
                    yi += 2 * step_y
                    si += 2 * step_s
                if n % 2 == 1:
                    add_gradient(xi, yi, si, s == NULL, mean, width, &a, &b)
            a = a + c
            b = b + d
            if groups > run:
                add_lanes(a, totals)
                add_lanes(b, products)
        if groups > run:
            a = rounded(totals)
            b = rounded(products)
        total = total + a
        product = product + b * rstd
    if dgamma != NULL:
        store_cols(dgamma, product, width)
    if dbeta != NULL:
        store_cols(dbeta, total, width)


cdef void batch_gradient_sums(const Matrix* x, ChannelRange part, const real* mean, const real* rstd,
                              const Matrix* dy, real* dgamma, real* dbeta, bint accumulate) noexcept nogil:
    """dgamma = Σ dy·x̂ and dbeta = Σ dy for a range of channels, plus the old values if `accumulate`.

    dgamma or dbeta may be NULL.
    """
    cdef Py_ssize_t q, c
    cdef int width
    cdef real* gamma
    cdef real* beta
    for q in range(ceil_div(part.end - part.begin, VLEN)):
        c = part.begin + q * VLEN
        width = <int>min(part.end - c, <Py_ssize_t>VLEN)
        gamma = NULL if dgamma == NULL else dgamma + c
        beta = NULL if dbeta == NULL else dbeta + c
        if width == VLEN:
            gradient_sums(columns_from(x, c, x.cols), part.channels, NULL, 0, vload(mean + c),
                          vload(rstd + c), columns_from(dy, c, dy.cols), VLEN, gamma, beta, accumulate)
        else:
            gradient_sums(columns_from(x, c, x.cols), part.channels, NULL, 0, load_cols(mean + c, width),
                          load_cols(rstd + c, width), columns_from(dy, c, dy.cols), width, gamma, beta,
                          accumulate)


cdef void batch_input_gradient(const Matrix* x, Py_ssize_t channels, const real* mean, const real* rstd,
                               const real* gamma, const real* dgamma, const real* dbeta, double count,
                               const Matrix* dy, real* dx) noexcept nogil:
    """dx (m, n) = gamma·rstd·(dy − (dbeta + x̂·dgamma) / count), if the statistics are those of the batch.

    For fixed statistics, dgamma and dbeta are NULL, and dx = gamma·rstd·dy. dx has the same stride as x.
    """
    cdef Py_ssize_t groups = x.cols // channels
    cdef Py_ssize_t i, g, q, c, p
    cdef const real* xi
    cdef const real* di
    cdef real* dxi
    cdef int width
    cdef vreal d, r, xhat
    cdef vreal over = vsplat(<real>(1 / count))
    for i in range(x.rows):
        xi = x.data + i * x.ld
        di = dy.data + i * dy.ld
        dxi = dx + i * x.ld
        for g in range(groups):
            for q in range(ceil_div(channels, VLEN)):
                c = q * VLEN
                p = g * channels + c
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                d = load_cols(di + p, width)
                r = load_cols(rstd + c, width)
                if dbeta != NULL:
                    xhat = (load_cols(xi + p, width) - load_cols(mean + c, width)) * r
                    d = d - (load_cols(dbeta + c, width) + xhat * load_cols(dgamma + c, width)) * over
                store_cols(dxi + p, d * r * factor_of(gamma, c, width), width)


cdef void update_moving_average(Py_ssize_t n, const real* batch, double momentum, real* kept) noexcept nogil:
    """Update the moving average of a statistic: kept (n) = momentum·kept + (1 − momentum)·batch (n)."""
    cdef Py_ssize_t j
    for j in range(n):
        kept[j] = kept[j] * <real>momentum + batch[j] * <real>(1 - momentum)


# ---- within groups of channels of a sample ---------------------------------------------------------

cdef void share_in_groups(Py_ssize_t channels, Py_ssize_t groups, double epsilon, real* mean,
                          const real* variance, real* rstd) noexcept nogil:
    """Replace the mean of each channel by that of its group, and write the rstd of its group."""
    cdef Py_ssize_t n = channels // groups, g, c
    cdef double total, square, deviation
    for g in range(groups):
        total = square = 0
        for c in range(g * n, (g + 1) * n):
            total += mean[c]
        total /= n
        for c in range(g * n, (g + 1) * n):
            deviation = mean[c] - total
            square += variance[c] + deviation * deviation
        for c in range(g * n, (g + 1) * n):
            mean[c] = <real>total
            rstd[c] = reciprocal_root(square / n, epsilon)


cdef void group_sums(Py_ssize_t channels, Py_ssize_t groups, const real* gamma, const real* gradient,
                     real* total) noexcept nogil:
    """Write Σ gamma·gradient over each group to all of its channels."""
    cdef Py_ssize_t n = channels // groups, g, c
    cdef double sum
    for g in range(groups):
        sum = 0
        for c in range(g * n, (g + 1) * n):
            sum += gradient[c] * (<double>1 if gamma == NULL else gamma[c])
        for c in range(g * n, (g + 1) * n):
            total[c] = <real>sum


# ---- within a row --------------------------------------------------------------------------------

cdef inline void row_deviations(Py_ssize_t n, const real* x, real mean, double* first,
                                double* second) noexcept nogil:
    """first = Σ (x − mean) and second = Σ (x − mean)² over n elements."""
    cdef Py_ssize_t j
    cdef int width
    cdef vreal v, total = vsplat(0), squares = vsplat(0)
    first[0] = second[0] = 0
    for j in range(ceil_div(n, VLEN)):
        width = <int>min(n - j * VLEN, <Py_ssize_t>VLEN)
        v = load_cols(x + j * VLEN, width) - vsplat(mean)
        if width < VLEN:
            v = vkeep_n(v, width)
        total = total + v
        squares = squares + v * v
        end_run(j, &total, first)
        end_run(j, &squares, second)
    first[0] += vsum(total)
    second[0] += vsum(squares)


cdef void layer_normalize(const Matrix* x, Py_ssize_t channels, double epsilon, const real* gamma,
                          const real* beta, const Matrix* y, real* s, Py_ssize_t ld_s) noexcept nogil:
    """y (m, n) = gamma·x̂ + beta with the mean and variance of each group; y may alias x.

    Unless s is NULL, the mean and rstd of group g are written to s[i, 2g] and s[i, 2g + 1].
    """
    cdef Py_ssize_t groups = x.cols // channels
    cdef Py_ssize_t i, g, j, c
    cdef int width
    cdef real mean, rstd
    cdef double rest, square
    cdef vreal v
    cdef const real* xg
    for i in range(x.rows):
        for g in range(groups):
            xg = x.data + i * x.ld + g * channels
            # This mean is rounded; the mean deviation from it is used to correct the mean and the variance.
            mean = <real>(row_total(channels, xg) / channels)
            row_deviations(channels, xg, mean, &rest, &square)
            rest /= channels
            mean = <real>(mean + rest)
            rstd = reciprocal_root(max(0.0, square / channels - rest * rest), epsilon)
            for j in range(ceil_div(channels, VLEN)):
                c = j * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                v = (load_cols(xg + c, width) - vsplat(mean)) * vsplat(rstd) * factor_of(gamma, c, width)
                if beta != NULL:
                    v = v + load_cols(beta + c, width)
                store_cols(y.data + i * y.ld + g * channels + c, v, width)
            if s != NULL:
                s[i * ld_s + 2 * g] = mean
                s[i * ld_s + 2 * g + 1] = rstd


cdef void layer_gradient_sums(const Matrix* x, ChannelRange part, const real* s, Py_ssize_t ld_s,
                              const Matrix* dy, real* dgamma, real* dbeta, bint accumulate) noexcept nogil:
    """dgamma = Σ dy·x̂ and dbeta = Σ dy for a range of channels, plus the old values if `accumulate`.

    s holds the statistics of each group.
    """
    cdef Py_ssize_t q, c
    cdef int width
    cdef real* gamma
    cdef real* beta
    for q in range(ceil_div(part.end - part.begin, VLEN)):
        c = part.begin + q * VLEN
        width = <int>min(part.end - c, <Py_ssize_t>VLEN)
        gamma = NULL if dgamma == NULL else dgamma + c
        beta = NULL if dbeta == NULL else dbeta + c
        if width == VLEN:
            gradient_sums(columns_from(x, c, x.cols), part.channels, s, ld_s, vsplat(0), vsplat(1),
                          columns_from(dy, c, dy.cols), VLEN, gamma, beta, accumulate)
        else:
            gradient_sums(columns_from(x, c, x.cols), part.channels, s, ld_s, vsplat(0), vsplat(1),
                          columns_from(dy, c, dy.cols), width, gamma, beta, accumulate)


cdef void layer_input_gradient(const Matrix* x, Py_ssize_t channels, const real* s, Py_ssize_t ld_s,
                               const real* gamma, const Matrix* dy, real* dx) noexcept nogil:
    """dx (m, n) = rstd·(h − mean(h) − x̂·mean(h·x̂)) where h = gamma·dy and means are over each group."""
    cdef Py_ssize_t groups = x.cols // channels
    cdef Py_ssize_t i, g, j, c
    cdef int width
    cdef double sum, dot
    cdef vreal h, xhat, total, product, mean, rstd
    cdef const real* xg
    cdef const real* dyg
    for i in range(x.rows):
        for g in range(groups):
            xg = x.data + i * x.ld + g * channels
            dyg = dy.data + i * dy.ld + g * channels
            mean = vsplat(s[i * ld_s + 2 * g])
            rstd = vsplat(s[i * ld_s + 2 * g + 1])
            sum = dot = 0
            total = product = vsplat(0)
            for j in range(ceil_div(channels, VLEN)):
                c = j * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                h = load_cols(dyg + c, width) * factor_of(gamma, c, width)
                xhat = (load_cols(xg + c, width) - mean) * rstd
                total = total + h
                product = product + h * xhat
                end_run(j, &total, &sum)
                end_run(j, &product, &dot)
            total = vsplat(<real>((sum + vsum(total)) / channels))
            product = vsplat(<real>((dot + vsum(product)) / channels))
            for j in range(ceil_div(channels, VLEN)):
                c = j * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                h = load_cols(dyg + c, width) * factor_of(gamma, c, width)
                xhat = (load_cols(xg + c, width) - mean) * rstd
                store_cols(dx + i * x.ld + g * channels + c, rstd * (h - total - xhat * product), width)
