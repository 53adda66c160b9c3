"""Depthwise convolution of images (h, w, c): each channel has its own `multiplier` filters.

Output channel o is channel·multiplier + filter, as in the memory layout of Keras kernels (kernel_h,
kernel_w, c, multiplier). The kernel is thus a matrix w[k, o] with a row for each position k in the window.
One vector of output channels is computed at a time. For this purpose, the input is copied with each channel
repeated `multiplier` times.

    y[p, o]  = Σ_k x[patch(p) + offset(k), o] · w[k, o] + b[o]
    dx[patch(p) + offset(k), channel] += Σ_filter dz[p, o] · w[k, o]
    dw[k, o] = Σ_p x[patch(p) + offset(k), o] · dz[p, o]
"""

cdef Window repeated(const Window* win) noexcept nogil:
    """Return the window for images in which each channel is repeated once per filter."""
    cdef Window wide = win[0]
    wide.c = wide.out_c
    wide.groups = wide.out_c
    return wide


cdef Layout depthwise_layout(const Window* win, Py_ssize_t ldy, real* scratch) noexcept nogil:
    """Return the layout for one image at a time, with repeated channels; even unpadded images are copied."""
    cdef Window wide = repeated(win)
    cdef Layout l = layout_of(&wide, 0, ldy, False, False, scratch)
    if not l.padded:
        l.work = l.border + l.image + 16
    return l


cdef void repeat_in(const Window* win, const Layout* l, const real* x) noexcept nogil:
    """Copy an image into the buffer with a border of zeros; each channel is repeated once per filter."""
    cdef Py_ssize_t r, p, c, d, times = win.out_c // win.c
    cdef real* to
    memset(l.border, 0, l.image * sizeof(real))
    for r in range(win.h):
        to = l.border + (win.top + r) * l.pitch + win.left * win.out_c
        if times == 1:
            memcpy(to, x + r * win.w * win.c, win.w * win.c * sizeof(real))
            continue
        for p in range(win.w * win.c):
            for d in range(times):
                to[p * times + d] = x[r * win.w * win.c + p]


cdef void repeat_out(const Window* win, const Layout* l, real* dx) noexcept nogil:
    """Write to dx the gradients in the copy of an image, summed over the filters of each channel."""
    cdef Py_ssize_t r, p, d, times = win.out_c // win.c
    cdef const real* inner
    cdef real total
    for r in range(win.h):
        inner = l.border + (win.top + r) * l.pitch + win.left * win.out_c
        for p in range(win.w * win.c):
            total = inner[p * times]
            for d in range(1, times):
                total += inner[p * times + d]
            dx[r * win.w * win.c + p] = total


cdef void depthwise(const Window* win, const Matrix* x, const real* w, const real* b, const Matrix* y,
                    bint relu, real* scratch) noexcept nogil:
    """y = depthwise convolution of x with w, plus b; b may be NULL, and a ReLU is fused if `relu`."""
    cdef Layout l = depthwise_layout(win, y.ld, scratch)
    cdef Py_ssize_t i, p, q, k, o
    cdef vreal total, lower_bound = vsplat(0 if relu else -INFINITY)
    cdef const real* patch
    cdef int cols
    for i in range(x.rows):
        repeat_in(win, &l, x.data + i * x.ld)
        for p in range(l.pixels):
            for q in range(ceil_div(win.out_c, VLEN)):
                o = q * VLEN
                cols = <int>min(<Py_ssize_t>VLEN, win.out_c - o)
                patch = l.border + l.patch[p] + o
                total = vsplat(0) if b == NULL else load_cols(b + o, cols)
                for k in range(l.k):
                    total = total + (load_cols(patch + l.offset[k], cols)
                                     * load_cols(w + k * win.out_c + o, cols))
                store_cols(y.data + i * y.ld + l.out_offset[p] + o, vmax(lower_bound, total), cols)


cdef void depthwise_input(const Window* win, const Matrix* dz, const real* w, const Matrix* dx,
                          real* scratch) noexcept nogil:
    """Compute dx, the input gradient of m images, one image at a time."""
    cdef Layout l = depthwise_layout(win, dz.ld, scratch)
    cdef Py_ssize_t i, p, q, k, o
    cdef vreal d
    cdef real* patch
    cdef int cols
    for i in range(dz.rows):
        memset(l.border, 0, l.image * sizeof(real))
        for p in range(l.pixels):
            for q in range(ceil_div(win.out_c, VLEN)):
                o = q * VLEN
                cols = <int>min(<Py_ssize_t>VLEN, win.out_c - o)
                patch = l.border + l.patch[p] + o
                d = load_cols(dz.data + i * dz.ld + l.out_offset[p] + o, cols)
                for k in range(l.k):
                    store_cols(patch + l.offset[k], load_cols(patch + l.offset[k], cols)
                               + d * load_cols(w + k * win.out_c + o, cols), cols)
        repeat_out(win, &l, dx.data + i * dx.ld)


cdef void depthwise_weight(const Window* win, const Matrix* x, const Matrix* dz, Py_ssize_t k0, Py_ssize_t k1,
                           real* dw, bint accumulate, real* scratch) noexcept nogil:
    """Compute rows k0 … k1 − 1 of dw (k, out_c), summed over m images; if `accumulate`, add them to dw."""
    cdef Layout l = depthwise_layout(win, dz.ld, scratch)
    cdef Py_ssize_t i, p, q, k, o, r
    cdef vreal image, run
    cdef const real* a
    cdef int cols
    for i in range(x.rows):
        repeat_in(win, &l, x.data + i * x.ld)
        for q in range(ceil_div(win.out_c, VLEN)):
            o = q * VLEN
            cols = <int>min(<Py_ssize_t>VLEN, win.out_c - o)
            for k in range(k0, k1):
                image = vsplat(0)
                a = l.border + l.offset[k] + o
                for r in range(ceil_div(l.pixels, TERMS)):
                    run = vsplat(0)
                    for p in range(r * TERMS, min((r + 1) * TERMS, l.pixels)):
                        run = run + (load_cols(a + l.patch[p], cols)
                                     * load_cols(dz.data + i * dz.ld + l.out_offset[p] + o, cols))
                    image = image + run
                if accumulate or i > 0:
                    image = image + load_cols(dw + k * win.out_c + o, cols)
                store_cols(dw + k * win.out_c + o, image, cols)


cdef Py_ssize_t depthwise_scratch(const Window* win) noexcept nogil:
    """Return the scratch size of the depthwise convolution kernels, in elements."""
    return (depthwise_layout(win, 0, NULL).work - <real*>NULL) + 32
