"""A network together with its optimizer, loss and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast import losses, optimizers
from nnfast._data import arrays, batches, samples
from nnfast._data.samples import NAMES, Samples, SampleSpec
from nnfast._engine import ACTIVATIONS, NONFINITE, Data, Engine
from nnfast._plan.plan import Plan
from nnfast._runtime.network import Network
from nnfast._utils.checks import warn
from nnfast._utils.registry import describe
from nnfast.callbacks import Logs
from nnfast.losses import FunctionLoss, Loss
from nnfast.metrics.metric import Metric
from nnfast.metrics.registry import BUILT_IN, check_names, describe_all, resolve_all
from nnfast.optimizers import Optimizer

Array = NDArray[Any]

# A metric's key in History and its totals over rows.
Totals = tuple[str, NDArray[np.float64]]


class Settings(NamedTuple):
    """The arguments of `compile`."""

    optimizer: Optimizer
    loss: Loss | None
    metrics: list[str | Metric]
    weighted_metrics: list[str | Metric]

    @classmethod
    def checked(
        cls, optimizer: object, loss: object, metrics: object, weighted_metrics: object
    ) -> Settings:
        """Return the arguments of `compile` with names turned into objects.

        A metric remains a name if its class depends on the output shape.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as documented in `compile`.
        """
        return cls(
            optimizers.resolve(optimizer),
            None if loss is None else losses.resolve(loss),
            check_names(metrics),
            check_names(weighted_metrics, "weighted_metrics"),
        )

    def describe(self) -> dict[str, Any]:
        """Return the arguments of `compile` as JSON values, without user-defined functions."""
        return {
            "optimizer": describe(self.optimizer),
            "loss": None if self.loss is None else describe(self.loss),
            "metrics": describe_all(self.metrics),
            "weighted_metrics": describe_all(self.weighted_metrics),
        }


@dataclass
class Trainer:
    """A network, and the optimizer, loss and metrics it was compiled with.

    Attributes
    ----------
    network : Network
    optimizer : Optimizer
        Its learning rate is read before every run of the engine.
    loss : Loss or None
    metrics : dict of str to Metric
        The metrics by their keys in History.
    weighted : frozenset of str
        The keys of the metrics that use sample weights.
    version : int
        The engine's version. It shows whether another thread has compiled the model while data
        were checked.
    """

    network: Network
    optimizer: Optimizer
    loss: Loss | None
    metrics: Mapping[str, Metric]
    weighted: frozenset[str]
    version: int
    spec: SampleSpec = field(init=False)

    def __post_init__(self) -> None:
        plan = self.network.plan
        targets = (self.loss or Loss()).target_spec(plan.output_shape)
        self.spec = SampleSpec(plan.input_shape, targets, self.network.dtype)

    @classmethod
    def make(cls, network: Network, settings: Settings) -> Trainer:
        """Return a trainer and configure the network's engine; the optimizer's state is reset.

        Raises
        ------
        ValueError
            If the loss or a metric does not fit the outputs. The engine is then unchanged.
        MemoryError
            If memory runs out. The engine is then unchanged, too.
        """
        optimizer, loss, entries, weighted_entries = settings
        engine, plan = network.engine, network.plan
        known = loss or Loss()
        _check_loss(known, plan)
        metrics, weighted = resolve_all(entries, weighted_entries, known, plan.output_shape)
        _warn_of_one_class(plan, known)
        # Everything that can fail comes first, so that an error leaves the old loss in place.
        function = loss.for_engine(plan.output_shape) if isinstance(loss, FunctionLoss) else None
        parameters = engine.new_loss_parameters(known.parameters)
        scale, reduction = known.scale(plan.output_shape), known.engine_reduction
        chosen = None if loss is None else loss.engine_loss(plan.final_activation)
        optimizer.configure(engine)
        if chosen is not None:
            engine.set_loss(
                *chosen,
                parameters,
                *known.smoothing(plan.n_out),
                function,
                value_scale=scale,
                gradient_scale=scale,
                reduction=reduction,
            )
        return cls(network, optimizer, loss, metrics, weighted, engine.version)

    @property
    def engine(self) -> Engine:
        return self.network.engine

    @property
    def n_out(self) -> int:
        """The number of outputs per sample."""
        return self.network.plan.n_out

    # ---- data ------------------------------------------------------------------------------------

    def samples(
        self,
        method: str,
        x: object,
        y: object,
        sample_weight: object = None,
        names: tuple[str, str, str] = NAMES,
    ) -> Samples:
        """Return the checked data for a method that needs a loss.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit, or there is no loss.
        """
        if self.loss is None:
            raise ValueError(f"Call compile(optimizer, loss) before {method}()")
        found = samples.checked(self.spec, x, y, sample_weight, method, names)
        if found.for_function:
            for metric in self.metrics.values():
                metric.fitted(found.y, self.n_out)
        return found

    def batch(self, method: str, class_weight: Any, item: object, where: str) -> Samples:
        """Return a checked batch of a stream; `where` names it in messages."""
        x, y, weight = batches.batch_parts(item, where, targets=True)
        samples.check_single_weighting(class_weight, weight)
        names = (f"x of {where}", f"y of {where}", f"sample_weight of {where}")
        found = self.samples(method, x, y, weight, names)
        return found if class_weight is None else found.with_class_weight(class_weight)

    def gradient(self, x: object, dout: object) -> tuple[Data, int]:
        """Return `x` and the output gradient `dout` as checked data, and the number of rows.

        Raises
        ------
        TypeError, ValueError
            If `x` or `dout` does not fit the model.
        """
        spec, output_shape = self.spec, self.network.plan.output_shape
        rows = arrays.features("x", x, spec.input_shape, spec.dtype)
        n = len(rows)
        if n == 0:
            raise ValueError("x must have at least one row in train_on_gradient(); received none")
        arrays.check_order("x", n)
        gradient = arrays.output_gradient("dout", dout, n, output_shape, spec.dtype)
        return Data(rows, gradient), n

    # ---- training --------------------------------------------------------------------------------

    def follow_trainable(self) -> None:
        """Apply the current `trainable` flags before training.

        Raises
        ------
        ValueError
            If the optimizer has no slots for the weights of a trainable layer.
        """
        network = self.network
        if network.trainable_set:
            network.follow_trainable()
            self.version = network.engine.version
            missing = network.missing()
            if missing:
                raise ValueError(
                    f"Layer {missing[0]!r} became trainable after its model was compiled: call "
                    "compile() before training it"
                )

    def step(
        self, data: Data, rows: int, outputs: Array | None, supplied: bool
    ) -> tuple[float, bool]:
        """Take one optimizer step; return the loss, and whether it is finite.

        `supplied` says that `data` holds a supplied gradient with respect to the outputs instead
        of targets.
        """
        self.follow_trainable()
        engine, loss = self.network.engine, np.empty(1)
        rates = self.optimizer.next_rates(engine, 1)
        status, _ = engine.run(
            data, rows, False, rates, loss, outputs, first_row=0, supplied=supplied
        )
        engine.epoch += 1
        return float(loss[0]), status != NONFINITE

    # ---- evaluation ------------------------------------------------------------------------------

    def outputs(self, samples: Samples) -> Array | None:
        """Return a buffer for the predictions of all rows, None if there are no metrics."""
        if not self.metrics:
            return None
        return np.empty((len(samples), self.n_out), self.network.dtype)

    def metric_values(self, samples: Samples, outputs: Array | None) -> Logs:
        """Return the value of every metric by its key."""
        return {name: self.metrics[name].value(t) for name, t in self.totals(samples, outputs)}

    def totals(self, samples: Samples, outputs: Array | None) -> Iterator[Totals]:
        """Yield the key of every metric and its totals over rows."""
        if outputs is not None:
            for name, metric in self.metrics.items():
                weight = samples.weight if name in self.weighted else None
                y = samples.y
                if samples.for_function:
                    y = metric.fitted(y, self.n_out)
                if type(metric) in BUILT_IN:
                    yield name, metric.totals(y, outputs, weight)
                else:  # a user-defined class may modify its arguments in place
                    own = None if weight is None else weight.copy()
                    yield name, metric.totals(y.copy(), outputs.copy(), own)

    def evaluate(self, samples: Samples) -> Logs:
        """Return ``loss`` and every metric on `samples`, in inference mode."""
        outputs = self.outputs(samples)
        return {"loss": self.mean_loss(samples, outputs)} | self.metric_values(samples, outputs)

    def mean_loss(self, samples: Samples, outputs: Array | None) -> float:
        """Return the loss in inference mode; write the predictions to `outputs`."""
        if isinstance(self.loss, FunctionLoss):
            return self.function_loss(self.loss, samples, outputs)[0]
        return self.engine.evaluate(samples.data(), outputs, version=self.version)

    def function_loss(
        self, loss: FunctionLoss, samples: Samples, outputs: Array | None = None
    ) -> tuple[float, Array]:
        """Return a user-defined loss, and its flat gradient with respect to the outputs.

        As in training, the function receives copies, because it may modify its arguments.
        """
        n, plan = len(samples), self.network.plan
        y_pred = np.empty((n, plan.n_out), self.network.dtype)
        data = samples.data()
        penalties = self.engine.evaluate(data, y_pred, penalties=True, version=self.version)
        if outputs is not None:
            outputs[:] = y_pred
        y_pred = y_pred.reshape(n, *plan.output_shape)
        values, gradient = loss.rows(samples.y.copy(), y_pred, samples.weight)
        gradient = np.ascontiguousarray(gradient.reshape(n, -1), self.network.dtype)
        return float(values.mean()) + penalties, gradient

    def metric_direction(self, key: str) -> str | None:
        """Return "up" if higher values of a metric are better, "down" if lower ones, else None."""
        metric = self.metrics.get(key)
        return None if metric is None else metric.direction


def _check_loss(loss: Loss, plan: Plan) -> None:
    """Raise a ValueError if a loss does not fit the output shape."""
    if loss.rowwise and len(plan.output_shape) != 1:
        raise ValueError(
            f"{type(loss).__name__} needs outputs of shape (n, outputs); the model gives "
            f"samples of shape {plan.output_shape}"
        )
    for values in loss.parameters:
        if len(values) not in (1, plan.n_out):
            raise ValueError(
                f"{loss!r} needs a model with one output for each of its {len(values)} levels; "
                f"this model has {plan.n_out}"
            )


def _warn_of_one_class(plan: Plan, loss: Loss) -> None:
    """Warn if a softmax or a loss over one class is constant, so that nothing is learned."""
    if any(
        op["activation"] == ACTIVATIONS["softmax"] and op["n_out"] == 1 for op in plan.training.ops
    ):
        warn(
            "softmax over one output is always 1, so nothing before it is learned; did you mean "
            "sigmoid?"
        )
    if loss.canonical == "softmax" and plan.n_out == 1:
        warn(
            f"{type(loss).__name__} of one output is always 0, so nothing is learned: give the "
            "model one output per class, or a single sigmoid output with binary_crossentropy"
        )
