"""The arrays of weights, which several engines may use. Part of core.pyx."""

cdef class WeightArray:
    """One array of weights: a part of a Buffer, which it keeps alive, as a sequence of numbers.

    A layer in several models has one array per weight, and the parameter table of each engine points to it.
    Any thread may read it at any time, but only one thread at a time may train it.
    """
    cdef Buffer memory
    cdef char* data
    cdef Py_ssize_t shape[1]
    cdef unsigned long thread       # the thread that trains it
    cdef int holds                  # how many trainings of that thread, one within the other, hold it

    def __getbuffer__(self, Py_buffer* view, int flags):
        view.buf = self.data
        view.obj = self
        view.len = self.shape[0] * self.memory.itemsize
        view.readonly = 0
        view.itemsize = self.memory.itemsize
        view.format = <char*>self.memory.format if flags & PyBUF_FORMAT else NULL
        view.ndim = 1
        view.shape = self.shape
        view.strides = &self.memory.itemsize
        view.suboffsets = NULL
        view.internal = NULL

    def __releasebuffer__(self, Py_buffer* view):
        pass


cdef list arrays_in(Buffer memory, list sizes):
    """Return arrays of these sizes, one after the other in a buffer."""
    cdef list arrays = []
    cdef WeightArray array
    cdef char* data = memory.data
    for size in sizes:
        array = WeightArray()
        array.memory = memory
        array.data = data
        array.shape[0] = size
        data += array.shape[0] * memory.itemsize
        arrays.append(array)
    return arrays


def weight_arrays(list sizes, dtype):
    """Return new arrays of zeros of these sizes, which are contiguous in memory."""
    return arrays_in(Buffer(1, sum(sizes), b"d" if dtype == "float64" else b"f"), sizes)


cdef list sizes_of(descriptions):
    """Return the number of elements of each parameter, from the plan's descriptions."""
    return [d["outer"] * d["rows"] * d["cols"] for d in descriptions]


cdef check_arrays(list arrays, descriptions, bytes format):
    """Raise ValueError if an array does not have the size and the format of a parameter."""
    cdef WeightArray array
    for array, size in zip(arrays, sizes_of(descriptions), strict=True):
        if array.shape[0] != size or array.memory.format != format:
            raise ValueError(f"an array has {array.shape[0]} elements of format {array.memory.format}, "
                             f"the plan needs {size} of {format}")


cdef Buffer allocate_missing(list arrays, descriptions, bytes format):
    """Replace every None among the arrays by a new one; return the memory of the new ones.

    They are contiguous and in the order of their gradients.
    """
    cdef list sizes = sizes_of(descriptions)
    cdef list pairs = list(zip(descriptions, arrays, strict=True))
    cdef list order = sorted([(d["begin"], k) for k, (d, array) in enumerate(pairs) if array is None])
    cdef list missing = [k for _, k in order]
    cdef Buffer memory = Buffer(1, sum([sizes[k] for k in missing]), format)
    for k, array in zip(missing, arrays_in(memory, [sizes[k] for k in missing])):
        arrays[k] = array
    return memory


# ---- training ------------------------------------------------------------------------------------

cdef int hold_arrays(list arrays) except -1:
    """Hold arrays for this thread's training; raise RuntimeError if another thread holds one of them."""
    cdef unsigned long thread = PyThread_get_thread_ident()
    cdef WeightArray array
    for array in arrays:
        if array.holds > 0 and array.thread != thread:
            raise RuntimeError("a layer of this model is in use by another thread, which trains another "
                               "model with it: wait for that, or give each model layers of its own")
    for array in arrays:
        array.thread = thread
        array.holds += 1
    return 0


cdef int release_arrays(list arrays) except -1:
    cdef WeightArray array
    for array in arrays:
        array.holds -= 1
    return 0


cdef class Hold:
    """A context in which no other thread may train these arrays."""
    cdef list arrays

    def __init__(self, list arrays):
        self.arrays = arrays

    def __enter__(self):
        hold_arrays(self.arrays)

    def __exit__(self, kind, error, traceback):
        release_arrays(self.arrays)
