"""Optimizer updates over a flat range, in place. Formulas and letters are Keras'."""

ctypedef struct Step:
    vreal a, b, c, d    # the update's scalars, spread over lanes


cdef inline double power(double base, Py_ssize_t n) noexcept nogil:
    """base^n by squaring: the same bits wherever a run of steps was cut."""
    cdef double result = 1
    while n > 0:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result


cdef inline Step prepare(const Update* o, double lr, Py_ssize_t t) noexcept nogil:
    """The scalars of step t = 1, 2, …"""
    cdef Step s
    if o.kind == OPT_SGD:
        s.a = vsplat(<real>lr)
        s.b = vsplat(<real>o.hyper[0])
        s.c = s.d = vsplat(0)
    else:
        # α_t = lr·√(1 − β₂^t) / (1 − β₁^t), in double
        s.a = vsplat(<real>(lr * sqrt(1 - power(o.hyper[1], t)) / (1 - power(o.hyper[0], t))))
        s.b = vsplat(<real>(1 - o.hyper[0]))
        s.c = vsplat(<real>(1 - o.hyper[1]))
        s.d = vsplat(<real>o.hyper[2])
    return s


cdef enum Rule:
    RULE_SGD, RULE_MOMENTUM, RULE_NESTEROV, RULE_ADAM


cdef inline vreal apply_rule(int rule, Step* s, vreal w, vreal g, vreal* m, vreal* v) noexcept nogil:
    """The new w of one vector; m and v are updated in place."""
    if rule == RULE_SGD:
        return w - s.a * g
    elif rule == RULE_MOMENTUM:
        m[0] = s.b * m[0] - s.a * g
        return w + m[0]
    elif rule == RULE_NESTEROV:
        m[0] = s.b * m[0] - s.a * g
        return w + (s.b * m[0] - s.a * g)
    m[0] = m[0] + (g - m[0]) * s.b
    v[0] = v[0] + (g * g - v[0]) * s.c
    return w - (s.a * m[0]) * vrecip(vsqrt(v[0]) + s.d)


cdef inline void update_range(int rule, int n_slots, Step* s, Py_ssize_t n, real* w, const real* g,
                              real* m, real* v) noexcept nogil:
    cdef Py_ssize_t q, i
    cdef int left = <int>(n % VLEN)
    cdef vreal mi = vsplat(0), vi = vsplat(0)
    for q in range(n // VLEN):
        i = q * VLEN
        if n_slots > 0:
            mi = vload(m + i)
        if n_slots > 1:
            vi = vload(v + i)
        vstore(w + i, apply_rule(rule, s, vload(w + i), vload(g + i), &mi, &vi))
        if n_slots > 0:
            vstore(m + i, mi)
        if n_slots > 1:
            vstore(v + i, vi)
    if left > 0:
        i = n - left
        if n_slots > 0:
            mi = vload_n(m + i, left)
        if n_slots > 1:
            vi = vload_n(v + i, left)
        vstore_n(w + i, apply_rule(rule, s, vload_n(w + i, left), vload_n(g + i, left), &mi, &vi), left)
        if n_slots > 0:
            vstore_n(m + i, mi, left)
        if n_slots > 1:
            vstore_n(v + i, vi, left)


cdef void update_step(const Update* o, Step* s, Py_ssize_t n, real* w, const real* g, real* slots,
                      Py_ssize_t stride) noexcept nogil:
    """n parameters w, their gradients g and slots; slot k begins at slots + k·stride."""
    if o.kind == OPT_SGD and o.n_slots == 0:
        update_range(RULE_SGD, 0, s, n, w, g, slots, slots)
    elif o.kind == OPT_SGD and o.hyper[1] == 0:
        update_range(RULE_MOMENTUM, 1, s, n, w, g, slots, slots)
    elif o.kind == OPT_SGD:
        update_range(RULE_NESTEROV, 1, s, n, w, g, slots, slots)
    else:
        update_range(RULE_ADAM, 2, s, n, w, g, slots, slots + stride)


cdef void update(const Update* o, Py_ssize_t n, double lr, Py_ssize_t iteration, void* w,
                 const void* g, void* slots, Py_ssize_t stride) noexcept nogil:
    """One whole optimizer step over n parameters; iteration counts from 0."""
    cdef Step s = prepare(o, lr, iteration + 1)
    cdef uint64_t mode = flush_subnormals()
    update_step(o, &s, n, <real*>w, <const real*>g, <real*>slots, stride)
    restore_float_mode(mode)
