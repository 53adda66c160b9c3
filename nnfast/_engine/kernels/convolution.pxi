"""Convolutions and their gradients, also for transposed ones: the choice between the kernels.

If the convolution is followed by a ReLU or max pooling, dz often consists mostly of zeros. The kernels in
convolution_sparse.pxi skip the multiplications by these zeros. All kernels give bit-identical results for
finite numbers, so the choice may depend on the data.
"""

cdef void convolve(const Window* win, const Matrix* x, const real* w, const real* b, const Matrix* y,
                   bint relu, real* scratch) noexcept nogil:
    """y = x ∗ w + b: x (m, h·w·c), w (k, out_c), b (out_c) or NULL, y (m, out_h·out_w·out_c).

    relu: whether a ReLU is fused. scratch has convolution_scratch(win) elements. x and b must be readable up
    to one vector past their ends.
    """
    if has_few_filters(win):
        few_convolve(win, x, w, b, y, relu, scratch)
    else:
        dense_convolve(win, x, w, b, y, relu, scratch)


cdef void convolve_input(const Window* win, const Matrix* dz, const real* w, const Matrix* dx,
                         real* scratch) noexcept nogil:
    """Compute dx, the input gradient of m images.

    The shapes are dz (m, out_h·out_w·out_c), w (k, out_c) and dx (m, h·w·c).
    """
    cdef Layout l = layout_of(win, dx.ld, dz.ld, True, False, scratch)
    if can_be_sparse(win, &l) and is_sparse(dz, l.pixels * l.f):
        sparse_convolve_input(win, dz, w, dx, scratch)
    elif is_narrow(win, &l):
        narrow_convolve_input(win, &l, dz, w, dx)
    else:
        dense_convolve_input(win, &l, dz, w, dx)


cdef void convolve_weight(const Window* win, const Matrix* x, const Matrix* dz, Py_ssize_t k0, Py_ssize_t k1,
                          real* dw, bint accumulate, real* scratch) noexcept nogil:
    """Compute rows k0 … k1 − 1 of dw (k, out_c), summed over m images; if `accumulate`, add them to dw.

    The zero-skipping kernel has the elements of a patch in its lanes, the dense kernel has the filters. With
    few filters, the former is faster even without zeros.
    """
    cdef Layout l = layout_of(win, x.ld, dz.ld, False, worth_slicing(win), scratch)
    if can_be_sparse(win, &l) and (4 * l.f <= VLEN or is_sparse(dz, l.pixels * l.f)):
        sparse_convolve_weight(win, x, dz, k0, k1, dw, accumulate, scratch)
    else:
        dense_convolve_weight(win, &l, x, dz, k0, k1, dw, accumulate)


cdef void convolve_bias(Py_ssize_t channels, const Matrix* dz, real* db, bint accumulate) noexcept nogil:
    """db = Σ dz over all pixels of m images, plus the old db if `accumulate`.

    dz must be readable up to one vector past its last pixel.
    """
    cdef Grid grid = grid_of(dz.rows, dz.cols // channels, dz.ld, channels)
    cdef double total[16]
    cdef vreal v
    cdef Py_ssize_t q, f
    cdef int cols
    for q in range(ceil_div(channels, VLEN)):
        f = q * VLEN
        cols = <int>min(channels - f, <Py_ssize_t>VLEN)
        grid_sum(&grid, dz.data + f, VLEN, False, vsplat(0), total)
        v = rounded(total)
        store_cols(db + f, load_cols(db + f, cols) + v if accumulate else v, cols)


cdef void add_channels(Py_ssize_t channels, const real* b, bint relu, const Matrix* y,
                       real* scratch) noexcept nogil:
    """y += b in every pixel of m images, then a ReLU if `relu`; b may be NULL.

    The bias is repeated until it fills whole vectors. scratch has `channels` vectors.
    """
    cdef Py_ssize_t i, q, j
    cdef vreal v, lower_bound = vsplat(0 if relu else -INFINITY)
    cdef int cols
    if b == NULL and not relu:
        return
    for j in range(channels * VLEN):
        scratch[j] = 0 if b == NULL else b[j % channels]
    for i in range(y.rows):
        j = 0
        for q in range(ceil_div(y.cols, VLEN)):
            cols = <int>min(y.cols - q * VLEN, <Py_ssize_t>VLEN)
            v = load_cols(y.data + i * y.ld + q * VLEN, cols) + vload(scratch + j * VLEN)
            store_cols(y.data + i * y.ld + q * VLEN, vmax(lower_bound, v), cols)
            j = j + 1 if j + 1 < channels else 0


cdef Py_ssize_t convolution_scratch(const Window* win) noexcept nogil:
    """Return the scratch size of the convolution kernels, in elements."""
    cdef Layout l = layout_of(win, 0, 0, False, False, NULL)
    cdef Layout sliced = layout_of(win, 0, 0, False, worth_slicing(win), NULL)
    cdef Py_ssize_t height = ceil_div(l.f, VLEN) * VLEN
    cdef Py_ssize_t dense = max(max(l.k, height) * PANEL, <Py_ssize_t>BAND)
    cdef Py_ssize_t weight = (sliced.work - <real*>NULL) + SUM_PIXELS * PANEL
    dense = max(dense, narrow_scratch(win, &l))
    weight = max(weight, few_scratch(win, &l))
    return max((l.work - <real*>NULL) + max(dense, sparse_scratch(win, &l)), weight) + 32
