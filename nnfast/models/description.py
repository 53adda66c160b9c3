"""What a model consists of besides its graph: weights, metrics, and the summary of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike, NDArray

from nnfast import optimizers
from nnfast._runtime.network import Network
from nnfast._runtime.settings import Settings
from nnfast._runtime.trainer import Trainer
from nnfast._utils import checks
from nnfast._utils.assign import assign
from nnfast._utils.read_only import read_only
from nnfast._utils.tensor import Scalar
from nnfast._utils.variable import Variable
from nnfast.metrics import Metric
from nnfast.models.summary import summarize, summary_html, summary_lines
from nnfast.models.topology import Topology

Array = NDArray[Any]

_COMPILED = "set, because the compiled trainer uses it: call compile({}=…)"


class Description(Topology):
    """The attributes of a model that describe it; `Model` documents its constructor."""

    _n_threads: int | None
    _network: Network | None
    _settings: Settings | None
    _trainer: Trainer | None

    # ---- state -----------------------------------------------------------------------------------

    @property
    def n_threads(self) -> int | None:
        """The maximum number of threads of this model; None means `nnfast.get_num_threads`.

        Results do not depend on it. It can be set at any time and is not saved.
        """
        return self._n_threads

    @n_threads.setter
    def n_threads(self, n: int | None) -> None:
        self._n_threads = checks.optional_integer("n_threads", n)
        if self._network is not None:
            self._network.set_n_threads(self._n_threads)

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting this also sets the flag of every layer."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = checks.flag("trainable", value)
        for layer in self._layers:
            layer.trainable = value
        self._freeze_alone(value)

    def _freeze_alone(self, trainable: bool) -> None:
        """Set `trainable` of the model, but not of its layers."""
        self._trainable = trainable
        if self._network is not None:
            self._network.trainable = trainable
            self._network.note_trainable()

    @property
    def built(self) -> bool:
        """Whether the weights have been created."""
        if self._network is not None:
            return True
        return self._graph is not None and all(layer.built for layer in self.flat_layers())

    def _built(self) -> Network:
        """Return the network, which is made now if only other models have used the layers."""
        if self._network is None and self._graph is not None:
            self._build_once()
        if self._network is None:
            raise ValueError(
                f"Model {self.name!r} has no weights yet: give it an Input or an input_shape, or "
                "call build() or fit() first"
            )
        return self._network

    def _build_once(self) -> None:
        """Make the network of the graph unless there is one."""
        raise NotImplementedError

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
            Whether to show the layers of models within the model.
        show_trainable : bool, default False
            Add a column that says whether a layer is trainable.
        layer_range : pair of str, optional
            Show only the layers from the first one whose name contains the first string (or matches
            it as a regular expression) to the last one whose name contains the second one.
        """
        write: Callable[[str], object] = print if print_fn is None else print_fn
        if not callable(write):
            raise TypeError(f"print_fn must be callable; received {print_fn!r}")
        expand = checks.flag("expand_nested", expand_nested)
        summary = summarize(self, self._dtype.itemsize, expand)._replace(
            line_length=checks.optional_integer("line_length", line_length),
            positions=None if positions is None else checks.entries("positions", positions),
            show_trainable=checks.flag("show_trainable", show_trainable),
        )
        for text in summary_lines(summary.of_range(layer_range)):
            write(text)

    def _repr_html_(self) -> str:
        """Return the table of `summary` as HTML, for notebooks."""
        return summary_html(summarize(self, self._dtype.itemsize))

    # ---- weights ---------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Variable]:
        """All weights, layer by layer, as views of the memory; [] before the model is built."""
        return [weight for layer in self.flat_layers() for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that the optimizer changes."""
        if not self.trainable:
            return []
        return [weight for layer in self.flat_layers() for weight in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The other weights: moving averages, data statistics and frozen weights."""
        if not self.trainable:
            return self.weights
        return [weight for layer in self.flat_layers() for weight in layer.non_trainable_weights]

    variables, trainable_variables = weights, trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Return copies of all weights: kernel, bias, kernel, …; [] before the model is built."""
        return [weight for layer in self.flat_layers() for weight in layer.get_weights()]

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
        views = [view for layer in self.flat_layers() for view in layer.named_weights.values()]
        assign(f"model {self.name!r}", views, weights)

    def count_params(self) -> int:
        """Return the number of parameters of a model whose input shape is known."""
        if self._graph is None:
            return self._built().plan.n_weights
        return sum(
            math.prod(weight.shape)
            for _, specs in self._graph.flat.weights()
            for weight in specs
            if not weight.is_state
        )

    # ---- loss and metrics ------------------------------------------------------------------------

    @read_only(_COMPILED.format("optimizer"))
    def optimizer(self) -> optimizers.Optimizer | None:
        return None if self._settings is None else self._settings.optimizer

    @read_only(_COMPILED.format("loss"))
    def loss(self) -> Any:
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

    def reset_state(self, rows: Any = None) -> None:
        """Set the states of stateful layers to zero; see `LSTM` for `rows`."""
        for layer in self.flat_layers():
            if layer.named_states:
                layer.reset_state(rows)  # type: ignore[attr-defined]

    reset_states = reset_state

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns: of the losses and metrics in History."""
        if self._settings is None:
            return []
        trainer = self._trainer
        return ["loss"] if trainer is None else [*trainer.loss_columns, *trainer.metrics]

    @property
    def losses(self) -> list[Scalar]:
        """The current penalties of the weights' regularizers, layer by layer."""
        return [penalty for layer in self.flat_layers() for penalty in layer.losses]

    def metric_direction(self, key: str) -> str | None:
        """Return "up" if a higher value of a History key is better, "down" if a lower one is.

        Return None if the key is unknown.
        """
        if key == "loss":
            return "down"
        return None if self._trainer is None else self._trainer.metric_direction(key)
