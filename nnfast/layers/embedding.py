"""Embeddings: a trained vector for each id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import constraints, initializers, regularizers
from nnfast._engine import WeightArray
from nnfast._plan.spec import EmbeddingSettings, Masking, Op, Weight
from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import Shape, flag, integer, real_array
from nnfast._utils.variable import Variable
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.masking import step_mask

__all__ = [
    "Embedding",
]

# The engine reads ids as floats; up to this number, float32 represents every integer.
MOST_FLOAT32_IDS = 2**24


class Embedding(Layer):
    """Look up a vector for each id: y[..., :] = embeddings[x[...]].

    The table `embeddings` has shape (input_dim, output_dim). Samples may have any number of axes: x
    has shape (n, ...) and y has shape (n, ..., output_dim). Ids are integers, or floats that are
    whole numbers, from 0 to input_dim − 1. An `Input` must hold them; layers that only move
    elements may come between, such as Flatten, Reshape, slices and Concatenate. They have no
    gradient.

    Only rows whose ids are in a batch have a gradient, and computing it takes a time that does not
    depend on `input_dim`. As in Keras, an optimizer nevertheless updates all rows in every step:
    with a gradient of 0, Adam moves a row on for as long as its moments have not faded.

    Parameters
    ----------
    input_dim : int
        The number of ids, which is at most 2**24 in a float32 model.
    output_dim : int
        The number of elements of a vector.
    embeddings_initializer : str or Initializer, default "uniform"
    embeddings_regularizer : str, Regularizer or None, default None
        Penalty from `nnfast.regularizers` on the whole table, which is added to the loss.
    embeddings_constraint : str, Constraint or None, default None
        Constraint from `nnfast.constraints` that is applied to the table after each step.
    mask_zero : bool, default False
        Whether id 0 is padding, which layers after this one skip; see `Masking`. Samples then have
        shape (steps,).
    weights : array_like (input_dim, output_dim), optional
        Initial values of the table, which take the place of the initializer's; as in Keras, also a
        list of this array alone. They are not part of the configuration.
    input_length : int, optional
        Has no effect; programs for older versions of Keras pass it.
    **options
        See `Layer`; there, `input_dim` has another meaning, so give `input_shape`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> Embedding(1000, 64).infer_shape((10,))
    (10, 64)
    >>> table = Embedding(3, 2, weights=[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    >>> nnfast.Sequential([nnfast.Input((2,)), table]).predict([[2, 0]])
    array([[[4., 5.],
            [0., 1.]]], dtype=float32)
    """

    embeddings_initializer: initializers.Initializer
    embeddings_regularizer: regularizers.L1L2 | None
    embeddings_constraint: constraints.Constraint | None

    _fields = (
        *("input_dim", "output_dim", "embeddings_initializer", "embeddings_regularizer"),
        *("embeddings_constraint", "mask_zero"),
    )

    def __init__(  # type: ignore[misc]  # `input_dim` is another argument than that of all layers
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: str | initializers.Initializer = "uniform",
        embeddings_regularizer: str | regularizers.L1L2 | None = None,
        embeddings_constraint: str | constraints.Constraint | None = None,
        mask_zero: bool = False,
        weights: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        input_length: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.input_dim = integer("input_dim", input_dim, minimum=1, maximum=2**31 - 1)
        self.output_dim = integer("output_dim", output_dim, minimum=1)
        self._configure_weight(
            "embeddings", embeddings_initializer, embeddings_regularizer, embeddings_constraint
        )
        self.mask_zero = flag("mask_zero", mask_zero)
        self._given = None if weights is None else self._table(weights)

    def _table(self, weights: Any) -> NDArray[Any]:
        """Return a copy of the argument `weights`."""
        array = real_array("weights", weights)
        shape = (self.input_dim, self.output_dim)
        if array.shape == (1, *shape) and isinstance(weights, (list, tuple)):
            array = array[0]
        if array.shape != shape:
            raise ValueError(
                f"weights must have shape (input_dim, output_dim), {shape}; received shape "
                f"{array.shape}"
            )
        return array.copy()

    @property
    def masking(self) -> Masking:
        return Masking.MAKES if self.mask_zero else Masking.ENDS

    def infer_shape(self, input_shape: Shape) -> Shape:
        if self.mask_zero and len(input_shape) != 1:
            raise ValueError(
                f"Embedding layer {self.name!r} with mask_zero=True expects samples of shape "
                f"(steps,); received shape {input_shape}"
            )
        return (*input_shape, self.output_dim)

    def ops(self, input_shape: Shape) -> list[Op]:
        settings = EmbeddingSettings(self.input_dim, self.output_dim)
        look_up = Op("embedding", settings=settings, operands=(0,))
        return [step_mask(input_shape[0], 1, 0.0), look_up] if self.mask_zero else [look_up]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        initializer = self.embeddings_initializer if self._given is None else _Given(self._given)
        return [
            Weight(
                "embeddings",
                (self.input_dim, self.output_dim),
                initializer,
                self.embeddings_regularizer,
                self.embeddings_constraint,
                sparse=True,
            )
        ]

    def bind(
        self,
        arrays: dict[str, WeightArray],
        shapes: Mapping[str, Shape],
        fixed: frozenset[str],
        states: frozenset[str] = frozenset(),
    ) -> None:
        super().bind(arrays, shapes, fixed, states)
        self._given = None

    def _output_dtype(self, inputs: Sequence[KerasTensor]) -> str:
        dtype = super()._output_dtype(inputs)
        if dtype == "float32" and self.input_dim > MOST_FLOAT32_IDS:
            raise ValueError(
                f"input_dim must be at most {MOST_FLOAT32_IDS} in a float32 model, because ids are "
                f"computed as floats; layer {self.name!r} has input_dim={self.input_dim}: use "
                "dtype='float64'"
            )
        return dtype

    @property
    def embeddings(self) -> Variable:
        """The table, of shape (input_dim, output_dim): a view of the built model's weights."""
        return self._variable("embeddings")


class _Given(initializers.Initializer):
    """Copies given values."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        return self.values.astype(np.float64)
