"""Activations over rows: forward, and backward from the output."""

cdef inline vreal activation_value(int activation, vreal z) noexcept nogil:
    """f(z) of the element-wise activations."""
    if activation == ACT_RELU:
        return vmax(vsplat(0), z)
    elif activation == ACT_TANH:
        return v_tanh(z)
    elif activation == ACT_SIGMOID:
        return v_sigmoid(z)
    return z


cdef inline vreal activation_slope(int activation, vreal y) noexcept nogil:
    """f'(z), written in terms of y = f(z)."""
    if activation == ACT_RELU:
        return vselect(vgt(y, vsplat(0)), vsplat(1), vsplat(0))
    elif activation == ACT_TANH:
        return vsplat(1) - y * y
    elif activation == ACT_SIGMOID:
        return y * (vsplat(1) - y)
    return vsplat(1)


cdef inline void map_forward(int activation, Py_ssize_t m, Py_ssize_t n, const real* z, real* y,
                             Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j, p
    for i in range(m):
        for j in range(blocks(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(y + p, activation_value(activation, vload(z + p)))


cdef inline void map_backward(int activation, Py_ssize_t m, Py_ssize_t n, const real* y,
                              const real* dy, real* dz, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j, p
    for i in range(m):
        for j in range(blocks(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(dz + p, vload(dy + p) * activation_slope(activation, vload(y + p)))


cdef inline vreal row_part(const real* row, Py_ssize_t j, Py_ssize_t n, real fill) noexcept nogil:
    """Vector j of a row of n elements; the lanes past its end hold `fill`."""
    cdef Py_ssize_t left = n - j * VLEN
    if left >= VLEN:
        return vload(row + j * VLEN)
    return vselect(vgt(vkeep_n(vsplat(1), <int>left), vsplat(0)), vload(row + j * VLEN), vsplat(fill))


cdef inline real row_max(const real* row, Py_ssize_t n) noexcept nogil:
    cdef vreal peak = vsplat(-INFINITY)
    cdef Py_ssize_t j
    for j in range(blocks(n, VLEN)):
        peak = vmax(peak, row_part(row, j, n, -INFINITY))
    return vpeak(peak)


cdef inline real exp_row(const real* z, Py_ssize_t n, real peak, real* e) noexcept nogil:
    """e = exp(z − peak), returns Σ e."""
    cdef vreal total = vsplat(0)
    cdef vreal v
    cdef Py_ssize_t j
    for j in range(blocks(n, VLEN)):
        v = v_exp(row_part(z, j, n, -INFINITY) - vsplat(peak))
        vstore(e + j * VLEN, v)
        total = total + v
    return vsum(total)


cdef void softmax_forward(Py_ssize_t m, Py_ssize_t n, const real* z, real* y,
                          Py_ssize_t ld) noexcept nogil:
    """y = exp(z − max z) / Σ exp(z − max z), row by row"""
    cdef Py_ssize_t i, j
    cdef vreal scale
    for i in range(m):
        scale = vsplat((<real>1) / exp_row(z + i * ld, n, row_max(z + i * ld, n), y + i * ld))
        for j in range(blocks(n, VLEN)):
            vstore(y + i * ld + j * VLEN, vload(y + i * ld + j * VLEN) * scale)


cdef void softmax_backward(Py_ssize_t m, Py_ssize_t n, const real* y, const real* dy, real* dz,
                           Py_ssize_t ld) noexcept nogil:
    """dz = y ⊙ (dy − Σ dy ⊙ y), row by row"""
    cdef Py_ssize_t i, j, p
    cdef vreal dot, mean
    for i in range(m):
        dot = vsplat(0)
        for j in range(blocks(n, VLEN)):
            dot = dot + row_part(y + i * ld, j, n, 0) * row_part(dy + i * ld, j, n, 0)
        mean = vsplat(vsum(dot))
        for j in range(blocks(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(dz + p, vload(y + p) * (vload(dy + p) - mean))


cdef void activation_forward(int activation, Py_ssize_t m, Py_ssize_t n, const void* z, void* y,
                             Py_ssize_t ld) noexcept nogil:
    """y = f(z), m rows of n padded to whole vectors; y may be z. Linear in place is nothing to do."""
    if activation == ACT_RELU:
        map_forward(ACT_RELU, m, n, <const real*>z, <real*>y, ld)
    elif activation == ACT_TANH:
        map_forward(ACT_TANH, m, n, <const real*>z, <real*>y, ld)
    elif activation == ACT_SIGMOID:
        map_forward(ACT_SIGMOID, m, n, <const real*>z, <real*>y, ld)
    elif activation == ACT_SOFTMAX:
        softmax_forward(m, n, <const real*>z, <real*>y, ld)
    elif z != y:
        map_forward(ACT_LINEAR, m, n, <const real*>z, <real*>y, ld)


cdef void activation_backward(int activation, Py_ssize_t m, Py_ssize_t n, const void* y,
                              const void* dy, void* dz, Py_ssize_t ld) noexcept nogil:
    """dz = dy ⊙ f'(z), from y = f(z); rows as above, dz may be dy."""
    if activation == ACT_RELU:
        map_backward(ACT_RELU, m, n, <const real*>y, <const real*>dy, <real*>dz, ld)
    elif activation == ACT_TANH:
        map_backward(ACT_TANH, m, n, <const real*>y, <const real*>dy, <real*>dz, ld)
    elif activation == ACT_SIGMOID:
        map_backward(ACT_SIGMOID, m, n, <const real*>y, <const real*>dy, <real*>dz, ld)
    elif activation == ACT_SOFTMAX:
        softmax_backward(m, n, <const real*>y, <const real*>dy, <real*>dz, ld)
    elif dy != dz:
        map_backward(ACT_LINEAR, m, n, <const real*>y, <const real*>dy, <real*>dz, ld)
