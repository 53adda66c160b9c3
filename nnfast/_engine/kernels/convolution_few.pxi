"""Convolution with few filters, such as the last one of a decoder: a vector has the pixels of a row.

The tiles of convolution_dense.pxi have the filters in their lanes, most of which would be idle. Here, images
are copied channel by channel, so that the pixels of a row are adjacent. Each element of y is accumulated in
the same order, so results are bit-identical.
"""

cdef enum:
    FEW_ROWS = 4    # rows of output pixels in a tile


cdef inline bint has_few_filters(const Window* win) noexcept nogil:
    """Return whether pixels fill more lanes than filters; the copy has to pay for itself."""
    return (win.groups == 1 and win.stride_w == 1 and 4 * win.out_c <= VLEN and 2 * win.out_w >= VLEN
            and win.kernel_h * win.kernel_w > 1)


# The planes of an image: one per channel, with a border of zeros if there is padding.
ctypedef struct Planes:
    real* data
    Py_ssize_t pitch        # distance between rows of pixels
    Py_ssize_t plane        # distance between channels


cdef Planes planes_of(const Window* win, const Layout* l, real* data) noexcept nogil:
    return Planes(data, l.pitch // win.c, l.image // win.c)


cdef void copy_planes(const Window* win, bint padded, const real* x, const Planes* to) noexcept nogil:
    """Copy an image channel by channel."""
    cdef Py_ssize_t r, top = win.top if padded else 0, left = win.left if padded else 0
    if padded:
        memset(to.data, 0, win.c * to.plane * sizeof(real))
    for r in range(win.h):
        transpose_back(win.w, win.c, x + r * win.w * win.c, win.c, to.data + (top + r) * to.pitch + left,
                       to.plane)


cdef inline void few_tile(int nv, const Window* win, const Planes* x, const real* w, real start,
                          Py_ssize_t row, Py_ssize_t col, vreal* out) noexcept nogil:
    """Compute FEW_ROWS rows of nv vectors of output pixels for one filter; nv is a compile-time constant."""
    cdef vreal acc[FEW_ROWS][2]
    cdef const real* at[FEW_ROWS]
    cdef const real* p
    cdef vreal factor
    cdef Py_ssize_t r, k, c, channels = win.c, filters = win.out_c, plane = x.plane
    cdef int i, j
    for i in range(FEW_ROWS):
        for j in range(nv):
            acc[i][j] = vsplat(start)
    for r in range(win.kernel_h):
        for k in range(win.kernel_w):
            for i in range(FEW_ROWS):
                at[i] = (x.data + (min(row + i, win.out_h - 1) * win.stride_h + r * win.dilation_h) * x.pitch
                         + col + k * win.dilation_w)
            for c in range(channels):
                factor = vsplat(w[0])
                w += filters
                for i in range(FEW_ROWS):
                    p = at[i] + c * plane
                    for j in range(nv):
                        acc[i][j] = acc[i][j] + vload(p + j * VLEN) * factor
    for i in range(FEW_ROWS):
        for j in range(nv):
            out[i * nv + j] = acc[i][j]


cdef void few_convolve(const Window* win, const Matrix* x, const real* w, const real* b, const Matrix* y,
                       bint relu, real* scratch) noexcept nogil:
    """`convolve` image by image, with the pixels of a row in the lanes."""
    cdef Layout l = layout_of(win, 0, 0, False, False, NULL)
    cdef Planes planes = planes_of(win, &l, scratch)
    cdef vreal lower_bound = vsplat(0 if relu else -INFINITY)
    cdef vreal sums[2 * FEW_ROWS]
    cdef real lanes[16]
    cdef real* out
    cdef Py_ssize_t i, f, q, row, col, n
    cdef int r, j, k, nv
    for i in range(x.rows):
        copy_planes(win, l.padded, x.data + i * x.ld, &planes)
        for q in range(ceil_div(win.out_h, FEW_ROWS) * ceil_div(win.out_w, 2 * VLEN)):
            row = q // ceil_div(win.out_w, 2 * VLEN) * FEW_ROWS
            col = q % ceil_div(win.out_w, 2 * VLEN) * 2 * VLEN
            nv = 2 if win.out_w - col > VLEN else 1
            for f in range(win.out_c):
                if nv == 2:
                    few_tile(2, win, &planes, w + f, 0 if b == NULL else b[f], row, col, sums)
                else:
                    few_tile(1, win, &planes, w + f, 0 if b == NULL else b[f], row, col, sums)
                for r in range(<int>min(<Py_ssize_t>FEW_ROWS, win.out_h - row)):
                    for j in range(nv):
                        out = y.data + i * y.ld + ((row + r) * win.out_w + col + j * VLEN) * win.out_c + f
                        n = min(<Py_ssize_t>VLEN, win.out_w - col - j * VLEN)
                        vstore(lanes, vmax(lower_bound, sums[r * nv + j]))
                        for k in range(n):
                            out[k * win.out_c] = lanes[k]


cdef Py_ssize_t few_scratch(const Window* win, const Layout* l) noexcept nogil:
    """Return the scratch size in elements; a tile reads up to two vectors past the last row."""
    return l.image + 2 * VLEN if has_few_filters(win) else 0
