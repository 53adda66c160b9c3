"""Optimizer updates over a flat range, in place. Formulas and letters are Keras'.

A gradient goes through: + regularizer, · clip factor, clip by value; then weight decay, the
rule, the moving average. All but the rule are `Adjust`; they cost nothing where none is set.
"""

cdef enum:
    NADAM_LIMIT = 1000      # 0.96^1000 does not change 1 any more

# The scalars of one step, spread over lanes.
ctypedef struct Step:
    vreal a, b, c, d, e, f
    double decay            # lr · weight decay
    double average          # momentum of the moving average in this step
    double share            # of the regularizers in the objective

# What is done around the rule, for one array of parameters.
ctypedef struct Adjust:
    double l1, l2           # the regularizer l1·Σ|w| + l2·Σw²
    double factor           # of clipping by norm
    double clip             # by value; 0: none

# Nadam's Π u_i over the steps so far, kept from step to step.
ctypedef struct Products:
    Py_ssize_t t
    double value


cdef inline double power(double base, Py_ssize_t n) noexcept nogil:
    """base^n by squaring: the same bits wherever a run of steps was cut."""
    cdef double result = 1
    while n > 0:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result


cdef inline double nadam_u(Py_ssize_t t) noexcept nogil:
    """u_t / β₁ = 1 − 0.5·0.96^t"""
    return 1 - 0.5 * power(0.96, t)


cdef double nadam_product(Products* known, Py_ssize_t t) noexcept nogil:
    """Π_{i ≤ t} (1 − 0.5·0.96^i), multiplied in the order of i wherever it starts from."""
    cdef Py_ssize_t last = min(t, <Py_ssize_t>NADAM_LIMIT)
    if known.t > last or known.t < 1:
        known.t = 0
        known.value = 1
    while known.t < last:
        known.t += 1
        known.value *= nadam_u(known.t)
    return known.value


cdef Step prepare(const Update* o, double lr, Py_ssize_t t, Products* products) noexcept nogil:
    """The scalars of step t = 1, 2, …, worked out in double."""
    cdef Step s
    cdef const double* h = <const double*>o.hyper
    cdef double u, u_next, product, next_product
    s.a = vsplat(<real>lr)
    s.b = s.c = s.d = s.e = s.f = vsplat(0)
    s.decay = lr * o.weight_decay
    s.average = 0 if t == 1 else o.ema_momentum
    s.share = 1
    if o.kind == OPT_SGD:
        s.b = vsplat(<real>h[0])
    elif o.kind == OPT_ADAM:
        # α_t = lr·√(1 − β₂^t) / (1 − β₁^t)
        s.a = vsplat(<real>(lr * sqrt(1 - power(h[1], t)) / (1 - power(h[0], t))))
        s.b = vsplat(<real>(1 - h[0]))
        s.c = vsplat(<real>(1 - h[1]))
        s.d = vsplat(<real>h[2])
    elif o.kind == OPT_NADAM:
        u = h[0] * nadam_u(t)
        u_next = h[0] * nadam_u(t + 1)
        product = power(h[0], t) * nadam_product(products, t)
        next_product = product * u_next
        s.a = vsplat(<real>(lr * u_next / (1 - next_product)))
        s.b = vsplat(<real>(1 - h[0]))
        s.c = vsplat(<real>(1 - h[1]))
        s.d = vsplat(<real>h[2])
        s.e = vsplat(<real>(lr * (1 - u) / (1 - product)))
        s.f = vsplat(<real>(1 / (1 - power(h[1], t))))
    elif o.kind == OPT_RMSPROP:
        s.b = vsplat(<real>(1 - h[0]))
        s.c = vsplat(<real>h[1])
        s.d = vsplat(<real>h[2])
        s.e = vsplat(<real>h[3])
    elif o.kind == OPT_ADAGRAD:
        s.d = vsplat(<real>h[0])
    elif o.kind == OPT_LION:
        s.b = vsplat(<real>(1 - h[0]))
        s.c = vsplat(<real>(1 - h[1]))
    return s


cdef enum Rule:
    RULE_SGD, RULE_MOMENTUM, RULE_NESTEROV, RULE_ADAM, RULE_AMSGRAD, RULE_NADAM, RULE_RMSPROP
    RULE_RMSPROP_FULL, RULE_ADAGRAD, RULE_LION


cdef inline int rule_slots(int rule) noexcept nogil:
    if rule == RULE_SGD:
        return 0
    elif rule == RULE_ADAM or rule == RULE_NADAM:
        return 2
    elif rule == RULE_AMSGRAD or rule == RULE_RMSPROP_FULL:
        return 3
    return 1


cdef inline vreal apply_rule(int rule, const Step* s, vreal w, vreal g, vreal* m, vreal* v,
                             vreal* x) noexcept nogil:
    """The new w of one vector; its slots m, v, x are updated in place."""
    cdef vreal c
    if rule == RULE_SGD:
        return w - s.a * g
    elif rule == RULE_MOMENTUM:
        m[0] = s.b * m[0] - s.a * g
        return w + m[0]
    elif rule == RULE_NESTEROV:
        m[0] = s.b * m[0] - s.a * g
        return w + (s.b * m[0] - s.a * g)
    elif rule == RULE_ADAGRAD:
        m[0] = m[0] + g * g
        return w - s.a * g * vrecip(vsqrt(m[0] + s.d))
    elif rule == RULE_RMSPROP:
        m[0] = m[0] + (g * g - m[0]) * s.b
        return w - s.a * g * vrecip(vsqrt(m[0] + s.d))
    elif rule == RULE_RMSPROP_FULL:
        # with momentum (c) and, where e = 1, centred on the mean gradient x
        m[0] = m[0] + (g * g - m[0]) * s.b
        x[0] = x[0] + (g - x[0]) * s.b * s.e
        c = s.a * g * vrecip(vsqrt(vmax(vsplat(0), m[0] - x[0] * x[0]) + s.d))
        v[0] = s.c * v[0] + c
        return w - v[0]
    elif rule == RULE_LION:
        c = m[0] + (g - m[0]) * s.b
        m[0] = m[0] + (g - m[0]) * s.c
        return w - s.a * vselect(vgt(c, vsplat(0)), vsplat(1), vselect(vgt(vsplat(0), c), vsplat(-1), c))
    m[0] = m[0] + (g - m[0]) * s.b
    v[0] = v[0] + (g * g - v[0]) * s.c
    if rule == RULE_NADAM:
        return w - (s.a * m[0] + s.e * g) * vrecip(vsqrt(s.f * v[0]) + s.d)
    elif rule == RULE_AMSGRAD:
        x[0] = vmax(x[0], v[0])
        return w - (s.a * m[0]) * vrecip(vsqrt(x[0]) + s.d)
    return w - (s.a * m[0]) * vrecip(vsqrt(v[0]) + s.d)


cdef inline vreal adjusted(const Adjust* adjust, vreal g, vreal w) noexcept nogil:
    """The gradient with its regularizer, clipped."""
    cdef vreal sign = vselect(vgt(w, vsplat(0)), vsplat(1), vselect(vgt(vsplat(0), w), vsplat(-1), vsplat(0)))
    g = g + vsplat(<real>adjust.l1) * sign + vsplat(<real>(2 * adjust.l2)) * w
    g = g * vsplat(<real>adjust.factor)
    if adjust.clip > 0:
        g = vmax(vsplat(<real>-adjust.clip), vmin(vsplat(<real>adjust.clip), g))
    return g


cdef inline void update_range(int rule, bint plain, const Step* s, const Adjust* adjust,
                              Py_ssize_t n, real* w, const real* g, real* slots,
                              Py_ssize_t stride, real* average) noexcept nogil:
    """The whole vectors of n parameters; returns with the part vector left to the caller."""
    cdef Py_ssize_t q, i
    cdef vreal wi, gi, m = vsplat(0), v = vsplat(0), x = vsplat(0)
    for q in range(n // VLEN):
        i = q * VLEN
        wi = vload(w + i)
        gi = vload(g + i)
        if rule_slots(rule) > 0:
            m = vload(slots + i)
        if rule_slots(rule) > 1:
            v = vload(slots + stride + i)
        if rule_slots(rule) > 2:
            x = vload(slots + 2 * stride + i)
        if not plain:
            gi = adjusted(adjust, gi, wi)
            wi = wi - vsplat(<real>s.decay) * wi
        wi = apply_rule(rule, s, wi, gi, &m, &v, &x)
        vstore(w + i, wi)
        if rule_slots(rule) > 0:
            vstore(slots + i, m)
        if rule_slots(rule) > 1:
            vstore(slots + stride + i, v)
        if rule_slots(rule) > 2:
            vstore(slots + 2 * stride + i, x)
        if not plain and average != NULL:
            vstore(average + i, wi + vsplat(<real>s.average) * (vload(average + i) - wi))


cdef inline void update_all(int rule, const Step* s, const Adjust* adjust, Py_ssize_t n, real* w,
                            const real* g, real* slots, Py_ssize_t stride, real* average) noexcept nogil:
    """n parameters; the last part vector goes through copies padded to a whole one."""
    cdef bint plain = (adjust.l1 == 0 and adjust.l2 == 0 and adjust.factor == 1 and adjust.clip == 0
                       and s.decay == 0 and average == NULL)
    cdef Py_ssize_t left = n % VLEN, i = n - left
    cdef int k
    cdef real tail[6][16]
    if plain:
        update_range(rule, True, s, adjust, n, w, g, slots, stride, average)
    else:
        update_range(rule, False, s, adjust, n, w, g, slots, stride, average)
    if left == 0:
        return
    memset(tail, 0, sizeof(tail))
    memcpy(&tail[0][0], w + i, left * sizeof(real))
    memcpy(&tail[1][0], g + i, left * sizeof(real))
    for k in range(rule_slots(rule)):
        memcpy(&tail[2 + k][0], slots + k * stride + i, left * sizeof(real))
    if average != NULL:
        memcpy(&tail[5][0], average + i, left * sizeof(real))
    update_range(rule, False, s, adjust, VLEN, &tail[0][0], &tail[1][0], &tail[2][0], 16,
                 NULL if average == NULL else &tail[5][0])
    memcpy(w + i, &tail[0][0], left * sizeof(real))
    for k in range(rule_slots(rule)):
        memcpy(slots + k * stride + i, &tail[2 + k][0], left * sizeof(real))
    if average != NULL:
        memcpy(average + i, &tail[5][0], left * sizeof(real))


cdef void update_step(const Update* o, const Step* s, const Adjust* adjust, Py_ssize_t n, real* w,
                      const real* g, real* slots, Py_ssize_t stride) noexcept nogil:
    """n parameters w, their gradients g and slots; slot k begins at slots + k·stride, and the
    moving average, where there is one, is the last slot."""
    cdef real* average = NULL
    if o.ema_momentum > 0:
        average = slots + (o.n_slots - 1) * stride
    if o.kind == OPT_SGD and o.hyper[0] == 0:
        update_all(RULE_SGD, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_SGD and o.hyper[1] == 0:
        update_all(RULE_MOMENTUM, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_SGD:
        update_all(RULE_NESTEROV, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_ADAM and o.hyper[3] == 0:
        update_all(RULE_ADAM, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_ADAM:
        update_all(RULE_AMSGRAD, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_NADAM:
        update_all(RULE_NADAM, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_RMSPROP and o.hyper[1] == 0 and o.hyper[3] == 0:
        update_all(RULE_RMSPROP, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_RMSPROP:
        update_all(RULE_RMSPROP_FULL, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_ADAGRAD:
        update_all(RULE_ADAGRAD, s, adjust, n, w, g, slots, stride, average)
    elif o.kind == OPT_LION:
        update_all(RULE_LION, s, adjust, n, w, g, slots, stride, average)


cdef double penalty_of(const Adjust* adjust, Py_ssize_t n, const real* w) noexcept nogil:
    """l1·Σ|w| + l2·Σw²"""
    return row_penalty(n, w, adjust.l1, adjust.l2)


cdef double sum_of_squares(const Adjust* adjust, Py_ssize_t n, const real* g, const real* w) noexcept nogil:
    """Σ g² of the regularized gradient: what clipping by norm measures."""
    cdef Py_ssize_t j
    cdef double sum = 0
    cdef vreal gi, run = vsplat(0)
    cdef int width
    for j in range(ceil_div(n, VLEN)):
        width = <int>min(n - j * VLEN, <Py_ssize_t>VLEN)
        gi = adjusted(adjust, load_cols(g + j * VLEN, width), load_cols(w + j * VLEN, width))
        run = run + gi * gi
        end_run(j, &run, &sum)
    return sum + vsum(run)


cdef void update(const Update* o, Py_ssize_t n, double lr, Py_ssize_t iteration, void* w,
                 const void* g, void* slots, Py_ssize_t stride) noexcept nogil:
    """One whole optimizer step over n parameters; iteration counts from 0."""
    cdef Products products
    cdef Adjust adjust
    cdef Step s
    cdef uint64_t mode = flush_subnormals()
    products.t = 0
    products.value = 1
    adjust.l1 = adjust.l2 = 0
    adjust.factor = 1
    adjust.clip = o.clip_value
    s = prepare(o, lr, iteration + 1, &products)
    update_step(o, &s, &adjust, n, <real*>w, <const real*>g, <real*>slots, stride)
    restore_float_mode(mode)
