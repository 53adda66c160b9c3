"""What a layer says of itself: its operations and its weights.

Takes nothing but the engine's names of ops. Gives `Op` and `Weight`, which layers make and the
other modules read, and `LayerSpec`, what they ask of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nnfast._engine import BORDERS, RESAMPLINGS

if TYPE_CHECKING:
    from nnfast.constraints import Constraint
    from nnfast.initializers import Initializer
    from nnfast.regularizers import L1L2

Shape = tuple[int, ...]


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


NO_WINDOW = Window(*[0] * 15)


class Resampling(NamedTuple):
    """How an image is made of another; see `Resample` in ``_engine/program.pxd``.

    Pairs are of height and width. `kind` is a key of `nnfast._engine.RESAMPLINGS`, `border` of
    `nnfast._engine.BORDERS`; `seed` is the key of its random numbers, None: the model's.
    """

    kind: str
    n_in: tuple[int, int]
    n_out: tuple[int, int]
    channels: int
    low: tuple[float, float] = (0.0, 0.0)
    high: tuple[float, float] = (0.0, 0.0)
    border: str = "constant"
    smooth: bool = False
    fill: float = 0.0
    seed: int | None = None

    def entry(self) -> dict[str, Any]:
        """Return the engine's description."""
        numbers = {"kind": RESAMPLINGS[self.kind], "border": BORDERS[self.border]}
        return self._asdict() | numbers | {"seeded": self.seed is not None, "seed": self.seed or 0}


NO_RESAMPLING = Resampling("pad", (0, 0), (0, 0), 0)


@dataclass(frozen=True)
class Op:
    """What a layer does, as it says itself.

    Attributes
    ----------
    kind : str
        A key of `nnfast._engine.OPS`.
    activation : str
        Of dense and activation ops.
    alpha, beta : float
        The rate of a dropout, the standard deviation of a noise; y = alpha·x + beta of an affine
        op; alpha of an activation; beta = 1 inverts a standardize op.
    axes : int
        Of a normalization: how many of the last axes have statistics of their own.
    epsilon, momentum : float
        Of a normalization.
    resampling : Resampling
        Of a resample op.
    window : Window
        Of a convolution or a pooling.
    weights : tuple of str or None
        Names of the layer's weights that the op has; None: all of them.
    frozen : bool
        Of a batch normalization: it uses its moving averages in training, too.
    """

    kind: str
    activation: str = "linear"
    alpha: float = 0.0
    beta: float = 0.0
    axes: int = 0
    epsilon: float = 0.0
    momentum: float = 0.0
    resampling: Resampling = NO_RESAMPLING
    window: Window = NO_WINDOW
    weights: tuple[str, ...] | None = None
    frozen: bool = False

    @property
    def training_only(self) -> bool:
        """Whether it does nothing in inference."""
        return self.kind in TRAINING_ONLY or self.resampling.kind in TRAINING_ONLY


IDENTITY = Op("affine", alpha=1.0)

TRAINING_ONLY = frozenset({"dropout", "noise", "flip", "shift"})
NORMALIZATIONS = frozenset({"standardize", "batch_norm", "layer_norm"})


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
