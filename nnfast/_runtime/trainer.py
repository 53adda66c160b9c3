"""What a built and compiled model runs: a plan, an engine, an optimizer, a loss and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import _engine
from nnfast._data.samples import Samples
from nnfast._engine import ACTIVATIONS
from nnfast._plan.plan import Plan
from nnfast._utils.checks import warn
from nnfast.callbacks.callback import Logs
from nnfast.losses import FunctionLoss, Loss
from nnfast.metrics.metric import Metric
from nnfast.metrics.registry import BUILT_IN, resolve_all
from nnfast.optimizers.optimizer import Optimizer

# A metric's key in History and its sums over rows.
Totals = tuple[str, NDArray[np.float64]]


@dataclass
class Program:
    """What a built and compiled model runs.

    Attributes
    ----------
    plan : Plan
    engine : nnfast._engine.Engine
    optimizer : Optimizer
        Its learning rate is read before every chunk.
    loss : Loss or None
    metrics : dict of str to Metric
        By their keys in History.
    weighted : frozenset of str
        The keys of metrics that sample weights enter.
    dtype : numpy.dtype
    version : int
        Of the engine. Another thread may compile while data are prepared: then it is another.
    """

    plan: Plan
    engine: _engine.Engine
    optimizer: Optimizer
    loss: Loss | None
    metrics: Mapping[str, Metric]
    weighted: frozenset[str]
    dtype: np.dtype[Any]
    version: int

    @classmethod
    def make(
        cls,
        plan: Plan,
        engine: _engine.Engine,
        optimizer: Optimizer,
        loss: Loss | None,
        entries: Sequence[str | Metric],
        weighted_entries: Sequence[str | Metric] = (),
    ) -> Program:
        """Configure the engine, with the optimizer in its initial state.

        Raises
        ------
        ValueError
            If the loss or a metric does not fit the plan's output; the engine is as before.
        MemoryError
            The engine is as before, too.
        """
        known = loss or Loss()
        if known.rowwise and len(plan.output_shape) != 1:
            raise ValueError(
                f"{type(loss).__name__} needs outputs of shape (n, classes); the model gives "
                f"samples of shape {plan.output_shape}"
            )
        metrics, weighted = resolve_all(entries, weighted_entries, known, plan.output_shape)
        if len(known.levels) not in (1, plan.n_out):
            raise ValueError(
                f"{loss!r} has {len(known.levels)} levels, so the model must have as many outputs; "
                f"it has {plan.n_out}"
            )
        _warn_of_one_class(plan, known)
        # What may fail comes first: the loss is set when nothing can go wrong any more.
        function = loss.for_engine(plan.output_shape) if isinstance(loss, FunctionLoss) else None
        levels, smoothing = engine.new_levels(known.levels), known.smoothing(plan.n_out)
        optimizer.configure(engine)
        if loss is not None:
            engine.set_loss(*loss.engine_loss(plan.final_activation), levels, *smoothing, function)
        dtype = engine.params.dtype
        return cls(plan, engine, optimizer, loss, metrics, weighted, dtype, engine.version)

    def finish(self) -> None:
        """End training: a moving average replaces the weights."""
        engine, plan = self.engine, self.plan
        if engine.has_average and engine.iterations:
            averages = plan.trained_views(engine.slots[-1])
            for view, average in zip(plan.trained_views(engine.params), averages, strict=True):
                view[...] = average

    def outputs(self, samples: Samples) -> NDArray[Any] | None:
        """Return a buffer for the predictions of every row, if a metric needs them."""
        if not self.metrics:
            return None
        return np.empty((len(samples), self.plan.n_out), self.dtype)

    def measure(self, samples: Samples, outputs: NDArray[Any] | None) -> Logs:
        """Return every metric."""
        return {name: self.metrics[name].value(t) for name, t in self.totals(samples, outputs)}

    def totals(self, samples: Samples, outputs: NDArray[Any] | None) -> Iterator[Totals]:
        """Yield the key of every metric and its sums over rows."""
        if outputs is not None:
            for name, metric in self.metrics.items():
                weight = samples.weight if name in self.weighted else None
                y = samples.y
                if samples.for_function:
                    y = metric.fitted(y, self.plan.n_out)
                if type(metric) in BUILT_IN:
                    yield name, metric.totals(y, outputs, weight)
                else:  # a user-defined class may modify its arguments in place
                    own = None if weight is None else weight.copy()
                    yield name, metric.totals(y.copy(), outputs.copy(), own)

    def evaluate(self, samples: Samples) -> Logs:
        """Return ``loss`` and every metric on `samples`, in inference mode."""
        outputs = self.outputs(samples)
        return {"loss": self.mean_loss(samples, outputs)} | self.measure(samples, outputs)

    def mean_loss(self, samples: Samples, outputs: NDArray[Any] | None) -> float:
        """Return the loss in inference mode; the predictions go to `outputs`."""
        if isinstance(self.loss, FunctionLoss):
            return self.function_loss(samples, outputs)[0]
        return self.engine.evaluate(samples.data(), outputs, version=self.version)

    def function_loss(
        self, samples: Samples, outputs: NDArray[Any] | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Return a loss that is a function, and its gradient with respect to the outputs, flat.

        The function is given copies, as in training: it may work in place.
        """
        assert isinstance(self.loss, FunctionLoss)
        n = len(samples)
        y_pred = np.empty((n, self.plan.n_out), self.dtype)
        data = samples.data()
        penalties = self.engine.evaluate(data, y_pred, penalties=True, version=self.version)
        if outputs is not None:
            outputs[:] = y_pred
        y_pred = y_pred.reshape(n, *self.plan.output_shape)
        values, gradient = self.loss.rows(samples.y.copy(), y_pred, samples.weight)
        gradient = np.ascontiguousarray(gradient.reshape(n, -1), self.dtype)
        return float(values.mean()) + penalties, gradient


def _warn_of_one_class(plan: Plan, loss: Loss) -> None:
    """Warn of what is the same whatever the weights are: nothing is learned then."""
    if any(op["activation"] == ACTIVATIONS["softmax"] and op["n_out"] == 1 for op in plan.ops):
        warn(
            "softmax over one output is always 1, so nothing before it is learned; did you mean "
            "sigmoid?"
        )
    if loss.rowwise and plan.n_out == 1:
        warn(
            f"{type(loss).__name__} of one output is always 0, so nothing is learned: give the "
            "model an output for each class, or one with sigmoid and binary_crossentropy"
        )
