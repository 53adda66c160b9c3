"""The input gradient of a convolution from images with few channels, whose patches fill less than a panel.

The panels of dense_convolve_input have elements of one segment only, so one row of a 4 × 4 window over one
channel would fill 4 lanes of a vector. Here, a panel has whole patches. Their gradients are written to a
buffer and then added to dx, segment by segment, in the same order. Results are bit-identical.
"""

cdef inline bint is_narrow(const Window* win, const Layout* l) noexcept nogil:
    """Return whether patches have several segments, fit into a panel, and their gradients into BAND."""
    return (win.groups == 1 and l.segments > 1 and l.k <= PANEL and l.images * l.pixels * PANEL <= BAND)


cdef inline Py_ssize_t narrow_scratch(const Window* win, const Layout* l) noexcept nogil:
    """Return the scratch size in elements, not counting the layout's tables and buffer."""
    if not is_narrow(win, l):
        return 0
    return ceil_div(l.f, VLEN) * VLEN * PANEL + l.images * l.pixels * PANEL + reals_of(l.images * l.pixels)


cdef void add_patches(const Layout* l, Py_ssize_t pixels, const real* patches, real* images) noexcept nogil:
    """Add patches (pixels, PANEL) to the elements of the images that form them, segment by segment."""
    cdef Py_ssize_t s, p, j
    cdef const real* patch
    cdef real* out
    cdef int cols
    for s in range(l.segments):
        for p in range(pixels):
            patch = patches + p * PANEL + s * l.length
            out = images + l.patch[p] + l.segment[s]
            for j in range(ceil_div(l.length, VLEN)):
                cols = <int>(l.length - j * VLEN)
                store_cols(out + j * VLEN,
                           load_cols(out + j * VLEN, cols) + load_cols(patch + j * VLEN, cols), cols)


cdef void narrow_convolve_input(const Window* win, const Layout* layout, const Matrix* dz, const real* w,
                                const Matrix* dx) noexcept nogil:
    """convolve_input with whole patches in a panel."""
    cdef Layout l = layout[0]
    cdef real* patches = l.work + ceil_div(l.f, VLEN) * VLEN * PANEL
    cdef int32_t* rows = <int32_t*>(patches + l.images * l.pixels * PANEL)
    cdef Py_ssize_t first = 0, i, n
    cdef real* images
    cdef Tile t
    pack_transposed(l.k, l.f, w, win.out_c, l.work)
    for i in range(l.images * l.pixels):
        rows[i] = <int32_t>(i * PANEL)
    t.patch = rows
    t.out_offset = l.out_offset
    t.depth = l.f
    t.b = l.work
    t.start = ZEROS
    t.out = patches
    t.cols = VLEN if l.k <= VLEN else PANEL
    while first < dz.rows:
        n = min(l.images, dz.rows - first)
        t.z = dz.data + first * dz.ld
        t.pixels = n * l.pixels
        run_panel(INPUT, &t)
        images = dx.data + first * dx.ld
        if l.padded:
            images = l.border
            memset(images, 0, n * l.image * sizeof(real))
        else:
            for i in range(n):
                memset(images + i * dx.ld, 0, win.h * win.w * win.c * sizeof(real))
        add_patches(&l, t.pixels, patches, images)
        if l.padded:
            copy_out(win, &l, n, dx.data + first * dx.ld, dx.ld)
        first += n
