"""Predictions for a few rows, in memory that is reused from call to call. Part of core.pyx."""

cdef enum:
    SHORT_ENDS = 4      # maximum number of inputs, and of outputs
    SHORT_AXES = 8      # maximum number of axes of a sample
    SHORT_BYTES = 1 << 21   # working memory that an engine for one of many sizes keeps from call to call


cdef struct SampleShape:
    int n_axes
    Py_ssize_t axes[SHORT_AXES]


# The arrays of one call.
cdef struct ShortBatch:
    Py_buffer views[SHORT_ENDS]     # of the inputs; the first `n_held` must be released
    int n_held
    InputView rows[SHORT_ENDS]
    DataView data
    void* outputs[SHORT_ENDS]


cdef inline Py_ssize_t output_size(const Head* head) noexcept:
    """Return the number of elements of a sample of an output."""
    return head.n * head.steps


cdef class ShortPredictor:
    """Predicts small arrays of samples that can be read in place, bypassing the usual checks of x."""
    cdef Workspace idle
    cdef Py_ssize_t most_kept   # maximum size of `idle` in bytes
    cdef SampleShape shapes[SHORT_ENDS]     # the shape of a sample of each input
    cdef int n_inputs           # -1: there are too many inputs, outputs or axes
    cdef list ids               # the columns of each input that hold ids, None if there are none
    cdef bint reads_ids         # some columns hold ids
    # The rows of the latest predictions, and the shape and dtype of each output. They are often the same
    # again. One object, so that a call sees both as the same other call has set them.
    cdef tuple latest

    def __init__(self, list shapes, int n_outputs, list ids):
        cdef int i, k
        cdef tuple shape
        self.latest = (-1,)
        self.most_kept = <Py_ssize_t>1 << 62
        self.n_inputs = -1
        self.ids = [None if columns is None else id_columns(columns) for columns in ids]
        self.reads_ids = any(columns is not None for columns in ids)
        if max(len(shapes), n_outputs) > SHORT_ENDS or max(map(len, shapes)) > SHORT_AXES:
            return
        self.n_inputs = len(shapes)
        for k, shape in enumerate(shapes):
            self.shapes[k].n_axes = len(shape)
            for i in range(len(shape)):
                self.shapes[k].axes[i] = shape[i]

    cdef predict(self, CompiledModel engine, x, make):
        """Return the predictions for x in an array that make allocates, a list if there are several, or None.

        None means that x has too many samples, cannot be read in place, or has wrong ids.

        Only the result is allocated: working memory is reused from call to call. A second thread that
        calls at the same time gets its own working memory.
        """
        cdef ShortBatch batch
        cdef int k
        batch.n_held = 0
        try:
            if not (self.take(&batch, x) if self.n_inputs == 1 else self.take_list(&batch, x)):
                return None
            if not 0 < batch.views[0].shape[0] <= self.max_rows(engine):
                return None
            if self.reads_ids and self.has_wrong_ids(engine, &batch):
                return None
            engine.check_rows(batch.views[0].shape[0])
            return self.infer(engine, &batch, make)
        finally:
            for k in range(batch.n_held):
                PyBuffer_Release(&batch.views[k])

    cdef infer(self, CompiledModel engine, ShortBatch* batch, make):
        """Return the predictions for the arrays of a batch."""
        cdef Workspace workspace
        cdef Run* run
        cdef int k, n_heads = engine.model.n_heads
        cdef Py_ssize_t n = batch.views[0].shape[0]
        cdef list results = None
        cdef tuple latest = self.latest
        batch.data.n = n
        batch.data.inputs = batch.rows
        batch.data.targets = NULL
        if <Py_ssize_t>latest[0] != n:
            latest = self.latest = (n, *[((n, output_size(&engine.model.heads[k])), engine.dtype)
                                         for k in range(n_heads)])
        out = make(*<tuple>latest[1])
        batch.outputs[0] = start_of(out)
        if n_heads > 1:
            results = [out]
            for k in range(1, n_heads):
                results.append(make(*<tuple>latest[1 + k]))
                batch.outputs[k] = start_of(results[k])
        workspace, self.idle = self.idle, None
        if workspace is None or workspace.rows < n or (n <= FEW_ROWS < workspace.rows):
            workspace = self.workspace(engine, n)
        run = &workspace.run
        run.data = &batch.data
        run.outputs = batch.outputs
        if engine.flops * n < MIN_FLOPS_TO_RELEASE_GIL:
            engine.k.infer(run)
        else:
            with nogil:
                engine.k.infer(run)
        if workspace.n_bytes <= self.most_kept:
            self.idle = workspace
        return out if n_heads == 1 else results

    cdef bint take_list(self, ShortBatch* batch, x):
        """Hold the arrays of all inputs; return whether they can be read in place and have the same rows."""
        if not isinstance(x, (list, tuple)) or len(x) != self.n_inputs:
            return False
        for part in x:
            if not self.take(batch, part):
                return False
            if batch.views[batch.n_held - 1].shape[0] != batch.views[0].shape[0]:
                return False
        return True

    cdef bint take(self, ShortBatch* batch, x):
        """Hold the array of the next input; return whether it can be read in place."""
        cdef int k = batch.n_held
        cdef Py_buffer* view = &batch.views[k]
        if type(x) is not ndarray:
            return False
        if get_buffer(x, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0:
            PyErr_Clear()
            return False
        batch.n_held = k + 1
        batch.rows[k].x = view.buf
        batch.rows[k].starts = NULL
        return self.is_batch(view, &self.shapes[k]) and readable(view, &batch.rows[k].x_type)

    cdef bint has_wrong_ids(self, CompiledModel engine, const ShortBatch* batch) noexcept:
        """Return whether a column of ids holds anything else."""
        cdef int k
        for k in range(batch.n_held):
            if self.ids[k] is not None and wrong_id(&batch.rows[k], batch.views[k].shape[0],
                                                    engine.model.inputs[k].n, <Buffer>self.ids[k]) >= 0:
                return True
        return False

    cdef Py_ssize_t max_rows(self, CompiledModel engine) noexcept:
        return FEW_ROWS if engine.images else BLOCK_ROWS

    cdef inline bint is_batch(self, const Py_buffer* view, const SampleShape* shape) noexcept:
        """Return whether an array holds samples of an input's shape."""
        cdef int i
        if view.ndim != 1 + shape.n_axes:
            return False
        for i in range(shape.n_axes):
            if view.shape[1 + i] != shape.axes[i]:
                return False
        return True

    cdef Workspace workspace(self, CompiledModel engine, Py_ssize_t n):
        cdef Workspace workspace = Workspace()
        workspace.rows = FEW_ROWS if n <= FEW_ROWS else BLOCK_ROWS
        workspace.prepare(engine, &engine.model.infer, 1, 1, False)
        workspace.run.blocks = workspace.take_blocks(engine, &engine.model.infer, workspace.rows, 1)
        return workspace
