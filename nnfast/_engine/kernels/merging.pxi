"""Elementwise functions of two matrices, copies of blocks, and broadcasting.

Rows are padded to whole vectors, so the elementwise functions also compute elements past a row's end.
"""

# Blocks of `inner` contiguous elements in a row: block i begins at `begin` + i · `stride`.
ctypedef struct Blocks:
    int64_t begin, stride


cdef void weighted_sum(const Matrix* a, double factor_a, const Matrix* b, double factor_b,
                       const Matrix* y) noexcept nogil:
    """y = factor_a·a + factor_b·b."""
    cdef vreal fa = vsplat(<real>factor_a), fb = vsplat(<real>factor_b)
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        for j in range(ceil_div(y.cols, VLEN)):
            vstore(y.data + i * y.ld + j * VLEN,
                   fa * vload(a.data + i * a.ld + j * VLEN) + fb * vload(b.data + i * b.ld + j * VLEN))


cdef void elementwise_product(const Matrix* a, const Matrix* b, const Matrix* y) noexcept nogil:
    """y = a·b, element by element."""
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        for j in range(ceil_div(y.cols, VLEN)):
            vstore(y.data + i * y.ld + j * VLEN,
                   vload(a.data + i * a.ld + j * VLEN) * vload(b.data + i * b.ld + j * VLEN))


cdef void extremum(const Matrix* a, const Matrix* b, bint largest, const Matrix* y) noexcept nogil:
    """y = max(a, b) if `largest`, otherwise min(a, b), element by element. NaN in a or b gives NaN."""
    cdef const real* p
    cdef const real* q
    cdef real* out
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        p, q, out = a.data + i * a.ld, b.data + i * b.ld, y.data + i * y.ld
        for j in range(y.cols):
            if p[j] != p[j] or (p[j] > q[j] if largest else p[j] < q[j]):
                out[j] = p[j]
            else:
                out[j] = q[j]


cdef void extremum_gradient(const Matrix* a, const Matrix* b, bint largest, const Matrix* dy,
                            const Matrix* da) noexcept nogil:
    """da = dy where a is the extremum, dy / 2 where a = b, 0 elsewhere."""
    cdef const real* p
    cdef const real* q
    cdef Py_ssize_t i, j
    cdef real g
    for i in range(da.rows):
        p, q = a.data + i * a.ld, b.data + i * b.ld
        for j in range(da.cols):
            g = dy.data[i * dy.ld + j]
            if p[j] == q[j]:
                g = g / 2
            elif (p[j] < q[j]) if largest else (p[j] > q[j]):
                g = 0
            da.data[i * da.ld + j] = g


cdef void copy_blocks(const Matrix* x, Blocks source, const Matrix* y, Blocks target, Py_ssize_t outer,
                      Py_ssize_t inner) noexcept nogil:
    """Copy `outer` blocks of `inner` elements in each row of x to the blocks of y."""
    cdef Py_ssize_t i, k
    for i in range(y.rows):
        for k in range(outer):
            copy_row(x.data + i * x.ld + source.begin + k * source.stride, inner,
                     y.data + i * y.ld + target.begin + k * target.stride)


cdef void clear(const Matrix* y) noexcept nogil:
    """y = 0."""
    cdef Py_ssize_t i
    for i in range(y.rows):
        memset(y.data + i * y.ld, 0, y.cols * sizeof(real))


cdef void set_all(const Matrix* y, double value) noexcept nogil:
    """y = value."""
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        for j in range(y.cols):
            y.data[i * y.ld + j] = <real>value


# A strided copy has four axes, with their sizes in y and the distance per step in x. Only along axes with
# distance 0 is an element of x copied several times.

cdef void transpose_plane(Py_ssize_t rows, Py_ssize_t cols, const real* a, Py_ssize_t lda, real* b,
                          Py_ssize_t ldb) noexcept nogil:
    """b[cols, rows] = aᵀ. Nothing is read past the rows of a, or written past those of b."""
    cdef vreal square[16]
    cdef Py_ssize_t rq, cq, r, c, i
    for cq in range(ceil_div(cols, VLEN)):
        c = cq * VLEN
        for rq in range(ceil_div(rows, VLEN)):
            r = rq * VLEN
            for i in range(VLEN):
                square[i] = load_cols(a + min(r + i, rows - 1) * lda + c, <int>(cols - c))
            vtranspose(square)
            for i in range(min(<Py_ssize_t>VLEN, cols - c)):
                store_cols(b + (c + i) * ldb + r, square[i], <int>(rows - r))


cdef void copy_plane(Py_ssize_t rows, Py_ssize_t cols, const real* x, Py_ssize_t x_row, Py_ssize_t x_col,
                     real* y, Py_ssize_t y_row, Py_ssize_t y_col) noexcept nogil:
    """y[i·y_row + j·y_col] = x[i·x_row + j·x_col]."""
    cdef Py_ssize_t i, j
    if x_col == 1 and y_col == 1:
        for i in range(rows):
            copy_row(x + i * x_row, cols, y + i * y_row)
    elif x_row == 1 and y_col == 1:
        transpose_plane(cols, rows, x, x_col, y, y_row)
    elif x_col == 1 and y_row == 1:
        transpose_plane(rows, cols, x, x_row, y, y_col)
    else:
        for i in range(rows):
            for j in range(cols):
                y[i * y_row + j * y_col] = x[i * x_row + j * x_col]


cdef inline void contiguous_strides(const int64_t* sizes, int64_t* strides) noexcept nogil:
    strides[3] = 1
    strides[2] = sizes[3]
    strides[1] = sizes[3] * sizes[2]
    strides[0] = sizes[3] * sizes[2] * sizes[1]


cdef void copy_axes(const int64_t* sizes, const real* x, const int64_t* x_strides, real* y,
                    const int64_t* y_strides) noexcept nogil:
    """Copy a view of x to a view of y; the last axis is contiguous in one of them."""
    cdef int a = 0, b = 1, k = 2
    cdef Py_ssize_t i, j
    # The inner loops are over the last axis and over the one that is contiguous in the other array.
    if x_strides[3] != y_strides[3]:
        if sizes[0] > 1 and (x_strides[0] == 1 or y_strides[0] == 1):
            a, k = 2, 0
        elif sizes[1] > 1 and (x_strides[1] == 1 or y_strides[1] == 1):
            b, k = 2, 1
    for i in range(sizes[a]):
        for j in range(sizes[b]):
            copy_plane(sizes[k], sizes[3], x + i * x_strides[a] + j * x_strides[b], x_strides[k],
                       x_strides[3], y + i * y_strides[a] + j * y_strides[b], y_strides[k], y_strides[3])


cdef void strided_copy(const Matrix* x, int64_t begin, const int64_t* sizes, const int64_t* strides,
                       const Matrix* y) noexcept nogil:
    """y[i, j, k, l] = x[begin + i·strides[0] + j·strides[1] + k·strides[2] + l·strides[3]] in each row."""
    cdef int64_t y_strides[4]
    cdef Py_ssize_t row
    contiguous_strides(sizes, y_strides)
    for row in range(y.rows):
        copy_axes(sizes, x.data + row * x.ld + begin, strides, y.data + row * y.ld, y_strides)


cdef void add_axes(const int64_t* sizes, const real* y, const int64_t* strides, real* x) noexcept nogil:
    """Add the elements of y to those of a view of x, in order."""
    cdef Py_ssize_t i, j, k, l, at = 0
    cdef real* target
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            for k in range(sizes[2]):
                target = x + i * strides[0] + j * strides[1] + k * strides[2]
                if strides[3] == 1:
                    add_run(sizes[3], 1, y + at, target)
                else:
                    for l in range(sizes[3]):
                        target[l * strides[3]] += y[at + l]
                at += sizes[3]


cdef void strided_gradient(const Matrix* dy, int64_t begin, const int64_t* sizes, const int64_t* strides,
                           const Matrix* dx) noexcept nogil:
    """dx = the sums of dy over the copies of each element of x, in order."""
    cdef int64_t dy_strides[4]
    cdef Py_ssize_t row
    cdef bint repeats = False
    cdef int axis
    contiguous_strides(sizes, dy_strides)
    for axis in range(4):
        repeats |= strides[axis] == 0 and sizes[axis] > 1
    if repeats or dy.cols < dx.cols:
        clear(dx)
    for row in range(dy.rows):
        if repeats:
            add_axes(sizes, dy.data + row * dy.ld, strides, dx.data + row * dx.ld + begin)
        else:
            copy_axes(sizes, dy.data + row * dy.ld, dy_strides, dx.data + row * dx.ld + begin, strides)


# The products of one sample: y (rows, cols) = a (rows, depth) · b (depth, cols), with two strides each.
ctypedef struct Contraction:
    int64_t rows, cols, depth
    int64_t a_row, a_depth
    int64_t b_col, b_depth


cdef void contract(const Contraction* c, const Matrix* a, const Matrix* b, const Matrix* y) noexcept nogil:
    """y[i, j] = Σ_k a[i, k]·b[k, j] in each row."""
    cdef Py_ssize_t row, i, j, k
    cdef const real* p
    cdef const real* q
    cdef real total
    for row in range(y.rows):
        for i in range(c.rows):
            for j in range(c.cols):
                p = a.data + row * a.ld + i * c.a_row
                q = b.data + row * b.ld + j * c.b_col
                total = 0
                for k in range(c.depth):
                    total += p[k * c.a_depth] * q[k * c.b_depth]
                y.data[row * y.ld + i * c.cols + j] = total


cdef void contract_gradient(const Contraction* c, const Matrix* dy, const Matrix* b, bint first,
                            const Matrix* da) noexcept nogil:
    """da[i, k] = Σ_j dy[i, j]·b[k, j] if `first`; otherwise db[k, j] = Σ_i dy[i, j]·a[i, k].

    The caller then passes the matrix a as `b`, and receives db in `da`.
    """
    cdef Py_ssize_t row, i, j, k
    cdef Py_ssize_t outer = c.rows if first else c.cols, terms = c.cols if first else c.rows
    cdef Py_ssize_t da_outer = c.a_row if first else c.b_col, da_depth = c.a_depth if first else c.b_depth
    cdef Py_ssize_t b_term = c.b_col if first else c.a_row, b_depth = c.b_depth if first else c.a_depth
    cdef Py_ssize_t dy_outer = c.cols if first else 1, dy_term = 1 if first else c.cols
    cdef real* out
    cdef const real* q
    cdef real g
    clear(da)
    for row in range(da.rows):
        for i in range(outer):
            out = da.data + row * da.ld + i * da_outer
            for j in range(terms):
                g = dy.data[row * dy.ld + i * dy_outer + j * dy_term]
                q = b.data + row * b.ld + j * b_term
                for k in range(c.depth):
                    out[k * da_depth] += g * q[k * b_depth]


# Axes of a sample.
ctypedef struct Axes:
    Py_ssize_t outer, depth, inner


cdef void unit_norm(const Matrix* x, Axes axes, double min_norm, const Matrix* y) noexcept nogil:
    """y = x / max(√Σ x², min_norm), with sums over the middle axis in each row."""
    cdef Py_ssize_t row, i, j, k, at
    cdef const real* p
    cdef real* q
    cdef double total
    cdef real factor
    for row in range(x.rows):
        for i in range(axes.outer):
            for j in range(axes.inner):
                at = i * axes.depth * axes.inner + j
                p, q = x.data + row * x.ld + at, y.data + row * y.ld + at
                total = 0
                for k in range(axes.depth):
                    total += <double>p[k * axes.inner] * p[k * axes.inner]
                factor = <real>(1 / max(sqrt(total), min_norm))
                for k in range(axes.depth):
                    q[k * axes.inner] = p[k * axes.inner] * factor


cdef void unit_norm_gradient(const Matrix* x, const Matrix* dy, Axes axes, double min_norm,
                             const Matrix* dx) noexcept nogil:
    """dx = (dy − u·Σ u·dy) / ‖x‖ with u = x / ‖x‖, or dy / min_norm where the norm is below its minimum."""
    cdef Py_ssize_t row, i, j, k, at
    cdef const real* p
    cdef const real* g
    cdef real* out
    cdef double total, dot
    cdef real factor, share
    for row in range(x.rows):
        for i in range(axes.outer):
            for j in range(axes.inner):
                at = i * axes.depth * axes.inner + j
                p, g, out = x.data + row * x.ld + at, dy.data + row * dy.ld + at, dx.data + row * dx.ld + at
                total = dot = 0
                for k in range(axes.depth):
                    total += <double>p[k * axes.inner] * p[k * axes.inner]
                    dot += <double>p[k * axes.inner] * g[k * axes.inner]
                factor = <real>(1 / max(sqrt(total), min_norm))
                share = <real>(dot / total) if sqrt(total) > min_norm else 0
                for k in range(axes.depth):
                    out[k * axes.inner] = (g[k * axes.inner] - p[k * axes.inner] * share) * factor


cdef void quotient(const Matrix* a, const Matrix* b, const Matrix* y) noexcept nogil:
    """y = a / b, element by element."""
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        for j in range(ceil_div(y.cols, VLEN)):
            vstore(y.data + i * y.ld + j * VLEN,
                   vload(a.data + i * a.ld + j * VLEN) / vload(b.data + i * b.ld + j * VLEN))


cdef void divisor_gradient(const Matrix* a, const Matrix* b, const Matrix* dy,
                           const Matrix* db) noexcept nogil:
    """db = −dy·a / b²."""
    cdef Py_ssize_t i, j
    cdef vreal divisor, product
    for i in range(db.rows):
        for j in range(ceil_div(db.cols, VLEN)):
            divisor = vload(b.data + i * b.ld + j * VLEN)
            product = vload(dy.data + i * dy.ld + j * VLEN) * vload(a.data + i * a.ld + j * VLEN)
            vstore(db.data + i * db.ld + j * VLEN, vsplat(0) - product / (divisor * divisor))


cdef void constant_power(const Matrix* x, double exponent, const Matrix* y) noexcept nogil:
    """y = x^exponent, element by element."""
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        for j in range(y.cols):
            y.data[i * y.ld + j] = <real>pow(x.data[i * x.ld + j], exponent)


cdef void constant_power_gradient(const Matrix* x, double exponent, const Matrix* dy,
                                  const Matrix* dx) noexcept nogil:
    """dx = dy·exponent·x^(exponent − 1), 0 if the exponent is 0."""
    cdef Py_ssize_t i, j
    cdef double slope
    for i in range(dx.rows):
        for j in range(dx.cols):
            slope = exponent * pow(x.data[i * x.ld + j], exponent - 1) if exponent != 0 else 0
            dx.data[i * dx.ld + j] = <real>(dy.data[i * dy.ld + j] * slope)


cdef void tensor_power(const Matrix* a, const Matrix* b, const Matrix* y) noexcept nogil:
    """y = a^b, element by element."""
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        for j in range(y.cols):
            y.data[i * y.ld + j] = <real>pow(a.data[i * a.ld + j], b.data[i * b.ld + j])


cdef void tensor_power_gradient(const Matrix* a, const Matrix* b, const Matrix* dy, bint first,
                                const Matrix* dx) noexcept nogil:
    """dx = dy·b·a^(b − 1) if `first`, otherwise dy·a^b·log a, which is 0 where a is 0."""
    cdef Py_ssize_t i, j
    cdef double base, exponent, slope
    for i in range(dx.rows):
        for j in range(dx.cols):
            base, exponent = a.data[i * a.ld + j], b.data[i * b.ld + j]
            if first:
                slope = exponent * pow(base, exponent - 1) if exponent != 0 else 0
            else:
                slope = pow(base, exponent) * log(base) if base != 0 else 0
            dx.data[i * dx.ld + j] = <real>(dy.data[i * dy.ld + j] * slope)
