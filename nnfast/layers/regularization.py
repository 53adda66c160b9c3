"""Regularization layers: dropout, noise, and penalties on outputs."""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

from nnfast import regularizers
from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, real
from nnfast.layers.layer import Layer, LayerOptions

__all__ = [
    "ActivityRegularization",
    "Dropout",
    "GaussianNoise",
]


class DropoutSettings(NamedTuple):
    """The settings of a dropout."""

    rate: float


class NoiseSettings(NamedTuple):
    """The settings of additive Gaussian noise."""

    stddev: float


class Dropout(Layer):
    """In training, zero each input with probability `rate` and divide the others by 1 − rate.

    In inference the layer does nothing. The mask depends only on the model's seed, the epoch, the
    layer and the sample's position in the epoch (Srivastava et al., 2014).

    Parameters
    ----------
    rate : float
        Dropout rate, in [0, 1). With 0 the layer does nothing.
    **options
        See `Layer`.

    Examples
    --------
    >>> Dropout(0.2).rate
    0.2
    """

    _fields = ("rate",)
    training_differs = True

    def __init__(self, rate: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.rate = real("rate", rate, low=0.0, below=1.0)

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("dropout", settings=DropoutSettings(self.rate))] if self.rate else []


class GaussianNoise(Layer):
    """In training, add Gaussian noise with mean 0 to each input; do nothing in inference.

    The noise depends only on the model's seed, the epoch, the layer and the sample's position in
    the epoch.

    Parameters
    ----------
    stddev : float
        Standard deviation, at least 0. With 0 the layer does nothing.
    **options
        See `Layer`.

    Examples
    --------
    >>> GaussianNoise(0.1).stddev
    0.1
    """

    _fields = ("stddev",)
    training_differs = True

    def __init__(self, stddev: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.stddev = real("stddev", stddev, low=0.0)

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("noise", settings=NoiseSettings(self.stddev))] if self.stddev else []


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
