"""The arithmetic of a simple recurrent cell (Elman, 1990): h_t = f(x·k + h_{t−1}·r + b)."""

cdef void simple_forward(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Compute h of c.width units and store it as the gate, too."""
    cdef Py_ssize_t i
    activate_gate(s, c, 0, False, sums, VLEN)
    for i in range(c.rows):
        store_cols(c.gates + i * c.ld_gates, vload(sums + i * VLEN), <int>c.width)
        store_h(c, i, vload(sums + i * VLEN))


cdef void simple_backward(const Recurrence* s, const CellRows* c, const real* dh, real* spare) noexcept nogil:
    """Replace h of a step by the gradient of its pre-activation."""
    cdef Py_ssize_t i, q
    for i in range(c.rows):
        for q in range(ceil_div(s.units, VLEN)):
            vstore(spare + i * c.ld_gates + q * VLEN, step_dh(c, i, q * VLEN, dh))
    through_gate(s, c, 0, False, spare)
    copy_gates(c, 1, spare, 0)
