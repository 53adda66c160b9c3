"""A chain of layers with the names and semantics of Keras."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import _engine
from nnfast._data import arrays, batches, samples
from nnfast._data.batches import Stream
from nnfast._data.samples import Samples
from nnfast._runtime import evaluate, fit
from nnfast._runtime.evaluate import Evaluation
from nnfast._runtime.fit import Fit, Options
from nnfast._runtime.trainer import Program
from nnfast._utils import checks
from nnfast._utils.formatting import line
from nnfast.callbacks.callback import Callback
from nnfast.callbacks.callback_list import CallbackList
from nnfast.callbacks.history import History
from nnfast.layers.layer import Layer
from nnfast.models.files import Files
from nnfast.models.gradients import Gradients

Array = NDArray[Any]

_ANY_ROWS = 2**31
_VALIDATION_NAMES = ("validation_data[0]", "validation_data[1]", "validation_data[2]")


class Sequential(Gradients, Files):
    """A chain of layers.

    It is built (has weights) once the shape of a sample is known: from an `Input` or a first
    layer with ``input_shape=``, or else at `build` or the first `fit`, `predict` or `evaluate`.

    Parameters
    ----------
    layers : iterable of Layer, optional
    name : str, optional
        ``"sequential"``, ``"sequential_1"``, … by default.
    dtype : {"float32", "float64"}, optional
        Of weights and outputs; `nnfast.set_default_dtype`'s by default.
    trainable : bool, default True
        False freezes the model: see `trainable` below.

    Attributes
    ----------
    layers : list of Layer
        Without the `Input`.
    trainable : bool
        Setting it sets that of every layer, too: see `nnfast.layers.Layer`. A frozen model trains
        nothing, whatever its layers say.
    optimizer, loss : Optimizer, Loss or None
        None before `compile`. The optimizer's hyper-parameters may be set at any time.
    history : History or None
        Of the last `fit`, as far as it came.
    n_threads : int or None
        The most threads that the model uses; None for `nnfast.get_num_threads`. May be set at any
        time; results do not depend on it.
    stop_training, stop_evaluating, stop_predicting : bool
        Callbacks set these to end a `fit`, an evaluation or a `predict`.

    Raises
    ------
    TypeError, ValueError
        If an entry of `layers` is not a layer, is in another model, or does not fit the one
        before.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> from nnfast.layers import Dense
    >>> nnfast.set_seed(0)
    >>> model = Sequential([nnfast.Input((2,)), Dense(8, activation="tanh"), Dense(1)])
    >>> model.compile("adam", "mse")
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> history = model.fit(x, x.sum(axis=1), epochs=100, verbose=0)
    >>> history.history["loss"][-1] < history.history["loss"][0]
    True
    >>> model.predict(x).shape
    (4, 1)
    """

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
        trainable: bool = True,
    ) -> None:
        # Held without its model, which would keep itself alive.
        self._history: tuple[weakref.ref[History], dict[str, Any]] | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        super().__init__(layers, name=name, dtype=dtype)
        if not checks.flag("trainable", trainable):
            self.trainable = False

    # Training

    @property
    def history(self) -> History | None:
        if self._history is None:
            return None
        history = self._history[0]()
        if history is None:
            history = History()
            vars(history).update(self._history[1])
            self._keep_history(history)
            history.set_model(self)
        return history

    def _keep_history(self, history: History) -> None:
        """Let `history` give this one while it lives, and then one with the same lists."""
        content = {name: value for name, value in vars(history).items() if name != "model"}
        self._history = weakref.ref(history), content

    def fit(
        self,
        x: Any,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Callback | Iterable[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
    ) -> History:
        """Train.

        A second `fit` goes on from the weights, the optimizer's state and the place in the
        random streams that the first one left.

        Parameters
        ----------
        x : array_like (n, ...), or batches
            An array of any real, integer or boolean dtype: aligned C-contiguous float32,
            float64, uint8 and bool (a memmap, too) are read in place; anything else is
            converted once. Or what gives batches ``(x, y)`` or ``(x, y, sample_weight)``: a
            generator, an iterable, or a dataset with ``__len__`` and ``__getitem__`` like
            ``keras.utils.PyDataset``; their sizes may vary.
        y : array_like
            (n, outputs), (n,) for one output, or class indices (n,) or (n, 1) for
            sparse categorical cross-entropy.
        batch_size : int, optional
            32 by default; not used if `x` gives batches.
        epochs : int, default 1
            The epoch to stop before; `initial_epoch` counts.
        verbose : {"auto", 0, 1, 2}, default "auto"
            1 and "auto" show a bar in a terminal where rich or tqdm is installed; otherwise, as
            2, they print a line per epoch. 0 shows nothing.
        callbacks : Callback or list of Callback, optional
        validation_split : float, default 0.0
            Share of the rows, the last ones, that are kept for validation.
        validation_data : tuple (x, y) or (x, y, sample_weight), or batches, optional
            Takes precedence over `validation_split`.
        shuffle : bool, default True
            Take the rows, or the batches of a dataset, in a new order each epoch. The batches
            of generators and iterables come in their own order.
        class_weight : dict of int to float, optional
            Weight of each class, 1 for a class without; not together with `sample_weight`.
        sample_weight : array_like (n,), optional
            wᵢ >= 0; the loss is Σ wᵢ·lᵢ / rows.
        initial_epoch : int, default 0
        steps_per_epoch : int, optional
            Batches of an epoch; the next epoch goes on where it stopped. By default all there
            are.
        validation_steps : int, optional
            Batches of a validation: the first ones of arrays, the next ones of a generator.
        validation_batch_size : int, optional
            Rows of such a batch of arrays, and of those that callbacks see; `batch_size` by
            default.
        validation_freq : int or collection of int, default 1
            Validate after every so many epochs, or after the epochs given (counted from 1).

        Returns
        -------
        History
            ``history["loss"]`` is Σ batch loss · batch rows / n of each epoch. Also in
            `self.history`, as far as it came, if training is interrupted.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, before training starts.
        RuntimeError
            If the model is in training already: in another thread, or in the `fit` whose callback
            calls this. Predictions and evaluations are allowed at any time.

        Warns
        -----
        RuntimeWarning
            If the loss stops being finite: training ends before that batch changes anything. If the
            weights or the optimizer's state are not finite then, or after an epoch, the last that
            were known to be come back, with their count of steps. At most 1 % of the time goes
            into that, if training takes more than some milliseconds.
        UserWarning
            If the data end before `steps_per_epoch` or `epochs` are through.

        Examples
        --------
        >>> import numpy as np
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
            validation_split = checks.real("validation_split", validation_split, low=0.0, below=1.0)
            shuffle = checks.flag("shuffle", shuffle)
            samples.check_single_weighting(class_weight, sample_weight)
            steps = checks.optional_integer("steps_per_epoch", steps_per_epoch)
            stream = train = validation = None
            if batches.is_stream(x):
                batches.check_alone(
                    "x", y=y, sample_weight=sample_weight, split=validation_split or None
                )
                stream = Stream(x, steps, self._order if shuffle else None)
                prepare = functools.partial(self._batch, "fit", class_weight)
                prepare(stream.begin_first(), "batch 1 of epoch 1")
            else:
                _, train = self._prepare("fit", x, y, sample_weight)
            if validation_data is None and validation_split and train is not None:
                train, validation = samples.split(train, validation_split)
            if class_weight is not None and train is not None:
                train = train.with_class_weight(class_weight)
            size = checks.batch_size(batch_size, len(train) if train else _ANY_ROWS, steps)
            test = self._validation(
                validation if validation_data is None else validation_data,
                checks.optional_integer("validation_steps", validation_steps),
                checks.optional_integer("validation_batch_size", validation_batch_size)
                or batch_size,
                callback_list,
            )
            options = Options(
                epochs=checks.integer("epochs", epochs, minimum=0),
                initial_epoch=checks.integer("initial_epoch", initial_epoch, minimum=0),
                batch_size=size,
                shuffle=shuffle,
                verbose=checks.verbosity(verbose),
                steps_per_epoch=steps,
                validation_freq=checks.frequency("validation_freq", validation_freq),
            )
            assert self._program is not None
            self._keep_history(callback_list.history)
            common: dict[str, Any] = {
                "model": self,
                "program": self._program,
                "validation": test,
                "options": options,
                "callbacks": callback_list,
                "history": callback_list.history,
            }
            try:
                if stream is not None:
                    return fit.FitStream(stream, prepare, **common).run()
                return Fit(train=train, **common).run()
            finally:
                self._keep_history(callback_list.history)

    def _validation(
        self, data: Any, steps: int | None, batch_size: int | None, callbacks: CallbackList
    ) -> Evaluation | None:
        """Return what measures the model on the validation data, if there are any."""
        if data is None:
            return None
        if not isinstance(data, Samples) and not batches.is_stream(data):
            parts = batches.validation_parts(data)
            _, data = self._prepare("fit", *parts, names=_VALIDATION_NAMES)
        return self._evaluation("fit", "validation_data", data, steps, batch_size, callbacks)

    def _evaluation(
        self,
        method: str,
        what: str,
        data: Any,
        steps: int | None,
        batch_size: int | None,
        callbacks: CallbackList,
        program: Program | None = None,
    ) -> Evaluation:
        """Return what measures the model on samples or on batches.

        program: what samples were prepared for, if the model may have another one meanwhile.
        """
        if isinstance(data, Samples):
            program = program or self._program
            assert program is not None
            size = checks.batch_size(batch_size, len(data), steps)
            samples = data.first_batches(what, steps, size)
            return Evaluation(self, program, callbacks, samples, size)
        stream = Stream(data, steps, what=what)
        prepare = functools.partial(self._batch, method, None)
        prepare(stream.begin_first(), f"batch 1 of {what}")
        assert self._program is not None
        return evaluate.EvaluationStream(
            stream, prepare, model=self, program=self._program, callbacks=callbacks
        )

    def train_on_batch(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Take one optimizer step on one batch.

        Parameters
        ----------
        x, y, sample_weight, class_weight
            As in `fit`.
        return_dict : bool, default False

        Returns
        -------
        float, list or dict
            This batch's loss before the step; ``[loss, *metrics]`` with metrics; a dict if
            `return_dict`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """
        return_dict = checks.flag("return_dict", return_dict)
        samples.check_single_weighting(class_weight, sample_weight)
        program, batch = self._prepare("train_on_batch", x, y, sample_weight)
        if class_weight is not None:
            batch = batch.with_class_weight(class_weight)
        outputs = program.outputs(batch)
        self._step(program, batch.data(), len(batch), outputs)
        values = {"loss": float(self._step_loss[0])} | program.measure(batch, outputs)
        return _result(values, return_dict)

    def _batch(
        self, method: str, class_weight: Mapping[int, float] | None, item: object, where: str
    ) -> Samples:
        """Check a batch of a stream."""
        x, y, weight = batches.batch_parts(item, where, targets=True)
        samples.check_single_weighting(class_weight, weight)
        names = (f"x of {where}", f"y of {where}", f"sample_weight of {where}")
        _, batch = self._prepare(method, x, y, weight, names)
        return batch if class_weight is None else batch.with_class_weight(class_weight)

    def _order(self, batches: int) -> NDArray[np.int64]:
        """Return the order of a dataset's batches in the epoch that begins."""
        # Two bits above the model's 64: apart from the engine's streams and the initial weights.
        key: Any = (2 << 64) | self._seed
        epoch = 0 if self._engine is None else self._engine.epoch
        return np.random.Generator(np.random.Philox(key=key, counter=[epoch, 0, 0, 0])).permutation(
            batches
        )

    # Measuring and predicting

    def evaluate(
        self,
        x: Any,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: ArrayLike | None = None,
        steps: int | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Measure the model, in inference mode.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.
        batch_size : int, optional
            Rows of a step; without `steps` the result does not depend on it.
        verbose : {"auto", 0, 1, 2}, default "auto"
            Anything but 0 prints the result.
        steps : int, optional
            Use this many batches, not all.
        callbacks : Callback or list of Callback, optional
            Their ``on_test_…`` methods are called; one of batches makes this run batch by batch.
        return_dict : bool, default False

        Returns
        -------
        float, list or dict
            The loss Σ wᵢ·lᵢ / n; ``[loss, *metrics]`` with metrics; a dict if `return_dict`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """
        loud = checks.verbosity(verbose)
        return_dict = checks.flag("return_dict", return_dict)
        steps = checks.optional_integer("steps", steps)
        callback_list = CallbackList(callbacks)
        program = None
        if batches.is_stream(x):
            batches.check_alone("x", y=y, sample_weight=sample_weight)
        else:
            program, x = self._prepare("evaluate", x, y, sample_weight)
        test = self._evaluation("evaluate", "x", x, steps, batch_size, callback_list, program)
        params = {"verbose": loud, "epochs": 1, "steps": steps or test.steps}
        callback_list.attach(self, params)
        values = test.run()
        if loud:
            print(line(values), flush=True)
        return _result(values, return_dict)

    def test_on_batch(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Measure the model on one batch: `evaluate`, without printing."""
        return_dict = checks.flag("return_dict", return_dict)
        program, samples = self._prepare("test_on_batch", x, y, sample_weight)
        return _result(program.evaluate(samples), return_dict)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle holds what `save` writes, and user-defined functions by reference.
        return _unpickled, (self._state(),)

    def __call__(self, x: ArrayLike, training: bool | None = None) -> Array:
        """Return the model's outputs for `x`, as `predict` does.

        Parameters
        ----------
        x : array_like (n, ...)
        training : bool, optional
            True is refused if the model has a Dropout.

        Returns
        -------
        ndarray (n, outputs) of the model's dtype
        """
        if training and any(layer.training_differs for layer in self._layers):
            raise ValueError(
                "A model with layers that do something else in training can only be called with "
                "training=False"
            )
        return self.predict_on_batch(x)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
    ) -> Array:
        """Return the model's outputs.

        Parameters
        ----------
        x : array_like (n, ...), or batches
            As in `fit`; a batch may be x alone or a tuple that starts with it.
        batch_size : int, optional
            Rows of a step; without `steps` the result does not depend on it.
        verbose : {"auto", 0, 1, 2}, default "auto"
            Accepted for Keras' sake; nothing is printed.
        steps : int, optional
            Use this many batches, not all.
        callbacks : Callback or list of Callback, optional
            Their ``on_predict_…`` methods are called; one of batches makes this run batch by
            batch.

        Returns
        -------
        ndarray (n, outputs) of the model's dtype

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Examples
        --------
        >>> from nnfast.layers import Dense
        >>> Sequential([Dense(2, kernel_initializer="zeros")]).predict([[1, 2, 3]])
        array([[0., 0.]], dtype=float32)
        """
        loud = checks.verbosity(verbose)
        if steps is not None:
            steps = checks.integer("steps", steps, minimum=1)
        if type(x) is not np.ndarray and batches.is_stream(x):
            stream = Stream(x, steps)
            stream.begin_first()
            parts = (batches.batch_parts(item, "a batch", targets=False) for item in stream)
            params = {"verbose": loud, "epochs": 1, "steps": stream.length}
            return self._predict((part for part, _, _ in parts), CallbackList(callbacks), params)
        if steps is not None:
            x = checks.real_array("x", x)
            x = x[: steps * checks.batch_size(batch_size, len(x), steps)]
        elif batch_size is not None:
            checks.batch_size(batch_size, 1)
        if callbacks is None:
            return self.predict_on_batch(x)
        callback_list = CallbackList(callbacks)
        x = self._built_for(x)
        assert self._plan is not None
        rows = arrays.features("x", x, self._plan.input_shape, self._np_dtype)
        size = checks.batch_size(batch_size, len(rows), steps)
        params = {"verbose": loud, "epochs": 1, "steps": steps or -(-len(rows) // size)}
        if not callback_list.per_predict_batch:
            size = len(rows)
        rows = rows.reshape(len(rows), *self._plan.input_shape)
        # An array without rows is one batch without rows.
        starts = range(0, max(1, len(rows)), max(1, size))
        return self._predict((rows[i : i + size] for i in starts), callback_list, params)

    def _predict(
        self, batches: Iterable[Any], callbacks: CallbackList, params: dict[str, Any]
    ) -> Array:
        """Return the model's outputs for batches, with the callbacks of a prediction."""
        callbacks.attach(self, params)
        self.stop_predicting = False
        callbacks.call("on_predict_begin")
        outputs = []
        for step, batch in enumerate(batches):
            callbacks.call("on_predict_batch_begin", step)
            outputs.append(self.predict_on_batch(batch))
            callbacks.call("on_predict_batch_end", step, logs={"outputs": outputs[-1]})
            if self.stop_predicting:
                break
        callbacks.call("on_predict_end")
        return np.concatenate(outputs)

    def predict_on_batch(self, x: ArrayLike) -> Array:
        """Return the model's outputs, as `predict` does."""
        engine = self._engine
        if engine is None:
            return self.predict_on_batch(self._built_for(x))
        if engine.plain_rows and not self._shares:
            out = engine.predict(x)  # None: not what it reads in place
            if out is not None:
                return out
        rows = arrays.features("x", x, engine.input_shape, self._np_dtype)
        out = np.empty((len(rows), math.prod(engine.output_shape)), self._np_dtype)
        self._pull()
        engine.forward(_engine.Data(rows), out)
        if engine.plain_rows:
            return out
        return out.reshape(len(rows), *engine.output_shape)


def _unpickled(state: dict[str, Any]) -> Sequential:
    """Return the model of which `Sequential.__reduce__` gave the state."""
    model = Sequential.from_config(state["model"])
    model._take_state(state)
    return model


def _result(values: dict[str, Any], return_dict: bool) -> Any:
    if return_dict:
        return values
    return values["loss"] if len(values) == 1 else list(values.values())
