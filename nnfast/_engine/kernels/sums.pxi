"""Sums of many terms: up to TERMS of them in vectors, as one run, and the runs in float64.

A op_list of n terms in float32 may be wrong by n/2 units in the last place, and is by hundreds where thousands
of terms have one sign. Runs are cut by shape alone, so that the order never depends on threads.
"""

cdef enum:
    TERMS = 64      # vectors of a run


cdef inline void add_lanes(vreal v, double* total) noexcept nogil:
    """total[k] += v[k]"""
    cdef real lanes[16]
    cdef int k
    vstore(lanes, v)
    for k in range(VLEN):
        total[k] += lanes[k]


cdef inline vreal rounded(const double* total) noexcept nogil:
    """The same numbers as a vector."""
    cdef real lanes[16]
    cdef int k
    for k in range(VLEN):
        lanes[k] = <real>total[k]
    return vload(lanes)


cdef inline void end_run(Py_ssize_t j, vreal* run, double* sum) noexcept nogil:
    """sum += the lanes of the run if term j is its last one: another one begins."""
    if j % TERMS == TERMS - 1:
        sum[0] += vsum(run[0])
        run[0] = vsplat(0)


cdef inline double row_total(Py_ssize_t n, const real* x) noexcept nogil:
    """Σ x"""
    cdef Py_ssize_t j
    cdef double sum = 0
    cdef vreal run = vsplat(0)
    for j in range(ceil_div(n, VLEN)):
        run = run + load_cols(x + j * VLEN, <int>min(n - j * VLEN, <Py_ssize_t>VLEN))
        end_run(j, &run, &sum)
    return sum + vsum(run)


cdef inline double row_dot(Py_ssize_t n, const real* x, const real* y) noexcept nogil:
    """Σ x·y of rows of n elements, readable for whole vectors."""
    cdef Py_ssize_t j
    cdef double sum = 0
    cdef vreal run = vsplat(0)
    for j in range(ceil_div(n, VLEN)):
        run = run + row_part(x, j, n, 0) * row_part(y, j, n, 0)
        end_run(j, &run, &sum)
    return sum + vsum(run)


cdef inline double row_penalty(Py_ssize_t n, const real* x, double l1, double l2) noexcept nogil:
    """l1·Σ|x| + l2·Σx²"""
    cdef Py_ssize_t j
    cdef double size_sum = 0, square_sum = 0
    cdef vreal v, size = vsplat(0), square = vsplat(0)
    for j in range(ceil_div(n, VLEN)):
        v = load_cols(x + j * VLEN, <int>min(n - j * VLEN, <Py_ssize_t>VLEN))
        size = size + vabs(v)
        square = square + v * v
        end_run(j, &size, &size_sum)
        end_run(j, &square, &square_sum)
    return l1 * (size_sum + vsum(size)) + l2 * (square_sum + vsum(square))


# Vectors at x + i·row + j·col, of which there are rows × cols.
ctypedef struct Grid:
    Py_ssize_t rows, cols
    Py_ssize_t row, col


cdef inline Grid grid_of(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t row, Py_ssize_t col) noexcept nogil:
    """A single column is one long row: runs are cut out of rows."""
    if cols == 1:
        return Grid(1, rows, 0, row)
    return Grid(rows, cols, row, col)


cdef inline vreal term(const real* x, int width, bint squares, vreal shift) noexcept nogil:
    cdef vreal v = load_cols(x, width) - shift
    return v * v if squares else v


cdef inline void add_runs(const Grid* grid, const real* x, int width, bint squares, vreal shift,
                          double* total) noexcept nogil:
    """Runs are of several rows, or of a part of one, in four strands. width and squares are constants in
    every call that is to be fast."""
    cdef Py_ssize_t high = max(<Py_ssize_t>1, TERMS // max(<Py_ssize_t>1, grid.cols))
    cdef Py_ssize_t wide = even_length(grid.cols, TERMS, 4), step = grid.col, r, q, i, j, n
    cdef vreal a, b, c, d
    cdef const real* p
    for r in range(ceil_div(grid.rows, high)):
        for q in range(ceil_div(grid.cols, wide)):
            n = min(wide, grid.cols - q * wide)
            a = b = c = d = vsplat(0)
            for i in range(r * high, min((r + 1) * high, grid.rows)):
                p = x + i * grid.row + q * wide * step
                for j in range(n // 4):
                    a = a + term(p, width, squares, shift)
                    b = b + term(p + step, width, squares, shift)
                    c = c + term(p + 2 * step, width, squares, shift)
                    d = d + term(p + 3 * step, width, squares, shift)
                    p += 4 * step
                for j in range(n % 4):
                    a = a + term(p, width, squares, shift)
                    p += step
            add_lanes((a + b) + (c + d), total)


cdef void grid_sum(const Grid* grid, const real* x, int width, bint squares, vreal shift,
                   double* total) noexcept nogil:
    """total[k] = Σ (x − shift), or Σ (x − shift)², of `width` lanes."""
    cdef int k
    for k in range(VLEN):
        total[k] = 0
    if width == VLEN and squares:
        add_runs(grid, x, VLEN, True, shift, total)
    elif width == VLEN:
        add_runs(grid, x, VLEN, False, shift, total)
    else:
        add_runs(grid, x, width, squares, shift, total)
