"""NumPy arrays and numbers with the methods of Keras' tensors and variables."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.assign import assign

Array = NDArray[Any]


class Tensor(np.ndarray[Any, Any]):
    """An array with the method `numpy`.

    Examples
    --------
    >>> t = np.arange(3.0).view(Tensor)
    >>> t.numpy()
    array([0., 1., 2.])
    >>> float((t + 1).mean())
    2.0
    """

    __slots__ = ()  # without a __dict__, it is made as fast as an array

    def numpy(self) -> Array:
        """Return a view as a plain array."""
        return self.view(np.ndarray)


class Scalar(float):
    """A float with the method `numpy`.

    Examples
    --------
    >>> Scalar(0.5), float(Scalar(0.5).numpy())
    (0.5, 0.5)
    """

    dtype = np.dtype(np.float64)
    shape = ()

    def numpy(self) -> np.float64:
        """Return the number as a NumPy scalar."""
        return np.float64(self)


class Variable(Tensor):
    """A weight: a view of a built model's memory that has a name and can be assigned.

    Attributes
    ----------
    name : str
        For example ``"kernel"``.
    path : str
        The layer's name and the weight's, for example ``"dense/kernel"``.

    Examples
    --------
    >>> w = np.zeros(2).view(Variable)
    >>> w.assign([1.0, 2.0]).numpy()
    array([1., 2.])
    >>> type(w * 2).__name__
    'Tensor'
    """

    name: str = ""
    path: str = ""

    @classmethod
    def of(cls, weight: Array, layer: str, name: str) -> Self:
        """Return a layer's weight as a variable."""
        variable = weight.view(cls)
        variable.name, variable.path = name, f"{layer}/{name}"
        return variable

    def numpy(self) -> Array:
        """Return a copy as a plain array."""
        return np.array(self)

    @property
    def value(self) -> Array:
        """A copy as a plain array."""
        return self.numpy()

    def assign(self, value: ArrayLike) -> Self:
        """Set the weight.

        Raises
        ------
        ValueError
            If `value` has another shape; the weight is then unchanged.
        """
        assign(f"variable {self.path!r}", [self.view(np.ndarray)], [value])
        return self

    def assign_add(self, value: ArrayLike) -> Self:
        """Add `value` to the weight."""
        return self.assign(self.numpy() + np.asarray(value))

    def assign_sub(self, value: ArrayLike) -> Self:
        """Subtract `value` from the weight."""
        return self.assign(self.numpy() - np.asarray(value))

    def __array_wrap__(self, array: Array, context: Any = None, return_scalar: bool = False) -> Any:
        # A result of a computation is not a weight.
        return array if array is self else array.view(Tensor)

    # Copies and pickles belong to no model.

    def __copy__(self) -> Tensor:  # type: ignore[override]
        return self.numpy().view(Tensor)

    def __deepcopy__(self, memo: Any) -> Tensor:  # type: ignore[override]
        return self.numpy().view(Tensor)

    def __reduce__(self) -> Any:
        return self.numpy().view(Tensor).__reduce__()


class KerasTensor(NamedTuple):
    """What is known of an array before it is computed.

    Attributes
    ----------
    shape : tuple of (int or None)
        None is the size of a batch, which may vary.
    dtype : str
    name : str
    """

    shape: tuple[int | None, ...]
    dtype: str
    name: str


def sample_shape(x: KerasTensor) -> tuple[int, ...]:
    """Return the shape of one sample.

    Examples
    --------
    >>> sample_shape(KerasTensor((None, 2, 3), "float32", "x"))
    (2, 3)
    """
    return tuple(size for size in x.shape[1:] if size is not None)
