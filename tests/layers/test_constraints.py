"""After every step, constraints agree with Keras' formulas, computed in NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, constraints, initializers, layers, optimizers
from nnfast.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm

Array = NDArray[Any]

AXES: tuple[Any, ...] = (0, 1, -1, -2, (0, 1), [-1, 0])

# Every constraint, with every axis of a matrix; a vector has one axis.
MATRIX_CONSTRAINTS = [
    NonNeg(),
    *(MaxNorm(0.5, axis) for axis in AXES),
    *(UnitNorm(axis) for axis in AXES),
    *(MinMaxNorm(0.6, 0.9, 0.25, axis) for axis in AXES),
    MinMaxNorm(0.0, 0.5),
    MaxNorm(0.0),
]
VECTOR_CONSTRAINTS = [NonNeg(), MaxNorm(0.3), UnitNorm(), MinMaxNorm(2.0, 3.0, 0.5), UnitNorm(-1)]


def constrained(constraint: Any, w: Array) -> Array:
    """Return the constrained array, in float64."""
    w = w.astype(np.float64)
    if isinstance(constraint, NonNeg):
        return np.maximum(w, 0.0)
    axis = constraint.axis
    over = tuple(axis) if isinstance(axis, (list, tuple)) else axis
    norm = np.sqrt((w**2).sum(axis=over, keepdims=True))
    desired = {
        MaxNorm: lambda: np.minimum(norm, constraint.high),
        UnitNorm: lambda: np.ones_like(norm),
        MinMaxNorm: lambda: (
            constraint.rate * np.clip(norm, constraint.low, constraint.high)
            + (1 - constraint.rate) * norm
        ),
    }[type(constraint)]()
    return w * desired / (norm + 1e-7)


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


SIZES = ((33, 19), (5, 1), (1, 17), (13, 16))


def pair(
    kernel_constraint: Any,
    bias_constraint: Any,
    optimizer: Callable[[], Any],
    size: tuple[int, int],
    dtype: str,
) -> tuple[Any, Any]:
    """Return a model with constraints and an equal model without them."""
    models = []
    for kernel, bias in ((kernel_constraint, bias_constraint), (None, None)):
        nnfast.set_seed(1)
        dense = layers.Dense(
            size[1],
            kernel_constraint=kernel,
            bias_constraint=bias,
            bias_initializer=initializers.RandomNormal(stddev=0.3, seed=0),
        )
        model = nnfast.Sequential(
            [layers.Input((size[0],)), dense, layers.Dense(2, "tanh")], dtype=dtype
        )
        model.compile(optimizer(), "mse")
        models.append(model)
    return models[0], models[1]


def follow(
    model: Any, plain: Any, kernel_constraint: Any, bias_constraint: Any, steps: int = 4
) -> None:
    """Check that each step equals the unconstrained step followed by the constraint."""
    rng = np.random.default_rng(0)
    dtype = model.get_weights()[0].dtype
    n_in = model.input_shape[1]
    x, y = rng.normal(size=(8 * steps, n_in)), rng.normal(size=(8 * steps, 2))
    changed = False
    for i in range(0, len(x), 8):
        for each in (model, plain):
            each.train_on_batch(x[i : i + 8], y[i : i + 8])
        free = plain.get_weights()
        expected = [w.astype(np.float64) for w in free]
        if kernel_constraint is not None:
            expected[0] = constrained(kernel_constraint, free[0])
        if bias_constraint is not None:
            expected[1] = constrained(bias_constraint, free[1])
        tolerance = 1e-12 if dtype == np.float64 else 2e-6
        for a, e in zip(model.get_weights(), expected, strict=True):
            assert_allclose(a, e, rtol=tolerance, atol=tolerance)
        changed = changed or not np.allclose(expected[0], free[0])
        changed = changed or not np.allclose(expected[1], free[1])
        plain.set_weights(model.get_weights())
    assert changed, "the constraint never took effect"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("constraint", MATRIX_CONSTRAINTS, ids=repr)
def test_kernels_are_constrained(constraint: Any, dtype: str) -> None:
    for size in SIZES:
        model, plain = pair(constraint, None, lambda: optimizers.SGD(0.1), size, dtype)
        follow(model, plain, constraint, None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("constraint", VECTOR_CONSTRAINTS, ids=repr)
def test_biases_are_constrained(constraint: Any, dtype: str) -> None:
    for size in ((4, 19), (5, 2)):
        model, plain = pair(None, constraint, lambda: optimizers.SGD(2.0), size, dtype)
        follow(model, plain, None, constraint)


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "clipped": lambda: optimizers.SGD(0.5, clipnorm=0.1),
    "decayed": lambda: optimizers.SGD(0.05, weight_decay=0.1),
    "moving average": lambda: optimizers.SGD(0.05, use_ema=True, ema_momentum=0.8),
} | dict(optimizers.TABLE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_constraints_follow_the_step_of_every_optimizer(optimizer: str) -> None:
    make = OPTIMIZERS[optimizer]
    for kernel, bias in ((MaxNorm(0.5), NonNeg()), (NonNeg(), UnitNorm())):
        follow(*pair(kernel, bias, make, (33, 19), "float64"), kernel, bias)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("constraint", [NonNeg(), UnitNorm(), UnitNorm(axis=1)], ids=repr)
def test_averaged_weights_are_constrained_when_they_replace_the_weights(
    constraint: Any, threads: int, free_threads: None
) -> None:
    """The average is taken before the constraint, which is applied when it replaces the weights."""
    _engine.force_threads(threads)

    def optimizer() -> Any:
        return optimizers.SGD(0.3, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)

    follow(*pair(constraint, None, optimizer, (13, 16), "float64"), constraint, None)


@pytest.mark.parametrize("batch", [5, 32, 700])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_do_not_depend_on_the_number_of_threads(
    batch: int, dtype: str, free_threads: None
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(700, 33)), rng.normal(size=700)
    results = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        nnfast.set_seed(0)
        model = nnfast.Sequential(
            [
                layers.Dense(35, "tanh", kernel_constraint=MaxNorm(0.5), bias_constraint="non_neg"),
                layers.Dense(17, "tanh", kernel_constraint=UnitNorm(axis=1)),
                layers.Dense(9, "tanh", kernel_constraint=MinMaxNorm(0.5, 1.0, 0.5, axis=(0, 1))),
                layers.Dense(1, kernel_constraint="non_neg", bias_constraint=MaxNorm(0.1)),
            ],
            dtype=dtype,
        )
        average = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3}
        model.compile(optimizers.Adam(0.01, **average), "mse")
        history = model.fit(x, y, batch_size=batch, epochs=3, verbose=0)
        results.append([*model.get_weights(), np.array(history.history["loss"])])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_constraints_apply_to_batches_of_several_micro_batches() -> None:
    """A batch with many rows is split into micro-batches if the model has few parameters."""
    model = nnfast.Sequential(
        [layers.Dense(3, kernel_constraint=UnitNorm(), input_dim=2)], dtype="float64"
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(4000, 2)), rng.normal(size=(4000, 3)), batch_size=2000, verbose=0)
    assert_allclose(np.linalg.norm(model.get_weights()[0], axis=0), np.ones(3), rtol=1e-6)


def test_train_on_gradient_applies_constraints() -> None:
    model = nnfast.Sequential([layers.Dense(2, kernel_constraint="non_neg", input_dim=3)])
    model.compile(optimizers.SGD(10.0))
    model.train_on_gradient(np.ones((4, 3)), np.ones((4, 2)))
    assert_array_equal(model.layers[0].kernel, np.zeros((3, 2)))
    assert (model.layers[0].bias < 0).all()


def test_set_weights_applies_no_constraints() -> None:
    """As in Keras, constraints are applied only after a step."""
    model = nnfast.Sequential([layers.Dense(1, kernel_constraint="non_neg", input_dim=1)])
    model.set_weights([[[-1.0]], [0.0]])
    assert model.predict([[1.0]]) == -1.0
    model.compile(optimizers.SGD(0.0), "mse")
    model.train_on_batch([[1.0]], [0.0])
    assert_array_equal(model.get_weights()[0], [[0.0]])


@pytest.mark.parametrize("constraint", [MaxNorm(), UnitNorm(), MinMaxNorm(0.5)], ids=repr)
def test_constraints_of_norms_keep_zero_weights(constraint: Any) -> None:
    model = nnfast.Sequential(
        [layers.Dense(2, kernel_constraint=constraint, kernel_initializer="zeros", input_dim=3)]
    )
    model.compile(optimizers.SGD(0.1), "mse")
    model.train_on_batch(np.zeros((4, 3)), np.zeros((4, 2)))
    assert_array_equal(model.get_weights()[0], np.zeros((3, 2)))


# Configuration


@pytest.mark.parametrize(
    "constraint", [*MATRIX_CONSTRAINTS, MaxNorm(3), MinMaxNorm(1, 2, 1, [0, 1])], ids=repr
)
def test_json_preserves_constraints(constraint: Any) -> None:
    layer = layers.Dense(3, kernel_constraint=constraint, bias_constraint="unit_norm")
    config = json.loads(json.dumps(layers.serialize(layer)))
    copy = layers.deserialize(config)
    assert type(copy.kernel_constraint) is type(constraint)
    assert copy.get_config() == layer.get_config()
    assert copy.kernel_constraint == constraint
    assert repr(copy.kernel_constraint) == repr(constraint)
    assert isinstance(copy.bias_constraint, UnitNorm)


def test_names_of_constraints_are_those_of_keras() -> None:
    assert constraints.max_norm is MaxNorm
    assert isinstance(constraints.get("non_neg"), NonNeg)
    assert constraints.get("MaxNorm").max_value == 2
    assert constraints.get(None) is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MaxNorm(-1.0), "max_value"),
        (lambda: MaxNorm("2"), "max_value"),
        (lambda: MaxNorm(axis=0.5), "axis"),
        (lambda: MinMaxNorm(2.0, 1.0), "max_value"),
        (lambda: MinMaxNorm(rate=1.5), "rate"),
        (lambda: MinMaxNorm(min_value=-1.0), "min_value"),
        (lambda: UnitNorm(axis="all"), "axis"),
        (lambda: layers.Dense(1, kernel_constraint="max_nrm"), "did you mean 'max_norm'"),
        (lambda: layers.Dense(1, bias_constraint=3), "constraint"),
        (lambda: layers.Dense(1, bias_constraint=MaxNorm(axis=1), input_dim=2), r"axis=1.*\(1,\)"),
        (lambda: layers.Dense(1, kernel_constraint=MaxNorm(axis=2), input_dim=2), r"axis=2"),
        (lambda: layers.Dense(1, kernel_constraint=MaxNorm(axis=()), input_dim=2), "axis="),
    ],
)
def test_wrong_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        nnfast.Sequential([make()])
