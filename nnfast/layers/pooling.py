"""The pooling layers."""

from __future__ import annotations

from typing import ClassVar, Unpack

from nnfast._plan.spec import MaskSettings, Op, Window
from nnfast._utils.checks import Shape, flag
from nnfast.layers.layer import LayerOptions
from nnfast.layers.window import Sizes, Windowed, channels_last

__all__ = [
    "AveragePooling1D",
    "AveragePooling2D",
    "AvgPool1D",
    "AvgPool2D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPooling1D",
    "MaxPooling2D",
]


class _Pooling(Windowed):
    """Base class of the layers that pool over a sliding window."""

    _fields = ("pool_size", "strides", "padding", "data_format")
    _kind: ClassVar[str]

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        steps = pool_size if strides is None else strides
        self._set_window(pool_size, steps, padding, data_format, kernel_name="pool_size")

    @property
    def pool_size(self) -> tuple[int, ...]:
        return self._kernel

    def infer_shape(self, input_shape: Shape) -> Shape:
        self._check_images(input_shape)
        return self._outputs(self._window(input_shape, input_shape[-1]))

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op(self._kind, settings=self._window(input_shape, input_shape[-1]))]


class MaxPooling2D(_Pooling):
    """Take the maximum of each window in each channel.

    If several elements equal the maximum, the first receives the gradient.

    Parameters
    ----------
    pool_size : int or tuple of int, default 2
        Height and width of the window.
    strides : int or tuple of int, optional
        Step between windows; by default the pool size, so that windows do not overlap.
    padding : {"valid", "same"}, default "valid"
        With "same", windows may extend beyond the edge; elements outside the image are ignored.
    data_format : {None, "channels_last"}
        Only this layout is supported.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> MaxPooling2D((2, 2)).infer_shape((11, 11, 64))
    (5, 5, 64)
    """

    _kind = "max_pool"


class MaxPooling1D(MaxPooling2D):
    """`MaxPooling2D` over sequences (steps, channels).

    Parameters
    ----------
    pool_size : int, default 2
        Length of the window.
    strides : int, optional
        Step between windows; by default the pool size.
    padding, data_format
        As in `MaxPooling2D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> MaxPooling1D(3).infer_shape((10, 4))
    (3, 4)
    """

    rank = 1


class AveragePooling2D(_Pooling):
    """Take the mean of each window in each channel; elements outside the image are ignored.

    Parameters
    ----------
    pool_size, strides, padding, data_format
        As in `MaxPooling2D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> AveragePooling2D(3, strides=2, padding="same").infer_shape((11, 11, 64))
    (6, 6, 64)
    """

    _kind = "average_pool"


class AveragePooling1D(AveragePooling2D):
    """`AveragePooling2D` over sequences (steps, channels).

    Parameters
    ----------
    pool_size, strides, padding, data_format
        As in `MaxPooling1D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> AveragePooling1D(2).infer_shape((10, 4))
    (5, 4)
    """

    rank = 1


class _GlobalPooling(Windowed):
    """Base class of the layers that pool over the whole image or sequence."""

    _fields = ("data_format", "keepdims")
    _kind: ClassVar[str]

    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.data_format = channels_last(data_format)
        self.keepdims = flag("keepdims", keepdims)

    def infer_shape(self, input_shape: Shape) -> Shape:
        self._check_images(input_shape)
        return (1,) * (self.rank * self.keepdims) + input_shape[-1:]

    def ops(self, input_shape: Shape) -> list[Op]:
        h, w, c = (1,) * (2 - self.rank) + input_shape
        return [Op(self._kind, settings=Window(h, w, c, 1, 1, c, h, w))]


class GlobalAveragePooling2D(_GlobalPooling):
    """Take the mean of each channel over the image.

    Parameters
    ----------
    data_format : {None, "channels_last"}
        Only this layout is supported.
    keepdims : bool, default False
        Keep the pooled axes with length 1.
    **options
        See `Layer`.

    Examples
    --------
    >>> GlobalAveragePooling2D().infer_shape((7, 7, 64))
    (64,)
    """

    _kind = "average_pool"


class GlobalAveragePooling1D(GlobalAveragePooling2D):
    """Take the mean of each channel over the steps.

    If the input has a mask, the mean is that of the real steps, and 0 if there are none.

    Parameters
    ----------
    data_format, keepdims
        As in `GlobalAveragePooling2D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> GlobalAveragePooling1D(keepdims=True).infer_shape((7, 64))
    (1, 64)
    """

    rank = 1
    uses_mask = True

    def masked_ops(self, *shapes: Shape) -> list[Op]:
        return [Op("masked_mean", settings=MaskSettings(*shapes[0]), operands=(0, 1))]


class GlobalMaxPooling2D(_GlobalPooling):
    """Take the maximum of each channel over the image.

    Parameters
    ----------
    data_format, keepdims
        As in `GlobalAveragePooling2D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> GlobalMaxPooling2D().infer_shape((7, 7, 64))
    (64,)
    """

    _kind = "max_pool"


class GlobalMaxPooling1D(GlobalMaxPooling2D):
    """Take the maximum of each channel over the steps.

    Parameters
    ----------
    data_format, keepdims
        As in `GlobalAveragePooling2D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> GlobalMaxPooling1D().infer_shape((7, 64))
    (64,)
    """

    rank = 1


# Alternative names in Keras.
MaxPool1D, MaxPool2D = MaxPooling1D, MaxPooling2D
AvgPool1D, AvgPool2D = AveragePooling1D, AveragePooling2D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalMaxPool1D, GlobalMaxPool2D = GlobalMaxPooling1D, GlobalMaxPooling2D
