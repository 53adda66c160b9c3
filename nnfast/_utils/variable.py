"""Weights with the methods of Keras' variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.assign import assign
from nnfast._utils.tensor import Tensor

Array = NDArray[Any]

_ndarray: Any = np.ndarray  # its operators have types that subclasses may not replace


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

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        raise TypeError("a Variable is a weight of a model, and cannot be made without one")

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

    # A weight is changed in place.

    __iadd__ = _ndarray.__iadd__
    __isub__ = _ndarray.__isub__
    __imul__ = _ndarray.__imul__
    __itruediv__ = _ndarray.__itruediv__
    __ifloordiv__ = _ndarray.__ifloordiv__
    __imod__ = _ndarray.__imod__
    __ipow__ = _ndarray.__ipow__
