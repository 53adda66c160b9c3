"""Copy rows of the data set into the arena; conversion and scaling are done in the same pass."""

ctypedef fused input_real:
    float
    double
    uint8_t
    int8_t
    uint16_t
    int16_t
    uint32_t
    int32_t
    uint64_t
    int64_t


cdef inline void convert_row(input_real* x, Py_ssize_t n, double scale, double offset,
                             real* out) noexcept nogil:
    """out (n) = scale·x + offset."""
    cdef Py_ssize_t j
    cdef real a = <real>scale, b = <real>offset
    for j in range(n):
        out[j] = <real>x[j] * a + b


ctypedef void (*RowConverter)(const void* x, Py_ssize_t n, double scale, double offset,
                              real* out) noexcept nogil


cdef void convert_int8(const void* x, Py_ssize_t n, double scale, double offset, real* out) noexcept nogil:
    convert_row(<int8_t*>x, n, scale, offset, out)


cdef void convert_uint16(const void* x, Py_ssize_t n, double scale, double offset, real* out) noexcept nogil:
    convert_row(<uint16_t*>x, n, scale, offset, out)


cdef void convert_int16(const void* x, Py_ssize_t n, double scale, double offset, real* out) noexcept nogil:
    convert_row(<int16_t*>x, n, scale, offset, out)


cdef void convert_uint32(const void* x, Py_ssize_t n, double scale, double offset, real* out) noexcept nogil:
    convert_row(<uint32_t*>x, n, scale, offset, out)


cdef void convert_int32(const void* x, Py_ssize_t n, double scale, double offset, real* out) noexcept nogil:
    convert_row(<int32_t*>x, n, scale, offset, out)


cdef void convert_uint64(const void* x, Py_ssize_t n, double scale, double offset, real* out) noexcept nogil:
    convert_row(<uint64_t*>x, n, scale, offset, out)


cdef void convert_int64(const void* x, Py_ssize_t n, double scale, double offset, real* out) noexcept nogil:
    convert_row(<int64_t*>x, n, scale, offset, out)


# The types that have no loop over rows of their own, from INPUT_INT8 on. They are only read once per step,
# so a call for each row saves code.
cdef RowConverter[7] INTEGER_CONVERTERS
cdef Py_ssize_t[7] INTEGER_BYTES

INTEGER_CONVERTERS = [convert_int8, convert_uint16, convert_int16, convert_uint32, convert_int32,
                      convert_uint64, convert_int64]
INTEGER_BYTES = [1, 2, 2, 4, 4, 8, 8]


cdef inline void prefetch_bytes(const void* start, Py_ssize_t n) noexcept nogil:
    """Prefetch n bytes, one cache line after the other."""
    cdef Py_ssize_t i
    for i in range((n + 63) // 64):
        prefetch(<const char*>start + 64 * i)
    prefetch(<const char*>start + n - 1)    # an unaligned row extends into one more line


cdef inline Py_ssize_t source_row(const int32_t* order, Py_ssize_t position) noexcept nogil:
    """Return the index of the data row at a position in `order`; if `order` is NULL, return the position."""
    return position if order == NULL else order[position]


cdef inline bint in_place(const InputView* data, double scale, double offset) noexcept nogil:
    """Return whether rows can be copied unchanged: dense data of the variant's type that need no scaling."""
    cdef int own = INPUT_FLOAT32 if sizeof(real) == sizeof(float) else INPUT_FLOAT64
    return data.starts == NULL and data.x_type == own and scale == 1 and offset == 0


cdef inline void copy_rows(const real* x, Py_ssize_t ldx, const int32_t* order, Py_ssize_t first,
                           Matrix out) noexcept nogil:
    """out[r] = x[order[first + r]], or x[first + r] if order is NULL; rows of x are ldx elements apart."""
    cdef Py_ssize_t r, q
    cdef const real* row
    cdef const real* later
    # Shuffled rows can be anywhere in memory, so rows about 2 KB ahead are prefetched between the copies.
    cdef Py_ssize_t ahead = 1 + 2048 // (out.cols * <Py_ssize_t>sizeof(real) + 1)
    if out.cols <= VLEN:   # a separate loop, which computes the mask only once
        for r in range(out.rows):
            store_cols(out.data + r * out.ld,
                       load_cols(x + source_row(order, first + r) * ldx, <int>out.cols), <int>out.cols)
        return
    for r in range(out.rows):
        row = later = x + source_row(order, first + r) * ldx
        if order != NULL:
            later = x + order[first + min(r + ahead, out.rows - 1)] * ldx
        for q in range(out.cols // VLEN):
            prefetch(later + q * VLEN)
            vstore(out.data + r * out.ld + q * VLEN, vload(row + q * VLEN))
        prefetch(later + out.cols - 1)     # an unaligned row extends into one more line
        if out.cols % VLEN != 0:
            vstore(out.data + r * out.ld + out.cols - VLEN, vload(row + out.cols - VLEN))


cdef inline void convert_rows(input_real* x, Py_ssize_t ldx, const int32_t* order, Py_ssize_t first,
                              double scale, double offset, Matrix out) noexcept nogil:
    """out[r] = scale·x[order[first + r]] + offset, with rows chosen as in copy_rows."""
    cdef Py_ssize_t r, size = out.cols * sizeof(x[0])
    cdef Py_ssize_t ahead = 1 + 2048 // (size + 1)
    for r in range(out.rows):
        if order != NULL and r + ahead < out.rows:
            prefetch_bytes(x + order[first + r + ahead] * ldx, size)
        convert_row(x + source_row(order, first + r) * ldx, out.cols, scale, offset, out.data + r * out.ld)


cdef void convert_integers(const InputView* data, Py_ssize_t ldx, const int32_t* order, Py_ssize_t first,
                           Py_ssize_t begin, double scale, double offset, const Matrix* out) noexcept nogil:
    """convert_rows for columns of integers, from `begin` on."""
    cdef RowConverter convert = INTEGER_CONVERTERS[data.x_type - INPUT_INT8]
    cdef Py_ssize_t size = INTEGER_BYTES[data.x_type - INPUT_INT8], r
    cdef const char* x = <const char*>data.x + begin * size
    for r in range(out.rows):
        convert(x + source_row(order, first + r) * ldx * size, out.cols, scale, offset, out.data + r * out.ld)


cdef inline void scatter_rows(input_real* x, const InputView* data, Py_ssize_t begin, const int32_t* order,
                              Py_ssize_t first, double scale, double offset, Matrix out) noexcept nogil:
    """Set out to offset, then add scale·x to out[r, column − begin] for each entry of a sparse row.

    Entries with the same column are summed.
    """
    cdef Py_ssize_t r, j, row, column
    for r in range(out.rows):
        row = source_row(order, first + r)
        for j in range(out.cols):
            out.data[r * out.ld + j] = <real>offset
        for j in range(data.starts[row], data.starts[row + 1]):
            column = data.columns[j] - begin
            # Checked on every read, because another Python thread may modify the columns.
            if 0 <= column < out.cols:
                out.data[r * out.ld + column] += <real>x[j] * <real>scale


cdef void gather_inputs(const InputView* data, const int32_t* order, Py_ssize_t first, Py_ssize_t begin,
                        double scale, double offset, const Matrix* out, Py_ssize_t n_in) noexcept nogil:
    """out (m, cols) = scale·x + offset for the columns of x (n, n_in) from `begin` on.

    Rows are chosen as in copy_rows.
    """
    if data.starts != NULL and data.x_type == INPUT_FLOAT32:
        scatter_rows(<float*>data.x, data, begin, order, first, scale, offset, out[0])
    elif data.starts != NULL:
        scatter_rows(<double*>data.x, data, begin, order, first, scale, offset, out[0])
    elif in_place(data, scale, offset):
        copy_rows(<const real*>data.x + begin, n_in, order, first, out[0])
    elif data.x_type == INPUT_FLOAT32:
        convert_rows(<float*>data.x + begin, n_in, order, first, scale, offset, out[0])
    elif data.x_type == INPUT_FLOAT64:
        convert_rows(<double*>data.x + begin, n_in, order, first, scale, offset, out[0])
    elif data.x_type == INPUT_UINT8:
        convert_rows(<uint8_t*>data.x + begin, n_in, order, first, scale, offset, out[0])
    else:
        convert_integers(data, n_in, order, first, begin, scale, offset, out)


cdef void gather_targets(const TargetView* data, const int32_t* order, Py_ssize_t first, Py_ssize_t steps,
                         double scale, double offset, const Matrix* y) noexcept nogil:
    """y[m, n] = scale·targets + offset; class indices become one-hot rows, missing targets become 0.

    A sample has `steps` rows.
    """
    cdef Py_ssize_t r, j
    cdef int32_t label
    cdef Matrix sample
    if steps > 1:
        for r in range(y.rows // steps):
            sample = rows_of(y, r * steps, steps)
            gather_targets(data, NULL, source_row(order, first + r) * steps, 1, scale, offset, &sample)
        return
    if data.y != NULL:
        copy_rows(<const real*>data.y, y.cols, order, first, y[0])
    else:
        memset(y.data, 0, y.rows * y.ld * sizeof(real))
    if data.labels != NULL:
        for r in range(y.rows):
            label = data.labels[source_row(order, first + r)]
            # Checked on every read, because another Python thread may modify the labels.
            if <uint32_t>label < <uint32_t>y.cols:
                y.data[r * y.ld + label] = 1
    if scale != 1 or offset != 0:
        for r in range(y.rows):
            for j in range(y.cols):
                y.data[r * y.ld + j] = <real>scale * y.data[r * y.ld + j] + <real>offset
