"""What a layer says of itself: its operations and its weights.

Gives `Op` and `Weight`, which layers make and the
other modules read, and `LayerSpec`, what they ask of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from nnfast.constraints import Constraint
    from nnfast.initializers import Initializer
    from nnfast.regularizers import L1L2

Shape = tuple[int, ...]


class Settings(Protocol):
    """The settings of an op: a NamedTuple of the same name and fields as the engine's struct.

    A field is an int, a bool, a float, or a pair of numbers; the engine goes by its annotation.
    """

    @property
    def _fields(self) -> tuple[str, ...]: ...


class NoSettings(NamedTuple):
    """The settings of an op that needs none."""


NO_SETTINGS = NoSettings()


class AffineSettings(NamedTuple):
    """Of y = scale·x + offset."""

    scale: float
    offset: float


class Window(NamedTuple):
    """What a convolution or a pooling moves over images of (h, w, c), channels last.

    `top` and `left` are the zeros before the first row and column; what comes after the last ones
    follows from the output's size. `groups` of channels do not mix.
    """

    h: int
    w: int
    c: int
    out_h: int
    out_w: int
    out_c: int
    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    top: int = 0
    left: int = 0
    groups: int = 1


class Resampling(NamedTuple):
    """Where the rows and columns of an image come from in another one.

    Pairs are of height and width. `kind` is a number of `nnfast._engine.RESAMPLINGS` and `border`
    one of `nnfast._engine.BORDERS`; `seed` is the key of its random numbers if it is `seeded`, else
    the model's seed is.
    """

    kind: int
    n_in: tuple[int, int]
    n_out: tuple[int, int]
    channels: int
    low: tuple[float, float] = (0.0, 0.0)
    high: tuple[float, float] = (0.0, 0.0)
    border: int = 0
    smooth: bool = False
    fill: float = 0.0
    seeded: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Op:
    """What a layer does, as it says itself.

    Attributes
    ----------
    kind : str
        A key of `nnfast._engine.OPS`.
    activation : str
        Applied to what it computes.
    alpha : float
        The parameter of the activation.
    settings : Settings
        Of this kind of op.
    axes : int or None
        Of a normalization: how many of the last axes have their own statistics; None of other ops.
    weights : tuple of str or None
        Names of the layer's weights that the op has; None: all of them.
    training_only : bool
        Whether these settings make it the identity in inference.
    frozen : bool
        Whether its layer is not trained. A frozen batch normalization uses its moving averages in
        training, too.
    """

    kind: str
    activation: str = "linear"
    alpha: float = 0.0
    settings: Settings = NO_SETTINGS
    axes: int | None = None
    weights: tuple[str, ...] | None = None
    training_only: bool = False
    frozen: bool = False


IDENTITY = Op("affine", settings=AffineSettings(1.0, 0.0))


@dataclass(frozen=True)
class Weight:
    """One array of a layer's weights, as the layer says itself.

    Attributes
    ----------
    name : str
        A key of `ARRAY_FIELDS` or `OFFSET_FIELDS` of ``parameters.py``.
    shape : tuple of int
    initializer : Initializer
    regularizer : L1L2 or None
    constraint : Constraint or None
    trainable : bool
        Whether the optimizer changes it while its layer is trainable.
    """

    name: str
    shape: Shape
    initializer: Initializer
    regularizer: L1L2 | None = None
    constraint: Constraint | None = None
    trainable: bool = True


class LayerSpec(Protocol):
    """What a plan asks a layer; shapes are those of one sample."""

    @property
    def trainable(self) -> bool:
        """Whether the optimizer changes its weights."""

    @property
    def activity_regularizer(self) -> L1L2 | None:
        """The penalty on its output."""

    def infer_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""

    def ops(self, input_shape: Shape) -> list[Op]:
        """Return what it does, one operation after the other."""

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        """Return what its weights are, in the order of `get_weights`."""
