"""The base class of the layers, which hold configuration and infer shapes but compute nothing.

A layer describes itself in four methods: its output's shape (`infer_shape`), its operations
(`ops`), its weights (`weight_specs`) and its arguments (`get_config`). A model compiles these into
a plan. Once the model is built, each layer holds views of its weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import activations, constraints, initializers, regularizers
from nnfast._engine import WeightArray, weight_arrays
from nnfast._plan.spec import Op, Weight
from nnfast._utils.assign import assign
from nnfast._utils.checks import Shape, flag, integer, shape
from nnfast._utils.config import check_dtype
from nnfast._utils.registry import plain, snake_case
from nnfast._utils.symbolic import KerasTensor, sample_shape
from nnfast._utils.tensor import Scalar
from nnfast._utils.variable import Variable

__all__ = [
    "Layer",
]

# Arguments of layers in older versions of Keras, and today's.
_REMOVED_ARGUMENTS = {
    "batch_input_shape": "Input(batch_shape=…)",
    "border_mode": "padding",
    "init": "kernel_initializer",
    "subsample": "strides",
    "weights": "set_weights after building",
    "W_constraint": "kernel_constraint",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
}

_names_given: Counter[str] = Counter()


def auto_name(class_name: str) -> str:
    """Return the next unused name for a class: "dense", then "dense_1", and so on, as in Keras."""
    base = snake_case(class_name)
    number = _names_given[base]
    _names_given[base] += 1
    return f"{base}_{number}" if number else base


def restart_names() -> None:
    """Let `auto_name` start again: the next layer of a class has no number."""
    _names_given.clear()


class LayerOptions(TypedDict, total=False):
    """Keyword arguments that every layer accepts; see `Layer`."""

    input_shape: Sequence[int] | None
    input_dim: int | None
    name: str | None
    dtype: str | None
    activity_regularizer: str | regularizers.L1L2 | None
    trainable: bool


class Layer:
    """Base class of the layers.

    The constructor's arguments are read-only attributes, because models are compiled from them.
    Only `trainable` may change.

    Parameters
    ----------
    input_shape : tuple of int, optional
        Shape of one sample, without the batch axis. Only the first layer of a model uses it; the
        model is then built immediately.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.
    name : str, optional
        By default the class name in snake case, numbered: ``"dense"``, ``"dense_1"``, …
    dtype : str, optional
        If given, it must be the model's dtype.
    activity_regularizer : str, Regularizer or None, default None
        Penalty on the layer's output, averaged over the batch's rows and added to the loss.
    trainable : bool, default True
        False freezes the layer: training does not change its weights.

    Attributes
    ----------
    name : str
    trainable : bool
        May be set at any time; takes effect at the next training step. Frozen weights have no
        gradient and no regularization penalty. A frozen BatchNormalization uses its moving
        averages in training, too, and does not update them. Weights that were frozen when the
        model was compiled can be trained only after the next `compile`.
    built : bool
        True once the layer's model is built.
    named_weights : dict of str to ndarray
        Views of the weights, which all models with the layer use; empty until it is built.
    weights : list of ndarray
        The same views without names, in the order of `get_weights`.
    trainable_weights, non_trainable_weights : list of ndarray
        The weights that the optimizer updates, and all other weights, both in the order of
        `weights`. All weights of a frozen layer are non-trainable.
    """

    # Whether the computation in training differs from that in inference.
    training_differs: ClassVar[bool] = False

    # Constructor arguments of the subclass. `get_config` returns them; they cannot be reassigned.
    _fields: ClassVar[tuple[str, ...]] = ()

    # Attributes of every layer, which cannot be reassigned either.
    _fixed: ClassVar[tuple[str, ...]] = ("name", "dtype", "feature_shape", "activity_regularizer")

    def __init__(
        self,
        *,
        input_shape: Sequence[int] | None = None,
        input_dim: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
        activity_regularizer: str | regularizers.L1L2 | None = None,
        trainable: bool = True,
        **unknown: Any,
    ) -> None:
        if unknown:
            wrong = min(unknown)
            hint = f": use {_REMOVED_ARGUMENTS[wrong]}" if wrong in _REMOVED_ARGUMENTS else ""
            raise TypeError(f"{type(self).__name__} got an unexpected argument {wrong!r}{hint}")
        if input_dim is not None:
            if input_shape is not None:
                raise ValueError(
                    "Give either input_shape or input_dim, not both; received "
                    f"input_shape={input_shape!r} and input_dim={input_dim!r}"
                )
            input_shape = (integer("input_dim", input_dim, minimum=0),)
        self.feature_shape = None if input_shape is None else shape("input_shape", input_shape)
        self.name = auto_name(type(self).__name__) if name is None else check_name(name)
        self.dtype = None if dtype is None else check_dtype(dtype)
        self.activity_regularizer = regularizers.resolve(activity_regularizer)
        self._trainable = flag("trainable", trainable)
        # Weak references to the networks that contain, or once contained, the layer.
        self.networks: list[Callable[[], Any]] = []
        # The memory of the weights, which the engines of all its models use.
        self.arrays: dict[str, WeightArray] = {}
        self.named_weights: dict[str, NDArray[Any]] = {}
        # The input and the output, once the layer is built.
        self._ends: tuple[KerasTensor, KerasTensor] | None = None
        # The weights as variables, made when they are asked for.
        self._variables: dict[str, Variable] = {}
        # Names of the non-trainable weights, such as moving averages.
        self.fixed_weights: frozenset[str] = frozenset()
        self.built = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name in (*self._fixed, *self._fields) and hasattr(self, name):
            raise AttributeError(
                f"{name} of layer {self.name!r} cannot be changed, because models are compiled "
                f"from the layer: make a new {type(self).__name__} in a new model"
            )
        super().__setattr__(name, value)

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = flag("trainable", value)
        for ref in self.networks:
            network = ref()
            if network is not None:
                network.note_trainable()

    def infer_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape for one sample, without the batch axis."""
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        """Return the layer's ops for samples of `input_shape`, in order of execution.

        The list is empty if the layer only changes the shape or does nothing.
        """
        return []

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        """Return the descriptions of the layer's weights, in the order of `get_weights`."""
        return []

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON-serializable Python values."""
        config: dict[str, Any] = {"name": self.name}
        if self.feature_shape is not None:
            config["input_shape"] = list(self.feature_shape)
        if self.dtype is not None:
            config["dtype"] = self.dtype
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = plain(self.activity_regularizer)
        if not self.trainable:
            config["trainable"] = False
        return config | {field: _plain(getattr(self, field)) for field in self._fields}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """Return a new layer from the arguments that `get_config` returned."""
        return cls(**config)

    def _configure_weight(
        self,
        name: str,
        initializer: str | initializers.Initializer,
        regularizer: str | regularizers.L1L2 | None,
        constraint: str | constraints.Constraint | None,
    ) -> None:
        """Set ``{name}_initializer``, ``{name}_regularizer`` and ``{name}_constraint``."""
        setattr(self, f"{name}_initializer", initializers.resolve(initializer))
        setattr(self, f"{name}_regularizer", regularizers.resolve(regularizer))
        setattr(self, f"{name}_constraint", constraints.resolve(constraint))

    def _weight(self, name: str, shape: Shape, configured: str | None = None) -> Weight:
        """Return the description of a weight with the options set by `_configure_weight`.

        The options' names begin with `configured`, by default the weight's own name.
        """
        prefix = configured or name
        return Weight(
            name,
            shape,
            getattr(self, f"{prefix}_initializer"),
            getattr(self, f"{prefix}_regularizer"),
            getattr(self, f"{prefix}_constraint"),
        )

    @property
    def input(self) -> KerasTensor:
        """Shape, dtype and name of the input, known once the layer is built."""
        return self._end("input", 0)

    @property
    def output(self) -> KerasTensor:
        """Shape, dtype and name of the output, known once the layer is built."""
        return self._end("output", 1)

    def _end(self, which: str, index: int) -> KerasTensor:
        if self._ends is None:
            raise AttributeError(f"Layer {self.name!r} has no {which} yet: build its model first")
        return self._ends[index]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of a batch of inputs; the batch axis is None."""
        return self.input.shape

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of a batch of outputs; the batch axis is None."""
        return self.output.shape

    def connect(self, x: KerasTensor) -> KerasTensor:
        """Remember `x` as the layer's input in a model; return its output."""
        y = KerasTensor((x.shape[0], *self.infer_shape(sample_shape(x))), x.dtype, self.name)
        self._ends = x, y
        return y

    def bind(
        self,
        arrays: dict[str, WeightArray],
        shapes: Mapping[str, Shape],
        fixed: frozenset[str],
    ) -> None:
        """Give the layer its weights, once for ever.

        `fixed` contains the names of the non-trainable weights.
        """
        self.arrays = arrays
        self.named_weights = {
            name: np.asarray(array).reshape(shapes[name]) for name, array in arrays.items()
        }
        self.fixed_weights = fixed
        self.built = True

    @property
    def weights(self) -> list[Variable]:
        """The weights, kernel before bias: views of the built model's memory."""
        return [self._variable(name) for name in self.named_weights]

    variables = weights

    @property
    def trainable_weights(self) -> list[Variable]:
        return [self._variable(name) for name in self.named_weights if self._is_trained(name)]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [self._variable(name) for name in self.named_weights if not self._is_trained(name)]

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def _variable(self, name: str) -> Variable:
        """Return a weight as a variable.

        Raises
        ------
        AttributeError
            If the layer is not built.
        """
        if not self.built:
            raise AttributeError(f"Layer {self.name!r} has no {name} yet: build its model first")
        if name not in self._variables:
            self._variables[name] = Variable.of(self.named_weights[name], self.name, name)
        return self._variables[name]

    def _is_trained(self, name: str) -> bool:
        return self.trainable and name not in self.fixed_weights

    @property
    def losses(self) -> list[Scalar]:
        """The current penalties of the weights' regularizers; [] before the layer is built."""
        if self._ends is None:
            return []
        return [
            Scalar(spec.regularizer(self.named_weights[spec.name]))
            for spec in self.weight_specs(sample_shape(self.input))
            if spec.regularizer is not None and self._is_trained(spec.name)
        ]

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of the weights, kernel before bias; [] before the model is built."""
        return [view.copy() for view in self.named_weights.values()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set the weights.

        Parameters
        ----------
        weights : sequence of array_like
            Arrays in the order and with the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs; then no weight is changed.
        """
        assign(f"layer {self.name!r}", list(self.named_weights.values()), weights)

    def count_params(self) -> int:
        """Return the number of parameters: the total number of elements in all weights.

        Raises
        ------
        ValueError
            If the layer is not built.
        """
        if not self.built:
            raise ValueError(
                f"Layer {self.name!r} has no parameters yet: build its model first, with an Input, "
                "an input_shape, build() or the first fit or predict"
            )
        return sum(view.size for view in self.named_weights.values())

    def __getstate__(self) -> dict[str, Any]:
        # A copy belongs to no model.
        return vars(self) | {"arrays": {}, "_variables": {}, "networks": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        values = self.named_weights
        if values:  # a copy has weights of its own
            sizes = [value.size for value in values.values()]
            arrays = weight_arrays(sizes, next(iter(values.values())).dtype.name)
            shapes = {name: value.shape for name, value in values.items()}
            self.bind(dict(zip(values, arrays, strict=True)), shapes, self.fixed_weights)
            for name, value in values.items():
                self.named_weights[name][...] = value

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def check_name(name: object) -> str:
    """Return the name of a layer or a model; raise ValueError if a file could not store it."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name must be a non-empty string without '/'; received {name!r}")
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, activations.Activation):
        return activations.serialize(value)
    return plain(value)
