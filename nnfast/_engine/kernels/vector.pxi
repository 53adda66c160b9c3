"""Matrices, loads and stores of parts of vectors, and the division of work into steps."""

# Rows of `cols` elements, `ld` apart. It is passed by address: gcc copies structs in vectors, which have to
# wait where their fields were stored one by one. A kernel's docstring says which of its matrices it writes.
ctypedef struct Matrix:
    real* data
    Py_ssize_t rows, cols, ld


cdef inline Matrix matrix(const real* data, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    cdef Matrix a
    a.data = <real*>data
    a.rows = rows
    a.cols = cols
    a.ld = ld
    return a


cdef inline Matrix rows_of(const Matrix* a, Py_ssize_t begin, Py_ssize_t n) noexcept nogil:
    """Rows begin … begin + n of a matrix."""
    return matrix(a.data + begin * a.ld, n, a.cols, a.ld)


cdef inline Matrix columns_from(const Matrix* a, Py_ssize_t begin, Py_ssize_t n) noexcept nogil:
    """Columns begin … begin + n of a matrix."""
    return matrix(a.data + begin, a.rows, n, a.ld)


cdef inline Py_ssize_t ceil_div(Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """⌈n / step⌉. Loops count blocks: a range with an extern step needs the GIL (its sign is
    unknown)."""
    return (n + step - 1) // step


cdef inline Py_ssize_t split_begin(Py_ssize_t n, Py_ssize_t step, Py_ssize_t t,
                                   Py_ssize_t parts) noexcept nogil:
    """Where part t of n begins, in whole steps."""
    return min(n, ceil_div(n, step) * t // parts * step)


cdef inline Py_ssize_t even_length(Py_ssize_t n, Py_ssize_t most, Py_ssize_t step) noexcept nogil:
    """The length of equal parts that divide n, as few as possible: a multiple of `step`, at most `most`
    (itself a multiple of `step`). The last part may be shorter."""
    return ceil_div(ceil_div(n, step), ceil_div(n, most)) * step if n > 0 else step


cdef inline vreal load_cols(const real* p, int cols) noexcept nogil:
    if cols >= VLEN:
        return vload(p)
    return vload_n(p, cols) if cols > 0 else vsplat(0)


cdef inline void store_cols(real* p, vreal v, int cols) noexcept nogil:
    if cols >= VLEN:
        vstore(p, v)
    elif cols > 0:
        vstore_n(p, v, cols)


cdef inline void copy_row(const real* x, Py_ssize_t n, real* out) noexcept nogil:
    """In vectors, of which the last may overlap the one before it: short rows are not worth a call of memcpy,
    and long ones it copies by an instruction that is slower."""
    cdef Py_ssize_t q
    if n <= VLEN:
        store_cols(out, load_cols(x, <int>n), <int>n)
    else:
        for q in range(n // VLEN):
            vstore(out + q * VLEN, vload(x + q * VLEN))
        if n % VLEN != 0:
            vstore(out + n - VLEN, vload(x + n - VLEN))


cdef inline vreal row_part(const real* row, Py_ssize_t j, Py_ssize_t n, real fill) noexcept nogil:
    """Vector j of a row of n elements; the lanes past its end hold `fill`."""
    cdef Py_ssize_t left = n - j * VLEN
    if left >= VLEN:
        return vload(row + j * VLEN)
    return vselect(vgt(vkeep_n(vsplat(1), <int>left), vsplat(0)), vload(row + j * VLEN), vsplat(fill))


cdef inline real row_max(const real* row, Py_ssize_t n) noexcept nogil:
    cdef vreal peak = vsplat(-INFINITY)
    cdef Py_ssize_t j
    for j in range(ceil_div(n, VLEN)):
        peak = vmax(peak, row_part(row, j, n, -INFINITY))
    return vpeak(peak)
