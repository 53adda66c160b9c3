"""The encoding of integers as one-hot vectors and counts."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from nnfast._plan.symbolic import symbolic
from nnfast._utils.checks import Array, Shape, real_array
from nnfast._utils.tensor import Tensor
from nnfast.layers.layer import LayerOptions
from nnfast.layers.preprocessing import (
    DataLayer,
    encoded,
    encoded_shape,
    encoding_mode,
    float_name,
    no_sparse,
    number_of_tokens,
    whole_numbers,
)

__all__ = [
    "CategoryEncoding",
]


class CategoryEncoding(DataLayer):
    """Encode integers from 0 to num_tokens − 1 as vectors of num_tokens numbers.

    Parameters
    ----------
    num_tokens : int
        The number of different integers.
    output_mode : {"one_hot", "multi_hot", "count"}, default "multi_hot"
        "one_hot" encodes each integer as a vector with a 1 at its position; a last axis of size 1
        is replaced by that of the vector. "multi_hot" encodes each row of integers as a vector with
        ones at their positions. "count" counts the integers of each row.
    sparse : bool, default False
        Must be False.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> CategoryEncoding(4, "one_hot")([3, 0])
    Tensor([[0., 0., 0., 1.],
            [1., 0., 0., 0.]], dtype=float32)
    >>> CategoryEncoding(4, "count")([[0, 1, 1], [2, 3, 0]])
    Tensor([[1., 2., 0., 0.],
            [1., 0., 1., 1.]], dtype=float32)
    """

    _fields = ("num_tokens", "output_mode", "sparse")

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if num_tokens is None:
            raise ValueError(
                "num_tokens must be given; if the number of tokens is unknown, use IntegerLookup"
            )
        self.num_tokens = number_of_tokens("num_tokens", num_tokens)
        self.output_mode = encoding_mode(output_mode, ("one_hot", "multi_hot", "count"))
        self.sparse = no_sparse(sparse)

    def infer_shape(self, input_shape: Shape) -> Shape:
        return encoded_shape(self, input_shape, self.output_mode, self.num_tokens)

    def values(self, name: str, x: Any) -> Array:
        numbers = whole_numbers(name, x)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < self.num_tokens:
            raise ValueError(
                f"{name} must hold integers from 0 to {self.num_tokens - 1}, because num_tokens of "
                f"layer {self.name!r} is {self.num_tokens}; received values from {numbers.min()} "
                f"to {numbers.max()}"
            )
        return numbers

    def compute(self, x: Array) -> Array:
        return encoded(x, self.output_mode, self.num_tokens, float_name(self))

    def __call__(self, x: Any, count_weights: Any = None, *, training: bool | None = None) -> Any:
        """Return the encoding of an array, or the symbolic output for a symbolic input.

        Parameters
        ----------
        x : array_like or KerasTensor
        count_weights : array_like, optional
            The number that each integer adds to its count, for arrays and the mode "count" only.
        training : bool, optional
            Has no effect.
        """
        if count_weights is None:
            return super().__call__(x, training=training)
        if self.output_mode != "count":
            raise ValueError(
                "count_weights can be given only if output_mode is 'count'; layer "
                f"{self.name!r} has {self.output_mode!r}"
            )
        if symbolic(x) or symbolic(count_weights):
            raise TypeError(
                f"count_weights of layer {self.name!r} can be given for arrays only; received a "
                "symbolic tensor"
            )
        numbers = self.values("x", x)
        weights = real_array("count_weights", count_weights)
        if weights.shape != numbers.shape:
            raise ValueError(
                f"count_weights must have the shape of x, {numbers.shape}; received shape "
                f"{weights.shape}"
            )
        dtype = float_name(self)
        counts = encoded(numbers, "count", self.num_tokens, dtype, weights.astype(dtype))
        return np.asarray(counts).view(Tensor)
