"""Initial values: distributions, seeds and descriptions."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import initializers, layers

SHAPE = (300, 200)
N_IN, N_OUT = SHAPE
CUT = 0.87962566103423978  # Standard deviation of a normal cut at 2.

# Standard deviation, and the largest value there can be.
EXPECTED: dict[str, tuple[Any, float, float]] = {
    "glorot_uniform": ("glorot_uniform", *(math.sqrt(k / (N_IN + N_OUT)) for k in (2, 6))),
    "he_uniform": ("he_uniform", *(math.sqrt(k / N_IN) for k in (2, 6))),
    "lecun_uniform": ("lecun_uniform", *(math.sqrt(k / N_IN) for k in (1, 3))),
    "random_uniform": ("random_uniform", 0.05 / math.sqrt(3), 0.05),
    "random_normal": ("random_normal", 0.05, math.inf),
    "truncated_normal": ("truncated_normal", 0.05 * CUT, 0.1),
    "wide truncated": (initializers.TruncatedNormal(stddev=2.0), 2 * CUT, 4.0),
    "wide normal": (initializers.RandomNormal(stddev=2.0), 2.0, math.inf),
} | {
    f"{name}_normal": (f"{name}_normal", math.sqrt(v), 2 * math.sqrt(v) / CUT)
    for name, v in (("glorot", 2 / (N_IN + N_OUT)), ("he", 2 / N_IN), ("lecun", 1 / N_IN))
}


@pytest.mark.parametrize("case", EXPECTED)
def test_distribution(case: str) -> None:
    identifier, std, limit = EXPECTED[case]
    w = initializers.resolve(identifier).draw(SHAPE, np.random.default_rng(0))
    assert w.shape == SHAPE
    assert w.std() == pytest.approx(std, rel=0.02)
    assert abs(w.mean()) < 4 * std / math.sqrt(w.size)
    assert abs(w).max() <= limit
    assert limit == math.inf or abs(w).max() > 0.98 * limit


@pytest.mark.parametrize("shape", [(40, 40), (50, 20), (20, 50), (4, 5, 30)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = initializers.Orthogonal(gain=3.0).draw(shape, np.random.default_rng(0))
    assert w.shape == shape
    flat = w.reshape(-1, shape[-1])
    product = flat.T @ flat if len(flat) >= shape[-1] else flat @ flat.T
    np.testing.assert_allclose(product, 9.0 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_has_no_preferred_sign() -> None:
    w = initializers.Orthogonal().draw((2000, 1), np.random.default_rng(0))
    assert abs((w > 0).mean() - 0.5) < 0.05
    signs = [
        initializers.Orthogonal().draw((2, 2), np.random.default_rng(seed))[0, 0] > 0
        for seed in range(200)
    ]
    assert 70 < sum(signs) < 130


def test_orthogonal_needs_two_axes() -> None:
    with pytest.raises(ValueError, match=r"two axes.*\(3,\)"):
        nnfast.Sequential([layers.Dense(3, bias_initializer="orthogonal", input_dim=2)])


def test_constants() -> None:
    rng = np.random.default_rng(0)
    for identifier, value in (
        ("zeros", 0),
        ("ones", 1),
        ("zero", 0),
        ("one", 1),
        (initializers.Constant(2.5), 2.5),
    ):
        assert (initializers.resolve(identifier).draw((2, 3), rng) == value).all()


@pytest.mark.parametrize("name", initializers.TABLE)
def test_forms(name: str) -> None:
    """A name, a class name, a class, an object, a config dict: one initializer."""
    cls = initializers.TABLE[name]
    expected = cls()
    description = {"class_name": cls.__name__, "config": expected.get_config()}
    json.dumps(description)
    for form in (name, cls.__name__, cls, expected, description):
        assert initializers.resolve(form) == expected
    assert cls.from_config(expected.get_config()) == expected


@pytest.mark.parametrize("name", initializers.TABLE)
def test_seeds(name: str) -> None:
    cls = initializers.TABLE[name]
    if "seed" not in cls().get_config():
        return
    a, b = (cls(seed=3).draw((4, 3), np.random.default_rng(i)) for i in (0, 1))
    np.testing.assert_array_equal(a, b)
    own = [cls().draw((4, 3), np.random.default_rng(i)) for i in (0, 1)]
    assert (own[0] != own[1]).any()


@pytest.mark.parametrize("name", [n for n in initializers.TABLE if n[:4] not in ("zero", "cons")])
def test_in_a_layer(name: str) -> None:
    layer = layers.Dense(4, kernel_initializer=name, input_dim=3)
    model = nnfast.Sequential([layer])
    assert model.get_weights()[0].any()
    copy = nnfast.Sequential.from_config(model.get_config())
    assert copy.layers[0].kernel_initializer == layer.kernel_initializer
