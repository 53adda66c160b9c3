"""A variant: kernels and executor for one instruction set and one real type, exported as a kernel table.

Each variant is compiled through a one-line file (variants/avx2_f32.pyx, …), because compiler flags are set
per extension. Only this file lists the parts of a variant.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY, NAN, cos, floor, isfinite, log, pow, rint, sin, sqrt
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from nnfast._engine.core cimport *
from nnfast._engine.program cimport *
from nnfast._engine.simd.simd cimport *

include "kernels/vector.pxi"
include "kernels/math.pxi"
include "kernels/sums.pxi"
include "kernels/activations.pxi"
include "kernels/losses.pxi"
include "kernels/optimizers.pxi"
include "kernels/rng.pxi"
include "kernels/gather.pxi"
include "kernels/gemm.pxi"
include "kernels/gemm_sparse.pxi"
include "kernels/dense.pxi"
include "kernels/convolution_dense.pxi"
include "kernels/convolution_few.pxi"
include "kernels/convolution_narrow.pxi"
include "kernels/convolution_sparse.pxi"
include "kernels/convolution.pxi"
include "kernels/depthwise.pxi"
include "kernels/pooling.pxi"
include "kernels/normalization.pxi"
include "kernels/prelu.pxi"
include "kernels/gates.pxi"
include "kernels/gate_row.pxi"
include "kernels/lstm.pxi"
include "kernels/gru.pxi"
include "kernels/simple_rnn.pxi"
include "kernels/masks.pxi"
include "kernels/step_memory.pxi"
include "kernels/recurrent.pxi"
include "kernels/attention.pxi"
include "kernels/embedding.pxi"
include "kernels/images.pxi"
include "kernels/intensity.pxi"
include "kernels/merging.pxi"
include "kernels/constraints.pxi"
include "ops/access.pxi"
include "ops/functions.pxi"
include "ops/dense.pxi"
include "ops/input.pxi"
include "ops/elementwise.pxi"
include "ops/images.pxi"
include "ops/intensity.pxi"
include "ops/convolution.pxi"
include "ops/merging.pxi"
include "ops/recurrent.pxi"
include "ops/masks.pxi"
include "ops/attention.pxi"
include "ops/sparse_gradients.pxi"
include "ops/embedding.pxi"
include "ops/pooling.pxi"
include "ops/normalization.pxi"
include "ops/prelu.pxi"
include "ops/sampling.pxi"
include "ops/penalty.pxi"
include "ops/table.pxi"
include "executor/loss.pxi"
include "executor/passes.pxi"
include "executor/microbatches.pxi"
include "executor/masks.pxi"
include "executor/update.pxi"
include "executor/workers.pxi"


# ---- kernels for NumPy functions -------------------------------------------------------------------

cdef inline Matrix typed(UntypedMatrix a) noexcept nogil:
    return matrix(<const real*>a.data, a.rows, a.cols, a.ld)


cdef void public_dense_forward(UntypedMatrix x, const void* w, const void* b, UntypedMatrix y, int activation,
                               double alpha, void* scratch) noexcept nogil:
    cdef Matrix xt = typed(x), yt = typed(y)
    dense_forward(&xt, <const real*>w, <const real*>b, &yt, activation == ACT_RELU, <real*>scratch)
    if activation != ACT_RELU:
        activation_forward(activation, alpha, yt.data, &yt)


cdef void public_dense_backward(UntypedMatrix x, const void* w, UntypedMatrix dz, UntypedMatrix dx, void* dw,
                                void* db, void* scratch) noexcept nogil:
    cdef Matrix xt = typed(x), dzt = typed(dz), dxt = typed(dx), x_columns, dw_rows
    cdef Py_ssize_t k = x.cols, n = dz.cols, q, i, rows
    dense_input_gradient(&dzt, <const real*>w, &dxt, NULL, <real*>scratch)
    for q in range(ceil_div(k, GRADIENT_ROWS)):
        i = q * GRADIENT_ROWS
        rows = min(<Py_ssize_t>GRADIENT_ROWS, k - i)
        x_columns = columns_from(&xt, i, rows)
        dw_rows = matrix(<real*>dw + i * n, rows, n, n)
        dense_weight_gradient(&x_columns, &dzt, &dw_rows, Parts(1, 4), False, <real*>scratch)
    dense_bias_gradient(&dzt, <real*>db, False)


cdef void public_activation_forward(int activation, double alpha, const void* z,
                                    UntypedMatrix y) noexcept nogil:
    cdef Matrix yt = typed(y)
    activation_forward(activation, alpha, <const real*>z, &yt)


cdef void public_activation_backward(int activation, double alpha, const void* z, const void* y,
                                     const void* dy, UntypedMatrix dz) noexcept nogil:
    cdef Matrix dzt = typed(dz)
    activation_backward(activation, alpha, <const real*>z, <const real*>y, <const real*>dy, &dzt)


cdef void public_loss(const Objective* o, UntypedMatrix a, const void* y, const double* weight, double scale,
                      void* da, double* value, void* scratch) noexcept nogil:
    cdef Matrix outputs = typed(a)
    loss_rows(o, &outputs, <const real*>y, weight, scale, <real*>da, value, <real*>scratch)


cdef Kernels kernels
kernels.isa = ISA_NAME
kernels.isa_is_real = ISA_IS_REAL
kernels.real_bytes = sizeof(real)
kernels.vector_bytes = sizeof(vreal)
kernels.has_openmp = HAS_OPENMP
kernels.dense_scratch = dense_scratch
kernels.now = seconds_now
kernels.thread_limit = thread_limit
kernels.threads_of_team = threads_of_team
kernels.end_team = end_team
kernels.n_ops = n_ops
kernels.op_name = op_name
kernels.op_traits = op_traits
kernels.needs_preactivation = needs_preactivation
kernels.rule_slots = rule_slots
kernels.needs_of = needs_of
kernels.train = run_train
kernels.infer = run_infer
kernels.gradient = run_gradient
kernels.input_gradient = run_input_gradient
kernels.dense_forward = public_dense_forward
kernels.dense_backward = public_dense_backward
kernels.activation_forward = public_activation_forward
kernels.activation_backward = public_activation_backward
kernels.loss = public_loss
kernels.update = update
kernels.all_finite = all_finite
kernels.primitive = primitive

table = PyCapsule_New(&kernels, "nnfast.kernels", NULL)
