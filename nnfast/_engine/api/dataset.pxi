"""The user's data, which the engine reads in place, and the addresses of arrays. Part of core.pyx."""

cdef class InputRows:
    """The rows of one input: (n, n_in) floats or integers, or a SciPy CSR matrix of floats."""
    cdef InputView view
    cdef Py_ssize_t n, n_in
    cdef const int64_t[::1] starts
    cdef const int32_t[::1] columns
    cdef const float[::1] values32
    cdef const double[::1] values64
    cdef Py_buffer dense
    cdef bint is_held           # whether `dense` must be released

    def __dealloc__(self):
        if self.is_held:
            PyBuffer_Release(&self.dense)

    cdef take(self, x):
        self.n, self.n_in = x.shape
        if type(x) is not ndarray and hasattr(x, "indptr"):
            self._take_sparse(x.indptr, x.indices, x.data)
        else:
            self._take_dense(x)

    cdef _refuse_columns(self, columns):
        raise ValueError(f"sparse rows: column indices must be from 0 to {self.n_in - 1}; received values "
                         f"from {columns.min()} to {columns.max()}")

    cdef _take_sparse(self, starts, columns, values):
        cdef Py_ssize_t i, n = columns.shape[0]
        cdef int outside = 0
        self.starts = starts.astype("int64")    # a copy, which no other thread can write to
        narrow = columns.astype("int32", copy=False)
        if narrow is not columns and (narrow != columns).any():
            self._refuse_columns(columns)
        self.columns = narrow
        if self.n_in > 2**31 - 1 or self.starts.shape[0] != self.n + 1 or values.shape[0] != n:
            raise ValueError("sparse rows: the shapes of indptr, indices and data do not match")
        for i in range(self.n):
            if not 0 <= self.starts[i] <= self.starts[i + 1] <= n:
                raise ValueError(f"sparse rows: indptr of row {i} is not in order within 0 … {n}")
        for i in range(self.starts[0], self.starts[self.n]):   # other entries belong to no row
            outside |= <uint32_t>self.columns[i] >= <uint32_t>self.n_in
        if outside:
            self._refuse_columns(columns[self.starts[0]:self.starts[self.n]])
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

    cdef _take_dense(self, x):
        PyObject_GetBuffer(x, &self.dense, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        self.is_held = True
        if not readable(&self.dense, &self.view.x_type):
            raise ValueError(f"x has dtype {x.dtype}, which the engine cannot read in place")
        self.view.x = self.dense.buf


cdef class TargetRows:
    """The targets of one output, (n, n_out) of the engine's type or int32 class indices, and weights.

    There is one class index for each row of a sample, in an array of one axis.
    """
    cdef TargetView view
    cdef Py_ssize_t n_out
    cdef int y_bytes            # bytes per target; 0: there is no y, or y holds class indices
    cdef const float[:, ::1] y32
    cdef const double[:, ::1] y64
    cdef const int32_t[::1] labels
    cdef Py_ssize_t n_labels    # < 0: y holds no class indices
    cdef const double[::1] weight

    cdef take(self, Py_ssize_t n, y, sample_weight):
        self.n_labels = -1
        if y is not None:
            self._take_y(n, y)
        self.view.weight_steps = 1
        if sample_weight is not None:
            if sample_weight.shape[0] != n:
                raise ValueError("sample_weight and x differ in length")
            if sample_weight.ndim > 1:
                self.view.weight_steps = sample_weight.shape[1]
                sample_weight = sample_weight.reshape(-1)
            self.weight = sample_weight
            self.view.weight = &self.weight[0] if self.weight.shape[0] > 0 else NULL

    cdef _take_y(self, Py_ssize_t n, y):
        cdef bint some
        # Class indices may be several per sample.
        if y.shape[0] != n and (y.ndim > 1 or n == 0 or y.shape[0] % n):
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
            self.n_labels = y.shape[0]
            self.view.labels = &self.labels[0] if some else NULL

    cdef bint given(self):
        return self.view.y != NULL or self.view.labels != NULL

    cdef int check(self, Py_ssize_t n, const Head* head, int real_bytes) except -1:
        cdef Py_ssize_t i, n_out = head.n * head.steps, own = self.view.weight_steps
        if own != 1 and (own != head.steps if head.steps > 1 else own < 1 or head.n % own != 0):
            raise ValueError(f"sample_weight has {own} columns, the model {head.steps} steps")
        if self.view.y != NULL and (self.n_out != n_out or self.y_bytes != real_bytes):
            raise ValueError(f"y has {self.n_out} columns of {self.y_bytes} bytes, the model "
                             f"{n_out} of {real_bytes}")
        if self.n_labels >= 0 and self.n_labels != n * head.steps:
            raise ValueError("y and x differ in length")
        if self.view.labels != NULL:
            for i in range(n * head.steps):
                if self.view.labels[i] < 0 or self.view.labels[i] >= head.n:
                    raise ValueError(f"class index {self.view.labels[i]} is not in [0, {head.n})")
        return 0


cdef enum:
    NEEDS_NONE
    NEEDS_TARGETS       # every output whose loss is not a Python function has targets
    NEEDS_ALL           # every output has targets or a supplied gradient


# Both are faster than calls of the classes.
cdef inline InputRows input_rows(x):
    cdef InputRows rows = InputRows.__new__(InputRows)
    rows.take(x)
    return rows


cdef inline TargetRows target_rows(Py_ssize_t n, y, sample_weight):
    cdef TargetRows targets = TargetRows.__new__(TargetRows)
    targets.take(n, y, sample_weight)
    return targets


cdef Buffer bytes_of(Py_ssize_t size):
    """Return zeroed memory of `size` bytes."""
    return Buffer(1, (size + 7) // 8, b"d")


cdef class Data:
    """Rows for training or prediction, read in place. All arrays are C-contiguous.

    x: the rows of the input, see InputRows, or a list of those of several inputs.
    y: the targets of the output, see TargetRows, or None; a list if there are several outputs.
    sample_weight: (n,) float64, (n, steps) for a weight of each step, or None; a list if y is one. A step
        is a row of the output; samples of one row are divided into steps of the same size.
    targets: any object; the engine passes it on to a Python loss and does not read it.
    """
    cdef DataView view
    cdef list inputs            # of InputRows
    cdef list outputs           # of TargetRows
    cdef Buffer memory          # the views of the inputs and outputs
    cdef object targets

    def __init__(self, x, y=None, sample_weight=None, targets=None):
        cdef InputRows rows
        cdef list parts = x if isinstance(x, list) else [x]
        cdef list ys = y if isinstance(y, list) else [y]
        cdef list weights = sample_weight if isinstance(sample_weight, list) else [sample_weight] * len(ys)
        cdef int k
        self.targets = targets
        self.inputs = [input_rows(part) for part in parts]
        for k, rows in enumerate(self.inputs):
            if k == 0:
                self.view.n = rows.n
            elif rows.n != self.view.n:
                raise ValueError("the inputs differ in length")
        if len(weights) != len(ys):
            raise ValueError("sample_weight and y differ in length")
        self.outputs = [target_rows(self.view.n, ys[k], weights[k]) for k in range(len(ys))]
        self._set_views()

    cdef _set_views(self):
        cdef InputRows rows
        cdef TargetRows targets
        cdef InputView* inputs
        cdef TargetView* outputs
        cdef int k
        if len(self.inputs) == len(self.outputs) == 1:
            rows, targets = self.inputs[0], self.outputs[0]
            self.view.inputs = &rows.view
            self.view.targets = &targets.view
            return
        self.memory = bytes_of(len(self.inputs) * sizeof(InputView) + len(self.outputs) * sizeof(TargetView))
        inputs = <InputView*>self.memory.data
        outputs = <TargetView*>(inputs + len(self.inputs))
        for k, rows in enumerate(self.inputs):
            inputs[k] = rows.view
        for k, targets in enumerate(self.outputs):
            outputs[k] = targets.view
        self.view.inputs = inputs
        self.view.targets = outputs

    cdef bint has_targets(self):
        cdef TargetRows targets
        for targets in self.outputs:
            if targets.given():
                return True
        return False

    cdef int check(self, const Model* model, int real_bytes, int needed) except -1:
        """Raise ValueError unless the rows fit the model.

        needed: a NEEDS value, the outputs that must have targets.
        """
        cdef InputRows rows
        cdef TargetRows targets
        cdef bint required
        cdef int k
        if len(self.inputs) != model.n_inputs:
            raise ValueError(f"there are {len(self.inputs)} inputs, the model has {model.n_inputs}")
        for k, rows in enumerate(self.inputs):
            if rows.n_in != model.inputs[k].n:
                raise ValueError(f"x has {rows.n_in} features, the model {model.inputs[k].n}")
        if len(self.outputs) < model.n_heads and not self.has_targets():
            self.outputs = [target_rows(self.view.n, None, None) for k in range(model.n_heads)]
            self._set_views()
        if len(self.outputs) != model.n_heads:
            raise ValueError(f"there are targets of {len(self.outputs)} outputs, the model has "
                             f"{model.n_heads}")
        for k, targets in enumerate(self.outputs):
            required = needed == NEEDS_ALL or (needed == NEEDS_TARGETS
                                               and model.heads[k].loss.kind != LOSS_PYTHON)
            if required and self.view.n > 0 and not targets.given():
                raise ValueError("y is missing")
            targets.check(self.view.n, &model.heads[k], real_bytes)
        return 0


cdef int integer_type(char code, Py_ssize_t size) noexcept:
    """Return the INPUT value of integers, given the code of their type and their size; -1: there is none."""
    cdef bint signed = code in b"bhilq"
    if not signed and code not in b"BHILQ":
        return -1
    if size == 1:
        return INPUT_INT8 if signed else INPUT_UINT8
    if size == 2:
        return INPUT_INT16 if signed else INPUT_UINT16
    if size == 4:
        return INPUT_INT32 if signed else INPUT_UINT32
    return INPUT_INT64 if signed else INPUT_UINT64


cdef bint readable(const Py_buffer* view, int* x_type) noexcept:
    """Return whether the engine can read this array in place; store its element type in x_type."""
    if view.format[0] == 0 or view.format[1] != 0:
        return False
    if view.format[0] == b"f":
        x_type[0] = INPUT_FLOAT32
    elif view.format[0] == b"d":
        x_type[0] = INPUT_FLOAT64
    else:
        x_type[0] = integer_type(view.format[0], view.itemsize)
    return x_type[0] >= 0 and <uintptr_t>view.buf % <uintptr_t>view.itemsize == 0


cdef void* start_of(array) except? NULL:
    """Return the address of a new array's data, which stays valid while the array exists."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    PyBuffer_Release(&view)
    return view.buf


cdef void* address_of_result(array, Py_ssize_t n, Py_ssize_t cols, bytes format) except? NULL:
    """Return the address of an (n, cols) result array, NULL for None."""
    cdef float[:, ::1] out32
    cdef double[:, ::1] out64
    if array is None:
        return NULL
    if tuple(array.shape) != (n, cols):
        raise ValueError(f"the array for results has shape {array.shape}, expected {(n, cols)}")
    if n == 0 or cols == 0:
        return NULL
    if format == b"d":
        out64 = array
        return &out64[0, 0]
    out32 = array
    return &out32[0, 0]
