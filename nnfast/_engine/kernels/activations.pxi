"""Activations over rows: forward and backward."""

cdef extern from *:
    """
    #define SELU_SCALE 1.0507009873554804934193349852946
    #define SELU_ALPHA 1.6732632423543772848170429916717
    #define GELU_A 1.5957691216057307117597842397375 /* 2·√(2/π) */
    #define GELU_B (GELU_A * 0.044715)
    """
    const double SELU_SCALE, SELU_ALPHA, GELU_A, GELU_B


cdef int needs_preactivation(int activation) noexcept nogil:
    """Whether f'(z) is computed from z because f(z) does not determine it."""
    return activation in (ACT_GELU, ACT_GELU_TANH, ACT_SILU, ACT_MISH)


cdef inline vreal gelu_sigmoid(vreal z) noexcept nogil:
    """The tanh form of gelu is z·σ(2·√(2/π)·(z + 0.044715·z³)): the σ."""
    cdef vreal u = z * (vsplat(<real>GELU_A) + vsplat(<real>GELU_B) * z * z)
    return v_sigmoid(u)


cdef inline vreal mish_tanh(vreal z) noexcept nogil:
    """tanh(softplus z) = n/(n + 2) with n = e^z·(e^z + 2)"""
    cdef vreal e = v_exp(vmin(vsplat(TANH_LIMIT), z))
    cdef vreal n = e * (e + vsplat(2))
    return n / (n + vsplat(2))


cdef inline vreal activation_value(int activation, vreal z, vreal alpha) noexcept nogil:
    """f(z) of the element-wise activations."""
    if activation == ACT_RELU:
        return vmax(vsplat(0), z)
    elif activation == ACT_TANH:
        return v_tanh(z)
    elif activation == ACT_SIGMOID:
        return v_sigmoid(z)
    elif activation == ACT_LEAKY_RELU:
        return vselect(vgt(vsplat(0), z), alpha * z, z)
    elif activation == ACT_ELU:
        return vselect(vgt(vsplat(0), z), alpha * v_expm1_below(z), z)
    elif activation == ACT_SELU:
        return vsplat(<real>SELU_SCALE) * vselect(
            vgt(vsplat(0), z), vsplat(<real>SELU_ALPHA) * v_expm1_below(z), z)
    elif activation == ACT_GELU:
        return vmax(vsplat(0), z) - v_gelu_tail(vabs(z))
    elif activation == ACT_GELU_TANH:
        return z * gelu_sigmoid(z)
    elif activation == ACT_SILU:
        return z * v_sigmoid(z)
    elif activation == ACT_MISH:
        return z * mish_tanh(z)
    elif activation == ACT_SOFTPLUS:
        return v_softplus(z)
    elif activation == ACT_SOFTSIGN:
        return z / (vsplat(1) + vabs(z))
    elif activation == ACT_HARD_SIGMOID:
        return vmin(vsplat(1), vmax(vsplat(0), z * vsplat(<real>(1.0 / 6)) + vsplat(<real>0.5)))
    elif activation == ACT_EXPONENTIAL:
        return v_exp(z)
    return z


cdef inline vreal activation_slope(int activation, vreal v, vreal alpha) noexcept nogil:
    """f'(z), from v = z where needs_preactivation, else from v = f(z)."""
    cdef vreal one = vsplat(1), zero = vsplat(0), s
    if activation == ACT_RELU:
        return vselect(vgt(v, zero), one, zero)
    elif activation == ACT_TANH:
        return one - v * v
    elif activation == ACT_SIGMOID:
        return v * (one - v)
    elif activation == ACT_LEAKY_RELU:
        return vselect(vgt(v, zero), one, alpha)
    elif activation == ACT_ELU:
        return vselect(vgt(v, zero), one, v + alpha)
    elif activation == ACT_SELU:
        return vselect(vgt(v, zero), vsplat(<real>SELU_SCALE), v + vsplat(<real>(SELU_SCALE * SELU_ALPHA)))
    elif activation == ACT_GELU:
        s = v_normal_cdf(v)
        return s + v * vsplat(<real>0.3989422804014327) * v_exp(vsplat(<real>-0.5) * v * v)
    elif activation == ACT_GELU_TANH:
        v = vmax(vsplat(-30), vmin(vsplat(30), v))  # beyond, the slope is 0 or 1 and v² may overflow
        s = gelu_sigmoid(v)
        return s + v * s * (one - s) * (
            vsplat(<real>GELU_A) + vsplat(<real>(3 * GELU_B)) * v * v)
    elif activation == ACT_SILU:
        s = v_sigmoid(v)
        return s * (one + v * (one - s))
    elif activation == ACT_MISH:
        s = mish_tanh(v)
        return s + v * (one - s * s) * v_sigmoid(v)
    elif activation == ACT_SOFTPLUS:
        return -v_expm1_below(-v)
    elif activation == ACT_SOFTSIGN:
        s = one - vabs(v)
        return s * s
    elif activation == ACT_HARD_SIGMOID:
        return vselect(vgt(v, zero), vselect(vgt(one, v), vsplat(<real>(1.0 / 6)), zero), zero)
    elif activation == ACT_EXPONENTIAL:
        return v
    return one


cdef inline void map_forward(int activation, vreal alpha, Py_ssize_t m, Py_ssize_t n,
                             const real* z, real* y, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j, p
    for i in range(m):
        for j in range(ceil_div(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(y + p, activation_value(activation, vload(z + p), alpha))


cdef inline void map_backward(int activation, vreal alpha, Py_ssize_t m, Py_ssize_t n,
                              const real* z, const real* y, const real* dy, real* dz,
                              Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j, p
    cdef const real* v = z if needs_preactivation(activation) else y
    for i in range(m):
        for j in range(ceil_div(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(dz + p, vload(dy + p) * activation_slope(activation, vload(v + p), alpha))


cdef inline real exp_row(const real* z, Py_ssize_t n, real peak, real* e) noexcept nogil:
    """e = exp(z − peak), returns Σ e."""
    cdef double sum = 0
    cdef vreal v, run = vsplat(0)
    cdef Py_ssize_t j
    for j in range(ceil_div(n, VLEN)):
        v = v_exp(row_part(z, j, n, -INFINITY) - vsplat(peak))
        vstore(e + j * VLEN, v)
        run = run + v
        end_run(j, &run, &sum)
    return <real>(sum + vsum(run))


cdef void softmax_forward(Py_ssize_t m, Py_ssize_t n, const real* z, real* y,
                          Py_ssize_t ld) noexcept nogil:
    """y = exp(z − max z) / Σ exp(z − max z), row by row"""
    cdef Py_ssize_t i, j
    cdef vreal scale
    for i in range(m):
        scale = vsplat((<real>1) / exp_row(z + i * ld, n, row_max(z + i * ld, n), y + i * ld))
        for j in range(ceil_div(n, VLEN)):
            vstore(y + i * ld + j * VLEN, vload(y + i * ld + j * VLEN) * scale)


cdef void softmax_backward(Py_ssize_t m, Py_ssize_t n, const real* y, const real* dy, real* dz,
                           Py_ssize_t ld) noexcept nogil:
    """dz = y ⊙ (dy − Σ dy ⊙ y), row by row"""
    cdef Py_ssize_t i, j, p
    cdef vreal mean
    for i in range(m):
        mean = vsplat(<real>row_dot(n, y + i * ld, dy + i * ld))
        for j in range(ceil_div(n, VLEN)):
            p = i * ld + j * VLEN
            vstore(dz + p, vload(y + p) * (vload(dy + p) - mean))


cdef void activation_forward(int activation, double alpha, Py_ssize_t m, Py_ssize_t n,
                             const void* z, void* y, Py_ssize_t ld) noexcept nogil:
    """y = f(z), m rows of n padded to whole vectors; y may be z. Linear in place is nothing to do."""
    cdef vreal a = vsplat(<real>alpha)
    cdef const real* zr = <const real*>z
    cdef real* yr = <real*>y
    if activation == ACT_RELU:
        map_forward(ACT_RELU, a, m, n, zr, yr, ld)
    elif activation == ACT_TANH:
        map_forward(ACT_TANH, a, m, n, zr, yr, ld)
    elif activation == ACT_SIGMOID:
        map_forward(ACT_SIGMOID, a, m, n, zr, yr, ld)
    elif activation == ACT_LEAKY_RELU:
        map_forward(ACT_LEAKY_RELU, a, m, n, zr, yr, ld)
    elif activation == ACT_ELU:
        map_forward(ACT_ELU, a, m, n, zr, yr, ld)
    elif activation == ACT_SELU:
        map_forward(ACT_SELU, a, m, n, zr, yr, ld)
    elif activation == ACT_GELU:
        map_forward(ACT_GELU, a, m, n, zr, yr, ld)
    elif activation == ACT_GELU_TANH:
        map_forward(ACT_GELU_TANH, a, m, n, zr, yr, ld)
    elif activation == ACT_SILU:
        map_forward(ACT_SILU, a, m, n, zr, yr, ld)
    elif activation == ACT_MISH:
        map_forward(ACT_MISH, a, m, n, zr, yr, ld)
    elif activation == ACT_SOFTPLUS:
        map_forward(ACT_SOFTPLUS, a, m, n, zr, yr, ld)
    elif activation == ACT_SOFTSIGN:
        map_forward(ACT_SOFTSIGN, a, m, n, zr, yr, ld)
    elif activation == ACT_HARD_SIGMOID:
        map_forward(ACT_HARD_SIGMOID, a, m, n, zr, yr, ld)
    elif activation == ACT_EXPONENTIAL:
        map_forward(ACT_EXPONENTIAL, a, m, n, zr, yr, ld)
    elif activation == ACT_SOFTMAX:
        softmax_forward(m, n, zr, yr, ld)
    elif z != y:
        map_forward(ACT_LINEAR, a, m, n, zr, yr, ld)


cdef void activation_backward(int activation, double alpha, Py_ssize_t m, Py_ssize_t n,
                              const void* z, const void* y, const void* dy, void* dz,
                              Py_ssize_t ld) noexcept nogil:
    """dz = dy ⊙ f'(z), from z or y = f(z); rows as above, dz may be dy."""
    cdef vreal a = vsplat(<real>alpha)
    cdef const real* zr = <const real*>z
    cdef const real* yr = <const real*>y
    cdef const real* dyr = <const real*>dy
    cdef real* dzr = <real*>dz
    if activation == ACT_RELU:
        map_backward(ACT_RELU, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_TANH:
        map_backward(ACT_TANH, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_SIGMOID:
        map_backward(ACT_SIGMOID, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_LEAKY_RELU:
        map_backward(ACT_LEAKY_RELU, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_ELU:
        map_backward(ACT_ELU, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_SELU:
        map_backward(ACT_SELU, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_GELU:
        map_backward(ACT_GELU, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_GELU_TANH:
        map_backward(ACT_GELU_TANH, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_SILU:
        map_backward(ACT_SILU, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_MISH:
        map_backward(ACT_MISH, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_SOFTPLUS:
        map_backward(ACT_SOFTPLUS, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_SOFTSIGN:
        map_backward(ACT_SOFTSIGN, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_HARD_SIGMOID:
        map_backward(ACT_HARD_SIGMOID, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_EXPONENTIAL:
        map_backward(ACT_EXPONENTIAL, a, m, n, zr, yr, dyr, dzr, ld)
    elif activation == ACT_SOFTMAX:
        softmax_backward(m, n, yr, dyr, dzr, ld)
    elif dy != dz:
        map_backward(ACT_LINEAR, a, m, n, zr, yr, dyr, dzr, ld)
