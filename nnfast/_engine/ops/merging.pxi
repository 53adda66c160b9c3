"""Ops that merge or rearrange tensors: sums, products, dot products, copies."""

ctypedef struct SumSettings:
    double factors[2]

ctypedef struct BlockSettings:
    int64_t outer, inner    # blocks in each row, and elements in each block
    int64_t x_begin, x_stride   # element of x at which the first block begins; distance of the blocks
    int64_t y_begin, y_stride
    int64_t covers_x        # whether every element of x is copied

ctypedef struct StridedSettings:
    int64_t begin       # the first element of x
    int64_t sizes[4]    # axes of y
    int64_t strides[4]  # distance in x per step along each axis

ctypedef struct UnitNormSettings:
    int64_t outer, depth, inner     # axes of a sample, of which the middle one is normalized
    double min_norm

ctypedef struct PowerSettings:
    double exponent


cdef inline Matrix second_input(const Shard* shard, const Op* op) noexcept nogil:
    if op.constant != 0:
        return matrix(<const real*>op.constant, n_rows(shard) * op.steps, op.n_out, 0)
    return x2_rows(shard.block, op, shard.begin, n_rows(shard))


cdef inline Matrix second_gradient(const Shard* shard, const Op* op) noexcept nogil:
    return op_rows(shard.block, op, op.dx2, op.x2_column, shard.begin, n_rows(shard), op.n_in2, op.ld_x2)


# ---- sum -----------------------------------------------------------------------------------------

cdef int forward_sum(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = factors[0]·x + factors[1]·x2."""
    cdef const SumSettings* settings = <const SumSettings*>settings_of(op)
    cdef Matrix x2 = second_input(shard, op), z = preactivation(shard, op)
    weighted_sum(x, settings.factors[0], &x2, settings.factors[1], &z)
    return activation


cdef void backward_sum(const Shard* shard, const Op* op) noexcept nogil:
    """dX = factors[0]·dZ, dX2 = factors[1]·dZ; without an offset, dZ itself serves as the gradient."""
    cdef const SumSettings* settings = <const SumSettings*>settings_of(op)
    cdef Matrix dz = output_gradient(shard, op), dx
    if op.dx >= 0:
        dx = input_gradient(shard, op)
        affine(&dz, &dx, settings.factors[0], 0)
    if op.dx2 >= 0:
        dx = second_gradient(shard, op)
        affine(&dz, &dx, settings.factors[1], 0)


# ---- multiply ------------------------------------------------------------------------------------

cdef int forward_multiply(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = x·x2, element by element."""
    cdef Matrix x2 = second_input(shard, op), z = preactivation(shard, op)
    elementwise_product(x, &x2, &z)
    return activation


cdef void backward_multiply(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix dz = output_gradient(shard, op), x, dx
    if op.dx >= 0:
        x, dx = second_input(shard, op), input_gradient(shard, op)
        elementwise_product(&dz, &x, &dx)
    if op.dx2 >= 0:
        x, dx = input_of(shard, op), second_gradient(shard, op)
        elementwise_product(&dz, &x, &dx)


# ---- maximum and minimum -------------------------------------------------------------------------

cdef inline int forward_extremum(const Shard* shard, const Op* op, const Matrix* x, int activation,
                                 bint largest) noexcept nogil:
    cdef Matrix x2 = second_input(shard, op), z = preactivation(shard, op)
    extremum(x, &x2, largest, &z)
    return activation


cdef inline void backward_extremum(const Shard* shard, const Op* op, bint largest) noexcept nogil:
    """Give the gradient to the larger (smaller) input; equal inputs get half of it each."""
    cdef Matrix dz = output_gradient(shard, op), x = input_of(shard, op), x2 = second_input(shard, op), dx
    if op.dx >= 0:
        dx = input_gradient(shard, op)
        extremum_gradient(&x, &x2, largest, &dz, &dx)
    if op.dx2 >= 0:
        dx = second_gradient(shard, op)
        extremum_gradient(&x2, &x, largest, &dz, &dx)


cdef int forward_maximum(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    return forward_extremum(shard, op, x, activation, True)


cdef void backward_maximum(const Shard* shard, const Op* op) noexcept nogil:
    backward_extremum(shard, op, True)


cdef int forward_minimum(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    return forward_extremum(shard, op, x, activation, False)


cdef void backward_minimum(const Shard* shard, const Op* op) noexcept nogil:
    backward_extremum(shard, op, False)


# ---- dot -----------------------------------------------------------------------------------------

cdef int forward_dot(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z (rows, cols) = x (rows, depth) · x2 (depth, cols) in each sample."""
    cdef Matrix x2 = second_input(shard, op), z = preactivation(shard, op)
    contract(<const Contraction*>settings_of(op), x, &x2, &z)
    return activation


cdef void backward_dot(const Shard* shard, const Op* op) noexcept nogil:
    cdef const Contraction* settings = <const Contraction*>settings_of(op)
    cdef Matrix dz = output_gradient(shard, op), x, dx
    if op.dx >= 0:
        x, dx = second_input(shard, op), input_gradient(shard, op)
        contract_gradient(settings, &dz, &x, True, &dx)
    if op.dx2 >= 0:
        x, dx = input_of(shard, op), second_gradient(shard, op)
        contract_gradient(settings, &dz, &x, False, &dx)


cdef double flops_dot(const Op* op) noexcept nogil:
    return 2.0 * op.n_out * (<const Contraction*>settings_of(op)).depth


# ---- copies --------------------------------------------------------------------------------------

cdef int forward_copy_blocks(const Shard* shard, const Op* op, const Matrix* x,
                             int activation) noexcept nogil:
    """Copy blocks of x to blocks of y; other ops may write the rest of y."""
    cdef const BlockSettings* settings = <const BlockSettings*>settings_of(op)
    cdef Matrix y = output_of(shard, op)
    copy_blocks(x, Blocks(settings.x_begin, settings.x_stride), &y,
                Blocks(settings.y_begin, settings.y_stride), settings.outer, settings.inner)
    return activation


cdef void backward_copy_blocks(const Shard* shard, const Op* op) noexcept nogil:
    cdef const BlockSettings* settings = <const BlockSettings*>settings_of(op)
    cdef Matrix dy = output_gradient(shard, op), dx = input_gradient(shard, op)
    if not settings.covers_x:
        clear(&dx)
    copy_blocks(&dy, Blocks(settings.y_begin, settings.y_stride), &dx,
                Blocks(settings.x_begin, settings.x_stride), settings.outer, settings.inner)


cdef int forward_strided(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """Copy a strided view of x: a slice, a transpose or a broadcast."""
    cdef const StridedSettings* settings = <const StridedSettings*>settings_of(op)
    cdef Matrix y = output_of(shard, op)
    strided_copy(x, settings.begin, settings.sizes, settings.strides, &y)
    return activation


cdef void backward_strided(const Shard* shard, const Op* op) noexcept nogil:
    cdef const StridedSettings* settings = <const StridedSettings*>settings_of(op)
    cdef Matrix dy = output_gradient(shard, op), dx = input_gradient(shard, op)
    strided_gradient(&dy, settings.begin, settings.sizes, settings.strides, &dx)


# ---- unit norm, quotients and powers ---------------------------------------------------------------

cdef int forward_unit_norm(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef const UnitNormSettings* settings = <const UnitNormSettings*>settings_of(op)
    cdef Matrix z = preactivation(shard, op)
    unit_norm(x, Axes(settings.outer, settings.depth, settings.inner), settings.min_norm, &z)
    return activation


cdef void backward_unit_norm(const Shard* shard, const Op* op) noexcept nogil:
    cdef const UnitNormSettings* settings = <const UnitNormSettings*>settings_of(op)
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    unit_norm_gradient(&x, &dz, Axes(settings.outer, settings.depth, settings.inner), settings.min_norm, &dx)


cdef int forward_divide(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = x / x2, element by element."""
    cdef Matrix x2 = second_input(shard, op), z = preactivation(shard, op)
    quotient(x, &x2, &z)
    return activation


cdef void backward_divide(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix dz = output_gradient(shard, op), x = input_of(shard, op), x2 = second_input(shard, op), dx
    if op.dx >= 0:
        dx = input_gradient(shard, op)
        quotient(&dz, &x2, &dx)
    if op.dx2 >= 0:
        dx = second_gradient(shard, op)
        divisor_gradient(&x, &x2, &dz, &dx)


cdef int forward_power(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = x^exponent, element by element."""
    cdef Matrix z = preactivation(shard, op)
    constant_power(x, (<const PowerSettings*>settings_of(op)).exponent, &z)
    return activation


cdef void backward_power(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    constant_power_gradient(&x, (<const PowerSettings*>settings_of(op)).exponent, &dz, &dx)


cdef int forward_powers(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    """z = x^x2, element by element."""
    cdef Matrix x2 = second_input(shard, op), z = preactivation(shard, op)
    tensor_power(x, &x2, &z)
    return activation


cdef void backward_powers(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix dz = output_gradient(shard, op), x = input_of(shard, op), x2 = second_input(shard, op), dx
    if op.dx >= 0:
        dx = input_gradient(shard, op)
        tensor_power_gradient(&x, &x2, &dz, True, &dx)
    if op.dx2 >= 0:
        dx = second_gradient(shard, op)
        tensor_power_gradient(&x, &x2, &dz, False, &dx)
