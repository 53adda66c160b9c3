"""Conversion of weights from other libraries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["from_torch_rnn"]

# PyTorch's names: the array, the number of the layer, and whether it goes backwards.
_NAME = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh)_l(\d+)(_reverse)?")


def from_torch_rnn(state_dict: Mapping[str, Any]) -> list[list[Array]]:
    """Return the weights of a `torch.nn.LSTM`, `GRU` or `RNN` for recurrent layers of nnfast.

    PyTorch transposes the kernels and has two biases. Its GRU has the gates in the order r, z, n,
    and resets after the product, as `GRU` does by default.

    Parameters
    ----------
    state_dict : mapping of str to array_like
        The result of the module's method `state_dict`; its values may be tensors or arrays.

    Returns
    -------
    list of list of ndarray
        One entry for each layer of the module, for the method `set_weights` of an `LSTM`, `GRU` or
        `SimpleRNN` layer or, if the module is bidirectional, of a `Bidirectional` layer. The arrays
        have the dtype of the values.

    Raises
    ------
    ValueError
        If an entry is missing or unknown, or shapes contradict each other.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> state = {"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2))}
    >>> state |= {"bias_ih_l0": np.ones(8), "bias_hh_l0": np.ones(8)}
    >>> (weights,) = from_torch_rnn(state)
    >>> [w.shape for w in weights]
    [(3, 8), (2, 8), (8,)]
    >>> layer = nnfast.layers.LSTM(2, input_shape=(5, 3))
    >>> model = nnfast.Sequential([layer])
    >>> layer.set_weights(weights)
    """
    found: dict[tuple[int, bool], dict[str, Array]] = {}
    for name, value in state_dict.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"state_dict must be that of torch.nn.LSTM, GRU or RNN without projections, with "
                f"names such as 'weight_ih_l0'; received the name {name!r}"
            )
        kind, number, reverse = match.groups()
        found.setdefault((int(number), reverse is not None), {})[kind] = _array(value)
    if not found:
        raise ValueError("state_dict must have the arrays of at least one layer; received none")
    n_layers = 1 + max(number for number, _ in found)
    ways = (False, True) if any(reverse for _, reverse in found) else (False,)
    layers = []
    for number in range(n_layers):
        directions = [
            _weights(found.get((number, way), {}), f"_l{number}{'_reverse' * way}") for way in ways
        ]
        layers.append([array for direction in directions for array in direction])
    return layers


def _array(value: Any) -> Array:
    """Return a tensor or an array as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _weights(arrays: Mapping[str, Array], suffix: str) -> list[Array]:
    """Return the kernels and the bias of one direction of a layer."""
    for name in ("weight_ih", "weight_hh"):
        if name not in arrays or arrays[name].ndim != 2:
            raise ValueError(f"state_dict must have a matrix {name}{suffix}")
    kernel, recurrent = arrays["weight_ih"], arrays["weight_hh"]
    rows, units = recurrent.shape
    if kernel.shape[0] != rows or rows not in (units, 3 * units, 4 * units):
        raise ValueError(
            f"weight_ih{suffix} and weight_hh{suffix} must have shapes (g·units, features) and "
            f"(g·units, units) with 1, 3 or 4 gates g; received {kernel.shape} and "
            f"{recurrent.shape}"
        )
    biases = [arrays[name] for name in ("bias_ih", "bias_hh") if name in arrays]
    if len(biases) not in (0, 2) or any(bias.shape != (rows,) for bias in biases):
        raise ValueError(
            f"bias_ih{suffix} and bias_hh{suffix} must both have shape ({rows},), or both be "
            f"missing; received shapes {[bias.shape for bias in biases]}"
        )
    if rows != 3 * units:
        weights = [kernel.T, recurrent.T, *([biases[0] + biases[1]] if biases else [])]
    else:  # z and r change places
        order = np.r_[units : 2 * units, :units, 2 * units : rows]
        bias = [np.stack(biases)[:, order]] if biases else []
        weights = [kernel.T[:, order], recurrent.T[:, order], *bias]
    return [np.ascontiguousarray(array) for array in weights]
