"""Activations over rows: forward in place, backward from the output."""

cdef inline vreal activation_value(int activation, vreal z) noexcept nogil:
    """f(z) of the element-wise activations."""
    if activation == ACT_RELU:
        return vmax(vsplat(0), z)
    elif activation == ACT_TANH:
        return v_tanh(z)
    return v_sigmoid(z)


cdef inline vreal activation_slope(int activation, vreal y) noexcept nogil:
    """f'(z), written in terms of y = f(z)."""
    if activation == ACT_RELU:
        return vselect(vgt(y, vsplat(0)), vsplat(1), vsplat(0))
    elif activation == ACT_TANH:
        return vsplat(1) - y * y
    return y * (vsplat(1) - y)


cdef inline void map_forward(int activation, Py_ssize_t m, Py_ssize_t n, real* y,
                             Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(m):
        for j in range(blocks(n, VLEN)):
            vstore(y + i * ld + j * VLEN, activation_value(activation, vload(y + i * ld + j * VLEN)))


cdef inline void map_backward(int activation, Py_ssize_t m, Py_ssize_t n, const real* y, real* dy,
                              Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j, p
    for i in range(m):
        for j in range(blocks(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(dy + p, vload(dy + p) * activation_slope(activation, vload(y + p)))


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


cdef void softmax_forward(Py_ssize_t m, Py_ssize_t n, real* y, Py_ssize_t ld) noexcept nogil:
    """y = exp(z − max z) / Σ exp(z − max z), row by row, in place."""
    cdef Py_ssize_t i, j
    cdef vreal scale
    for i in range(m):
        scale = vsplat((<real>1) / exp_row(y + i * ld, n, row_max(y + i * ld, n), y + i * ld))
        for j in range(blocks(n, VLEN)):
            vstore(y + i * ld + j * VLEN, vload(y + i * ld + j * VLEN) * scale)


cdef void softmax_backward(Py_ssize_t m, Py_ssize_t n, const real* y, real* dy,
                           Py_ssize_t ld) noexcept nogil:
    """dz = y ⊙ (dy − Σ dy ⊙ y), row by row, in place."""
    cdef Py_ssize_t i, j, p
    cdef vreal dot, mean
    for i in range(m):
        dot = vsplat(0)
        for j in range(blocks(n, VLEN)):
            dot = dot + row_part(y + i * ld, j, n, 0) * row_part(dy + i * ld, j, n, 0)
        mean = vsplat(vsum(dot))
        for j in range(blocks(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(dy + p, vload(y + p) * (vload(dy + p) - mean))


cdef void activation_forward(int activation, Py_ssize_t m, Py_ssize_t n, void* y,
                             Py_ssize_t ld) noexcept nogil:
    """y = f(y) in place; y: m rows of n, padded to whole vectors."""
    if activation == ACT_RELU:
        map_forward(ACT_RELU, m, n, <real*>y, ld)
    elif activation == ACT_TANH:
        map_forward(ACT_TANH, m, n, <real*>y, ld)
    elif activation == ACT_SIGMOID:
        map_forward(ACT_SIGMOID, m, n, <real*>y, ld)
    elif activation == ACT_SOFTMAX:
        softmax_forward(m, n, <real*>y, ld)


cdef void activation_backward(int activation, Py_ssize_t m, Py_ssize_t n, const void* y, void* dy,
                              Py_ssize_t ld) noexcept nogil:
    """dy = dy ⊙ f'(z) in place, from y = f(z); rows as above."""
    if activation == ACT_RELU:
        map_backward(ACT_RELU, m, n, <const real*>y, <real*>dy, ld)
    elif activation == ACT_TANH:
        map_backward(ACT_TANH, m, n, <const real*>y, <real*>dy, ld)
    elif activation == ACT_SIGMOID:
        map_backward(ACT_SIGMOID, m, n, <const real*>y, <real*>dy, ld)
    elif activation == ACT_SOFTMAX:
        softmax_backward(m, n, <const real*>y, <real*>dy, ld)
