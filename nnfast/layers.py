"""Layers: configuration and shape inference, no maths.

A layer describes its op (`op`), its parameters (`parameter_specs`) and its output's shape
(`infer_shape`); a model compiles these into a plan and, once built, lends each layer views of
its parameters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict, Unpack

from numpy.typing import ArrayLike, NDArray

from nnfast import activations, initializers, regularizers
from nnfast._plan import Op
from nnfast._resolve import choose, describe, plain, snake_case
from nnfast._validation import Shape, integer, real, real_array, shape

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


class Layer:
    """Base of the layers.

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

    Attributes
    ----------
    name : str
    built : bool
        True once the layer's model is built.
    named_weights : dict of str to ndarray
        Views of the parameters in the model, empty until it is built.
    weights : list of ndarray
        The same without names, in the order of `get_weights`.
    """

    # Constructor arguments of the subclass that `get_config` writes.
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        input_shape: Sequence[int] | None = None,
        input_dim: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if input_dim is not None:
            if input_shape is not None:
                raise ValueError("Give input_shape or input_dim, not both")
            input_shape = (integer("input_dim", input_dim, minimum=0),)
        self.feature_shape = None if input_shape is None else shape("input_shape", input_shape)
        self.name = auto_name(type(self).__name__) if name is None else _check_name(name)
        self.dtype = dtype
        # The engine whose memory `named_weights` are in: of the model that last wrote them.
        self.home: object = None
        # References to the models that the layer is or was in.
        self.models: list[Callable[[], Any]] = []
        self.named_weights: dict[str, NDArray[Any]] = {}
        self.built = False

    def infer_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one sample's output (without the batch axis)."""
        return input_shape

    def op(self) -> Op | None:
        """Return what the layer does to a row, None if nothing (a change of shape)."""
        return None

    def parameter_specs(
        self, input_shape: Shape
    ) -> list[tuple[str, Shape, initializers.Initializer]]:
        """Return (name, shape, initializer) of each parameter, in the order of `get_weights`."""
        return []

    def bind(self, views: dict[str, NDArray[Any]], home: object) -> None:
        """Take views of the parameters in a built model, whose engine is `home`."""
        self.named_weights = views
        self.home = home
        self.built = True

    @property
    def weights(self) -> list[NDArray[Any]]:
        return list(self.named_weights.values())

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of the parameters: kernel, then bias; [] before the model is built."""
        return [view.copy() for view in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set the parameters.

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
        """Return the number of parameters.

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

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain Python values (JSON)."""
        config: dict[str, Any] = {"name": self.name}
        if self.feature_shape is not None:
            config["input_shape"] = list(self.feature_shape)
        if self.dtype is not None:
            config["dtype"] = self.dtype
        return config | {field: _plain(getattr(self, field)) for field in self._fields}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """Return a new layer made from what `get_config` gave."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class InputLayer(Layer):
    """The shape of a model's input; it is not listed in ``model.layers``.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, without the batch axis.
    """

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        *,
        input_shape: Sequence[int] | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if (shape is None) == (input_shape is None):
            raise ValueError("Give the shape of one sample as shape=, such as shape=(784,)")
        one = shape if input_shape is None else input_shape
        super().__init__(input_shape=one, name=name, dtype=dtype)


def Input(shape: Sequence[int], *, name: str | None = None, dtype: str | None = None) -> InputLayer:
    """Return an `InputLayer`: a model that starts with one is built at once.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, without the batch axis.
    name, dtype : str, optional
        As in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `shape` is not a non-empty tuple of integers.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.Sequential([Input((4,)), Dense(3)]).count_params()
    15
    """
    return InputLayer(shape, name=name, dtype=dtype)


class Dense(Layer):
    """A fully connected layer: activation(x·w + b), w (n_in, units), b (units,).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or activation, default None
        A function of `nnfast.activations` or its name; None is linear.
    use_bias : bool, default True
    kernel_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, bias_regularizer : str, Regularizer or None, default None
        Penalties of `nnfast.regularizers` that are added to the loss.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> Dense(64, activation="relu").infer_shape((10,))
    (64,)
    """

    _fields = (
        *("units", "activation", "use_bias", "kernel_initializer", "bias_initializer"),
        *("kernel_regularizer", "bias_regularizer"),
    )

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.units = integer("units", units, minimum=1)
        self.activation = activations.resolve(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.resolve(kernel_initializer)
        self.bias_initializer = initializers.resolve(bias_initializer)
        self.kernel_regularizer = regularizers.resolve(kernel_regularizer)
        self.bias_regularizer = regularizers.resolve(bias_regularizer)

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"Dense layer {self.name!r} expects samples with one axis; received shape "
                f"{input_shape}: put Flatten() before it"
            )
        return (self.units,)

    def op(self) -> Op:
        return Op(
            "dense",
            self.activation.name,
            self.activation.alpha,
            kernel_penalty=_penalty(self.kernel_regularizer),
            bias_penalty=_penalty(self.bias_regularizer),
        )

    def parameter_specs(
        self, input_shape: Shape
    ) -> list[tuple[str, Shape, initializers.Initializer]]:
        kernel = ("kernel", (input_shape[0], self.units), self.kernel_initializer)
        bias = ("bias", (self.units,), self.bias_initializer)
        return [kernel, bias] if self.use_bias else [kernel]

    @property
    def kernel(self) -> NDArray[Any]:
        """The kernel (n_in, units), a view into the built model."""
        return self._view("kernel")

    @property
    def bias(self) -> NDArray[Any] | None:
        """The bias (units,), a view into the built model; None without bias."""
        return self._view("bias") if self.use_bias else None

    def _view(self, name: str) -> NDArray[Any]:
        if not self.built:
            raise AttributeError(f"Layer {self.name!r} has no {name} yet: build its model first")
        return self.named_weights[name]


class Activation(Layer):
    """Apply an activation; directly after a linear `Dense` it costs no pass of its own.

    Parameters
    ----------
    activation : str or activation
    **options
        See `Layer`.

    Examples
    --------
    >>> Activation("softmax", name="probabilities")
    Activation(name='probabilities', activation='softmax')
    """

    _fields = ("activation",)

    def __init__(
        self, activation: str | activations.Activation, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.activation = activations.resolve(activation)

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1 and not self.activation.elementwise:
            raise ValueError(
                f"Activation {self.activation.name!r} of layer {self.name!r} expects samples "
                f"with one axis; received shape {input_shape}"
            )
        return input_shape

    def op(self) -> Op | None:
        name = self.activation.name
        return None if name == "linear" else Op("activation", name, self.activation.alpha)


class Dropout(Layer):
    """In training, zero each input with probability `rate` and divide the rest by 1 − rate.

    The mask depends on the model's seed, the epoch, the layer and the row alone
    (Srivastava et al., 2014).

    Parameters
    ----------
    rate : float
        From 0 (the layer does nothing) to below 1.
    **options
        See `Layer`.

    Examples
    --------
    >>> Dropout(0.2).rate
    0.2
    """

    _fields = ("rate",)

    def __init__(self, rate: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.rate = real("rate", rate, low=0.0, below=1.0)

    def op(self) -> Op | None:
        return Op("dropout", alpha=self.rate) if self.rate else None


class Flatten(Layer):
    """Make each sample one row: (n, a, b, …) → (n, a·b·…), in C order.

    Examples
    --------
    >>> Flatten().infer_shape((28, 28))
    (784,)
    """

    def infer_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)


class Reshape(Layer):
    """Give each sample another shape, in C order.

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch axis; one entry may be -1, to be inferred.
    **options
        See `Layer`.

    Examples
    --------
    >>> Reshape((-1, 28)).infer_shape((784,))
    (28, 28)
    """

    _fields = ("target_shape",)

    def __init__(self, target_shape: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        sizes = [-1 if size == -1 else size for size in target_shape]
        shape("target_shape", [1 if size == -1 else size for size in sizes])
        if sizes.count(-1) > 1:
            raise ValueError(f"target_shape can have one -1; received {tuple(target_shape)}")
        self.target_shape = tuple(int(size) for size in sizes)

    def infer_shape(self, input_shape: Shape) -> Shape:
        size = math.prod(input_shape)
        known = math.prod(entry for entry in self.target_shape if entry != -1)
        inferred = size // known if known else 0
        out = tuple(inferred if entry == -1 else entry for entry in self.target_shape)
        if math.prod(out) != size:
            raise ValueError(
                f"Reshape layer {self.name!r} cannot give samples of shape {input_shape} "
                f"({size} elements) the shape {self.target_shape}"
            )
        return out


class Rescaling(Layer):
    """y = scale·x + offset. As a model's first layer it is part of reading the input.

    Parameters
    ----------
    scale : float
    offset : float, default 0.0
    **options
        See `Layer`.

    Examples
    --------
    >>> Rescaling(1 / 255, name="to_unit").offset
    0.0
    """

    _fields = ("scale", "offset")

    def __init__(self, scale: float, offset: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.scale = real("scale", scale)
        self.offset = real("offset", offset)

    def op(self) -> Op:
        return Op("affine", alpha=self.scale, beta=self.offset)


TABLE: dict[str, type[Layer]] = {
    cls.__name__: cls for cls in (Dense, Activation, Dropout, Flatten, Reshape, Rescaling)
}


# Keras' name.
serialize = describe


def deserialize(description: Mapping[str, Any]) -> Layer:
    """Return the layer, with new weights, that ``{"class_name": …, "config": …}`` describes.

    Raises
    ------
    ValueError
        If there is no such layer, or `description` is no such dict.

    Examples
    --------
    >>> deserialize(serialize(Flatten(name="flat")))
    Flatten(name='flat')
    """
    if not isinstance(description, Mapping) or not {"class_name", "config"} <= description.keys():
        raise ValueError(
            f'Expected a layer as {{"class_name": …, "config": …}}; received {description!r}'
        )
    table = TABLE | {"InputLayer": InputLayer}
    return choose("layer", description["class_name"], table).from_config(description["config"])


def assign(whose: str, views: Sequence[NDArray[Any]], weights: Sequence[ArrayLike]) -> None:
    """Copy `weights` into `views` after checking their number and every shape."""
    if len(weights) != len(views):
        raise ValueError(
            f"set_weights of {whose} expects {len(views)} arrays; received {len(weights)}"
        )
    arrays = [real_array(f"weights[{i}]", weight) for i, weight in enumerate(weights)]
    for i, (view, array) in enumerate(zip(views, arrays, strict=True)):
        if array.shape != view.shape:
            raise ValueError(
                f"set_weights of {whose} expects shape {view.shape} for array {i}; "
                f"received {array.shape}"
            )
    for view, array in zip(views, arrays, strict=True):
        view[...] = array


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name must be a non-empty string without '/'; received {name!r}")
    return name


def _penalty(regularizer: regularizers.L1L2 | None) -> tuple[float, float]:
    return (0.0, 0.0) if regularizer is None else regularizer.penalty


def _plain(value: Any) -> Any:
    if isinstance(value, activations.Activation):
        return value.name
    return plain(value)
