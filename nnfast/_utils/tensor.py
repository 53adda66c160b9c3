"""NumPy arrays and numbers with the method `numpy` of Keras' tensors.

The engine imports this module, so it loads nothing but NumPy itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_ndarray: Any = np.ndarray  # its operators have types that subclasses may not replace


class Tensor(np.ndarray[Any, Any]):
    """An array with the method `numpy`.

    As for TensorFlow's tensors, ``t += 1`` makes a new array, which the name then stands for.

    Examples
    --------
    >>> t = np.arange(3.0).view(Tensor)
    >>> t.numpy()
    array([0., 1., 2.])
    >>> float((t + 1).mean())
    2.0
    """

    __slots__ = ()  # without a __dict__, it is made as fast as an array

    def numpy(self) -> Any:
        """Return a view as a plain array, or a NumPy scalar if there are no axes."""
        return self.view(np.ndarray)[()]

    __iadd__ = _ndarray.__add__
    __isub__ = _ndarray.__sub__
    __imul__ = _ndarray.__mul__
    __itruediv__ = _ndarray.__truediv__
    __ifloordiv__ = _ndarray.__floordiv__
    __imod__ = _ndarray.__mod__
    __ipow__ = _ndarray.__pow__


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
