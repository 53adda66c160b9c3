"""The individual kernels as functions of NumPy arrays, for nnfast.kernels. Part of core.pyx.

The caller has checked the arguments. Sizes are checked again, so that no kernel accesses memory outside
its arrays.
"""

cdef inline const Kernels* table_of(real example) noexcept:
    return tables[0] if real is float else tables[1]


cdef inline Py_ssize_t padded(Py_ssize_t n):
    return max(<Py_ssize_t>16, (n + 15) // 16 * 16)


cdef inline UntypedMatrix untyped(void* data, Py_ssize_t m, Py_ssize_t n, Py_ssize_t ld) noexcept nogil:
    cdef UntypedMatrix a
    a.data = data
    a.rows = m
    a.cols = n
    a.ld = ld
    return a


cdef class Padded:
    """A matrix padded for the kernels: the numbers of rows and columns are rounded up to given multiples.

    An array whose shape already fits is used in place; any other array is copied.
    """
    cdef char* data
    cdef Py_ssize_t ld
    cdef Buffer memory

    cdef take(self, char* source, Py_ssize_t m, Py_ssize_t n, int rows, int cols, bytes format,
              bint copy):
        cdef Py_ssize_t i, size = 8 if format == b"d" else 4
        if m % rows == 0 and n % cols == 0 and m > 0 and n > 0:
            self.data = source
            self.ld = n
            return self
        self.ld = padded(n)
        self.memory = Buffer((m + rows - 1) // rows * rows, self.ld, format)
        self.data = self.memory.data
        if copy and n > 0:
            for i in range(m):
                memcpy(self.data + i * self.ld * size, source + i * n * size, n * size)
        return self

    cdef give(self, char* target, Py_ssize_t m, Py_ssize_t n, Py_ssize_t size):
        """Copy the result to the target, unless the kernel wrote to the target itself."""
        cdef Py_ssize_t i
        if self.data == target or n == 0:
            return
        for i in range(m):
            memcpy(target + i * n * size, self.data + i * self.ld * size, n * size)


cdef inline bytes format_of(real example):
    return b"f" if real is float else b"d"


cdef inline char* start(const real[:, ::1] a) noexcept nogil:
    return NULL if a.shape[0] == 0 or a.shape[1] == 0 else <char*>&a[0, 0]


cdef inline char* start_1d(const real[::1] a) noexcept nogil:
    return NULL if a.shape[0] == 0 else <char*>&a[0]


cdef Buffer tail_readable(char* source, Py_ssize_t n, bytes format):
    """Return a copy that may be read up to one vector past its end."""
    cdef Buffer copy = Buffer(1, n, format)
    if n > 0:
        memcpy(copy.data, source, n * copy.itemsize)
    return copy


def dense_forward(const real[:, ::1] x, const real[:, ::1] w, const real[::1] b, int activation,
                  double alpha, real[:, ::1] out):
    """out (m, n) = f(x·w + b), with x (m, k), w (k, n) and b (n,)."""
    cdef Py_ssize_t m = x.shape[0], k = x.shape[1], n = w.shape[1]
    cdef const Kernels* table = table_of[real](0)
    cdef bytes format = format_of[real](0)
    cdef Padded xp, yp
    cdef Buffer wp, bp, scratch
    cdef char* weights
    if w.shape[0] != k or b.shape[0] != n or out.shape[0] != m or out.shape[1] != n:
        raise ValueError("dense_forward: the shapes do not fit")
    if m == 0 or n == 0:
        return
    xp = Padded().take(start[real](x), m, k, 4, 1, format, True)
    yp = Padded().take(start[real](out), m, n, 4, 16, format, False)
    weights = start[real](w)
    if n % 16 or k == 0:
        wp = tail_readable(weights, k * n, format)
        weights = wp.data
    bp = tail_readable(start_1d[real](b), n, format)
    scratch = Buffer(1, table.dense_scratch(k, n), format)
    with nogil:
        table.dense_forward(untyped(xp.data, m, k, xp.ld), weights, bp.data, untyped(yp.data, m, n, yp.ld),
                            activation, alpha, scratch.data)
    yp.give(start[real](out), m, n, sizeof(real))


def dense_backward(const real[:, ::1] dout, const real[:, ::1] x, const real[:, ::1] w,
                   const real[:, ::1] out, const real[:, ::1] z, int activation, double alpha,
                   real[:, ::1] dx, real[:, ::1] dw, real[::1] db):
    """dx = dz·wᵀ, dw = xᵀ·dz, db = Σ dz, where dz (m, n) = dout ⊙ f'(z); x (m, k), w (k, n)."""
    cdef Py_ssize_t m = x.shape[0], k = x.shape[1], n = w.shape[1]
    cdef const Kernels* table = table_of[real](0)
    cdef bytes format = format_of[real](0)
    cdef Padded xp, doutp, outp, zp, dxp
    cdef Buffer dz
    cdef Buffer wp, scratch
    cdef char* weights
    if (w.shape[0] != k or dout.shape[0] != m or dout.shape[1] != n or out.shape[0] != m
            or out.shape[1] != n or z.shape[0] != m or z.shape[1] != n or dx.shape[0] != m
            or dx.shape[1] != k or dw.shape[0] != k or dw.shape[1] != n or db.shape[0] != n):
        raise ValueError("dense_backward: the shapes do not fit")
    doutp = Padded().take(start[real](dout), m, n, 4, 16, format, True)
    dz = Buffer(padded(m), doutp.ld, format)
    xp = Padded().take(start[real](x), m, k, 4, 16, format, True)
    outp = Padded().take(start[real](out), m, n, 4, 16, format, True)
    zp = Padded().take(start[real](z), m, n, 4, 16, format, True)
    dxp = Padded().take(start[real](dx), m, k, 4, 16, format, False)
    weights = start[real](w)
    if n % 16 or k == 0:
        wp = tail_readable(weights, k * n, format)
        weights = wp.data
    scratch = Buffer(1, table.dense_scratch(k, n), format)
    with nogil:
        table.activation_backward(activation, alpha, zp.data, outp.data, doutp.data,
                                  untyped(dz.data, m, n, doutp.ld))
        table.dense_backward(untyped(xp.data, m, k, xp.ld), weights, untyped(dz.data, m, n, doutp.ld),
                             untyped(dxp.data, m, k, dxp.ld), start[real](dw), start_1d[real](db),
                             scratch.data)
    dxp.give(start[real](dx), m, k, sizeof(real))


def activation_forward(const real[:, ::1] x, int activation, double alpha, real[:, ::1] out):
    """out = f(x) for the rows of x (m, n); out may be x."""
    cdef Py_ssize_t m = x.shape[0], n = x.shape[1], whole = m * n // 16, left = m * n % 16
    cdef const Kernels* table = table_of[real](0)
    cdef Padded xp, yp
    cdef real tail[16]
    if out.shape[0] != m or out.shape[1] != n:
        raise ValueError("activation_forward: the shapes do not fit")
    if m == 0 or n == 0:
        return
    if activation == ACT_SOFTMAX:
        xp = Padded().take(start[real](x), m, n, 1, 16, format_of[real](0), True)
        yp = Padded().take(start[real](out), m, n, 1, 16, format_of[real](0), False)
        with nogil:
            table.activation_forward(activation, alpha, xp.data, untyped(yp.data, m, n, yp.ld))
        yp.give(start[real](out), m, n, sizeof(real))
        return
    with nogil:     # elementwise, so the matrix is treated as one row
        table.activation_forward(activation, alpha, &x[0, 0],
                                 untyped(&out[0, 0], 1, whole * 16, whole * 16))
        if left:
            memcpy(tail, &x[0, 0] + whole * 16, left * sizeof(real))
            table.activation_forward(activation, alpha, tail, untyped(tail, 1, left, 16))
            memcpy(&out[0, 0] + whole * 16, tail, left * sizeof(real))


def activation_backward(const real[:, ::1] dout, const real[:, ::1] out, const real[:, ::1] x,
                        int activation, double alpha, real[:, ::1] dx):
    """dx = dout ⊙ f'(x), with out = f(x); dx may be dout.

    If f'(x) can be computed from out, x is not read, and out can be passed in its place.
    """
    cdef Py_ssize_t m = out.shape[0], n = out.shape[1], whole = m * n // 16, left = m * n % 16
    cdef const Kernels* table = table_of[real](0)
    cdef Padded yp, dyp, dzp
    cdef real x_tail[16]
    cdef real y_tail[16]
    cdef real d_tail[16]
    if (x.shape[0] != m or x.shape[1] != n or dout.shape[0] != m or dout.shape[1] != n
            or dx.shape[0] != m or dx.shape[1] != n):
        raise ValueError("activation_backward: the shapes do not fit")
    if m == 0 or n == 0:
        return
    if activation == ACT_SOFTMAX:
        yp = Padded().take(start[real](out), m, n, 1, 16, format_of[real](0), True)
        dyp = Padded().take(start[real](dout), m, n, 1, 16, format_of[real](0), True)
        dzp = Padded().take(start[real](dx), m, n, 1, 16, format_of[real](0), False)
        with nogil:
            table.activation_backward(activation, alpha, yp.data, yp.data, dyp.data,
                                      untyped(dzp.data, m, n, dzp.ld))
        dzp.give(start[real](dx), m, n, sizeof(real))
        return
    with nogil:
        table.activation_backward(activation, alpha, &x[0, 0], &out[0, 0], &dout[0, 0],
                                  untyped(&dx[0, 0], 1, whole * 16, 16))
        if left:
            memcpy(x_tail, &x[0, 0] + whole * 16, left * sizeof(real))
            memcpy(y_tail, &out[0, 0] + whole * 16, left * sizeof(real))
            memcpy(d_tail, &dout[0, 0] + whole * 16, left * sizeof(real))
            table.activation_backward(activation, alpha, x_tail, y_tail, d_tail,
                                      untyped(d_tail, 1, left, 16))
            memcpy(&dx[0, 0] + whole * 16, d_tail, left * sizeof(real))


def loss(int kind, parameters, const real[:, ::1] y_true, const real[:, ::1] y_pred, const double[::1] weight,
         real[:, ::1] gradient):
    """Return Σ weight·loss / m over the m rows; write its gradient with respect to y_pred to gradient."""
    cdef Py_ssize_t m = y_pred.shape[0], n = y_pred.shape[1], i
    cdef const Kernels* table = table_of[real](0)
    cdef bytes format = format_of[real](0)
    cdef Padded ap, yp, dp
    cdef Buffer values, scratch, parameter_memory = loss_parameters_of(parameters, n, format)
    cdef Objective objective
    cdef double total = 0
    if (y_true.shape[0] != m or y_true.shape[1] != n or gradient.shape[0] != m
            or gradient.shape[1] != n or weight.shape[0] != m or m == 0 or n == 0):
        raise ValueError("loss: the shapes do not fit")
    ap = Padded().take(start[real](y_pred), m, n, 1, 16, format, True)
    yp = Padded().take(start[real](y_true), m, n, 1, 16, format, True)
    dp = Padded().take(start[real](gradient), m, n, 1, 16, format, False)
    values = Buffer(1, m, b"d")
    scratch = Buffer(1, ap.ld, format)
    objective.kind = kind
    objective.parameters = parameter_memory.data
    objective.parameter_stride = parameter_memory.shape[1]
    with nogil:
        table.loss(&objective, untyped(ap.data, m, n, ap.ld), yp.data, &weight[0], 1.0 / m, dp.data,
                   <double*>values.data, scratch.data)
    dp.give(start[real](gradient), m, n, sizeof(real))
    for i in range(m):
        total += (<double*>values.data)[i]
    return total / m


def optimizer_step(int kind, int n_slots, tuple hyper, double lr, double weight_decay,
                   double clip_value, double ema_momentum, Py_ssize_t iteration, real[::1] params,
                   const real[::1] grads, real[:, ::1] slots):
    """Update params (n,) and slots (n_slots, n) in place by one step; the first iteration is 0."""
    cdef OptimizerSettings update = optimizer_settings(kind, n_slots, hyper, weight_decay, clip_value,
                                                       ema_momentum)
    cdef Py_ssize_t n = params.shape[0]
    cdef const Kernels* table = table_of[real](0)
    if grads.shape[0] != n or slots.shape[0] != n_slots or slots.shape[1] != n:
        raise ValueError("optimizer_step: the shapes do not fit")
    if n == 0:
        return
    with nogil:
        table.update(&update, n, lr, iteration, &params[0], &grads[0],
                     &slots[0, 0] if n_slots > 0 else NULL, n)


cdef bint none_outside(const real* x, Py_ssize_t n, real low, real high) noexcept nogil:
    cdef Py_ssize_t i
    cdef int outside = 0
    for i in range(n):  # without an early exit, so that the compiler can vectorize it
        outside |= (x[i] < low) | (x[i] > high)
    return outside == 0


def in_range(array, double low, double high):
    """Return whether all elements of an array are in [low, high]; NaN is ignored.

    The array must be C-contiguous and of dtype float32 or float64.
    """
    cdef Py_buffer view
    cdef Py_ssize_t n
    cdef bint result
    # Dispatching on typed memoryviews would take 20 times as long as checking 64 elements.
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        n = view.len // view.itemsize
        if view.format[0] == b"f":
            with nogil:
                result = none_outside(<const float*>view.buf, n, <float>low, <float>high)
        elif view.format[0] == b"d":
            with nogil:
                result = none_outside(<const double*>view.buf, n, low, high)
        else:
            raise TypeError("in_range takes float32 or float64")
    finally:
        PyBuffer_Release(&view)
    return result


def primitive(int which, const real[::1] x, real[::1] y):
    """Test hook: y = f(x), where f is the variant's own exp, log, tanh, …"""
    cdef const Kernels* table = table_of[real](0)
    if x.shape[0] != y.shape[0]:
        raise ValueError("primitive: the shapes do not fit")
    if x.shape[0] > 0:
        with nogil:
            table.primitive(which, x.shape[0], &x[0], &y[0])
