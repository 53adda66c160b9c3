"""Rows of the data set into the arena: converted and scaled on the way, nothing copied twice."""

ctypedef fused input_real:
    float
    double
    uint8_t


cdef inline vreal load_cols(const real* p, int cols) noexcept nogil:
    if cols >= VLEN:
        return vload(p)
    return vload_n(p, cols) if cols > 0 else vsplat(0)


cdef inline void store_cols(real* p, vreal v, int cols) noexcept nogil:
    if cols >= VLEN:
        vstore(p, v)
    elif cols > 0:
        vstore_n(p, v, cols)


cdef inline void copy_row(const real* x, Py_ssize_t n, real* out) noexcept nogil:
    """A memcpy that takes short rows without a call: in vectors, of which the last may overlap the one
    before it."""
    cdef Py_ssize_t q
    if n <= VLEN:
        store_cols(out, load_cols(x, <int>n), <int>n)
    elif n <= 8 * VLEN:
        for q in range(n // VLEN):
            vstore(out + q * VLEN, vload(x + q * VLEN))
        vstore(out + n - VLEN, vload(x + n - VLEN))
    else:
        memcpy(out, x, n * sizeof(real))


cdef inline void convert_row(input_real* x, Py_ssize_t n, double scale, double offset,
                             real* out) noexcept nogil:
    cdef Py_ssize_t j
    cdef real a = <real>scale, b = <real>offset
    for j in range(n):
        out[j] = <real>x[j] * a + b


cdef inline void prefetch_bytes(const void* start, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range((n + 63) // 64):
        prefetch(<const char*>start + 64 * i)


cdef inline Py_ssize_t source_row(const int32_t* order, Py_ssize_t position) noexcept nogil:
    return position if order == NULL else order[position]


cdef inline Py_ssize_t row_bytes(const DataView* data, Py_ssize_t n_in) noexcept nogil:
    if data.x_type == INPUT_FLOAT32:
        return n_in * sizeof(float)
    return n_in * sizeof(double) if data.x_type == INPUT_FLOAT64 else n_in


cdef inline bint in_place(const DataView* data, double scale, double offset) noexcept nogil:
    """Whether the rows are numbers of our type, as they are to be."""
    cdef int own = INPUT_FLOAT32 if sizeof(real) == sizeof(float) else INPUT_FLOAT64
    return data.x_type == own and scale == 1 and offset == 0


cdef void gather_row(const DataView* data, Py_ssize_t row, Py_ssize_t n_in, double scale, double offset,
                     real* out) noexcept nogil:
    """out = scale·x[row] + offset"""
    cdef bint plain = scale == 1 and offset == 0
    if data.x_type == INPUT_FLOAT32:
        if plain and sizeof(real) == sizeof(float):
            copy_row(<const real*>data.x + row * n_in, n_in, out)
        else:
            convert_row(<float*>data.x + row * n_in, n_in, scale, offset, out)
    elif data.x_type == INPUT_FLOAT64:
        if plain and sizeof(real) == sizeof(double):
            copy_row(<const real*>data.x + row * n_in, n_in, out)
        else:
            convert_row(<double*>data.x + row * n_in, n_in, scale, offset, out)
    else:
        convert_row(<uint8_t*>data.x + row * n_in, n_in, scale, offset, out)


cdef void gather_targets(const DataView* data, Py_ssize_t row, Py_ssize_t n_out, double scale,
                         double offset, real* y) noexcept nogil:
    """y = scale·targets + offset; a class index becomes a one-hot row, no targets become zeros."""
    cdef bint plain = scale == 1 and offset == 0
    cdef Py_ssize_t j
    if data.y != NULL:
        copy_row(<const real*>data.y + row * n_out, n_out, y)
    else:
        memset(y, 0, n_out * sizeof(real))
        # Checked again, because another thread may write to the labels.
        if data.labels != NULL and <uint32_t>data.labels[row] < <uint32_t>n_out:
            y[data.labels[row]] = 1
    if not plain:
        for j in range(n_out):
            y[j] = <real>scale * y[j] + <real>offset
