"""Embeddings: rows of a table, looked up by ids, and the sums of their gradients."""

# Sums of the gradients of those rows of a table that have been read, at positions 1 … last in the order in
# which they were first read. rows[p] − 1 is the row at position p; beyond `last`, rows is 0. If row i has
# been read, place[i] is its position; if not, it is any position of another row. So `place` needs no
# clearing. The sum at position 0 is 0.
ctypedef struct RowSums:
    int32_t* place
    int32_t* rows
    real* sums
    Py_ssize_t ld
    Py_ssize_t last


cdef inline Py_ssize_t row_of(real id, real n) noexcept nogil:
    """Return an id as an index, or −1 if it is not in [0, n).

    Ids are checked before a run. This check is for data that another Python thread modifies meanwhile.
    """
    return <Py_ssize_t>id if 0 <= id < n else -1


cdef inline void look_up_rows(const Matrix* ids, const Matrix* w, Py_ssize_t n,
                              const Matrix* y) noexcept nogil:
    """y[r, j·n … (j + 1)·n − 1] = row ids[r, j] of w, which has n columns; 0 if there is no such row."""
    cdef Py_ssize_t r, j, i
    cdef const real* data = w.data
    cdef const real* id
    cdef real* out
    cdef real rows = <real>w.rows
    for r in range(ids.rows):
        id = ids.data + r * ids.ld
        out = y.data + r * y.ld
        for j in range(ids.cols):
            i = row_of(id[j], rows)
            if i >= 0:
                copy_row(data + i * n, n, out)
            else:
                memset(out, 0, n * sizeof(real))
            out += n


cdef void look_up(const Matrix* ids, const Matrix* w, const Matrix* y) noexcept nogil:
    """See look_up_rows; tables whose rows are one vector have a loop of their own."""
    if w.cols == VLEN:
        look_up_rows(ids, w, VLEN, y)
    else:
        look_up_rows(ids, w, w.cols, y)


cdef inline void sum_of_rows(const real* x, const real* y, Py_ssize_t n, real* sum) noexcept nogil:
    """sum (n) = x (n) + y (n); whole vectors of y and of the sum are read and written."""
    cdef Py_ssize_t q
    for q in range(n // VLEN):
        vstore(sum + q * VLEN, vload(y + q * VLEN) + vload(x + q * VLEN))
    q = n // VLEN * VLEN
    if q < n:
        vstore(sum + q, vload(y + q) + vload_n(x + q, <int>(n - q)))


cdef inline void add_rows_of(const Matrix* ids, const Matrix* dy, Py_ssize_t n, Py_ssize_t begin,
                             Py_ssize_t end, RowSums* s) noexcept nogil:
    """Add dy[r, j·n … (j + 1)·n − 1] to the sum of row ids[r, j], in the order of (r, j).

    Only rows begin … end − 1 of the table are considered. Whether a row has been read before cannot be
    predicted, so a mask takes the place of a branch: the sum of a new row starts from that at position 0.
    """
    cdef Py_ssize_t last = s.last, ld = s.ld, r, j, i, p, known
    cdef int32_t* place = s.place
    cdef int32_t* rows = s.rows
    cdef real* sums = s.sums
    cdef const real* id
    cdef const real* g
    cdef real limit = <real>end
    for r in range(ids.rows):
        id = ids.data + r * ids.ld
        g = dy.data + r * dy.ld
        for j in range(ids.cols):
            i = row_of(id[j], limit)
            if i >= begin:
                p = place[i]
                known = -<Py_ssize_t>(rows[p] == i + 1)     # all bits or none
                last += 1 + known
                p = last + (p - last & known)
                place[i] = <int32_t>p
                rows[p] = <int32_t>(i + 1)
                sum_of_rows(g, sums + (p * ld & known), n, sums + p * ld)
            g += n
    s.last = last


cdef void add_rows_by_id(const Matrix* ids, const Matrix* dy, Py_ssize_t n, Py_ssize_t begin, Py_ssize_t end,
                         RowSums* s) noexcept nogil:
    """See add_rows_of; tables whose rows are one vector have a loop of their own."""
    if n == VLEN:
        add_rows_of(ids, dy, VLEN, begin, end, s)
    else:
        add_rows_of(ids, dy, n, begin, end, s)


cdef inline void add_in_place_of(const Matrix* ids, const Matrix* dy, Py_ssize_t n, Py_ssize_t begin,
                                 Py_ssize_t end, real* sums) noexcept nogil:
    """sums[i] += dy[r, j·n … (j + 1)·n − 1] for i = ids[r, j], if begin ≤ i < end, in the order of (r, j)."""
    cdef Py_ssize_t r, j, i
    cdef const real* id
    cdef const real* g
    cdef real limit = <real>end
    for r in range(ids.rows):
        id = ids.data + r * ids.ld
        g = dy.data + r * dy.ld
        for j in range(ids.cols):
            i = row_of(id[j], limit)
            if i >= begin:
                sum_of_rows(g, sums + i * n, n, sums + i * n)
            g += n


cdef void add_in_place(const Matrix* ids, const Matrix* dy, Py_ssize_t n, Py_ssize_t begin, Py_ssize_t end,
                       real* sums) noexcept nogil:
    """See add_in_place_of; tables whose rows are one vector have a loop of their own."""
    if n == VLEN:
        add_in_place_of(ids, dy, VLEN, begin, end, sums)
    else:
        add_in_place_of(ids, dy, n, begin, end, sums)
