"""Matrices, loads and stores of partial vectors, and the division of work into steps."""

# rows × cols elements with leading dimension ld. Matrices are passed by address: gcc copies structs with
# vector loads, which stall if the fields were just stored one by one. Docstrings say which matrices a
# kernel writes.
ctypedef struct Matrix:
    real* data
    Py_ssize_t rows, cols, ld


cdef inline Matrix matrix(const real* data, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    """Return a matrix over existing data, without a copy."""
    cdef Matrix a
    a.data = <real*>data
    a.rows = rows
    a.cols = cols
    a.ld = ld
    return a


cdef inline Matrix rows_of(const Matrix* a, Py_ssize_t begin, Py_ssize_t n) noexcept nogil:
    """Return rows begin … begin + n − 1 of a matrix, without a copy."""
    return matrix(a.data + begin * a.ld, n, a.cols, a.ld)


cdef inline Matrix columns_from(const Matrix* a, Py_ssize_t begin, Py_ssize_t n) noexcept nogil:
    """Return columns begin … begin + n − 1 of a matrix, without a copy."""
    return matrix(a.data + begin, a.rows, n, a.ld)


cdef inline Py_ssize_t ceil_div(Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """Return ⌈n / step⌉. Loops count steps, because range() with an extern constant as step needs the GIL."""
    return (n + step - 1) // step


cdef inline Py_ssize_t split_begin(Py_ssize_t n, Py_ssize_t step, Py_ssize_t t,
                                   Py_ssize_t parts) noexcept nogil:
    """Return where part t begins if n is divided evenly, in whole steps, into `parts` parts."""
    return min(n, ceil_div(n, step) * t // parts * step)


cdef inline Py_ssize_t even_length(Py_ssize_t n, Py_ssize_t most, Py_ssize_t step) noexcept nogil:
    """Return the part length that divides n into as few equal parts as possible; the last may be shorter.

    The length is a multiple of `step` and at most `most`, which must be a multiple of `step`, too.
    """
    return ceil_div(ceil_div(n, step), ceil_div(n, most)) * step if n > 0 else step


cdef inline vreal load_cols(const real* p, int cols) noexcept nogil:
    """Return a vector with the first `cols` elements (VLEN if cols ≥ VLEN); the other lanes are 0."""
    if cols >= VLEN:
        return vload(p)
    return vload_n(p, cols) if cols > 0 else vsplat(0)


cdef inline void store_cols(real* p, vreal v, int cols) noexcept nogil:
    """Store the first `cols` lanes, or all lanes if cols ≥ VLEN."""
    if cols >= VLEN:
        vstore(p, v)
    elif cols > 0:
        vstore_n(p, v, cols)


cdef inline void copy_row(const real* x, Py_ssize_t n, real* out) noexcept nogil:
    """out (n) = x (n). The last vector may overlap the one before it.

    For short rows, a call to memcpy costs too much; for long rows, memcpy uses a slower instruction.
    """
    cdef Py_ssize_t q
    if n <= VLEN:
        store_cols(out, load_cols(x, <int>n), <int>n)
    else:
        for q in range(n // VLEN):
            vstore(out + q * VLEN, vload(x + q * VLEN))
        if n % VLEN != 0:
            vstore(out + n - VLEN, vload(x + n - VLEN))


cdef void copy_block(Py_ssize_t rows, int cols, const real* x, Py_ssize_t ldx, real* y,
                     Py_ssize_t ldy) noexcept nogil:
    """y[rows, cols] = x for a few columns.

    Each vector is loaded as it was stored, because loads that span two recent stores wait for both.
    """
    cdef Py_ssize_t i, q, j
    for i in range(rows):
        for q in range(ceil_div(cols, VLEN)):
            j = q * VLEN
            store_cols(y + i * ldy + j, load_cols(x + i * ldx + j, <int>(cols - j)), <int>(cols - j))


cdef inline vreal row_part(const real* row, Py_ssize_t j, Py_ssize_t n, real fill) noexcept nogil:
    """Return vector j of a row of n elements, with `fill` in lanes past the end; whole vectors are read."""
    cdef Py_ssize_t left = n - j * VLEN
    if left >= VLEN:
        return vload(row + j * VLEN)
    return vselect(vgt(vkeep_n(vsplat(1), <int>left), vsplat(0)), vload(row + j * VLEN), vsplat(fill))


cdef inline real row_max(const real* row, Py_ssize_t n) noexcept nogil:
    """Return the maximum of a row of n elements."""
    cdef vreal peak = vsplat(-INFINITY)
    cdef Py_ssize_t j
    for j in range(ceil_div(n, VLEN)):
        peak = vmax(peak, row_part(row, j, n, -INFINITY))
    return vpeak(peak)
