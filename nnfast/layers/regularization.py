"""Regularization layers: dropout, noise, and penalties that are added to the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

from nnfast import regularizers
from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, entries, integer, real
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.merging import Merge
from nnfast.layers.resampling import check_seed
from nnfast.layers.window import channels_last

__all__ = [
    "ActivityRegularization",
    "AddLoss",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
]

Axes = tuple[int, int, int]


class DropoutSettings(NamedTuple):
    """The settings of a dropout.

    If `seeded`, `seed` is the key of the random stream; otherwise, the model's seed is the key. If
    `broadcast`, a sample has axes of 3 `sizes`, and its element (a, b, c) has the mask's element
    a·strides[0] + b·strides[1] + c·strides[2]. The elements that are kept become scale·x + offset,
    the others `dropped`. The offset is −0 by default, because adding that changes no number.
    """

    rate: float
    seeded: bool = False
    seed: int = 0
    broadcast: bool = False
    sizes: tuple[int, int, int] = (1, 1, 1)
    strides: tuple[int, int, int] = (0, 0, 0)
    scale: float = 0.0
    offset: float = -0.0
    dropped: float = 0.0


class NoiseSettings(NamedTuple):
    """The settings of Gaussian noise; `seeded` and `seed` as in `DropoutSettings`.

    The noise is added to x or, if `multiplies`, x is multiplied by 1 + noise.
    """

    stddev: float
    seeded: bool = False
    seed: int = 0
    multiplies: bool = False


class _Masked(Layer):
    """Base class of the layers that draw a mask, whose elements a sample may share."""

    passes_mask = True
    training_differs = True
    rate: float
    seed: int | None
    noise_shape: tuple[int | None, ...] | None

    def _mask_shape(self) -> tuple[int | None, ...] | None:
        """Return the shape of the mask of a batch; None if no element shares a mask element."""
        return self.noise_shape

    def _with_values(self, settings: DropoutSettings) -> DropoutSettings:
        """Return the settings with what becomes of the elements that are kept or dropped."""
        return settings._replace(scale=1 / (1 - self.rate)) if self.rate < 1 else settings

    def infer_shape(self, input_shape: Shape) -> Shape:
        self._mask(input_shape)
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        if self.rate == 0.0:
            return []
        seeded = self.seed is not None
        settings = self._with_values(DropoutSettings(self.rate, seeded, self.seed or 0))
        mask = self._mask(input_shape)
        if mask is not None:
            sizes, strides = mask
            settings = settings._replace(broadcast=True, sizes=sizes, strides=strides)
        return [Op("dropout", settings=settings, whole_samples=mask is not None)]

    def _mask(self, input_shape: Shape) -> tuple[Axes, Axes] | None:
        """Return the sizes and strides of `DropoutSettings`, or None if no element shares a mask.

        Adjacent axes that are both shared, or both not, become one axis.
        """
        mask_shape = self._mask_shape()
        if mask_shape is None:
            return None
        shape = mask_shape[1:]
        if len(shape) != len(input_shape) or any(
            n not in (None, 1, size) for n, size in zip(shape, input_shape, strict=True)
        ):
            raise ValueError(
                f"noise_shape of layer {self.name!r} must have the inputs' size, 1 or None on each "
                f"axis of {(None, *input_shape)}; received {mask_shape}"
            )
        merged: list[tuple[int, bool]] = []
        for n, size in zip(shape, input_shape, strict=True):
            shared = n == 1 and size != 1
            if merged and merged[-1][1] == shared:
                merged[-1] = (merged[-1][0] * size, shared)
            else:
                merged.append((size, shared))
        if len(merged) > 3:
            raise ValueError(
                f"noise_shape of layer {self.name!r} alternates between shared and other axes more "
                f"than twice, which is not supported; received {mask_shape}"
            )
        merged = [(1, True)] * (3 - len(merged)) + merged
        strides, stride = [0, 0, 0], 1
        for axis in (2, 1, 0):
            size, shared = merged[axis]
            if not shared:
                strides[axis], stride = stride, stride * size
        return tuple(size for size, _ in merged), tuple(strides)  # type: ignore[return-value]


class Dropout(_Masked):
    """In training, zero each input with probability `rate` and divide the others by 1 − rate.

    In inference the layer does nothing. The mask depends only on the model's seed, the epoch, the
    layer and the sample's position in the epoch (Srivastava et al., 2014). With `seed`, it depends
    on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    rate : float
        Dropout rate, from 0 to 1. With 0 the layer does nothing, and with 1 it returns zeros.
    noise_shape : tuple of (int or None), optional
        Shape of the mask of a batch. An axis of size 1 shares the mask: ``(None, 1, channels)``
        drops whole channels of sequences. None means the input's size; the first axis, the batch,
        is None or any number but 1.
    seed : int, optional
        Makes the mask independent of the model's seed.
    **options
        See `Layer`.

    Examples
    --------
    >>> Dropout(0.2).rate
    0.2
    """

    _fields = ("rate", "noise_shape", "seed")

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.rate = real("rate", rate, low=0.0, high=1.0)
        self.noise_shape = None if noise_shape is None else _check_noise_shape(noise_shape)
        self.seed = check_seed(seed)


def _check_noise_shape(noise_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    found = tuple(
        None if n is None else integer("each entry of noise_shape", n, minimum=1)
        for n in entries("noise_shape", noise_shape)
    )
    if not found or found[0] == 1:
        raise ValueError(
            "noise_shape must begin with the batch axis, as None or a number above 1: each sample "
            f"has its own mask; received {noise_shape!r}"
        )
    return found


class _SpatialDropout(_Masked):
    """Base class of the layers that drop whole channels."""

    # The number of axes of a sample.
    _ndim: ClassVar[int]

    def _configure(self, rate: float, seed: int | None) -> None:
        self.rate = real("rate", rate, low=0.0, high=1.0)
        self.seed = check_seed(seed)

    def _mask_shape(self) -> tuple[int | None, ...]:
        return (None, *(1,) * (self._ndim - 1), None)

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != self._ndim:
            kind = "(steps, channels)" if self._ndim == 2 else "(height, width, channels)"
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects samples of shape {kind}; "
                f"received shape {input_shape}"
            )
        return input_shape


class SpatialDropout1D(_SpatialDropout):
    """In training, drop whole channels of sequences (steps, channels).

    Each channel of a sample is zeroed with probability `rate`; the others are divided by 1 − rate
    (Tompson et al., 2015). Otherwise like `Dropout`.

    Parameters
    ----------
    rate : float
        Dropout rate, from 0 to 1.
    seed : int, optional
        Makes the mask independent of the model's seed.
    **options
        See `Layer`.

    Examples
    --------
    >>> SpatialDropout1D(0.2).infer_shape((10, 8))
    (10, 8)
    """

    _fields = ("rate", "seed")
    _ndim = 2

    def __init__(
        self, rate: float, seed: int | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self._configure(rate, seed)


class SpatialDropout2D(_SpatialDropout):
    """In training, drop whole channels of images (height, width, channels).

    Each channel of a sample is zeroed with probability `rate`; the others are divided by 1 − rate
    (Tompson et al., 2015). Otherwise like `Dropout`.

    Parameters
    ----------
    rate : float
        Dropout rate, from 0 to 1.
    data_format : str, optional
        None or ``"channels_last"``, the only supported format.
    seed : int, optional
        Makes the mask independent of the model's seed.
    **options
        See `Layer`.

    Examples
    --------
    >>> SpatialDropout2D(0.2).infer_shape((5, 6, 8))
    (5, 6, 8)
    """

    _fields = ("rate", "data_format", "seed")
    _ndim = 3

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.data_format = channels_last(data_format)
        self._configure(rate, seed)


# The value to which selu converges for x → −∞, −scale·alpha.
_SELU_LIMIT = -1.0507009873554805 * 1.6732632423543772


class AlphaDropout(_Masked):
    """A dropout after which standardized inputs still have mean 0 and variance 1, for selu.

    In training, y = a·x + b, where each x is replaced by α′ = −1.758… with probability `rate`,
    a = 1/√((1 − rate)·(1 + rate·α′²)) and b = −a·α′·rate (Klambauer et al., 2017). In inference the
    layer does nothing. The mask is drawn as in `Dropout`.

    Parameters
    ----------
    rate : float
        Dropout rate, at least 0 and below 1. With 0 the layer does nothing.
    noise_shape, seed
        As in `Dropout`.
    **options
        See `Layer`.

    Examples
    --------
    >>> AlphaDropout(0.2).rate
    0.2
    """

    _fields = ("rate", "noise_shape", "seed")

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.rate = real("rate", rate, low=0.0, below=1.0)
        self.noise_shape = None if noise_shape is None else _check_noise_shape(noise_shape)
        self.seed = check_seed(seed)

    def _with_values(self, settings: DropoutSettings) -> DropoutSettings:
        scale = ((1 - self.rate) * (1 + self.rate * _SELU_LIMIT**2)) ** -0.5
        offset = -scale * _SELU_LIMIT * self.rate
        dropped = scale * _SELU_LIMIT + offset
        return settings._replace(scale=scale, offset=offset, dropped=dropped)


class GaussianNoise(Layer):
    """In training, add Gaussian noise with mean 0 to each input; do nothing in inference.

    The noise depends only on the model's seed, the epoch, the layer and the sample's position in
    the epoch. With `seed`, it depends on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    stddev : float
        Standard deviation, at least 0. With 0 the layer does nothing.
    seed : int, optional
        Makes the noise independent of the model's seed.
    **options
        See `Layer`.

    Examples
    --------
    >>> GaussianNoise(0.1).stddev
    0.1
    """

    passes_mask = True
    _fields = ("stddev", "seed")
    training_differs = True

    def __init__(
        self, stddev: float, seed: int | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.stddev = real("stddev", stddev, low=0.0)
        self.seed = check_seed(seed)

    def ops(self, input_shape: Shape) -> list[Op]:
        settings = NoiseSettings(self.stddev, self.seed is not None, self.seed or 0)
        return [Op("noise", settings=settings)] if self.stddev else []


class GaussianDropout(Layer):
    """In training, multiply each input by a normal number with mean 1; do nothing in inference.

    The standard deviation is √(rate / (1 − rate)), as that of the factors of `Dropout` (Srivastava
    et al., 2014). The noise is drawn as in `GaussianNoise`.

    Parameters
    ----------
    rate : float
        At least 0 and below 1. With 0 the layer does nothing.
    seed : int, optional
        Makes the noise independent of the model's seed.
    **options
        See `Layer`.

    Examples
    --------
    >>> GaussianDropout(0.2).rate
    0.2
    """

    passes_mask = True
    _fields = ("rate", "seed")
    training_differs = True

    def __init__(
        self, rate: float, seed: int | None = None, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.rate = real("rate", rate, low=0.0, below=1.0)
        self.seed = check_seed(seed)

    def ops(self, input_shape: Shape) -> list[Op]:
        stddev = math.sqrt(self.rate / (1 - self.rate))
        settings = NoiseSettings(stddev, self.seed is not None, self.seed or 0, multiplies=True)
        return [Op("noise", settings=settings)] if self.rate else []


class ActivityRegularization(Layer):
    """Return the inputs x unchanged; add the mean over the rows of l1·Σ|x| + l2·Σx² to the loss.

    Parameters
    ----------
    l1, l2 : float, default 0.0
        Factors of the penalty, at least 0.
    **options
        See `Layer`.

    Examples
    --------
    >>> ActivityRegularization(l1=0.01).activity_regularizer
    L1L2(l1=0.01, l2=0.0)
    """

    passes_mask = True
    _fields = ("l1", "l2")

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        if "activity_regularizer" in options:
            raise TypeError("ActivityRegularization takes l1 and l2, not activity_regularizer")
        options["activity_regularizer"] = regularizers.L1L2(l1, l2)
        super().__init__(**options)
        self.l1 = real("l1", l1, low=0.0)
        self.l2 = real("l2", l2, low=0.0)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activity_regularizer"]
        return config


class PenaltySettings(NamedTuple):
    """The settings of a penalty that other layers compute."""

    weight: float


class AddLoss(Merge):
    """Return the first input unchanged; add the mean over the rows of weight·Σ penalty to the loss.

    It is called on a list ``[x, penalty]`` of two tensors. The penalty may have any shape: its
    elements are added up for each row. Like activity regularizers, it is part of the loss in
    training and evaluation, and sample weights do not change it. It counts in those models whose
    outputs depend on the layer's output. If possible, choose an x inside the model: a loss of the
    layer's own output is not combined with a softmax or sigmoid before the layer, which is slower
    and less accurate.

    Parameters
    ----------
    weight : float, default 1.0
        Factor of the penalty.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> x = nnfast.Input((4,))
    >>> h = nnfast.layers.Dense(8)(x)
    >>> y = nnfast.layers.Dense(1)(AddLoss(0.5)([h, h**2]))
    >>> model = nnfast.Model(x, y)
    """

    passes_mask = True
    n_inputs = 2
    _fields = ("weight",)

    def __init__(self, weight: float = 1.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.weight = real("weight", weight)

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        return input_shape

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        return [Op("penalty", settings=PenaltySettings(self.weight), operands=(0, 1))]
