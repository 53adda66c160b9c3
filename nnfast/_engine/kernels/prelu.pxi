"""The parametric ReLU (He et al., 2015): f(x) = x if x > 0, else alpha·x, with a trainable alpha.

If the threshold is +∞ instead of 0, it is the product of x and trainable factors.

A row has `groups` × `channels` elements, and alpha has one element per channel.
"""

cdef void prelu_product(const Matrix* x, real threshold, Py_ssize_t channels, const real* alpha,
                        const Matrix* s, const Matrix* y) noexcept nogil:
    """y (m, n) = s if x > threshold, else alpha·s.

    This is f(x) if s is x, and the gradient of x if s is that of f(x).
    """
    cdef bint shared = channels == 1
    cdef Py_ssize_t width_of_group = x.cols if shared else channels
    cdef Py_ssize_t i, g, q, c, at
    cdef int width
    cdef vreal v, slope = vsplat(alpha[0]), limit = vsplat(threshold)
    for i in range(x.rows):
        for g in range(x.cols // width_of_group):
            at = g * width_of_group
            for q in range(ceil_div(width_of_group, VLEN)):
                c = q * VLEN
                width = <int>min(width_of_group - c, <Py_ssize_t>VLEN)
                if not shared:
                    slope = load_cols(alpha + c, width)
                v = load_cols(s.data + i * s.ld + at + c, width)
                v = vselect(vgt(load_cols(x.data + i * x.ld + at + c, width), limit), v, slope * v)
                store_cols(y.data + i * y.ld + at + c, v, width)


cdef inline vreal product_below(real threshold, const real* x, const real* dy, int width) noexcept nogil:
    """Return dy·min(x, threshold)."""
    return load_cols(dy, width) * vmin(vsplat(threshold), load_cols(x, width))


cdef void slope_sums(const Matrix* x, real threshold, Py_ssize_t channels, Py_ssize_t c, const Matrix* dy,
                     int width, real* dalpha, bint accumulate) noexcept nogil:
    """dalpha = Σ dy·min(x, threshold) for `width` channels from channel c on; add it if `accumulate`.

    A single channel has all lanes. Units of rows are summed separately, as in `gradient_sums`.
    """
    cdef bint shared = channels == 1
    cdef Py_ssize_t step = VLEN if shared else channels
    cdef Py_ssize_t groups = ceil_div(x.cols, step), unit = unit_rows(groups), u, i, g, p, n
    cdef double totals[16]
    cdef vreal run, total = load_cols(dalpha, width) if accumulate else vsplat(0)
    cdef int cols = width, k
    for u in range(ceil_div(x.rows, unit)):
        memset(totals, 0, sizeof(totals))
        run = vsplat(0)
        n = 0
        for i in range(u * unit, min((u + 1) * unit, x.rows)):
            for g in range(groups):
                p = c + g * step
                if shared:
                    cols = <int>min(x.cols - p, <Py_ssize_t>VLEN)
                run = run + product_below(threshold, x.data + i * x.ld + p, dy.data + i * dy.ld + p, cols)
                n += 1
                if n % TERMS == 0:
                    add_lanes(run, totals)
                    run = vsplat(0)
        add_lanes(run, totals)
        if shared:
            for k in range(1, VLEN):
                totals[0] += totals[k]
        total = total + rounded(totals)
    store_cols(dalpha, total, width)


cdef void prelu_slope_gradient(const Matrix* x, real threshold, ChannelRange part, const Matrix* dy,
                               real* dalpha, bint accumulate) noexcept nogil:
    """dalpha = Σ dy·min(x, threshold) for a range of channels, plus the old values if `accumulate`."""
    cdef Py_ssize_t q, c
    for q in range(ceil_div(part.end - part.begin, VLEN)):
        c = part.begin + q * VLEN
        slope_sums(x, threshold, part.channels, c, dy, <int>min(part.end - c, <Py_ssize_t>VLEN), dalpha + c,
                   accumulate)
