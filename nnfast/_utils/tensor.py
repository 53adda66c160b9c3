"""NumPy arrays and numbers with the methods of Keras' tensors and variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

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
    _current: Callable[[], Array] | None = None

    @classmethod
    def of(cls, current: Callable[[], Array], layer: str, name: str) -> Self:
        """Return the variable of a layer's weight.

        `current` returns the weight's memory, which moves when another model trains the layer.
        """
        variable = current().view(cls)
        variable.name, variable.path, variable._current = name, f"{layer}/{name}", current
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
        memory = self.view(np.ndarray) if self._current is None else self._current()
        assign(f"variable {self.path!r}", [memory], [value])
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
