"""NumPy arrays and numbers with the method `numpy` of Keras' tensors.

The engine imports this module, so it loads nothing but NumPy itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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

    def numpy(self) -> NDArray[Any]:
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
