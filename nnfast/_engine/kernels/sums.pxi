"""Accurate sums of many terms: runs of up to TERMS vectors are summed in `real`, and their sums in float64.

Adding n terms one by one in float32 can cause an error of n/2 ulps. For thousands of terms of the same sign,
the actual error is hundreds of ulps. How terms are divided into runs depends only on shapes, so the order of
summation never depends on threads.
"""

cdef enum:
    TERMS = 64      # maximum number of vectors per run


cdef inline void add_lanes(vreal v, double* total) noexcept nogil:
    """total[k] += v[k]."""
    cdef real lanes[16]
    cdef int k
    vstore(lanes, v)
    for k in range(VLEN):
        total[k] += lanes[k]


cdef inline vreal rounded(const double* total) noexcept nogil:
    """Return the totals of all lanes as a vector, rounded to `real`."""
    cdef real lanes[16]
    cdef int k
    for k in range(VLEN):
        lanes[k] = <real>total[k]
    return vload(lanes)


cdef inline void end_run(Py_ssize_t j, vreal* run, double* sum) noexcept nogil:
    """If vector j is the last of its run, add the lanes of the run to sum and start the next run."""
    if j % TERMS == TERMS - 1:
        sum[0] += vsum(run[0])
        run[0] = vsplat(0)


cdef inline double row_total(Py_ssize_t n, const real* x) noexcept nogil:
    """Return Σ x over n elements."""
    cdef Py_ssize_t j
    cdef double sum = 0
    cdef vreal run = vsplat(0)
    for j in range(ceil_div(n, VLEN)):
        run = run + load_cols(x + j * VLEN, <int>min(n - j * VLEN, <Py_ssize_t>VLEN))
        end_run(j, &run, &sum)
    return sum + vsum(run)


cdef inline double row_dot(Py_ssize_t n, const real* x, const real* y) noexcept nogil:
    """Return Σ x·y over n elements; both rows are readable for whole vectors."""
    cdef Py_ssize_t j
    cdef double sum = 0
    cdef vreal run = vsplat(0)
    for j in range(ceil_div(n, VLEN)):
        run = run + row_part(x, j, n, 0) * row_part(y, j, n, 0)
        end_run(j, &run, &sum)
    return sum + vsum(run)


cdef inline double row_penalty(Py_ssize_t n, const real* x, double l1, double l2) noexcept nogil:
    """Return l1·Σ|x| + l2·Σx² over n elements."""
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


# A grid of rows × cols vectors; vector (i, j) is at x + i·row + j·col.
ctypedef struct Grid:
    Py_ssize_t rows, cols
    Py_ssize_t row, col


cdef inline Grid grid_of(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t row, Py_ssize_t col) noexcept nogil:
    """Return a grid of vectors. A single column becomes a single row, because runs are formed along rows."""
    if cols == 1:
        return Grid(1, rows, 0, row)
    return Grid(rows, cols, row, col)


cdef inline vreal term(const real* x, int width, bint squares, vreal shift) noexcept nogil:
    """Return x − shift, or its square, for `width` lanes."""
    cdef vreal v = load_cols(x, width) - shift
    return v * v if squares else v


cdef inline void add_runs(const Grid* grid, const real* x, int width, bint squares, vreal shift,
                          double* total) noexcept nogil:
    """Add the sum over the grid to total. A run is several rows or a part of one row.

    Each run is summed in four accumulators. For speed, calls for whole vectors pass constants for width and
    `squares`.
    """
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
    """total[k] = Σ (x − shift), or Σ (x − shift)² if `squares`, over the grid, for lanes k < width."""
    cdef int k
    for k in range(VLEN):
        total[k] = 0
    if width == VLEN and squares:
        add_runs(grid, x, VLEN, True, shift, total)
    elif width == VLEN:
        add_runs(grid, x, VLEN, False, shift, total)
    else:
        add_runs(grid, x, width, squares, shift, total)


cdef int all_finite(Py_ssize_t n, const void* x) noexcept nogil:
    """Return whether no number is NaN or infinite: the product with 0 is 0 only of finite numbers."""
    cdef const real* numbers = <const real*>x
    cdef vreal sums[8]      # enough to keep the pipelines full
    cdef Py_ssize_t i, j
    for j in range(8):
        sums[j] = vsplat(0)
    for i in range(n // (8 * VLEN)):
        for j in range(8):
            sums[j] = sums[j] + vsplat(0) * vload(numbers + (8 * i + j) * VLEN)
    for i in range(n // (8 * VLEN) * 8, ceil_div(n, VLEN)):
        sums[0] = sums[0] + vsplat(0) * load_cols(numbers + i * VLEN, <int>(n - i * VLEN))
    for j in range(1, 8):
        sums[0] = sums[0] + sums[j]
    return vsum(sums[0]) == 0
