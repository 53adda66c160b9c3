"""The arguments of `compile`, one of each kind for every output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nnfast import losses, metrics as _metrics, optimizers
from nnfast._data.ends import Ends
from nnfast._utils.checks import for_output, real
from nnfast._utils.registry import describe
from nnfast.losses import Loss
from nnfast.metrics.metric import Metric
from nnfast.metrics.registry import check_names, describe_all
from nnfast.optimizers import Optimizer

MetricEntries = list[str | Metric]


class Settings(NamedTuple):
    """The arguments of `compile`; those for outputs have one entry per output.

    A metric remains a name if its class depends on the output shape.
    """

    optimizer: Optimizer
    losses: tuple[Loss | None, ...]
    loss_weights: tuple[float, ...]
    metrics: tuple[MetricEntries, ...]
    weighted_metrics: tuple[MetricEntries, ...]

    @classmethod
    def checked(
        cls,
        optimizer: object,
        loss: object,
        metrics: object,
        weighted_metrics: object,
        loss_weights: object,
        outputs: Ends,
    ) -> Settings:
        """Return the arguments of `compile` with names turned into objects.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as documented in `compile`.
        """
        found = tuple(
            None if entry is None else losses.resolve(entry) for entry in _losses(loss, outputs)
        )
        return cls(
            optimizers.resolve(optimizer),
            found,
            _loss_weights(loss_weights, found, outputs),
            _entries("metrics", metrics, outputs),
            _entries("weighted_metrics", weighted_metrics, outputs),
        )

    @property
    def loss(self) -> Any:
        """The loss of the only output, or a list of the losses; None if there is none."""
        if len(self.losses) == 1:
            return self.losses[0]
        return list(self.losses) if any(self.losses) else None

    def describe(self) -> dict[str, Any]:
        """Return the arguments of `compile` as JSON values, without user-defined functions."""
        found = [None if loss is None else describe(loss) for loss in self.losses]
        metrics = [describe_all(entries) for entries in self.metrics]
        weighted = [describe_all(entries) for entries in self.weighted_metrics]
        one = len(found) == 1
        description = {
            "optimizer": describe(self.optimizer),
            "loss": found[0] if one else found,
            "metrics": metrics[0] if one else metrics,
            "weighted_metrics": weighted[0] if one else weighted,
        }
        if set(self.loss_weights) != {1.0}:
            description["loss_weights"] = list(self.loss_weights)
        return description


def _losses(loss: Any, outputs: Ends) -> Sequence[Any]:
    """Return an entry for the loss of each output; anything but a list or a dict is for all."""
    if len(outputs) == 1:
        return [for_output("loss", loss, outputs.names[0] or None)]
    if isinstance(loss, Mapping) and not {"class_name", "config"} <= loss.keys():
        return outputs.parts("loss", outputs.completed(loss))
    if isinstance(loss, (list, tuple)):
        return outputs.parts("loss", loss)
    return [loss] * len(outputs)


def _loss_weights(weights: Any, found: Sequence[Loss | None], outputs: Ends) -> tuple[float, ...]:
    """Return the factor of the loss of each output, by default 1."""
    if weights is None:
        return (1.0,) * len(outputs)
    if len(outputs) == 1:
        weight = for_output("loss_weights", weights, outputs.names[0] or None)
        return (real("loss_weights", weight),)
    if isinstance(weights, Mapping):
        weights = outputs.completed(weights)
    parts = outputs.labelled("loss_weights", weights)
    return tuple(
        1.0 if loss is None and weight is None else real(label, weight)
        for (label, weight), loss in zip(parts, found, strict=True)
    )


def _entries(name: str, metrics: Any, outputs: Ends) -> tuple[MetricEntries, ...]:
    """Return the metrics of each output, which are a list or a single one."""
    if len(outputs) == 1:
        found = [_metrics.for_output(name, metrics, outputs.names[0] or None)]
    elif isinstance(metrics, Mapping):
        unknown = [key for key in metrics if key not in outputs.names]
        if unknown:
            raise ValueError(
                f"{name} must be for the outputs {outputs.names}; received the keys {unknown}"
            )
        found = [metrics.get(key) for key in outputs.names]
    elif metrics is None or (isinstance(metrics, (list, tuple)) and not metrics):
        found = [None] * len(outputs)
    else:
        found = outputs.parts(name, metrics)
    lists = [
        entry if entry is None or isinstance(entry, (list, tuple)) else [entry] for entry in found
    ]
    return tuple(check_names(entry, name) for entry in lists)
