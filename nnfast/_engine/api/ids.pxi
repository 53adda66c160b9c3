"""Checks of the ids in the user's arrays. Part of core.pyx."""

# Columns of an input that hold ids: whole numbers from 0 to `limit` − 1.
cdef struct IdColumns:
    Py_ssize_t begin, end
    int64_t limit

ctypedef fused id_type:
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


cdef inline bint is_id(id_type x, int64_t limit) noexcept nogil:
    if id_type is float or id_type is double:
        return 0 <= x < <id_type>limit and x == <id_type><int64_t>x
    else:   # as unsigned numbers, negative ones are larger than any limit
        return <uint64_t><int64_t>x < <uint64_t>limit


cdef Py_ssize_t first_wrong(const id_type* x, Py_ssize_t n, Py_ssize_t ld, const IdColumns* c) noexcept nogil:
    """Return the position of the first element in some columns of x (n, ld) that is no id, or −1."""
    cdef Py_ssize_t r, j
    for r in range(n):
        for j in range(c.begin, c.end):
            if not is_id(x[r * ld + j], c.limit):
                return r * ld + j
    return -1


cdef Py_ssize_t wrong_id(const InputView* data, Py_ssize_t n, Py_ssize_t ld, Buffer columns) noexcept:
    """Return the position of an element of x (n, ld) that is no id, in columns of ids only, or −1."""
    cdef const IdColumns* c = <const IdColumns*>columns.data
    cdef const void* x = data.x
    cdef Py_ssize_t i, found = -1
    cdef int x_type = data.x_type
    for i in range(columns.shape[0]):
        if x_type == INPUT_FLOAT32:
            found = first_wrong(<const float*>x, n, ld, c + i)
        elif x_type == INPUT_FLOAT64:
            found = first_wrong(<const double*>x, n, ld, c + i)
        elif x_type == INPUT_UINT8:
            found = first_wrong(<const uint8_t*>x, n, ld, c + i)
        elif x_type == INPUT_INT8:
            found = first_wrong(<const int8_t*>x, n, ld, c + i)
        elif x_type == INPUT_UINT16:
            found = first_wrong(<const uint16_t*>x, n, ld, c + i)
        elif x_type == INPUT_INT16:
            found = first_wrong(<const int16_t*>x, n, ld, c + i)
        elif x_type == INPUT_UINT32:
            found = first_wrong(<const uint32_t*>x, n, ld, c + i)
        elif x_type == INPUT_INT32:
            found = first_wrong(<const int32_t*>x, n, ld, c + i)
        elif x_type == INPUT_UINT64:
            found = first_wrong(<const uint64_t*>x, n, ld, c + i)
        else:
            found = first_wrong(<const int64_t*>x, n, ld, c + i)
        if found >= 0:
            return found
    return -1


cdef Buffer id_columns(list columns):
    """Return ranges of columns, given as (begin, end, limit), as an array of IdColumns."""
    cdef Buffer table = Buffer(len(columns), sizeof(IdColumns) // sizeof(double), b"d")
    cdef IdColumns* c = <IdColumns*>table.data
    cdef int i
    for i, (begin, end, limit) in enumerate(columns):
        c[i] = IdColumns(begin, end, limit)
    return table


def find_wrong_id(array, list columns):
    """Return the flat index of an element of an array that is no id, in columns of ids only, or −1.

    The array (n, columns) must be one that the engine can read in place. columns: (begin, end, limit) for
    each range of columns that hold whole numbers from 0 to limit − 1.
    """
    cdef InputRows rows = input_rows(array)
    for begin, end, limit in columns:
        if not 0 <= begin <= end <= rows.n_in:
            raise ValueError(f"find_wrong_id: there are {rows.n_in} columns, not {begin} to {end}")
    return wrong_id(&rows.view, rows.n, rows.n_in, id_columns(columns))
