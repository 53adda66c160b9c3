"""The Engine: a compiled model with its configuration, training and inference. Part of core.pyx."""

cdef class Engine(CompiledModel):
    """A compiled model: plan, parameters, gradients, optimizer slots and working memory.

    `run` reuses its working memory from call to call. `forward` and `evaluate` allocate their own, so
    several threads may call them at once. `run` and `loss_and_grad` refuse a second concurrent caller.

    arrays: for each parameter a WeightArray that another engine uses, too, or None. The engine allocates
        the arrays that are None, or all of them by default.
    like: an engine for samples of another size. Both have the same weights, and share the TrainingState.
    """
    cdef Objective supplied_gradient, maximum_output    # used instead of the outputs' losses
    cdef list n_in, n_out           # the sizes of inputs, and of outputs and then their masks
    cdef Buffer _weights
    cdef Workspace training
    cdef list functions             # the Python loss of each output, None if the loss is built in
    cdef object raised              # the exception that the Python loss raised
    cdef object targets             # Data.targets of the current run, for the Python loss
    cdef TeamTrial trial
    cdef ShortPredictor short
    cdef PassTrial infer_trial, gradient_trial, input_gradient_trial   # separate: the passes differ in cost
    cdef readonly Py_ssize_t version    # number of changes to the loss or the plan

    def __init__(self, plan, dtype, arrays=None, Engine like=None):
        self.k = tables[1] if dtype == "float64" else tables[0]
        self.format = b"d" if dtype == "float64" else b"f"
        self.dtype = numpy_dtype(dtype)
        if max(plan.n_weights, plan.input_gradient.width, plan.inference.width) > MAX_ELEMENTS:
            raise MemoryError(f"{plan.n_weights} parameters and {plan.training.width} elements per row are "
                              "more than any memory holds")
        self.trial = TeamTrial()
        self.short = ShortPredictor(plan.input_shapes, len(plan.outputs), plan.ids)
        self.n_in = [end["n"] for end in plan.inputs]
        self.n_out = [end["n"] * end["steps"] for end in plan.outputs]
        self.n_out += [end["mask_steps"] for end in plan.outputs if end["mask_steps"]]
        self.functions = [None] * len(plan.outputs)
        if like is None:
            self.state = TrainingState(plan.n_params, self.format)
        else:
            self.share_state(plan, like)
        self.state.write_to(&self.model)
        self.take_ends(plan)
        self.arrays = [None] * len(plan.arrays) if arrays is None else list(arrays)
        self._weights = allocate_missing(self.arrays, plan.arrays, self.format)
        check_arrays(self.arrays, plan.arrays, self.format)
        self.take_tables(plan)
        self.n_stats = plan.n_stats
        self.infer_trial = PassTrial()
        self.gradient_trial = PassTrial()
        self.input_gradient_trial = PassTrial()
        self.supplied_gradient = self.maximum_output = supplied_gradient_objective()
        self.maximum_output.kind = LOSS_MAXIMUM_OUTPUT
        for k in range(self.model.n_heads):
            self.set_loss(LOSS_MEAN_SQUARED_ERROR, False, head=k)

    cdef share_state(self, plan, Engine like):
        """Train the weights of another engine, with its state."""
        if plan.n_params != like.state.n_params or self.format != like.format:
            raise ValueError("the plan's weights differ from those of the other engine")
        self.state = like.state
        self.short.most_kept = SHORT_BYTES

    def replan(self, plan):
        """Replace the plan by one that trains other weights but has the same offsets."""
        self.refuse_if_running()
        if plan.n_params != self.model.n_params:
            raise ValueError("the plan's weights differ from the engine's")
        check_arrays(self.arrays, plan.arrays, self.format)
        self.take_tables(plan)
        self.version += 1   # at once, before another thread may run
        drop_workspace(self.state.workspaces, self.training)
        self.training = self.short.idle = None

    # -- the state

    @property
    def iterations(self):
        return self.state.iterations

    @iterations.setter
    def iterations(self, Py_ssize_t value):
        self.state.iterations = value

    @property
    def epoch(self):
        return self.state.epoch

    @epoch.setter
    def epoch(self, uint64_t value):
        self.state.epoch = value

    @property
    def batch(self):
        return self.state.batch

    @batch.setter
    def batch(self, Py_ssize_t value):
        self.state.batch = value

    @property
    def optimizer_version(self):
        """Version of the optimizer settings that were last applied."""
        return self.state.optimizer_version

    @optimizer_version.setter
    def optimizer_version(self, Py_ssize_t value):
        self.state.optimizer_version = value

    @property
    def n_threads(self):
        """Upper limit for the threads of this model; 0: only the global limit applies."""
        return self.state.n_threads

    @n_threads.setter
    def n_threads(self, int value):
        self.state.n_threads = value

    # -- configuration

    @property
    def weights(self):
        """Buffer of shape (1, n): the arrays that were not given, those with gradients first."""
        return self._weights

    @property
    def grads(self):
        return self.state.grads

    @property
    def slots(self):
        """Buffer of shape (n_slots, slot_stride): optimizer slots of n_params elements plus padding."""
        return self.state.slots

    def set_seed(self, uint64_t seed):
        self.state.seed = seed
        self.state.mid_epoch = False

    def new_loss_parameters(self, parameters, int head=0):
        """Return a Buffer of loss parameters of an output."""
        return loss_parameters_of(parameters, self.model.heads[head].n, self.format)

    def new_heads(self):
        """Return a Buffer for `set_loss`, which then allocates nothing."""
        return bytes_of(self.model.n_heads * sizeof(Head))

    def set_loss(self, int kind, bint fused, parameters=(), double target_scale=1.0,
                 double target_offset=0.0, function=None, *, double value_scale=1.0,
                 double gradient_scale=1.0, double limit=INFINITY, int reduction=REDUCTION_MEAN,
                 bint weighted_mean=False, int head=0, double loss_weight=1.0, Buffer heads=None):
        """Set the loss of an output for training and evaluation.

        kind: a value of LOSSES.
        fused: the loss takes the last op's pre-activations z. The op's activation is not applied before
            the loss, and the gradient is with respect to z. Predictions are still activated.
        parameters: for each loss parameter (such as Huber's delta or quantiles), one value for all outputs
            or one per output; or a Buffer from `new_loss_parameters`.
        target_scale, target_offset: the loss sees target_scale·y + target_offset, for label smoothing;
            class indices become one-hot rows first.
        function: the Python loss, for LOSS_PYTHON only. It is called with (targets, rows, outputs, weights,
            mask, value, gradient) and fills in the last two; `targets` is the one given to Data, and `rows`
            are the indices of the batch's rows. Without sample weights or a mask, these are None.
        value_scale, gradient_scale: factors applied to each row's loss and to its gradient.
        limit: upper limit for the loss of a row of weight 1, after scaling.
        reduction: a value of REDUCTIONS, how the losses of a batch are reduced. Penalties do not change.
        weighted_mean: divide by the sum of the sample weights instead of the number of rows, and divide
            the regularizers' penalties by it as well.
        head: the number of the output.
        loss_weight: factor of the loss in the total loss.
        heads: a Buffer from `new_heads` that no other call has used.
        """
        cdef Head* own
        cdef Buffer values
        self.refuse_if_running()
        if (kind == LOSS_PYTHON) != (function is not None):
            raise ValueError("function: expected a function for LOSS_PYTHON and None for any other loss")
        values = parameters if isinstance(parameters, Buffer) else self.new_loss_parameters(parameters, head)
        if heads is None:
            heads = self.new_heads()
        own = <Head*>heads.data + head
        memcpy(heads.data, self.heads.data, self.model.n_heads * sizeof(Head))
        own.loss.parameters = values.data
        own.loss.parameter_stride = values.shape[1]
        own.loss.kind = kind
        own.loss.fused = fused
        own.loss.target_scale = target_scale
        own.loss.target_offset = target_offset
        own.loss.value_scale = value_scale
        own.loss.gradient_scale = gradient_scale
        own.loss.limit = limit
        own.loss.reduction = reduction
        own.loss.weighted_mean = weighted_mean
        own.loss_weight = loss_weight
        # A run that another thread has begun keeps the heads that it began with. Whatever creates objects
        # may let another thread run, so all is replaced after that.
        functions = [*self.functions[:head], function, *self.functions[head + 1:]]
        loss_parameters = [*self.loss_parameters[:head], values, *self.loss_parameters[head + 1:]]
        self.functions, self.loss_parameters, self.heads = functions, loss_parameters, heads
        self.model.heads = <Head*>heads.data
        self.version += 1

    def set_optimizer(self, int kind, int n_slots, tuple hyper, double weight_decay=0,
                      double clip_value=0, double clip_norm=0, double global_norm=0,
                      double ema_momentum=0, Py_ssize_t ema_period=0, *, bint keep_state=False):
        """Set the optimizer. Its slots and `iterations` are reset to 0, unless keep_state is true.

        kind: a value of OPTIMIZERS.
        n_slots: number of slots per parameter, including one for the moving average if there is one.
        hyper: the rule's settings, in the order of its struct in kernels/optimizers.pxi.
        weight_decay: decoupled from the gradient; each step subtracts lr·weight_decay·w from w.
        clip_value: limit for the absolute value of each gradient element; 0: no clipping.
        clip_norm, global_norm: limits for the norm of each array's gradient, and for the norm of all
            gradients together; 0: no clipping.
        ema_momentum: momentum of the parameters' moving average, which the last slot holds; 0: no average.
        ema_period: number of steps after which the average replaces the parameters; 0: never.
        keep_state: change only the settings; kind and n_slots must match the current optimizer.
        """
        cdef OptimizerSettings settings = optimizer_settings(kind, n_slots, hyper, weight_decay, clip_value,
                                                             ema_momentum)
        cdef Buffer slots
        self.refuse_if_busy()
        settings.clip_norm = clip_norm
        settings.global_norm = global_norm
        settings.ema_period = ema_period
        if keep_state:
            if kind != self.state.optimizer.kind or n_slots != self.state.optimizer.n_slots:
                raise ValueError("keep_state: kind and n_slots must be those of the present optimizer")
            self.state.optimizer = settings
            return
        slots = Buffer(n_slots, self.state.slot_stride, self.format)
        self.state.optimizer = settings
        self.state.slots = slots
        self.state.iterations = 0
        self.state.workspaces = []      # engines that are used again bring theirs back

    @property
    def team(self):
        """Test hook: the number of threads that the last `run` was allowed to use."""
        return 0 if self.training is None else self.training.threads

    @property
    def has_average(self):
        """Whether the last slot is a moving average of the parameters."""
        return self.state.optimizer.ema_momentum > 0

    cdef refuse_if_busy(self):
        """Raise RuntimeError if a thread is training the model with this or another of its engines."""
        if self.state.running is not None:
            raise RuntimeError("this model is in use by another thread: wait for its training, or "
                               "give each thread a model of its own")

    cdef refuse_if_running(self):
        """Raise RuntimeError if a thread is training the model with this engine."""
        if self.state.running is self:
            self.refuse_if_busy()

    cdef refuse_if_changed(self, Py_ssize_t version):
        """Raise RuntimeError if the loss or the plan has changed since `version`; -1: no check."""
        if version != -1 and version != self.version:
            raise RuntimeError("another thread has compiled or frozen this model meanwhile: call again, or "
                               "give each thread a model of its own")

    # -- training

    cdef double step_flops(self, Py_ssize_t rows):
        """Return the floating-point operations of a step; updates count if the arrays may be much larger."""
        return 3 * self.flops * rows + UPDATE_FLOPS * <double>(self.model.n_params - self.model.n_dense)

    cdef Workspace training_workspace(self, Py_ssize_t rows):
        cdef Py_ssize_t microbatches = self.microbatches_of(rows)
        cdef bint whole = wants_whole(&self.model) or self.can_share(microbatches)
        cdef double flops = self.step_flops(rows)
        cdef int threads = threads_for(flops, (rows + 3) // 4 if whole else microbatches,
                                       self.state.n_threads)
        cdef bint apart = not whole or (microbatches > 1 and threads > 1)
        cdef OpList* op_list = &self.model.train
        key = (rows, threads, microbatches, whole)
        if self.training is None or self.training.key != key:
            drop_workspace(self.state.workspaces, self.training)
            self.training = None
            workspace = Workspace()
            workspace.prepare(self, op_list, threads, microbatches, True)
            workspace.take_sparse(self, rows, threads if whole else 1)
            if whole:
                workspace.run.whole = workspace.take_blocks(self, op_list, rows, 1)
            if apart:
                workspace.run.blocks = workspace.take_blocks(self, op_list,
                                                             self.block_rows(op_list, rows, microbatches),
                                                             <int>min(threads, microbatches))
            workspace.key = key
            self.training = workspace
            self.trial.begin(self.k, flops * THREAD_SECONDS / MIN_FLOPS_PER_THREAD)
        keep_workspace(self.state.workspaces, self.training)
        return self.training

    def run(self, Data data not None, Py_ssize_t batch_size, bint shuffle, const double[::1] lr,
            double[::1] losses, outputs=None, double seconds=INFINITY, Py_ssize_t first_row=-1,
            bint supplied=False):
        """Train for up to len(lr) steps from the position (`epoch`, `batch`), and advance the position.

        Return (status, number of steps done). If a step's loss is not finite, training ends with status
        NONFINITE: the step counts as done, but does not change the weights.

        batch_size: rows per step; the last batch of an epoch may be smaller.
        shuffle: draw a permutation of the rows for each epoch, from the seed and the epoch number.
        lr: the learning rate of each step.
        losses: receives the loss of each step and, if there are several outputs, the loss of each output
            after it; at least as long as the steps need.
        outputs: (n, n_out) array that receives the training predictions, in the data's order, or None; a
            list of them if there are several outputs.
        seconds: stop after about this time, with at least one step done.
        first_row: if ≥ 0, data is a single batch that begins at row first_row of its epoch; the position
            does not advance.
        supplied: y holds the gradient of a loss with respect to the outputs instead of targets.
        """
        cdef bint alone = first_row >= 0
        cdef Py_ssize_t n = data.view.n, n_losses = n_losses_of(&self.model)
        cdef TrainingState state = self.state
        cdef Workspace workspace
        cdef Run* run
        data.check(&self.model, self.k.real_bytes, NEEDS_ALL if supplied else NEEDS_TARGETS)
        if n < 1 or n > 2**31 - 1 or batch_size < 1 or losses.shape[0] < lr.shape[0] * n_losses:
            raise ValueError("run: wrong sizes")
        if alone and (lr.shape[0] != 1 or shuffle or batch_size < n):
            raise ValueError("run: with first_row, expected one step, no shuffling, batch_size rows or fewer")
        if not alone:
            batch_size = min(batch_size, n)
        self.check_rows(n if alone or n % batch_size != 0 else batch_size)
        if state.batch < 0 or not alone and state.batch * batch_size >= n:
            raise ValueError(f"run: there is no batch {state.batch} of {batch_size} rows each in {n} rows")
        if lr.shape[0] == 0:
            return STATUS_OK, 0
        self.refuse_if_busy()
        workspace = self.training_workspace(batch_size)
        workspace.take_model(self)
        run = &workspace.run
        if shuffle and (state.order is None or state.order.shape[1] != n):
            state.order = Buffer(1, n, b"i")
            state.mid_epoch = False
        run.data = &data.view
        run.batch = batch_size
        run.row_offset = first_row if alone else 0
        run.order = <int32_t*>state.order.data if shuffle else NULL
        run.order_ready = state.mid_epoch and state.order_epoch == state.epoch
        run.outputs = workspace.addresses(outputs, n, self.n_out, self.format,
                                          len(self.n_out) - self.model.n_heads)
        run.training = True
        run.objective = &self.supplied_gradient if supplied else NULL
        run.call = call_function
        run.context = <void*>self
        run.lr = &lr[0]
        run.losses = &losses[0]
        run.n_steps = lr.shape[0]
        run.epoch = state.epoch
        run.batch_index = 0 if alone else state.batch
        run.iterations = state.iterations
        run.status = STATUS_OK
        hold_arrays(self.changed)
        state.running = self
        self.targets = data.targets
        try:
            self.trial.train(run, self.training.threads, self.k.now() + seconds)
        finally:
            state.running = None
            self.targets = None
            release_arrays(self.changed)
        if not alone:
            state.epoch = run.epoch
            state.batch = run.batch_index
        state.mid_epoch = shuffle and state.batch > 0
        state.order_epoch = state.epoch
        state.iterations = run.iterations - (run.status == STATUS_NONFINITE)
        if self.raised is not None:
            error, self.raised = self.raised, None
            raise error
        return run.status, lr.shape[0] - run.n_steps

    # -- inference mode

    def predict(self, x):
        """Return the predictions for a small array x, or None if x does not qualify.

        x qualifies if it has 1 to BLOCK_ROWS samples (1 to FEW_ROWS images) and can be read in place: a
        C-contiguous ndarray of float32, float64 or uint8. One thread computes the predictions, in memory
        that is reused from call to call. Several inputs are a list of such arrays, and so are several
        outputs.
        """
        return self.short.predict(self, x, empty)

    def call(self, x):
        """Return the predictions as a Tensor, or None, as predict does."""
        return self.short.predict(self, x, Tensor)

    def forward(self, Data data not None, out, Py_ssize_t first_row=0):
        """Write the predictions for all rows to out (n, n_out), or to a list of such arrays.

        data must have no targets.

        first_row: position of the first row among all rows of a prediction, which selects random numbers.
        """
        data.check(&self.model, self.k.real_bytes, NEEDS_NONE)
        if out is None or data.has_targets():
            raise ValueError("forward: expected an array for the predictions, and data without targets")
        self.infer(data, out, False, first_row)

    def evaluate(self, Data data not None, outputs=None, Py_ssize_t version=-1, double[::1] losses=None,
                 Py_ssize_t first_row=0):
        """Return the loss over all rows in inference mode, regularizers included.

        The result is Σ weight·loss / n + penalties. If `set_loss` has set `weighted_mean`, it is
        (Σ weight·loss + penalties) / Σ weight. A Python loss is not computed: without targets, it is 0.

        outputs: as in `forward`, or None.
        version: the engine's `version` when data was prepared. If it has changed since, RuntimeError is
            raised. -1: no check.
        losses: receives the result and, if there are several outputs, the loss of each output after it.
        first_row: as in `forward`.
        """
        cdef Workspace workspace
        cdef double loss
        cdef int k
        self.refuse_if_changed(version)
        data.check(&self.model, self.k.real_bytes, NEEDS_TARGETS)
        workspace = self.infer(data, outputs, True, first_row)
        loss = 0.0 if workspace is None else workspace.mean_loss()
        if losses is not None:
            if losses.shape[0] != n_losses_of(&self.model):
                raise ValueError("evaluate: wrong number of losses")
            losses[:] = loss
            if workspace is not None:
                for k in range(1, workspace.run.n_losses):
                    losses[k] = workspace.sum_of_losses(k) / workspace.run.denominator
        return loss

    cdef Workspace infer(self, Data data, outputs, bint losses, Py_ssize_t first_row):
        cdef Workspace workspace
        cdef Py_ssize_t n = data.view.n
        cdef Run* run
        if n == 0:
            return None
        self.check_rows(n)
        workspace = self.pass_workspace(&self.model.infer, n, self.flops, False)
        run = &workspace.run
        run.data = &data.view
        run.outputs = workspace.addresses(outputs, n, self.n_out, self.format,
                                          len(self.n_out) - self.model.n_heads)
        run.row_offset = first_row
        run.wants_losses = losses
        set_divisors(run)
        self.run_microbatches(run, self.k.infer, self.flops, self.infer_trial)
        return workspace

    def loss_and_grad(self, Data data not None):
        """Return the loss over all rows in inference mode; write its gradient to `grads`.

        Dropout and noise are off, and batch normalizations use their moving averages. For an output with a
        Python loss, y holds its gradient, and the loss is Σ y·a.
        """
        return self.gradient_pass(data, NULL)

    def loss_and_gradient(self, Data data not None, Py_ssize_t version=-1):
        """Return the loss and a copy of its gradient. See `loss_and_grad` and `evaluate`."""
        self.refuse_if_changed(version)
        gradient = empty(self.model.n_params, self.dtype)
        return self.gradient_pass(data, start_of(gradient)), gradient

    cdef double gradient_pass(self, Data data, void* copy) except? -1:
        """Return the loss; write its gradient to `grads`, and copy it to `copy` unless that is NULL."""
        cdef Workspace workspace
        cdef Run* run
        cdef double begin
        cdef int threads
        data.check(&self.model, self.k.real_bytes, NEEDS_ALL)
        if data.view.n < 1:
            raise ValueError("loss_and_grad: no rows")
        self.check_rows(data.view.n)
        workspace = self.pass_workspace(&self.model.train, data.view.n, 3 * self.flops, True)
        run = &workspace.run
        run.data = &data.view
        set_divisors(run)
        self.refuse_if_busy()
        threads = run.n_threads
        run.n_threads = threads_of_team(self.gradient_trial.choose(threads, self.k.now()))
        begin = self.k.now()
        self.state.running = self
        try:
            run.stop = True
            while run.stop:
                run.deadline = self.k.now() + pass_seconds
                with nogil:
                    self.k.gradient(run)
                if run.stop:
                    PyErr_CheckSignals()
            if copy != NULL:
                memcpy(copy, self.state.grads.data, <size_t>(self.model.n_params * self.k.real_bytes))
        finally:
            self.state.running = None
        if threads > 1:
            self.gradient_trial.note(run.n_threads, self.k.now() - begin, 3 * self.flops * data.view.n, begin)
        return workspace.mean_loss()

    def input_gradient(self, Data data not None, out, Py_ssize_t version=-1):
        """Write the gradient of each row's loss with respect to its input to out (n, n_in), or to a list.

        If data has no targets, each row's largest output is differentiated instead of its loss.
        For a Python loss, see `loss_and_grad`. version: as in `evaluate`.
        """
        cdef Workspace workspace
        cdef Run* run
        self.refuse_if_changed(version)
        data.check(&self.model, self.k.real_bytes, NEEDS_NONE)
        if data.view.n == 0:
            return
        self.check_rows(data.view.n)
        workspace = self.pass_workspace(&self.model.input_gradient, data.view.n, 2 * self.flops, False)
        run = &workspace.run
        run.data = &data.view
        if not data.has_targets():
            run.objective = &self.maximum_output
        run.input_gradients = workspace.addresses(out, data.view.n, self.n_in, self.format)
        self.run_microbatches(run, self.k.input_gradient, 3 * self.flops, self.input_gradient_trial)

    cdef int run_microbatches(self, Run* run, void (*some)(Run*) noexcept nogil, double flops,
                              PassTrial trial) except -1:
        """Process all micro-batches, a few per kernel call; run Python's signal handlers between calls."""
        cdef int most = run.n_threads
        cdef Py_ssize_t threads = threads_of_team(trial.choose(most, self.k.now()))
        cdef double first = self.k.now()
        cdef double begin, seconds, microbatch_flops = flops * run.data.n / run.n_microbatches
        cdef Py_ssize_t together = 1 + <Py_ssize_t>min(PASS_FLOPS / microbatch_flops, 1e9)
        run.n_threads = <int>threads
        while run.first_microbatch < run.n_microbatches:
            run.end_microbatch = min(run.n_microbatches, run.first_microbatch + together * threads)
            begin = self.k.now()
            with nogil:
                some(run)
            run.first_microbatch = run.end_microbatch
            if run.end_microbatch < run.n_microbatches:
                PyErr_CheckSignals()
                seconds = max(self.k.now() - begin, 1e-6)
                together = 1 + <Py_ssize_t>min(together * pass_seconds / seconds, 1e9)
        if most > 1:
            trial.note(<int>threads, self.k.now() - first, flops * run.data.n, first)
        return 0

    cdef Workspace pass_workspace(self, OpList* op_list, Py_ssize_t n, double flops, bint gradient):
        """Return a workspace for a pass over n rows. `gradient`: allocate partial gradients, too."""
        cdef Py_ssize_t most = MAX_MICROBATCHES if gradient else n
        cdef Py_ssize_t microbatch = (MIN_MICROBATCH_ROWS if gradient else
                                      PASS_ROWS if self.flops * PASS_ROWS < PASS_FLOPS else BLOCK_ROWS)
        cdef Py_ssize_t microbatches
        cdef int threads
        if self.images:
            microbatch = self.image_microbatch_rows() if gradient else IMAGE_PASS_ROWS
        microbatches = max(<Py_ssize_t>1, min(most, (n + microbatch - 1) // microbatch))
        threads = threads_for(flops * n, microbatches, self.state.n_threads)
        workspace = Workspace()
        workspace.prepare(self, op_list, threads, microbatches, gradient)
        if gradient:
            workspace.take_sparse(self, n, 1)
        workspace.replace_functions()
        workspace.run.blocks = workspace.take_blocks(self, op_list, self.block_rows(op_list, n, microbatches),
                                                     threads)
        return workspace


cdef call_loss(Engine engine, int head, Py_ssize_t first, Py_ssize_t rows, const char* a,
               const char* mask, char* da, double* value):
    """Call the Python loss of an output with copies of one batch's rows."""
    cdef const Head* own = &engine.model.heads[head]
    cdef Py_ssize_t size = engine.k.real_bytes
    cdef tuple arguments = loss_arguments(&engine.training.run, head, engine.format, first, rows, a, mask)
    cdef Buffer values = arguments[4], gradient = arguments[5]
    engine.functions[head](engine.targets, *arguments)
    copy_strided(gradient.data, own.n * size, da, own.ld * size, rows * own.steps, own.n * size)
    memcpy(value, values.data, rows * sizeof(double))


cdef void call_function(void* engine, int head, Py_ssize_t first, Py_ssize_t rows, const void* a,
                        const void* mask, void* da, double* value) noexcept with gil:
    """Call the Python loss; used as Run.call. If the loss raises, it becomes NaN, which ends training."""
    cdef Py_ssize_t r
    try:
        call_loss(<Engine>engine, head, first, rows, <const char*>a, <const char*>mask, <char*>da, value)
    except BaseException as error:
        (<Engine>engine).raised = error
        for r in range(rows):
            value[r] = NAN
