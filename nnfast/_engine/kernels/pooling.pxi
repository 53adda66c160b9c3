"""Pooling of images (h, w, c), channels last, a vector of channels at a time.

Windows may overlap and reach into the padding, where nothing counts: a maximum is over the pixels that
are there, and so is a mean.
"""

# The part of a window that lies in the image.
ctypedef struct Box:
    Py_ssize_t y0, y1, x0, x1


cdef inline Box box_of(const Window* win, Py_ssize_t row, Py_ssize_t col) noexcept nogil:
    cdef Box box
    box.y0 = max(<Py_ssize_t>0, row * win.stride_h - win.top)
    box.y1 = min(win.h, row * win.stride_h - win.top + win.kernel_h)
    box.x0 = max(<Py_ssize_t>0, col * win.stride_w - win.left)
    box.x1 = min(win.w, col * win.stride_w - win.left + win.kernel_w)
    return box


cdef inline vreal box_max(const Box* box, const real* x, Py_ssize_t w, Py_ssize_t c, int cols) noexcept nogil:
    cdef vreal most = vsplat(-INFINITY)
    cdef Py_ssize_t i, j
    for i in range(box.y0, box.y1):
        for j in range(box.x0, box.x1):
            most = vmax(most, load_cols(x + (i * w + j) * c, cols))
    return most


cdef inline vreal box_sum(const Box* box, const real* x, Py_ssize_t w, Py_ssize_t c, int cols) noexcept nogil:
    cdef vreal total = vsplat(0)
    cdef Py_ssize_t i, j
    for i in range(box.y0, box.y1):
        for j in range(box.x0, box.x1):
            total = total + load_cols(x + (i * w + j) * c, cols)
    return total


cdef void pool(const Window* win, bint largest, Py_ssize_t m, const real* x, Py_ssize_t ldx, real* y,
               Py_ssize_t ldy) noexcept nogil:
    """y = the largest element of each window, or its mean."""
    cdef Py_ssize_t i, row, col, q, c = win.c
    cdef real* out
    cdef vreal share
    cdef Box box
    cdef int cols
    for i in range(m):
        for row in range(win.out_h):
            for col in range(win.out_w):
                box = box_of(win, row, col)
                share = vsplat(<real>(1.0 / <double>((box.y1 - box.y0) * (box.x1 - box.x0))))
                out = y + i * ldy + (row * win.out_w + col) * c
                for q in range(blocks(c, VLEN)):
                    cols = <int>min(<Py_ssize_t>VLEN, c - q * VLEN)
                    if largest:
                        store_cols(out + q * VLEN, box_max(&box, x + i * ldx + q * VLEN, win.w, c, cols), cols)
                    else:
                        store_cols(out + q * VLEN,
                                   share * box_sum(&box, x + i * ldx + q * VLEN, win.w, c, cols), cols)


cdef inline void box_max_back(const Box* box, const real* x, Py_ssize_t w, Py_ssize_t c, int cols, vreal y,
                              vreal dy, real* dx) noexcept nogil:
    """dy is added where the window first has its maximum y."""
    cdef Py_ssize_t i, j, p
    cdef vreal zero = vsplat(0)
    cdef vmask below
    for i in range(box.y0, box.y1):
        for j in range(box.x0, box.x1):
            p = (i * w + j) * c
            below = vgt(y, load_cols(x + p, cols))
            store_cols(dx + p, load_cols(dx + p, cols) + vselect(below, zero, dy), cols)
            dy = vselect(below, dy, zero)


cdef inline void box_add(const Box* box, Py_ssize_t w, Py_ssize_t c, int cols, vreal d,
                         real* dx) noexcept nogil:
    cdef Py_ssize_t i, j, p
    for i in range(box.y0, box.y1):
        for j in range(box.x0, box.x1):
            p = (i * w + j) * c
            store_cols(dx + p, load_cols(dx + p, cols) + d, cols)


cdef void pool_back(const Window* win, bint largest, Py_ssize_t m, const real* x, Py_ssize_t ldx,
                    const real* y, const real* dy, Py_ssize_t ldy, bint relu, real* dx) noexcept nogil:
    """dx of pool; with relu, x is what a relu made and dx the gradient before it."""
    cdef Py_ssize_t i, row, col, q, p, c = win.c
    cdef vreal share, d, zero = vsplat(0)
    cdef Box box
    cdef int cols
    for i in range(m):
        memset(dx + i * ldx, 0, win.h * win.w * c * sizeof(real))
        for row in range(win.out_h):
            for col in range(win.out_w):
                box = box_of(win, row, col)
                share = vsplat(<real>(1.0 / <double>((box.y1 - box.y0) * (box.x1 - box.x0))))
                for q in range(blocks(c, VLEN)):
                    cols = <int>min(<Py_ssize_t>VLEN, c - q * VLEN)
                    p = i * ldy + (row * win.out_w + col) * c + q * VLEN
                    d = load_cols(dy + p, cols)
                    if largest:
                        if relu:
                            d = vselect(vgt(load_cols(y + p, cols), zero), d, zero)
                        box_max_back(&box, x + i * ldx + q * VLEN, win.w, c, cols, load_cols(y + p, cols), d,
                                     dx + i * ldx + q * VLEN)
                    else:
                        box_add(&box, win.w, c, cols, share * d, dx + i * ldx + q * VLEN)
