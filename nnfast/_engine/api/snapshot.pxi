"""The last state of an engine in training that is known to be finite. Part of core.pyx."""

cdef enum:
    PAUSE = 500     # times what it took, until a snapshot or a look comes again: 1/5 % of the time for each
    ACCUMULATORS = 16    # numbers looked at side by side: as many as fill the pipelines of 16-byte vectors

ctypedef fused bits:
    uint32_t
    uint64_t


cdef bint no_exponent_of(bits ones, const bits* x, Py_ssize_t n) noexcept nogil:
    """Whether no number is NaN or infinite: those alone have an exponent of ones, and with 1 more it
    reaches the sign's bit."""
    cdef bits[ACCUMULATORS] found
    cdef bits one = ones & -ones, any_ = 0
    cdef Py_ssize_t i, j
    memset(found, 0, sizeof(found))
    for i in range(n // ACCUMULATORS):
        for j in range(ACCUMULATORS):
            found[j] |= (x[i * ACCUMULATORS + j] & ones) + one
    for i in range(n // ACCUMULATORS * ACCUMULATORS, n):
        any_ |= (x[i] & ones) + one
    for j in range(ACCUMULATORS):
        any_ |= found[j]
    return any_ >> (8 * sizeof(bits) - 1) == 0


cdef bint all_finite(Buffer buffer, Py_ssize_t size) noexcept:
    """Whether the numbers of these first bytes are."""
    if buffer.itemsize == 4:
        return no_exponent_of[uint32_t](0x7F800000, <const uint32_t*>buffer.data, size // 4)
    return no_exponent_of[uint64_t](0x7FF0000000000000, <const uint64_t*>buffer.data, size // 8)


cdef Py_ssize_t size_of(Buffer buffer) noexcept:
    """In bytes."""
    return buffer.shape[0] * buffer.shape[1] * buffer.itemsize


cdef class Snapshot:
    """Copies of weights and optimizer slots while training goes on, and the way back to the last one.

    A step whose loss is finite may still give weights that are not: the gradient, or what an
    optimizer adds up, overflows earlier than the loss does. The engine keeps the memory from one
    training to the next: pages that are new cost more than the copy.
    """
    cdef Engine engine
    cdef Buffer kept
    cdef bint has_slots
    cdef readonly Py_ssize_t iterations         # of the copy
    cdef public double next_copy, next_check     # not before

    def __init__(self, Engine engine not None):
        self.engine = engine

    def take(self):
        """Keep the present state if it is finite, unless the last copy was a moment ago.

        The first is not looked at before it is needed, which is hardly ever.
        """
        cdef Engine engine = self.engine
        cdef double begin = engine.k.now(), end
        if begin < self.next_copy:
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
        """Whether the present state is not finite; unless it must be known, it is looked at now and then."""
        cdef double begin = self.engine.k.now(), end
        cdef bint finite
        if begin < self.next_check and not always:
            return False
        finite = self.is_finite()
        end = self.engine.k.now()
        self.next_check = end + PAUSE * (end - begin)
        return not finite

    def restore(self):
        """Return to the state that was kept unless the present one is finite; say whether.

        Slots from before the first step become zeros.
        """
        cdef Engine engine = self.engine
        cdef Py_ssize_t n = size_of(engine._weights), m = size_of(engine._slots)
        if self.kept is None or self.is_finite():
            return False
        if size_of(self.kept) != n + m:
            raise ValueError("the state that was kept is of another optimizer")
        if not all_finite(self.kept, n + m if self.has_slots else n):
            return False
        memcpy(engine._weights.data, self.kept.data, n)
        if self.has_slots:
            memcpy(engine._slots.data, self.kept.data + n, m)
        else:
            memset(engine._slots.data, 0, m)
        engine.iterations = self.iterations
        return True

    def release(self):
        """Give the memory to the engine, for the next training."""
        self.engine.spare, self.kept = self.kept, None

    cdef bint is_finite(self):
        cdef Buffer weights = self.engine._weights, slots = self.engine._slots
        return all_finite(weights, size_of(weights)) and all_finite(slots, size_of(slots))

    cdef copy(self):
        cdef Engine engine = self.engine
        cdef Py_ssize_t n = size_of(engine._weights), m = size_of(engine._slots)
        if self.kept is None:
            self.kept, engine.spare = engine.spare, None
        if self.kept is None or size_of(self.kept) != n + m:
            self.kept = Buffer(1, (n + m) // engine._weights.itemsize, engine.format)
        memcpy(self.kept.data, engine._weights.data, n)
        # Before the first step slots are as they were made.
        self.has_slots = engine.iterations > 0
        if self.has_slots:
            memcpy(self.kept.data + n, engine._slots.data, m)
        self.iterations = engine.iterations
