"""Memory, typed memoryviews and the Python-visible Engine; compiled once for all variants.

Nothing here computes: every number comes from the kernel table of the variant that
`install` was supplied. Sizes are checked again, whoever calls: nothing may write past a buffer.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from types import SimpleNamespace

from numpy import dtype as numpy_dtype, empty, ndarray

from nnfast._engine.program cimport *

cdef extern from *:
    """
    #if defined(__VERSION__)
    #define NNFAST_COMPILER __VERSION__
    #else
    #define NNFAST_COMPILER "unknown"
    #endif
    """
    const char* NNFAST_COMPILER

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    #define ask_for_huge_pages(start, size) madvise(start, size, MADV_HUGEPAGE)
    #else
    #define ask_for_huge_pages(start, size) 0
    #endif
    """
    int ask_for_huge_pages(void* start, size_t size) nogil

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

COMPILER = NNFAST_COMPILER.decode()

def names_of(numbers, prefix):
    """Return {name: number} of an enum whose members have this prefix."""
    return {name[len(prefix):].lower(): int(number) for name, number in numbers.__members__.items()}


ACTIVATIONS = names_of(Activation, "ACT_")
LOSSES = names_of(Loss, "LOSS_")
OPTIMIZERS = names_of(OptimizerKind, "OPT_")
CONSTRAINTS = names_of(Constraint, "CONSTRAINT_")
AXES = names_of(Axis, "AXIS_")
RESAMPLINGS = names_of(Resample, "RESAMPLE_")
BORDERS = names_of(Border, "BORDER_")
PRIMITIVES = names_of(Primitive, "MATH_")
OPS = {}                    # by name the op's traits and its number, `kind`; filled by `install`
NEEDS_PREACTIVATION = set()     # activations whose derivative is computed from z, not from f(z)
OK = STATUS_OK
NONFINITE = STATUS_NONFINITE

cdef enum:
    ALIGNMENT = 64
    HUGE_PAGE = 1 << 21     # bytes; memory of this much and more begins at one and is made of them
    MAX_MICROBATCHES = 8          # of a batch with partial gradients; part of what fixes the results
    MIN_MICROBATCH_ROWS = 96
    MICROBATCH_GAIN = 2          # activations per parameter and micro-batch for which micro-batches pay
    BLOCK_ROWS = 192        # rows that a micro-batch is gone through at a time
    PASS_ROWS = 1024        # rows of a micro-batch in evaluate and forward; BLOCK_ROWS of a large network
    SUM_BLOCK = 4096        # as in executor/update.pxi
    IMAGE_MICROBATCH_ROWS = 4    # as MIN_MICROBATCH_ROWS, of networks with windows
    IMAGE_PASS_ROWS = 32    # as PASS_ROWS
    IMAGE_BLOCK = 65536     # elements of an arena that stay in cache, of networks with windows
    TRAIN_BLOCK = 655360    # the same in training: packing W and adding to dW weigh more than the cache
    FEW_ROWS = 4            # of a short prediction; otherwise it has up to BLOCK_ROWS
    MIN_FLOPS_PER_THREAD = 2000000  # work that pays a thread

cdef double THREAD_SECONDS = 1e-5   # that such work takes, about
cdef double MIN_FLOPS_TO_RELEASE_GIL = 200000   # work that is over sooner than the GIL would be back: about 2 µs
cdef double TRIAL_SECONDS = 0.001   # of a trial with one thread, and of one with the team
cdef double pass_seconds = 0.05     # of a pass, until Ctrl-C is looked for
cdef double PASS_FLOPS = 2e8        # of each thread, until it is known how long they take: 2 to 20 ms

MAX_ELEMENTS = 2**48         # parameters, or elements per row: products with it stay in 64 bits

cdef const Kernels* tables[2]    # float32, float64
cdef int chosen_threads = 0      # 0: what OpenMP and the machine allow
cdef int machine_threads = 0     # 0: as many as OpenMP says
cdef int forced_threads = 0      # test hook
cdef bint team_ended = False     # before the last fork
cdef bint is_child = False       # forked beside a living team: libgomp would wait for threads for ever
cdef Py_ssize_t allocations = 0
cdef bint poisoned = False       # test hook: working memory begins as NaN
cdef Py_ssize_t failing = 0      # test hook: the allocation, counted from now on, that fails

ctypedef fused real:
    float
    double


# ---- variants and threads ----------------------------------------------------------------------

def install(float32, float64):
    """Take the kernel tables of the chosen variant, and what its ops and activations are."""
    cdef int kind
    tables[0] = <const Kernels*>PyCapsule_GetPointer(float32, "nnfast.kernels")
    tables[1] = <const Kernels*>PyCapsule_GetPointer(float64, "nnfast.kernels")
    for kind in range(tables[0].n_ops):
        OPS[tables[0].op_name(kind).decode()] = SimpleNamespace(kind=kind, **tables[0].op_traits(kind))
    NEEDS_PREACTIVATION.update(
        name for name, number in ACTIVATIONS.items() if tables[0].needs_preactivation(number))


def describe(table):
    """What a kernel table says of itself."""
    cdef const Kernels* k = <const Kernels*>PyCapsule_GetPointer(table, "nnfast.kernels")
    return {
        "isa": k.isa.decode(),
        "isa_is_real": bool(k.isa_is_real),
        "real_bytes": k.real_bytes,
        "vector_bytes": k.vector_bytes,
        "openmp": bool(k.has_openmp),
    }


def set_threads(int n):
    """Use at most n threads, 0: as many as OpenMP and the machine allow; returns what was set before."""
    global chosen_threads
    cdef int before = chosen_threads
    chosen_threads = n
    return before


def set_machine_threads(int n):
    """What the machine allows where nobody says anything else; 0: nothing is known."""
    global machine_threads
    machine_threads = n


def get_threads():
    """The most threads that a call may use."""
    cdef int limit = tables[0].thread_limit()
    cdef int wanted = chosen_threads if chosen_threads > 0 else machine_threads
    return min(wanted, limit) if wanted > 0 else limit


def force_threads(int n):
    """Test hook: use exactly n threads whatever the work, the setting and the machine; 0: off."""
    global forced_threads
    forced_threads = n


def allocation_count():
    """Test hook: blocks allocated so far."""
    return allocations


def fail_allocation(Py_ssize_t n):
    """Test hook: let the n-th allocation from now on fail, as if there were no memory; 0: none."""
    global failing
    failing = n


def set_pass_seconds(double seconds):
    """Test hook: look for Ctrl-C when a pass has taken so long; returns what was set before."""
    global pass_seconds
    cdef double before = pass_seconds
    pass_seconds = seconds
    return before


def poison(bint on):
    """Test hook: let working memory begin as NaN, not as zeros; nothing may be read before it is
    written."""
    global poisoned
    poisoned = on


def before_fork():
    """End the team of the thread that forks; the next parallel region makes a new one."""
    global team_ended
    team_ended = tables[0].end_team()


def after_fork():
    """In a forked child: one thread only if the team could not be ended, for it did not come along."""
    global is_child
    is_child = not team_ended


cdef int threads_for(double flops, Py_ssize_t parts, int most):
    """Threads that pay for this much work; never more than there are parts, nor than `most` if that
    is not 0."""
    cdef Py_ssize_t n = forced_threads
    if is_child:
        return 1
    if n == 0:
        n = min(<Py_ssize_t>get_threads(), <Py_ssize_t>min(flops / MIN_FLOPS_PER_THREAD, 1e6))
        if most > 0:
            n = min(n, <Py_ssize_t>most)
    return <int>max(1, min(n, parts))


cdef class Guard:
    """Held by what trains a model or changes how it is trained. It is never waited for: others are refused.

    In C, because `with` runs nothing of Python's between taking it and the block: Ctrl-C cannot come there
    and leave it held.
    """
    cdef bint taken
    cdef unsigned long thread

    @property
    def held(self):
        return self.taken

    @property
    def held_elsewhere(self):
        """Whether another thread holds it."""
        return self.taken and self.thread != PyThread_get_thread_ident()

    def __enter__(self):
        if not self.taken:
            self.taken = True
            self.thread = PyThread_get_thread_ident()
        elif self.thread == PyThread_get_thread_ident():
            raise RuntimeError("a model was called within its own training: callbacks and losses may "
                               "evaluate and predict, but neither train it nor change its layers or what "
                               "it is compiled with")
        else:
            raise RuntimeError("this model is being trained or compiled by another thread: wait for that, or "
                               "give each thread a model of its own")

    def __exit__(self, kind, error, traceback):
        self.taken = False


cdef int threads_of_team(int n) noexcept:
    """Threads that a team of n, which is opened next, can have: fewer where the system starts no more."""
    return tables[0].threads_of_team(n) if n > 1 else n


include "api/buffer.pxi"
include "api/dataset.pxi"
include "api/model.pxi"
include "api/workspace.pxi"
include "api/settings.pxi"
include "api/team.pxi"
include "api/inference.pxi"
include "api/engine.pxi"
include "api/snapshot.pxi"
include "api/functions.pxi"
