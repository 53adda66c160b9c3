"""The working memory of a run. Part of core.pyx."""

cdef enum:
    KEPT_BYTES = 1 << 27    # working memory of training that engines keep; the one in use may exceed it


cdef class Workspace:
    """All memory that a run needs besides weights and data: arenas, scratch and partial sums.

    It holds a copy of the engine's model from the start of the run, because another thread may recompile
    the model during the run.
    """
    cdef Run run
    cdef Model model
    cdef list tables                # keeps the model's op lists and parameters alive
    cdef Buffer heads               # kept alive, as are the loss parameters
    cdef list loss_parameters
    cdef void** results             # the addresses of the results, one per output or per input
    cdef int threads
    cdef list memory
    cdef object key                 # None: the memory was freed
    cdef Py_ssize_t n_bytes         # size of the memory
    cdef Py_ssize_t rows            # the capacity of a workspace for short predictions

    cdef void* take(self, rows, cols, bytes format):
        cdef Buffer buffer = Buffer(rows, cols, format)
        self.memory.append(buffer)
        self.n_bytes += buffer.shape[0] * buffer.shape[1] * buffer.itemsize
        return buffer.data

    cdef Block* take_blocks(self, CompiledModel engine, OpList* op_list, Py_ssize_t rows, int n):
        """Return n new blocks of `rows` rows each, rounded up to a multiple of 4."""
        cdef Block* blocks = <Block*>self.take(n, sizeof(Block), b"f")
        cdef int i
        rows = max(4, (rows + 3) // 4 * 4)
        for i in range(n):
            blocks[i].rows = rows
            blocks[i].arena = self.take(rows, op_list.width, engine.format)
            if poisoned:
                memset(blocks[i].arena, 0xFF, <size_t>(rows * op_list.width * engine.k.real_bytes))
            blocks[i].y = self.take(rows, engine.model.target_width, engine.format)
            blocks[i].weight = <double*>self.take(engine.model.n_heads, rows, b"d")
            blocks[i].loss = <double*>self.take(self.run.n_losses, rows, b"d")
            blocks[i].activity = <double*>self.take(rows, 1, b"d")
        return blocks

    cdef take_model(self, CompiledModel engine):
        engine.state.write_to(&engine.model)
        self.model = engine.model
        self.tables = engine.tables_memory
        self.heads = engine.heads
        self.loss_parameters = engine.loss_parameters

    cdef replace_functions(self):
        """Read supplied gradients in place of targets for Python losses, which only training calls."""
        cdef Buffer heads
        cdef Head* own
        cdef int k
        if has_function(&self.model):
            heads = bytes_of(self.model.n_heads * sizeof(Head))
            own = <Head*>heads.data
            memcpy(own, self.model.heads, self.model.n_heads * sizeof(Head))
            for k in range(self.model.n_heads):
                if own[k].loss.kind == LOSS_PYTHON:
                    own[k].loss = supplied_gradient_objective()
            self.model.heads = own
            self.heads = heads

    cdef void** addresses(self, arrays, Py_ssize_t n, list cols, bytes format, int optional=0) except? NULL:
        """Return the addresses of the (n, cols) arrays for the results of the run; NULL for None.

        optional: the number of results, the last ones, that may be missing.
        """
        cdef int k
        if arrays is None:
            return NULL
        if not isinstance(arrays, list):
            arrays = [arrays]
        if len(arrays) not in (len(cols), len(cols) - optional):
            raise ValueError(f"there are {len(arrays)} arrays for {len(cols)} results")
        for k in range(len(arrays), len(cols)):
            self.results[k] = NULL
        for k in range(len(arrays)):
            if arrays[k] is None:
                raise ValueError(f"there is no array for the results of number {k}")
            self.results[k] = address_of_result(arrays[k], n, cols[k], format)
        return self.results

    cdef prepare(self, CompiledModel engine, OpList* op_list, int n_threads, Py_ssize_t n_microbatches,
                 bint partials):
        """Set up everything but the blocks. partials: allocate the micro-batches' gradients, too."""
        cdef bytes format = engine.format
        cdef Py_ssize_t n_results
        self.memory = []
        self.threads = n_threads
        self.take_model(engine)
        self.run.model = &self.model
        self.run.op_list = <OpList*>(<char*>&self.model + (<char*>op_list - <char*>&engine.model))
        self.run.objective = NULL
        self.run.n_losses = n_losses_of(&self.model)
        # One piece of memory for both, because passes prepare a workspace for each call.
        n_results = max(2 * self.model.n_heads, self.model.n_inputs)
        self.run.reductions = <double*>self.take(2, n_results, b"d")
        self.results = <void**>(self.run.reductions + n_results)
        self.run.n_threads = n_threads
        self.run.n_microbatches = self.run.end_microbatch = n_microbatches
        self.run.scratch_size = engine.scratch_size
        self.run.scratch = self.take(n_threads, engine.scratch_size, format)
        self.run.microbatch_loss = <Accumulators*>self.take(
            n_microbatches * self.run.n_losses, 4, b"d")
        self.run.sums = <double*>self.take(
            engine.model.n_params // SUM_BLOCK + engine.model.n_parameters + 1, 1, b"d")
        if engine.n_stats > 0:
            self.run.stats = self.take(1, engine.n_stats, format)
        if partials:
            self.run.microbatch_rows = <Py_ssize_t*>self.take(n_microbatches, 1, b"d")
            self.run.partials = engine.model.grads
            if n_microbatches > 1:
                self.run.partials = self.take(n_microbatches, engine.model.n_dense, format)

    cdef take_sparse(self, CompiledModel engine, Py_ssize_t rows, int shares):
        """Allocate the sparse gradients of a batch of `rows` rows.

        shares: number of threads that share a micro-batch.
        """
        cdef const Parameter* p
        cdef SparseGradient* g
        cdef Py_ssize_t k, ids, n = self.run.n_microbatches, segments = n * shares
        cdef Py_ssize_t most = ((rows + 3) // 4 + n - 1) // n * 4
        if self.model.n_sparse == 0:
            return
        self.run.n_shares = shares
        self.run.sparse = <SparseGradient*>self.take(self.model.n_sparse, sizeof(SparseGradient), b"f")
        for k in range(self.model.n_parameters):
            p = &self.model.parameters[k]
            if p.sparse < 0:
                continue
            g = &self.run.sparse[p.sparse]
            g.parameter = <int>k
            g.n, g.cols = p.rows, p.cols
            g.ld = (p.cols + 15) // 16 * 16
            ids = most * ids_per_sample(&self.model, k)
            g.by_row = n == 1 and 2 * ids >= p.rows and p.cols % 16 == 0
            if g.by_row:
                g.sums = self.take(g.n, g.cols, engine.format)
                continue
            g.capacity = 1 + min(p.rows, ids)
            if segments * g.capacity >= 2**31 - 1:
                raise MemoryError(f"a batch of {rows} rows has too many ids")
            g.rows = <int32_t*>self.take(segments, g.capacity, b"i")
            g.last = <Py_ssize_t*>self.take(1, segments, b"d")
            g.place = <int32_t*>self.take(n, g.n, b"i")
            g.sums = self.take(segments * g.capacity, g.ld, engine.format)
            g.merged = <int32_t*>self.take(1, g.n, b"i")

    cdef double mean_loss(self):
        """Return the mean of the total loss over all rows of a pass, with penalties."""
        return self.sum_of_losses(0) / self.run.denominator + self.run.penalty

    cdef double sum_of_losses(self, int which):
        """Return the sum over all rows of the total loss (0) or of that of one output."""
        cdef double total = 0
        cdef Py_ssize_t c
        for c in range(self.run.n_microbatches):
            total += sum_of(&self.run.microbatch_loss[c * self.run.n_losses + which])
        return total


cdef keep_workspace(list kept, Workspace workspace):
    """Put the workspace that is used now at the end; free the first ones if they are too much together."""
    cdef Py_ssize_t n = len(kept)
    cdef Workspace oldest
    if n > 0 and kept[n - 1] is workspace:
        return
    drop_workspace(kept, workspace)
    kept.append(workspace)
    total = sum([(<Workspace>own).n_bytes for own in kept])
    while total > KEPT_BYTES and len(kept) > 1:
        oldest = kept.pop(0)
        total -= oldest.n_bytes
        oldest.key = oldest.memory = None


cdef drop_workspace(list kept, Workspace workspace):
    """Forget a workspace that its engine no longer uses."""
    if workspace in kept:
        kept.remove(workspace)


cdef Py_ssize_t ids_per_sample(const Model* model, Py_ssize_t parameter) noexcept:
    """Return the number of rows of an array that the ops read for a sample."""
    cdef Py_ssize_t total = 0
    cdef int i
    for i in range(model.train.n_ops):
        if model.train.ops[i].w == parameter:
            total += model.train.ops[i].n_in
    return total


cdef Objective supplied_gradient_objective() noexcept:
    """Return the loss Σ y·a over the batch, where y is a gradient that the user supplies."""
    cdef Objective objective
    memset(&objective, 0, sizeof(Objective))
    objective.kind = LOSS_SUPPLIED_GRADIENT
    objective.target_scale = objective.value_scale = objective.gradient_scale = 1
    objective.limit = INFINITY
    return objective


cdef int n_losses_of(const Model* model) noexcept:
    """Return the number of losses per step: the total and, if there are several outputs, that of each."""
    return 1 if model.n_heads == 1 else 1 + model.n_heads
