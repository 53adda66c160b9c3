"""What a model is compiled with, and data checked against it: the base of `Sequential`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast import _engine, losses, optimizers
from nnfast import metrics as _metrics
from nnfast._data import arrays
from nnfast._data.samples import Samples
from nnfast._plan.plan import Plan
from nnfast._runtime.divergence import BEFORE, warn_diverged
from nnfast._runtime.trainer import Program
from nnfast.layers.layer import Layer
from nnfast.models.chain import Chain

Array = NDArray[Any]


class Settings(NamedTuple):
    """What a model is compiled with."""

    optimizer: optimizers.Optimizer
    loss: losses.Loss | None
    metrics: list[str | _metrics.Metric]
    weighted_metrics: list[str | _metrics.Metric]


class Compiled(Chain):
    """A chain with an optimizer, a loss and metrics."""

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self._settings: Settings | None = None
        self._program: Program | None = None
        self._step_lr = np.empty(1)
        self._step_loss = np.empty(1)
        super().__init__(layers, name=name, dtype=dtype)

    @property
    def optimizer(self) -> optimizers.Optimizer | None:
        return None if self._settings is None else self._settings.optimizer

    @optimizer.setter
    def optimizer(self, value: object) -> None:
        self._refuse_setting("optimizer")

    @property
    def loss(self) -> losses.Loss | None:
        return None if self._settings is None else self._settings.loss

    @loss.setter
    def loss(self, value: object) -> None:
        self._refuse_setting("loss")

    def _refuse_setting(self, name: str) -> None:
        raise AttributeError(
            f"{name} of model {self.name!r} cannot be set, because what trains it is compiled: "
            f"call compile({name}=…)"
        )

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: str | losses.Loss | Callable[..., Any] | None = None,
        metrics: Sequence[_metrics.Identifier] | None = None,
        weighted_metrics: Sequence[_metrics.Identifier] | None = None,
        *,
        loss_weights: None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose how the model is trained. The weights stay; the optimizer starts anew.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str, Loss or callable
            A callable is called as ``f(y_true, y_pred)`` and returns (value, gradient): see
            `nnfast.losses.FunctionLoss`. Without a loss only `train_on_gradient` trains.
        metrics : list of str, Metric or callable, optional
            Names as in Keras; "accuracy" is binary, categorical or sparse by the output's
            shape and the loss. A callable is called as ``f(y_true, y_pred)``: see
            `nnfast.metrics.FunctionMetric`.
        weighted_metrics : list of str, Metric or callable, optional
            Metrics that `sample_weight` and `class_weight` weigh; one that is in `metrics`
            too is called ``"weighted_…"`` in History.
        loss_weights : None
            A model has one output, and so one loss: anything else is refused.
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted for Keras' sake, without effect: the whole loop is compiled ahead of
            time in any case, and callbacks of batches see every batch.

        Raises
        ------
        TypeError, ValueError
            If a name is unknown, or a loss or metric does not fit the model's output.
            What was compiled before stays then.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> model = Sequential()
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> model.optimizer
        SGD(learning_rate=0.01, momentum=0.0, nesterov=False)
        """
        if loss_weights is not None:
            raise ValueError(
                f"loss_weights are for models of several outputs; received {loss_weights!r}"
            )
        new = Settings(
            optimizers.resolve(optimizer),
            None if loss is None else losses.resolve(loss),
            _metrics.check_names(metrics),
            _metrics.check_names(weighted_metrics, "weighted_metrics"),
        )
        self._compile(new)

    def _compile(self, new: Settings) -> None:
        with self._guard, self._build_lock:
            before, self._settings = self._settings, new
            try:
                if self._plan is None or self._engine is None:
                    pass
                elif self._trainable_set or self._plan.has_untrained_slots:
                    self._build()
                else:
                    self._configure(self._plan, self._engine)
            except BaseException:
                self._settings = before
                raise

    def _configure(self, plan: Plan, engine: _engine.Engine) -> None:
        if self._settings is not None:
            self._program = Program.make(plan, engine, *self._settings)

    def _take_plan(self, plan: Plan) -> None:
        super()._take_plan(plan)
        if self._program is not None:
            self._program.plan, self._program.version = plan, self._program.engine.version

    def _unbuild(self) -> None:
        super()._unbuild()
        self._program = None

    def _prepare(
        self,
        method: str,
        x: object,
        y: object,
        sample_weight: object = None,
        names: tuple[str, str, str] = ("x", "y", "sample_weight"),
    ) -> tuple[Program, Samples]:
        """Check data against the built and compiled model."""
        program = self._compiled(method, x)
        loss, plan = program.loss, program.plan
        if loss is None:
            raise ValueError(f"Call compile(optimizer, loss) before {method}()")
        rows = arrays.features(names[0], x, plan.input_shape, self._np_dtype)
        n = len(rows)
        if n == 0:
            raise ValueError(f"{names[0]} must have at least one row in {method}(); received none")
        if method in ("fit", "train_on_batch"):
            arrays.check_order(names[0], n)
        targets = arrays.targets(names[1], y, n, plan.output_shape, loss, self._np_dtype)
        weights = arrays.sample_weights(names[2], sample_weight, n)
        if loss.is_function:
            for metric in program.metrics.values():
                metric.fitted(targets, plan.n_out)
        self._pull()
        return program, Samples(rows, targets, weights, loss.is_function)

    def _compiled(self, method: str, x: object) -> Program:
        """Return the program of the compiled model, built for `x` if need be."""
        if self._settings is None:
            raise ValueError(f"Call compile(optimizer, loss) before {method}()")
        if self._program is None:
            self._built_for(x)
        if self._trainable_set:
            self._follow_trainable()
        program = self._program
        assert program is not None
        return program

    def _step(
        self,
        program: Program,
        data: _engine.Data,
        rows: int,
        outputs: Array | None,
        given: bool = False,
    ) -> None:
        """Take one optimizer step; the loss goes to `_step_loss`. given: as in the engine."""
        engine = program.engine
        with self._guard:
            if program is not self._program:
                raise RuntimeError(f"Another thread has compiled model {self.name!r} meanwhile")
            self._claim()
            self._step_lr[:] = program.optimizer.next_rates(engine, 1)
            status, _ = engine.run(
                *(data, rows, False, self._step_lr, self._step_loss, outputs),
                first_row=0,
                given=given,
            )
            engine.epoch += 1
        if status == _engine.NONFINITE:
            method = "train_on_gradient" if given else "train_on_batch"
            warn_diverged(method, BEFORE, stacklevel=4)

    def metric_direction(self, key: str) -> str | None:
        """Return whether more ("up") or less ("down") of a metric of History is better."""
        if key == "loss":
            return "down"
        metric = None if self._program is None else self._program.metrics.get(key)
        return None if metric is None else metric.direction
