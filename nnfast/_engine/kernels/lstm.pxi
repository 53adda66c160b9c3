"""The arithmetic of an LSTM cell (Hochreiter and Schmidhuber, 1997), with gates i, f, g and o.

    c_t = f ⊙ c_{t−1} + i ⊙ g,  h_t = o ⊙ tanh(c_t)

With tanh and the sigmoid, everything is computed in one pass. With other activations, the functions for
matrices compute them between the passes.
"""

cdef inline void lstm_rows(bint fused, const CellRows* cell, const real* sums) noexcept nogil:
    """Store the gates, c and, if `fused`, tanh(c) and h. `fused`: sums are pre-activations, not gates."""
    cdef CellRows c = cell[0]
    cdef Py_ssize_t r
    cdef int width = <int>c.width
    cdef vreal i, f, g, o, state
    for r in range(c.rows):
        i, f = vload(sums), vload(sums + c.plane)
        g, o = vload(sums + 2 * c.plane), vload(sums + 3 * c.plane)
        if fused:
            i, f, g, o = v_sigmoid(i), v_sigmoid(f), v_tanh(g), v_sigmoid(o)
        state = f * vload(c.before + r * c.ld_units) + i * g
        store_cols(c.gates, i, width)
        store_cols(c.gates + c.units, f, width)
        store_cols(c.gates + 2 * c.units, g, width)
        store_cols(c.gates + 3 * c.units, o, width)
        vstore(c.state + r * c.ld_units, state)
        if fused:
            state = v_tanh(state)
            vstore(c.output + r * c.ld_units, state)
            store_h(&c, r, o * state)
        c.gates += c.ld_gates
        sums += c.ld_sums


cdef void lstm_forward(const Recurrence* s, const CellRows* c, real* sums) noexcept nogil:
    """Compute the gates, c, tanh(c) and h of c.width units from the pre-activations in `sums`."""
    cdef Matrix output
    cdef Py_ssize_t r
    cdef int g
    if uses_default_activations(s):
        lstm_rows(True, c, sums)
        return
    for g in range(4):
        activate_gate(s, c, g, g != 2, sums + g * c.plane, c.ld_sums)
    lstm_rows(False, c, sums)
    output = matrix(c.output, c.rows, VLEN, c.ld_units)
    activation_forward(<int>s.activation, s.alpha, c.state, &output)
    for r in range(c.rows):
        store_h(c, r, vload(sums + r * c.ld_sums + 3 * c.plane) * vload(c.output + r * c.ld_units))


cdef inline void lstm_gradient_rows(bint fused, const CellRows* cell, const real* dh, real* dc,
                                    real* dz, Py_ssize_t plane) noexcept nogil:
    """Write the gradients of the gates or, if `fused`, of their pre-activations to dz, in planes of columns.

    dc becomes the gradient of c of the step before. Unless `fused`, dc already contains all of this step's.
    """
    cdef CellRows c = cell[0]
    cdef Py_ssize_t r, q, u
    cdef int width
    cdef vreal i, f, g, o, output, d, one = vsplat(1)
    cdef vreal di, df, dg, do
    for r in range(c.rows):
        for q in range(ceil_div(c.units, VLEN)):
            u = q * VLEN
            width = <int>(c.units - u)
            i, f = vload(c.gates + u), vload(c.gates + c.units + u)
            g, o = vload(c.gates + 2 * c.units + u), vload(c.gates + 3 * c.units + u)
            output = vload(c.output + r * c.ld_units + u)
            d = step_dh(&c, r, u, dh)
            do = d * output
            d = d * o
            if fused:
                d = vload(dc + r * c.ld_units + u) + d * (one - output * output)
            else:
                d = vload(dc + r * c.ld_units + u)
            di, df, dg = d * g, d * vload(c.before + r * c.ld_units + u), d * i
            vstore(dc + r * c.ld_units + u, d * f)
            if fused:
                di, df = di * (i * (one - i)), df * (f * (one - f))
                dg, do = dg * (one - g * g), do * (o * (one - o))
            store_cols(dz + u, di, width)
            store_cols(dz + plane + u, df, width)
            store_cols(dz + 2 * plane + u, dg, width)
            store_cols(dz + 3 * plane + u, do, width)
        c.gates += c.ld_gates
        dz += c.ld_gates


cdef void lstm_backward(const Recurrence* s, const CellRows* c, const real* dh, real* dc,
                        real* spare) noexcept nogil:
    """Replace a step's gates by the gradients of their pre-activations, and dc by that of the step before.

    spare: scratch of the size of the gates, with planes padded to whole vectors.
    """
    cdef Py_ssize_t r, q, p, plane = padded_units(s)
    cdef Matrix dstate = matrix(spare, c.rows, s.units, c.ld_units)
    cdef int g
    if uses_default_activations(s):
        lstm_gradient_rows(True, c, dh, dc, c.gates, s.units)
        return
    for r in range(c.rows):
        for q in range(ceil_div(s.units, VLEN)):
            p = q * VLEN
            vstore(spare + r * c.ld_units + p,
                   step_dh(c, r, p, dh) * vload(c.gates + r * c.ld_gates + 3 * s.units + p))
    activation_backward(<int>s.activation, s.alpha, c.state, c.output, spare, &dstate)
    add_rows(c.rows, s.units, spare, dc, c.ld_units, -INFINITY)
    lstm_gradient_rows(False, c, dh, dc, spare, plane)
    for g in range(4):
        through_gate(s, c, g, g != 2, spare + g * plane)
    copy_gates(c, 4, spare, plane)
