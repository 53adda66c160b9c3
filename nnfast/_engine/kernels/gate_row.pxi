"""The gates of a single row and few steps, as when a policy takes a step: weights are read where they are.

Packing them would take longer than the products. Each sum is the same chain as in the register tile.
"""
cdef inline void add_gates(int nq, int n, const Recurrence* s, const Matrix* w, Py_ssize_t u, const real* row,
                           vreal acc[2][4], int last) noexcept nogil:
    """acc[q][g] += row · w for the gates of nq vectors of units from u on; gate n − 1 is added to sum `last`.

    nq, n and last are compile-time constants at every call site. Two vectors give enough independent sums.
    """
    cdef Py_ssize_t p
    cdef vreal a
    cdef vreal b[2][4]
    cdef int q, g
    for p in range(w.rows):
        a = vsplat(row[p])
        for q in range(nq):
            for g in range(n):
                b[q][g] = unit_cols(s, w.data + p * w.ld, g, u + q * VLEN)
        for q in range(nq):
            for g in range(n - 1):
                acc[q][g] = acc[q][g] + a * b[q][g]
            acc[q][last] = acc[q][last] + a * b[q][n - 1]


cdef inline void sums_of_units(int nq, int n, const Recurrence* s, const RecurrentWeights* w, Py_ssize_t u,
                               const real* row, real* sums) noexcept nogil:
    """sums[nq, gate_sums, VLEN] = the sums of nq vectors of units from u on; row: [h x]."""
    cdef vreal acc[2][4]
    cdef Matrix r = matrix(w.r, s.units, n * s.units, n * s.units)
    cdef Matrix k = matrix(w.k, s.features, n * s.units, n * s.units)
    cdef int q, g, kinds = 1 if n == 1 else 4
    for q in range(nq):
        pack_start(s, w.b, u + q * VLEN, VLEN, sums + q * kinds * VLEN)
        for g in range(kinds):
            acc[q][g] = vload(sums + (q * kinds + g) * VLEN)
    add_gates(nq, n, s, &r, u, row, acc, n - 1)
    add_gates(nq, n, s, &k, u, row + s.units, acc, 3 if n == 3 else n - 1)
    for q in range(nq):
        for g in range(kinds):
            vstore(sums + (q * kinds + g) * VLEN, acc[q][g])


cdef inline void sums_of_row(int n, const Recurrence* s, const RecurrentWeights* w, const real* row,
                             real* sums) noexcept nogil:
    """sums[units / VLEN][gate_sums, VLEN] = the sums of a step; n gates have a kernel."""
    cdef Py_ssize_t q, vectors = ceil_div(s.units, VLEN)
    for q in range(0, vectors - 1, 2):
        sums_of_units(2, n, s, w, q * VLEN, row, sums + q * (1 if n == 1 else 4) * VLEN)
    if vectors % 2 == 1:
        q = vectors - 1
        sums_of_units(1, n, s, w, q * VLEN, row, sums + q * (1 if n == 1 else 4) * VLEN)


cdef void gate_row(const Recurrence* s, const RecurrentWeights* w, const real* row,
                   real* sums) noexcept nogil:
    """Compute the sums of a step of a cell that has one product for each gate."""
    if s.cell == CELL_LSTM:
        sums_of_row(4, s, w, row, sums)
    elif s.cell == CELL_GRU:
        sums_of_row(3, s, w, row, sums)
    else:
        sums_of_row(1, s, w, row, sums)
