"""Masks of sequences: which steps are real (1) and which are only padding (0).

A mask has one number for each step of a sample. Steps that are not real are never read, so they may hold
NaN or infinity.
"""

cdef void mask_of_steps(Py_ssize_t steps, Py_ssize_t features, real value, const real* x,
                        real* mask) noexcept nogil:
    """mask[t] = 1 if any feature of step t differs from `value`, else 0."""
    cdef Py_ssize_t t, f
    for t in range(steps):
        mask[t] = 0
        for f in range(features):
            if x[t * features + f] != value:
                mask[t] = 1
                break


cdef void copy_real_steps(Py_ssize_t steps, Py_ssize_t features, const real* x, const real* mask,
                          real* y) noexcept nogil:
    """Copy the real steps from x to y, and clear the others."""
    cdef Py_ssize_t t
    for t in range(steps):
        if mask[t] != 0:
            copy_row(x + t * features, features, y + t * features)
        else:
            memset(y + t * features, 0, features * sizeof(real))


cdef inline Py_ssize_t n_real_steps(Py_ssize_t steps, const real* mask) noexcept nogil:
    cdef Py_ssize_t t, n = 0
    for t in range(steps):
        n += mask[t] != 0
    return n


cdef void mean_of_real_steps(Py_ssize_t steps, Py_ssize_t features, const real* x, const real* mask,
                             real* y) noexcept nogil:
    """y = the mean of the real steps, 0 if there are none."""
    cdef Py_ssize_t t, q, u, n = n_real_steps(steps, mask)
    cdef vreal total
    cdef int width
    for q in range(ceil_div(features, VLEN)):
        u = q * VLEN
        total = vsplat(0)
        width = <int>min(features - u, <Py_ssize_t>VLEN)
        for t in range(steps):
            if mask[t] != 0:
                total = total + load_cols(x + t * features + u, width)
        store_cols(y + u, total / vsplat(<real>max(n, <Py_ssize_t>1)), width)


cdef void share_among_real_steps(Py_ssize_t steps, Py_ssize_t features, const real* dy, const real* mask,
                                 real* dx) noexcept nogil:
    """dx of each real step = dy / their number; 0 for the others."""
    cdef Py_ssize_t t, q, u
    cdef vreal n = vsplat(<real>max(n_real_steps(steps, mask), <Py_ssize_t>1))
    cdef int width
    for t in range(steps):
        for q in range(ceil_div(features, VLEN)):
            u = q * VLEN
            width = <int>min(features - u, <Py_ssize_t>VLEN)
            if mask[t] != 0:
                store_cols(dx + t * features + u, load_cols(dy + u, width) / n, width)
            else:
                store_cols(dx + t * features + u, vsplat(0), width)
