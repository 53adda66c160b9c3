"""The base class of models: compile, fit, evaluate, predict, gradients, weights and files."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import losses, metrics as _metrics, optimizers
from nnfast._data import arrays, batches
from nnfast._data.ends import Ends
from nnfast._data.samples import Samples, check_single_weighting, split
from nnfast._engine import Guard
from nnfast._plan.graph import Graph
from nnfast._plan.symbolic import leaves, packed, symbolic
from nnfast._runtime import gradients, state
from nnfast._runtime.divergence import BEFORE, warn_diverged
from nnfast._runtime.evaluate import ArrayEvaluation, Evaluation, StreamEvaluation
from nnfast._runtime.fit import ArrayFit, FitContext, FitLoop, Options, StreamFit
from nnfast._runtime.network import Network
from nnfast._runtime.predict import forward, predict_rows, predict_stream
from nnfast._runtime.settings import Settings
from nnfast._runtime.trainer import Outputs, Trainer
from nnfast._utils import checks, config, names
from nnfast._utils.formatting import line
from nnfast._utils.removed import missing_attribute, refuse_arguments
from nnfast._utils.tensor import Tensor
from nnfast.callbacks import Callback, CallbackList, History
from nnfast.callbacks.history import HistoryKeeper
from nnfast.layers.layer import float_dtype, symbolic_leaves
from nnfast.layers.preprocessing import DataLayer
from nnfast.models.description import Description
from nnfast.models.graphs import cut
from nnfast.models.removed import REMOVED_ARGUMENTS, REMOVED_METHODS
from nnfast.models.serialization import MODELS, describe, unpickled

Array = NDArray[Any]

Loss = str | losses.Loss | Callable[..., Any] | Sequence[Any] | Mapping[str, Any] | None
Metrics = _metrics.Identifier | Sequence[Any] | Mapping[str, Any] | None
LossWeights = float | Sequence[Any] | Mapping[str, Any] | None


class Model(Description):
    """A graph of layers. It has a network once it is built, and a trainer once it is compiled.

    The graph leads from symbolic inputs, which `Input` returns, to outputs, which layers return
    when they are called. A model can be called, too, and is then part of another model, which
    shares its weights.

    Parameters
    ----------
    inputs : KerasTensor, or a list, tuple or dict of them
        Outputs of `Input`, or of layers: the model then begins in the middle of another.
    outputs : KerasTensor, or a list, tuple or dict of them
    name : str, optional
        ``"functional"``, ``"functional_1"``, … by default.
    trainable : bool, default True
        False freezes the model: see `Sequential`.

    Attributes
    ----------
    layers : list
        The layers, with those of the inputs, and the models within the model.
    trainable, optimizer, loss, history, n_threads, stop_training
        As in `Sequential`.

    Raises
    ------
    TypeError, ValueError
        If something else than symbolic tensors is passed, the outputs need another input, no
        output needs an input, or two layers have the same name.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> from nnfast.layers import Dense
    >>> x = nnfast.Input((4,))
    >>> code = Dense(2, activation="tanh")(x)
    >>> autoencoder = Model(x, Dense(4)(code))
    >>> autoencoder.compile("adam", "mse")
    >>> data = np.eye(4)
    >>> history = autoencoder.fit(data, data, epochs=3, verbose=0)
    >>> Model(x, code).predict(data).shape
    (4, 2)

    With several inputs and outputs:

    >>> a, b = nnfast.Input((4,), name="a"), nnfast.Input((1,), name="b")
    >>> both = nnfast.layers.concatenate([a, b])
    >>> model = Model([a, b], [Dense(1, name="sum")(both), Dense(2, name="pair")(both)])
    >>> model.compile("adam", {"sum": "mse", "pair": "mae"}, loss_weights=[1.0, 0.5])
    >>> y = {"sum": data.sum(axis=1), "pair": data[:, :2]}
    >>> history = model.fit({"a": data, "b": np.zeros(4)}, y, epochs=3, verbose=0)
    >>> list(history.history)
    ['loss', 'sum_loss', 'pair_loss']
    >>> [output.shape for output in model.predict([data, np.zeros(4)])]
    [(4, 1), (4, 2)]
    """

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        if inputs is None or outputs is None:
            raise TypeError(
                "Model needs inputs and outputs, which are symbolic tensors: Model(x, layer(x)). "
                "Subclasses with a method `call` are not supported"
            )
        for part in (inputs, outputs):
            symbolic_leaves("Model", part)
        if any(tensor.node.inputs for tensor in leaves(inputs)):
            inputs, outputs = cut(inputs, outputs)
        graph = Graph(leaves(inputs), leaves(outputs))
        self._initialize(name, float_dtype("Model", None, graph.outputs))
        self._ends = inputs, outputs
        self._graph, self._layers = graph, list(graph.calls)
        self._build()
        if not checks.flag("trainable", trainable):
            self.trainable = False

    def _initialize(self, name: str | None, dtype: str | None) -> None:
        """Set the attributes of a model without layers."""
        self.name = names.auto_name(self.class_name) if name is None else names.check_name(name)
        self._dtype = config.model_dtype(dtype)
        self._seed = config.next_seed()
        self._trainable = True
        self._n_threads: int | None = None
        self._layers: list[Any] = []
        self._graph: Graph | None = None
        self._network: Network | None = None
        self._settings: Settings | None = None
        self._trainer: Trainer | None = None
        # Held during training and compiling, so that only one thread at a time can do either.
        self._guard = Guard()
        # Held while the network is built: threads may call `predict` and `compile` simultaneously.
        self._build_lock = threading.Lock()
        self._history = HistoryKeeper()
        self.stop_training = self.stop_evaluating = self.stop_predicting = False

    def _like(self, inputs: Any, outputs: Any) -> Self:
        return type(self)(inputs, outputs, self.name)

    if not TYPE_CHECKING:  # a type checker would take any attribute to exist

        def __getattr__(self, name: str) -> Any:
            return missing_attribute(self, name, REMOVED_METHODS)

    # ---- building --------------------------------------------------------------------------------

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Create the weights, unless they have been created already.

        Parameters
        ----------
        input_shape : tuple of (int or None), optional
            Not needed, because the graph has the shapes.
        """
        self._build_once()

    def _build_once(self) -> None:
        with self._build_lock:
            if self._network is None:
                self._build()

    def _build(self) -> None:
        """Create the network and its trainer if the input shape is known.

        Other threads may call `predict` at the same time. They see the new network only once its
        weights are in place.
        """
        if self._graph is None:
            self._network = self._trainer = None
            return
        before = self._network
        ends = self._input_ends(), self._output_ends()
        flat = self._graph.flat
        network = Network.of_graph(flat, self._dtype, self._seed, self._trainable, ends)
        network.set_n_threads(self._n_threads)
        if before is not None:
            network.follow(before)
        trainer = None if self._settings is None else Trainer.make(network, self._settings)
        network.bind()
        self._trainer = trainer  # set first: a thread that sees the network must find its trainer
        self._network = network

    def _input_ends(self) -> Ends:
        tensors = self.inputs
        return Ends(packed(self.input, range(len(tensors))), self.input_names)

    def _output_ends(self) -> Ends:
        tensors = self.outputs
        return Ends(packed(self.output, range(len(tensors))), self.output_names)

    def _built_for(self, x: object) -> tuple[Network, Any]:
        """Return the network and `x`. If necessary, first build the network for the shape of `x`.

        `x` is converted to an array only if its shape is needed.
        """
        if self._network is None and self._graph is None:
            x = self._raw_array(x)
            self.build((None, *arrays.feature_shape(x)))
        return self._built(), x

    def _raw_array(self, x: object) -> Array:
        """Return data as an array of numbers or, if the first layer takes text, of text."""
        first = self._layers[0] if self._layers else None
        values = first.values if isinstance(first, DataLayer) else checks.real_array
        array: Array = values("x", x)
        return array

    def _follow_trainable(self) -> None:
        """Apply the current `trainable` flags to the network.

        Before the optimizer's first step the network is rebuilt, so that every trainable weight
        has optimizer slots. After the first step it is not rebuilt: weights that were frozen when
        the network was built remain without slots.
        """
        with self._build_lock:
            network = self._network
            if network is None or not network.trainable_set:
                return
            if self._guard.held_elsewhere:  # the thread that is training applies the flags
                return
            if network.engine.iterations == 0 and not self._guard.held:
                with self._guard:
                    self._build()
                return
            network.follow_trainable()
            if self._trainer is not None:
                self._trainer.version = network.engine.version

    # ---- compiling -------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: Loss = None,
        metrics: Metrics = None,
        weighted_metrics: Metrics = None,
        *,
        loss_weights: LossWeights = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Set the optimizer, the loss and the metrics for training.

        The weights are kept; the optimizer's state is reset.

        Parameters
        ----------
        optimizer : str or Optimizer, default "rmsprop"
        loss : str, Loss or callable, optional
            A callable is called as ``f(y_true, y_pred)`` and returns (value, gradient): see
            `nnfast.losses.FunctionLoss`. Without a loss, only `train_on_gradient` can train the
            model. A list or a dict has one loss for each output; the keys are the names of the
            outputs' layers, or the keys of the outputs if these are a dict. A single loss is for
            all outputs. An output whose loss is None does not influence training.
        metrics : list of str, Metric or callable, optional
            Names as in Keras; "accuracy" becomes binary, categorical or sparse accuracy
            according to the output shape and the loss. A callable is called as
            ``f(y_true, y_pred)``: see `nnfast.metrics.FunctionMetric`. One metric needs no list.
            If there are several outputs, a list has one entry for each, and a dict has entries for
            some of them.
        weighted_metrics : list of str, Metric or callable, optional
            Metrics to which `sample_weight` and `class_weight` apply. A metric that is also in
            `metrics` appears as ``"weighted_…"`` in History.
        loss_weights : float, or a list or dict of float, optional
            The factor of each output's loss in the total loss, which is minimized; by default 1.
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted for compatibility with Keras, without effect: the training loop is always
            compiled ahead of time, and batch callbacks see every batch.

        Raises
        ------
        TypeError, ValueError
            If a name is unknown, or a loss or metric does not fit the model's output.
            The previous `compile` then remains in effect.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> model = Sequential()
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> model.optimizer
        SGD(learning_rate=0.01, momentum=0.0, nesterov=False)
        """
        outputs = self._output_ends()
        self._compile(
            Settings.checked(optimizer, loss, metrics, weighted_metrics, loss_weights, outputs)
        )

    def compile_as(self, model: Model) -> None:
        """Compile with copies of another model's optimizer, loss and metrics, if it has any."""
        if model._settings is not None:
            self._compile(copy.deepcopy(model._settings))

    def _compile(self, new: Settings) -> None:
        with self._guard, self._build_lock:
            before, self._settings = self._settings, new
            network = self._network
            try:
                if network is not None and network.has_other_slots():
                    self._build()
                elif network is not None:
                    self._trainer = Trainer.make(network, new)
            except BaseException:
                self._settings = before
                raise

    def _compiled(self, method: str, x: object) -> tuple[Trainer, Any]:
        """Return the trainer and `x`. If necessary, first build the network for `x`."""
        if self._settings is None:
            raise ValueError(f"Call compile(optimizer, loss) before {method}()")
        if self._trainer is None:
            _, x = self._built_for(x)
        if (network := self._network) is not None and network.trainable_set:
            self._follow_trainable()
        trainer = self._trainer
        if trainer is None:
            raise RuntimeError(f"Another thread is changing model {self.name!r}: call again")
        return trainer, x

    def _samples(
        self, method: str, x: object, y: object, sample_weight: object = None
    ) -> tuple[Trainer, Samples]:
        """Return the compiled model's trainer and the checked data."""
        trainer, x = self._compiled(method, x)
        return trainer, trainer.samples(method, x, y, sample_weight)

    # ---- training --------------------------------------------------------------------------------

    @property
    def history(self) -> History | None:
        return self._history.get(self)

    @refuse_arguments(REMOVED_ARGUMENTS)
    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Callback | Iterable[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
    ) -> History:
        """Train the model.

        A second `fit` continues where the first one ended: with its weights, its optimizer state
        and its position in the random streams.

        Parameters
        ----------
        x : array_like (n, ...), or batches
            An array of any real, integer or boolean dtype. Aligned, C-contiguous arrays of
            float32, float64, integers or bool (including memmaps) are read in place; anything else
            is converted once. Alternatively a source of batches ``(x, y)`` or
            ``(x, y, sample_weight)``: a generator, an iterable, or a dataset with ``__len__`` and
            ``__getitem__`` like ``keras.utils.PyDataset``. The batch sizes may vary. If the model
            has several inputs, x is a list or tuple with an array for each, or a dict; its keys are
            the names of the inputs, or the keys of the inputs if these are a dict.
        y : array_like
            Targets of shape (n, outputs), or (n,) for one output. For sparse categorical
            cross-entropy, class indices of shape (n,) or (n, 1). If the model has several outputs,
            a list, tuple or dict with targets for each, None for an output without a loss.
        batch_size : int, optional
            Rows per step, 32 by default; ignored if `x` is a source of batches.
        epochs : int, default 1
            Training stops when this epoch number is reached, that is, after
            ``epochs - initial_epoch`` epochs.
        verbose : {"auto", 0, 1, 2}, default "auto"
            1 and "auto" show a progress bar in a terminal if rich or tqdm is installed; otherwise
            they print one line per epoch, as 2 does. 0 shows nothing.
        callbacks : Callback or list of Callback, optional
        validation_split : float, default 0.0
            Fraction of the rows, taken from the end, that is held out for validation.
        validation_data : tuple (x, y) or (x, y, sample_weight), or batches, optional
            Takes precedence over `validation_split`.
        shuffle : bool, default True
            Shuffle the rows, or the batches of a dataset, in each epoch. Generators and iterables
            keep their own order.
        class_weight : dict of int to float, optional
            Weight of each class; classes that are not listed have weight 1. Cannot be combined
            with `sample_weight`; needs a model with one output, and one target per sample.
        sample_weight : array_like (n,) or (n, steps), optional
            Weights wᵢ >= 0 of the rows; the loss is Σ wᵢ·lᵢ / n. If the samples of an output have
            several axes, each entry along all axes but the last may have a weight, such as steps
            (n, steps) or pixels (n, height, width); n is then the number of all entries, or of the
            real ones if the output has a mask. Axes of size 1 are repeated. If the model has
            several outputs, an array (n,) is for all of them, and a list or dict has weights or
            None for each.
        initial_epoch : int, default 0
            Number of the first epoch, counted from 0.
        steps_per_epoch : int, optional
            Batches per epoch; the next epoch continues where the last one stopped. By default an
            epoch uses all batches.
        validation_steps : int, optional
            Number of batches per validation: the first batches of an array, or the next batches
            of a generator. By default, all batches are used.
        validation_batch_size : int, optional
            Rows per validation batch; `batch_size` by default. Only relevant for arrays with
            `validation_steps` or with callbacks that have batch methods.
        validation_freq : int or collection of int, default 1
            Validate every `validation_freq` epochs, or after the listed epochs (counted from 1).

        Returns
        -------
        History
            ``history["loss"]`` holds, for each epoch, the mean of the batch losses, weighted by
            the number of rows per batch. If several outputs have losses, it is the total, and the
            mean of each is ``history["<output>_loss"]``; keys of metrics begin with
            ``"<output>_"``. After an interrupt, `self.history` holds the completed epochs.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value; raised before training starts.
        RuntimeError
            If the model is already being trained, by another thread or because a callback calls
            its `fit`. Predictions and evaluations are allowed at any time.

        Warns
        -----
        RuntimeWarning
            If the loss becomes NaN or infinite; training then stops before that batch changes the
            weights. If the weights or the optimizer's state are not finite at that point or after
            an epoch, the last state known to be finite is restored, with its step count. These
            checks take at most 1 % of the training time, unless training takes only a few
            milliseconds.
        UserWarning
            If the data run out before `steps_per_epoch` or `epochs` is reached.

        Examples
        --------
        >>> import numpy as np
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(1, input_dim=1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.arange(8.0).reshape(8, 1) / 8
        >>> history = model.fit(x, 3 * x, epochs=2, verbose=0, validation_split=0.25)
        >>> sorted(history.history)
        ['loss', 'val_loss']
        """
        self._follow_trainable()
        with self._guard:
            callback_list = CallbackList(callbacks)
            options = Options.checked(
                epochs, initial_epoch, shuffle, verbose, steps_per_epoch, validation_freq
            )
            steps = options.steps_per_epoch
            share = checks.real("validation_split", validation_split, low=0.0, below=1.0)
            check_single_weighting(class_weight, sample_weight)
            test_options = (
                checks.optional_integer("validation_steps", validation_steps),
                checks.optional_integer("validation_batch_size", validation_batch_size)
                or batch_size,
                callback_list,
            )
            make_loop: Callable[[FitContext], FitLoop]
            if batches.is_stream(x):
                batches.check_alone("x", y=y, sample_weight=sample_weight, split=share or None)
                checks.batch_size(batch_size, 1)
                stream = batches.Stream(x, steps, self._order if options.shuffle else None)
                trainer, check = self._stream("fit", class_weight, stream, "epoch 1")
                make_loop = partial(StreamFit, stream, check)
            else:
                trainer, train = self._samples("fit", x, y, sample_weight)
                if validation_data is None and share:
                    train, validation_data = split(train, share)
                if class_weight is not None:
                    train = train.with_class_weight(class_weight)
                batch_size = trainer.network.batch_size(batch_size, len(train))
                size = checks.batch_size(batch_size, len(train), steps)
                make_loop = partial(ArrayFit, train, size)
            test = self._validation(validation_data, *test_options)
            loop = make_loop(FitContext(self, trainer, options, callback_list, test))
            self._history.keep(callback_list.history)
            try:
                return loop.run()
            finally:
                self._history.keep(callback_list.history)

    def _stream(
        self, method: str, class_weight: Any, stream: batches.Stream, what: str
    ) -> tuple[Trainer, Callable[[object, str], Samples]]:
        """Check a stream's first batch; return the trainer and the function that checks batches."""
        first = stream.begin_first()
        x, _, _ = batches.batch_parts(first, f"batch 1 of {what}", targets=True)
        trainer, _ = self._compiled(method, x)
        check = partial(trainer.batch, method, class_weight)
        check(first, f"batch 1 of {what}")
        return trainer, check

    def _validation(
        self, data: Any, steps: int | None, batch_size: int | None, callbacks: CallbackList
    ) -> Evaluation | None:
        """Return the evaluation on the validation data, or None without validation data."""
        if data is None:
            return None
        if batches.is_stream(data):
            return self._stream_evaluation(
                "fit", batches.Stream(data, steps, what="validation_data"), callbacks
            )
        trainer, _ = self._compiled("fit", None)
        if not isinstance(data, Samples):
            parts = batches.validation_parts(data)
            data = trainer.samples("fit", *parts, names=batches.VALIDATION_NAMES)
        batch_size = trainer.network.batch_size(batch_size, len(data))
        rows, size = data.first_batches("validation_data", steps, batch_size)
        return ArrayEvaluation(rows, size, self, trainer, callbacks)

    def _order(self, n: int) -> NDArray[np.int64]:
        """Return the shuffled order of a dataset's `n` batches in the next epoch."""
        epoch = 0 if self._network is None else self._network.engine.epoch
        return batches.shuffled(n, self._seed, epoch)

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Take one optimizer step on one batch.

        Parameters
        ----------
        x, y, sample_weight, class_weight
            As in `fit`.
        return_dict : bool, default False
            Return a dict instead of a number or a list.

        Returns
        -------
        float, list or dict
            The batch's loss before the step; ``[loss, *metrics]`` if there are metrics; a dict
            if `return_dict`.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        """
        return_dict = checks.flag("return_dict", return_dict)
        check_single_weighting(class_weight, sample_weight)
        trainer, batch = self._samples("train_on_batch", x, y, sample_weight)
        if class_weight is not None:
            batch = batch.with_class_weight(class_weight)
        outputs = trainer.outputs(batch)
        losses = self._step(trainer, batch, outputs)
        if len(losses) == 1 and outputs is None and not return_dict:
            return losses[0]
        logs = trainer.loss_logs(losses) | trainer.metric_values(batch, outputs)
        return _result(logs, return_dict)

    def train_on_gradient(self, x: ArrayLike, dout: ArrayLike) -> None:
        """Take one optimizer step with a supplied gradient, for example in reinforcement learning.

        Parameters
        ----------
        x : array_like (n, ...)
        dout : array_like
            The gradient ∂L/∂outputs of the loss L to be minimized, in the shape of the outputs.
            The gradients of the rows are summed, so `dout` must include the factor 1/n if L is a
            mean over n rows. The gradients of regularizers are added.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value, or the model is not compiled.

        Warns
        -----
        RuntimeWarning
            If the gradient is not finite; the weights are then unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(1, input_dim=1, kernel_initializer="zeros")])
        >>> model.compile("sgd")
        >>> x = np.ones((4, 1))
        >>> for _ in range(500):
        ...     model.train_on_gradient(x, model(x) - 3.0)
        >>> model(x[:1]).round(2)
        array([[3.]], dtype=float32)
        """
        trainer, x = self._compiled("train_on_gradient", x)
        _check_simple("train_on_gradient", trainer.network)
        self._step(trainer, trainer.gradient(x, dout), None, supplied=True)

    def _step(
        self,
        trainer: Trainer,
        batch: Samples,
        outputs: Outputs | None,
        supplied: bool = False,
    ) -> list[float]:
        """Take one optimizer step; return its losses. For `supplied`, see `Trainer.step`."""
        with self._guard:
            if trainer is not self._trainer:
                raise RuntimeError(f"Another thread has compiled model {self.name!r} again")
            losses, finite = trainer.step(batch, outputs, supplied)
        if not finite:
            warn_diverged("train_on_gradient" if supplied else "train_on_batch", BEFORE)
        return losses

    # ---- evaluating and predicting ---------------------------------------------------------------

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and the metrics of the model in inference mode.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.
        batch_size : int, optional
            Rows per batch, 32 by default; it affects the result only in combination with `steps`.
        verbose : {"auto", 0, 1, 2}, default "auto"
            Any value but 0 prints the result.
        steps : int, optional
            Evaluate only the first `steps` batches.
        callbacks : Callback or list of Callback, optional
            Their ``on_test_…`` methods are called. If a callback has batch methods, the rows are
            evaluated batch by batch.
        return_dict : bool, default False
            Return a dict instead of a number or a list.

        Returns
        -------
        float, list or dict
            The loss Σ wᵢ·lᵢ / n; ``[loss, *metrics]`` if there are metrics; a dict if
            `return_dict`. If several outputs have losses, these follow the total.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        """
        loud = checks.verbosity(verbose)
        return_dict = checks.flag("return_dict", return_dict)
        steps = checks.optional_integer("steps", steps)
        callback_list = CallbackList(callbacks)
        test: Evaluation
        if batches.is_stream(x):
            batches.check_alone("x", y=y, sample_weight=sample_weight)
            test = self._stream_evaluation("evaluate", batches.Stream(x, steps), callback_list)
        else:
            trainer, found = self._samples("evaluate", x, y, sample_weight)
            batch_size = trainer.network.batch_size(batch_size, len(found))
            rows, size = found.first_batches("x", steps, batch_size)
            test = ArrayEvaluation(rows, size, self, trainer, callback_list)
        callback_list.attach(self, {"verbose": loud, "epochs": 1, "steps": steps or test.steps})
        values = test.run()
        if loud:
            print(line(values), flush=True)
        return _result(values, return_dict)

    def _stream_evaluation(
        self, method: str, stream: batches.Stream, callbacks: CallbackList
    ) -> Evaluation:
        """Return the evaluation on a stream of batches."""
        trainer, check = self._stream(method, None, stream, stream.what)
        return StreamEvaluation(stream, check, self, trainer, callbacks)

    def test_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and the metrics of one batch, as `evaluate` does, without printing."""
        return_dict = checks.flag("return_dict", return_dict)
        trainer, batch = self._samples("test_on_batch", x, y, sample_weight)
        return _result(trainer.evaluate(batch), return_dict)

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """Return the model's outputs for `x`, as `predict` does.

        Parameters
        ----------
        x : array_like (n, ...) or KerasTensor, or a list or dict of them
            A call with symbolic tensors makes the model part of another one.
        training : bool, optional
            True is an error if any layer, such as Dropout, behaves differently in training. In a
            symbolic call, False means that the layers compute as in inference even while the
            other model is trained.

        Returns
        -------
        Tensor (n, outputs) of the model's dtype
            A NumPy array with the method `numpy`; a list or dict of them if there are several
            outputs. Of symbolic tensors: the symbolic outputs.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        """
        network = self._network
        if network is not None and not training:
            outputs = network.engine.call(x) if network.direct else network.call(x)
            if outputs is not None:  # the engine could read x in place
                return outputs
        if symbolic(x):
            node = self.connect(x, training)
            return packed(self.output, node.outputs)
        graph = self._graph
        called = self.flat_layers() if graph is None else graph.flat.layers
        if training and any(layer.training_differs for layer in called):
            raise ValueError(
                "A model with layers that behave differently in training can only be called with "
                "training=False"
            )
        outputs = self.predict_on_batch(x)
        if isinstance(outputs, np.ndarray):
            return outputs.view(Tensor)
        return packed(outputs, [array.view(Tensor) for array in leaves(outputs)])

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
    ) -> Any:
        """Return the model's outputs.

        Parameters
        ----------
        x : array_like (n, ...), or batches
            As in `fit`; a batch may be x alone or a tuple that starts with x.
        batch_size : int, optional
            Rows per batch, 32 by default; it affects the result only in combination with `steps`.
        verbose : {"auto", 0, 1, 2}, default "auto"
            Accepted for compatibility with Keras; nothing is printed.
        steps : int, optional
            Predict only the first `steps` batches.
        callbacks : Callback or list of Callback, optional
            Their ``on_predict_…`` methods are called. If a callback has batch methods, the rows
            are predicted batch by batch.

        Returns
        -------
        ndarray (n, outputs) of the model's dtype
            A list or a dict of arrays if the model has a list or a dict of several outputs.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value, or the outputs of batches differ in size.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> Sequential([Dense(2, kernel_initializer="zeros")]).predict([[1, 2, 3]])
        array([[0., 0.]], dtype=float32)
        """
        loud = checks.verbosity(verbose)
        if steps is not None:
            steps = checks.integer("steps", steps, minimum=1)
        if type(x) is not np.ndarray and batches.is_stream(x):
            stream = batches.Stream(x, steps)
            first, _, _ = batches.batch_parts(stream.begin_first(), "a batch", targets=False)
            network, _ = self._built_for(first)
            return predict_stream(self, network, stream, loud, CallbackList(callbacks))
        if batch_size is not None:
            checks.batch_size(batch_size, 1)
        network, x = self._built_for(x)
        if callbacks is None and steps is None and not network.plan.fixed_rows:
            return self.predict_on_batch(x)
        network, rows = network.checked("x", x)
        batch_size = network.batch_size(batch_size, len(rows[0]))
        size = checks.batch_size(batch_size, len(rows[0]), steps)
        if steps is not None:
            rows = [part[: steps * size] for part in rows]
        return predict_rows(self, network, rows, size, loud, CallbackList(callbacks))

    def predict_on_batch(self, x: Any) -> Any:
        """Return the model's outputs, as `predict` does."""
        network = self._network
        if network is None:
            network, x = self._built_for(x)
        if network.variants is not None:
            network = network.sized("x", x)
        if network.direct:
            outputs = network.engine.predict(x)  # None if the engine cannot read x in place
            if outputs is not None:
                return outputs
        network, rows = network.checked("x", x)
        return network.outputs.packed(forward(network, rows))

    # ---- gradients -------------------------------------------------------------------------------

    def loss_and_grad(self, x: Any, y: Any, sample_weight: Any = None) -> tuple[float, list[Array]]:
        """Return the loss and its gradient, in inference mode.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.

        Returns
        -------
        loss : float
            Σ wᵢ·lᵢ / n.
        gradients : list of ndarray
            One gradient for each array of `trainable_weights`, in the same order.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(1, input_dim=1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> model.loss_and_grad([[2.0]], [1.0])
        (1.0, [array([[-4.]], dtype=float32), array([-2.], dtype=float32)])
        """
        trainer, found = self._samples("loss_and_grad", x, y, sample_weight)
        return gradients.loss_and_gradients(trainer, found, trainer.version)

    def loss_and_grad_flat(
        self,
        theta: ArrayLike,
        x: Any,
        y: Any,
        sample_weight: Any = None,
    ) -> tuple[float, NDArray[np.float64]]:
        """Set all trainable weights to `theta`; return the loss and its gradient as one vector.

        This is the signature that ``scipy.optimize.minimize(model.loss_and_grad_flat,
        model.get_flat_weights(), args=(x, y), jac=True)`` needs. Pass the ``x`` of its result to
        `set_flat_weights`.

        Parameters
        ----------
        theta : array_like (n_params,)
            Weights in the order of `get_flat_weights`.
        x, y, sample_weight
            As in `fit`.

        Returns
        -------
        loss : float
        gradient : ndarray (n_params,) float64

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        """
        trainer, found = self._samples("loss_and_grad_flat", x, y, sample_weight)
        self.set_flat_weights(theta)
        return gradients.loss_and_flat_gradient(trainer, found, trainer.version)

    def input_gradient(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Return the gradient of each sample's loss or output with respect to its input.

        The model is in inference mode. The absolute values of the gradient form a saliency map
        (Simonyan, Vedaldi and Zisserman, 2013).

        Parameters
        ----------
        x : array_like (n, ...)
        y : array_like, optional
            As in `fit`; row i of the result is then ∂lᵢ/∂xᵢ. Without `y`, row i is the gradient
            of the sample's output. If there are several outputs, it is the gradient of the
            largest one, that is, of the predicted class's score.

        Returns
        -------
        ndarray
            Gradient with the shape of `x` and the model's dtype.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value; with `y`, if the model has no loss.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(1, input_dim=2)])
        >>> model.layers[0].set_weights([[[3.0], [-1.0]], [0.0]])
        >>> model.input_gradient([[0.0, 5.0]])
        array([[ 3., -1.]], dtype=float32)
        """
        network, x = self._built_for(x)
        _check_simple("input_gradient", network)
        if network.preparation is not None:
            raise ValueError(
                "input_gradient needs a model without layers that prepare data, such as "
                f"StringLookup; model {self.name!r} has some"
            )
        if y is not None:
            return gradients.loss_input_gradient(*self._samples("input_gradient", x, y))
        network, rows = network.checked("x", x)
        return gradients.output_input_gradient(network, *rows)

    def get_flat_weights(self) -> NDArray[np.float64]:
        """Return a copy of all trainable weights as one vector: every kernel, then every bias."""
        return self._built().flat_weights()

    def set_flat_weights(self, theta: ArrayLike) -> None:
        """Set all trainable weights from one vector, in the order of `get_flat_weights`."""
        network = self._built()
        if network.trainable_set:
            self._follow_trainable()
            network = self._built()
        if self._trainer is not None:
            self._trainer.follow_trainable()
        network.set_flat(theta)

    # ---- files -----------------------------------------------------------------------------------

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        *,
        include_optimizer: bool = True,
    ) -> None:
        """Write the model to a file from which training resumes with bit-identical results.

        The file holds the architecture, the weights, the arguments of `compile`, the optimizer's
        state and the position in the random streams. An existing file is replaced atomically.
        User-defined metric functions are left out, with a warning.

        Parameters
        ----------
        filepath : str or path-like
            Any file name.
        overwrite : bool, default True
            Whether an existing file is replaced.
        include_optimizer : bool, default True
            False leaves out the arguments of `compile` and the optimizer's state. The loaded
            model can predict, and can be compiled again.

        Raises
        ------
        ValueError
            If the model is not built.
        FileExistsError
            If the file exists and `overwrite` is False.
        OSError
            If the file cannot be written.
        """
        path = checks.new_file("filepath", filepath, overwrite)
        self._built()
        include = checks.flag("include_optimizer", include_optimizer)
        settings = self._settings if include else None
        names = self._built().names
        state.save(path, self._description(names), settings, *self._contents())

    def _description(self, paths: Sequence[str]) -> dict[str, Any]:
        """Return the entries of a file that describe the architecture."""
        return {"model": describe(self), "paths": list(paths)}

    def _contents(self) -> tuple[dict[str, Array], dict[str, int]]:
        """Return views of the weights and optimizer slots by name, and the counters."""
        self._follow_trainable()
        return state.contents(self._built(), self.optimizer)

    def save_state(self, path: str | os.PathLike[str], initial_epoch: int = 0) -> None:
        """Write the state of training to a file, for `load_state`.

        The file holds the weights, the optimizer's state and learning rate, and the position in
        the random streams, but not the architecture or the arguments of `compile`. An existing
        file is replaced atomically.

        Parameters
        ----------
        path : str or path-like
        initial_epoch : int, default 0
            The epoch with which training continues; `load_state` returns it.

        Raises
        ------
        ValueError
            If the model is not built.
        OSError
            If the file cannot be written.
        """
        epoch = checks.integer("initial_epoch", initial_epoch, minimum=0)
        self._follow_trainable()
        state.save_state(checks.file_name("path", path), self._built(), self.optimizer, epoch)

    def load_state(self, path: str | os.PathLike[str]) -> int:
        """Restore the state of training that `save_state` wrote, for a model built the same way.

        Training then gives results that are bit-identical to those without the interruption.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        int
            The number of the epoch that `save_state` received.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file was not written by `save_state`, or does not fit the model and its
            optimizer; then nothing is changed.

        Examples
        --------
        >>> import tempfile, nnfast
        >>> model = nnfast.Sequential([nnfast.layers.Dense(2, input_dim=3)])
        >>> model.compile("adam", "mse")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_state(folder + "/state", initial_epoch=4)
        ...     model.load_state(folder + "/state")
        4
        """
        network = self._built()
        epoch = state.load_state(checks.file_name("path", path), network, self.optimizer)
        self._seed = network.seed
        return epoch

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write only the weights to a file, for `load_weights`.

        Parameters
        ----------
        filepath : str or path-like
        overwrite : bool, default True
            Whether an existing file is replaced.

        Raises
        ------
        ValueError
            If the model is not built.
        FileExistsError
            If the file exists and `overwrite` is False.
        OSError
            If the file cannot be written.
        """
        network = self._built()
        state.save_weights(checks.new_file("filepath", filepath, overwrite), network)

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        skip_mismatch: bool = False,
        by_name: bool = False,
    ) -> None:
        """Set the weights from a file saved by a model with the same architecture.

        Both `save_weights` and `save` write such files. The optimizer's state and the random
        streams do not change.

        Parameters
        ----------
        filepath : str or path-like
        skip_mismatch : bool, default False
            Whether to skip layers whose weights do not fit, with a warning.
        by_name : bool, default False
            Whether to load only the layers that have the same name in the file and in the model,
            such as those of a feature extractor. Names of layers within models are paths:
            ``"encoder/dense"``.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file holds no weights saved by nnfast, or they do not fit the model; then no
            weight is changed.

        Examples
        --------
        >>> import tempfile, nnfast
        >>> a, b = (nnfast.Sequential([nnfast.layers.Dense(2, input_dim=3)]) for _ in range(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     a.save_weights(folder + "/a.weights.safetensors")
        ...     b.load_weights(folder + "/a.weights.safetensors")
        >>> bool((a.get_weights()[0] == b.get_weights()[0]).all())
        True
        """
        network = self._built()
        path, whose = checks.file_name("filepath", filepath), f"model {self.name!r}"
        options = checks.flag("skip_mismatch", skip_mismatch), checks.flag("by_name", by_name)
        state.load_weights(path, network, whose, *options)

    def _take_contents(self, found: Mapping[str, Array], counters: Mapping[str, int]) -> None:
        """Restore what `_contents` returned."""
        state.take_contents(self._built(), self.optimizer, found, counters)
        self._seed = counters["seed"]

    def _state(self) -> dict[str, Any]:
        """Return the state that `_take_state` restores in a new model with this architecture."""
        own, counters = self._contents() if self.built else ({}, {"seed": self._seed})
        return {
            "model": describe(self),
            "settings": self._settings,
            "arrays": {name: array.copy() for name, array in own.items()},
            "counters": counters,
            "n_threads": self.n_threads,
        }

    def _take_state(self, saved: Mapping[str, Any]) -> None:
        """Restore what `_state` returned."""
        if saved["settings"] is not None:
            self._compile(saved["settings"])
        self.n_threads = saved["n_threads"]
        if self.built:
            self._take_contents(saved["arrays"], saved["counters"])
        self._seed = saved["counters"]["seed"]

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle holds the contents of a saved file and references to user-defined functions.
        return unpickled, (self._state(),)


MODELS["Functional"] = Model


def _check_simple(method: str, network: Network) -> None:
    """Raise a ValueError unless a network has one input and one output."""
    counts = len(network.plan.input_shapes), len(network.outputs)
    if counts != (1, 1):
        raise ValueError(
            f"{method} needs a model with one input and one output; this one has {counts[0]} and "
            f"{counts[1]}"
        )


def _result(values: dict[str, Any], return_dict: bool) -> Any:
    if return_dict:
        return values
    return values["loss"] if len(values) == 1 else list(values.values())
