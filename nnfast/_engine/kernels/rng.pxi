"""Counter-based random numbers: each is a function of its key, so the order of generation does not matter."""

cdef inline uint64_t mix64(uint64_t z) noexcept nogil:
    """Return the hash of z, computed with the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint64_t subkey(uint64_t key, uint64_t number) noexcept nogil:
    """Return the key of a random stream; each number gives an independent stream."""
    return mix64(key + (number + 1) * <uint64_t>0x9E3779B97F4A7C15)


cdef inline uint32_t mix32(uint32_t h) noexcept nogil:
    """Return the hash of h, computed with Wellons' lowbias32, a bijection that compilers can vectorize."""
    h = (h ^ (h >> 16)) * <uint32_t>0x7FEB352D
    h = (h ^ (h >> 15)) * <uint32_t>0x846CA68B
    return h ^ (h >> 16)


cdef void shuffle(uint64_t seed, uint64_t epoch, Py_ssize_t n, int32_t* order) noexcept nogil:
    """order = the epoch's permutation of 0 … n − 1 (Fisher–Yates, with Lemire's bounded integers)."""
    cdef uint64_t key = subkey(seed, epoch)
    cdef Py_ssize_t i, j
    cdef int32_t other
    for i in range(n):
        order[i] = <int32_t>i
    for i in range(n - 1, 0, -1):
        j = <Py_ssize_t>(((subkey(key, <uint64_t>i) >> 32) * <uint64_t>(i + 1)) >> 32)
        other = order[i]
        order[i] = order[j]
        order[j] = other


cdef inline uint64_t mask_key(uint64_t seed, uint64_t epoch, int layer) noexcept nogil:
    """Return the key of a dropout or noise layer in an epoch; ~seed separates it from the shuffle's key."""
    return subkey(subkey(~seed, epoch), <uint64_t>layer)


# Elements are dropped with probability `rate`: they become `dropped`, the others scale·x + offset.
ctypedef struct MaskRule:
    double rate, scale, offset, dropped


cdef void dropout(const Matrix* x, const Matrix* y, const MaskRule* rule, uint64_t key,
                  Py_ssize_t first) noexcept nogil:
    """y (m, n) = scale·x + offset where the mask keeps an element, else `dropped`; y may alias x.

    Row i has position first + i in its epoch. The backward pass calls this function with the gradients: the
    mask is regenerated, not stored.
    """
    cdef Py_ssize_t i, j
    cdef uint64_t row
    cdef uint32_t low, high, h
    cdef uint32_t drop = <uint32_t>(rule.rate * 4294967296.0)
    cdef real scale = <real>rule.scale, offset = <real>rule.offset, dropped = <real>rule.dropped
    cdef const real* xi
    cdef real* yi
    for i in range(x.rows):
        row = subkey(key, <uint64_t>(first + i))
        low = <uint32_t>row
        high = <uint32_t>(row >> 32)
        xi = x.data + i * x.ld
        yi = y.data + i * y.ld
        for j in range(x.cols):
            h = mix32(mix32(<uint32_t>j * <uint32_t>0x9E3779B9 + low) ^ high)
            yi[j] = xi[j] * scale + offset if h >= drop else dropped


cdef void dropout_broadcast(const Matrix* x, const Matrix* y, const MaskRule* rule, uint64_t key,
                            Py_ssize_t first, const int64_t* sizes, const int64_t* strides) noexcept nogil:
    """The same as `dropout`, but elements may share a mask element.

    A sample has axes of 3 sizes. Its element (a, b, c) has the mask element
    a·strides[0] + b·strides[1] + c·strides[2].
    """
    cdef Py_ssize_t i, a, b, c, j
    cdef Py_ssize_t n_a = sizes[0], n_b = sizes[1], n_c = sizes[2]
    cdef uint32_t step = <uint32_t>strides[2]
    cdef uint64_t row
    cdef uint32_t low, high, h, start
    cdef uint32_t drop = <uint32_t>(rule.rate * 4294967296.0)
    cdef real scale = <real>rule.scale, offset = <real>rule.offset, dropped = <real>rule.dropped
    cdef const real* xi
    cdef real* yi
    for i in range(x.rows):
        row = subkey(key, <uint64_t>(first + i))
        low = <uint32_t>row
        high = <uint32_t>(row >> 32)
        for a in range(n_a):
            for b in range(n_b):
                j = (a * n_b + b) * n_c
                start = <uint32_t>(a * strides[0] + b * strides[1])
                xi = x.data + i * x.ld + j
                yi = y.data + i * y.ld + j
                for c in range(n_c):
                    h = mix32(mix32((start + <uint32_t>c * step) * <uint32_t>0x9E3779B9 + low) ^ high)
                    yi[c] = xi[c] * scale + offset if h >= drop else dropped


cdef inline vreal v_normal_quantile(vreal p, vreal q) noexcept nogil:
    """Return the quantile of the standard normal distribution at 1 − p, for 2^−33 ≤ p ≤ ½ and q = ½ − p.

    Rational approximations from algorithm AS 241, routine PPND7 (Wichura, 1988); relative error 1e-7.
    """
    cdef vreal r = vsplat(<real>0.180625) - q * q
    cdef vreal middle = q * (((vsplat(<real>59.109374720) * r + vsplat(<real>159.29113202)) * r
                              + vsplat(<real>50.434271938)) * r + vsplat(<real>3.3871327179)) / (
        ((vsplat(<real>67.187563600) * r + vsplat(<real>78.757757664)) * r
         + vsplat(<real>17.895169469)) * r + vsplat(1))
    cdef vreal t = vsqrt(-v_log(p)) - vsplat(<real>1.6)
    cdef vreal tail = (((vsplat(<real>0.17023821103) * t + vsplat(<real>1.3067284816)) * t
                        + vsplat(<real>2.7568153900)) * t + vsplat(<real>1.4234372777)) / (
        (vsplat(<real>0.12021132975) * t + vsplat(<real>0.73700164250)) * t + vsplat(1))
    return vselect(vgt(q, vsplat(<real>0.425)), tail, middle)


cdef inline vreal v_normal(uint64_t row, Py_ssize_t q) noexcept nogil:
    """Return vector q of the standard normal numbers of a row whose key is `row`.

    One bit of the hash gives the sign, and the other 31 bits give the tail probability.
    """
    cdef int k
    cdef uint32_t low = <uint32_t>row, high = <uint32_t>(row >> 32), h
    cdef real tail[16]
    cdef real sign[16]
    for k in range(VLEN):
        h = mix32(mix32(<uint32_t>(q * VLEN + k) * <uint32_t>0x9E3779B9 + low) ^ high)
        tail[k] = (<real>(h >> 1) + <real>0.5) * <real>(1.0 / 4294967296.0)
        sign[k] = <real>1 - <real>2 * <real>(h & 1)
    return vcopysign(v_normal_quantile(vload(tail), vsplat(<real>0.5) - vload(tail)), vload(sign))


cdef void gaussian_noise(const Matrix* x, const Matrix* y, double stddev, bint multiplies, uint64_t key,
                         Py_ssize_t first) noexcept nogil:
    """y (m, n) = x + stddev·z with standard normal z, or x·(1 + stddev·z) if `multiplies`.

    Row i has position first + i in its epoch.
    """
    cdef Py_ssize_t i, q, p
    cdef uint64_t row
    cdef vreal v, scale = vsplat(<real>stddev)
    cdef const real* xi
    cdef real* yi
    for i in range(x.rows):
        xi = x.data + i * x.ld
        yi = y.data + i * y.ld
        row = subkey(key, <uint64_t>(first + i))
        for q in range(ceil_div(x.cols, VLEN)):
            p = q * VLEN
            v = vload(xi + p)
            vstore(yi + p, v + (v * scale if multiplies else scale) * v_normal(row, q))


cdef void normal_sample(const Matrix* mean, const Matrix* log_variance, uint64_t key, Py_ssize_t first,
                        const Matrix* y) noexcept nogil:
    """y (m, n) = mean + exp(log_variance / 2)·z with the z of `gaussian_noise`."""
    cdef Py_ssize_t i, q, p
    cdef uint64_t row
    cdef vreal stddev
    for i in range(y.rows):
        row = subkey(key, <uint64_t>(first + i))
        for q in range(ceil_div(y.cols, VLEN)):
            p = q * VLEN
            stddev = v_exp(vsplat(<real>0.5) * vload(log_variance.data + i * log_variance.ld + p))
            vstore(y.data + i * y.ld + p, vload(mean.data + i * mean.ld + p) + stddev * v_normal(row, q))


cdef void log_variance_gradient(const Matrix* log_variance, const Matrix* dy, uint64_t key, Py_ssize_t first,
                                const Matrix* dx) noexcept nogil:
    """dx (m, n) = exp(log_variance / 2)·z·dy / 2; the z of `normal_sample` are regenerated, not stored."""
    cdef Py_ssize_t i, q, p
    cdef uint64_t row
    cdef vreal stddev
    for i in range(dx.rows):
        row = subkey(key, <uint64_t>(first + i))
        for q in range(ceil_div(dx.cols, VLEN)):
            p = q * VLEN
            stddev = v_exp(vsplat(<real>0.5) * vload(log_variance.data + i * log_variance.ld + p))
            vstore(dx.data + i * dx.ld + p,
                   vsplat(<real>0.5) * stddev * v_normal(row, q) * vload(dy.data + i * dy.ld + p))


cdef void affine(const Matrix* x, const Matrix* y, double scale, double offset) noexcept nogil:
    """y (m, n) = scale·x + offset; y may alias x."""
    cdef Py_ssize_t i, j
    cdef const real* xi
    cdef real* yi
    for i in range(x.rows):
        xi = x.data + i * x.ld
        yi = y.data + i * y.ld
        for j in range(x.cols):
            yi[j] = <real>scale * xi[j] + <real>offset
