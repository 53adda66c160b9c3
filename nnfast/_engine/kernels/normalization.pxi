"""Normalization over the batch (Ioffe, Szegedy 2015) and within a row (Ba, Kiros, Hinton 2016).

A row is `groups` times `channels` elements: group g of row i begins at x + i·ldx + g·channels.
Everywhere x̂ = (x − mean)·rstd with rstd = 1/√(variance + ε), and y = gamma·x̂ + beta; gamma and
beta may be NULL. Sums over the batch are of channels c0 … c1, so that threads can share them out.
"""

cdef inline real reciprocal_root(double variance, double epsilon) noexcept nogil:
    """1/√(variance + ε), the root at least 1e-7 as in Keras' Normalization: constant features stay finite."""
    return <real>(1 / max(1e-7, sqrt(variance + epsilon)))


cdef inline vreal factor_of(const real* gamma, Py_ssize_t c, int width) noexcept nogil:
    return vsplat(1) if gamma == NULL else load_cols(gamma + c, width)


cdef void normalize(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, const real* x, Py_ssize_t ldx,
                    const real* mean, const real* rstd, const real* gamma, const real* beta, real* y,
                    Py_ssize_t ldy) noexcept nogil:
    """y = gamma·x̂ + beta with a mean and an rstd for each channel."""
    cdef Py_ssize_t i, g, q, c
    cdef int width
    cdef vreal v
    for i in range(m):
        for g in range(groups):
            for q in range(blocks(channels, VLEN)):
                c = q * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                v = load_cols(x + i * ldx + g * channels + c, width) - load_cols(mean + c, width)
                v = v * (load_cols(rstd + c, width) * factor_of(gamma, c, width))
                if beta != NULL:
                    v = v + load_cols(beta + c, width)
                store_cols(y + i * ldy + g * channels + c, v, width)


# ---- over the batch ------------------------------------------------------------------------------

cdef inline vreal column_sum(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, const real* x,
                             Py_ssize_t ldx, int width, bint squares, vreal mean) noexcept nogil:
    """Σ x, or Σ (x − mean)², over all rows and groups, in four strands of rows."""
    cdef vreal strand[4]
    cdef vreal v
    cdef Py_ssize_t i, g
    for i in range(4):
        strand[i] = vsplat(0)
    for i in range(m):
        for g in range(groups):
            v = load_cols(x + i * ldx + g * channels, width) - mean
            strand[i & 3] = strand[i & 3] + (v * v if squares else v)
    return (strand[0] + strand[1]) + (strand[2] + strand[3])


cdef void batch_statistics(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t c0,
                           Py_ssize_t c1, const real* x, Py_ssize_t ldx, double epsilon, real* mean,
                           real* variance, real* rstd) noexcept nogil:
    """The variance is that of the batch itself (divided by the count), as in Keras."""
    cdef Py_ssize_t q, c
    cdef int width, k
    cdef vreal v, count = vsplat(<real>(m * groups))
    for q in range(blocks(c1 - c0, VLEN)):
        c = c0 + q * VLEN
        width = <int>min(c1 - c, <Py_ssize_t>VLEN)
        v = column_sum(m, groups, channels, x + c, ldx, width, False, vsplat(0)) / count
        store_cols(mean + c, v, width)
        v = column_sum(m, groups, channels, x + c, ldx, width, True, v) / count
        store_cols(variance + c, v, width)
        for k in range(width):
            rstd[c + k] = reciprocal_root(variance[c + k], epsilon)


cdef void batch_gradient_sums(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t c0,
                              Py_ssize_t c1, const real* x, Py_ssize_t ldx, const real* mean,
                              const real* rstd, const real* dy, Py_ssize_t ldy, real* dgamma,
                              real* dbeta, bint accumulate) noexcept nogil:
    """dgamma = (dgamma +) Σ dy·x̂, dbeta = (dbeta +) Σ dy; either may be NULL."""
    cdef Py_ssize_t i, g, q, c, p
    cdef int width
    cdef vreal d, xm, total, product
    for q in range(blocks(c1 - c0, VLEN)):
        c = c0 + q * VLEN
        width = <int>min(c1 - c, <Py_ssize_t>VLEN)
        total = product = vsplat(0)
        for i in range(m):
            for g in range(groups):
                p = g * channels + c
                d = load_cols(dy + i * ldy + p, width)
                xm = load_cols(x + i * ldx + p, width) - load_cols(mean + c, width)
                total = total + d
                product = product + d * xm
        product = product * load_cols(rstd + c, width)
        if dgamma != NULL:
            store_cols(dgamma + c, product + load_cols(dgamma + c, width) if accumulate else product, width)
        if dbeta != NULL:
            store_cols(dbeta + c, total + load_cols(dbeta + c, width) if accumulate else total, width)


cdef void batch_input_gradient(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, const real* x,
                               Py_ssize_t ldx, const real* mean, const real* rstd, const real* gamma,
                               const real* dgamma, const real* dbeta, double count, const real* dy,
                               Py_ssize_t ldy, real* dx) noexcept nogil:
    """dx = gamma·rstd·(dy − (dbeta + x̂·dgamma) / count), the statistics being the batch's own;
    with given ones dgamma and dbeta are NULL, and dx = gamma·rstd·dy."""
    cdef Py_ssize_t i, g, q, c, p
    cdef int width
    cdef vreal d, r, xhat
    cdef vreal over = vsplat(<real>(1 / count))
    for i in range(m):
        for g in range(groups):
            for q in range(blocks(channels, VLEN)):
                c = q * VLEN
                p = g * channels + c
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                d = load_cols(dy + i * ldy + p, width)
                r = load_cols(rstd + c, width)
                if dbeta != NULL:
                    xhat = (load_cols(x + i * ldx + p, width) - load_cols(mean + c, width)) * r
                    d = d - (load_cols(dbeta + c, width) + xhat * load_cols(dgamma + c, width)) * over
                store_cols(dx + i * ldx + p, d * r * factor_of(gamma, c, width), width)


cdef void keep_average(Py_ssize_t n, const real* batch, double momentum, real* kept) noexcept nogil:
    """kept = momentum·kept + (1 − momentum)·batch"""
    cdef Py_ssize_t j
    for j in range(n):
        kept[j] = kept[j] * <real>momentum + batch[j] * <real>(1 - momentum)


# ---- within a row --------------------------------------------------------------------------------

cdef void layer_normalize(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, const real* x,
                          Py_ssize_t ldx, double epsilon, const real* gamma, const real* beta, real* y,
                          Py_ssize_t ldy, real* s, Py_ssize_t ld_s) noexcept nogil:
    """y from each group's own mean and variance; s[i, 2g] = mean, s[i, 2g + 1] = rstd unless NULL."""
    cdef Py_ssize_t i, g, j, c
    cdef int width
    cdef real mean, rest, rstd
    cdef vreal total, squares, v
    cdef const real* xg
    for i in range(m):
        for g in range(groups):
            xg = x + i * ldx + g * channels
            total = vsplat(0)
            for j in range(blocks(channels, VLEN)):
                total = total + load_cols(xg + j * VLEN, <int>min(channels - j * VLEN, <Py_ssize_t>VLEN))
            # The sum of large numbers is rough: what is left of it mends mean and variance.
            mean = vsum(total) / <real>channels
            total = squares = vsplat(0)
            for j in range(blocks(channels, VLEN)):
                width = <int>min(channels - j * VLEN, <Py_ssize_t>VLEN)
                v = load_cols(xg + j * VLEN, width) - vsplat(mean)
                if width < VLEN:
                    v = vkeep_n(v, width)
                total = total + v
                squares = squares + v * v
            rest = vsum(total) / <real>channels
            mean = mean + rest
            rstd = reciprocal_root(max(<real>0, vsum(squares) / <real>channels - rest * rest), epsilon)
            for j in range(blocks(channels, VLEN)):
                c = j * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                v = (load_cols(xg + c, width) - vsplat(mean)) * vsplat(rstd) * factor_of(gamma, c, width)
                if beta != NULL:
                    v = v + load_cols(beta + c, width)
                store_cols(y + i * ldy + g * channels + c, v, width)
            if s != NULL:
                s[i * ld_s + 2 * g] = mean
                s[i * ld_s + 2 * g + 1] = rstd


cdef void layer_gradient_sums(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t c0,
                              Py_ssize_t c1, const real* x, Py_ssize_t ldx, const real* s,
                              Py_ssize_t ld_s, const real* dy, Py_ssize_t ldy, real* dgamma, real* dbeta,
                              bint accumulate) noexcept nogil:
    """dgamma and dbeta as in batch_gradient_sums, each one chain over all rows, however many at a time."""
    cdef Py_ssize_t i, g, q, c, p
    cdef int width
    cdef vreal d, xhat, total, product
    for q in range(blocks(c1 - c0, VLEN)):
        c = c0 + q * VLEN
        width = <int>min(c1 - c, <Py_ssize_t>VLEN)
        total = load_cols(dbeta + c, width) if accumulate and dbeta != NULL else vsplat(0)
        product = load_cols(dgamma + c, width) if accumulate and dgamma != NULL else vsplat(0)
        for i in range(m):
            for g in range(groups):
                p = g * channels + c
                d = load_cols(dy + i * ldy + p, width)
                xhat = ((load_cols(x + i * ldx + p, width) - vsplat(s[i * ld_s + 2 * g]))
                        * vsplat(s[i * ld_s + 2 * g + 1]))
                total = total + d
                product = product + d * xhat
        if dgamma != NULL:
            store_cols(dgamma + c, product, width)
        if dbeta != NULL:
            store_cols(dbeta + c, total, width)


cdef void layer_input_gradient(Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, const real* x,
                               Py_ssize_t ldx, const real* s, Py_ssize_t ld_s, const real* gamma,
                               const real* dy, Py_ssize_t ldy, real* dx) noexcept nogil:
    """dx = rstd·(h − mean of h − x̂ · mean of h·x̂) with h = gamma·dy, within each group."""
    cdef Py_ssize_t i, g, j, c
    cdef int width
    cdef vreal h, xhat, total, product, mean, rstd
    cdef const real* xg
    cdef const real* dyg
    for i in range(m):
        for g in range(groups):
            xg = x + i * ldx + g * channels
            dyg = dy + i * ldy + g * channels
            mean = vsplat(s[i * ld_s + 2 * g])
            rstd = vsplat(s[i * ld_s + 2 * g + 1])
            total = product = vsplat(0)
            for j in range(blocks(channels, VLEN)):
                c = j * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                h = load_cols(dyg + c, width) * factor_of(gamma, c, width)
                xhat = (load_cols(xg + c, width) - mean) * rstd
                total = total + h
                product = product + h * xhat
            total = vsplat(vsum(total) / <real>channels)
            product = vsplat(vsum(product) / <real>channels)
            for j in range(blocks(channels, VLEN)):
                c = j * VLEN
                width = <int>min(channels - c, <Py_ssize_t>VLEN)
                h = load_cols(dyg + c, width) * factor_of(gamma, c, width)
                xhat = (load_cols(xg + c, width) - mean) * rstd
                store_cols(dx + i * ldx + g * channels + c, rstd * (h - total - xhat * product), width)
