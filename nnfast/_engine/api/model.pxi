"""The compiled model, from which workspaces are made. Part of core.pyx."""

cdef class CompiledModel:
    """Sizes, op lists, parameters, the loss, and the kernel table for the model's floating-point type."""
    cdef Model model
    cdef const Kernels* k
    cdef bytes format
    cdef object dtype               # a NumPy dtype: arrays are created faster with a dtype than with its name
    cdef Py_ssize_t scratch_size
    cdef double flops               # floating-point operations in one row's forward pass
    cdef Py_ssize_t n_stats
    cdef bint images                # some op moves a window over images, or computes many rows per sample
    cdef list tables_memory         # memory of the op lists and parameters; replaced together with them
    cdef Buffer heads               # memory of the model's heads; replaced if a loss changes
    cdef list loss_parameters       # memory of the loss parameters of each head
