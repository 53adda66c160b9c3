"""Activations of whole matrices, row by row: forward and backward pass."""

cdef extern from *:
    """
    #define SELU_SCALE 1.0507009873554804934193349852946
    #define SELU_ALPHA 1.6732632423543772848170429916717
    #define GELU_A 1.5957691216057307117597842397375 /* 2·√(2/π) */
    #define GELU_B (GELU_A * 0.044715)
    """
    const double SELU_SCALE, SELU_ALPHA, GELU_A, GELU_B


cdef int needs_preactivation(int activation) noexcept nogil:
    """Return whether f'(z) has to be computed from z; for other activations, f(z) determines it."""
    return activation in (ACT_GELU, ACT_GELU_TANH, ACT_SILU, ACT_MISH, ACT_HARD_SILU, ACT_TANH_SHRINK,
                          ACT_SQUAREPLUS)


cdef inline vreal gelu_sigmoid(vreal z) noexcept nogil:
    """Return σ(2·√(2/π)·(z + 0.044715·z³)). The tanh approximation of GELU is z times this value."""
    cdef vreal u = z * (vsplat(<real>GELU_A) + vsplat(<real>GELU_B) * z * z)
    return v_sigmoid(u)


cdef inline vreal mish_tanh(vreal z) noexcept nogil:
    """Return tanh(softplus z) = n/(n + 2), where n = e^z·(e^z + 2)."""
    cdef vreal e = v_exp(vmin(vsplat(TANH_LIMIT), z))
    cdef vreal n = e * (e + vsplat(2))
    return n / (n + vsplat(2))


cdef inline vreal squareplus_root(vreal z, vreal alpha) noexcept nogil:
    """Return √(z² + α), which is |z| where z² may overflow."""
    return vmax(vabs(z), vsqrt(vmin(vsplat(REAL_HUGE), z * z + alpha)))


cdef inline vreal squareplus(vreal z, vreal alpha) noexcept nogil:
    """Return (z + √(z² + α))/2; if z < 0, α/2 / (√(z² + α) − z), which does not cancel."""
    cdef vreal root = squareplus_root(z, alpha), half = vsplat(<real>0.5)
    return vselect(vgt(vsplat(0), z), half * alpha / (root - z), half * (z + root))


cdef inline vreal sparse_square(vreal z) noexcept nogil:
    """Return max(0, (z + 1)/2)²."""
    cdef vreal half = vmax(vsplat(0), z * vsplat(<real>0.5) + vsplat(<real>0.5))
    return half * half


cdef inline vreal activation_value(int activation, vreal z, vreal alpha) noexcept nogil:
    """Return f(z) for an element-wise activation f."""
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
    elif activation == ACT_RELU6:
        return vmin(vsplat(6), vmax(vsplat(0), z))
    elif activation == ACT_HARD_TANH:
        return vmin(vsplat(1), vmax(vsplat(-1), z))
    elif activation == ACT_HARD_SILU:
        return z * vmin(vsplat(1), vmax(vsplat(0), z * vsplat(<real>(1.0 / 6)) + vsplat(<real>0.5)))
    elif activation == ACT_LOG_SIGMOID:
        return -v_softplus(-z)
    elif activation == ACT_TANH_SHRINK:
        return z - v_tanh(z)
    elif activation == ACT_SOFT_SHRINK:
        return vselect(vgt(vabs(z), alpha), z - vcopysign(alpha, z), vsplat(0) * z)
    elif activation == ACT_HARD_SHRINK:
        return vselect(vgt(vabs(z), alpha), z, vsplat(0) * z)
    elif activation == ACT_CELU:
        return vselect(vgt(vsplat(0), z), alpha * v_expm1_below(z / alpha), z)
    elif activation == ACT_SQUAREPLUS:
        return squareplus(z, alpha)
    elif activation == ACT_SPARSE_PLUS:
        return vselect(vgt(z, vsplat(1)), z, sparse_square(z))
    elif activation == ACT_SPARSE_SIGMOID:
        return vmin(vsplat(1), vmax(vsplat(0), z * vsplat(<real>0.5) + vsplat(<real>0.5)))
    return z


cdef inline vreal activation_derivative(int activation, vreal v, vreal alpha) noexcept nogil:
    """Return f'(z), computed from v = z if needs_preactivation(activation), else from v = f(z)."""
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
        v = vmax(vsplat(-30), vmin(vsplat(30), v))  # beyond ±30, f' is 0 or 1, but v² may overflow
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
    elif activation == ACT_RELU6:
        return vselect(vgt(v, zero), vselect(vgt(vsplat(6), v), one, zero), zero)
    elif activation == ACT_HARD_TANH:
        return vselect(vgt(one, vabs(v)), one, zero)
    elif activation == ACT_HARD_SILU:
        s = v * vsplat(<real>(1.0 / 3)) + vsplat(<real>0.5)
        return vselect(vgt(v, vsplat(3)), one, vselect(vgt(vsplat(-3), v), zero, s))
    elif activation == ACT_LOG_SIGMOID:
        return -v_expm1_below(v)
    elif activation == ACT_TANH_SHRINK:
        s = v_tanh(v)
        return s * s
    elif activation == ACT_SOFT_SHRINK or activation == ACT_HARD_SHRINK:
        return vselect(vgt(vabs(v), zero), one, zero)
    elif activation == ACT_CELU:
        return vselect(vgt(v, zero), one, v / alpha + one)
    elif activation == ACT_SQUAREPLUS:
        v = vmax(vsplat(<real>-1e9), vmin(vsplat(<real>1e9), v))   # beyond, f' is 0 or 1, but v² may overflow
        return squareplus(v, alpha) / squareplus_root(v, alpha)
    elif activation == ACT_SPARSE_PLUS:
        return vmin(one, vsqrt(v))
    elif activation == ACT_SPARSE_SIGMOID:
        return vselect(vgt(v, zero), vselect(vgt(one, v), vsplat(<real>0.5), zero), zero)
    return one


cdef inline void map_forward(int activation, vreal alpha, const real* z, Matrix y) noexcept nogil:
    """y = f(z), element by element."""
    cdef Py_ssize_t i, j, p
    for i in range(y.rows):
        for j in range(ceil_div(y.cols, VLEN)):
            p = i * y.ld + j * VLEN
            vstore(y.data + p, activation_value(activation, vload(z + p), alpha))


cdef inline void map_backward(int activation, vreal alpha, const real* z, const real* y, const real* dy,
                              Matrix dz) noexcept nogil:
    """dz = dy ⊙ f'(z), element by element."""
    cdef Py_ssize_t i, j, p
    cdef const real* v = z if needs_preactivation(activation) else y
    for i in range(dz.rows):
        for j in range(ceil_div(dz.cols, VLEN)):
            p = i * dz.ld + j * VLEN
            vstore(dz.data + p, vload(dy + p) * activation_derivative(activation, vload(v + p), alpha))


cdef inline real exp_row(const real* z, Py_ssize_t n, real peak, real* e) noexcept nogil:
    """Write e = exp(z − peak) and return Σ e."""
    cdef double sum = 0
    cdef vreal v, run = vsplat(0)
    cdef Py_ssize_t j
    for j in range(ceil_div(n, VLEN)):
        v = v_exp(row_part(z, j, n, -INFINITY) - vsplat(peak))
        vstore(e + j * VLEN, v)
        run = run + v
        end_run(j, &run, &sum)
    return <real>(sum + vsum(run))


cdef void softmax_forward(const real* z, const Matrix* y) noexcept nogil:
    """y = exp(z − max z) / Σ exp(z − max z), row by row."""
    cdef Py_ssize_t i, j
    cdef real peak
    cdef vreal scale
    for i in range(y.rows):
        peak = row_max(z + i * y.ld, y.cols)
        scale = vsplat((<real>1) / exp_row(z + i * y.ld, y.cols, peak, y.data + i * y.ld))
        for j in range(ceil_div(y.cols, VLEN)):
            vstore(y.data + i * y.ld + j * VLEN, vload(y.data + i * y.ld + j * VLEN) * scale)


cdef void softmax_backward(const real* y, const real* dy, const Matrix* dz) noexcept nogil:
    """dz = y ⊙ (dy − Σ dy ⊙ y), row by row."""
    cdef Py_ssize_t i, j, p
    cdef vreal mean
    for i in range(dz.rows):
        mean = vsplat(<real>row_dot(dz.cols, y + i * dz.ld, dy + i * dz.ld))
        for j in range(ceil_div(dz.cols, VLEN)):
            p = i * dz.ld + j * VLEN
            vstore(dz.data + p, vload(y + p) * (vload(dy + p) - mean))


cdef inline void map_rows(bint backward, int activation, vreal alpha, const real* z, const real* y,
                          const real* dy, Matrix out) noexcept nogil:
    """Apply one activation; `backward` and `activation` are compile-time constants at every call site."""
    if backward:
        map_backward(activation, alpha, z, y, dy, out)
    else:
        map_forward(activation, alpha, z, out)


cdef inline void apply_activation(bint backward, int activation, vreal a, const real* z, const real* y,
                                  const real* dy, Matrix out) noexcept nogil:
    """Apply an element-wise activation; `backward` is a compile-time constant at every call site."""
    if activation == ACT_RELU:
        map_rows(backward, ACT_RELU, a, z, y, dy, out)
    elif activation == ACT_TANH:
        map_rows(backward, ACT_TANH, a, z, y, dy, out)
    elif activation == ACT_SIGMOID:
        map_rows(backward, ACT_SIGMOID, a, z, y, dy, out)
    elif activation == ACT_LEAKY_RELU:
        map_rows(backward, ACT_LEAKY_RELU, a, z, y, dy, out)
    elif activation == ACT_ELU:
        map_rows(backward, ACT_ELU, a, z, y, dy, out)
    elif activation == ACT_SELU:
        map_rows(backward, ACT_SELU, a, z, y, dy, out)
    elif activation == ACT_GELU:
        map_rows(backward, ACT_GELU, a, z, y, dy, out)
    elif activation == ACT_GELU_TANH:
        map_rows(backward, ACT_GELU_TANH, a, z, y, dy, out)
    elif activation == ACT_SILU:
        map_rows(backward, ACT_SILU, a, z, y, dy, out)
    elif activation == ACT_MISH:
        map_rows(backward, ACT_MISH, a, z, y, dy, out)
    elif activation == ACT_SOFTPLUS:
        map_rows(backward, ACT_SOFTPLUS, a, z, y, dy, out)
    elif activation == ACT_SOFTSIGN:
        map_rows(backward, ACT_SOFTSIGN, a, z, y, dy, out)
    elif activation == ACT_HARD_SIGMOID:
        map_rows(backward, ACT_HARD_SIGMOID, a, z, y, dy, out)
    elif activation == ACT_EXPONENTIAL:
        map_rows(backward, ACT_EXPONENTIAL, a, z, y, dy, out)
    elif activation == ACT_RELU6:
        map_rows(backward, ACT_RELU6, a, z, y, dy, out)
    elif activation == ACT_HARD_TANH:
        map_rows(backward, ACT_HARD_TANH, a, z, y, dy, out)
    elif activation == ACT_HARD_SILU:
        map_rows(backward, ACT_HARD_SILU, a, z, y, dy, out)
    elif activation == ACT_LOG_SIGMOID:
        map_rows(backward, ACT_LOG_SIGMOID, a, z, y, dy, out)
    elif activation == ACT_TANH_SHRINK:
        map_rows(backward, ACT_TANH_SHRINK, a, z, y, dy, out)
    elif activation == ACT_SOFT_SHRINK:
        map_rows(backward, ACT_SOFT_SHRINK, a, z, y, dy, out)
    elif activation == ACT_HARD_SHRINK:
        map_rows(backward, ACT_HARD_SHRINK, a, z, y, dy, out)
    elif activation == ACT_CELU:
        map_rows(backward, ACT_CELU, a, z, y, dy, out)
    elif activation == ACT_SQUAREPLUS:
        map_rows(backward, ACT_SQUAREPLUS, a, z, y, dy, out)
    elif activation == ACT_SPARSE_PLUS:
        map_rows(backward, ACT_SPARSE_PLUS, a, z, y, dy, out)
    elif activation == ACT_SPARSE_SIGMOID:
        map_rows(backward, ACT_SPARSE_SIGMOID, a, z, y, dy, out)


cdef void activation_forward(int activation, double alpha, const real* z, const Matrix* y) noexcept nogil:
    """y (m, n) = f(z), row by row.

    Rows are padded to whole vectors. z has the same stride as y, and y may alias z.
    """
    if activation == ACT_SOFTMAX:
        softmax_forward(z, y)
    elif activation != ACT_LINEAR:
        apply_activation(False, activation, vsplat(<real>alpha), z, NULL, NULL, y[0])
    elif z != y.data:
        map_forward(ACT_LINEAR, vsplat(0), z, y[0])


cdef void activation_backward(int activation, double alpha, const real* z, const real* y, const real* dy,
                              const Matrix* dz) noexcept nogil:
    """dz (m, n) = dy ⊙ f'(z), computed from z or y = f(z).

    Rows are padded to whole vectors. All matrices have the same stride, and dz may alias dy.
    """
    if activation == ACT_SOFTMAX:
        softmax_backward(y, dy, dz)
    elif activation != ACT_LINEAR:
        apply_activation(True, activation, vsplat(<real>alpha), z, y, dy, dz[0])
    elif dy != dz.data:
        map_backward(ACT_LINEAR, vsplat(0), z, y, dy, dz[0])


# ---- relu with arguments ---------------------------------------------------------------------------

cdef void clipped_relu(const Matrix* x, double slope, double most, double threshold,
                       const Matrix* y) noexcept nogil:
    """y = min(x, most) if x > threshold, else slope·(x − threshold)."""
    cdef vreal v, low, limit = vsplat(<real>threshold)
    cdef Py_ssize_t i, j
    for i in range(y.rows):
        for j in range(ceil_div(y.cols, VLEN)):
            v = vload(x.data + i * x.ld + j * VLEN)
            low = vsplat(<real>slope) * (vmax(vsplat(-REAL_HUGE), v) - limit)   # 0·∞ would be NaN
            vstore(y.data + i * y.ld + j * VLEN, vselect(vgt(v, limit), vmin(vsplat(<real>most), v), low))


cdef void clipped_relu_gradient(const Matrix* x, double slope, double most, double threshold,
                                const Matrix* dy, const Matrix* dx) noexcept nogil:
    """dx = dy ⊙ f'(x) with the f of `clipped_relu`."""
    cdef vreal v, high
    cdef Py_ssize_t i, j
    for i in range(dx.rows):
        for j in range(ceil_div(dx.cols, VLEN)):
            v = vload(x.data + i * x.ld + j * VLEN)
            high = vselect(vgt(vsplat(<real>most), v), vsplat(1), vsplat(0))
            v = vselect(vgt(v, vsplat(<real>threshold)), high, vsplat(<real>slope))
            vstore(dx.data + i * dx.ld + j * VLEN, vload(dy.data + i * dy.ld + j * VLEN) * v)
