"""The arguments of losses that are Python functions: copies of the rows of a batch. Part of core.pyx."""

cdef void copy_strided(const char* source, Py_ssize_t source_stride, char* target, Py_ssize_t target_stride,
                       Py_ssize_t rows, Py_ssize_t size) noexcept:
    """Copy rows of `size` bytes between memory with these distances in bytes from row to row."""
    cdef Py_ssize_t r
    for r in range(rows):
        memcpy(target + r * target_stride, source + r * source_stride, size)


cdef tuple loss_arguments(const Run* run, int head, bytes format, Py_ssize_t first, Py_ssize_t rows,
                          const char* a, const char* mask):
    """Return (rows, outputs, weights, mask, value, gradient) for a Python loss; see `Engine.set_loss`.

    The parameters are those of Run.call.
    """
    cdef const Head* own = &run.model.heads[head]
    cdef const TargetView* view = &run.data.targets[head]
    cdef Buffer numbers = Buffer(1, rows, b"i")
    cdef Buffer outputs = Buffer(rows, own.steps * own.n, format)
    cdef Buffer gradient = Buffer(rows, own.steps * own.n, format)
    cdef Buffer weights = None if view.weight == NULL else Buffer(rows, view.weight_steps, b"d")
    cdef Buffer real_steps = None if mask == NULL else Buffer(rows, own.mask_steps, format)
    cdef Py_ssize_t r, row, size = outputs.itemsize
    copy_strided(a, own.ld * size, outputs.data, own.n * size, rows * own.steps, own.n * size)
    if real_steps is not None:
        copy_strided(mask, run.op_list.ld_mask[head] * size, real_steps.data, own.mask_steps * size, rows,
                     own.mask_steps * size)
    for r in range(rows):
        row = first + r if run.order == NULL else run.order[first + r]
        (<int32_t*>numbers.data)[r] = <int32_t>row
        if weights is not None:
            memcpy(weights.data + r * weights.strides[0], view.weight + row * view.weight_steps,
                   weights.strides[0])
    return numbers, outputs, weights, real_steps, Buffer(1, rows, b"d"), gradient
