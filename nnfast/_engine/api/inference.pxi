"""Predictions for a few rows, in memory that is reused from call to call. Part of core.pyx."""

cdef class ShortPredictor:
    """Predicts small arrays of samples that can be read in place, bypassing the usual checks of x."""
    cdef Workspace idle
    cdef Py_ssize_t axes[8]     # the shape of a sample of the only input
    cdef int n_axes             # number of axes in that shape; -2: more than 8, or several inputs
    cdef tuple allocation       # shape and dtype of the latest predictions; they are often the same again
    cdef Py_ssize_t rows        # the rows of that shape

    def __init__(self, list shapes):
        cdef int i
        cdef tuple shape = shapes[0]
        self.n_axes = len(shape) if len(shape) <= 8 and len(shapes) == 1 else -2
        for i in range(self.n_axes):
            self.axes[i] = shape[i]
        self.rows = -1

    cdef predict(self, CompiledModel engine, x, make):
        """Return the predictions for x in an array that make allocates, or None.

        None means that x has too many samples or cannot be read in place.

        Only the result is allocated: working memory is reused from call to call. A second thread that
        calls at the same time gets its own working memory.
        """
        cdef Py_buffer view
        cdef DataView data
        cdef InputView rows
        cdef void* address
        cdef Workspace workspace
        cdef Run* run
        cdef Py_ssize_t n
        if type(x) is not ndarray or engine.model.n_heads > 1:
            return None
        try:
            PyObject_GetBuffer(x, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (ValueError, BufferError):
            return None
        try:
            if not self.is_batch(&view) or view.shape[0] == 0 or view.shape[0] > self.max_rows(engine):
                return None
            if not readable(&view, &rows.x_type):
                return None
            n = data.n = view.shape[0]
            data.inputs = &rows
            data.targets = NULL
            rows.x = view.buf
            rows.starts = NULL
            if self.rows != n:
                self.allocation = ((n, engine.model.heads[0].n), engine.dtype)
                self.rows = n
            out = make(*self.allocation)
            workspace, self.idle = self.idle, None
            if workspace is None or workspace.rows < n or (n <= FEW_ROWS < workspace.rows):
                workspace = self.workspace(engine, n)
            run = &workspace.run
            run.data = &data
            address = start_of(out)
            run.outputs = &address
            if engine.flops * n < MIN_FLOPS_TO_RELEASE_GIL:
                engine.k.infer(run)
            else:
                with nogil:
                    engine.k.infer(run)
            self.idle = workspace
            return out
        finally:
            PyBuffer_Release(&view)

    cdef Py_ssize_t max_rows(self, CompiledModel engine) noexcept:
        return FEW_ROWS if engine.images else BLOCK_ROWS

    cdef bint is_batch(self, const Py_buffer* view) noexcept:
        """Return whether an array holds samples of the model's input shape."""
        cdef int i
        if view.ndim != 1 + self.n_axes:
            return False
        for i in range(self.n_axes):
            if view.shape[1 + i] != self.axes[i]:
                return False
        return True

    cdef Workspace workspace(self, CompiledModel engine, Py_ssize_t n):
        cdef Workspace workspace = Workspace()
        workspace.rows = FEW_ROWS if n <= FEW_ROWS else BLOCK_ROWS
        workspace.prepare(engine, &engine.model.infer, 1, 1, False)
        workspace.run.blocks = workspace.take_blocks(engine, &engine.model.infer, workspace.rows, 1)
        return workspace
