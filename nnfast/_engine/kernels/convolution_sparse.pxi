"""Both gradients of a convolution with zero skipping, for a dz that is mostly zero.

This is often the case if the convolution is followed by a ReLU or max pooling. The kernels perform the same
multiply-adds as the dense kernels, in the same order, but skip those in which dz is zero. Results are
therefore bit-identical, and the choice between the two may depend on the data. The only exceptions are
infinities and NaN in x or w, which are ignored here where dz is zero.

A tile is a part of a segment: up to 12 vectors of contiguous elements of a patch, whose sums stay in
registers. Each nonzero dz is multiplied by all elements of a tile. For this purpose, the tile's weights or
their gradient are transposed to [f, width].
"""

cdef enum:
    SPARSE_WEIGHTS = 262144     # maximum number of elements of w

cdef double SPARSE = 0.4    # maximum nonzero fraction of dz


ctypedef struct Sparse:
    Py_ssize_t n            # number of rows: pixels for dx, filters for dw
    Py_ssize_t width        # elements in the tile, rounded up to whole vectors
    const int32_t* start    # row r has the entries start[r] … start[r + 1] − 1
    const int32_t* entry    # dx: filters with nonzero dz; dw: offsets of patches with nonzero dz
    const real* value       # dw: dz of each entry
    const int32_t* patch    # as in Layout
    const int32_t* out_offset   # as in Layout
    const real* dz          # dz of one image
    const real* x           # dw: input of one image, at the tile's first element
    real* w                 # the tile's weights or their gradient, (filters, width)
    real* dx                # dx of one image, at the tile's first element
    Py_ssize_t cols         # number of elements in the tile; at most `width`


cdef inline void sparse_input(int nv, const Sparse* tile) noexcept nogil:
    """dx[patch(p)] += Σ_f dz[p, f]·w[f] for the tile's elements of all patches."""
    cdef Sparse s = tile[0]     # a copy, because vector stores may alias the fields
    cdef vreal acc[12]
    cdef vreal d
    cdef const real* z
    cdef const real* w
    cdef real* out
    cdef Py_ssize_t p, e, end
    cdef bint whole = s.cols == nv * VLEN
    cdef int j, cols = <int>(s.cols - (nv - 1) * VLEN)
    for p in range(s.n):
        end = s.start[p + 1]
        z = s.dz + s.out_offset[p]
        for j in range(nv):
            acc[j] = vsplat(0)
        for e in range(s.start[p], end):
            d = vsplat(z[s.entry[e]])
            w = s.w + s.entry[e] * s.width
            for j in range(nv):
                acc[j] = acc[j] + d * vload(w + j * VLEN)
        out = s.dx + s.patch[p]
        if whole:
            for j in range(nv):
                vstore(out + j * VLEN, vload(out + j * VLEN) + acc[j])
        else:
            for j in range(nv - 1):
                vstore(out + j * VLEN, vload(out + j * VLEN) + acc[j])
            out += (nv - 1) * VLEN
            vstore_n(out, vload_n(out, cols) + acc[nv - 1], cols)


cdef inline void sparse_weight(int nv, const Sparse* tile) noexcept nogil:
    """dw[f] += Σ_p dz[p, f]·x[patch(p)] for the tile's elements of all patches."""
    cdef Sparse s = tile[0]     # a copy, because vector stores may alias the fields
    cdef vreal acc[12]
    cdef vreal d
    cdef const real* x
    cdef real* w
    cdef Py_ssize_t f, e, end
    cdef int j
    for f in range(s.n):
        end = s.start[f + 1]
        w = s.w + f * s.width
        for j in range(nv):
            acc[j] = vload(w + j * VLEN)
        for e in range(s.start[f], end):
            d = vsplat(s.value[e])
            x = s.x + s.entry[e]
            for j in range(nv):
                acc[j] = acc[j] + d * vload(x + j * VLEN)
        for j in range(nv):
            vstore(w + j * VLEN, acc[j])


cdef void sparse_input_1(const Sparse* s) noexcept nogil: sparse_input(1, s)
cdef void sparse_input_2(const Sparse* s) noexcept nogil: sparse_input(2, s)
cdef void sparse_input_4(const Sparse* s) noexcept nogil: sparse_input(4, s)
cdef void sparse_input_6(const Sparse* s) noexcept nogil: sparse_input(6, s)
cdef void sparse_input_8(const Sparse* s) noexcept nogil: sparse_input(8, s)
cdef void sparse_input_12(const Sparse* s) noexcept nogil: sparse_input(12, s)
cdef void sparse_weight_1(const Sparse* s) noexcept nogil: sparse_weight(1, s)
cdef void sparse_weight_2(const Sparse* s) noexcept nogil: sparse_weight(2, s)
cdef void sparse_weight_4(const Sparse* s) noexcept nogil: sparse_weight(4, s)
cdef void sparse_weight_6(const Sparse* s) noexcept nogil: sparse_weight(6, s)
cdef void sparse_weight_8(const Sparse* s) noexcept nogil: sparse_weight(8, s)
cdef void sparse_weight_12(const Sparse* s) noexcept nogil: sparse_weight(12, s)


ctypedef void (*SparseTileFunction)(const Sparse* s) noexcept nogil

# Indexed by half the number of vectors in a tile (1, 2, 4, 6, 8 or 12), rounded down.
cdef SparseTileFunction[7] SPARSE_INPUT_TILES
cdef SparseTileFunction[7] SPARSE_WEIGHT_TILES

SPARSE_INPUT_TILES = [
    sparse_input_1, sparse_input_2, sparse_input_4, sparse_input_6, sparse_input_8, NULL, sparse_input_12,
]
SPARSE_WEIGHT_TILES = [
    sparse_weight_1, sparse_weight_2, sparse_weight_4, sparse_weight_6, sparse_weight_8, NULL,
    sparse_weight_12,
]


cdef inline int tile_vectors(Py_ssize_t remaining) noexcept nogil:
    """Return the number of vectors in the next tile: the widest kernel that the remaining elements fill."""
    cdef Py_ssize_t left = ceil_div(remaining, VLEN)
    if left >= 12:
        return 12
    if left >= 8:
        return 8
    if left >= 6:
        return 6
    if left >= 4:
        return 4
    return 2 if left >= 2 else 1


cdef inline void run_sparse_tile(bint weights, const Sparse* s) noexcept nogil:
    """Compute a tile of s.width elements of dw or dx."""
    cdef Py_ssize_t which = s.width // VLEN // 2
    if weights:
        SPARSE_WEIGHT_TILES[which](s)
    else:
        SPARSE_INPUT_TILES[which](s)


# ---- nonzero elements ----------------------------------------------------------------------------

cdef bint can_be_sparse(const Window* win, const Layout* l) noexcept nogil:
    """Return whether the kernels in this file support this convolution."""
    return win.groups == 1 and l.length >= VLEN and l.k * l.f <= SPARSE_WEIGHTS


cdef bint is_sparse(const Matrix* dz, Py_ssize_t n) noexcept nogil:
    """Return whether the nonzero fraction of dz (m, n) is at most SPARSE; only whole vectors are counted."""
    cdef vreal one = vsplat(1), zero = vsplat(0), some
    cdef Py_ssize_t i, q
    cdef double count = 0
    for i in range(dz.rows):
        some = zero
        for q in range(n // VLEN):
            some = some + vselect(vgt(vabs(vload(dz.data + i * dz.ld + q * VLEN)), zero), one, zero)
        count += vsum(some)
        if count > SPARSE * <double>dz.rows * <double>n:
            return False
    return True


cdef void list_filters(Py_ssize_t pixels, Py_ssize_t f, const real* dz, const int32_t* out_offset,
                       int32_t* start, int32_t* entry) noexcept nogil:
    """List the filters with nonzero dz, pixel by pixel. Table lookups for four bits each avoid branches."""
    cdef Py_ssize_t p, q, n = 0
    cdef unsigned int bits
    cdef int i, r
    for p in range(pixels):
        start[p] = <int32_t>n
        for q in range(ceil_div(f, VLEN)):
            bits = vnonzero(load_cols(dz + out_offset[p] + q * VLEN, <int>(f - q * VLEN)))
            for r in range((VLEN + 3) // 4):
                for i in range(4):
                    entry[n + i] = <int32_t>(q * VLEN) + 4 * r + BITS_SET[bits & 15][i]
                n += BITS_COUNT[bits & 15]
                bits >>= 4
    start[pixels] = <int32_t>n


cdef void list_patches(const Sparse* s, Py_ssize_t pixels, const int32_t* start, const int32_t* entry,
                       int32_t* start_of, int32_t* entry_of, real* value) noexcept nogil:
    """List the patches with nonzero dz and the values of dz, filter by filter. Every tile reads these lists,
    because they are contiguous, whereas the rows of dz are far apart."""
    cdef Py_ssize_t p, e, j, to
    cdef const real* z
    memset(start_of, 0, (s.n + 2) * sizeof(int32_t))
    for e in range(start[pixels]):
        start_of[entry[e] + 2] += 1
    for j in range(2, s.n + 2):
        start_of[j] += start_of[j - 1]
    for p in range(pixels):
        z = s.dz + s.out_offset[p]
        for e in range(start[p], start[p + 1]):
            j = entry[e]
            to = start_of[j + 1]
            start_of[j + 1] += 1
            entry_of[to] = s.patch[p]
            value[to] = z[j]


# ---- the two gradients ---------------------------------------------------------------------------

cdef void sparse_convolve_input(const Window* win, const Matrix* dz, const real* w, const Matrix* dx,
                                real* scratch) noexcept nogil:
    """convolve_input with zero skipping, image by image."""
    cdef Layout l = layout_of(win, dx.ld, dz.ld, True, False, scratch)
    cdef int32_t* start = <int32_t*>l.work
    cdef int32_t* entry = start + l.pixels + 1
    cdef real* weights = l.work + reals_of(l.pixels + 6 + l.pixels * l.f)
    cdef Py_ssize_t i, seg, j
    cdef real* image
    cdef Sparse s
    s.n = l.pixels
    s.start = start
    s.entry = entry
    s.patch = l.patch
    s.out_offset = l.out_offset
    for i in range(dz.rows):
        image = dx.data + i * dx.ld
        if l.padded:
            image = l.border
            memset(image, 0, l.image * sizeof(real))
        else:
            memset(image, 0, win.h * win.w * win.c * sizeof(real))
        s.dz = dz.data + i * dz.ld
        list_filters(l.pixels, l.f, s.dz, l.out_offset, start, entry)
        s.w = weights
        for seg in range(l.segments):
            j = l.length
            while j > 0:    # from the last tile to the first, like the panels of dense_convolve_input
                s.width = tile_vectors(j) * VLEN
                s.cols = min(s.width, j)
                j -= s.cols
                s.dx = image + l.segment[seg] + j
                if i == 0:
                    transpose(s.cols, l.f, w + (seg * l.length + j) * l.f, l.f, s.w, s.width)
                run_sparse_tile(False, &s)
                s.w += l.f * s.width
        if l.padded:
            copy_out(win, &l, 1, dx.data + i * dx.ld, dx.ld)


cdef void sparse_convolve_weight(const Window* win, const Matrix* x, const Matrix* dz, Py_ssize_t k0,
                                 Py_ssize_t k1, real* dw, bint accumulate, real* scratch) noexcept nogil:
    """convolve_weight with zero skipping, image by image."""
    cdef Layout l = layout_of(win, x.ld, dz.ld, False, False, scratch)
    cdef int32_t* start = <int32_t*>l.work
    cdef int32_t* entry = start + l.pixels + 1
    cdef int32_t* start_of = entry + l.pixels * l.f + 4
    cdef int32_t* entry_of = start_of + l.f + 2
    cdef real* value = l.work + reals_of(l.pixels + l.f + 8 + 2 * l.pixels * l.f)
    cdef real* weights = value + whole_lines(l.pixels * l.f)
    cdef Py_ssize_t i, k, end
    cdef const real* image
    cdef Sparse s
    s.n = l.f
    s.start = start_of
    s.entry = entry_of
    s.value = value
    s.patch = l.patch
    s.out_offset = l.out_offset
    for i in range(x.rows):
        image = x.data + i * x.ld
        if l.padded:
            copy_in(win, &l, 1, image, x.ld)
            image = l.border
        s.dz = dz.data + i * dz.ld
        list_filters(l.pixels, l.f, s.dz, l.out_offset, start, entry)
        list_patches(&s, l.pixels, start, entry, start_of, entry_of, value)
        s.w = weights
        k = k0
        while k < k1:
            end = min(k1, (k // l.length + 1) * l.length)
            s.width = tile_vectors(end - k) * VLEN
            s.cols = min(s.width, end - k)
            s.x = image + l.offset[k]
            if i == 0 and accumulate:
                transpose(s.cols, l.f, dw + k * l.f, l.f, s.w, s.width)
            elif i == 0:
                memset(s.w, 0, l.f * s.width * sizeof(real))
            run_sparse_tile(True, &s)
            if i == x.rows - 1:
                transpose_back(l.f, s.cols, s.w, s.width, dw + k * l.f, l.f)
            s.w += l.f * s.width
            k += s.cols


cdef Py_ssize_t sparse_scratch(const Window* win, const Layout* l) noexcept nogil:
    """Return the scratch size of these kernels in elements, not counting the layout's tables and buffer.

    The size allows for threads whose rows k0 … k1 − 1 begin and end within a segment.
    """
    if not can_be_sparse(win, l):
        return 0
    return (reals_of(l.pixels + l.f + 8 + 2 * l.pixels * l.f) + whole_lines(l.pixels * l.f)
            + l.segments * (l.length + 2 * VLEN) * l.f + 32)
