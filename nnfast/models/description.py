"""What a model consists of: layers, shapes, weights, metrics, and the summary of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import losses, optimizers
from nnfast._runtime.network import Network
from nnfast._runtime.trainer import Settings, Trainer
from nnfast._utils import checks
from nnfast._utils.assign import assign
from nnfast._utils.read_only import read_only
from nnfast._utils.symbolic import KerasTensor
from nnfast._utils.tensor import Scalar
from nnfast._utils.variable import Variable
from nnfast.layers.layer import Layer
from nnfast.metrics import Metric
from nnfast.models.summary import Summary, summary_html, summary_lines

Array = NDArray[Any]

_COMPILED = "set, because the compiled trainer uses it: call compile({}=…)"


class Description:
    """The attributes of a model that describe it; `Model` documents its constructor."""

    name: str
    trainable: bool
    _dtype: np.dtype[Any]
    _layers: list[Layer]
    _input_shape: checks.Shape | None
    _batch_size: int | None
    _network: Network | None
    _settings: Settings | None
    _trainer: Trainer | None

    # ---- layers and shapes -----------------------------------------------------------------------

    @read_only("changed: make a new model with that dtype and copy the weights with set_weights")
    def dtype(self) -> str:
        """The dtype of weights and outputs."""
        return self._dtype.name

    @read_only("set: use add and pop")
    def layers(self) -> list[Layer]:
        return list(self._layers)

    @property
    def built(self) -> bool:
        """Whether the weights have been created."""
        return self._network is not None

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of a batch of inputs; the first entry is None or the `batch_size` of an `Input`."""
        if self._input_shape is None:
            raise AttributeError(f"Model {self.name!r} has no input shape yet")
        return (self._batch_size, *self._input_shape)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of a batch of outputs; the first entry is as in `input_shape`."""
        if self._network is None:
            raise AttributeError(f"Model {self.name!r} has no output shape yet")
        return (self._batch_size, *self._network.plan.output_shape)

    @property
    def input(self) -> KerasTensor:
        """Shape, dtype and name of the input."""
        return KerasTensor(self.input_shape, self.dtype, "input")

    @property
    def output(self) -> KerasTensor:
        """Shape, dtype and name of the output."""
        return KerasTensor(self.output_shape, self.dtype, self._layers[-1].name)

    @property
    def inputs(self) -> list[KerasTensor]:
        """The input, as the only entry of a list."""
        return [self.input]

    @property
    def outputs(self) -> list[KerasTensor]:
        """The output, as the only entry of a list."""
        return [self.output]

    def _built(self) -> Network:
        if self._network is None:
            raise ValueError(
                f"Model {self.name!r} has no weights yet: give it an Input or an input_shape, or "
                "call build() or fit() first"
            )
        return self._network

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], object] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print a table of the layers with their output shapes and parameter counts.

        Parameters
        ----------
        line_length : int, optional
            Width of the table; by default as wide as its contents.
        positions : sequence of float, optional
            The ends of the columns, as fractions of the width or, if the last is above 1, in
            characters.
        print_fn : callable, optional
            Called with each line; `print` by default.
        expand_nested : bool, default False
            Whether to show the layers of models within the model. There are none.
        show_trainable : bool, default False
            Add a column that says whether a layer is trainable.
        layer_range : pair of str, optional
            Show only the layers from the first one whose name contains the first string (or matches
            it as a regular expression) to the last one whose name contains the second one.
        """
        write: Callable[[str], object] = print if print_fn is None else print_fn
        if not callable(write):
            raise TypeError(f"print_fn must be callable; received {print_fn!r}")
        checks.flag("expand_nested", expand_nested)
        summary = self._summary()._replace(
            line_length=checks.optional_integer("line_length", line_length),
            positions=None if positions is None else checks.entries("positions", positions),
            show_trainable=checks.flag("show_trainable", show_trainable),
        )
        for text in summary_lines(summary.of_range(layer_range)):
            write(text)

    def _repr_html_(self) -> str:
        """Return the table of `summary` as HTML, for notebooks."""
        return summary_html(self._summary())

    def _summary(self) -> Summary:
        frozen = sum(view.size for view in self.non_trainable_weights)
        shape = None if self._input_shape is None else self.input_shape
        return Summary(self.name, self._layers, shape, self._dtype.itemsize, frozen)

    # ---- weights ---------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Variable]:
        """All weights, layer by layer, as views of the memory; [] before the model is built."""
        return [weight for layer in self._layers for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that the optimizer changes."""
        if not self.trainable:
            return []
        return [weight for layer in self._layers for weight in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The other weights: moving averages, data statistics and frozen weights."""
        if not self.trainable:
            return self.weights
        return [weight for layer in self._layers for weight in layer.non_trainable_weights]

    variables, trainable_variables = weights, trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Return copies of all weights: kernel, bias, kernel, …; [] before the model is built."""
        return [weight for layer in self._layers for weight in layer.get_weights()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights.

        Parameters
        ----------
        weights : sequence of array_like
            Arrays in the order and with the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs; then no weight is changed.
        """
        views = [view for layer in self._layers for view in layer.named_weights.values()]
        assign(f"model {self.name!r}", views, weights)

    def count_params(self) -> int:
        """Return the number of parameters of the built model."""
        return self._built().plan.n_weights

    # ---- loss and metrics ------------------------------------------------------------------------

    @read_only(_COMPILED.format("optimizer"))
    def optimizer(self) -> optimizers.Optimizer | None:
        return None if self._settings is None else self._settings.optimizer

    @read_only(_COMPILED.format("loss"))
    def loss(self) -> losses.Loss | None:
        return None if self._settings is None else self._settings.loss

    @property
    def iterations(self) -> int:
        """The number of optimizer steps since `compile`."""
        return 0 if self._network is None else self._network.engine.iterations

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of `compile`, weighted ones last; [] before the model is built."""
        return [] if self._trainer is None else list(self._trainer.metrics.values())

    def reset_metrics(self) -> None:
        """Reset the state of all `metrics`; `fit` and `evaluate` do not use it."""
        for metric in self.metrics:
            metric.reset_state()

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns: ``"loss"`` and the metrics' keys in History."""
        if self._settings is None:
            return []
        return ["loss", *(() if self._trainer is None else self._trainer.metrics)]

    @property
    def losses(self) -> list[Scalar]:
        """The current penalties of the weights' regularizers, layer by layer."""
        return [penalty for layer in self._layers for penalty in layer.losses]

    def metric_direction(self, key: str) -> str | None:
        """Return "up" if a higher value of a History key is better, "down" if a lower one is.

        Return None if the key is unknown.
        """
        if key == "loss":
            return "down"
        return None if self._trainer is None else self._trainer.metric_direction(key)
