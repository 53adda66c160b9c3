"""Tests of dropout masks: their shape, their seed, and rates 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import layers, optimizers

SHAPE = (3, 4, 5)


def masks(
    layer: layers.Layer,
    shape: tuple[int, ...] = SHAPE,
    rows: int = 16,
    seed: int = 0,
    threads: int = 1,
) -> NDArray[Any]:
    """Return the outputs for ones in training, as the weights that one SGD step subtracts.

    The loss is the sum of the dense layer's outputs times −1 for row i in output i, so that the
    kernel's column i becomes row i of the layer's outputs.
    """
    nnfast.set_seed(seed)
    size = int(np.prod(SHAPE))
    dense = layers.Dense(rows, kernel_initializer="zeros", use_bias=False)
    model = nnfast.Sequential([layers.Input(SHAPE), layer, layers.Flatten(), dense])
    model.n_threads = threads
    model.compile(optimizers.SGD(1.0), lambda y, a: ((a * y).sum(axis=1), y))
    model.fit(np.ones((rows, *SHAPE)), -np.eye(rows), batch_size=rows, shuffle=False, verbose=0)
    kernel = model.layers[-1].get_weights()[0]
    assert kernel.shape == (size, rows)
    return (kernel.T * rows).reshape(rows, *SHAPE).round(4)


@pytest.mark.parametrize(
    "noise_shape",
    [
        (None, None, None, 1),
        (None, 1, None, None),
        (None, 1, 1, 5),
        (16, 3, 1, 5),
        (None, 1, 4, 1),
        (None, 3, 4, 5),
        (None, 1, 1, 1),
    ],
)
def test_elements_along_axes_of_size_1_share_the_mask(noise_shape: Any) -> None:
    mask = masks(layers.Dropout(0.5, noise_shape))
    assert set(np.unique(mask)) == {0.0, 2.0}
    shared = tuple(i for i, n in enumerate(noise_shape) if n == 1)
    first = mask[tuple(slice(0, 1) if i in shared else slice(None) for i in range(4))]
    assert_array_equal(mask, np.broadcast_to(first, mask.shape))
    # Along the other axes, the mask differs.
    for axis in set(range(4)) - set(shared):
        assert (np.diff(first, axis=axis) != 0).any()
    assert abs(first.mean() - 1) < 5 / np.sqrt(first.size)


def test_the_mask_does_not_depend_on_threads() -> None:
    layer = lambda: layers.Dropout(0.3, (None, 1, None, None))  # noqa: E731
    expected = masks(layer(), rows=70)
    for threads in (2, 3):
        assert_array_equal(masks(layer(), rows=70, threads=threads), expected)


def test_a_full_mask_shape_changes_nothing() -> None:
    assert_array_equal(masks(layers.Dropout(0.5, (None, *SHAPE))), masks(layers.Dropout(0.5)))


@pytest.mark.parametrize("kind", [layers.Dropout, layers.GaussianNoise])
def test_a_layers_seed_replaces_that_of_the_model(kind: Any) -> None:
    one, two = masks(kind(0.5, seed=3), seed=0), masks(kind(0.5, seed=3), seed=1)
    assert_array_equal(one, two)
    assert (one != masks(kind(0.5, seed=4))).any()
    assert (masks(kind(0.5), seed=0) != masks(kind(0.5), seed=1)).any()
    with pytest.raises(ValueError, match="seed"):
        kind(0.5, seed=-1)


def test_rate_1_gives_zeros_in_training_only() -> None:
    assert not masks(layers.Dropout(1.0)).any()
    model = nnfast.Sequential([layers.Input((3,)), layers.Dropout(1.0), layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.ones((4, 3))
    assert model.predict(x).any()
    _, gradients = model.loss_and_grad(x, np.zeros((4, 2)))
    assert gradients[0].any(), "in inference mode"


@pytest.mark.parametrize(
    "noise_shape", [(1, None, 4), (None, 2, None), (None, 4), (), (None, 0, 4), "ab"]
)
def test_wrong_mask_shapes_are_refused(noise_shape: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="noise_shape"):
        nnfast.Sequential([layers.Input((3, 4)), layers.Dropout(0.5, noise_shape)])


def test_a_mask_that_alternates_more_than_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="alternates"):
        nnfast.Sequential(
            [layers.Input((2, 2, 2, 2)), layers.Dropout(0.5, (None, 1, None, 1, None))]
        )
