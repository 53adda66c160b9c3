"""exp, log, tanh and functions built from them, a vector at a time.

float32 and float64 share this source. Arguments are reduced to a range in which a polynomial of degree
EXP_DEGREE or a series with LOG_TERMS terms is accurate to within rounding error. There are no lookup tables,
and no branches.
"""

cdef inline vreal exp_series(vreal r) noexcept nogil:
    """e^r for |r| ≤ ln 2 / 2."""
    cdef vreal p = vsplat(EXP_SERIES[EXP_DEGREE])
    cdef int i
    for i in range(1, EXP_DEGREE + 1):
        p = p * r + vsplat(EXP_SERIES[EXP_DEGREE - i])
    return p


cdef inline vreal v_exp(vreal x) noexcept nogil:
    """e^x = 2^k · e^r with k = round(x / ln 2), |r| ≤ ln 2 / 2 (Cody and Waite)."""
    cdef real low = -EXP_LIMIT if EXACT_SCALE else EXP_UNDERFLOW
    cdef real high = EXP_LIMIT if EXACT_SCALE else EXP_OVERFLOW
    cdef vreal bounded = vmax(vsplat(low), vmin(vsplat(high), x))
    cdef vreal t = vround(bounded * vsplat(LOG2_E))
    cdef vreal k = vrounded(t)
    cdef vreal r = (bounded - k * vsplat(LN2_HIGH)) - k * vsplat(LN2_LOW)
    cdef vreal y = vscale(exp_series(r), t)
    if EXACT_SCALE:
        return y
    y = vselect(vgt(x, vsplat(EXP_OVERFLOW)), vsplat(INFINITY), y)
    # If x ≤ EXP_UNDERFLOW or x is NaN, the result is max(0, x), which is 0 or NaN, respectively.
    return vselect(vgt(x, vsplat(EXP_UNDERFLOW)), y, vmax(vsplat(0), x))


cdef inline vreal v_expm1_of_double(vreal x) noexcept nogil:
    """e^2x − 1 = 2^k·(e^2h − 1) + (2^k − 1) for |x| ≤ TANH_LIMIT, without cancellation near 0.

    |h| ≤ ln 2 / 4. The rounding error of h does not matter: if k ≠ 0, the result is not small.
    """
    cdef vreal t = vround(x * vsplat(2 * LOG2_E))
    cdef vreal h = x - vrounded(t) * vsplat(HALF_LN2)
    cdef vreal scale = vscale(vsplat(1), t)
    cdef vreal p = vsplat(EXP_SERIES[EXP_DEGREE] * (1 << EXP_DEGREE))
    cdef int i
    for i in range(1, EXP_DEGREE):
        p = p * h + vsplat(EXP_SERIES[EXP_DEGREE - i] * (1 << (EXP_DEGREE - i)))
    return (scale * h) * p + (scale - vsplat(1))


cdef inline vreal v_tanh(vreal x) noexcept nogil:
    """tanh x = u / (2 + u) with u = e^2x − 1; the result gets the sign of x, which may be −0."""
    cdef vreal u = v_expm1_of_double(vmin(vsplat(TANH_LIMIT), vmax(vsplat(-TANH_LIMIT), x)))
    return vcopysign(u / (vsplat(2) + u), x)


cdef inline vreal v_sigmoid(vreal x) noexcept nogil:
    """1 / (1 + e^−x)."""
    return vsplat(1) / (vsplat(1) + v_exp(-x))


cdef inline vreal atanh_series(vreal s, int terms) noexcept nogil:
    """2·atanh(s) = 2s·Σ s^(2i)/(2i+1) = log((1 + s)/(1 − s))."""
    cdef vreal s2 = s * s
    cdef vreal p = vsplat((<real>1) / (2 * terms - 1))
    cdef int i
    for i in range(2, terms + 1):
        p = p * s2 + vsplat((<real>1) / (2 * (terms - i) + 1))
    return (s + s) * p


cdef inline vreal v_log(vreal x) noexcept nogil:
    """log(m·2^e) = e·ln 2 + 2·atanh((m − 1)/(m + 1)), m in [√½, √2)."""
    cdef vmask small = vgt(vsplat(REAL_TINY), x)
    cdef vreal e, m, y
    m = vfrexp(vselect(small, x * vsplat(SUBNORMAL_SCALE), x), &e)
    e = e - vselect(small, vsplat(SUBNORMAL_EXPONENT), vsplat(0))
    y = atanh_series((m - vsplat(1)) / (m + vsplat(1)), LOG_TERMS)
    y = e * vsplat(LN2_HIGH) + (e * vsplat(LN2_LOW) + y)
    y = vselect(vgt(x, vsplat(0)), y, vselect(vgt(vsplat(0), x), vsplat(NAN), vsplat(-INFINITY)))
    # For +inf and NaN, the result is x itself; neither compares less than +inf.
    return vselect(vgt(vsplat(INFINITY), x), y, x)


cdef inline vreal v_pow(vreal x, vreal exponent) noexcept nogil:
    """x^exponent for x ≥ 0. The smallest normal number replaces 0, so that 0^0 is 1."""
    return v_exp(exponent * v_log(vmax(vsplat(REAL_TINY), x)))


cdef inline vreal v_log1p_unit(vreal e) noexcept nogil:
    """log(1 + e) = 2·atanh(e / (2 + e)) for 0 ≤ e ≤ 1, accurate to rounding for small e, too."""
    return atanh_series(e / (vsplat(2) + e), LOG1P_TERMS)


cdef inline vreal v_exp_minus_square(vreal x) noexcept nogil:
    """e^(−x²) = e^(−h²)·e^(−l) with l = x² − h². h is x rounded to fewer bits, so that h² is
    exact. l also accounts for the rounding error of the argument reduction."""
    cdef vreal h = vhalf_bits(x)
    cdef vreal l = (x - h) * (x + h)
    cdef vreal y = vmax(vsplat(EXP_UNDERFLOW), -(h * h))
    cdef vreal t = vround(y * vsplat(LOG2_E)), k = vrounded(t)
    cdef vreal high = y - k * vsplat(LN2_HIGH)
    cdef vreal r = high - k * vsplat(LN2_LOW)
    cdef vreal e = vscale(exp_series(r), t)
    l = l - ((high - r) - k * vsplat(LN2_LOW))
    e = e - e * (l * (vsplat(1) - l * (vsplat(<real>0.5) - l * (
        vsplat(<real>(1.0 / 6)) - l * vsplat(<real>(1.0 / 24))))))
    return vselect(vgt(vsplat(EXP_UNDERFLOW), -(x * x)), vsplat(0), e)


cdef inline vreal erfc_polynomial(vreal u) noexcept nogil:
    """Return (1 + 2x)·e^(x²)·erfc(x) for u = (x − 3.75)/(x + 3.75)."""
    cdef vreal p = vsplat(ERFC_SCALED[0])
    cdef int i
    for i in range(1, ERFC_TERMS):
        p = p * u + vsplat(ERFC_SCALED[i])
    return p


cdef inline vreal v_normal_cdf(vreal z) noexcept nogil:
    """Φ(z) = erfc(−z/√2)/2 with an absolute error of one ulp of 1.

    This is accurate enough for z·Φ(z), at half the cost of v_erfc.
    """
    cdef vreal t = vmin(vsplat(30), vabs(z) * vsplat(<real>0.7071067811865476))
    cdef vreal d = t + vsplat(<real>3.75), e = vsplat(1) + (t + t)
    cdef vreal over = vsplat(1) / (d * e)
    cdef vreal p = erfc_polynomial((t - vsplat(<real>3.75)) * e * over) * d * over
    cdef vreal tail = vsplat(<real>0.5) * p * v_exp(vsplat(<real>-0.5) * z * z)
    return vselect(vgt(z, vsplat(0)), vsplat(1) - tail, tail)


cdef inline vreal v_gelu_tail(vreal a) noexcept nogil:
    """a·Φ(−a) for a ≥ 0, with an error of 1e-7 in float32.

    Φ(−a) is approximated by p(a)^−4 with a polynomial p, as in Hastings' erfc (1955).
    """
    cdef vreal p
    cdef int i
    if sizeof(real) == sizeof(double):
        return a * v_normal_cdf(-a)
    a = vmin(vsplat(100), a)
    p = vsplat(NORMAL_TAIL_ROOT[0])
    for i in range(1, NORMAL_TAIL_TERMS):
        p = p * a + vsplat(NORMAL_TAIL_ROOT[i])
    p = p * p
    return a / (p * p)


cdef inline vreal v_erfc_positive(vreal x) noexcept nogil:
    """erfc(x) = e^(−x²)·p(u)/(1 + 2x) with u = (x − 3.75)/(x + 3.75), for x ≥ 0.46."""
    cdef vreal t = vmin(vsplat(30), x)
    cdef vreal u = (t - vsplat(<real>3.75)) / (t + vsplat(<real>3.75))
    cdef vreal p = erfc_polynomial(u)
    # q = p / (1 + 2t) to within half an ulp: it is corrected for the rounding error of 1 + 2t.
    cdef vreal d = vsplat(1) + (t + t)
    cdef vreal over = vsplat(1) / d
    cdef vreal q = p * over
    q = q + over * ((p - q * d) - q * (vsplat(1) - (d - (t + t))))
    return v_exp_minus_square(t) * q


cdef inline vreal v_erf_small(vreal x) noexcept nogil:
    """erf(x) = 2/√π·x·Σ (−x²)^i / (i!·(2i + 1)) for |x| ≤ 0.75."""
    cdef vreal s = -(x * x)
    cdef vreal p = vsplat(INVERSE_FACTORIAL[ERF_TERMS - 1] / (2 * ERF_TERMS - 1))
    cdef int i
    for i in range(2, ERF_TERMS + 1):
        p = p * s + vsplat(INVERSE_FACTORIAL[ERF_TERMS - i] / (2 * (ERF_TERMS - i) + 1))
    return x * (vsplat(<real>1.1283791670955126) * p)


cdef inline vreal v_erf(vreal x) noexcept nogil:
    """erf(x): the Taylor series if |x| < 0.75, else ±(1 − erfc |x|)."""
    cdef vreal size = vabs(x)
    cdef vmask small = vgt(vsplat(<real>0.75), size)
    cdef vreal large = vcopysign(vsplat(1) - v_erfc_positive(size), x)
    return vselect(small, v_erf_small(vselect(small, x, vsplat(0))), large)


cdef inline vreal v_erfc(vreal x) noexcept nogil:
    """erfc(x): 1 − erf(x) near 0, erfc |x| for larger x, and 2 − erfc |x| for negative x."""
    cdef vreal size = vabs(x)
    cdef vmask small = vgt(vsplat(<real>0.46875), size)
    cdef vreal tail = v_erfc_positive(size)
    cdef vreal large = vselect(vgt(vsplat(0), x), vsplat(2) - tail, tail)
    return vselect(small, vsplat(1) - v_erf_small(vselect(small, x, vsplat(0))), large)


cdef inline vreal v_expm1_below(vreal x) noexcept nogil:
    """e^x − 1 for x ≤ 0; 0 for x > 0."""
    return v_expm1_of_double(vmax(vsplat(-TANH_LIMIT), vmin(vsplat(0), vsplat(<real>0.5) * x)))


cdef inline vreal v_softplus(vreal x) noexcept nogil:
    """log(1 + e^x) = max(0, x) + log(1 + e^−|x|)."""
    return vmax(vsplat(0), x) + v_log1p_unit(v_exp(-vabs(x)))


cdef inline vreal primitive_value(int which, vreal x) noexcept nogil:
    """Return f(x) for one of the functions above."""
    if which == MATH_EXP:
        return v_exp(x)
    elif which == MATH_LOG:
        return v_log(x)
    elif which == MATH_LOG1P:
        return v_log1p_unit(x)
    elif which == MATH_TANH:
        return v_tanh(x)
    elif which == MATH_ERF:
        return v_erf(x)
    elif which == MATH_ERFC:
        return v_erfc(x)
    return v_sigmoid(x)


cdef inline void map_primitive(int which, Py_ssize_t n, const real* x, real* y) noexcept nogil:
    """y (n) = f(x (n)); `which` is a compile-time constant at every call site."""
    cdef Py_ssize_t i
    for i in range(n // VLEN):
        vstore(y + i * VLEN, primitive_value(which, vload(x + i * VLEN)))
    i = n // VLEN * VLEN
    if i < n:
        vstore_n(y + i, primitive_value(which, vload_n(x + i, <int>(n - i))), <int>(n - i))


cdef void primitive(int which, Py_ssize_t n, const void* x, void* y) noexcept nogil:
    """y (n) = f(x (n)), element by element. The tests call the functions above through this hook."""
    if which == MATH_EXP:
        map_primitive(MATH_EXP, n, <const real*>x, <real*>y)
    elif which == MATH_LOG:
        map_primitive(MATH_LOG, n, <const real*>x, <real*>y)
    elif which == MATH_LOG1P:
        map_primitive(MATH_LOG1P, n, <const real*>x, <real*>y)
    elif which == MATH_TANH:
        map_primitive(MATH_TANH, n, <const real*>x, <real*>y)
    elif which == MATH_ERF:
        map_primitive(MATH_ERF, n, <const real*>x, <real*>y)
    elif which == MATH_ERFC:
        map_primitive(MATH_ERFC, n, <const real*>x, <real*>y)
    else:
        map_primitive(MATH_SIGMOID, n, <const real*>x, <real*>y)
