"""Dense convolution of images (h, w, c), channels last: three products, computed with register tiles.

w is a matrix [k, f] in the memory layout of Keras kernels: k runs over the kernel rows, the kernel columns
and the input channels of a group, f over the filters. patch(p) is the vector of inputs of output pixel p,
indexed by k. dz is a matrix [p, f].

    forward   y[p, f]     = Σ_k patch(p)[k] · w[k, f] + b[f]
    backward  dpatch[p,k] = Σ_f dz[p, f] · w[k, f],  added to dx at the position of the patch
              dw[k, f]    = Σ_p patch(p)[k] · dz[p, f],  db[f] = Σ_p dz[p, f]

Patches are never copied. Element k of the patch of pixel p is x[patch[p] + offset[k]]; each call computes
the integer tables `patch` and `offset`. A segment is a range of k whose elements are contiguous in x. Small
images are processed in bundles of several images, so that there are enough pixels for the register tiles.
Images with padding are copied into a buffer with a border of zeros, one bundle at a time. For dw, images with
at least VLEN channels and a single group are copied in slices of VLEN channels.

Each element of y is accumulated in the order of k, and each element of dw in the order of p, regardless of
the tile that computes it. Results therefore do not depend on the number of images or threads. An element of
dx is a sum of elements of dpatch, each of which is accumulated in the order of f. The elements of dpatch are
added in the order of the kernel rows and, within a kernel row, in the order of the output columns, regardless
of how segments are divided into panels.
"""

cdef enum:
    BUNDLE_PIXELS = 192     # maximum number of output pixels in a bundle of several images
    SUM_PIXELS = 192        # maximum number of pixels summed into dw at a time
    BAND = 65536            # elements of w packed at a time, but at least one panel


# Sizes derived from a window, and pointers to its tables and buffers in scratch.
ctypedef struct Layout:
    Py_ssize_t pixels               # number of pixels in an output image
    Py_ssize_t images               # images per bundle
    Py_ssize_t c, f                 # input channels and filters per group
    Py_ssize_t k                    # number of elements in a patch
    Py_ssize_t segments, length     # number of segments, and number of elements in each
    bint padded                     # whether images are copied into a buffer with a border of zeros
    bint sliced                     # whether the copy has VLEN channels of all pixels, then the next VLEN, …
    Py_ssize_t pixel                # distance between adjacent pixels, in elements
    Py_ssize_t pitch                # distance between rows of pixels
    Py_ssize_t image                # distance between images in the copy
    Py_ssize_t slice                # distance between slices in a sliced copy
    int32_t* patch                  # offset in x of the patch of each output pixel in a bundle
    int32_t* out_offset             # offset in y of each output pixel
    int32_t* offset                 # offset of each element within a patch
    int32_t* segment                # offset of each segment within a patch
    real* border                    # buffer for the copy of a bundle, with a border of zeros
    real* work                      # the rest of scratch


cdef inline Py_ssize_t whole_lines(Py_ssize_t n) noexcept nogil:
    """Return n rounded up to whole cache lines, so that vectors at multiples of VLEN do not cross lines."""
    return ceil_div(n, 16) * 16


cdef inline Py_ssize_t reals_of(Py_ssize_t integers) noexcept nogil:
    """Return the number of elements that hold this many 32-bit integers, plus at least one cache line."""
    return whole_lines(integers * 4 // <Py_ssize_t>sizeof(real) + 16)


cdef Layout layout_of(const Window* win, Py_ssize_t ldx, Py_ssize_t ldy, bint columns_first, bint sliced,
                      real* scratch) noexcept nogil:
    """Return the layout and write its tables to scratch; if scratch is NULL, only sizes are computed.

    columns_first: pixels are ordered column by column, not row by row.
    """
    cdef Layout l
    cdef Py_ssize_t i, r, c, p, high, wide, step, outer, inner
    cdef Py_ssize_t rows = (win.out_h - 1) * win.stride_h + (win.kernel_h - 1) * win.dilation_h + 1
    cdef Py_ssize_t cols = (win.out_w - 1) * win.stride_w + (win.kernel_w - 1) * win.dilation_w + 1
    high = max(rows, win.top + win.h)
    wide = max(cols, win.left + win.w)
    l.pixels = win.out_h * win.out_w
    # Offsets in a bundle must fit in 32-bit integers.
    l.images = (1 << 30) // (max(high * wide * (win.c + VLEN), l.pixels * win.out_c) + 32)
    l.images = max(<Py_ssize_t>1, min(BUNDLE_PIXELS // l.pixels, l.images))
    l.c = win.c // win.groups
    l.f = win.out_c // win.groups
    l.k = win.kernel_h * win.kernel_w * l.c
    l.padded = high > win.h or wide > win.w
    l.sliced = sliced
    l.pixel = VLEN if sliced else win.c
    l.pitch = (wide if l.padded else win.w) * l.pixel
    l.image = (high if l.padded else win.h) * l.pitch
    l.slice = l.images * l.image if sliced else 0
    if win.dilation_w == 1 and win.groups == 1:
        l.segments = win.kernel_h
        l.length = win.kernel_w * l.c
    else:
        l.segments = win.kernel_h * win.kernel_w
        l.length = l.c
    l.patch = <int32_t*>scratch
    l.out_offset = l.patch + l.images * l.pixels
    l.offset = l.out_offset + l.images * l.pixels
    l.segment = l.offset + l.k
    l.border = scratch + reals_of(2 * l.images * l.pixels + l.k + l.segments)
    l.work = l.border
    if sliced:
        l.work += whole_lines(ceil_div(win.c, VLEN) * l.slice)
    elif l.padded:
        l.work += whole_lines(l.images * l.image + 16)
    if scratch == NULL:
        return l
    step = l.image if l.padded or sliced else ldx
    p = 0
    for i in range(l.images):
        for outer in range(win.out_w if columns_first else win.out_h):
            for inner in range(win.out_h if columns_first else win.out_w):
                r = inner if columns_first else outer
                c = outer if columns_first else inner
                l.patch[p] = <int32_t>(i * step + r * win.stride_h * l.pitch + c * win.stride_w * l.pixel)
                l.out_offset[p] = <int32_t>(i * ldy + (r * win.out_w + c) * win.out_c)
                p += 1
    p = 0
    for r in range(win.kernel_h):
        for c in range(win.kernel_w):
            step = r * win.dilation_h * l.pitch + c * win.dilation_w * l.pixel
            for i in range(l.c):
                l.offset[p] = <int32_t>(step + (i // VLEN * l.slice + i % VLEN if sliced else i))
                p += 1
    for i in range(l.segments):
        l.segment[i] = l.offset[i * l.length]
    return l


cdef void copy_in(const Window* win, const Layout* l, Py_ssize_t n, const real* x,
                  Py_ssize_t ldx) noexcept nogil:
    """Copy a bundle of n images into the buffer with a border of zeros."""
    cdef Py_ssize_t i, r
    cdef real* to
    memset(l.border, 0, n * l.image * sizeof(real))
    for i in range(n):
        to = l.border + i * l.image + win.top * l.pitch + win.left * win.c
        for r in range(win.h):
            memcpy(to + r * l.pitch, x + i * ldx + r * win.w * win.c, win.w * win.c * sizeof(real))


cdef void slice_in(const Window* win, const Layout* l, Py_ssize_t n, const real* x,
                   Py_ssize_t ldx) noexcept nogil:
    """Copy a bundle of n images in slices of VLEN channels, with a border of zeros if there is padding."""
    cdef Py_ssize_t i, r, q, p
    cdef const real* row
    cdef real* to
    for q in range(ceil_div(win.c, VLEN) if l.padded else 0):
        memset(l.border + q * l.slice, 0, n * l.image * sizeof(real))
    for i in range(n):
        for r in range(win.h):
            row = x + i * ldx + r * win.w * win.c
            to = l.border + i * l.image + (win.top + r) * l.pitch + win.left * VLEN
            for q in range(ceil_div(win.c, VLEN)):
                for p in range(win.w):
                    vstore(to + p * VLEN, load_cols(row + p * win.c, <int>(win.c - q * VLEN)))
                row += VLEN
                to += l.slice


cdef void copy_out(const Window* win, const Layout* l, Py_ssize_t n, real* x, Py_ssize_t ldx) noexcept nogil:
    """Copy a bundle of n images back from the buffer, without the border."""
    cdef Py_ssize_t i, r
    cdef const real* inner
    for i in range(n):
        inner = l.border + i * l.image + win.top * l.pitch + win.left * win.c
        for r in range(win.h):
            memcpy(x + i * ldx + r * win.w * win.c, inner + r * l.pitch, win.w * win.c * sizeof(real))


# ---- register tiles ------------------------------------------------------------------------------
# As in gemm.pxi, mr and nv are compile-time constants at every call site, and the loop over tiles makes gcc
# unroll the inner loops early.

ctypedef struct Tile:
    Py_ssize_t pixels       # number of pixels in the bundle; for dw, in the part being summed
    Py_ssize_t tiles        # number of vertically stacked tiles
    Py_ssize_t first        # forward and dx: first pixel of the first tile
    const real* x           # the bundle's input, from the group's first channel on
    const real* z           # dx: the bundle's dz, from the group's first filter on
    const int32_t* patch    # as in Layout
    const int32_t* out_offset   # as in Layout
    const int32_t* offset   # as in Layout; for dw, from the tile's first row on
    Py_ssize_t depth        # forward and dx: length of the reduction
    const real* b           # packed panel of w; for dw, rows of dz, one per pixel
    Py_ssize_t ldb          # dw: leading dimension of b
    const real* start       # initial values of the sums; NULL (dx and dw only): sums are added to `out`
    real lower_bound        # forward: lower bound of the results
    real* out               # y or dx at the panel's first element, or dw
    Py_ssize_t ld_out       # dw: leading dimension of `out`
    int rows, cols          # rows of the tile (dw only), columns of the panel


cdef inline void forward_tiles(int mr, int nv, const Tile* t) noexcept nogil:
    """y[p] = max(lower_bound, start + patch(p) · b) for t.tiles tiles of up to mr pixels."""
    cdef vreal acc[12][2]
    cdef vreal bp[2]
    cdef vreal ap, lower_bound = vsplat(t.lower_bound)
    cdef const real* a[12]
    cdef real* out[12]
    cdef real edge[12 * 32]
    cdef const real* b
    cdef Py_ssize_t q, k, p, last = t.pixels - 1, pixel
    cdef bint whole
    cdef int i, j
    for q in range(t.tiles):
        pixel = t.first + q * mr
        whole = t.cols == nv * VLEN and pixel + mr <= t.pixels
        for i in range(mr):
            a[i] = t.x + t.patch[min(pixel + i, last)]
            out[i] = t.out + t.out_offset[pixel + i] if whole else edge + i * nv * VLEN
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vload(t.start + j * VLEN)
        b = t.b
        for k in range(t.depth):
            p = t.offset[k]
            for j in range(nv):
                bp[j] = vload(b + j * VLEN)
            for i in range(mr):
                ap = vsplat(a[i][p])
                for j in range(nv):
                    acc[i][j] = acc[i][j] + ap * bp[j]
            b += PANEL
        for i in range(mr):
            for j in range(nv):
                vstore(out[i] + j * VLEN, vmax(lower_bound, acc[i][j]))
        if not whole:
            for i in range(<int>min(<Py_ssize_t>mr, t.pixels - pixel)):
                for j in range(nv):
                    store_cols(t.out + t.out_offset[pixel + i] + j * VLEN, vload(edge + (i * nv + j) * VLEN),
                               t.cols - j * VLEN)


cdef inline void input_tiles(int mr, int nv, const Tile* t) noexcept nogil:
    """dx[patch(p)] += dz[p] · b for t.tiles tiles of up to mr pixels."""
    cdef vreal acc[12][2]
    cdef vreal bp[2]
    cdef vreal ap
    cdef const real* a[12]
    cdef real edge[12 * 32]
    cdef real* out
    cdef const real* old
    cdef const real* b
    cdef Py_ssize_t q, p, last = t.pixels - 1, pixel
    cdef bint whole
    cdef int i, j
    for q in range(t.tiles):
        pixel = t.first + q * mr
        whole = t.cols == nv * VLEN and pixel + mr <= t.pixels
        for i in range(mr):
            a[i] = t.z + t.out_offset[min(pixel + i, last)]
        for i in range(mr):
            for j in range(nv):
                acc[i][j] = vsplat(0)
        b = t.b
        for p in range(t.depth):
            for j in range(nv):
                bp[j] = vload(b + j * VLEN)
            for i in range(mr):
                ap = vsplat(a[i][p])
                for j in range(nv):
                    acc[i][j] = acc[i][j] + ap * bp[j]
            b += PANEL
        if whole:
            # Rows are added one at a time, because patches may overlap.
            for i in range(mr):
                out = t.out + t.patch[pixel + i]
                old = out
                if t.start != NULL:
                    old = t.start
                for j in range(nv):
                    vstore(out + j * VLEN, vload(old + j * VLEN) + acc[i][j])
        else:
            for i in range(mr):
                for j in range(nv):
                    vstore(edge + (i * nv + j) * VLEN, acc[i][j])
            for i in range(<int>min(<Py_ssize_t>mr, t.pixels - pixel)):
                out = t.out + t.patch[pixel + i]
                old = out
                if t.start != NULL:
                    old = t.start
                for j in range(nv):
                    store_cols(out + j * VLEN, load_cols(old + j * VLEN, t.cols - j * VLEN)
                               + vload(edge + (i * nv + j) * VLEN), t.cols - j * VLEN)


cdef inline void weight_tile(int mr, int nv, const Tile* t) noexcept nogil:
    """dw[k] = start + Σ_p patch(p)[k] · dz[p] for t.tiles tiles of mr rows, or for one tile with
    fewer rows. If start is NULL, sums start from the old dw[k]."""
    cdef vreal acc[12][2]
    cdef vreal bp[2]
    cdef vreal ap
    cdef const real* a[12]
    cdef real edge[12 * 32]
    cdef bint whole = t.rows == mr and t.cols == nv * VLEN
    cdef real* c = t.out if whole else edge
    cdef Py_ssize_t ldc = t.ld_out if whole else nv * VLEN, lds = 0
    cdef const real* start = t.start
    cdef const real* b
    cdef Py_ssize_t ldb = t.ldb, p, q, pixel
    cdef int i, j
    if start == NULL:
        start = c
        lds = ldc
        if not whole:
            copy_block(t.rows, t.cols, t.out, t.ld_out, edge, ldc)
    for q in range(t.tiles):
        for i in range(mr):
            a[i] = t.x + t.offset[q * mr + min(i, t.rows - 1)]
            for j in range(nv):
                acc[i][j] = vload(start + i * lds + j * VLEN)
        b = t.b
        for p in range(t.pixels):
            pixel = t.patch[p]
            for j in range(nv):
                bp[j] = vload(b + j * VLEN)
            for i in range(mr):
                ap = vsplat(a[i][pixel])
                for j in range(nv):
                    acc[i][j] = acc[i][j] + ap * bp[j]
            b += ldb
        for i in range(mr):
            for j in range(nv):
                vstore(c + i * ldc + j * VLEN, acc[i][j])
        c += mr * ldc
        start += mr * lds
    if not whole:
        copy_block(t.rows, t.cols, edge, ldc, t.out, t.ld_out)


cdef void forward_1x1(const Tile* t) noexcept nogil: forward_tiles(TILE_Q, 1, t)


cdef void forward_1x2(const Tile* t) noexcept nogil: forward_tiles(TILE_Q, 2, t)


cdef void forward_2x1(const Tile* t) noexcept nogil: forward_tiles(2 * TILE_Q, 1, t)


cdef void forward_2x2(const Tile* t) noexcept nogil: forward_tiles(2 * TILE_Q, 2, t)


cdef void forward_3x1(const Tile* t) noexcept nogil: forward_tiles(3 * TILE_Q, 1, t)


cdef void forward_3x2(const Tile* t) noexcept nogil: forward_tiles(3 * TILE_Q, 2, t)


cdef void input_1x1(const Tile* t) noexcept nogil: input_tiles(TILE_Q, 1, t)


cdef void input_1x2(const Tile* t) noexcept nogil: input_tiles(TILE_Q, 2, t)


cdef void input_2x1(const Tile* t) noexcept nogil: input_tiles(2 * TILE_Q, 1, t)


cdef void input_2x2(const Tile* t) noexcept nogil: input_tiles(2 * TILE_Q, 2, t)


cdef void input_3x1(const Tile* t) noexcept nogil: input_tiles(3 * TILE_Q, 1, t)


cdef void input_3x2(const Tile* t) noexcept nogil: input_tiles(3 * TILE_Q, 2, t)


cdef void weight_1x1(const Tile* t) noexcept nogil: weight_tile(TILE_Q, 1, t)


cdef void weight_1x2(const Tile* t) noexcept nogil: weight_tile(TILE_Q, 2, t)


cdef void weight_2x1(const Tile* t) noexcept nogil: weight_tile(2 * TILE_Q, 1, t)


cdef void weight_2x2(const Tile* t) noexcept nogil: weight_tile(2 * TILE_Q, 2, t)


cdef void weight_3x1(const Tile* t) noexcept nogil: weight_tile(3 * TILE_Q, 1, t)


cdef void weight_3x2(const Tile* t) noexcept nogil: weight_tile(3 * TILE_Q, 2, t)


cdef enum TileProduct:
    FORWARD, INPUT, WEIGHT


ctypedef void (*ConvolutionTiles)(const Tile* t) noexcept nogil


# Indexed by the product, the height in units of TILE_Q rows (1, 2, 3) and the width in vectors (1, 2).
cdef ConvolutionTiles[18] CONVOLUTION_TILES

CONVOLUTION_TILES = [
    forward_1x1, forward_1x2, forward_2x1, forward_2x2, forward_3x1, forward_3x2,
    input_1x1, input_1x2, input_2x1, input_2x2, input_3x1, input_3x2,
    weight_1x1, weight_1x2, weight_2x1, weight_2x2, weight_3x1, weight_3x2,
]


cdef inline void run_tiles(int product, Py_ssize_t height, const Tile* t) noexcept nogil:
    """Compute tiles of height · TILE_Q rows (height 1, 2 or 3), one or two vectors wide, to cover t.cols."""
    CONVOLUTION_TILES[6 * product + 2 * (height - 1) + (t.cols > VLEN)](t)


cdef void run_panel(int product, Tile* t) noexcept nogil:
    """Compute a panel for all pixels of a bundle: tiles of full height, then a lower tile for the rest."""
    t.first = 0
    t.tiles = t.pixels // TILE_M
    run_tiles(product, 3, t)
    t.first = t.tiles * TILE_M
    t.tiles = 1
    if t.first < t.pixels:
        run_tiles(product, ceil_div(t.pixels - t.first, TILE_Q), t)


# ---- the three products --------------------------------------------------------------------------

cdef void dense_convolve(const Window* win, const Matrix* x, const real* w, const real* b, const Matrix* y,
                         bint relu, real* scratch) noexcept nogil:
    """`convolve` with the filters in the lanes. b must be readable up to one vector past its end."""
    cdef Layout l = layout_of(win, x.ld, y.ld, False, False, scratch)
    cdef Py_ssize_t per = ceil_div(l.f, PANEL), panels = per * win.groups
    cdef Py_ssize_t band = max(<Py_ssize_t>1, BAND // (l.k * PANEL))
    cdef Py_ssize_t q0 = 0, q, first, n, g, j
    cdef const real* images
    cdef Tile t
    t.patch = l.patch
    t.out_offset = l.out_offset
    t.offset = l.offset
    t.depth = l.k
    t.lower_bound = 0 if relu else -INFINITY
    while q0 < panels:
        for q in range(q0, min(panels, q0 + band)):
            g = q // per
            j = g * l.f + q % per * PANEL
            pack_panels(l.k, min(<Py_ssize_t>PANEL, (g + 1) * l.f - j), w + j, win.out_c,
                        l.work + (q - q0) * l.k * PANEL)
        first = 0
        while first < x.rows:
            n = min(l.images, x.rows - first)
            images = x.data + first * x.ld
            if l.padded:
                copy_in(win, &l, n, images, x.ld)
                images = l.border
            t.pixels = n * l.pixels
            for q in range(q0, min(panels, q0 + band)):
                g = q // per
                j = g * l.f + q % per * PANEL
                t.cols = <int>min(<Py_ssize_t>PANEL, (g + 1) * l.f - j)
                t.x = images + g * l.c
                t.out = y.data + first * y.ld + j
                t.b = l.work + (q - q0) * l.k * PANEL
                t.start = ZEROS
                if b != NULL:
                    t.start = b + j
                run_panel(FORWARD, &t)
            first += n
        q0 += band


cdef inline bint has_separate_patches(const Window* win) noexcept nogil:
    """Return whether each pixel of x is in exactly one patch, as with a pointwise kernel."""
    return (win.kernel_h == win.stride_h and win.h == win.out_h * win.stride_h and win.dilation_h == 1
            and win.kernel_w == win.stride_w and win.w == win.out_w * win.stride_w and win.dilation_w == 1)


cdef void dense_convolve_input(const Window* win, const Layout* layout, const Matrix* dz, const real* w,
                               const Matrix* dx) noexcept nogil:
    """convolve_input without zero skipping."""
    cdef Layout l = layout[0]
    # A panel has up to PANEL elements from one segment of one group. The panels of a segment are processed
    # from last to first, so that the terms of an element of dx are added in the order of the output columns
    # across panels, too.
    cdef Py_ssize_t per = ceil_div(l.length, PANEL), panels = win.groups * l.segments * per
    cdef Py_ssize_t height = ceil_div(l.f, VLEN) * VLEN
    cdef Py_ssize_t band = max(<Py_ssize_t>1, BAND // (height * PANEL))
    cdef Py_ssize_t q0 = 0, q, i, first, n, g, s, j
    cdef real* images
    cdef Tile t
    cdef bint apart = has_separate_patches(win) and not l.padded    # then results are stored, not added
    t.patch = l.patch
    t.out_offset = l.out_offset
    t.depth = l.f
    t.start = NULL
    if apart:
        t.start = ZEROS
    while q0 < panels:
        for q in range(q0, min(panels, q0 + band)):
            g = q // (l.segments * per)
            s = q // per % l.segments
            j = (per - 1 - q % per) * PANEL
            pack_transposed(min(<Py_ssize_t>PANEL, l.length - j), l.f,
                            w + (s * l.length + j) * win.out_c + g * l.f, win.out_c,
                            l.work + (q - q0) * height * PANEL)
        first = 0
        while first < dz.rows:
            n = min(l.images, dz.rows - first)
            images = dx.data + first * dx.ld
            if q0 == 0 and not apart:
                for i in range(n):
                    memset(images + i * dx.ld, 0, win.h * win.w * win.c * sizeof(real))
            if l.padded:
                copy_in(win, &l, n, images, dx.ld)
                images = l.border
            t.pixels = n * l.pixels
            for q in range(q0, min(panels, q0 + band)):
                g = q // (l.segments * per)
                s = q // per % l.segments
                j = (per - 1 - q % per) * PANEL
                t.cols = <int>min(<Py_ssize_t>PANEL, l.length - j)
                t.z = dz.data + first * dz.ld + g * l.f
                t.b = l.work + (q - q0) * height * PANEL
                t.out = images + g * l.c + l.segment[s] + j
                run_panel(INPUT, &t)
            if l.padded:
                copy_out(win, &l, n, dx.data + first * dx.ld, dx.ld)
            first += n
        q0 += band


cdef inline bint worth_slicing(const Window* win) noexcept nogil:
    """Return whether dw reads x from a copy in slices of VLEN channels.

    A tile reads only a few channels of each pixel. Without slices, these would be mapped to few cache sets
    and evict each other.
    """
    return win.groups == 1 and win.c >= VLEN


cdef void dense_convolve_weight(const Window* win, const Layout* layout, const Matrix* x, const Matrix* dz,
                                Py_ssize_t k0, Py_ssize_t k1, real* dw, bint accumulate) noexcept nogil:
    """convolve_weight without zero skipping."""
    cdef Layout l = layout[0]
    cdef Py_ssize_t per = ceil_div(l.f, PANEL), first = 0, part, q, n, g, j, p, p0, k
    cdef const real* images
    cdef const real* z
    cdef const real* row
    cdef Tile t
    t.ld_out = win.out_c
    # If many rows of dw read dz, its panels are packed, so that its rows do not compete for few cache sets.
    # With several images, panels are always packed, because the distance between pixels varies.
    cdef bint packed = k1 - k0 > 4 * TILE_M or l.images > 1
    t.ldb = PANEL if packed else win.out_c
    while first < x.rows:
        n = min(l.images, x.rows - first)
        images = x.data + first * x.ld
        if l.sliced:
            slice_in(win, &l, n, images, x.ld)
            images = l.border
        elif l.padded:
            copy_in(win, &l, n, images, x.ld)
            images = l.border
        part = even_length(n * l.pixels, SUM_PIXELS, 1)
        p0 = 0
        while p0 < n * l.pixels:
            t.pixels = min(part, n * l.pixels - p0)
            t.patch = l.patch + p0
            for q in range(win.groups * per):
                g = q // per
                j = g * l.f + q % per * PANEL
                t.cols = <int>min(<Py_ssize_t>PANEL, (g + 1) * l.f - j)
                t.x = images + g * l.c
                z = dz.data + first * dz.ld + j
                t.b = z + l.out_offset[p0]
                if packed:
                    for p in range(t.pixels):
                        row = z + l.out_offset[p0 + p]
                        vstore(l.work + p * PANEL, vload(row))
                        vstore(l.work + p * PANEL + VLEN, load_cols(row + VLEN, t.cols - VLEN))
                    t.b = l.work
                t.start = ZEROS
                if accumulate or first > 0 or p0 > 0:
                    t.start = NULL
                k = k0
                while k < k1:
                    t.rows = <int>min(<Py_ssize_t>TILE_M, k1 - k)
                    t.tiles = 1
                    if t.cols % VLEN == 0 and t.rows == TILE_M:
                        t.tiles = (k1 - k) // TILE_M
                    t.offset = l.offset + k
                    t.out = dw + k * win.out_c + j
                    run_tiles(WEIGHT, ceil_div(t.rows, TILE_Q), &t)
                    k += t.tiles * t.rows
            p0 += t.pixels
        first += n
