"""The layers behind the operators of symbolic tensors: ``x + 1``, ``x / y``, ``x[:, 0]``.

Sums, differences and products of two tensors are `Add`, `Subtract` and `Multiply`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nnfast._plan.spec import AffineSettings, Op, OpenShape, PowerSettings
from nnfast._plan.symbolic import OPERATORS, KerasTensor
from nnfast._utils.checks import Shape, entries, flag, real, real_array
from nnfast._utils.names import auto_name
from nnfast._utils.registry import choose
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.merged_ops import broadcast_op, strided_op, weighted_sum
from nnfast.layers.merging import Add, ElementwiseMerge, Multiply, Subtract

__all__: list[str] = []

# The scale and the offset of x ∘ c and, if the operands are swapped, of c ∘ x.
_AFFINE: dict[tuple[str, bool], Callable[[float], tuple[float, float]]] = {
    ("add", False): lambda c: (1.0, c),
    ("add", True): lambda c: (1.0, c),
    ("subtract", False): lambda c: (1.0, -c),
    ("subtract", True): lambda c: (-1.0, c),
    ("multiply", False): lambda c: (c, 0.0),
    ("multiply", True): lambda c: (c, 0.0),
    ("divide", False): lambda c: (1.0 / c, 0.0),
}
_OPERATIONS = {name: name for name in ("add", "subtract", "multiply", "divide", "power")}

_BINARY = {
    "add": weighted_sum(1, 1),
    "subtract": weighted_sum(1, -1),
    "multiply": Op("multiply"),
    "divide": Op("divide"),
    "power": Op("powers"),
}


def _affine_op(scale: float, offset: float) -> Op:
    return Op("affine", settings=AffineSettings(scale, offset))


def _power_op(exponent: float) -> Op:
    return Op("power", settings=PowerSettings(exponent))


Operand = float | tuple[Any, ...]


class Arithmetic(ElementwiseMerge):
    """Compute x ∘ y for two inputs, or x ∘ c for one, element by element with broadcasting.

    Parameters
    ----------
    operation : {"add", "subtract", "multiply", "divide", "power"}
    operand : float or nested list of float, optional
        The constant c, if there is one. An array has no axis for the batch; its axes are those of
        a sample, from the last one on.
    swapped : bool, default False
        Whether c comes first: c ∘ x.
    **options
        See `Layer`.

    Examples
    --------
    >>> Arithmetic("power", 2.0).infer_shape((3, 4))
    (3, 4)
    """

    _fields = ("operation", "operand", "swapped")

    def __init__(
        self,
        operation: str,
        operand: float | Sequence[Any] | None = None,
        swapped: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.operation = choose("operation", operation, _OPERATIONS)
        self.operand = None if operand is None else _operand(operand)
        self.swapped = flag("swapped", swapped)
        values = np.ones(()) if self.operand is None else np.asarray(self.operand)
        if self.operation == "divide" and not self.swapped and not values.all():
            raise ValueError("A symbolic tensor cannot be divided by 0")
        if self.operation == "power" and self.swapped and not (values > 0).all():
            raise ValueError(f"The base of a power must be positive; received {operand!r}")

    def _inputs(self, x: Any) -> list[KerasTensor]:
        return super()._inputs(x if isinstance(x, (list, tuple)) else [x])

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        constant = () if self.operand is None else (np.shape(self.operand),)
        return super().infer_shape(input_shape, *others, *constant)

    @property
    def _affine(self) -> tuple[float, float] | None:
        """The scale and the offset, or None if the operation has none."""
        find = _AFFINE.get((self.operation, self.swapped))
        return find(self.operand) if find and isinstance(self.operand, float) else None

    def _binary(self, k: int, n: int) -> Op:
        return _BINARY[self.operation]

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        if self.operand is None:
            return super().ops(input_shape, *others)
        if not isinstance(self.operand, float):
            return self._array_ops(input_shape, np.asarray(self.operand))
        if self._affine is not None:
            return [_affine_op(*self._affine)]
        if self.operation == "divide":  # c / x
            return [_power_op(-1.0), _affine_op(self.operand, 0.0)]
        if not self.swapped:
            return [_power_op(self.operand)]
        # cˣ = exp(x·log c)
        return [_affine_op(math.log(self.operand), 0.0), Op("activation", "exponential")]

    def _array_ops(self, input_shape: Shape, operand: NDArray[np.float64]) -> list[Op]:
        """Return the ops if the constant is an array, which they take as their second input."""
        out = self.infer_shape(input_shape)
        ops = [] if input_shape == out else [broadcast_op(input_shape, out)]
        values = np.broadcast_to(operand, out)
        if not self.swapped or self.operation in ("add", "multiply"):
            return [*ops, _with_constant(_BINARY[self.operation], values)]
        if self.operation == "subtract":  # c - x
            return [*ops, _with_constant(weighted_sum(-1, 1), values)]
        if self.operation == "divide":  # c / x
            return [*ops, _power_op(-1.0), _with_constant(_BINARY["multiply"], values)]
        # cˣ = exp(x·log c)
        power = _with_constant(_BINARY["multiply"], np.log(values))
        return [*ops, power, Op("activation", "exponential")]


def _with_constant(op: Op, values: NDArray[np.float64]) -> Op:
    """Return an op of two inputs with a constant as the second one."""
    return replace(op, constant=tuple(values.ravel().tolist()), whole_samples=True)


class GetItem(Layer):
    """Return a part of each sample, as indexing does.

    Parameters
    ----------
    key : list
        An entry for each axis: an integer, or [start, stop, step] for a slice. The first one is
        for the batch, which is taken whole.
    **options
        See `Layer`.

    Examples
    --------
    >>> GetItem([[None, None, None], 0, [1, 3, None]]).infer_shape((2, 5))
    (2,)
    """

    _fields = ("key",)

    def __init__(self, key: Sequence[Any], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.key = tuple(_entry(part) for part in entries("key", key))
        if not self.key or self.key[0] != (None, None, None):
            raise ValueError(f"The batch must be taken whole, as in x[:, 0]; received {key!r}")

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(self.key) - 1 > len(input_shape):
            raise ValueError(
                f"Samples of shape {input_shape} have {len(input_shape)} axes, and the batch one "
                f"more; received {len(self.key)} indices"
            )
        ranges = self._ranges(input_shape)
        return tuple(len(taken) for taken in ranges if isinstance(taken, range))

    def _warn_of_lost_mask(self, inputs: Sequence[KerasTensor]) -> None:
        """Slices have no mask, as in Keras."""

    def infer_open_shapes(self, *shapes: OpenShape) -> list[OpenShape]:
        """Return the output's shape; slices of open axes are open, because they may be shorter."""
        (found,) = super().infer_open_shapes(*shapes)
        (shape,) = shapes
        whole = ((None, None, None),) * (1 + len(shape) - len(self.key))
        parts = zip((*self.key[1:], *whole), shape, strict=True)
        sliced = [size for part, size in parts if isinstance(part, tuple)]
        return [tuple(size and taken for size, taken in zip(sliced, found, strict=True))]

    def ops(self, input_shape: Shape) -> list[Op]:
        begin, sizes, strides = 0, [], []
        for axis, taken in enumerate(self._ranges(input_shape)):
            step = math.prod(input_shape[axis + 1 :])
            if isinstance(taken, range):
                begin += step * taken.start if taken else 0
                sizes.append(len(taken))
                strides.append(step * taken.step)
            else:
                begin += step * taken
        return [strided_op(begin, tuple(sizes), strides)]

    def _ranges(self, input_shape: Shape) -> list[range | int]:
        """Return the indices taken along each axis of a sample."""
        whole = ((None, None, None),) * (1 + len(input_shape) - len(self.key))
        ranges: list[range | int] = []
        for axis, (part, size) in enumerate(
            zip((*self.key[1:], *whole), input_shape, strict=True), start=1
        ):
            if isinstance(part, tuple):
                ranges.append(range(*slice(*part).indices(size)))
            elif -size <= part < size:
                ranges.append(part % size)
            else:
                raise ValueError(f"Index {part} is out of bounds for axis {axis} of size {size}")
        return ranges


def _entry(part: Any) -> int | tuple[int | None, ...]:
    """Return one entry of the argument `key` of `GetItem`."""
    if isinstance(part, (list, tuple)) and len(part) == 3:
        bounds = tuple(None if b is None else _index(b) for b in part)
        if bounds[2] == 0:
            raise ValueError("The step of a slice must not be 0")
        return bounds
    return _index(part)


def _index(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"An index must be an integer or a slice; received {value!r}")
    return int(value)


def _operand(value: Any) -> Operand:
    """Return a constant as a float or nested tuples of floats."""
    if isinstance(value, Real):
        return real("operand", value)
    array: NDArray[Any] = real_array("operand", value).astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("operand must be finite")
    nested: Operand = _nested(array.tolist())
    return nested


def _nested(value: Any) -> Any:
    return tuple(_nested(entry) for entry in value) if isinstance(value, list) else value


# ---- operators -----------------------------------------------------------------------------------


def _binary(operation: str, merge: Callable[[], Layer]) -> Callable[[Any, Any], KerasTensor]:
    """Return the operator of two tensors, or of a tensor and a constant in either order."""

    def apply(x: Any, y: Any) -> KerasTensor:
        if isinstance(x, KerasTensor) and isinstance(y, KerasTensor):
            if x.ndim != y.ndim:
                raise ValueError(f"Both operands must have equally many axes; received {x} and {y}")
            return merge()([x, y])
        swapped = isinstance(y, KerasTensor)
        tensor, constant = (y, x) if swapped else (x, y)
        if not isinstance(constant, (Real, np.ndarray)):
            raise TypeError(
                f"The other operand of a symbolic tensor must be one, a number or an array; "
                f"received {constant!r}"
            )
        value: Any = constant if isinstance(constant, Real) else _sample_of(constant, tensor)
        return Arithmetic(operation, value, swapped, name=auto_name(operation))(tensor)

    return apply


def _sample_of(constant: NDArray[Any], tensor: KerasTensor) -> Any:
    """Return an array without the axis of the batch, which must have size 1 if there is one."""
    if constant.ndim < tensor.ndim:
        return constant.tolist()
    if constant.ndim > tensor.ndim or constant.shape[0] != 1:
        raise ValueError(
            f"An operand of {tensor} can have {tensor.ndim - 1} axes, those of a sample, and "
            f"before them an axis of size 1; received an array of shape {constant.shape}"
        )
    return constant[0].tolist()


def _arithmetic(operation: str) -> Callable[[], Layer]:
    return lambda: Arithmetic(operation, name=auto_name(operation))


def _negative(x: KerasTensor) -> KerasTensor:
    return Arithmetic("multiply", -1.0, name=auto_name("negative"))(x)


def _getitem(x: KerasTensor, key: Any) -> KerasTensor:
    parts = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * max(0, x.ndim - len(parts) + 1)
    described = [
        [part.start, part.stop, part.step] if isinstance(part, slice) else part for part in parts
    ]
    return GetItem(described, name=auto_name("get_item"))(x)


OPERATORS.update(
    add=_binary("add", Add),
    subtract=_binary("subtract", Subtract),
    multiply=_binary("multiply", Multiply),
    divide=_binary("divide", _arithmetic("divide")),
    power=_binary("power", _arithmetic("power")),
    negative=_negative,
    getitem=_getitem,
)
