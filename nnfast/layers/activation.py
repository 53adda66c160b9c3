"""Layers that only apply an activation function, and the ops of activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

from nnfast import activations, constraints, initializers, regularizers
from nnfast._plan.spec import Op, Weight
from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import Shape, entries, integer, real
from nnfast._utils.variable import Variable
from nnfast.layers.axes import Axis, along_last, axis_or_axes, sample_axes
from nnfast.layers.layer import Layer, LayerOptions

__all__ = [
    "ELU",
    "LeakyReLU",
    "PReLU",
    "ReLU",
    "Softmax",
]


class ClippedReluSettings(NamedTuple):
    """The settings of a relu with arguments."""

    negative_slope: float
    max_value: float
    threshold: float


def activation_ops(activation: activations.Activation) -> list[Op]:
    """Return the ops of an activation function; fusion may fold them into the op before them."""
    if activation.name == "linear":
        return []
    if activation.is_general_relu:
        most = math.inf if activation.max_value is None else activation.max_value
        settings = ClippedReluSettings(activation.alpha, most, activation.threshold)
        return [Op("clipped_relu", settings=settings, weights=())]
    return [Op("activation", activation.name, activation.alpha, weights=())]


class _Function(Layer):
    """Base class of the layers that apply a function of `nnfast.activations`."""

    passes_mask = True

    @property
    def function(self) -> activations.Activation:
        """The function that the layer applies."""
        raise NotImplementedError

    def ops(self, input_shape: Shape) -> list[Op]:
        return activation_ops(self.function)


class LeakyReLU(_Function):
    """Compute y = x if x > 0, else negative_slope·x.

    Directly after a linear `Dense`, convolution or normalization, the function is fused into that
    layer, as with ``activation=``.

    Parameters
    ----------
    negative_slope : float, default 0.3
        At least 0.
    alpha : float, optional
        The older name of `negative_slope`.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.Sequential([LeakyReLU(0.5, input_dim=2)]).predict([[-2.0, 3.0]])
    array([[-1.,  3.]], dtype=float32)
    """

    _fields = ("negative_slope",)

    def __init__(
        self,
        negative_slope: float = 0.3,
        *,
        alpha: float | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        name, slope = ("negative_slope", negative_slope) if alpha is None else ("alpha", alpha)
        self.negative_slope = real(name, slope, low=0.0)

    @property
    def function(self) -> activations.Activation:
        return activations.leaky_relu.configured(negative_slope=self.negative_slope)


class ReLU(_Function):
    """Compute y = min(x, max_value) if x > threshold, else negative_slope·(x − threshold).

    Directly after a linear `Dense`, convolution or normalization, the function is fused into that
    layer if it has only a `negative_slope`, or only ``max_value=6``.

    Parameters
    ----------
    max_value : float, optional
        The largest output; None means that there is no limit.
    negative_slope : float, default 0.0
    threshold : float, default 0.0
        All three must be at least 0.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([ReLU(4.0, 0.5, threshold=1.0, input_dim=3)])
    >>> model.predict([[0.5, 2.0, 9.0]])
    array([[-0.25,  2.  ,  4.  ]], dtype=float32)
    """

    _fields = ("max_value", "negative_slope", "threshold")

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else real("max_value", max_value, low=0.0)
        self.negative_slope = real("negative_slope", negative_slope, low=0.0)
        self.threshold = real("threshold", threshold, low=0.0)

    @property
    def function(self) -> activations.Activation:
        return activations.relu.configured(
            negative_slope=self.negative_slope,
            max_value=self.max_value,
            threshold=self.threshold,
        )


class PReLU(Layer):
    """Compute y = x if x > 0, else alpha·x, with trainable slopes alpha (He et al., 2015).

    Parameters
    ----------
    alpha_initializer : str or Initializer, default "Zeros"
    alpha_regularizer : str, Regularizer or None, default None
    alpha_constraint : str, Constraint or None, default None
    shared_axes : int or sequence of int, optional
        The axes along which the slopes are the same, counted from 1, as axis 0 is the batch. With
        ``[1, 2]``, images (height, width, channels) have one slope per channel. By default, every
        element of a sample has its own slope.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> layer = PReLU("ones", shared_axes=[1, 2], input_shape=(8, 8, 3))
    >>> nnfast.Sequential([layer]).count_params()
    3
    >>> layer.alpha.shape
    (1, 1, 3)
    """

    passes_mask = True

    alpha_initializer: initializers.Initializer
    alpha_regularizer: regularizers.L1L2 | None
    alpha_constraint: constraints.Constraint | None

    _fields = ("alpha_initializer", "alpha_regularizer", "alpha_constraint", "shared_axes")

    def __init__(
        self,
        alpha_initializer: str | initializers.Initializer = "Zeros",
        alpha_regularizer: str | regularizers.L1L2 | None = None,
        alpha_constraint: str | constraints.Constraint | None = None,
        shared_axes: int | Sequence[int] | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._configure_weight("alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        self.shared_axes = None if shared_axes is None else _check_shared_axes(shared_axes)

    def infer_shape(self, input_shape: Shape) -> Shape:
        self._own_axes(input_shape)
        return input_shape

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        own = self._own_axes(input_shape)
        shape = tuple(size if i in own else 1 for i, size in enumerate(input_shape))
        return [self._weight("alpha", shape)]

    def ops(self, input_shape: Shape) -> list[Op]:
        own = self._own_axes(input_shape)
        ndim = len(input_shape)
        if own == list(range(ndim - len(own), ndim)):
            return [Op("prelu", axes=len(own))]
        return along_last(Op("prelu", axes=1), input_shape, own)

    def _own_axes(self, input_shape: Shape) -> list[int]:
        """Return the positions in the shape of a sample of the axes that are not shared."""
        shared = () if self.shared_axes is None else self.shared_axes
        positions = sample_axes(self, shared, input_shape)
        return [i for i in range(len(input_shape)) if i not in positions]

    @property
    def alpha(self) -> Variable:
        """The slopes, a view of the built model's weights."""
        return self._variable("alpha")


def _check_shared_axes(shared_axes: int | Sequence[int]) -> tuple[int, ...]:
    several = isinstance(shared_axes, (list, tuple))
    axes = entries("shared_axes", shared_axes) if several else [shared_axes]
    found = tuple(integer("each of shared_axes", axis, minimum=1) for axis in axes)
    if len(set(found)) < len(found):
        raise ValueError(f"shared_axes must be different axes; received {shared_axes!r}")
    return found


class ELU(_Function):
    """Compute y = x if x > 0, else alpha·(eˣ − 1) (Clevert, Unterthiner and Hochreiter, 2016).

    Directly after a linear `Dense`, convolution or normalization, the function is fused into that
    layer, as with ``activation=``.

    Parameters
    ----------
    alpha : float, default 1.0
        At least 0.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.Sequential([ELU(2.0, input_dim=2)]).predict([[-100.0, 3.0]])
    array([[-2.,  3.]], dtype=float32)
    """

    _fields = ("alpha",)

    def __init__(self, alpha: float = 1.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.alpha = real("alpha", alpha, low=0.0)

    @property
    def function(self) -> activations.Activation:
        return activations.elu.configured(alpha=self.alpha)


class Softmax(_Function):
    """Compute y = exp(x) / Σ exp(x), with sums along an axis or several axes.

    Directly after a linear `Dense` or normalization, a softmax along the last axis is fused into
    that layer, as with ``activation=``.

    Parameters
    ----------
    axis : int or sequence of int, default -1
        Axis 0 is the batch, which cannot be one of them.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([Softmax(axis=1, input_shape=(2, 1))])
    >>> model.predict([[[0.0], [0.0]]]).tolist()
    [[[0.5], [0.5]]]
    """

    _fields = ("axis",)

    def __init__(
        self, axis: int | list[int] | tuple[int, ...] = -1, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.axis: Axis = axis_or_axes("axis", axis)

    def __call__(self, x: Any, mask: object = None, *, training: bool | None = None) -> KerasTensor:
        """Return the symbolic output for a symbolic input, as in `Layer`; `mask` must be None."""
        if mask is not None:
            raise ValueError(
                f"Softmax layer {self.name!r} cannot take a mask yet; mask must be None, received "
                f"{type(mask).__name__}"
            )
        return super().__call__(x, training=training)

    @property
    def function(self) -> activations.Activation:
        return activations.softmax.configured(axis=self.axis)

    def infer_shape(self, input_shape: Shape) -> Shape:
        sample_axes(self, self.axis, input_shape)
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        (op,) = activation_ops(activations.softmax)
        return along_last(op, input_shape, sample_axes(self, self.axis, input_shape))
