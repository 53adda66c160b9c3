"""What the engines of a model share in training. Part of core.pyx."""

cdef class TrainingState:
    """The gradients, the optimizer with its slots, and the position in training.

    A model whose samples vary in size has an engine for each size. They train the same weights, so they
    also share this state: which of them takes a step makes no difference to the next one.
    """
    cdef Buffer grads, slots, order
    cdef Buffer spare               # memory that the last Snapshot released
    cdef OptimizerSettings optimizer
    cdef Py_ssize_t n_params
    cdef Py_ssize_t slot_stride     # n_params plus padding
    cdef uint64_t seed, epoch
    cdef uint64_t order_epoch
    cdef bint mid_epoch             # an epoch has begun, and `order` is its permutation
    cdef Py_ssize_t iterations, batch
    cdef Py_ssize_t optimizer_version
    cdef int n_threads
    cdef object running             # the engine that is training or writing to grads, or None
    cdef list workspaces            # those that engines keep for training, the last one used at the end

    def __init__(self, Py_ssize_t n_params, bytes format):
        self.n_params = n_params
        self.grads = Buffer(1, n_params, format)
        # Each slot begins a new cache line: a vector that spans two lines takes twice as long to load.
        # Slots are never a whole number of pages apart: loads and stores of two slots would alias and stall.
        self.slot_stride = (n_params + 31) // 32 * 32 + 16
        self.slots = Buffer(0, self.slot_stride, format)
        self.workspaces = []

    cdef void write_to(self, Model* model) noexcept:
        """Set the fields of a model that are part of the state."""
        model.n_params = self.n_params
        model.optimizer = self.optimizer
        model.grads = self.grads.data
        model.slots = self.slots.data
        model.slot_stride = self.slot_stride
        model.seed = self.seed
