"""The compiled model: a plan in the structs that kernels read. Part of core.pyx."""

cdef bint has_function(const Model* model) noexcept:
    """Return whether the loss of an output is a Python function."""
    cdef int k
    for k in range(model.n_heads):
        if model.heads[k].loss.kind == LOSS_PYTHON:
            return True
    return False


cdef bint wants_whole(const Model* model) noexcept:
    """Return whether an op or the loss needs all rows of a batch at once."""
    return model.batch_norms or has_function(model)


cdef class CompiledModel:
    """Sizes, op lists, parameters, the loss, and the kernel table for the model's floating-point type."""
    cdef Model model
    cdef TrainingState state
    cdef const Kernels* k
    cdef bytes format
    cdef object dtype               # a NumPy dtype: arrays are created faster with a dtype than with its name
    cdef Py_ssize_t scratch_size
    cdef double flops               # floating-point operations in one row's forward pass
    cdef Py_ssize_t n_stats
    cdef bint images                # some op moves a window over images, or samples have many rows or steps
    cdef bint sequences             # some op goes through the steps of sequences
    cdef Py_ssize_t fixed_rows      # the number of rows that every batch must have; 0: any
    cdef double looked_up           # numbers that embeddings look up for one row
    cdef list tables_memory         # memory of the op lists and parameters; replaced together with them
    cdef Buffer inputs              # memory of the model's inputs
    cdef Buffer heads               # memory of the model's heads; replaced if a loss changes
    cdef list loss_parameters       # memory of the loss parameters of each head
    cdef readonly list arrays       # the WeightArray of each parameter
    cdef readonly list changed      # the arrays that training changes; replaced together with the plan

    cdef take_ends(self, plan):
        """Copy the sizes of the plan's inputs and outputs."""
        cdef Input* inputs
        cdef Head* heads
        cdef int k
        self.inputs = bytes_of(len(plan.inputs) * sizeof(Input))
        self.heads = bytes_of(len(plan.outputs) * sizeof(Head))
        self.loss_parameters = [None] * len(plan.outputs)
        if len(plan.outputs) > MAX_HEADS:
            raise ValueError(f"a model has at most {MAX_HEADS} outputs, got {len(plan.outputs)}")
        inputs, heads = <Input*>self.inputs.data, <Head*>self.heads.data
        for k, entry in enumerate(plan.inputs):
            inputs[k] = entry
        for k, entry in enumerate(plan.outputs):
            heads[k].steps, heads[k].n, heads[k].ld = entry["steps"], entry["n"], entry["ld"]
            heads[k].mask_steps = entry["mask_steps"]
            self.model.masked |= entry["mask_steps"] > 0
            heads[k].y = self.model.target_width
            self.model.target_width += entry["steps"] * entry["ld"]
        self.model.n_inputs, self.model.n_heads = len(plan.inputs), len(plan.outputs)
        self.model.inputs, self.model.heads = inputs, heads

    cdef check_rows(self, Py_ssize_t n):
        """Raise a ValueError if a batch of n rows does not fit the states of stateful layers."""
        if self.fixed_rows != 0 and n != self.fixed_rows:
            raise ValueError(f"The model has stateful layers for batches of {self.fixed_rows} rows; received "
                             f"{n} rows")

    cdef take_tables(self, plan):
        """Copy the plan's op lists and parameters. If memory runs out, the old ones stay in use."""
        cdef list memory = []
        cdef OpList train = op_list_of(plan.training, self.format, memory)
        cdef OpList infer = op_list_of(plan.inference, self.format, memory)
        cdef OpList input_gradient = op_list_of(plan.input_gradient, self.format, memory)
        cdef Buffer table = Buffer(len(plan.arrays), sizeof(Parameter), b"f")
        cdef Parameter* parameters = <Parameter*>table.data
        cdef list changed = []
        cdef Py_ssize_t fixed_rows = plan.fixed_rows
        cdef int k, n_parameters = len(plan.arrays)
        memory.append(table)
        for k, array in enumerate(plan.arrays):
            parameters[k] = {**array, "data": <uintptr_t>(<WeightArray>self.arrays[k]).data}
            if parameters[k].trained:
                changed.append(self.arrays[k])
        for k in range(train.n_ops):
            if self.updates_moving_averages(&train.ops[k]):
                changed += [self.arrays[train.ops[k].mean], self.arrays[train.ops[k].variance]]
        # No Python code may run from here on: another thread would see some tables of each plan.
        self.model.train = train
        self.model.infer = infer
        self.model.input_gradient = input_gradient
        self.model.parameters = parameters
        self.model.n_parameters = n_parameters
        self.fixed_rows = fixed_rows
        self.measure()
        self.tables_memory = memory
        self.changed = changed

    cdef bint updates_moving_averages(self, const Op* op) noexcept:
        """Return whether the op is a batch normalization that is trained."""
        cdef OpNeeds needs
        self.k.needs_of(op, &needs)
        return needs.whole_batch and op.mean >= 0

    cdef void measure(self) noexcept:
        """Compute the scratch size, the flops per row and other totals from the parameters and ops."""
        cdef int i
        cdef const Parameter* p
        cdef const Op* op
        cdef OpNeeds needs
        cdef Py_ssize_t scratch = self.model.target_width
        cdef double flops = 0
        self.model.regularized = self.model.constrained = False
        self.model.n_dense, self.model.n_sparse = self.model.n_params, 0
        for i in range(self.model.n_parameters):
            p = &self.model.parameters[i]
            if p.sparse >= 0:
                self.model.n_sparse += 1
                self.model.n_dense -= p.rows * p.cols
            if p.trained:
                self.model.regularized |= p.l1 != 0 or p.l2 != 0
                self.model.constrained |= p.constraint != CONSTRAINT_NONE
        self.looked_up = 0
        self.model.active = self.model.batch_norms = False
        for i in range(self.model.train.n_ops):
            op = &self.model.train.ops[i]
            self.k.needs_of(op, &needs)
            self.model.active |= op.y_l1 != 0 or op.y_l2 != 0 or needs.adds_penalty
            self.model.batch_norms |= needs.whole_batch
            self.sequences |= needs.has_steps
            self.images |= (needs.has_window or needs.has_steps
                            or max(op.steps, needs.ids) >= MANY_STEPS)
            if needs.ids > 0:
                self.looked_up += op.n_out
            scratch = max(scratch, needs.scratch)
            flops += needs.flops
        self.scratch_size = (scratch + 31) // 16 * 16
        self.flops = flops

    # -- the division of a batch, which depends on shapes only

    cdef Py_ssize_t microbatches_of(self, Py_ssize_t rows):
        """Return the number of micro-batches in a step of this many rows; it depends on shapes only.

        Threads that share a batch read each other's activations. Threads with separate micro-batches read
        each other's partial gradients, which is faster if there are more activations than parameters.
        """
        cdef Py_ssize_t microbatches = MAX_MICROBATCHES, least
        if wants_whole(&self.model):
            return 1
        if self.images:
            if not self.sequences and self.work_per_parameter() <= 16:
                microbatches = MAX_MICROBATCHES // 2
            least = self.image_microbatch_rows()
            return min(microbatches, (rows + least - 1) // least)
        while microbatches > 1 and (
                rows < MIN_MICROBATCH_ROWS * microbatches
                or rows * self.model.train.n_values < MICROBATCH_GAIN * microbatches * self.model.n_dense):
            microbatches //= 2
        return microbatches

    cdef bint can_share(self, Py_ssize_t microbatches):
        """Return whether threads may share a batch, and one thread processes it as a whole.

        The activations of eight micro-batches do not fit in cache together, nor do those of a few images.
        """
        if self.images:
            return microbatches == 1 and self.mainly_looks_up()
        return microbatches < MAX_MICROBATCHES

    cdef Py_ssize_t image_microbatch_rows(self):
        """Return the minimum number of images or sequences per micro-batch.

        It is larger if an image takes little work, or a sequence takes little more than looking up its ids,
        because adding up the gradients of micro-batches takes as long as that.
        """
        if self.sequences:
            return SEQUENCE_ROWS
        if self.mainly_looks_up():
            return max(<Py_ssize_t>SEQUENCE_ROWS, <Py_ssize_t>(MIN_LOOKED_UP / self.looked_up))
        if self.work_per_parameter() <= 16:
            return 4 * IMAGE_MICROBATCH_ROWS
        return (2 if self.work_per_parameter() <= 32 else 1) * IMAGE_MICROBATCH_ROWS

    cdef inline bint mainly_looks_up(self) noexcept:
        """Return whether looking up rows of tables takes a large part of the time."""
        return not self.sequences and self.flops <= 64 * self.looked_up

    cdef inline double work_per_parameter(self) noexcept:
        """Return the operations of an image's forward pass for each parameter with a dense gradient.

        If there are few, adding the partial gradients of many micro-batches takes a tenth of the time.
        """
        return self.flops / max(<Py_ssize_t>1, self.model.n_dense)

    cdef Py_ssize_t block_rows(self, OpList* op_list, Py_ssize_t rows, Py_ssize_t microbatches):
        """Return the number of rows per block: as many as fit in cache, but at most a whole micro-batch."""
        cdef Py_ssize_t most = BLOCK_ROWS
        cdef Py_ssize_t size = TRAIN_BLOCK if op_list == &self.model.train else IMAGE_BLOCK
        if self.images:
            most = max(<Py_ssize_t>(SEQUENCE_ROWS if self.sequences else 4),
                       min(most, size // op_list.n_values // 4 * 4))
        return min(((rows + 3) // 4 + microbatches - 1) // microbatches * 4, most)
