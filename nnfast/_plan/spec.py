"""How a layer describes itself to the plan: its ops and its weights.

Layers create `Op` and `Weight`, which the other modules of this folder read. `LayerSpec` is the
interface that a plan requires of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from nnfast.constraints import Constraint
    from nnfast.initializers import Initializer
    from nnfast.regularizers import L1L2

Shape = tuple[int, ...]
# The shape of a sample; None is an axis whose size may vary.
OpenShape = tuple[int | None, ...]


class Settings(Protocol):
    """The settings of an op: a NamedTuple with the same name and fields as the engine's struct.

    A field is an int, a bool, a float or a tuple of numbers. Its annotation decides the conversion.
    """

    @property
    def _fields(self) -> tuple[str, ...]: ...


class NoSettings(NamedTuple):
    """The settings of an op without settings."""


NO_SETTINGS = NoSettings()


class AffineSettings(NamedTuple):
    """The settings of y = scale·x + offset."""

    scale: float
    offset: float


class SumSettings(NamedTuple):
    """The settings of y = factors[0]·x + factors[1]·x2."""

    factors: tuple[float, float]


class Contraction(NamedTuple):
    """The settings of a product y (rows, cols) = a (rows, depth) · b (depth, cols) in each sample.

    The other fields are the distances, in elements, per step along an axis of a and of b.
    """

    rows: int
    cols: int
    depth: int
    a_row: int
    a_depth: int
    b_col: int
    b_depth: int


class BlockSettings(NamedTuple):
    """The settings of a copy of `outer` blocks of `inner` contiguous elements from x to y.

    Block i begins at `begin` + i · `stride`. `covers_x` tells whether every element of x is copied.
    """

    outer: int
    inner: int
    x_begin: int
    x_stride: int
    y_begin: int
    y_stride: int
    covers_x: bool


class StridedSettings(NamedTuple):
    """The settings of a copy of a strided view of x: its first element, axes and distances in x."""

    begin: int
    sizes: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]


class EmbeddingSettings(NamedTuple):
    """The settings of an embedding: the rows and columns of its table."""

    rows: int
    cols: int


class UnitNormSettings(NamedTuple):
    """The settings of a division by the norm along the middle axis of (outer, depth, inner).

    Smaller norms count as `min_norm`.
    """

    outer: int
    depth: int
    inner: int
    min_norm: float


class PowerSettings(NamedTuple):
    """The settings of y = x^exponent."""

    exponent: float


class SlopeSettings(NamedTuple):
    """The settings of a trainable slope: elements above `threshold` are left as they are."""

    threshold: float


class MaskSettings(NamedTuple):
    """The settings of ops on the masks of sequences.

    `step_mask` takes a step for real if any of its features differs from `value`.
    """

    steps: int
    features: int
    value: float = 0.0


class Window(NamedTuple):
    """The window of a convolution or a pooling over images of (h, w, c), channels last.

    `top` and `left` are the padding before the first row and column. The padding after the last
    row and column follows from the output size. `groups` is the number of independent groups of
    channels.
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


class Recurrence(NamedTuple):
    """The steps of a recurrent layer, each with a number of features.

    `cell` is a value of `nnfast._engine.CELLS`. The activations are values of
    `nnfast._engine.ACTIVATIONS`, with their parameters. The `ld_…` are the strides of rows in the
    memory that the op keeps for the backward pass. x2 consists of `n_initial` initial states and,
    if `masked`, of the mask. The rates are those of the dropout of x and of h; `seeded` and `seed`
    as in `Resampling`.
    """

    cell: int
    steps: int
    features: int
    units: int
    activation: int
    recurrent_activation: int
    alpha: float
    recurrent_alpha: float
    keeps_z: bool
    sequences: bool
    backwards: bool
    ld_inputs: int
    ld_gates: int
    ld_units: int
    n_initial: int = 0
    masked: bool = False
    zero_masked: bool = False
    returns_states: bool = False
    reverses_y: bool = False
    y_stride: int = 0
    rate: float = 0.0
    recurrent_rate: float = 0.0
    seeded: bool = False
    seed: int = 0


class AttentionSettings(NamedTuple):
    """The settings of attention, as in ``kernels/attention.pxi``.

    A sample of x has `queries` rows, and one of x2 has `keys` rows. Each row has the numbers of all
    heads one after the other: a query in x, a key and, from `v_column` on, a value in x2. Masks are
    further columns, whose numbers are -1 if there are none. `seeded` and `seed` as in `Resampling`.
    """

    heads: int
    queries: int
    keys: int
    key_dim: int
    value_dim: int
    ld_x: int
    ld_x2: int
    v_column: int
    query_mask: int = -1
    key_mask: int = -1
    mask: int = -1
    mask_heads: int = 1
    constant: bool = False
    causal: bool = False
    window: int = 0
    given: bool = False
    returns_scores: bool = False
    scale: float = 1.0
    rate: float = 0.0
    seeded: bool = False
    seed: int = 0


class Resampling(NamedTuple):
    """How an image is resampled from another one.

    Pairs are (height, width). `kind` is a value of `nnfast._engine.RESAMPLINGS`, `border` one of
    `nnfast._engine.BORDERS`. If `seeded`, `seed` is the key of the op's random stream; otherwise,
    the model's seed is the key.
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
    joint: bool = False
    seeded: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Op:
    """One operation of a layer, as the layer describes it.

    Attributes
    ----------
    kind : str
        A key of `nnfast._engine.OPS`.
    activation : str
        The activation applied to the op's result.
    alpha : float
        The activation's parameter.
    settings : Settings
        The settings of this kind of op.
    axes : int or None
        For a normalization, the number of trailing axes whose elements each have their own
        statistics; None for other ops.
    weights : tuple of str or None
        Names of the layer's weights that the op uses; None: all of them.
    training_only : bool
        Whether the op is the identity in inference with these settings.
    frozen : bool
        Whether the op's layer is not trained, or called with ``training=False``. A frozen batch
        normalization uses its moving averages even in training, and frozen attention drops nothing.
    operands : tuple of int or None
        The op's inputs: k is the layer's k-th input or, from the number of inputs on, the output of
        one of its earlier ops. None: the output of the previous op or, for the first, the input.
    shape : tuple of int or None
        The shape of the output, if it differs from that of the first input. The last op's output
        has the shape of the layer's.
    output : int or None
        The number of the layer's output that the op writes. None: an inner tensor or, for the last
        op, the only output.
    makes_mask : bool
        Whether the op writes the mask of the layer's first output: 1 for each real step, else 0.
    writes_part : bool
        Whether the op writes another part of the tensor that the previous op has written to.
    constant : tuple of float
        The second input, if it is not a tensor: the elements of a sample, the same for all samples.
    whole_samples : bool
        Whether the op needs whole samples, although other ops of its kind are elementwise.
    in_steps : bool
        Whether the op works on the last axis, although other ops of its kind need whole samples.
    """

    kind: str
    activation: str = "linear"
    alpha: float = 0.0
    settings: Settings = NO_SETTINGS
    axes: int | None = None
    weights: tuple[str, ...] | None = None
    training_only: bool = False
    frozen: bool = False
    operands: tuple[int, ...] | None = None
    shape: Shape | None = None
    output: int | None = None
    makes_mask: bool = False
    writes_part: bool = False
    constant: tuple[float, ...] = ()
    whole_samples: bool = False
    in_steps: bool = False


IDENTITY = Op("affine", settings=AffineSettings(1.0, 0.0))


@dataclass(frozen=True)
class Weight:
    """One array of a layer's weights, as the layer describes it.

    Attributes
    ----------
    name : str
        A key of `FIELDS` in ``parameters.py``.
    shape : tuple of int
    initializer : Initializer
    regularizer : L1L2 or None
    constraint : Constraint or None
    trainable : bool
        Whether the optimizer changes the array while its layer is trainable.
    is_state : bool
        Whether the array is a state that the layer keeps from batch to batch, not a weight.
    sparse : bool
        Whether a batch reads only some rows of the array, so that the gradients of these alone are
        computed.
    """

    name: str
    shape: Shape
    initializer: Initializer
    regularizer: L1L2 | None = None
    constraint: Constraint | None = None
    trainable: bool = True
    is_state: bool = False
    sparse: bool = False


class Masking(Enum):
    """What becomes of the masks of a layer's inputs.

    A mask tells which steps of a sequence are real and which are only padding.
    """

    ENDS = "ends"  # the output has no mask
    PASSES = "passes"  # the output has the mask of the first input
    MAKES = "makes"  # one of the layer's ops makes a mask
    ANY = "any"  # a step is real if it is real in any input; no mask if an input has none
    JOINED = "joined"  # masks are joined along the steps; inputs without a mask are real
    GIVEN = "given"  # the output has the mask of the last input


class LayerSpec(Protocol):
    """The interface that a plan requires of a layer; all shapes are those of one sample.

    Layers that merge several inputs take the shapes of all of them.
    """

    @property
    def name(self) -> str:
        """The name of the layer, for errors."""

    @property
    def trainable(self) -> bool:
        """Whether the optimizer changes the layer's weights."""

    @property
    def training_differs(self) -> bool:
        """Whether the computation in training differs from that in inference."""

    @property
    def before_engine(self) -> bool:
        """Whether Python computes the layer before the engine reads the data."""

    @property
    def activity_regularizer(self) -> L1L2 | None:
        """The penalty on the layer's output."""

    @property
    def masking(self) -> Masking:
        """What becomes of the inputs' masks."""

    @property
    def uses_mask(self) -> bool:
        """Whether `masked_ops` differ from `ops`."""

    @property
    def n_masks(self) -> int:
        """The number of inputs, the first ones, whose masks `masked_ops` takes."""

    # A layer with several inputs takes their shapes one by one.

    @property
    def infer_shapes(self) -> Callable[..., list[Shape]]:
        """Return the shapes of the outputs."""

    @property
    def infer_open_shapes(self) -> Callable[..., list[OpenShape]]:
        """Return the shapes of all outputs if the size of an axis may vary."""

    @property
    def ops(self) -> Callable[..., list[Op]]:
        """Return the layer's operations in order."""

    @property
    def masked_ops(self) -> Callable[..., list[Op]]:
        """Return the operations if one of the first `n_masks` inputs has a mask.

        The masks of these inputs are further inputs.
        """

    @property
    def weight_specs(self) -> Callable[..., list[Weight]]:
        """Return the descriptions of the layer's weights, in the order of `get_weights`."""
