"""Losses: the value of each row and the gradient of the weighted sum, in one pass.

Unless a docstring says otherwise, kernels have the following contract. a (m, n) holds the network's outputs,
y (m, n) the targets, and da (m, n) receives the gradient, unless it is NULL. All three matrices have leading
dimension ld and rows padded to whole vectors, and da must not alias a or y. The results are
value[i] = weight[i]·loss(a_i, y_i) and da_i = scale·weight[i]·∂loss/∂a_i; if weight is NULL, all weights
are 1. The formulas are those of Keras.
"""


cdef inline vreal clip_probability(vreal p) noexcept nogil:
    """Return p clipped to [1e-7, 1 − 1e-7]."""
    return vmax(vsplat(<real>1e-7), vmin(vsplat(<real>(1 - 1e-7)), p))


cdef inline vreal inside_clip(vreal p, vreal derivative) noexcept nogil:
    """Return the derivative if clipping does not change p, else 0."""
    return vselect(vgt(vsplat(<real>1e-7), p), vsplat(0),
                   vselect(vgt(p, vsplat(<real>(1 - 1e-7))), vsplat(0), derivative))


cdef inline vreal at_least_epsilon(vreal x) noexcept nogil:
    """Return the maximum of x and Keras' epsilon, 1e-7."""
    return vmax(vsplat(<real>1e-7), x)


cdef inline vreal binary_crossentropy(vreal a, vreal y) noexcept nogil:
    cdef vreal p = clip_probability(a)
    return -(y * v_log(p) + (vsplat(1) - y) * v_log(vsplat(1) - p))


cdef inline vreal binary_crossentropy_derivative(vreal a, vreal y) noexcept nogil:
    cdef vreal p = clip_probability(a)
    return inside_clip(a, (p - y) / (p * (vsplat(1) - p)))


# The loss parameters of VLEN outputs. A loss reads only those that it has.
ctypedef struct LossParameters:
    vreal first, second, third


cdef inline LossParameters parameters_at(const real* row, Py_ssize_t stride) noexcept nogil:
    """Return the parameters of the VLEN outputs that begin at `row`."""
    cdef LossParameters p
    p.first = vload(row)
    p.second = vload(row + stride)
    p.third = vload(row + 2 * stride)
    return p


cdef inline vreal focal_value(vreal p, vreal y, LossParameters focal) noexcept nogil:
    """Return −w·(1 − p_t)^γ·log p_t for the probability p_t of the target; w is α for y = 1.

    The parameters are γ and the weights of targets 1 and 0.
    """
    cdef vreal one = vsplat(1), miss = y * (one - p) + (one - y) * p
    cdef vreal weight = y * focal.second + (one - y) * focal.third
    return weight * v_pow(miss, focal.first) * binary_crossentropy(p, y)


cdef inline vreal focal_derivative(vreal p, vreal y, LossParameters focal) noexcept nogil:
    """Return the derivative of focal_value with respect to p."""
    cdef vreal one = vsplat(1), miss = y * (one - p) + (one - y) * p
    cdef vreal weight = y * focal.second + (one - y) * focal.third
    cdef vreal slope = focal.first * v_pow(miss, focal.first - one) * ((one - y) - y)
    return weight * (slope * binary_crossentropy(p, y)
                     + v_pow(miss, focal.first) * binary_crossentropy_derivative(p, y))


cdef inline vreal pair_value(int kind, vreal a, vreal y, LossParameters parameters) noexcept nogil:
    """Return the loss of one element, for losses that are a mean over the elements of a row."""
    cdef vreal p, parameter = parameters.first, d = a - y
    if kind == LOSS_MEAN_SQUARED_ERROR:
        return d * d
    elif kind == LOSS_MEAN_ABSOLUTE_ERROR:
        return vabs(d)
    elif kind == LOSS_HUBER:
        p = vmin(parameter, vabs(d))
        return p * (vabs(d) - vsplat(<real>0.5) * p)
    elif kind == LOSS_LOG_COSH:
        return vabs(d) + (v_log1p_unit(v_exp(vsplat(-2) * vabs(d))) - vsplat(<real>0.6931471805599453))
    elif kind == LOSS_QUANTILE:
        return vmax((parameter - vsplat(1)) * -d, parameter * -d)
    elif kind == LOSS_POISSON:
        return a - y * v_log(a + vsplat(<real>1e-7))
    elif kind == LOSS_HINGE:
        return vmax(vsplat(0), vsplat(1) - y * a)
    elif kind == LOSS_POISSON_LOG:
        return (v_exp(a) - y * a) + (y * v_log(vmax(vsplat(<real>1e-30), y)) - y)
    elif kind == LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR:
        return vsplat(100) * vabs(d) / at_least_epsilon(vabs(y))
    elif kind == LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR:
        d = v_log(at_least_epsilon(a) + vsplat(1)) - v_log(at_least_epsilon(y) + vsplat(1))
        return d * d
    elif kind == LOSS_SQUARED_HINGE:
        p = vmax(vsplat(0), vsplat(1) - y * a)
        return p * p
    elif kind == LOSS_KL_DIVERGENCE:
        p = at_least_epsilon(vmin(vsplat(1), y))
        return p * v_log(p / at_least_epsilon(vmin(vsplat(1), a)))
    elif kind == LOSS_BINARY_FOCAL_CROSSENTROPY:
        return focal_value(a, y, parameters)
    elif kind == LOSS_BINARY_FOCAL_CROSSENTROPY_LOGITS:
        return focal_value(v_sigmoid(a), y, parameters)
    elif kind == LOSS_BINARY_CROSSENTROPY:
        return binary_crossentropy(a, y)
    return (vmax(vsplat(0), a) - a * y) + v_log1p_unit(v_exp(-vabs(a)))


cdef inline vreal sign(vreal d, vreal above, vreal below) noexcept nogil:
    """Return `above` where d > 0, `below` where d < 0, and d where it is 0 or NaN."""
    return vselect(vgt(d, vsplat(0)), above, vselect(vgt(vsplat(0), d), below, d))


cdef inline vreal pair_derivative(int kind, vreal a, vreal y, LossParameters parameters) noexcept nogil:
    """Return the derivative of pair_value with respect to a."""
    cdef vreal p, parameter = parameters.first, d = a - y
    if kind == LOSS_MEAN_SQUARED_ERROR:
        return vsplat(2) * d
    elif kind == LOSS_MEAN_ABSOLUTE_ERROR:
        return sign(d, vsplat(1), vsplat(-1))
    elif kind == LOSS_HUBER:
        return vmax(-parameter, vmin(parameter, d))
    elif kind == LOSS_LOG_COSH:
        return v_tanh(d)
    elif kind == LOSS_QUANTILE:
        return sign(d, vsplat(1) - parameter, -parameter)
    elif kind == LOSS_POISSON:
        return vsplat(1) - y / (a + vsplat(<real>1e-7))
    elif kind == LOSS_HINGE:
        return vselect(vgt(vsplat(1), y * a), -y, vsplat(0))
    elif kind == LOSS_POISSON_LOG:
        return v_exp(a) - y
    elif kind == LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR:
        return sign(d, vsplat(100), vsplat(-100)) / at_least_epsilon(vabs(y))
    elif kind == LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR:
        d = v_log(at_least_epsilon(a) + vsplat(1)) - v_log(at_least_epsilon(y) + vsplat(1))
        return vselect(vgt(vsplat(<real>1e-7), a), vsplat(0), vsplat(2) * d / (a + vsplat(1)))
    elif kind == LOSS_SQUARED_HINGE:
        return vsplat(-2) * y * vmax(vsplat(0), vsplat(1) - y * a)
    elif kind == LOSS_KL_DIVERGENCE:
        p = -at_least_epsilon(vmin(vsplat(1), y)) / at_least_epsilon(a)
        return vselect(vgt(vsplat(<real>1e-7), a), vsplat(0), vselect(vgt(a, vsplat(1)), vsplat(0), p))
    elif kind == LOSS_BINARY_FOCAL_CROSSENTROPY:
        return focal_derivative(a, y, parameters)
    elif kind == LOSS_BINARY_FOCAL_CROSSENTROPY_LOGITS:
        p = v_sigmoid(a)
        return p * (vsplat(1) - p) * focal_derivative(p, y, parameters)
    elif kind == LOSS_BINARY_CROSSENTROPY:
        return binary_crossentropy_derivative(a, y)
    return v_sigmoid(a) - y


cdef inline void mean_loss(int kind, const Objective* o, Matrix a, const real* y, const double* weight,
                           double scale, real* da, double* value) noexcept nogil:
    """loss = Σ_j pair_value(a_j, y_j) / n, with loss parameters for each column."""
    cdef Py_ssize_t i, j, p, stride = o.parameter_stride
    cdef const real* parameters = <const real*>o.parameters
    cdef double w, sum
    cdef vreal total, part, factor
    cdef LossParameters own
    for i in range(a.rows):
        w = 1 if weight == NULL else weight[i]
        sum = 0
        total = vsplat(0)
        factor = vsplat(<real>(w * scale / a.cols))
        for j in range(ceil_div(a.cols, VLEN)):
            p = i * a.ld + j * VLEN
            own = parameters_at(parameters + j * VLEN, stride)
            part = pair_value(kind, vload(a.data + p), vload(y + p), own)
            total = total + row_part(<const real*>&part, 0, a.cols - j * VLEN, 0)
            if da != NULL:
                vstore(da + p, factor * pair_derivative(kind, vload(a.data + p), vload(y + p), own))
            end_run(j, &total, &sum)
        value[i] = w * (sum + vsum(total)) / a.cols


cdef inline void logits_row(Py_ssize_t n, const real* z, const real* y, real* e, real* total,
                            real* mass, real* dot) noexcept nogil:
    """e = exp(z − max z), total = Σ e, mass = Σ y and dot = Σ y·(z − max z) for a row of n elements."""
    cdef real peak = row_max(z, n)
    cdef vreal total_v = vsplat(0), mass_v = vsplat(0), dot_v = vsplat(0)
    cdef vreal d, ej, yj
    cdef double total_sum = 0, mass_sum = 0, dot_sum = 0
    cdef Py_ssize_t j
    for j in range(ceil_div(n, VLEN)):
        d = row_part(z, j, n, -INFINITY) - vsplat(peak)
        yj = row_part(y, j, n, 0)
        ej = v_exp(d)
        vstore(e + j * VLEN, ej)
        total_v = total_v + ej
        mass_v = mass_v + yj
        # A logit of −∞ contributes 0 if its target is 0.
        dot_v = dot_v + yj * vmax(vsplat(-REAL_HUGE), d)
        end_run(j, &total_v, &total_sum)
        end_run(j, &mass_v, &mass_sum)
        end_run(j, &dot_v, &dot_sum)
    total[0] = <real>(total_sum + vsum(total_v))
    mass[0] = <real>(mass_sum + vsum(mass_v))
    dot[0] = <real>(dot_sum + vsum(dot_v))


cdef inline void logits_gradient(Py_ssize_t n, const real* y, real over, double factor,
                                 real* da) noexcept nogil:
    """da = factor·(da·over − y), where da holds exp(z − max z) and over is Σ y / Σ exp(z − max z)."""
    cdef Py_ssize_t j
    cdef vreal f = vsplat(<real>factor), o = vsplat(over)
    for j in range(ceil_div(n, VLEN)):
        vstore(da + j * VLEN, f * (vload(da + j * VLEN) * o - vload(y + j * VLEN)))


cdef enum:
    NARROW = 16     # maximum number of classes for which each lane computes one row


cdef inline void load_transposed(Py_ssize_t rows, Py_ssize_t n, const real* x, Py_ssize_t ld,
                                 vreal* columns) noexcept nogil:
    """columns (n, VLEN) = x (rows, n)ᵀ for rows ≤ VLEN and n ≤ NARROW; unused lanes repeat the last row."""
    cdef Py_ssize_t r, c
    for c in range(ceil_div(n, VLEN)):
        for r in range(VLEN):
            columns[c * VLEN + r] = vload(x + min(r, rows - 1) * ld + c * VLEN)
        vtranspose(columns + c * VLEN)


cdef inline void store_transposed(Py_ssize_t rows, Py_ssize_t n, vreal* columns, real* x,
                                  Py_ssize_t ld) noexcept nogil:
    """x (rows, n) = columns (n, VLEN)ᵀ. columns is overwritten; its n rows are padded to whole vectors."""
    cdef Py_ssize_t r, c
    for c in range(ceil_div(n, VLEN)):
        vtranspose(columns + c * VLEN)
        for r in range(rows):
            vstore(x + r * ld + c * VLEN, columns[c * VLEN + r])


cdef void crossentropy_logits_narrow(const Matrix* z, const real* y, const double* weight, double scale,
                                     real* da, double* value) noexcept nogil:
    """crossentropy_logits for n ≤ NARROW classes, with one row per lane and no sums over lanes."""
    cdef vreal d[NARROW]
    cdef vreal t[NARROW]
    cdef real w[16]
    cdef real losses[16]
    cdef vreal peak, total, mass, dot, over, factor
    cdef Py_ssize_t q, first, rows, r, j
    for q in range(ceil_div(z.rows, VLEN)):
        first = q * VLEN
        rows = min(<Py_ssize_t>VLEN, z.rows - first)
        load_transposed(rows, z.cols, z.data + first * z.ld, z.ld, d)
        load_transposed(rows, z.cols, y + first * z.ld, z.ld, t)
        for r in range(VLEN):
            w[r] = <real>(1 if weight == NULL else weight[first + min(r, rows - 1)])
        peak = d[0]
        for j in range(1, z.cols):
            peak = vmax(peak, d[j])
        total = mass = dot = vsplat(0)
        for j in range(z.cols):
            d[j] = d[j] - peak
            mass = mass + t[j]
            # A logit of −∞ contributes 0 if its target is 0.
            dot = dot + t[j] * vmax(vsplat(-REAL_HUGE), d[j])
            d[j] = v_exp(d[j])
            total = total + d[j]
        vstore(losses, vload(w) * (mass * v_log(total) - dot))
        for r in range(rows):
            value[first + r] = losses[r]
        if da != NULL:
            over = mass / total
            factor = vload(w) * vsplat(<real>scale)
            for j in range(ceil_div(z.cols, VLEN) * VLEN):
                d[j] = factor * (d[j] * over - t[j]) if j < z.cols else vsplat(0)
            store_transposed(rows, z.cols, d, da + first * z.ld, z.ld)


cdef void crossentropy_logits(const Matrix* z, const real* y, const double* weight, double scale, real* da,
                              double* value, real* e) noexcept nogil:
    """loss = −Σ_j y_j·log softmax(z)_j = Σ_j y_j · log Σ exp(z − max z) − Σ_j y_j·(z_j − max z).

    The logarithms of VLEN rows are computed at once. e: ld elements of scratch, used only if da is NULL.
    """
    cdef real total[16]     # Σ exp(z − max z) of each row, then its logarithm
    cdef real mass[16]      # Σ y
    cdef real dot[16]       # Σ y·(z − max z)
    cdef Py_ssize_t first, i, q
    cdef int r, rows
    cdef real* exps
    if z.cols <= NARROW:
        crossentropy_logits_narrow(z, y, weight, scale, da, value)
        return
    for r in range(VLEN):
        total[r] = 1
    for q in range(ceil_div(z.rows, VLEN)):
        first = q * VLEN
        rows = <int>min(<Py_ssize_t>VLEN, z.rows - first)
        for r in range(rows):
            i = first + r
            exps = e if da == NULL else da + i * z.ld
            logits_row(z.cols, z.data + i * z.ld, y + i * z.ld, exps, &total[r], &mass[r], &dot[r])
            if da != NULL:
                logits_gradient(z.cols, y + i * z.ld, mass[r] / total[r],
                                (1 if weight == NULL else weight[i]) * scale, exps)
        vstore(total, v_log(vload(total)))
        for r in range(rows):
            i = first + r
            value[i] = (1 if weight == NULL else weight[i]) * (mass[r] * total[r] - dot[r])


cdef void crossentropy(const Matrix* a, const real* y, const double* weight, double scale, real* da,
                       double* value) noexcept nogil:
    """loss = −Σ_j y_j·log clip(q_j) with q = a / Σ a.

    ∂loss/∂a_j = (g_j − Σ_k g_k·q_k) / Σ a, where g_k = −y_k / q_k, or 0 if clipping changes q_k.
    """
    cdef Py_ssize_t i, j, p
    cdef double w, loss_sum, dot_sum
    cdef real total
    cdef vreal loss, dot, q, yj, over, factor
    for i in range(a.rows):
        w = 1 if weight == NULL else weight[i]
        total = <real>row_total(a.cols, a.data + i * a.ld)
        over = vsplat((<real>1) / total)
        loss_sum = dot_sum = 0
        loss = dot = vsplat(0)
        for j in range(ceil_div(a.cols, VLEN)):
            q = row_part(a.data + i * a.ld, j, a.cols, 0) * over
            yj = row_part(y + i * a.ld, j, a.cols, 0)
            loss = loss - yj * v_log(clip_probability(q))
            dot = dot + inside_clip(q, yj)
            end_run(j, &loss, &loss_sum)
            end_run(j, &dot, &dot_sum)
        value[i] = w * (loss_sum + vsum(loss))
        if da != NULL:
            factor = over * vsplat(<real>(w * scale))
            dot = vsplat(<real>(dot_sum + vsum(dot)))
            for j in range(ceil_div(a.cols, VLEN)):
                p = i * a.ld + j * VLEN
                q = vload(a.data + p) * over
                vstore(da + p, factor * (dot - inside_clip(q, vload(y + p) / clip_probability(q))))


cdef inline vreal class_focal_value(vreal q, vreal y, LossParameters focal) noexcept nogil:
    """Return −α·(1 − p)^γ·y·log p with p = clip(q); the parameters are γ and α."""
    cdef vreal p = clip_probability(q)
    return -(focal.second * v_pow(vsplat(1) - p, focal.first) * y * v_log(p))


cdef inline vreal class_focal_derivative(vreal q, vreal y, LossParameters focal) noexcept nogil:
    """Return the derivative of class_focal_value with respect to q."""
    cdef vreal p = clip_probability(q)
    cdef vreal slope = focal.first * v_pow(vsplat(1) - p, focal.first - vsplat(1)) * v_log(p)
    return inside_clip(q, focal.second * y * (slope - v_pow(vsplat(1) - p, focal.first) / p))


cdef void focal_crossentropy(const Objective* o, const Matrix* a, const real* y, const double* weight,
                             double scale, real* da, double* value, real* scratch) noexcept nogil:
    """loss = Σ_j class_focal_value(q_j, y_j), with q = a / Σ a, or q = softmax(a) for logits.

    ∂loss/∂a_j = (g_j − Σ_k g_k·q_k) / Σ a with the derivatives g, or q_j·(g_j − Σ_k g_k·q_k) for logits.
    """
    cdef bint logits = o.kind == LOSS_CATEGORICAL_FOCAL_CROSSENTROPY_LOGITS
    cdef const real* parameters = <const real*>o.parameters
    cdef const real* e
    cdef Py_ssize_t i, j, stride = o.parameter_stride
    cdef double w, loss_sum, dot_sum
    cdef vreal loss, dot, over, q, yj
    cdef LossParameters own
    for i in range(a.rows):
        w = 1 if weight == NULL else weight[i]
        e = a.data + i * a.ld
        if logits:
            over = vsplat((<real>1) / exp_row(e, a.cols, row_max(e, a.cols), scratch))
            e = scratch
        else:
            over = vsplat((<real>1) / <real>row_total(a.cols, e))
        loss_sum = dot_sum = 0
        loss = dot = vsplat(0)
        for j in range(ceil_div(a.cols, VLEN)):
            own = parameters_at(parameters + j * VLEN, stride)
            q = row_part(e, j, a.cols, 0) * over
            yj = row_part(y + i * a.ld, j, a.cols, 0)
            loss = loss + class_focal_value(q, yj, own)
            dot = dot + class_focal_derivative(q, yj, own) * q
            end_run(j, &loss, &loss_sum)
            end_run(j, &dot, &dot_sum)
        value[i] = w * (loss_sum + vsum(loss))
        if da != NULL:
            dot = vsplat(<real>(dot_sum + vsum(dot)))
            for j in range(ceil_div(a.cols, VLEN)):
                own = parameters_at(parameters + j * VLEN, stride)
                q = row_part(e, j, a.cols, 0) * over
                yj = row_part(y + i * a.ld, j, a.cols, 0)
                vstore(da + i * a.ld + j * VLEN, vsplat(<real>(w * scale)) * (q if logits else over)
                       * (class_focal_derivative(q, yj, own) - dot))


cdef void categorical_hinge(const Matrix* a, const real* y, const double* weight, double scale, real* da,
                            double* value) noexcept nogil:
    """loss = max(0, 1 + max_j (1 − y_j)·a_j − Σ_j y_j·a_j); equal maxima share the derivative."""
    cdef Py_ssize_t i, j, p
    cdef double w, loss
    cdef real peak
    cdef vreal other, yj, share, one = vsplat(1), count, factor
    for i in range(a.rows):
        w = 1 if weight == NULL else weight[i]
        other = vsplat(-INFINITY)
        for j in range(ceil_div(a.cols, VLEN)):
            other = vmax(other, row_part(a.data + i * a.ld, j, a.cols, -INFINITY)
                         * (one - row_part(y + i * a.ld, j, a.cols, 0)))
        peak = vpeak(other)
        loss = 1 + peak - row_dot(a.cols, y + i * a.ld, a.data + i * a.ld)
        value[i] = w * (0 if loss < 0 else loss)
        if da != NULL:
            count = vsplat(0)
            for j in range(ceil_div(a.cols, VLEN)):
                other = (row_part(a.data + i * a.ld, j, a.cols, -INFINITY)
                         * (one - row_part(y + i * a.ld, j, a.cols, 0)))
                count = count + vselect(vgt(vsplat(peak), other), vsplat(0), one)
            share = vsplat((<real>1) / vsum(count))
            factor = vsplat(<real>(0 if loss < 0 else w * scale))
            for j in range(ceil_div(a.cols, VLEN)):
                p = i * a.ld + j * VLEN
                yj = vload(y + p)
                other = vload(a.data + p) * (one - yj)
                other = vselect(vgt(vsplat(peak), other), vsplat(0), share * (one - yj))
                vstore(da + p, factor * (other - yj))


cdef void cosine_similarity(const Matrix* a, const real* y, const double* weight, double scale, real* da,
                            double* value) noexcept nogil:
    """loss = −Σ_j y_j·a_j / (|y|·|a|), where norms below 1e-7 count as 1e-7."""
    cdef Py_ssize_t i, j, p
    cdef double w, norm, over, cosine
    cdef vreal along, across
    for i in range(a.rows):
        w = 1 if weight == NULL else weight[i]
        norm = sqrt(row_dot(a.cols, a.data + i * a.ld, a.data + i * a.ld))
        over = sqrt(row_dot(a.cols, y + i * a.ld, y + i * a.ld))
        over = 1 / ((1e-7 if norm < 1e-7 else norm) * (1e-7 if over < 1e-7 else over))
        cosine = over * row_dot(a.cols, y + i * a.ld, a.data + i * a.ld)
        value[i] = -w * cosine
        if da != NULL:
            along = vsplat(<real>(0 if norm < 1e-7 else w * scale * cosine / (norm * norm)))
            across = vsplat(<real>(w * scale * over))
            for j in range(ceil_div(a.cols, VLEN)):
                p = i * a.ld + j * VLEN
                vstore(da + p, along * vload(a.data + p) - across * vload(y + p))


cdef void supplied_gradient(const Matrix* a, const real* y, real* da, double* value) noexcept nogil:
    """loss = Σ_j y_j·a_j with the gradient da = y; `weight` and `scale` are not applied."""
    cdef Py_ssize_t i, j
    for i in range(a.rows):
        value[i] = row_dot(a.cols, y + i * a.ld, a.data + i * a.ld)
        for j in range(ceil_div(a.cols, VLEN) if da != NULL else 0):
            vstore(da + i * a.ld + j * VLEN, vload(y + i * a.ld + j * VLEN))


cdef void maximum_output(const Matrix* a, Py_ssize_t steps, double scale, real* da,
                         double* value) noexcept nogil:
    """loss = max a over the `steps` rows of a sample; da is `scale` at the first maximum, else 0."""
    cdef Py_ssize_t i, r, j, p, best
    for i in range(a.rows // steps):
        best = i * steps * a.ld
        for r in range(steps):
            for j in range(a.cols):
                p = (i * steps + r) * a.ld + j
                if a.data[p] > a.data[best]:
                    best = p
                if da != NULL:
                    da[p] = 0
        if a.cols > 0:
            value[i] = a.data[best]
            if da != NULL:
                da[best] = <real>scale


cdef void loss_rows(const Objective* o, const Matrix* a, const real* y, const double* weight, double scale,
                    real* da, double* value, real* scratch) noexcept nogil:
    """Compute an objective's loss for m rows; scratch has ld elements."""
    if o.kind == LOSS_MEAN_SQUARED_ERROR:
        mean_loss(LOSS_MEAN_SQUARED_ERROR, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_MEAN_ABSOLUTE_ERROR:
        mean_loss(LOSS_MEAN_ABSOLUTE_ERROR, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_HUBER:
        mean_loss(LOSS_HUBER, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_LOG_COSH:
        mean_loss(LOSS_LOG_COSH, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_QUANTILE:
        mean_loss(LOSS_QUANTILE, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_POISSON:
        mean_loss(LOSS_POISSON, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_HINGE:
        mean_loss(LOSS_HINGE, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_POISSON_LOG:
        mean_loss(LOSS_POISSON_LOG, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_BINARY_CROSSENTROPY:
        mean_loss(LOSS_BINARY_CROSSENTROPY, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_BINARY_CROSSENTROPY_LOGITS:
        mean_loss(LOSS_BINARY_CROSSENTROPY_LOGITS, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR:
        mean_loss(LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR:
        mean_loss(LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_SQUARED_HINGE:
        mean_loss(LOSS_SQUARED_HINGE, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_KL_DIVERGENCE:
        mean_loss(LOSS_KL_DIVERGENCE, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_BINARY_FOCAL_CROSSENTROPY:
        mean_loss(LOSS_BINARY_FOCAL_CROSSENTROPY, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_BINARY_FOCAL_CROSSENTROPY_LOGITS:
        mean_loss(LOSS_BINARY_FOCAL_CROSSENTROPY_LOGITS, o, a[0], y, weight, scale, da, value)
    elif o.kind == LOSS_CATEGORICAL_CROSSENTROPY:
        crossentropy(a, y, weight, scale, da, value)
    elif o.kind == LOSS_CATEGORICAL_CROSSENTROPY_LOGITS:
        crossentropy_logits(a, y, weight, scale, da, value, scratch)
    elif o.kind in (LOSS_CATEGORICAL_FOCAL_CROSSENTROPY, LOSS_CATEGORICAL_FOCAL_CROSSENTROPY_LOGITS):
        focal_crossentropy(o, a, y, weight, scale, da, value, scratch)
    elif o.kind == LOSS_CATEGORICAL_HINGE:
        categorical_hinge(a, y, weight, scale, da, value)
    elif o.kind == LOSS_COSINE_SIMILARITY:
        cosine_similarity(a, y, weight, scale, da, value)
    elif o.kind == LOSS_SUPPLIED_GRADIENT:
        supplied_gradient(a, y, da, value)
    elif o.kind == LOSS_MAXIMUM_OUTPUT:
        maximum_output(a, 1, scale, da, value)


# ---- activity regularization ---------------------------------------------------------------------

cdef void add_activity(const Matrix* y, Py_ssize_t steps, double l1, double l2, double* value) noexcept nogil:
    """value[i] += l1·Σ_j |y_ij| + l2·Σ_j y_ij², where a sample i has `steps` rows of y."""
    cdef Py_ssize_t i
    for i in range(y.rows):
        value[i // steps] += row_penalty(y.cols, y.data + i * y.ld, l1, l2)


cdef void add_row_sums(const Matrix* x, Py_ssize_t steps, double factor, double* value) noexcept nogil:
    """value[i] += factor·Σ_j x_ij, where a sample i has `steps` rows of x."""
    cdef Py_ssize_t i
    for i in range(x.rows):
        value[i // steps] += factor * row_total(x.cols, x.data + i * x.ld)


cdef void add_activity_gradient(const Matrix* y, double l1, double l2, real* dy) noexcept nogil:
    """dy += l1·sign(y) + 2·l2·y. y and dy have the same stride and rows padded to whole vectors."""
    cdef Py_ssize_t i, j, p
    cdef vreal v
    for i in range(y.rows):
        for j in range(ceil_div(y.cols, VLEN)):
            p = i * y.ld + j * VLEN
            v = vload(y.data + p)
            vstore(dy + p, vload(dy + p) + sign(v, vsplat(<real>l1), vsplat(<real>-l1))
                   + vsplat(<real>(2 * l2)) * v)
