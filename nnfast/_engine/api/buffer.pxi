"""Aligned memory that Python can read. Part of core.pyx."""

cdef class Buffer:
    """A zeroed matrix in 64-byte-aligned memory, readable 64 bytes past its end.

    Large buffers request huge pages. With small pages, each row of a large matrix lies on another page,
    and translating the page's address takes as long as the row's arithmetic.
    """
    cdef void* block
    cdef char* data
    cdef Py_ssize_t shape[2]
    cdef Py_ssize_t strides[2]
    cdef Py_ssize_t itemsize
    cdef bytes format

    def __cinit__(self, rows, cols, bytes format):
        global allocations, failing
        cdef uintptr_t alignment
        self.format = format
        self.itemsize = 8 if format == b"d" else 4
        size = rows * cols * self.itemsize  # Python integers: no overflow
        alignment = HUGE_PAGE if size >= HUGE_PAGE else ALIGNMENT
        size += alignment + ALIGNMENT
        if size > <Py_ssize_t>(<size_t>-1 // 4):
            raise MemoryError(f"cannot allocate {size} bytes")
        if failing > 0:
            failing -= 1
            if failing == 0:
                raise MemoryError(f"cannot allocate {size} bytes: the test hook fail_allocation says so")
        self.block = calloc(<size_t>size, 1)
        if self.block == NULL:
            raise MemoryError(f"cannot allocate {size} bytes")
        allocations += 1
        self.data = <char*>((<uintptr_t>self.block + alignment - 1) & ~(alignment - 1))
        if alignment == HUGE_PAGE:
            ask_for_huge_pages(self.data, <size_t>(rows * cols * self.itemsize))
        self.shape = [rows, cols]
        self.strides = [cols * self.itemsize, self.itemsize]

    def __dealloc__(self):
        free(self.block)

    def __getbuffer__(self, Py_buffer* view, int flags):
        view.buf = self.data
        view.obj = self
        view.len = self.shape[0] * self.shape[1] * self.itemsize
        view.readonly = 0
        view.itemsize = self.itemsize
        view.format = <char*>self.format if flags & PyBUF_FORMAT else NULL
        view.ndim = 2
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = NULL
        view.internal = NULL

    def __releasebuffer__(self, Py_buffer* view):
        pass
