"""What a layer is: configuration and shape inference, no maths.

A layer describes itself in four methods: its output's shape (`infer_shape`), its operations
(`ops`), its weights (`weight_specs`) and its arguments (`get_config`). A model compiles these into
a plan and, once built, lends each layer views of its weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict

from numpy.typing import ArrayLike, NDArray

from nnfast import activations, constraints, initializers, regularizers
from nnfast._plan.spec import Op, Weight
from nnfast._utils.assign import assign
from nnfast._utils.checks import Shape, flag, integer, shape
from nnfast._utils.config import check_dtype
from nnfast._utils.registry import plain, snake_case

_names_given: Counter[str] = Counter()


def auto_name(class_name: str) -> str:
    """Return the next free name of a class: "dense", then "dense_1", and so on, as in Keras."""
    base = snake_case(class_name)
    number = _names_given[base]
    _names_given[base] += 1
    return f"{base}_{number}" if number else base


class LayerOptions(TypedDict, total=False):
    """Keyword arguments that every layer takes; see `Layer`."""

    input_shape: Sequence[int] | None
    input_dim: int | None
    name: str | None
    dtype: str | None
    activity_regularizer: str | regularizers.L1L2 | None
    trainable: bool


class Layer:
    """Base of the layers.

    What a layer was made with can be read but not set, since models are compiled from it; only
    `trainable` may change.

    Parameters
    ----------
    input_shape : tuple of int, optional
        Shape of one sample, without the batch axis; only read from a model's first layer,
        which is then built at once.
    input_dim : int, optional
        The same as ``input_shape=(input_dim,)``.
    name : str, optional
        By default the class in snake case, numbered: ``"dense"``, ``"dense_1"``, …
    dtype : str, optional
        Must be the model's dtype where given.
    activity_regularizer : str, Regularizer or None, default None
        Penalty on the layer's output that is added to the loss, a mean over the batch's rows.
    trainable : bool, default True
        False freezes the layer: training does not change its weights.

    Attributes
    ----------
    name : str
    trainable : bool
        May be set at any time; training follows from its next step on. Frozen weights have no
        gradient and no regularization penalty. A frozen BatchNormalization also uses its moving
        averages in training and keeps them. Weights that were frozen when the model was compiled
        can be trained after the next `compile`.
    built : bool
        True once the layer's model is built.
    named_weights : dict of str to ndarray
        Views of the weights in the model, empty until it is built.
    weights : list of ndarray
        The same without names, in the order of `get_weights`.
    trainable_weights, non_trainable_weights : list of ndarray
        Those that the optimizer changes, and the others, in the same order. All are of the
        second kind if the layer is frozen.
    """

    # Whether the layer does something else in training than in inference.
    training_differs: ClassVar[bool] = False

    # Constructor arguments of the subclass that `get_config` writes.
    _fields: ClassVar[tuple[str, ...]] = ()

    # Attributes of every layer that are set once.
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
            raise TypeError(f"{type(self).__name__} got an unexpected argument {min(unknown)!r}")
        if input_dim is not None:
            if input_shape is not None:
                raise ValueError("Give input_shape or input_dim, not both")
            input_shape = (integer("input_dim", input_dim, minimum=0),)
        self.feature_shape = None if input_shape is None else shape("input_shape", input_shape)
        self.name = auto_name(type(self).__name__) if name is None else check_name(name)
        self.dtype = None if dtype is None else check_dtype(dtype)
        self.activity_regularizer = regularizers.resolve(activity_regularizer)
        self._trainable = flag("trainable", trainable)
        # The engine whose memory `named_weights` are in: of the network that last wrote them.
        self.home: object = None
        # References to the networks that the layer is or was in.
        self.networks: list[Callable[[], Any]] = []
        self.named_weights: dict[str, NDArray[Any]] = {}
        # Names of the weights that no optimizer changes, for example moving averages.
        self.fixed_weights: frozenset[str] = frozenset()
        self.built = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name in (*self._fixed, *self._fields) and hasattr(self, name):
            raise AttributeError(
                f"{name} of layer {self.name!r} cannot be changed, because models are compiled "
                f"from it: make a new {type(self).__name__} in a new model"
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
        """Return the shape of one sample's output (without the batch axis)."""
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        """Return what it does to samples of a shape, one op after the other.

        There are none if it only changes the shape.
        """
        return []

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        """Return what each weight is, in the order of `get_weights`."""
        return []

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain Python values (JSON)."""
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
        """Return a new layer made from what `get_config` gave."""
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
        """Return a weight with the options that `_configure_weight` has set.

        They begin with `configured`, or with the weight's own name.
        """
        prefix = configured or name
        return Weight(
            name,
            shape,
            getattr(self, f"{prefix}_initializer"),
            getattr(self, f"{prefix}_regularizer"),
            getattr(self, f"{prefix}_constraint"),
        )

    def bind(self, views: dict[str, NDArray[Any]], home: object, fixed: frozenset[str]) -> None:
        """Take views of the weights in a built model, whose engine is `home`.

        `fixed` are the names of those that no optimizer changes.
        """
        self.named_weights = views
        self.fixed_weights = fixed
        self.home = home
        self.built = True

    @property
    def weights(self) -> list[NDArray[Any]]:
        return list(self.named_weights.values())

    @property
    def trainable_weights(self) -> list[NDArray[Any]]:
        return [view for name, view in self.named_weights.items() if self._is_trained(name)]

    @property
    def non_trainable_weights(self) -> list[NDArray[Any]]:
        return [view for name, view in self.named_weights.items() if not self._is_trained(name)]

    def _is_trained(self, name: str) -> bool:
        return self.trainable and name not in self.fixed_weights

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of the weights: kernel, then bias; [] before the model is built."""
        return [view.copy() for view in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set the weights.

        Parameters
        ----------
        weights : sequence of array_like
            In the order and of the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If their number or a shape differs; nothing is set then.
        """
        assign(f"layer {self.name!r}", self.weights, weights)

    def count_params(self) -> int:
        """Return the number of weights' elements.

        Raises
        ------
        ValueError
            If the layer is not built.
        """
        if not self.built:
            raise ValueError(
                f"Layer {self.name!r} has no parameters yet: its model must be built first, by "
                "an Input, an input_shape, build() or the first fit or predict"
            )
        return sum(view.size for view in self.weights)

    def __getstate__(self) -> dict[str, Any]:
        # A copy owns its weights and belongs to no model.
        copies = {name: view.copy() for name, view in self.named_weights.items()}
        return vars(self) | {"named_weights": copies, "home": None, "networks": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def _view(self, name: str) -> NDArray[Any]:
        """Return one weight, a view into the built model."""
        if not self.built:
            raise AttributeError(f"Layer {self.name!r} has no {name} yet: build its model first")
        return self.named_weights[name]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def check_name(name: object) -> str:
    """Return the name of a layer or a model if files can hold it."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name must be a non-empty string without '/'; received {name!r}")
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, activations.Activation):
        return activations.serialize(value)
    return plain(value)
