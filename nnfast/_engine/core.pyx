"""Memory, checks and the Engine that Python sees; compiled once for all variants.

All arithmetic is in the kernel tables that `install` receives from the chosen variant. Every method
checks sizes again, even if its caller has, so that no kernel writes past a buffer.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_Clear
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from types import SimpleNamespace

# As C variables, these are read faster than names of the module.
cdef object empty, ndarray, Tensor

from numpy import dtype as numpy_dtype, empty, ndarray

from nnfast._utils.tensor import Tensor

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

cdef extern from "Python.h":
    # Without a check for exceptions: `try` would save and restore the one that is being handled.
    int get_buffer "PyObject_GetBuffer"(object, Py_buffer*, int) noexcept

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

COMPILER = NNFAST_COMPILER.decode()


# {name: number} for each enum, filled in by `install`, because its members exist only after this module.
ACTIVATIONS = {}
LOSSES = {}
REDUCTIONS = {}
OPTIMIZERS = {}
CONSTRAINTS = {}
AXES = {}
CELLS = {}
RESAMPLINGS = {}
BORDERS = {}
PRIMITIVES = {}
OPS = {}                    # the traits of each op and its number `kind`, by op name; set by `install`
NEEDS_PREACTIVATION = set()     # activations whose derivative is computed from z, not from f(z)
OK = STATUS_OK
NONFINITE = STATUS_NONFINITE

cdef enum:
    ALIGNMENT = 64
    HUGE_PAGE = 1 << 21     # bytes; buffers of at least this size are aligned to huge pages and request them
    MAX_MICROBATCHES = 8          # per batch, in passes that compute gradients; results depend on it
    MIN_MICROBATCH_ROWS = 96
    MICROBATCH_GAIN = 2          # minimum ratio of a micro-batch's activations to the parameters
    BLOCK_ROWS = 192        # maximum number of rows per block
    PASS_ROWS = 1024        # rows of a micro-batch in inference; large networks use BLOCK_ROWS
    SUM_BLOCK = 4096        # the same as in executor/update.pxi
    IMAGE_MICROBATCH_ROWS = 4    # MIN_MICROBATCH_ROWS for networks with convolutions or pooling
    SEQUENCE_ROWS = 16      # minimum rows of micro-batches and blocks for networks with recurrent layers
    MIN_LOOKED_UP = 1 << 17     # minimum numbers that a micro-batch looks up, if it does little else
    IMAGE_PASS_ROWS = 32    # PASS_ROWS for networks with convolutions or pooling
    IMAGE_BLOCK = 65536     # arena elements per block that fit in cache, with convolutions or pooling
    TRAIN_BLOCK = 655360    # IMAGE_BLOCK in training; larger, because each block packs W and adds to dW
    MANY_STEPS = 32         # samples of at least this many rows are divided into micro-batches as images are
    FEW_ROWS = 4            # capacity of the smaller of the two workspaces for short predictions
    MIN_FLOPS_PER_THREAD = 2000000  # with less work per thread, fewer threads are faster
    UPDATE_FLOPS = 32       # the update of a weight takes as long as this number of operations

cdef double THREAD_SECONDS = 1e-5   # approximate duration of MIN_FLOPS_PER_THREAD
cdef double MIN_FLOPS_TO_RELEASE_GIL = 200000   # about 2 µs of work, the cost of reacquiring the GIL
cdef double TRIAL_SECONDS = 0.001   # duration of each measurement in a trial, with one thread or a team
cdef double pass_seconds = 0.05     # seconds between checks for Ctrl-C during a pass
cdef double PASS_FLOPS = 2e8        # work per thread before the first check for Ctrl-C: 2 to 20 ms

MAX_ELEMENTS = 2**48         # limit for parameters and for elements per row: sizes in bytes fit in 64 bits

cdef const Kernels* tables[2]    # float32, float64
cdef int chosen_threads = 0      # 0: as many as OpenMP and the machine allow
cdef int machine_threads = 0     # 0: unknown, so only OpenMP's limit applies
cdef int forced_threads = 0      # test hook
cdef bint team_ended = False     # whether the thread team was ended before the last fork
cdef bint is_child = False       # forked while a team existed: libgomp would wait forever for the team
cdef Py_ssize_t allocations = 0
cdef bint poisoned = False       # test hook: working memory is filled with NaN
cdef Py_ssize_t failing = 0      # test hook: number of allocations until one fails; 0: none fails

ctypedef fused real:
    float
    double


# ---- variants and threads ----------------------------------------------------------------------

def install(float32, float64):
    """Install the kernel tables of the chosen variant, and fill in the tables of names and traits."""
    cdef int kind
    cdef list members
    for table, prefix in ((ACTIVATIONS, "ACT_"), (LOSSES, "LOSS_"), (REDUCTIONS, "REDUCTION_"),
                          (OPTIMIZERS, "OPT_"), (CONSTRAINTS, "CONSTRAINT_"), (AXES, "AXIS_"),
                          (CELLS, "CELL_"), (RESAMPLINGS, "RESAMPLE_"), (BORDERS, "BORDER_"),
                          (PRIMITIVES, "MATH_")):
        members = [(number, name) for name, number in globals().items() if name.startswith(prefix)]
        table.update((name[len(prefix):].lower(), number) for number, name in sorted(members))
    tables[0] = <const Kernels*>PyCapsule_GetPointer(float32, "nnfast.kernels")
    tables[1] = <const Kernels*>PyCapsule_GetPointer(float64, "nnfast.kernels")
    for kind in range(tables[0].n_ops):
        OPS[tables[0].op_name(kind).decode()] = SimpleNamespace(kind=kind, **tables[0].op_traits(kind))
    NEEDS_PREACTIVATION.update(
        name for name, number in ACTIVATIONS.items() if tables[0].needs_preactivation(number))


def describe(table):
    """Return the properties of a kernel table: instruction set, sizes and OpenMP support."""
    cdef const Kernels* k = <const Kernels*>PyCapsule_GetPointer(table, "nnfast.kernels")
    return {
        "isa": k.isa.decode(),
        "isa_is_real": bool(k.isa_is_real),
        "real_bytes": k.real_bytes,
        "vector_bytes": k.vector_bytes,
        "openmp": bool(k.has_openmp),
    }


def set_threads(int n):
    """Use at most n threads (0: as many as OpenMP and the machine allow); return the previous setting."""
    global chosen_threads
    cdef int before = chosen_threads
    chosen_threads = n
    return before


def set_machine_threads(int n):
    """Set the machine's thread limit, which applies if `set_threads` has set none; 0: unknown."""
    global machine_threads
    machine_threads = n


def get_threads():
    """Return the maximum number of threads per call."""
    cdef int limit = tables[0].thread_limit()
    cdef int wanted = chosen_threads if chosen_threads > 0 else machine_threads
    return min(wanted, limit) if wanted > 0 else limit


def force_threads(int n):
    """Test hook: use exactly n threads, regardless of work, settings and machine; 0: off."""
    global forced_threads
    forced_threads = n


def allocation_count():
    """Test hook: return the number of allocations so far."""
    return allocations


def fail_allocation(Py_ssize_t n):
    """Test hook: make the n-th allocation from now raise MemoryError; 0: none fails."""
    global failing
    failing = n


def set_pass_seconds(double seconds):
    """Test hook: check for Ctrl-C after this many seconds of a pass; return the previous setting."""
    global pass_seconds
    cdef double before = pass_seconds
    pass_seconds = seconds
    return before


def poison(bint on):
    """Test hook: fill new working memory with NaN, to detect reads of memory that was never written."""
    global poisoned
    poisoned = on


def before_fork():
    """End the thread team of the forking thread; its next parallel region starts a new team."""
    global team_ended
    team_ended = tables[0].end_team()


def after_fork():
    """Limit a forked child to a single thread if the parent's team, whose threads it lacks, was not ended."""
    global is_child
    is_child = not team_ended


cdef int threads_for(double flops, Py_ssize_t parts, int most):
    """Return the number of threads for this work: at most `parts`, and at most `most` unless that is 0."""
    cdef Py_ssize_t n = forced_threads
    if is_child:
        return 1
    if n == 0:
        n = min(<Py_ssize_t>get_threads(), <Py_ssize_t>min(flops / MIN_FLOPS_PER_THREAD, 1e6))
        if most > 0:
            n = min(n, <Py_ssize_t>most)
    return <int>max(1, min(n, parts))


cdef class Guard:
    """A lock held while a model is trained or compiled. It never waits: a second caller gets an error.

    Because this class is compiled, no Python code runs between taking the lock and entering the `with`
    block. Ctrl-C therefore cannot interrupt there and leave the lock held.
    """
    cdef bint taken
    cdef unsigned long thread

    @property
    def held(self):
        return self.taken

    @property
    def held_elsewhere(self):
        """Whether another thread holds the lock."""
        return self.taken and self.thread != PyThread_get_thread_ident()

    def __enter__(self):
        if not self.taken:
            self.taken = True
            self.thread = PyThread_get_thread_ident()
        elif self.thread == PyThread_get_thread_ident():
            raise RuntimeError("a model was called within its own training: callbacks and losses may "
                               "evaluate and predict, but must not train it, change its layers or "
                               "compile it")
        else:
            raise RuntimeError("this model is being trained or compiled by another thread: wait for that, or "
                               "give each thread a model of its own")

    def __exit__(self, kind, error, traceback):
        self.taken = False


cdef int threads_of_team(int n) noexcept:
    """Return the size of the next team: n, or less if the system cannot start n threads."""
    return tables[0].threads_of_team(n) if n > 1 else n


include "api/buffer.pxi"
include "api/weights.pxi"
include "api/dataset.pxi"
include "api/ids.pxi"
include "api/settings.pxi"
include "api/state.pxi"
include "api/model.pxi"
include "api/workspace.pxi"
include "api/team.pxi"
include "api/inference.pxi"
include "api/python_loss.pxi"
include "api/engine.pxi"
include "api/snapshot.pxi"
include "api/functions.pxi"
