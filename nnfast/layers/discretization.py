"""The division of continuous features into bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import Array, Shape, integer, real, real_array
from nnfast.layers.layer import LayerOptions
from nnfast.layers.preprocessing import (
    DataLayer,
    data_batches,
    encoded,
    encoded_shape,
    encoding_mode,
    float_name,
    no_sparse,
)

__all__ = [
    "Discretization",
]


class Discretization(DataLayer):
    """Replace each number by the index of the bin that contains it.

    Bins [b₀, b₁), [b₁, b₂), … lie between boundaries; the first bin extends to −∞ and the last
    one to ∞.

    Parameters
    ----------
    bin_boundaries : sequence of float, optional
        The boundaries, in increasing or decreasing order.
    num_bins : int, optional
        The number of bins. `adapt` then computes boundaries that divide a data set evenly. Either
        this or `bin_boundaries` must be given.
    epsilon : float, default 0.01
        `adapt` keeps about 1 / epsilon quantiles of the data.
    output_mode : {"int", "one_hot", "multi_hot", "count"}, default "int"
        "int" returns the indices. The others encode them as `CategoryEncoding` does.
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
    >>> Discretization([0.0, 1.0, 2.0])([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]])
    Tensor([[0, 2, 3, 1],
            [1, 3, 2, 1]], dtype=int32)
    >>> layer = Discretization(num_bins=4)
    >>> layer.adapt([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]])
    >>> layer([[-1.5, 1.0, 3.4, 0.5]])
    Tensor([[0, 2, 3, 2]], dtype=int32)
    """

    _fields = ("num_bins", "epsilon", "output_mode", "sparse")

    def __init__(
        self,
        bin_boundaries: Sequence[float] | None = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError(
                "Give either bin_boundaries or num_bins; received bin_boundaries="
                f"{bin_boundaries!r} and num_bins={num_bins!r}"
            )
        self.num_bins = None if num_bins is None else integer("num_bins", num_bins, 1, 2**24)
        self.epsilon = real("epsilon", epsilon, above=0.0, high=1.0)
        self.output_mode = encoding_mode(output_mode, ("int", "one_hot", "multi_hot", "count"))
        self.sparse = no_sparse(sparse)
        self._boundaries = None if bin_boundaries is None else _checked(bin_boundaries)

    @property
    def bin_boundaries(self) -> list[float] | None:
        """The boundaries; None until `adapt` has computed them."""
        return self._boundaries

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Compute the boundaries that divide a data set into bins of equal sizes.

        Parameters
        ----------
        data : array_like or iterable of batches
            Lists are arrays. If a batch is a tuple ``(x, y)``, only x is used.
        steps : int, optional
            The number of batches that are used, by default all.

        Raises
        ------
        ValueError
            If boundaries were given to the constructor, or there are no data.
        """
        if self.num_bins is None:
            raise ValueError(
                f"Layer {self.name!r} was given bin_boundaries, so there is nothing to adapt: pass "
                "num_bins instead"
            )
        summary = np.zeros((2, 0), np.float32)
        for batch in data_batches(data, steps):
            summary = _merged(_summary(batch, self.epsilon), summary, self.epsilon)
        if summary.size == 0:
            raise ValueError("data must have at least one number; received none")
        boundaries = _compressed(summary, 1.0 / self.num_bins)[0, :-1].tolist()
        before = self._boundaries
        if before is not None and self.output_mode != "int" and len(before) != len(boundaries):
            raise RuntimeError(
                f"The outputs of layer {self.name!r} have {len(before) + 1} bins; data give "
                f"{len(boundaries) + 1}: make a new layer"
            )
        self._boundaries = boundaries

    def _depth(self) -> int:
        if self._boundaries is not None:
            return len(self._boundaries) + 1
        raise ValueError(
            f"Layer {self.name!r} has no boundaries yet: call adapt, or pass bin_boundaries"
        )

    def infer_shape(self, input_shape: Shape) -> Shape:
        depth = 0 if self.output_mode == "int" else self._depth()
        return encoded_shape(self, input_shape, self.output_mode, depth)

    def _output_dtype(self, inputs: Sequence[KerasTensor]) -> str:
        return "int32" if self.output_mode == "int" else super()._output_dtype(inputs)

    def compute(self, x: Array) -> Array:
        depth, dtype = self._depth(), float_name(self)
        # Boundaries and numbers have the same precision, so that equal ones compare as equal.
        with np.errstate(over="ignore"):
            x, bins = x.astype(dtype), np.asarray(self._boundaries, np.float64).astype(dtype)
        indices = np.digitize(x, bins) if depth > 1 else np.zeros(x.shape, np.int64)
        return encoded(
            indices, self.output_mode, depth, "int32" if self.output_mode == "int" else dtype
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"bin_boundaries": self._boundaries}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Discretization:
        # After `adapt`, the configuration has both, which the constructor refuses.
        boundaries = config.get("bin_boundaries")
        if boundaries is None or config.get("num_bins") is None:
            return cls(**config)
        layer = cls(**{key: value for key, value in config.items() if key != "bin_boundaries"})
        layer._boundaries = _checked(boundaries)
        return layer


def _checked(boundaries: object) -> list[float]:
    array = real_array("bin_boundaries", boundaries).astype(np.float64)
    steps = np.diff(array) if array.ndim == 1 else np.zeros(0)
    if array.ndim != 1 or not ((steps >= 0).all() or (steps <= 0).all()) or np.isnan(array).any():
        raise ValueError(
            f"bin_boundaries must be a list of numbers in order; received {boundaries!r}"
        )
    values: list[float] = array.tolist()
    return values


# ---- approximate quantiles -----------------------------------------------------------------------

# A summary (2, k) of a data set has some of its numbers in order, and how many numbers each stands
# for.


def _summary(data: Any, epsilon: float) -> NDArray[np.float32]:
    """Return the summary of an array, with about 1 / epsilon of its numbers."""
    numbers = np.sort(real_array("data", data).astype(np.float32), axis=None)
    each = max(numbers.size * epsilon, 1.0)
    chosen = numbers[int(each - 1) :: int(each)]
    return np.stack([chosen, np.full_like(chosen, each)])


def _merged(
    one: NDArray[np.float32], other: NDArray[np.float32], epsilon: float
) -> NDArray[np.float32]:
    both = np.concatenate([one, other], axis=1)
    return _compressed(both[:, np.argsort(both[0])], epsilon)


def _compressed(summary: NDArray[np.float32], epsilon: float) -> NDArray[np.float32]:
    """Return a summary of about 1 / epsilon numbers, interpolated between those of another."""
    if summary.shape[1] * epsilon < 1:
        return summary
    levels = epsilon + np.arange(0.0, 1.0, epsilon)
    totals = summary[1].cumsum()
    shares = totals / totals[-1]
    weights = np.diff(np.interp(levels, shares, totals), prepend=0.0)
    return np.stack([np.interp(levels, shares, summary[0]), weights]).astype(np.float32)
