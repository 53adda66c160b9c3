"""One instruction set and one real type: kernels and executor, exported as a table.

Compiled once per variant through a shim of one line (variants/avx2_f32.pyx, …), because the flags of
an extension belong to its file. Only this file says what a variant consists of.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY, NAN, floor, isfinite, log, rint, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
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
include "kernels/convolution_sparse.pxi"
include "kernels/convolution.pxi"
include "kernels/depthwise.pxi"
include "kernels/pooling.pxi"
include "kernels/normalization.pxi"
include "kernels/images.pxi"
include "kernels/constraints.pxi"
include "ops/access.pxi"
include "ops/functions.pxi"
include "ops/dense.pxi"
include "ops/input.pxi"
include "ops/elementwise.pxi"
include "ops/images.pxi"
include "ops/convolution.pxi"
include "ops/pooling.pxi"
include "ops/normalization.pxi"
include "ops/table.pxi"
include "executor/loss.pxi"
include "executor/passes.pxi"
include "executor/microbatches.pxi"
include "executor/update.pxi"
include "executor/workers.pxi"


cdef void public_dense_forward(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, const void* x,
                               Py_ssize_t ldx, const void* w, const void* b, void* y, Py_ssize_t ldy,
                               int activation, double alpha, void* scratch) noexcept nogil:
    dense_forward(m, k, n, <const real*>x, ldx, <const real*>w, <const real*>b, <real*>y, ldy,
                  activation == ACT_RELU, <real*>scratch)
    if activation != ACT_RELU:
        activation_forward(activation, alpha, m, n, y, y, ldy)


cdef void public_dense_backward(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, const void* x,
                                Py_ssize_t ldx, const void* w, const void* dz, Py_ssize_t ldz,
                                void* dx, Py_ssize_t lddx, void* dw, void* db,
                                void* scratch) noexcept nogil:
    cdef Py_ssize_t q, i
    dense_input_gradient(m, k, n, <const real*>dz, ldz, <const real*>w, <real*>dx, lddx, NULL,
                         <real*>scratch)
    for q in range(ceil_div(k, GRADIENT_ROWS)):
        i = q * GRADIENT_ROWS
        dense_weight_gradient(min(<Py_ssize_t>GRADIENT_ROWS, k - i), m, n, 1, <const real*>x + i, ldx,
                              <const real*>dz, ldz, <real*>dw + i * n, n, False, <real*>scratch)
    dense_bias_gradient(m, n, <const real*>dz, ldz, <real*>db, False)


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
kernels.sensitivity = run_sensitivity
kernels.dense_forward = public_dense_forward
kernels.dense_backward = public_dense_backward
kernels.activation_forward = activation_forward
kernels.activation_backward = activation_backward
kernels.loss = loss_rows
kernels.update = update
kernels.primitive = primitive

table = PyCapsule_New(&kernels, "nnfast.kernels", NULL)
