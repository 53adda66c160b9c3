"""Ops that make or use the mask of a sequence. Samples are rows with all steps; x2 is the mask."""

ctypedef struct MaskSettings:
    int64_t steps, features
    double value        # a step is real if any of its features differs from it


cdef inline const MaskSettings* mask_settings(const Op* op) noexcept nogil:
    return <const MaskSettings*>settings_of(op)


cdef int forward_step_mask(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef const MaskSettings* s = mask_settings(op)
    cdef Matrix mask = output_of(shard, op)
    cdef Py_ssize_t r
    for r in range(x.rows):
        mask_of_steps(s.steps, s.features, <real>s.value, x.data + r * x.ld, mask.data + r * mask.ld)
    return activation


cdef int forward_zero_steps(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef const MaskSettings* s = mask_settings(op)
    cdef Matrix mask = second_input(shard, op), y = output_of(shard, op)
    cdef Py_ssize_t r
    for r in range(x.rows):
        copy_real_steps(s.steps, s.features, x.data + r * x.ld, mask.data + r * mask.ld, y.data + r * y.ld)
    return activation


cdef void backward_zero_steps(const Shard* shard, const Op* op) noexcept nogil:
    cdef const MaskSettings* s = mask_settings(op)
    cdef Matrix mask = second_input(shard, op), dy = output_gradient(shard, op)
    cdef Matrix dx = input_gradient(shard, op)
    cdef Py_ssize_t r
    for r in range(dx.rows):
        copy_real_steps(s.steps, s.features, dy.data + r * dy.ld, mask.data + r * mask.ld,
                        dx.data + r * dx.ld)


cdef int forward_masked_mean(const Shard* shard, const Op* op, const Matrix* x,
                             int activation) noexcept nogil:
    cdef const MaskSettings* s = mask_settings(op)
    cdef Matrix mask = second_input(shard, op), y = output_of(shard, op)
    cdef Py_ssize_t r
    for r in range(x.rows):
        mean_of_real_steps(s.steps, s.features, x.data + r * x.ld, mask.data + r * mask.ld, y.data + r * y.ld)
    return activation


cdef void backward_masked_mean(const Shard* shard, const Op* op) noexcept nogil:
    cdef const MaskSettings* s = mask_settings(op)
    cdef Matrix mask = second_input(shard, op), dy = output_gradient(shard, op)
    cdef Matrix dx = input_gradient(shard, op)
    cdef Py_ssize_t r
    for r in range(dx.rows):
        share_among_real_steps(s.steps, s.features, dy.data + r * dy.ld, mask.data + r * mask.ld,
                               dx.data + r * dx.ld)
