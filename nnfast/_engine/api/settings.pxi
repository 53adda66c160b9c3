"""Optimizer, loss and op lists converted to the structs that kernels read. Part of core.pyx."""

cdef OptimizerSettings optimizer_settings(int kind, int n_slots, tuple hyper, double weight_decay,
                                          double clip_value, double ema_momentum) except *:
    """Return the kernels' struct for an optimizer; raise ValueError if its rule needs more than n_slots."""
    cdef OptimizerSettings settings
    cdef int i, needed
    if len(hyper) > 8:
        raise ValueError("hyper: an optimizer has at most 8 settings")
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
    """Return the divisor of the loss: the number of rows, or the sum of their weights."""
    cdef const double* weight = run.data.targets[0].weight
    cdef double total = 0
    cdef Py_ssize_t r
    if not objective_of(run, 0).weighted_mean or weight == NULL:
        return <double>run.data.n
    for r in range(run.data.n):
        total += weight[r]
    return total if total != 0 else INFINITY


cdef double reduction_of(const Run* run, int head) noexcept:
    """Return the factor that turns the mean of an output's losses over all rows into its reduction."""
    cdef const double* weight = run.data.targets[head].weight
    cdef int reduction = objective_of(run, head).reduction
    cdef double total = 0
    cdef Py_ssize_t i, n = run.data.n * run.data.targets[head].weight_steps
    if reduction == REDUCTION_SUM:
        return <double>run.data.n
    if reduction == REDUCTION_MEAN or weight == NULL:
        return 1
    for i in range(n):
        total += weight[i]
    return n / total if total != 0 else 0


cdef set_divisors(Run* run):
    """Set the divisor of the losses in a pass, and the factor of each output's losses."""
    cdef int k
    run.denominator = denominator_of(run)
    for k in range(run.model.n_heads):
        run.reductions[k] = reduction_of(run, k)


cdef Buffer loss_parameters_of(tuple parameters, Py_ssize_t n, bytes format):
    """Return a Buffer with a row of n values for each loss parameter.

    Each parameter is given by n values, or by one value to repeat. Missing parameters are 0.
    """
    cdef Buffer buffer = Buffer(N_LOSS_PARAMETERS, (n + 15) // 16 * 16, format)
    cdef Py_ssize_t j, k, p
    if len(parameters) > N_LOSS_PARAMETERS:
        raise ValueError(f"a loss has at most {N_LOSS_PARAMETERS} parameters, got {len(parameters)}")
    for k, values in enumerate(parameters):
        if len(values) not in (1, n):
            raise ValueError(f"the loss has parameters for {len(values)} outputs, the model {n} outputs")
        for j in range(n):
            p = k * buffer.shape[1] + j
            if format == b"d":
                (<double*>buffer.data)[p] = values[j if len(values) > 1 else 0]
            else:
                (<float*>buffer.data)[p] = values[j if len(values) > 1 else 0]
    return buffer


cdef list packed(settings):
    """Return the fields of an op's settings as 8-byte integers, in the binary layout of the engine's struct.

    A field annotated as float becomes a double, any other an integer. A pair takes two fields.
    """
    cdef int64_t[N_SETTINGS] fields
    cdef int i = 0
    memset(fields, 0, sizeof(fields))
    for name, kind in type(settings).__annotations__.items():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if i == N_SETTINGS:
                raise ValueError(f"expected at most {N_SETTINGS} settings of an op, got {settings}")
            if "float" in str(kind):
                (<double*>fields)[i] = number
            else:
                fields[i] = <int64_t><uint64_t>(int(number) & 0xFFFFFFFFFFFFFFFF)
            i += 1
    return [fields[i] for i in range(N_SETTINGS)]


cdef uintptr_t address_of_constant(tuple values, bytes format, list memory) except? 1:
    """Return the address of a row with these values, or 0 if there are none; `memory` gets its memory."""
    cdef Buffer row
    cdef Py_ssize_t j
    if not values:
        return 0
    row = Buffer(1, len(values), format)
    memory.append(row)
    for j, value in enumerate(values):
        if format == b"d":
            (<double*>row.data)[j] = value
        else:
            (<float*>row.data)[j] = value
    return <uintptr_t>row.data


cdef Py_ssize_t* offsets_of(list offsets, list memory) except NULL:
    """Return an array of offsets or strides; its memory is appended to `memory`."""
    cdef Buffer table = bytes_of(len(offsets) * sizeof(Py_ssize_t))
    cdef int k
    memory.append(table)
    for k, offset in enumerate(offsets):
        (<Py_ssize_t*>table.data)[k] = offset
    return <Py_ssize_t*>table.data


cdef OpList op_list_of(plan_table, bytes format, list memory) except *:
    """Return an op list; the memory of its ops is appended to `memory`, which must outlive the list."""
    cdef OpList op_list
    cdef Buffer table = Buffer(len(plan_table.ops), sizeof(Op), b"f")
    cdef int i
    op_list.ops = <Op*>table.data
    for i, op in enumerate(plan_table.ops):
        constant = address_of_constant(op["constant"], format, memory)
        op_list.ops[i] = {**op, "settings": packed(op["settings"]), "constant": constant}
    memory.append(table)
    op_list.n_ops = len(plan_table.ops)
    op_list.width = plan_table.width
    op_list.n_values = plan_table.n_values
    op_list.x = offsets_of(plan_table.inputs, memory)
    op_list.ld_x = offsets_of(plan_table.input_strides, memory)
    op_list.x_column = offsets_of(plan_table.input_columns, memory)
    op_list.dx = offsets_of(plan_table.input_gradients, memory)
    op_list.out = offsets_of(plan_table.outputs, memory)
    op_list.dy = offsets_of(plan_table.output_gradients, memory)
    op_list.mask = offsets_of(plan_table.masks, memory)
    op_list.ld_mask = offsets_of(plan_table.mask_strides, memory)
    op_list.single_reader = plan_table.single_reader
    op_list.shares_parameters = plan_table.shares_parameters
    return op_list
