"""What a run works on: aligned memory, the caller's rows, arenas and scratch. Part of core.pyx."""

cdef class Buffer:
    """Zeroed, 64-byte-aligned memory, readable 64 bytes past its end.

    Large memory asks for huge pages: rows of large matrices are further apart than small pages are
    long, and looking up a page's address for every row takes as long as the row's arithmetic.
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
                raise MemoryError(f"cannot allocate {size} bytes: a test's wish")
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


# ---- data ------------------------------------------------------------------------------------------

cdef class Data:
    """Rows to train on or to predict, read in place.

    x: (n, n_in) float32, float64 or uint8, or sparse rows of float32 or float64 in SciPy's CSR form;
    y: (n, n_out) of the engine's type, or (n,) int32 class indices, or None; sample_weight: (n,) float64
    or None. All C-contiguous. targets: anything that a loss of the caller's is to be given; the engine
    does not look at it.
    """
    cdef DataView view
    cdef Py_ssize_t n_in, n_out
    cdef int y_bytes            # of one target; 0: none or class indices
    cdef const int64_t[::1] starts
    cdef const int32_t[::1] columns
    cdef const float[::1] values32
    cdef const double[::1] values64
    cdef const float[:, ::1] x32
    cdef const double[:, ::1] x64
    cdef const uint8_t[:, ::1] x8
    cdef const float[:, ::1] y32
    cdef const double[:, ::1] y64
    cdef const int32_t[::1] labels
    cdef const double[::1] weight
    cdef object targets

    def __init__(self, x, y=None, sample_weight=None, targets=None):
        cdef Py_ssize_t rows = x.shape[0]
        self.view.n = rows
        self.targets = targets
        self.n_in = x.shape[1]
        if hasattr(x, "indptr"):
            self._take_sparse(x.indptr, x.indices, x.data)
        else:
            self._take_x(x)
        if y is not None:
            self._take_y(y)
        if sample_weight is not None:
            self.weight = sample_weight
            if self.weight.shape[0] != rows:
                raise ValueError("sample_weight and x differ in length")
            self.view.weight = &self.weight[0] if rows else NULL

    cdef _refuse_columns(self, columns):
        raise ValueError(f"sparse rows: column indices must be from 0 to {self.n_in - 1}; received values "
                         f"from {columns.min()} to {columns.max()}")

    cdef _take_sparse(self, starts, columns, values):
        cdef Py_ssize_t i, n = columns.shape[0]
        cdef int outside = 0
        self.starts = starts.astype("int64")    # a copy: nobody else may write to it
        narrow = columns.astype("int32", copy=False)
        if narrow is not columns and (narrow != columns).any():
            self._refuse_columns(columns)
        self.columns = narrow
        if self.n_in > 2**31 - 1 or self.starts.shape[0] != self.view.n + 1 or values.shape[0] != n:
            raise ValueError("sparse rows: the arrays do not fit each other")
        for i in range(self.view.n):
            if not 0 <= self.starts[i] <= self.starts[i + 1] <= n:
                raise ValueError(f"sparse rows: row {i} is not within the {n} numbers")
        for i in range(self.starts[0], self.starts[self.view.n]):   # what comes behind is no row's
            outside |= <uint32_t>self.columns[i] >= <uint32_t>self.n_in
        if outside:
            self._refuse_columns(columns[self.starts[0]:self.starts[self.view.n]])
        self.view.starts = &self.starts[0]
        self.view.columns = &self.columns[0] if n > 0 else NULL
        if values.dtype.char == "f":
            self.values32 = values
            self.view.x_type = INPUT_FLOAT32
            self.view.x = <const void*>&self.values32[0] if n > 0 else NULL
        else:
            self.values64 = values
            self.view.x_type = INPUT_FLOAT64
            self.view.x = <const void*>&self.values64[0] if n > 0 else NULL

    cdef _take_x(self, x):
        cdef bint some = x.shape[0] > 0 and x.shape[1] > 0
        if x.dtype.char == "f":
            self.x32 = x
            self.view.x_type = INPUT_FLOAT32
            self.view.x = <const void*>&self.x32[0, 0] if some else NULL
        elif x.dtype.char == "d":
            self.x64 = x
            self.view.x_type = INPUT_FLOAT64
            self.view.x = <const void*>&self.x64[0, 0] if some else NULL
        else:
            self.x8 = x
            self.view.x_type = INPUT_UINT8
            self.view.x = <const void*>&self.x8[0, 0] if some else NULL

    cdef _take_y(self, y):
        cdef bint some
        if y.shape[0] != self.view.n:
            raise ValueError("y and x differ in length")
        some = y.size > 0
        if y.dtype.char == "f":
            self.y32 = y
            self.n_out = y.shape[1]
            self.y_bytes = 4
            self.view.y = <const void*>&self.y32[0, 0] if some else NULL
        elif y.dtype.char == "d":
            self.y64 = y
            self.n_out = y.shape[1]
            self.y_bytes = 8
            self.view.y = <const void*>&self.y64[0, 0] if some else NULL
        else:
            self.labels = y
            self.view.labels = &self.labels[0] if some else NULL

    cdef int check(self, Py_ssize_t n_in, Py_ssize_t n_out, int real_bytes, bint targets) except -1:
        cdef Py_ssize_t i
        if self.n_in != n_in:
            raise ValueError(f"x has {self.n_in} features, the model {n_in}")
        if targets and self.view.n > 0 and self.view.y == NULL and self.view.labels == NULL:
            raise ValueError("y is missing")
        if self.view.y != NULL and (self.n_out != n_out or self.y_bytes != real_bytes):
            raise ValueError(f"y has {self.n_out} columns of {self.y_bytes} bytes, the model "
                             f"{n_out} of {real_bytes}")
        if self.view.labels != NULL:
            for i in range(self.view.n):
                if self.view.labels[i] < 0 or self.view.labels[i] >= n_out:
                    raise ValueError(f"class index {self.view.labels[i]} is not in [0, {n_out})")
        return 0


cdef bint readable(const Py_buffer* view, int* x_type) noexcept:
    """Whether gather reads such an array in place, and its type."""
    if view.format[0] == 0 or view.format[1] != 0:
        return False
    if view.format[0] == b"f":
        x_type[0] = INPUT_FLOAT32
    elif view.format[0] == b"d":
        x_type[0] = INPUT_FLOAT64
    elif view.format[0] == b"B":
        x_type[0] = INPUT_UINT8
    else:
        return False
    return <uintptr_t>view.buf % <uintptr_t>view.itemsize == 0


cdef void* start_of(array) except? NULL:
    """Where the memory of a new array begins; it stays there while the array lives."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    PyBuffer_Release(&view)
    return view.buf


# ---- working memory ------------------------------------------------------------------------------

cdef class Workspace:
    """Everything that a run needs besides weights and data: arenas, scratch, partial sums.

    It has the engine's model as it was when the run began: another thread may compile meanwhile.
    """
    cdef Run run
    cdef Model model
    cdef list tables                # the memory of the model's chains and arrays …
    cdef Buffer levels              # … and of its loss
    cdef int threads
    cdef list memory
    cdef object key
    cdef Py_ssize_t rows            # that it holds, if it is for short predictions

    cdef void* take(self, rows, cols, bytes format):
        buffer = Buffer(rows, cols, format)
        self.memory.append(buffer)
        return (<Buffer>buffer).data

    cdef Block* take_blocks(self, Engine engine, Chain* chain, Py_ssize_t rows, int n):
        """n blocks for so many rows each."""
        cdef Block* blocks = <Block*>self.take(n, sizeof(Block), b"f")
        cdef int i
        rows = max(4, (rows + 3) // 4 * 4)
        for i in range(n):
            blocks[i].rows = rows
            blocks[i].arena = self.take(rows, chain.width, engine.format)
            if poisoned:
                memset(blocks[i].arena, 0xFF, <size_t>(rows * chain.width * engine.k.real_bytes))
            blocks[i].y = self.take(rows, engine.model.ld_out, engine.format)
            blocks[i].weight = <double*>self.take(rows, 1, b"d")
            blocks[i].loss = <double*>self.take(rows, 1, b"d")
            blocks[i].activity = <double*>self.take(rows, 1, b"d")
        return blocks

    cdef take_model(self, Engine engine):
        self.model = engine.model
        self.tables = engine.tables_memory
        self.levels = engine._levels

    cdef refuse_function(self):
        if self.model.loss.kind == LOSS_CALL:
            raise RuntimeError("a loss that is a function is called by whoever wants its value")

    cdef prepare(self, Engine engine, Chain* chain, int n_threads, Py_ssize_t n_chunks, bint partials):
        """All but the blocks; partials: with gradients of the chunks."""
        cdef bytes format = engine.format
        self.memory = []
        self.threads = n_threads
        self.take_model(engine)
        self.run.model = &self.model
        self.run.chain = <Chain*>(<char*>&self.model + (<char*>chain - <char*>&engine.model))
        self.run.objective = &self.model.loss
        self.run.n_threads = n_threads
        self.run.n_chunks = self.run.end_chunk = n_chunks
        self.run.scratch_size = engine.scratch_size
        self.run.scratch = self.take(n_threads, engine.scratch_size, format)
        self.run.chunk_loss = <Strands*>self.take(n_chunks, 4, b"d")
        self.run.sums = <double*>self.take(
            engine.model.n_params // SUM_BLOCK + engine.model.n_arrays + 1, 1, b"d")
        if engine.n_stats > 0:
            self.run.stats = self.take(1, engine.n_stats, format)
        if partials:
            self.run.chunk_rows = <Py_ssize_t*>self.take(n_chunks, 1, b"d")
            self.run.partials = engine.model.grads
            if n_chunks > 1:
                self.run.partials = self.take(n_chunks, engine.model.n_params, format)
