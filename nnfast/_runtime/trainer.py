"""A network together with its optimizer, loss and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._data import arrays, batches, samples
from nnfast._data.samples import NAMES, Samples, SampleSpec
from nnfast._engine import ACTIVATIONS, LOSSES, NONFINITE, Engine
from nnfast._plan.plan import Plan
from nnfast._runtime.network import Network
from nnfast._runtime.settings import Settings
from nnfast._runtime.variants import MOST, Sizes
from nnfast._utils.checks import Shape, warn
from nnfast._utils.recent import Recent
from nnfast.callbacks import Logs
from nnfast.losses import FunctionLoss, Loss, TargetSpec
from nnfast.metrics.metric import Metric, RowMean
from nnfast.metrics.registry import BUILT_IN, Target, Use, free_key, resolve_all
from nnfast.optimizers import Optimizer

Array = NDArray[Any]
Floats = NDArray[np.float64]

# The predictions of all outputs, (n, n_out) each.
Outputs = list[Array]
# A metric's key in History and its totals over rows.
Totals = tuple[str, Floats]


@dataclass
class Trainer:
    """A network, and the optimizer, losses and metrics it was compiled with.

    Attributes
    ----------
    network : Network
    optimizer : Optimizer
        Its learning rate is read before every run of the engine.
    version : int
        The engine's version. It shows whether another thread has compiled the model while data
        were checked.
    losses : tuple of (Loss or None)
        The loss of each output.
    loss_weights : tuple of float
        The factors of these losses in the total loss.
    metrics : dict of str to Metric
        The metrics by their keys in History.
    uses : dict of str to Use
        The outputs that the metrics are for, and whether they use sample weights.
    n_losses : int
        The number of losses of a step: the total and, if there are several outputs, that of each.
    loss_columns : dict of str to int
        The positions of these losses by their keys in History.
    """

    network: Network
    optimizer: Optimizer
    version: int
    losses: tuple[Loss | None, ...] = (None,)
    loss_weights: tuple[float, ...] = (1.0,)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    uses: Mapping[str, Use] = field(default_factory=dict)
    spec: SampleSpec = field(init=False)
    n_losses: int = field(init=False)
    loss_columns: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.spec = self._spec(self.network, None)
        self._variants: Recent[tuple[Network, SampleSpec]] = Recent(MOST)
        self.n_losses = 1 if len(self.losses) == 1 else 1 + len(self.losses)
        self.loss_columns = {"loss": 0}
        trained = [k for k, loss in enumerate(self.losses) if loss is not None]
        if len(trained) > 1:
            for k in trained:
                key = free_key(f"{self.network.outputs.names[k]}_loss", self.loss_columns)
                self.loss_columns[key] = 1 + k

    @classmethod
    def make(cls, network: Network, settings: Settings) -> Trainer:
        """Return a trainer and configure the network's engine; the optimizer's state is reset.

        Raises
        ------
        ValueError
            If a loss or a metric does not fit the outputs. The engine is then unchanged.
        MemoryError
            If memory runs out. The engine is then unchanged, too.
        """
        engine, plan = network.engine, network.plan
        known = [loss or Loss() for loss in settings.losses]
        prefixes = [f"{name}_" for name in network.outputs.names] if len(known) > 1 else [""]
        targets = [Target(*each) for each in zip(prefixes, known, plan.output_shapes, strict=True)]
        for loss, shape, end in zip(known, plan.output_shapes, plan.outputs, strict=True):
            _check_loss(loss, shape, end["steps"])
        metrics, uses = resolve_all(settings.metrics, settings.weighted_metrics, targets)
        _warn_of_one_class(plan, known)
        # Everything that can fail comes first, so that an error leaves the old losses in place.
        chosen = engine_losses(engine, plan, settings.losses, settings.loss_weights)
        settings.optimizer.configure(engine)
        for set_loss in chosen:
            set_loss()
        return cls(
            network,
            settings.optimizer,
            engine.version,
            settings.losses,
            settings.loss_weights,
            metrics,
            uses,
        )

    def _spec(self, network: Network, sizes: Sizes | None) -> SampleSpec:
        """Return what a network requires of its samples, which have these sizes."""
        plan = network.plan
        measured = {use.output for use in self.uses.values()}
        targets = tuple(
            _target_spec(loss, shape, k not in measured)
            for k, (loss, shape) in enumerate(zip(self.losses, plan.output_shapes, strict=True))
        )
        return SampleSpec(
            network.outputs,
            plan.input_shapes,
            targets,
            tuple(k for k, loss in enumerate(self.losses) if isinstance(loss, FunctionLoss)),
            network.dtype,
            plan.ids,
            sizes,
        )

    # ---- sizes -----------------------------------------------------------------------------------

    def network_of(self, sizes: Sizes | None) -> Network:
        """Return the network for samples of these sizes, with the losses set in its engine.

        Variants are replaced and never changed, so their engines have no version to check.
        """
        return self.network if sizes is None else self._variant(sizes)[0]

    def _variant(self, sizes: Sizes) -> tuple[Network, SampleSpec]:
        found = self._variants.get(sizes)
        if found is None or found[0].plan.trainable != self.network.plan.trainable:
            found = self._new_variant(sizes)
            self._variants.put(sizes, found)
        return found

    def _new_variant(self, sizes: Sizes) -> tuple[Network, SampleSpec]:
        # Its engine is not used for predictions, which must not depend on this trainer's losses.
        network = self.network.variant(sizes).again()
        for loss, shape, end in zip(
            self.losses, network.plan.output_shapes, network.plan.outputs, strict=True
        ):
            _check_loss(loss or Loss(), shape, end["steps"])
        for set_loss in engine_losses(network.engine, network.plan, self.losses, self.loss_weights):
            set_loss()
        return network, self._spec(network, sizes)

    @property
    def engine(self) -> Engine:
        return self.network.engine

    @property
    def by_batch(self) -> bool:
        """Whether the loss of several batches depends on how rows are divided into batches."""
        plan = self.network.plan
        if plan.fixed_rows or plan.mask_numbers:
            return True
        return any(loss is not None and loss.by_batch for loss in self.losses)

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
        if not any(self.losses):
            raise ValueError(f"Call compile(optimizer, loss) before {method}()")
        spec, plan = self.spec, self.network.plan
        parts = self.network.parts(names[0], x)
        if self.network.variants is not None:
            network, spec = self._variant(self.network.sizes(parts))
            plan = network.plan
        found = samples.checked(spec, parts, y, sample_weight, method, names)
        for key, metric in self.metrics.items() if found.functions else ():
            output = self.uses[key].output
            if output in found.functions:
                metric.fitted(found.y[output], math.prod(plan.output_shapes[output]))
        return found

    def batch(self, method: str, class_weight: Any, item: object, where: str) -> Samples:
        """Return a checked batch of a stream; `where` names it in messages."""
        x, y, weight = batches.batch_parts(item, where, targets=True)
        samples.check_single_weighting(class_weight, weight)
        names = (f"x of {where}", f"y of {where}", f"sample_weight of {where}")
        found = self.samples(method, x, y, weight, names)
        return found if class_weight is None else found.with_class_weight(class_weight)

    def gradient(self, x: object, dout: object) -> Samples:
        """Return `x` and the output gradient `dout` as checked samples.

        Raises
        ------
        TypeError, ValueError
            If `x` or `dout` does not fit the model.
        """
        parts = self.network.parts("x", x)
        sizes = None if self.network.variants is None else self.network.sizes(parts)
        network = self.network_of(sizes)
        (rows,) = network.rows(parts)
        n = len(rows)
        if n == 0:
            raise ValueError("x must have at least one row in train_on_gradient(); received none")
        arrays.check_order("x", n)
        shape = network.plan.output_shape
        y = arrays.output_gradient("dout", dout, n, shape, network.dtype)
        return Samples([rows], [y], [None], sizes=sizes)

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
        self, batch: Samples, outputs: Outputs | None, supplied: bool
    ) -> tuple[list[float], bool]:
        """Take one optimizer step; return the losses, and whether the total is finite.

        `supplied` says that `batch` holds a supplied gradient with respect to the outputs instead
        of targets.
        """
        self.follow_trainable()
        engine, losses = self.network_of(batch.sizes).engine, np.empty(self.n_losses)
        rates = self.optimizer.next_rates(engine, 1)
        status, _ = engine.run(
            batch.data(), len(batch), False, rates, losses, outputs, first_row=0, supplied=supplied
        )
        engine.epoch += 1
        return losses.tolist(), status != NONFINITE

    # ---- evaluation ------------------------------------------------------------------------------

    def outputs(self, samples: Samples) -> Outputs | None:
        """Return buffers for the predictions of all rows, None if there are no metrics."""
        return self._buffers(samples) if self.metrics else None

    def _buffers(self, samples: Samples) -> Outputs:
        """Return buffers for the predictions and, after them, for the masks that outputs have."""
        n, dtype = len(samples), self.network.dtype
        plan = self.network_of(samples.sizes).plan
        found = []  # filled in a loop, which is faster than a comprehension for one output
        for shape in plan.output_shapes:
            found.append(np.empty((n, math.prod(shape)), dtype))
        if plan.mask_numbers:
            steps = [end["mask_steps"] for end in plan.outputs if end["mask_steps"]]
            found += [np.empty((n, each), dtype) for each in steps]
        return found

    def loss_logs(self, losses: Sequence[float]) -> Logs:
        """Return the loss and, if there are several, that of each output by its key."""
        return {key: losses[column] for key, column in self.loss_columns.items()}

    def metric_values(self, samples: Samples, outputs: Outputs | None) -> Logs:
        """Return the value of every metric by its key."""
        return {name: self.metrics[name].value(t) for name, t in self.totals(samples, outputs)}

    def totals(self, samples: Samples, outputs: Outputs | None) -> Iterator[Totals]:
        """Yield the key of every metric and its totals over rows."""
        if outputs is not None:
            plan = self.network_of(samples.sizes).plan
            for name, metric in self.metrics.items():
                output, weighted = self.uses[name]
                weight = samples.weights[output] if weighted else None
                y, y_pred = samples.y[output], outputs[output]
                if output in samples.functions:
                    y = metric.fitted(y, y_pred.shape[1])
                shape, mask = plan.output_shapes[output], plan.mask_numbers.get(output)
                by_steps = len(shape) > 1 and (metric.rowwise or _of_steps(weight))
                if mask is not None or by_steps:
                    y, y_pred, weight = _rows_of_steps(shape, y, y_pred, weight)
                if mask is not None:
                    real = np.repeat(outputs[mask], len(y_pred) // outputs[mask].size) > 0
                    y, y_pred = y[real], y_pred[real]
                    weight = None if weight is None else weight[real]
                if type(metric) in BUILT_IN:
                    found = metric.totals(y, y_pred, weight)
                else:  # a user-defined class may modify its arguments in place
                    own = None if weight is None else weight.copy()
                    found = metric.totals(y.copy(), y_pred.copy(), own)
                once = samples.sizes is not None and mask is None and isinstance(metric, RowMean)
                if by_steps and once:
                    found = found / math.prod(shape[:-1])  # a sample of any length counts once
                yield name, found

    def evaluate(self, samples: Samples) -> Logs:
        """Return ``loss``, the outputs' losses and every metric, in inference mode."""
        outputs = self.outputs(samples)
        logs = self.loss_logs(self.mean_losses(samples, outputs))
        return logs if outputs is None else logs | self.metric_values(samples, outputs)

    def mean_losses(
        self, samples: Samples, outputs: Outputs | None, first_row: int = 0
    ) -> list[float]:
        """Return the losses in inference mode; write the predictions to `outputs`.

        `first_row` is the position of the first sample among all samples of the evaluation.
        """
        if samples.functions:
            return self.function_losses(samples, outputs, first_row)[0]
        losses: list[float] = self._engine_losses(samples, outputs, first_row).tolist()
        return losses

    def _engine_losses(self, samples: Samples, outputs: Outputs | None, first_row: int) -> Floats:
        """Return the losses that the engine computes; write the predictions to `outputs`."""
        engine, version = self.engine, self.version
        if samples.sizes is not None:
            engine, version = self.network_of(samples.sizes).engine, -1
        losses = np.empty(self.n_losses)
        engine.evaluate(samples.data(), outputs, version, losses, first_row)
        return losses

    def function_losses(
        self, samples: Samples, outputs: Outputs | None = None, first_row: int = 0
    ) -> tuple[list[float], list[Array]]:
        """Return the losses and, for outputs with user-defined ones, gradients in place of targets.

        The gradients are those of the total loss. As in training, the functions receive copies,
        because they may modify their arguments. For `outputs` and `first_row`, see `mean_losses`.
        """
        n, plan = len(samples), self.network_of(samples.sizes).plan
        outputs = self._buffers(samples) if outputs is None else outputs
        losses = self._engine_losses(samples, outputs, first_row)
        targets = samples.y[:]
        for k in samples.functions:
            loss = self.losses[k]
            assert isinstance(loss, FunctionLoss)
            y_pred = outputs[k].reshape(n, *plan.output_shapes[k]).copy()
            mask = outputs[plan.mask_numbers[k]] if k in plan.mask_numbers else None
            values, gradient = loss.rows(samples.y[k].copy(), y_pred, samples.weights[k], mask)
            own = float(values.mean())
            losses[0] += self.loss_weights[k] * own
            if self.n_losses > 1:
                losses[1 + k] = own
            gradient = self.loss_weights[k] * gradient.reshape(n, -1)
            targets[k] = np.ascontiguousarray(gradient, self.network.dtype)
        return losses.tolist(), targets

    def metric_direction(self, key: str) -> str | None:
        """Return "up" if higher values of a metric are better, "down" if lower ones, else None."""
        if key in self.loss_columns:
            return "down"
        metric = self.metrics.get(key)
        return None if metric is None else metric.direction


def _rows_of_steps(
    shape: Shape, y: Array, y_pred: Array, weight: NDArray[np.float64] | None
) -> tuple[Array, Array, NDArray[np.float64] | None]:
    """Return the rows along the last axis of outputs of this shape, as samples of their own."""
    steps, width = math.prod(shape[:-1]), shape[-1]
    y = y.reshape(-1) if y.size < y_pred.size or y.dtype == np.int32 else y.reshape(-1, width)
    if weight is not None:
        weight = weight.reshape(-1) if _of_steps(weight) else np.repeat(weight, steps)
    return y, y_pred.reshape(-1, width), weight


def _of_steps(weight: Floats | None) -> bool:
    """Return whether each step has a weight, not only each sample."""
    return weight is not None and weight.ndim > 1


def _target_spec(loss: Loss | None, output_shape: Shape, optional: bool) -> TargetSpec:
    """Return what an output requires of its targets; without a loss they may be `optional`."""
    if loss is None:
        return Loss().target_spec(output_shape)._replace(optional=optional)
    return loss.target_spec(output_shape)


def _check_loss(loss: Loss, output_shape: Shape, steps: int) -> None:
    """Raise a ValueError if a loss does not fit outputs of this shape, computed in `steps` rows."""
    if loss.rowwise and steps != math.prod(output_shape[:-1]):
        raise ValueError(
            f"{type(loss).__name__} needs outputs of shape (n, outputs), or the last axis must be "
            f"computed by Dense or softmax; the model gives samples of shape {output_shape}: end "
            "it with Activation('softmax')"
        )
    n_out = math.prod(output_shape) // (steps if loss.rowwise else 1)
    for values in loss.parameters:
        if len(values) not in (1, n_out):
            raise ValueError(
                f"{loss!r} needs a model with one output for each of its {len(values)} levels; "
                f"this model has {n_out}"
            )


def _warn_of_one_class(plan: Plan, losses: Sequence[Loss]) -> None:
    """Warn if a softmax or a loss over one class is constant, so that nothing is learned."""
    if any(
        op["activation"] == ACTIVATIONS["softmax"] and op["n_out"] == 1 for op in plan.training.ops
    ):
        warn(
            "softmax over one output is always 1, so nothing before it is learned; did you mean "
            "sigmoid?"
        )
    for loss, end in zip(losses, plan.outputs, strict=True):
        if loss.canonical == "softmax" and end["n"] == 1:
            warn(
                f"{type(loss).__name__} of one output is always 0, so nothing is learned: give "
                "the model one output per class, or a single sigmoid output with "
                "binary_crossentropy"
            )


def engine_losses(
    engine: Engine, plan: Plan, losses: Sequence[Loss | None], weights: Sequence[float]
) -> list[Callable[[], None]]:
    """Return functions that set the losses of the outputs in the engine.

    Only the functions change the engine. An output without a loss gets one of weight 0, unless no
    output has a loss.
    """
    found = []
    for k, (loss, weight) in enumerate(zip(losses, weights, strict=True)):
        if loss is not None:
            found.append(_engine_loss(engine, plan, loss, weight, k))
        elif any(losses):
            kind = LOSSES["mean_squared_error"]
            heads = engine.new_heads()
            found.append(
                partial(engine.set_loss, kind, False, head=k, loss_weight=0.0, heads=heads)
            )
    return found


def _engine_loss(
    engine: Engine, plan: Plan, loss: Loss, weight: float, head: int
) -> Callable[[], None]:
    shape, n_out = plan.output_shapes[head], plan.outputs[head]["n"]
    scale, loss_weight = loss.scale(shape), weight
    if len(plan.outputs) == 1:  # the engine does not weight the loss that it reports
        scale, loss_weight = scale * weight, 1.0
    return partial(
        engine.set_loss,
        *loss.engine_loss(plan.final_activations[head]),
        engine.new_loss_parameters(loss.parameters, head),
        *loss.smoothing(n_out),
        loss.for_engine(head, shape, weight) if isinstance(loss, FunctionLoss) else None,
        value_scale=scale,
        gradient_scale=scale,
        reduction=loss.engine_reduction,
        head=head,
        loss_weight=loss_weight,
        heads=engine.new_heads(),
    )
