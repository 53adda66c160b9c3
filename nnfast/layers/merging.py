"""Layers that merge several inputs, and the same as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

from nnfast._plan.spec import Masking, Op
from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import Shape, entries, flag, integer
from nnfast.layers.layer import Layer, LayerOptions, symbolic_leaves
from nnfast.layers.merged_ops import concatenate_ops, dot_ops, folded_ops, weighted_sum

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


class Merge(Layer):
    """Base class of layers that are called with a list of tensors."""

    # The number of inputs; None: one or more.
    n_inputs: ClassVar[int | None] = None

    def _inputs(self, x: Any) -> list[KerasTensor]:
        count = self.n_inputs
        expected = "at least 1 input" if count is None else f"exactly {count} inputs"
        kind = type(self).__name__
        message = f"{kind} layer {self.name!r} must be called on a list of {expected}"
        if not isinstance(x, (list, tuple)) or not x:
            raise ValueError(f"{message}; received {x!r}")
        inputs = symbolic_leaves(f"Layer {self.name!r}", x)
        if count is not None and len(inputs) != count:
            raise ValueError(f"{message}; received {len(inputs)}: {x!r}")
        return inputs


class ElementwiseMerge(Merge):
    """Base class of layers that compute element by element, with broadcasting.

    Shapes are aligned at their last axes, and axes of size 1 are repeated.
    """

    # The op that combines two inputs.
    _op: ClassVar[Op]

    @property
    def masking(self) -> Masking:
        return Masking.ANY

    def _binary(self, k: int, n: int) -> Op:
        """Return the op that combines the k-th of n inputs with those before it."""
        return self._op

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        shapes = [input_shape, *others]
        out = self.infer_shape(*shapes)
        return folded_ops(shapes, out, lambda k: self._binary(k, len(shapes)))

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        shape = input_shape
        for other in others:
            longer, shorter = (shape, other) if len(shape) >= len(other) else (other, shape)
            start = len(longer) - len(shorter)
            pairs = list(zip(longer[start:], shorter, strict=True))
            if any(a != b and 1 not in (a, b) for a, b in pairs):
                raise ValueError(
                    f"{type(self).__name__} layer {self.name!r} cannot broadcast samples of shapes "
                    f"{[input_shape, *others]}"
                )
            shape = (*longer[:start], *(b if a == 1 else a for a, b in pairs))
        return shape


class Add(ElementwiseMerge):
    """Return the sum of the inputs.

    Parameters
    ----------
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> x = nnfast.Input((4,))
    >>> Add()([x, nnfast.layers.Dense(4)(x)]).shape
    (None, 4)
    """

    _op = weighted_sum(1, 1)


class Subtract(ElementwiseMerge):
    """Return the first input minus the second.

    Parameters
    ----------
    **options
        See `Layer`.

    Examples
    --------
    >>> Subtract().infer_shape((3, 4), (4,))
    (3, 4)
    """

    n_inputs = 2
    _op = weighted_sum(1, -1)


class Multiply(ElementwiseMerge):
    """Return the product of the inputs, element by element.

    Parameters
    ----------
    **options
        See `Layer`.

    Examples
    --------
    >>> Multiply().infer_shape((8, 8, 3), (1, 1, 3))
    (8, 8, 3)
    """

    _op = Op("multiply")


class Average(ElementwiseMerge):
    """Return the mean of the inputs, element by element.

    Parameters
    ----------
    **options
        See `Layer`.

    Examples
    --------
    >>> Average().infer_shape((4,), (4,), (4,))
    (4,)
    """

    def _binary(self, k: int, n: int) -> Op:
        return weighted_sum(1 / n if k == 1 else 1, 1 / n)


class Maximum(ElementwiseMerge):
    """Return the largest of the inputs, element by element.

    Parameters
    ----------
    **options
        See `Layer`.

    Examples
    --------
    >>> Maximum().infer_shape((4,), (1,))
    (4,)
    """

    _op = Op("maximum")


class Minimum(ElementwiseMerge):
    """Return the smallest of the inputs, element by element.

    Parameters
    ----------
    **options
        See `Layer`.

    Examples
    --------
    >>> Minimum().infer_shape((4,), (1,))
    (4,)
    """

    _op = Op("minimum")


class Concatenate(Merge):
    """Return the inputs one after the other along an axis.

    Parameters
    ----------
    axis : int, default -1
        Axis 0 is the batch. The sizes of all other axes must be equal.
    **options
        See `Layer`.

    Examples
    --------
    >>> Concatenate().infer_shape((8, 8, 3), (8, 8, 5))
    (8, 8, 8)
    >>> Concatenate(axis=1).infer_shape((2, 3), (5, 3))
    (7, 3)
    """

    _fields = ("axis",)

    def __init__(self, axis: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis_number("axis", axis)

    @property
    def masking(self) -> Masking:
        # Sequences have the steps in axis 1 of a batch, the last but one.
        return Masking.JOINED if self.axis in (1, -2) else Masking.ANY

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        shapes = [input_shape, *others]
        axis = sample_axis(self, self.axis, input_shape)
        rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
        if len(rest) > 1 or len({len(shape) for shape in shapes}) > 1:
            raise ValueError(
                f"Concatenate layer {self.name!r} requires samples of equal shapes except for "
                f"axis {self.axis}; received shapes {shapes}"
            )
        size = sum(shape[axis] for shape in shapes)
        return (*input_shape[:axis], size, *input_shape[axis + 1 :])

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        return concatenate_ops([input_shape, *others], sample_axis(self, self.axis, input_shape))


class Dot(Merge):
    """Return the dot products of two inputs along an axis of each.

    The result has the other axes of the first input and then those of the second. Two inputs with
    one axis give one number per sample, of shape (n, 1).

    Parameters
    ----------
    axes : int or pair of int
        The axis of both inputs, or that of each; axis 0 is the batch.
    normalize : bool, default False
        Whether the inputs are divided by their norms along these axes first; the products are then
        cosine similarities.
    **options
        See `Layer`.

    Examples
    --------
    >>> Dot(axes=1).infer_shape((4,), (4,))
    (1,)
    >>> Dot(axes=(2, 1)).infer_shape((3, 4), (4, 5))
    (3, 5)
    """

    n_inputs = 2
    _fields = ("axes", "normalize")

    def __init__(
        self, axes: int | Sequence[int], normalize: bool = False, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        if isinstance(axes, (list, tuple)):
            pair = [axis_number("each of axes", axis) for axis in entries("axes", axes)]
            if len(pair) != 2:
                raise ValueError(f"axes must be an integer or a pair of them; received {axes!r}")
            self.axes: int | tuple[int, int] = (pair[0], pair[1])
        else:
            self.axes = axis_number("axes", axes)
        self.normalize = flag("normalize", normalize)

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        (other,) = others
        first, second = self._sample_axes(input_shape, other)
        if input_shape[first] != other[second]:
            raise ValueError(
                f"Dot layer {self.name!r} requires axes of equal sizes; received samples of shapes "
                f"{input_shape} and {other} with axes={self.axes}"
            )
        rest = (*input_shape[:first], *input_shape[first + 1 :])
        return (*rest, *other[:second], *other[second + 1 :]) or (1,)

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        shapes = input_shape, others[0]
        return dot_ops(shapes, self._sample_axes(*shapes), self.normalize)

    def _sample_axes(self, first: Shape, second: Shape) -> tuple[int, int]:
        """Return the position of each axis in the shape of a sample."""
        a, b = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        return sample_axis(self, a, first), sample_axis(self, b, second)


def axis_number(name: str, axis: object) -> int:
    """Return an axis, counted from the start or the end; that of the batch is refused.

    Examples
    --------
    >>> axis_number("axis", 0)
    Traceback (most recent call last):
        ...
    ValueError: axis must not be 0, the axis of the batch; received 0
    """
    number = integer(name, axis, minimum=-32, maximum=32)
    if number == 0:
        raise ValueError(f"{name} must not be 0, the axis of the batch; received {axis!r}")
    return number


def sample_axis(layer: Layer, axis: int, shape: Shape) -> int:
    """Return the position in the shape of a sample of an axis that is counted with the batch."""
    position = axis - 1 if axis > 0 else axis + len(shape)
    if not 0 <= position < len(shape):
        raise ValueError(
            f"{type(layer).__name__} layer {layer.name!r} has no axis {axis} in samples of shape "
            f"{shape}; axis 0 is the batch"
        )
    return position


# ---- functions -----------------------------------------------------------------------------------


def add(inputs: Sequence[KerasTensor], **options: Unpack[LayerOptions]) -> KerasTensor:
    """Return the output of `Add`, called with a list of tensors."""
    return Add(**options)(inputs)


def subtract(inputs: Sequence[KerasTensor], **options: Unpack[LayerOptions]) -> KerasTensor:
    """Return the output of `Subtract`, called with a list of two tensors."""
    return Subtract(**options)(inputs)


def multiply(inputs: Sequence[KerasTensor], **options: Unpack[LayerOptions]) -> KerasTensor:
    """Return the output of `Multiply`, called with a list of tensors."""
    return Multiply(**options)(inputs)


def average(inputs: Sequence[KerasTensor], **options: Unpack[LayerOptions]) -> KerasTensor:
    """Return the output of `Average`, called with a list of tensors."""
    return Average(**options)(inputs)


def maximum(inputs: Sequence[KerasTensor], **options: Unpack[LayerOptions]) -> KerasTensor:
    """Return the output of `Maximum`, called with a list of tensors."""
    return Maximum(**options)(inputs)


def minimum(inputs: Sequence[KerasTensor], **options: Unpack[LayerOptions]) -> KerasTensor:
    """Return the output of `Minimum`, called with a list of tensors."""
    return Minimum(**options)(inputs)


def concatenate(
    inputs: Sequence[KerasTensor], axis: int = -1, **options: Unpack[LayerOptions]
) -> KerasTensor:
    """Return the output of `Concatenate`, called with a list of tensors.

    Examples
    --------
    >>> import nnfast
    >>> concatenate([nnfast.Input((2,)), nnfast.Input((3,))]).shape
    (None, 5)
    """
    return Concatenate(axis=axis, **options)(inputs)


def dot(
    inputs: Sequence[KerasTensor],
    axes: int | Sequence[int] = -1,
    **options: Any,
) -> KerasTensor:
    """Return the output of `Dot`, called with a list of two tensors.

    Parameters
    ----------
    inputs : list of KerasTensor
    axes : int or pair of int, default -1
    **options
        ``normalize`` and the options of `Layer`.
    """
    return Dot(axes=axes, **options)(inputs)
