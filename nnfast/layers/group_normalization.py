"""Group normalization: over groups of the channels of each sample."""

from __future__ import annotations

from typing import NamedTuple, Unpack

from nnfast import constraints, initializers, regularizers
from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, integer
from nnfast.layers.axes import along_last
from nnfast.layers.layer import LayerOptions
from nnfast.layers.merging import axis_number, sample_axis
from nnfast.layers.normalization import Scaled

__all__ = ["GroupNormalization"]


class GroupNormSettings(NamedTuple):
    """The settings of a group normalization."""

    epsilon: float
    groups: int


class GroupNormalization(Scaled):
    """Normalize within groups of channels: y = gamma·(x − mean) / √(variance + epsilon) + beta.

    The channels are divided into groups of adjacent ones. The mean and the (biased) variance are
    those of a group: of all its elements in the sample. Every channel has a gamma and a beta (Wu
    and He, 2018).

    Parameters
    ----------
    groups : int, default 32
        Number of groups, which divides the number of channels. With −1, every channel is a group
        (instance normalization); with 1, all channels are one group.
    axis : int, default -1
        The axis of the channels.
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
    >>> model = nnfast.Sequential([GroupNormalization(2, epsilon=0.0, input_dim=4)])
    >>> model.predict([[1.0, 3.0, 20.0, 60.0]])
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    _fields = ("groups", *Scaled._fields)

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
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
        self.groups = integer("groups", groups, minimum=-1)
        if self.groups == 0:
            raise ValueError(
                "groups must be at least 1, or -1 for one group per channel; received 0"
            )
        self._configure_scaling(axis_number("axis", axis), epsilon, center, scale)
        self._configure_weight("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self._configure_weight("beta", beta_initializer, beta_regularizer, beta_constraint)

    def _scaled_shape(self, input_shape: Shape) -> Shape:
        channels = input_shape[sample_axis(self, self.axes[0], input_shape)]
        if self.groups > 0 and (channels % self.groups or channels < self.groups):
            raise ValueError(
                f"groups of layer {self.name!r} must divide the number of channels, {channels} of "
                f"samples of shape {input_shape}; received groups={self.groups}"
            )
        return (channels,)

    def ops(self, input_shape: Shape) -> list[Op]:
        (channels,) = self._scaled_shape(input_shape)
        groups = channels if self.groups < 0 else self.groups
        op = Op("group_norm", settings=GroupNormSettings(self.epsilon, groups), axes=1)
        return along_last(op, input_shape, [sample_axis(self, self.axes[0], input_shape)])
