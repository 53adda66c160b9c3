"""Weights of PyTorch's recurrent modules become those of nnfast's layers."""

from __future__ import annotations

import numpy as np
import pytest

from nnfast.convert import from_torch_rnn


def state(gates: int, units: int = 2, features: int = 3, suffix: str = "_l0") -> dict:
    """Return arrays whose entries are 10 · gate, so that the order of the gates can be seen."""
    rows = np.repeat(10.0 * np.arange(gates), units)
    return {
        f"weight_ih{suffix}": np.tile(rows[:, None], features),
        f"weight_hh{suffix}": np.tile(rows[:, None], units) + 1,
        f"bias_ih{suffix}": rows + 2,
        f"bias_hh{suffix}": rows + 3,
    }


def test_gates_and_biases() -> None:
    ((kernel, recurrent, bias),) = from_torch_rnn(state(4))
    assert kernel[0].tolist() == [0, 0, 10, 10, 20, 20, 30, 30]
    assert recurrent.shape == (2, 8)
    assert bias.tolist() == [5, 5, 25, 25, 45, 45, 65, 65]
    ((kernel, recurrent, bias),) = from_torch_rnn(state(3))
    assert kernel[0].tolist() == [10, 10, 0, 0, 20, 20]
    assert recurrent[1].tolist() == [11, 11, 1, 1, 21, 21]
    assert bias.tolist() == [[12, 12, 2, 2, 22, 22], [13, 13, 3, 3, 23, 23]]
    ((kernel, recurrent, bias),) = from_torch_rnn(state(1))
    assert (kernel.shape, recurrent.shape, bias.tolist()) == ((3, 2), (2, 2), [5, 5])


def test_layers_directions_and_modules_without_bias() -> None:
    both = state(4) | state(4, suffix="_l0_reverse") | state(4, features=4, suffix="_l1")
    both |= state(4, features=4, suffix="_l1_reverse")
    found = from_torch_rnn(both)
    assert [[w.shape for w in layer] for layer in found] == [
        [(3, 8), (2, 8), (8,)] * 2,
        [(4, 8), (2, 8), (8,)] * 2,
    ]
    plain = {name: array for name, array in state(3).items() if "bias" not in name}
    assert [w.shape for w in from_torch_rnn(plain)[0]] == [(3, 6), (2, 6)]


def test_wrong_states_are_refused() -> None:
    whole = state(4)
    for changed, message in (
        ({}, "at least one layer"),
        (whole | {"weight_hr_l0": np.ones(3)}, "weight_hr_l0"),
        ({k: v for k, v in whole.items() if k != "weight_hh_l0"}, "weight_hh_l0"),
        ({k: v for k, v in whole.items() if k != "bias_hh_l0"}, "bias_hh_l0"),
        (whole | {"weight_ih_l0": np.ones((7, 3))}, r"\(7, 3\)"),
        (whole | {"weight_hh_l0": np.ones((8, 3))}, r"\(8, 3\)"),
        (whole | {"bias_ih_l0": np.ones(4)}, r"\(4,\)"),
        (whole | state(4, suffix="_l2"), "_l1"),
        (whole | state(4, suffix="_l1_reverse"), "_l0_reverse"),
    ):
        with pytest.raises(ValueError, match=message):
            from_torch_rnn(changed)
