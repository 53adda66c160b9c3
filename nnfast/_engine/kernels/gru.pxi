"""The arithmetic of a gated recurrent unit (Cho et al., 2014), with the gates z, r and g.

    h_t = z ⊙ h_{t−1} + (1 − z) ⊙ g,  g = tanh(x·k_g + b + r ⊙ a),  a = h_{t−1}·r_g + b'

The planes of the gates are a, z, r, g, so that the gradients for h (the planes 0 to 2) and those for x (the
planes 1 to 3) are contiguous. If the reset gate r comes before the product, then g =
tanh(x·k_g + b + (r ⊙ h)·r_g).
"""

cdef inline void gru_rows(bint fused, const CellRows* cell, const real* sums) noexcept nogil:
    """Store the gates and h. `fused`: sums are pre-activations and a, not gates."""
    cdef CellRows c = cell[0]
    cdef Py_ssize_t i
    cdef int width = <int>c.width
    cdef vreal z, r, a, g, one = vsplat(1)
    for i in range(c.rows):
        z, r = vload(sums), vload(sums + c.plane)
        a, g = vload(sums + 2 * c.plane), vload(sums + 3 * c.plane)
        if fused:
            z, r = v_sigmoid(z), v_sigmoid(r)
            g = v_tanh(g + r * a)
        store_cols(c.gates, a, width)
        store_cols(c.gates + c.units, z, width)
        store_cols(c.gates + 2 * c.units, r, width)
        store_cols(c.gates + 3 * c.units, g, width)
        store_h(&c, i, z * vload(c.last + i * c.ld_h) + (one - z) * g)
        c.gates += c.ld_gates
        sums += c.ld_sums


cdef void activate_z_and_r(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Apply the recurrent activation to the pre-activations of z and r."""
    activate_gate(s, c, 1, True, sums, c.ld_sums)
    activate_gate(s, c, 2, True, sums + c.plane, c.ld_sums)


cdef void gru_forward(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Compute the gates and h of c.width units from the sums z, r, a and that of x for g."""
    cdef Py_ssize_t i
    cdef real* p
    if uses_default_activations(s):
        gru_rows(True, c, sums)
        return
    activate_z_and_r(s, c, sums)
    for i in range(c.rows):
        p = sums + i * c.ld_sums
        vstore(p + 3 * c.plane, vload(p + 3 * c.plane) + vload(p + c.plane) * vload(p + 2 * c.plane))
    activate_gate(s, c, 3, False, sums + 3 * c.plane, c.ld_sums)
    gru_rows(False, c, sums)


cdef void gru_reset(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Store z, r, r ⊙ h and, in the plane of g, the sum of x."""
    cdef Py_ssize_t i
    cdef int g, width = <int>c.width
    activate_z_and_r(s, c, sums)
    for i in range(c.rows):
        vstore(c.before + i * c.ld_units, vload(sums + c.plane) * vload(c.fed + i * c.ld_inputs))
        for g in range(2):
            store_cols(c.gates + i * c.ld_gates + (1 + g) * c.units, vload(sums + g * c.plane), width)
        store_cols(c.gates + i * c.ld_gates + 3 * c.units, vload(sums + 3 * c.plane), width)
        sums += c.ld_sums


cdef void gru_finish(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Compute g and h of c.width units after `gru_reset`; sums: (r ⊙ h)·r_g."""
    cdef Py_ssize_t i
    cdef real* gates
    cdef vreal z, one = vsplat(1)
    for i in range(c.rows):
        vstore(sums + i * VLEN, vload(sums + i * VLEN) + vload(c.gates + i * c.ld_gates + 3 * c.units))
    activate_gate(s, c, 3, False, sums, VLEN)
    for i in range(c.rows):
        gates = c.gates + i * c.ld_gates
        z = vload(gates + c.units)
        store_cols(gates + 3 * c.units, vload(sums + i * VLEN), <int>c.width)
        store_h(c, i, z * vload(c.last + i * c.ld_h) + (one - z) * vload(sums + i * VLEN))


# ---- backward -------------------------------------------------------------------------------------

cdef void gru_gradient_rows(const CellRows* cell, real* dh) noexcept nogil:
    """Compute gru_backward for tanh and the sigmoid."""
    cdef CellRows c = cell[0]
    cdef Py_ssize_t i, q, u
    cdef int width
    cdef vreal a, z, r, g, d, dg, one = vsplat(1)
    for i in range(c.rows):
        for q in range(ceil_div(c.units, VLEN)):
            u = q * VLEN
            width = <int>(c.units - u)
            a, z = vload(c.gates + u), vload(c.gates + c.units + u)
            r, g = vload(c.gates + 2 * c.units + u), vload(c.gates + 3 * c.units + u)
            d = step_dh(&c, i, u, dh)
            vstore(dh + i * c.ld_units + u, d * z)
            dg = d * (one - z) * (one - g * g)
            d = d * (vload(c.last + i * c.ld_h + u) - g)
            store_cols(c.gates + u, dg * r, width)
            store_cols(c.gates + c.units + u, d * (z * (one - z)), width)
            store_cols(c.gates + 2 * c.units + u, dg * a * (r * (one - r)), width)
            store_cols(c.gates + 3 * c.units + u, dg, width)
        c.gates += c.ld_gates


cdef void gru_backward_z_and_g(const Recurrence* s, const CellRows* c, real* dh, real* spare) noexcept nogil:
    """Compute the planes 1 and 3 of the gradients of the pre-activations in `spare`; dh becomes dh ⊙ z."""
    cdef Py_ssize_t i, q, u, p, plane = padded_units(s)
    cdef vreal d, z, g
    for i in range(c.rows):
        for q in range(ceil_div(s.units, VLEN)):
            u = q * VLEN
            p = i * c.ld_gates + u
            z, g = vload(c.gates + p + c.units), vload(c.gates + p + 3 * c.units)
            d = step_dh(c, i, u, dh)
            vstore(dh + i * c.ld_units + u, d * z)
            vstore(spare + p + plane, d * (vload(c.last + i * c.ld_h + u) - g))
            vstore(spare + p + 3 * plane, d * (vsplat(1) - z))
    through_gate(s, c, 1, True, spare + plane)
    through_gate(s, c, 3, False, spare + 3 * plane)


cdef void gru_backward(const Recurrence* s, const CellRows* c, real* dh, real* spare) noexcept nogil:
    """Replace the planes of the gates by the gradients of a and of the pre-activations of z, r and g.

    dh becomes the gradient of h of the step before without the products.
    """
    cdef Py_ssize_t i, q, p, plane = padded_units(s)
    if uses_default_activations(s):
        gru_gradient_rows(c, dh)
        return
    gru_backward_z_and_g(s, c, dh, spare)
    for i in range(c.rows):
        for q in range(ceil_div(s.units, VLEN)):
            p = i * c.ld_gates + q * VLEN
            vstore(spare + p, vload(spare + p + 3 * plane) * vload(c.gates + p + 2 * c.units))
            vstore(spare + p + 2 * plane, vload(spare + p + 3 * plane) * vload(c.gates + p))
    through_gate(s, c, 2, True, spare + 2 * plane)
    copy_gates(c, 4, spare, plane)


cdef void gru_backward_reset(const Recurrence* s, const CellRows* c, const real* drh, const real* factors,
                             real* dh, real* spare) noexcept nogil:
    """After gru_backward_z_and_g, compute the plane of r and replace all planes; add its part of dh.

    drh: the gradient of r ⊙ h. factors: those of the dropout of h, or NULL; the third of three copies is that
    of g. The plane of a is cleared.
    """
    cdef Py_ssize_t i, q, u, p, plane = padded_units(s)
    cdef vreal d, dropout
    for i in range(c.rows):
        for q in range(ceil_div(s.units, VLEN)):
            u = q * VLEN
            p = i * c.ld_gates + u
            d = vload(drh + i * c.ld_units + u)
            vstore(spare + p, vsplat(0))
            vstore(spare + p + 2 * plane, d * vload(c.fed + i * c.ld_inputs + u))
            dropout = vsplat(1) if factors == NULL else vload(factors + (3 * i + 2) * c.ld_units + u)
            vstore(dh + i * c.ld_units + u,
                   vload(dh + i * c.ld_units + u) + d * vload(c.gates + p + 2 * c.units) * dropout)
    through_gate(s, c, 2, True, spare + 2 * plane)
    copy_gates(c, 4, spare, plane)
