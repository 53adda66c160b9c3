"""Initializers have the right distributions, depend on seeds and survive JSON."""

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
CUT = 0.87962566103423978  # standard deviation of a standard normal truncated at ±2

# Name: (initializer, standard deviation, upper bound of absolute values).
EXPECTED: dict[str, tuple[Any, float, float]] = {
    "glorot_uniform": ("glorot_uniform", *(math.sqrt(k / (N_IN + N_OUT)) for k in (2, 6))),
    "he_uniform": ("he_uniform", *(math.sqrt(k / N_IN) for k in (2, 6))),
    "lecun_uniform": ("lecun_uniform", *(math.sqrt(k / N_IN) for k in (1, 3))),
    "random_uniform": ("random_uniform", 0.05 / math.sqrt(3), 0.05),
    "random_normal": ("random_normal", 0.05, math.inf),
    "truncated_normal": ("truncated_normal", 0.05 * CUT, 0.1),
    "wide truncated": (initializers.TruncatedNormal(stddev=2.0), 2 * CUT, 4.0),
    "wide normal": (initializers.RandomNormal(stddev=2.0), 2.0, math.inf),
    "scaled by outputs": (
        initializers.VarianceScaling(3.0, "fan_out", "uniform"),
        math.sqrt(3 / N_OUT),
        3 / math.sqrt(N_OUT),
    ),
    "scaled untruncated": (
        initializers.VarianceScaling(0.5, distribution="untruncated_normal"),
        math.sqrt(0.5 / N_IN),
        math.inf,
    ),
    "scaled truncated": (
        initializers.VarianceScaling(0.5, "fan_avg"),
        math.sqrt(1 / (N_IN + N_OUT)),
        2 * math.sqrt(1 / (N_IN + N_OUT)) / CUT,
    ),
} | {
    f"{name}_normal": (f"{name}_normal", math.sqrt(v), 2 * math.sqrt(v) / CUT)
    for name, v in (("glorot", 2 / (N_IN + N_OUT)), ("he", 2 / N_IN), ("lecun", 1 / N_IN))
}


@pytest.mark.parametrize("case", EXPECTED)
def test_initial_values_have_the_expected_deviation_and_bounds(case: str) -> None:
    identifier, std, limit = EXPECTED[case]
    w = initializers.resolve(identifier).draw(SHAPE, np.random.default_rng(0))
    assert w.shape == SHAPE
    assert w.std() == pytest.approx(std, rel=0.02)
    assert abs(w.mean()) < 4 * std / math.sqrt(w.size)
    assert abs(w).max() <= limit
    assert limit == math.inf or abs(w).max() > 0.98 * limit


@pytest.mark.parametrize("shape", [(40, 40), (50, 20), (20, 50), (4, 5, 30)])
def test_orthogonal_kernels_are_orthogonal(shape: tuple[int, ...]) -> None:
    w = initializers.Orthogonal(gain=3.0).draw(shape, np.random.default_rng(0))
    assert w.shape == shape
    flat = w.reshape(-1, shape[-1])
    product = flat.T @ flat if len(flat) >= shape[-1] else flat @ flat.T
    np.testing.assert_allclose(product, 9.0 * np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(600, 600), (300, 3000), (3, 500, 401)])
def test_orthogonal_kernels_do_not_depend_on_panels(
    shape: tuple[int, ...], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is NumPy's Q, with signs that make the diagonal of R positive."""
    monkeypatch.setattr(initializers, "_PANEL", 0)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall, few = max(rows, columns), min(rows, columns)
    width = few // 32
    rng = np.random.default_rng(1)
    drawn = [rng.standard_normal((tall, min(width, few - i))) for i in range(0, few, width)]
    q, r = np.linalg.qr(np.concatenate(drawn, axis=1))
    expected = q * np.sign(np.diag(r))
    found = np.empty(shape, dtype)
    initializers.Orthogonal().fill(found, np.random.default_rng(1))
    matrix = found.reshape(rows, columns)
    tolerance = 1e-11 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(matrix if rows >= columns else matrix.T, expected, atol=tolerance)


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


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)])
def test_identity_kernels_are_scaled_identities(shape: tuple[int, int]) -> None:
    w = initializers.Identity(gain=-2.0).draw(shape, np.random.default_rng(0))
    np.testing.assert_array_equal(w, -2.0 * np.eye(*shape))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_identity_needs_two_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"two axes.*\({shape[0]},"):
        initializers.Identity().draw(shape, np.random.default_rng(0))


NAMED = {
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "he_normal": (2.0, "fan_in", "normal"),
    "lecun_uniform": (1.0, "fan_in", "Uniform"),
    "lecun_normal": (1.0,),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("shape", [(7, 3), (5,), (0, 4)])
def test_named_initializers_are_cases_of_variance_scaling(
    name: str, shape: tuple[int, ...]
) -> None:
    """Both draw the same numbers; the named one has only seed and axes in its configuration."""
    general = initializers.VarianceScaling(*NAMED[name], seed=3)  # type: ignore[arg-type]
    named = type(initializers.get(name))(seed=3)
    assert isinstance(named, initializers.VarianceScaling)
    assert named.get_config() == {"seed": 3, "input_axes": None, "output_axes": None}
    assert repr(named) == f"{type(named).__name__}(seed=3)"
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(named.draw(shape, rng), general.draw(shape, rng))


def test_fans_of_kernels_include_the_window() -> None:
    """As in Keras, both fans are multiplied by the sizes of all axes but the last two."""
    for mode, fan in (("fan_in", 9 * 50), ("fan_out", 9 * 200), ("fan_avg", 9 * 125)):
        scaled = initializers.VarianceScaling(1.0, mode, "uniform", seed=0)
        w = scaled.draw((3, 3, 50, 200), np.random.default_rng(0))
        assert abs(w).max() == pytest.approx(math.sqrt(3 / fan), rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": 0.0}, ["scale", "> 0", "0.0"]),
        ({"scale": "two"}, ["scale", "number", "'two'"]),
        ({"mode": "fan_on"}, ["mode", "'fan_on'", "'fan_in'"]),
        ({"distribution": "cauchy"}, ["distribution", "'cauchy'", "'uniform'"]),
    ],
)
def test_wrong_arguments_of_variance_scaling_are_named(
    arguments: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        initializers.VarianceScaling(**arguments)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


def test_constants_fill_arrays() -> None:
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
def test_initializers_resolve_from_every_form(name: str) -> None:
    """The forms are name, class name, class, object and configuration."""
    cls = initializers.TABLE[name]
    expected = cls()
    description = {"class_name": cls.__name__, "config": expected.get_config()}
    json.dumps(description)
    for form in (name, cls.__name__, cls, expected, description):
        assert initializers.resolve(form) == expected
    assert cls.from_config(expected.get_config()) == expected


@pytest.mark.parametrize("name", initializers.TABLE)
def test_seeds_determine_the_numbers(name: str) -> None:
    cls = initializers.TABLE[name]
    if "seed" not in cls().get_config():
        return
    a, b = (cls(seed=3).draw((4, 3), np.random.default_rng(i)) for i in (0, 1))
    np.testing.assert_array_equal(a, b)
    own = [cls().draw((4, 3), np.random.default_rng(i)) for i in (0, 1)]
    assert (own[0] != own[1]).any()


@pytest.mark.parametrize("name", [n for n in initializers.TABLE if n[:4] not in ("zero", "cons")])
def test_layers_keep_their_initializer(name: str) -> None:
    layer = layers.Dense(4, kernel_initializer=name, input_dim=3)
    model = nnfast.Sequential([layer])
    assert model.get_weights()[0].any()
    copy = nnfast.Sequential.from_config(model.get_config())
    assert copy.layers[0].kernel_initializer == layer.kernel_initializer


LONG = (300, 500)  # more than two blocks of random numbers


def truncated_normal(rng: np.random.Generator) -> Any:
    """Return standard normal numbers; redraw those beyond ±2 until none is left."""
    z = rng.standard_normal(LONG)
    while (np.abs(z) > 2).any():
        z[np.abs(z) > 2] = rng.standard_normal(np.count_nonzero(np.abs(z) > 2))
    return z


IN_BLOCKS: dict[str, tuple[Any, Any]] = {
    "uniform": (initializers.RandomUniform(-1.0, 3.0), lambda rng: rng.uniform(-1.0, 3.0, LONG)),
    "normal": (initializers.RandomNormal(0.5, 2.0), lambda rng: rng.normal(0.5, 2.0, LONG)),
    "truncated": (
        initializers.TruncatedNormal(0.5, 2.0),
        lambda rng: 0.5 + 2.0 * truncated_normal(rng),
    ),
    "scaled uniform": (
        initializers.VarianceScaling(3.0, "fan_out", "uniform"),
        lambda rng: rng.uniform(-3 / math.sqrt(500), 3 / math.sqrt(500), LONG),
    ),
    "scaled normal": (
        initializers.VarianceScaling(1.0, "fan_out", "untruncated_normal"),
        lambda rng: rng.normal(0.0, 1 / math.sqrt(500), LONG),
    ),
    "scaled truncated": (
        initializers.VarianceScaling(1.0, "fan_out"),
        lambda rng: truncated_normal(rng) / (math.sqrt(500) * CUT),
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", IN_BLOCKS)
def test_filling_in_blocks_gives_the_numbers_of_one_draw(case: str, dtype: Any) -> None:
    initializer, draw = IN_BLOCKS[case]
    expected = draw(np.random.Generator(np.random.Philox(7))).astype(dtype)
    found = np.empty(LONG, dtype)
    rng = np.random.Generator(np.random.Philox(7))
    initializer.fill(found, rng)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == np.float32 else 1e-15)
    after = np.random.Generator(np.random.Philox(7))
    np.testing.assert_array_equal(initializer.draw(LONG, after).astype(dtype), found)
    assert rng.random() == after.random()


def test_fill_refuses_noncontiguous_arrays() -> None:
    with pytest.raises(ValueError, match="C-contiguous"):
        initializers.RandomNormal().fill(np.zeros((4, 4))[:, ::2], np.random.default_rng(0))


def test_empty_arrays_are_filled() -> None:
    for name in initializers.TABLE:
        if name not in ("orthogonal", "identity"):
            initializers.resolve(name).fill(np.empty((0, 3)), np.random.default_rng(0))


class Doubled(initializers.RandomNormal):
    """A user-defined initializer that overrides only `draw`."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return 2 * super().draw(shape, rng)


def test_subclasses_may_override_draw() -> None:
    plain, doubled = (
        nnfast.Sequential([layers.Dense(4, kernel_initializer=cls(seed=1), input_dim=3)])
        for cls in (initializers.RandomNormal, Doubled)
    )
    np.testing.assert_array_equal(doubled.get_weights()[0], 2 * plain.get_weights()[0])
