"""Random contrast and brightness: y = clip(factor·x + shift), with a shift for each channel of each image."""

cdef void channel_means(const IntensitySettings* s, Py_ssize_t n, double factor, const real* x,
                        real* line) noexcept nogil:
    """line = factor·(the mean of each channel of the image x of n elements), for one row of its pixels."""
    cdef Py_ssize_t c = s.channels, pixels = n // max(<Py_ssize_t>1, c), q, j
    cdef Grid grid = grid_of(pixels, 1, c, 1)
    cdef double total[16]
    cdef int width, k
    if n == 0:
        return
    memset(total, 0, sizeof(total))
    for q in range(ceil_div(c, VLEN)):
        width = <int>min(c - q * VLEN, <Py_ssize_t>VLEN)
        grid_sum(&grid, x + q * VLEN, width, False, vsplat(0), total)
        for k in range(width):
            line[q * VLEN + k] = <real>(factor * total[k] / pixels)
    for j in range(c, s.width * c):
        line[j] = line[j - c]


cdef real intensity_line(const IntensitySettings* s, Py_ssize_t n, uint64_t row, const real* x,
                         real* line) noexcept nogil:
    """Return the factor of the image x of n elements; line = the shifts of a row of its pixels.

    The random number comes from the stream `row`.
    """
    cdef double number = s.low + uniform(row, 0) * (s.high - s.low)
    cdef Py_ssize_t j
    if s.contrast:
        channel_means(s, n, 1 - number, x, line)
        return <real>number
    for j in range(s.width * s.channels):
        line[j] = <real>number
    return 1


cdef void change_intensity(const IntensitySettings* s, const Matrix* x, const Matrix* y, uint64_t key,
                           Py_ssize_t first, real* line) noexcept nogil:
    """y (m, n) = the images x (m, n) with another contrast or brightness.

    The random number for image i depends only on the key and on its position in the epoch, first + i. line is
    scratch for one row of pixels.
    """
    cdef Py_ssize_t length = s.width * s.channels, i, r, q, p
    cdef int cols
    cdef real factor
    cdef vreal v, low = vsplat(<real>s.minimum), high = vsplat(<real>s.maximum)
    for i in range(x.rows):
        factor = intensity_line(s, x.cols, subkey(key, <uint64_t>(first + i)), x.data + i * x.ld, line)
        for r in range(x.cols // max(<Py_ssize_t>1, length)):
            for q in range(ceil_div(length, VLEN)):
                p = r * length + q * VLEN
                cols = <int>min(length - q * VLEN, <Py_ssize_t>VLEN)
                v = vsplat(factor) * load_cols(x.data + i * x.ld + p, cols) + load_cols(line + q * VLEN, cols)
                store_cols(y.data + i * y.ld + p, vmin(high, vmax(low, v)), cols)


cdef void intensity_backward(const IntensitySettings* s, const Matrix* x, const Matrix* dy, const Matrix* dx,
                             uint64_t key, Py_ssize_t first, real* line) noexcept nogil:
    """dx (m, n) = the input gradient of `change_intensity`; clipped pixels have none."""
    cdef Py_ssize_t length = s.width * s.channels, i, r, q, p
    cdef int cols
    cdef real factor
    cdef vreal v, g, low = vsplat(<real>s.minimum), high = vsplat(<real>s.maximum), zero = vsplat(0)
    cdef real* out
    for i in range(x.rows):
        out = dx.data + i * dx.ld
        factor = intensity_line(s, x.cols, subkey(key, <uint64_t>(first + i)), x.data + i * x.ld, line)
        for r in range(x.cols // max(<Py_ssize_t>1, length)):
            for q in range(ceil_div(length, VLEN)):
                p = r * length + q * VLEN
                cols = <int>min(length - q * VLEN, <Py_ssize_t>VLEN)
                v = vsplat(factor) * load_cols(x.data + i * x.ld + p, cols) + load_cols(line + q * VLEN, cols)
                g = load_cols(dy.data + i * dy.ld + p, cols)
                g = vselect(vgt(low, v), zero, vselect(vgt(v, high), zero, g))
                store_cols(out + p, g, cols)
        if not s.contrast:
            continue
        # The mean depends on all pixels of the channel.
        channel_means(s, x.cols, 1 - factor, out, line)
        for p in range(x.cols):
            out[p] = factor * out[p] + line[p % length]
