"""The normalization layers: over the batch, within a sample, or with a data set's statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import constraints, initializers, regularizers
from nnfast._data import batches
from nnfast._plan.spec import Op, Weight
from nnfast._utils import checks
from nnfast._utils.checks import Shape, flag, integer, real
from nnfast._utils.variable import Variable
from nnfast.layers.axes import axis_or_axes
from nnfast.layers.layer import Layer, LayerOptions

__all__ = [
    "BatchNormalization",
    "LayerNormalization",
    "Normalization",
]

Floats = NDArray[np.float64]


class BatchNormSettings(NamedTuple):
    """The settings of a batch normalization."""

    epsilon: float
    momentum: float


class LayerNormSettings(NamedTuple):
    """The settings of a layer normalization."""

    epsilon: float


class StandardizeSettings(NamedTuple):
    """The settings of a normalization with fixed statistics."""

    invert: bool


# Rows per block in `Normalization.adapt`.
_ADAPT_ROWS = 4096


def _last_axes(layer: Layer, axes: Sequence[int], shape: Shape) -> Shape:
    """Return the sizes of `axes`, which must be the last axes of samples of `shape`.

    Axes are numbered as in Keras: axis 0 is the batch axis.
    """
    ndim = len(shape) + 1
    chosen = sorted(axis % ndim if -ndim <= axis < ndim else 0 for axis in axes)
    if chosen != list(range(ndim - len(chosen), ndim)) or 0 in chosen:
        raise ValueError(
            f"axis of layer {layer.name!r} must be the last axis, or several axes that are the "
            f"last ones, of batches of shape {(None, *shape)}; received "
            f"{axes if len(axes) != 1 else axes[0]}"
        )
    return shape[len(shape) - len(chosen) :]


class Scaled(Layer):
    """Base class of the normalizations with a trainable scale gamma and offset beta."""

    passes_mask = True
    _fields: ClassVar[tuple[str, ...]] = (
        *("axis", "epsilon", "center", "scale", "beta_initializer", "gamma_initializer"),
        *("beta_regularizer", "gamma_regularizer", "beta_constraint", "gamma_constraint"),
    )

    gamma_initializer: initializers.Initializer
    gamma_regularizer: regularizers.L1L2 | None
    gamma_constraint: constraints.Constraint | None
    beta_initializer: initializers.Initializer
    beta_regularizer: regularizers.L1L2 | None
    beta_constraint: constraints.Constraint | None

    def _configure_scaling(
        self, axis: int | Sequence[int], epsilon: float, center: bool, scale: bool
    ) -> None:
        self.axes = _axes(axis)
        self.axis = self.axes if len(self.axes) > 1 else self.axes[0]
        self.epsilon = real("epsilon", epsilon, low=0.0)
        self.center = flag("center", center)
        self.scale = flag("scale", scale)

    def _scaled_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of gamma and beta."""
        return _last_axes(self, self.axes, input_shape)

    def infer_shape(self, input_shape: Shape) -> Shape:
        self._scaled_shape(input_shape)
        return input_shape

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        shape = self._scaled_shape(input_shape)
        wanted = {"gamma": self.scale, "beta": self.center}
        return [self._weight(name, shape) for name, there in wanted.items() if there]

    @property
    def gamma(self) -> Variable | None:
        """The scale, a view of the built model's weights; None if the layer has no scale."""
        return self._variable("gamma") if self.scale else None

    @property
    def beta(self) -> Variable | None:
        """The offset, a view of the built model's weights; None if the layer has no offset."""
        return self._variable("beta") if self.center else None


class BatchNormalization(Scaled):
    """Normalize over the batch: y = gamma·(x − mean) / √(variance + epsilon) + beta.

    In training, the mean and the (biased) variance are those of the batch. They are computed over
    all axes but the last, separately for each entry of the last axis. In inference, the layer uses
    moving averages, which training updates by moving ← momentum·moving + (1 − momentum)·batch. A
    frozen layer (`trainable` False) uses the moving averages in training, too (Ioffe and Szegedy,
    2015). If the input is a sequence with a mask, the mean and variance are those of the real steps
    of the batch. All steps are normalized with them. A batch without real steps leaves the moving
    averages as they are.

    Parameters
    ----------
    axis : int, default -1
        The axis whose entries are normalized separately; it must be the last axis.
    momentum : float, default 0.99
        Momentum of the moving averages, from 0 to 1.
    epsilon : float, default 0.001
        Added to the variance; at least 0.
    center, scale : bool, default True
        Whether the layer has a beta, and whether it has a gamma.
    beta_initializer, gamma_initializer : str or Initializer, default "zeros" and "ones"
    moving_mean_initializer : str or Initializer, default "zeros"
    moving_variance_initializer : str or Initializer, default "ones"
    beta_regularizer, gamma_regularizer : str, Regularizer or None, default None
    beta_constraint, gamma_constraint : str, Constraint or None, default None
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> layer = BatchNormalization(input_dim=3)
    >>> model = nnfast.Sequential([layer])
    >>> [w.shape for w in layer.trainable_weights], len(layer.non_trainable_weights)
    ([(3,), (3,)], 2)
    """

    _fields = (
        *Scaled._fields,
        "momentum",
        "moving_mean_initializer",
        "moving_variance_initializer",
    )
    training_differs = True
    uses_mask = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        moving_mean_initializer: str | initializers.Initializer = "zeros",
        moving_variance_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: str | regularizers.L1L2 | None = None,
        gamma_regularizer: str | regularizers.L1L2 | None = None,
        beta_constraint: str | constraints.Constraint | None = None,
        gamma_constraint: str | constraints.Constraint | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        axis = integer("axis", axis, minimum=-64)
        super().__init__(**options)
        self._configure_scaling(axis, epsilon, center, scale)
        self._configure_weight("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self._configure_weight("beta", beta_initializer, beta_regularizer, beta_constraint)
        self.momentum = real("momentum", momentum, low=0.0, high=1.0)
        self.moving_mean_initializer = initializers.resolve(moving_mean_initializer)
        self.moving_variance_initializer = initializers.resolve(moving_variance_initializer)

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("batch_norm", settings=BatchNormSettings(self.epsilon, self.momentum), axes=1)]

    def masked_ops(self, *shapes: Shape) -> list[Op]:
        shape, mask = shapes
        if len(shape) != 2:
            raise ValueError(
                f"The input of BatchNormalization layer {self.name!r} has a mask of {mask[0]} "
                f"steps, so its samples must have shape (steps, features); received {shape}"
            )
        return [replace(op, operands=(0, 1)) for op in self.ops(shape)]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        shape = input_shape[-1:]
        mean = Weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        variance = Weight(
            "moving_variance", shape, self.moving_variance_initializer, trainable=False
        )
        return [*super().weight_specs(input_shape), mean, variance]

    @property
    def moving_mean(self) -> Variable:
        """The moving average of the batches' means, a view of the built model's weights."""
        return self._variable("moving_mean")

    @property
    def moving_variance(self) -> Variable:
        """The moving average of the batches' variances, a view of the built model's weights."""
        return self._variable("moving_variance")


class LayerNormalization(Scaled):
    """Normalize within each sample: y = gamma·(x − mean) / √(variance + epsilon) + beta.

    The mean and the (biased) variance are taken over the axes in `axis` (Ba, Kiros and Hinton,
    2016).

    Parameters
    ----------
    axis : int or sequence of int, default -1
        The last axis, or several trailing axes.
    epsilon : float, default 0.001
        Added to the variance; at least 0.
    center, scale : bool, default True
        Whether the layer has a beta, and whether it has a gamma.
    beta_initializer, gamma_initializer : str or Initializer, default "zeros" and "ones"
    beta_regularizer, gamma_regularizer : str, Regularizer or None, default None
    beta_constraint, gamma_constraint : str, Constraint or None, default None
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([LayerNormalization(epsilon=0.0, input_dim=2)])
    >>> model.predict([[1.0, 3.0]])
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: str | regularizers.L1L2 | None = None,
        gamma_regularizer: str | regularizers.L1L2 | None = None,
        beta_constraint: str | constraints.Constraint | None = None,
        gamma_constraint: str | constraints.Constraint | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._configure_scaling(axis, epsilon, center, scale)
        self._configure_weight("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self._configure_weight("beta", beta_initializer, beta_regularizer, beta_constraint)

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("layer_norm", settings=LayerNormSettings(self.epsilon), axes=len(self.axes))]


class Normalization(Layer):
    """Standardize with the statistics of a data set: y = (x − mean) / √variance.

    Parameters
    ----------
    axis : int, sequence of int or None, default -1
        The last axis, or several trailing axes. Every entry along these axes has its own mean and
        variance. With None, one mean and one variance apply to all entries.
    mean, variance : float or array_like, optional
        Must be given together, with variance at least 0. Otherwise `adapt` sets them; until then
        they are 0 and 1.
    invert : bool, default False
        Compute the inverse, y = x·√variance + mean.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> layer = Normalization()
    >>> layer.adapt([[0.0, 5.0], [2.0, 5.0]])
    >>> nnfast.Sequential([layer]).predict([[0.0, 5.0], [4.0, 5.0]])
    array([[-1.,  0.],
           [ 3.,  0.]], dtype=float32)
    """

    passes_mask = True
    _fields = ("axis", "invert")

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: float | ArrayLike | None = None,
        variance: float | ArrayLike | None = None,
        invert: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.axes = () if axis is None else _axes(axis)
        self.axis = None if axis is None else self.axes if len(self.axes) > 1 else self.axes[0]
        self.invert = flag("invert", invert)
        if (mean is None) != (variance is None):
            raise ValueError(
                f"mean and variance must be given together; received mean={mean!r} and "
                f"variance={variance!r}"
            )
        self.input_mean = None if mean is None else checks.real_array("mean", mean).tolist()
        self.input_variance = (
            None if variance is None else checks.real_array("variance", variance).tolist()
        )
        self._moments = np.zeros(()), np.ones(())
        if mean is not None:
            self._moments = np.array(self.input_mean, float), np.array(self.input_variance, float)
        if not (self._moments[1] >= 0).all():
            raise ValueError(f"variance must be at least 0; received {variance!r}")

    @property
    def mean(self) -> Floats:
        """The mean of the data; 0 until it is set by the constructor or `adapt`."""
        return self.named_weights.get("mean", self._moments[0])

    @property
    def variance(self) -> Floats:
        """The variance of the data; 1 until it is set by the constructor or `adapt`."""
        return self.named_weights.get("variance", self._moments[1])

    def adapt(self, data: Any) -> None:
        """Set the mean and variance to those of a data set.

        Parameters
        ----------
        data : array_like (n, ...) or iterable of batches
            All the data in one array, or batches of data. If a batch is a tuple ``(x, y)``, only
            x is used.

        Raises
        ------
        TypeError, ValueError
            If mean and variance were passed to the constructor, `data` is empty, or the shape of
            `data` does not fit.
        """
        if self.input_mean is not None:
            raise ValueError(
                f"The mean and variance of layer {self.name!r} were given to its constructor, so "
                "there is nothing to adapt"
            )
        count, mean, square = 0, np.zeros(()), np.zeros(())
        for block in _blocks(data):
            sizes = _last_axes(self, self.axes, block.shape[1:])
            over = tuple(range(block.ndim - len(sizes)))
            n = math.prod(block.shape[: len(over)])
            if n == 0:
                continue
            if count and sizes != mean.shape:
                raise ValueError(
                    "data must be batches of samples of one shape; received "
                    f"{sizes} after {mean.shape}"
                )
            # Merge the moments of the blocks as in Chan, Golub and LeVeque (1979).
            block_mean = block.mean(axis=over, dtype=np.float64)
            delta = block_mean - mean
            square = (
                square
                + ((block - block_mean) ** 2).sum(axis=over)
                + delta**2 * (n * count / (n + count))
            )
            mean = mean + delta * (n / (n + count))
            count += n
        if count == 0:
            raise ValueError("data must have at least one row; received none")
        if self.built and mean.shape != self.mean.shape:
            raise ValueError(
                f"Layer {self.name!r} has a mean of shape {self.mean.shape}; the mean of data has "
                f"shape {mean.shape}"
            )
        self._moments = mean, square / count
        for name, values in zip(self.named_weights, self._moments, strict=False):
            self.named_weights[name][...] = values

    def infer_shape(self, input_shape: Shape) -> Shape:
        sizes = _last_axes(self, self.axes, input_shape)
        for values in self._moments:
            try:
                np.broadcast_to(values, sizes)
            except ValueError:
                raise ValueError(
                    f"Layer {self.name!r} has a mean or variance of shape {values.shape}, which "
                    f"cannot be broadcast to {sizes} for samples of shape {input_shape}"
                ) from None
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("standardize", settings=StandardizeSettings(self.invert), axes=len(self.axes))]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        sizes = _last_axes(self, self.axes, input_shape)
        return [
            Weight("mean", sizes, _Values(self._moments[0]), trainable=False),
            Weight("variance", sizes, _Values(self._moments[1]), trainable=False),
        ]

    def get_config(self) -> dict[str, Any]:
        given = {"mean": self.input_mean, "variance": self.input_variance}
        return super().get_config() | given


class _Values(initializers.Initializer):
    """An initializer that returns known values, broadcast to the shape."""

    def __init__(self, values: Floats) -> None:
        object.__setattr__(self, "values", values)

    def draw(self, shape: Shape, rng: np.random.Generator) -> Floats:
        values: Floats = self.values  # type: ignore[attr-defined]
        return np.broadcast_to(values, shape)


def _axes(axis: object) -> tuple[int, ...]:
    axes = axis_or_axes("axis", axis)
    return axes if isinstance(axes, tuple) else (axes,)


def _blocks(data: Any) -> Iterable[Floats]:
    """Yield the data as float64 blocks of at most `_ADAPT_ROWS` rows."""
    parts: Iterable[Any] = [data]
    if batches.is_stream(data):
        items = data if hasattr(data, "__iter__") else (data[i] for i in range(len(data)))
        parts = (batches.batch_parts(item, "a batch of data", targets=False)[0] for item in items)
    for batch in parts:
        array = checks.real_array("data", batch)
        if array.ndim < 2:
            raise ValueError(
                f"data must have shape (n, ...), one row per sample; received shape {array.shape}"
            )
        for first in range(0, len(array), _ADAPT_ROWS):
            yield array[first : first + _ADAPT_ROWS].astype(np.float64)
