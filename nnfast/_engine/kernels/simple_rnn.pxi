"""The arithmetic of a simple recurrent cell (Elman, 1990): h_t = f(x·k + h_{t−1}·r + b).

With tanh, everything is computed in one pass.
"""

cdef void simple_forward(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Compute h of c.width units and store it as the gate, too."""
    cdef Py_ssize_t i
    cdef bint fused = s.activation == ACT_TANH
    cdef vreal h
    if not fused:
        activate_gate(s, c, 0, False, sums, c.ld_sums)
    for i in range(c.rows):
        h = vload(sums + i * c.ld_sums)
        if fused:
            h = v_tanh(h)
        store_cols(c.gates + i * c.ld_gates, h, <int>c.width)
        store_h(c, i, h)


cdef void simple_backward(const Recurrence* s, const CellRows* c, const real* dh, real* spare) noexcept nogil:
    """Replace h of a step by the gradient of its pre-activation."""
    cdef Py_ssize_t i, q, u
    cdef bint fused = s.activation == ACT_TANH
    cdef vreal h, d, one = vsplat(1)
    for i in range(c.rows):
        for q in range(ceil_div(s.units, VLEN)):
            u = q * VLEN
            d = step_dh(c, i, u, dh)
            if fused:
                h = vload(c.gates + i * c.ld_gates + u)
                store_cols(c.gates + i * c.ld_gates + u, d * (one - h * h), <int>(s.units - u))
            else:
                vstore(spare + i * c.ld_gates + u, d)
    if not fused:
        through_gate(s, c, 0, False, spare)
        copy_gates(c, 1, spare, 0)
