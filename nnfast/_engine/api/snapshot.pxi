"""A copy of the last finite state of an engine in training. Part of core.pyx."""

cdef enum:
    PAUSE = 500     # after a copy or check, pause 500 times as long: each then takes 0.2 % of the time


cdef Py_ssize_t size_of(Buffer buffer) noexcept:
    """Return the size of a buffer in bytes."""
    return buffer.shape[0] * buffer.shape[1] * buffer.itemsize


cdef Py_ssize_t total_size(list arrays):
    """Return the size of arrays of weights in bytes."""
    cdef WeightArray array
    cdef Py_ssize_t size = 0
    for array in arrays:
        size += array.shape[0] * array.memory.itemsize
    return size


cdef copy_weights(list arrays, char* flat, bint restore):
    """Copy arrays of weights one after the other to `flat` or, if `restore` is set, from there."""
    cdef WeightArray array
    cdef Py_ssize_t size
    for array in arrays:
        size = array.shape[0] * array.memory.itemsize
        if restore:
            memcpy(array.data, flat, size)
        else:
            memcpy(flat, array.data, size)
        flat += size


cdef class Snapshot:
    """Copies the weights that training changes and the optimizer slots, and restores the last copy.

    A step with a finite loss can still produce weights that are not finite, because the gradient or an
    optimizer's moments overflow before the loss does. The engine keeps the copy's memory from one
    training to the next, because mapping new pages costs more than copying.
    """
    cdef Engine engine
    cdef Buffer kept
    cdef list arrays                            # the arrays of weights whose copies are kept
    cdef bint has_slots
    cdef readonly Py_ssize_t iterations         # the engine's iterations at the time of the copy
    cdef public double next_copy, next_check     # earliest times, in seconds

    def __init__(self, Engine engine not None):
        self.engine = engine

    def take(self):
        """Copy the current state if it is finite, unless the last copy is recent.

        The first copy is not checked until it is restored, which is rare.
        """
        cdef Engine engine = self.engine
        cdef double begin = engine.k.now(), end
        if begin < self.next_copy and self.arrays is engine.changed:
            return
        if self.kept is None:
            self.copy()
            self.next_check = engine.k.now()
            self.next_check += PAUSE * (self.next_check - begin)
        elif self.is_finite():
            self.copy()
        end = engine.k.now()
        self.next_copy = end + PAUSE * (end - begin)

    def is_suspect(self, bint always):
        """Return whether the state is not finite. Unless `always` is set, most calls skip the check."""
        cdef double begin = self.engine.k.now(), end
        cdef bint finite
        if begin < self.next_check and not always:
            return False
        finite = self.is_finite()
        end = self.engine.k.now()
        self.next_check = end + PAUSE * (end - begin)
        return not finite

    def restore(self):
        """Restore the copy if the current state is not finite; return whether it was restored.

        A copy made before the first step has no slots; restoring it sets the slots to zero.
        """
        cdef Engine engine = self.engine
        cdef Py_ssize_t n, m = size_of(engine.state.slots)
        if self.kept is None or self.is_finite():
            return False
        n = total_size(self.arrays)
        if size_of(self.kept) != n + m:
            raise ValueError("the optimizer has changed since the copy was made")
        if not engine.k.all_finite((n + m if self.has_slots else n) // self.kept.itemsize, self.kept.data):
            return False
        copy_weights(self.arrays, self.kept.data, True)
        if self.has_slots:
            memcpy(engine.state.slots.data, self.kept.data + n, m)
        else:
            memset(engine.state.slots.data, 0, m)
        engine.state.iterations = self.iterations
        return True

    def release(self):
        """Return the memory to the engine, for the next training."""
        self.engine.state.spare, self.kept = self.kept, None

    cdef bint is_finite(self):
        cdef const Kernels* k = self.engine.k
        cdef Buffer slots = self.engine.state.slots
        cdef WeightArray array
        for array in self.engine.changed:
            if not k.all_finite(array.shape[0], array.data):
                return False
        return k.all_finite(slots.shape[0] * slots.shape[1], slots.data)

    cdef copy(self):
        cdef Engine engine = self.engine
        cdef Py_ssize_t n = total_size(engine.changed), m = size_of(engine.state.slots)
        if self.kept is None:
            self.kept, engine.state.spare = engine.state.spare, None
        if self.kept is None or size_of(self.kept) != n + m:
            self.kept = Buffer(1, (n + m) // engine.state.slots.itemsize, engine.format)
        self.arrays = engine.changed
        copy_weights(self.arrays, self.kept.data, False)
        # Before the first step, all slots are zeros and need no copy.
        self.has_slots = engine.state.iterations > 0
        if self.has_slots:
            memcpy(self.kept.data + n, engine.state.slots.data, m)
        self.iterations = engine.state.iterations
