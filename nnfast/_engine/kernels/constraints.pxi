"""Constraints on weights, applied after each optimizer step as in Keras.

The norm n of a column, a row or the whole array becomes (1 − rate)·n + rate·clip(n, low, high).
"""

cdef inline real norm_factor(const Parameter* a, double norm) noexcept nogil:
    """Return the factor that scales weights with this norm to the desired norm.

    As in Keras, 1e-7 is added to the denominator.
    """
    cdef double desired = a.rate * max(a.low, min(a.high, norm)) + (1 - a.rate) * norm
    return <real>(desired / (1e-7 + norm))


cdef void constrain_columns(const Parameter* a, real* w, Py_ssize_t c0, Py_ssize_t c1) noexcept nogil:
    """Constrain the norm of each column c0 ≤ c < c1 of w (rows, cols), in place."""
    cdef Grid grid = grid_of(1, a.rows, 0, a.cols)
    cdef Py_ssize_t i, q, c
    cdef int width, k
    cdef double squares[16]
    cdef vreal factor
    for q in range(ceil_div(c1 - c0, VLEN)):
        c = c0 + q * VLEN
        width = <int>min(c1 - c, <Py_ssize_t>VLEN)
        grid_sum(&grid, w + c, width, True, vsplat(0), squares)
        for k in range(VLEN):
            squares[k] = norm_factor(a, sqrt(squares[k]))
        factor = rounded(squares)
        for i in range(a.rows):
            store_cols(w + i * a.cols + c, load_cols(w + i * a.cols + c, width) * factor, width)


cdef void constrain_run(const Parameter* a, real* w, Py_ssize_t n) noexcept nogil:
    """Constrain the norm of n contiguous elements, in place."""
    cdef Py_ssize_t q
    cdef int width
    cdef vreal factor = vsplat(norm_factor(a, sqrt(row_penalty(n, w, 0, 1))))
    for q in range(ceil_div(n, VLEN)):
        width = <int>min(n - q * VLEN, <Py_ssize_t>VLEN)
        store_cols(w + q * VLEN, load_cols(w + q * VLEN, width) * factor, width)


cdef void constrain_sign(real* w, Py_ssize_t n) noexcept nogil:
    """w = max(0, w), in place."""
    cdef Py_ssize_t i
    for i in range(n):
        w[i] = 0 if w[i] < 0 else w[i]
