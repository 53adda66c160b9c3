"""Resampling of images: padding, resizing, flipping, shifting, cropping, zooming, rotating.

Each row of a matrix is an image of height × width × channels. The transformations are linear and, except for
the rotation, separable: a pixel row of the output combines at most two pixel rows of the input, and a column
at most two columns. One kernel and its transpose therefore suffice, with one table of source positions and
weights per axis.
"""

cdef double TWO_PI = 6.283185307179586


# A row or column of the output is wa·(row or column a of the input) + wb·(row or column b). If a < 0, the
# row or column is empty; if b < 0, there is no second term.
ctypedef struct Tap:
    Py_ssize_t a, b
    Py_ssize_t run      # number of positions, from this one on, that copy a, a + 1, …; 0: not a copy
    real wa, wb


# ---- sources of the output's rows and columns ----------------------------------------------------

cdef inline double uniform(uint64_t row, int number) noexcept nogil:
    """Return the random number with this index in the row's stream, uniformly distributed in [0, 1)."""
    return <double>(subkey(row, <uint64_t>number) >> 11) * (1.0 / 9007199254740992.0)


cdef Py_ssize_t bordered(Py_ssize_t place, Py_ssize_t n, int border) noexcept nogil:
    """Return the position in 0 … n − 1 to which the border mode maps `place`, or −1 if there is none."""
    cdef Py_ssize_t period = 2 * n if border == BORDER_REFLECT else n
    if 0 <= place < n:
        return place
    if border == BORDER_CONSTANT:
        return -1
    if border == BORDER_NEAREST:
        return 0 if place < 0 else n - 1
    place %= period
    if place < 0:   # C's remainder has the sign of the dividend
        place += period
    return place if place < n else period - 1 - place


cdef Tap tap_at(double at, Py_ssize_t n, int border, bint smooth) noexcept nogil:
    """Return the tap for position `at`: interpolated if `smooth`, else the nearest pixel (ties to even)."""
    cdef Tap tap
    cdef double lower = floor(at) if smooth else rint(at)
    tap.run = 0
    tap.wb = <real>(at - lower) if smooth else <real>0
    tap.wa = 1 - tap.wb
    tap.a = bordered(<Py_ssize_t>lower, n, border)
    tap.b = bordered(<Py_ssize_t>lower + 1, n, border) if tap.wb > 0 else -1
    if tap.a < 0:
        tap.a, tap.b, tap.wa = tap.b, -1, tap.wb
    return tap


cdef void find_runs(Py_ssize_t n, Tap* taps) noexcept nogil:
    """Mark runs of positions that are contiguous in input and output, so that each run is copied at once."""
    cdef Py_ssize_t j
    for j in range(n - 1, -1, -1):
        if taps[j].a >= 0 and taps[j].b < 0 and taps[j].wa == 1:
            taps[j].run = 1
            if j + 1 < n and taps[j + 1].run > 0 and taps[j + 1].a == taps[j].a + 1:
                taps[j].run += taps[j + 1].run


cdef inline double drawn(const Resampling* s, int axis, uint64_t row) noexcept nogil:
    """Return the random number of an axis between its `low` and its `high`, from the stream `row`."""
    return s.low[axis] + uniform(row, 0 if s.joint else axis) * (s.high[axis] - s.low[axis])


cdef void axis_taps(const Resampling* s, int axis, bint training, uint64_t row, Tap* taps) noexcept nogil:
    """Write the taps of rows (axis 0) or columns (axis 1); random numbers come from the stream `row`."""
    cdef Py_ssize_t n = s.n_in[axis], m = s.n_out[axis], i
    cdef double size = s.high[axis] - s.low[axis], step = 1, start = 0, at
    cdef double least = -INFINITY, most = INFINITY
    cdef bint fits = s.n_in[0] >= s.n_out[0] and s.n_in[1] >= s.n_out[1]
    cdef bint stretched = s.kind == RESAMPLE_STRETCH or s.kind == RESAMPLE_CROP and not (training and fits)
    if stretched:
        # The centre of output pixel i is at (i + ½)·step in the source.
        least = s.low[axis]
        most = s.high[axis] - 1
        step = size / m
        start = least + 0.5 * step - 0.5
    elif training and s.kind == RESAMPLE_CROP:
        start = floor(uniform(row, axis) * (n - m + 1))
    elif training and s.kind == RESAMPLE_FLIP and s.high[axis] != 0 and uniform(row, axis) < 0.5:
        start = n - 1
        step = -1
    elif training and s.kind == RESAMPLE_SHIFT:
        start = -drawn(s, axis, row) * n
    elif training and s.kind == RESAMPLE_ZOOM:
        step = 1 + drawn(s, axis, row)
        start = 0.5 * (n - 1) * (1 - step)
    for i in range(m):
        if stretched and not s.smooth:
            at = least + floor((i + 0.5) * size / m)
        else:
            at = min(max(start + i * step, least), most)
        taps[i] = tap_at(at, n, s.border, s.smooth)
    find_runs(m, taps)


# ---- the kernel and its transpose ----------------------------------------------------------------

cdef inline real tap_weight(const Tap* tap) noexcept nogil:
    """Return the total weight of input pixels in this row or column; the fill value has the rest."""
    return (tap.wa if tap.a >= 0 else <real>0) + (tap.wb if tap.b >= 0 else <real>0)


cdef inline void add_run(Py_ssize_t n, real weight, const real* x, real* y) noexcept nogil:
    """y (n) += weight·x (n)."""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] += weight * x[i]


cdef void columns_of(Py_ssize_t m, Py_ssize_t c, const Tap* taps, const real* x, real* y) noexcept nogil:
    """y (m, c) = the column taps applied to x, a row of pixels with c channels."""
    cdef Py_ssize_t j = 0, k
    cdef const Tap* t
    cdef const real* a
    cdef const real* b
    while j < m:
        t = &taps[j]
        a = x + t.a * c
        b = x + t.b * c
        if t.run > 0:
            copy_row(a, t.run * c, y + j * c)
        elif t.a < 0:
            memset(y + j * c, 0, c * sizeof(real))
        elif t.b < 0:
            for k in range(c):
                y[j * c + k] = t.wa * a[k]
        else:
            for k in range(c):
                y[j * c + k] = t.wa * a[k] + t.wb * b[k]
        j += max(<Py_ssize_t>1, t.run)


cdef void columns_backward(Py_ssize_t m, Py_ssize_t c, const Tap* taps, const real* dy,
                           real* dx) noexcept nogil:
    """dx += the transpose of `columns_of`, applied to dy (m, c)."""
    cdef Py_ssize_t j = 0
    cdef const Tap* t
    while j < m:
        t = &taps[j]
        if t.a >= 0:
            add_run(max(<Py_ssize_t>1, t.run) * c, t.wa, dy + j * c, dx + t.a * c)
        if t.b >= 0:
            add_run(c, t.wb, dy + j * c, dx + t.b * c)
        j += max(<Py_ssize_t>1, t.run)


cdef void add_fill(Py_ssize_t n, real value, real* y) noexcept nogil:
    """y (n) += value."""
    cdef Py_ssize_t q
    cdef int cols
    for q in range(ceil_div(n, VLEN)):
        cols = <int>min(n - q * VLEN, <Py_ssize_t>VLEN)
        store_cols(y + q * VLEN, load_cols(y + q * VLEN, cols) + vsplat(value), cols)


cdef void image_forward(const Resampling* s, const Tap* rows, const Tap* columns, const real* x, real* y,
                        real* line) noexcept nogil:
    """y = the image x after resampling; `line` is scratch for one row of its pixels."""
    cdef Py_ssize_t c = s.channels, width = s.n_in[1] * c, i, j
    cdef const real* a
    cdef const real* b
    cdef const Tap* t
    cdef real* out
    cdef real rest
    for i in range(s.n_out[0]):
        t = &rows[i]
        a = x + t.a * width
        b = x + t.b * width
        out = y + i * s.n_out[1] * c
        if t.run > 0 and i > 0 and rows[i - 1].run > 0 and rows[i - 1].a == t.a:
            memcpy(out, out - s.n_out[1] * c, s.n_out[1] * c * sizeof(real))    # repeats the row above
            continue
        if t.a < 0:
            memset(out, 0, s.n_out[1] * c * sizeof(real))
        elif t.run > 0:
            columns_of(s.n_out[1], c, columns, a, out)
        else:
            for j in range(width):
                line[j] = t.wa * a[j] + t.wb * b[j] if t.b >= 0 else t.wa * a[j]
            columns_of(s.n_out[1], c, columns, line, out)
        if s.fill != 0:
            for j in range(s.n_out[1]):
                rest = 1 - tap_weight(t) * tap_weight(&columns[j])
                if rest != 0:
                    add_fill(c, <real>s.fill * rest, out + j * c)


cdef void image_backward(const Resampling* s, const Tap* rows, const Tap* columns, const real* dy, real* dx,
                         real* line) noexcept nogil:
    """dx = the transpose of `image_forward`, applied to dy."""
    cdef Py_ssize_t c = s.channels, width = s.n_in[1] * c, i
    cdef const Tap* t
    cdef const real* out
    memset(dx, 0, s.n_in[0] * width * sizeof(real))
    for i in range(s.n_out[0]):
        t = &rows[i]
        out = dy + i * s.n_out[1] * c
        if t.run > 0:
            columns_backward(s.n_out[1], c, columns, out, dx + t.a * width)
        elif t.a >= 0:
            memset(line, 0, width * sizeof(real))
            columns_backward(s.n_out[1], c, columns, out, line)
            add_run(width, t.wa, line, dx + t.a * width)
            if t.b >= 0:
                add_run(width, t.wb, line, dx + t.b * width)


# ---- rotation, which is not separable --------------------------------------------------------------

cdef int corners_at(const Resampling* s, double row, double column, Py_ssize_t* pixels,
                    real* weights) noexcept nogil:
    """Write the up to 4 input pixels around this position and their weights; return how many there are.

    weights[4] = 1 − their sum.
    """
    cdef Tap v = tap_at(row, s.n_in[0], s.border, s.smooth), h = tap_at(column, s.n_in[1], s.border, s.smooth)
    cdef Py_ssize_t above = v.a * s.n_in[1], below = v.b * s.n_in[1]
    cdef int n = 0
    if v.a >= 0 and h.a >= 0:
        pixels[n], weights[n], n = above + h.a, v.wa * h.wa, n + 1
    if v.a >= 0 and h.b >= 0:
        pixels[n], weights[n], n = above + h.b, v.wa * h.wb, n + 1
    if v.b >= 0 and h.a >= 0:
        pixels[n], weights[n], n = below + h.a, v.wb * h.wa, n + 1
    if v.b >= 0 and h.b >= 0:
        pixels[n], weights[n], n = below + h.b, v.wb * h.wb, n + 1
    weights[4] = 1 - tap_weight(&v) * tap_weight(&h)
    return n


cdef inline bint blend_inside(const Resampling* s, double row, double column, const real* x,
                              real* y) noexcept nogil:
    """y (channels) = the pixel of x at this position; return False if that takes the general case.

    That is where the border mode matters, or where a pixel would have weight 0.
    """
    cdef double top = floor(row) if s.smooth else rint(row)
    cdef double left = floor(column) if s.smooth else rint(column)
    cdef real v = <real>(row - top), h = <real>(column - left)
    cdef Py_ssize_t c = s.channels, width = s.n_in[1] * c, k
    cdef const real* a
    cdef const real* b
    if not (0 <= top < s.n_in[0] - s.smooth and 0 <= left < s.n_in[1] - s.smooth):
        return False
    a = x + <Py_ssize_t>top * width + <Py_ssize_t>left * c
    b = a + width
    if not s.smooth:
        for k in range(c):
            y[k] = a[k]
        return True
    for k in range(c):
        y[k] = (1 - v) * ((1 - h) * a[k] + h * a[c + k]) + v * ((1 - h) * b[k] + h * b[c + k])
    return v > 0 and h > 0


cdef void rotate_image(const Resampling* s, double angle, bint backward, const real* x,
                       real* y) noexcept nogil:
    """y = the image x, turned counterclockwise; if `backward`, y += the transpose, applied to x."""
    cdef Py_ssize_t c = s.channels, i, j, k, p
    cdef double sine = sin(angle), cosine = cos(angle), row, column
    cdef double middle = 0.5 * (s.n_in[0] - 1), centre = 0.5 * (s.n_in[1] - 1)
    cdef Py_ssize_t pixels[4]
    cdef real weights[5]
    cdef vreal v
    cdef int n, q, cols
    for i in range(s.n_in[0]):
        for j in range(s.n_in[1]):
            row = middle + (sine * (j - centre) + cosine * (i - middle))
            column = centre + (cosine * (j - centre) - sine * (i - middle))
            p = (i * s.n_in[1] + j) * c
            if not backward and blend_inside(s, row, column, x, y + p):
                continue
            n = corners_at(s, row, column, pixels, weights)
            for k in range(ceil_div(c, VLEN)):
                p = (i * s.n_in[1] + j) * c + k * VLEN
                cols = <int>min(c - k * VLEN, <Py_ssize_t>VLEN)
                if backward:
                    v = load_cols(x + p, cols)
                    for q in range(n):
                        p = pixels[q] * c + k * VLEN
                        store_cols(y + p, load_cols(y + p, cols) + vsplat(weights[q]) * v, cols)
                else:
                    v = vsplat(<real>s.fill * weights[4])
                    for q in range(n):
                        v = v + vsplat(weights[q]) * load_cols(x + pixels[q] * c + k * VLEN, cols)
                    store_cols(y + p, v, cols)


# ---- all images of a matrix ------------------------------------------------------------------------

cdef void resample(const Resampling* s, const Matrix* x, const Matrix* y, bint training, uint64_t key,
                   Py_ssize_t first, real* scratch) noexcept nogil:
    """y (m, n_out) = the images x (m, n_in) after resampling.

    The random numbers for image i depend only on the key and on its position in the epoch, first + i. scratch
    has 8·(output height + output width) + input width·channels elements.
    """
    cdef Tap* rows = <Tap*>scratch
    cdef Tap* columns = rows + s.n_out[0]
    cdef real* line = <real*>(columns + s.n_out[1])
    cdef uint64_t row
    cdef Py_ssize_t i
    for i in range(x.rows):
        row = subkey(key, <uint64_t>(first + i))
        if s.kind == RESAMPLE_ROTATE:
            rotate_image(s, TWO_PI * drawn(s, 0, row) if training else 0, False, x.data + i * x.ld,
                         y.data + i * y.ld)
            continue
        if i == 0 or (training and s.kind >= RESAMPLE_FLIP):
            axis_taps(s, 0, training, row, rows)
            axis_taps(s, 1, training, row, columns)
        image_forward(s, rows, columns, x.data + i * x.ld, y.data + i * y.ld, line)


cdef void resample_backward(const Resampling* s, const Matrix* dy, const Matrix* dx, bint training,
                            uint64_t key, Py_ssize_t first, real* scratch) noexcept nogil:
    """dx (m, n_in) = the input gradient of `resample`; random numbers are regenerated, not stored."""
    cdef Tap* rows = <Tap*>scratch
    cdef Tap* columns = rows + s.n_out[0]
    cdef real* line = <real*>(columns + s.n_out[1])
    cdef uint64_t row
    cdef Py_ssize_t i
    for i in range(dy.rows):
        row = subkey(key, <uint64_t>(first + i))
        if s.kind == RESAMPLE_ROTATE:
            memset(dx.data + i * dx.ld, 0, dx.cols * sizeof(real))
            rotate_image(s, TWO_PI * drawn(s, 0, row) if training else 0, True, dy.data + i * dy.ld,
                         dx.data + i * dx.ld)
            continue
        if i == 0 or (training and s.kind >= RESAMPLE_FLIP):
            axis_taps(s, 0, training, row, rows)
            axis_taps(s, 1, training, row, columns)
        image_backward(s, rows, columns, dy.data + i * dy.ld, dx.data + i * dx.ld, line)
