"""Optimizer, loss and op tables as the kernels read them. Part of core.pyx."""

cdef OptimizerSettings optimizer_settings(int kind, int n_slots, tuple hyper, double weight_decay,
                                         double clip_value, double ema_momentum) except *:
    """The optimizer as the kernels see it; refuses too few slots for its rule."""
    cdef OptimizerSettings settings
    cdef int i, needed
    if len(hyper) > 8:
        raise ValueError("an optimizer has at most 8 numbers")
    memset(&settings, 0, sizeof(OptimizerSettings))
    settings.kind = kind
    settings.n_slots = n_slots
    settings.weight_decay = weight_decay
    settings.clip_value = clip_value
    settings.ema_momentum = ema_momentum
    for i in range(len(hyper)):
        settings.rule[i] = hyper[i]
    needed = tables[0].rule_slots(&settings) + (ema_momentum > 0)
    if n_slots < needed:
        raise ValueError(f"the optimizer needs {needed} slots, got {n_slots}")
    return settings


cdef double denominator_of(const Run* run) noexcept:
    """What the losses of all rows are divided by."""
    cdef double total = 0
    cdef Py_ssize_t r
    if not run.objective.weighted_mean or run.data.weight == NULL:
        return <double>run.data.n
    for r in range(run.data.n):
        total += run.data.weight[r]
    return total if total != 0 else INFINITY


cdef Buffer loss_parameters_of(parameters, Py_ssize_t n, bytes format):
    """n numbers, from one or from n."""
    cdef Buffer buffer = Buffer(1, n + 16, format)
    cdef Py_ssize_t j
    if len(parameters) not in (1, n):
        raise ValueError(f"the loss has {len(parameters)} parameters, the model {n} outputs")
    for j in range(n):
        if format == b"d":
            (<double*>buffer.data)[j] = parameters[j if len(parameters) > 1 else 0]
        else:
            (<float*>buffer.data)[j] = parameters[j if len(parameters) > 1 else 0]
    return buffer


cdef list packed(settings):
    """Return the fields of an op's settings as the engine's struct has them: 8 bytes each, as integers.

    A field is a double if it is annotated so, else an integer; a pair takes two of them.
    """
    cdef int64_t[N_SETTINGS] bitmasks
    cdef int i = 0
    memset(bitmasks, 0, sizeof(bitmasks))
    for name, kind in type(settings).__annotations__.items():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if i == N_SETTINGS:
                raise ValueError(f"an op may have {N_SETTINGS} settings; received {settings}")
            if "float" in str(kind):
                (<double*>bitmasks)[i] = number
            else:
                bitmasks[i] = <int64_t><uint64_t>(int(number) & 0xFFFFFFFFFFFFFFFF)
            i += 1
    return [bitmasks[i] for i in range(N_SETTINGS)]


cdef OpList op_list_of(list ops, width, out, list memory) except *:
    """Return a op_list whose op table has its own memory, which is appended to the list."""
    cdef OpList op_list
    cdef Buffer table = Buffer(len(ops), sizeof(Op), b"f")
    cdef int i
    op_list.ops = <Op*>table.data
    for i, op in enumerate(ops):
        op_list.ops[i] = {**op, "settings": packed(op["settings"])}
    memory.append(table)
    op_list.n_ops = len(ops)
    op_list.width = width
    op_list.out = out
    return op_list
