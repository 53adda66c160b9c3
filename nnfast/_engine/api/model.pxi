"""The compiled model: what every run is made from. Part of core.pyx."""

cdef class CompiledModel:
    """Sizes, op tables, parameters and loss, and the kernels of the model's type."""
    cdef Model model
    cdef const Kernels* k
    cdef bytes format
    cdef object dtype               # NumPy's: it makes parameters sooner from one than from a name
    cdef Py_ssize_t scratch_size
    cdef double flops               # of one row's forward pass
    cdef Py_ssize_t n_stats
    cdef bint images                # some op has a window
    cdef list tables_memory         # of chains and parameters; a new list where they are replaced
    cdef Buffer _loss_parameters             # of the loss
