"""Pooling of images (h, w, c), channels last, a vector of channels at a time.

Windows may overlap and extend into the padding. Maxima and means are taken over pixels of the image only.
"""

cdef enum:
    POOL_MAX = 1    # flag of the backward pass: max pooling instead of average pooling
    POOL_ADD = 2    # flag of the backward pass: windows overlap, so gradients are added

# The pixels of a window that lie in the image: rows y0 … y1 − 1, columns x0 … x1 − 1.
ctypedef struct Box:
    Py_ssize_t y0, y1, x0, x1


cdef inline Box box_of(const Window* win, Py_ssize_t row, Py_ssize_t col) noexcept nogil:
    """Return the box of the window that is pooled into output pixel (row, col)."""
    cdef Box box
    box.y0 = max(<Py_ssize_t>0, row * win.stride_h - win.top)
    box.y1 = min(win.h, row * win.stride_h - win.top + win.kernel_h)
    box.x0 = max(<Py_ssize_t>0, col * win.stride_w - win.left)
    box.x1 = min(win.w, col * win.stride_w - win.left + win.kernel_w)
    return box


cdef inline vreal read(bint whole, const real* p, int cols) noexcept nogil:
    """Load `cols` elements, or a whole vector if `whole`.

    Here and below, `whole` is a compile-time constant at every call site.
    """
    return vload(p) if whole else load_cols(p, cols)


cdef inline void write(bint whole, real* p, vreal v, int cols) noexcept nogil:
    """Store `cols` elements, or a whole vector if `whole`."""
    if whole:
        vstore(p, v)
    else:
        store_cols(p, v, cols)


cdef inline vreal box_value(bint whole, bint largest, const Box* box, const real* x, Py_ssize_t w,
                            Py_ssize_t c, int cols) noexcept nogil:
    """Return the maximum (`largest`) or the sum over a box, for a vector of channels."""
    cdef vreal total = vsplat(-INFINITY if largest else 0)
    cdef vreal v
    cdef Py_ssize_t i, j
    for i in range(box.y0, box.y1):
        for j in range(box.x0, box.x1):
            v = read(whole, x + (i * w + j) * c, cols)
            total = vmax(total, v) if largest else total + v
    return total


cdef void mean_of_many(const Box* box, const real* x, Py_ssize_t w, Py_ssize_t c, real* y) noexcept nogil:
    """y (c) = the mean over a window of more than TERMS pixels, whose sum needs float64."""
    cdef Grid grid = grid_of(box.y1 - box.y0, box.x1 - box.x0, w * c, c)
    cdef const real* first = x + (box.y0 * w + box.x0) * c
    cdef Py_ssize_t q
    cdef int k, cols
    cdef double total[16]
    for q in range(ceil_div(c, VLEN)):
        cols = <int>min(c - q * VLEN, <Py_ssize_t>VLEN)
        grid_sum(&grid, first + q * VLEN, cols, False, vsplat(0), total)
        for k in range(VLEN):
            total[k] /= box_count(box)
        store_cols(y + q * VLEN, rounded(total), cols)


cdef inline vreal square_max(const real* x, Py_ssize_t w, Py_ssize_t c) noexcept nogil:
    """Return the maximum over 2 × 2 pixels, the most common window."""
    cdef const real* below = x + w * c
    return vmax(vmax(vload(x), vload(x + c)), vmax(vload(below), vload(below + c)))


cdef inline Py_ssize_t box_count(const Box* box) noexcept nogil:
    """Return the number of pixels in a box."""
    return (box.y1 - box.y0) * (box.x1 - box.x0)


cdef inline void pool_pixel(const Window* win, bint largest, const Box* box, const real* x,
                            real* y) noexcept nogil:
    """y (c) = the maximum or mean over one window, for all channels."""
    cdef vreal share = vsplat(<real>(1.0 / <double>box_count(box)))
    cdef Py_ssize_t q, c = win.c, whole = c // VLEN
    cdef int cols = <int>(c - whole * VLEN)
    cdef vreal v
    if not largest and box_count(box) > TERMS:
        mean_of_many(box, x, win.w, c, y)
        return
    if largest and box.y1 - box.y0 == 2 and box.x1 - box.x0 == 2:
        for q in range(whole):
            vstore(y + q * VLEN, square_max(x + (box.y0 * win.w + box.x0) * c + q * VLEN, win.w, c))
    elif largest:
        for q in range(whole):
            vstore(y + q * VLEN, box_value(True, True, box, x + q * VLEN, win.w, c, VLEN))
    else:
        for q in range(whole):
            vstore(y + q * VLEN, share * box_value(True, False, box, x + q * VLEN, win.w, c, VLEN))
    if cols > 0:
        v = box_value(False, largest, box, x + whole * VLEN, win.w, c, cols)
        vstore_n(y + whole * VLEN, v if largest else share * v, cols)


cdef inline void pool(const Window* win, bint largest, const Matrix* x, const Matrix* y) noexcept nogil:
    """y (m, out_h·out_w·c) = the maximum (`largest`) or mean over each window of x (m, h·w·c)."""
    cdef Py_ssize_t i, row, col
    cdef const real* image
    cdef real* pooled
    cdef Box box
    for i in range(x.rows):
        image = x.data + i * x.ld
        pooled = y.data + i * y.ld
        for row in range(win.out_h):
            for col in range(win.out_w):
                box = box_of(win, row, col)
                pool_pixel(win, largest, &box, image, pooled)
                pooled += win.c


cdef inline void box_backward(bint whole, bint largest, bint add, const Box* box, const real* x, Py_ssize_t w,
                              Py_ssize_t c, int cols, vreal y, vreal d, real* dx) noexcept nogil:
    """Write d to dx at every pixel of the window; if `largest`, only where x first equals y, and 0 elsewhere.

    If `add`, these values are added to dx instead.
    """
    cdef Py_ssize_t i, j, p
    cdef vreal v, zero = vsplat(0)
    cdef vmask below
    for i in range(box.y0, box.y1):
        for j in range(box.x0, box.x1):
            p = (i * w + j) * c
            v = d
            if largest:
                below = vgt(y, read(whole, x + p, cols))
                v = vselect(below, zero, d)
                d = vselect(below, d, zero)
            write(whole, dx + p, read(whole, dx + p, cols) + v if add else v, cols)


cdef inline vreal give(const real* x, vreal y, vreal d, real* dx) noexcept nogil:
    """Write dx = d if x is the maximum y, else 0. Return the gradient left for later pixels: 0 or d."""
    cdef vreal zero = vsplat(0)
    cdef vmask below = vgt(y, vload(x))
    vstore(dx, vselect(below, zero, d))
    return vselect(below, d, zero)


cdef inline void square_backward(const real* x, Py_ssize_t w, Py_ssize_t c, vreal y, vreal d,
                                 real* dx) noexcept nogil:
    """box_backward for max pooling over 2 × 2 pixels, with whole vectors and windows that do not overlap."""
    d = give(x, y, d, dx)
    d = give(x + c, y, d, dx + c)
    d = give(x + w * c, y, d, dx + w * c)
    give(x + w * c + c, y, d, dx + w * c + c)


cdef inline void pool_pixel_backward(int mode, const Window* win, bint relu, const Box* box, const real* x,
                                     const real* y, const real* dy, real* dx) noexcept nogil:
    """Compute dx for one window and all channels; `mode` is a compile-time constant at every call site."""
    cdef bint largest = mode & POOL_MAX != 0, add = mode & POOL_ADD != 0
    cdef vreal share = vsplat(<real>(1.0 / <double>box_count(box)))
    cdef Py_ssize_t q, c = win.c, whole = c // VLEN
    cdef int cols = <int>(c - whole * VLEN)
    cdef Py_ssize_t first = (box.y0 * win.w + box.x0) * c
    cdef bint square = largest and not add and box.y1 - box.y0 == 2 and box.x1 - box.x0 == 2
    cdef vreal d, v, zero = vsplat(0)
    for q in range(whole):
        d = vload(dy + q * VLEN)
        v = vload(y + q * VLEN)
        if not largest:
            d = share * d
        elif relu:
            d = vselect(vgt(v, zero), d, zero)
        if square:
            square_backward(x + first + q * VLEN, win.w, c, v, d, dx + first + q * VLEN)
        else:
            box_backward(True, largest, add, box, x + q * VLEN, win.w, c, VLEN, v, d, dx + q * VLEN)
    if cols > 0:
        d = vload_n(dy + whole * VLEN, cols)
        v = vload_n(y + whole * VLEN, cols)
        if not largest:
            d = share * d
        elif relu:
            d = vselect(vgt(v, zero), d, zero)
        box_backward(False, largest, add, box, x + whole * VLEN, win.w, c, cols, v, d, dx + whole * VLEN)


cdef inline void pool_backward(const Window* win, bint largest, const Matrix* x, const real* y,
                               const Matrix* dy, bint relu, real* dx) noexcept nogil:
    """dx (m, h·w·c) = the input gradient of `pool`; dx has the same stride as x.

    relu (max pooling only): x is the output of a ReLU, and dx is the gradient with respect to that ReLU's
    pre-activation.
    """
    cdef Py_ssize_t i, row, col, p
    cdef bint apart = win.stride_h >= win.kernel_h and win.stride_w >= win.kernel_w
    cdef bint covered = (win.stride_h == win.kernel_h and win.out_h * win.kernel_h >= win.h
                         and win.stride_w == win.kernel_w and win.out_w * win.kernel_w >= win.w)
    cdef const real* out_gradient = dy.data
    cdef const real* image
    cdef real* dimage
    cdef Box box
    for i in range(x.rows):
        image = x.data + i * x.ld
        dimage = dx + i * x.ld
        if not covered:
            memset(dimage, 0, win.h * win.w * win.c * sizeof(real))
        p = i * dy.ld
        for row in range(win.out_h):
            for col in range(win.out_w):
                box = box_of(win, row, col)
                if largest and apart:
                    pool_pixel_backward(POOL_MAX, win, relu, &box, image, y + p, out_gradient + p, dimage)
                elif largest:
                    pool_pixel_backward(POOL_MAX | POOL_ADD, win, relu, &box, image, y + p, out_gradient + p,
                                        dimage)
                elif apart:
                    pool_pixel_backward(0, win, relu, &box, image, y + p, out_gradient + p, dimage)
                else:
                    pool_pixel_backward(POOL_ADD, win, relu, &box, image, y + p, out_gradient + p, dimage)
                p += win.c
