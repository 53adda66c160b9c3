"""Random zooms, rotations, contrast and brightness; see test_images.py for what layers share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from trained_layer import Images, Trained, assert_transposed, images

import nnfast
from nnfast import _engine, layers

PAD_MODES = {"reflect": "symmetric", "constant": "constant", "nearest": "edge", "wrap": "wrap"}
SHAPES = [(4, 5, 1), (3, 4, 2), (2, 3, 17), (1, 1, 3), (5, 2, 8)]


@pytest.fixture(autouse=True)
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


# Zooms and rotations


def moved(
    image: Images, at: NDArray[np.float64], mode: str, smooth: bool, fill: float = 0.0
) -> Images:
    """Return an image whose pixels come from the positions at[0] (rows) and at[1] (columns)."""
    extra = 4 * max(image.shape[:2]) + 2
    constant = {"constant_values": fill} if mode == "constant" else {}
    wide = np.pad(image, (*((extra, extra),) * 2, (0, 0)), PAD_MODES[mode], **constant)
    if not smooth:
        rows, columns = np.rint(at).astype(int) + extra
        return wide[rows, columns]
    low = np.floor(at).astype(int)
    down, right = (at - low)[..., None]
    rows, columns = low + extra
    above = wide[rows, columns] * (1 - right) + wide[rows, columns + 1] * right
    below = wide[rows + 1, columns] * (1 - right) + wide[rows + 1, columns + 1] * right
    return above * (1 - down) + below * down


def positions(shape: tuple[int, ...], matrix: Any) -> NDArray[np.float64]:
    """Return where the pixels come from: matrix · offset, where offsets are from the centre."""
    centre = (np.array(shape[:2]) - 1) / 2
    offsets = np.indices(shape[:2]) - centre[:, None, None]
    return np.asarray(np.einsum("ij,jhw->ihw", matrix, offsets) + centre[:, None, None])


def turn(fraction: float) -> NDArray[np.float64]:
    """Return the matrix from offsets in the output to offsets in the input, (down, right)."""
    sine, cosine = np.sin(2 * np.pi * fraction), np.cos(2 * np.pi * fraction)
    return np.array([[cosine, sine], [-sine, cosine]])


FILL = 2.5
MOVED: dict[str, tuple[Any, NDArray[np.float64]]] = {
    "smaller": (lambda *o, **k: layers.RandomZoom((0.3, 0.3), (0.77, 0.77), *o, **k), (1.3, 1.77)),
    "larger": (lambda *o, **k: layers.RandomZoom((-0.37, -0.37), (0, 0), *o, **k), (0.63, 1.0)),
    "both axes alike": (
        lambda *o, **k: layers.RandomZoom((0.21, 0.21), None, *o, **k),
        (1.21,) * 2,
    ),
    "turned": (lambda *o, **k: layers.RandomRotation((0.113, 0.113), *o, **k), turn(0.113)),
    "turned back": (lambda *o, **k: layers.RandomRotation((-0.43, -0.43), *o, **k), turn(-0.43)),
    "not turned": (lambda *o, **k: layers.RandomRotation((0, 0), *o, **k), turn(0)),
}


@pytest.mark.parametrize("name", MOVED)
@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_moved_images_and_their_gradients_agree_with_numpy(
    name: str, mode: str, interpolation: str
) -> None:
    make, matrix = MOVED[name]
    matrix = np.diag(matrix) if np.ndim(matrix) == 1 else matrix
    for shape in SHAPES:
        x = images(2, *shape)
        trained = Trained(make(mode, interpolation, fill_value=FILL), x)
        at, smooth = positions(shape, matrix), interpolation == "bilinear"
        for row in range(2):
            expected = moved(x[row], at, mode, smooth, FILL)
            assert_allclose(trained.outputs[0][row], expected, rtol=1e-11, atol=1e-12)
            assert_transposed(trained, row, lambda image: moved(image, at, mode, smooth))  # noqa: B023


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_positive_angles_turn_counterclockwise(quarters: int) -> None:
    x = images(1, 5, 5, 2)
    trained = Trained(layers.RandomRotation((quarters / 4,) * 2, interpolation="nearest"), x)
    assert_array_equal(trained.outputs[0][0], np.rot90(x[0], quarters))


@pytest.mark.filterwarnings("ignore:Training stopped", "ignore:invalid value")
def test_an_infinite_pixel_stays_where_it_is() -> None:
    x = images(1, 5, 5, 1)
    x[0, 1, 3, 0] = np.inf
    for layer in (layers.RandomRotation((0, 0)), layers.RandomZoom((0, 0))):
        assert_array_equal(Trained(layer, x).outputs[0], x)


# Contrast and brightness


def changed(image: Images, number: float, limits: tuple[float, float], contrast: bool) -> Images:
    """Return an image with another contrast (factor `number`) or brightness (plus `number`)."""
    mean = image.mean(axis=(0, 1))
    return np.clip((image - mean) * number + mean if contrast else image + number, *limits)


@pytest.mark.parametrize("shape", [*SHAPES, (9, 7, 3), (70, 2, 35)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_contrast_and_brightness_agree_with_numpy(shape: tuple[int, ...], dtype: str) -> None:
    x = images(3, *shape) * 4096 / np.prod((3, *shape))
    for limits in [(0, 1), (0.25, 0.75)]:
        for layer, number, contrast in [
            (layers.RandomContrast((-0.5, 0.5), limits), 1.5, True),
            (layers.RandomContrast((0.75, -0.75), limits[::-1]), 1.75, True),
            (layers.RandomBrightness((0.25, 0.25), limits), 0.25 * np.diff(limits), False),
            (layers.RandomBrightness((-0.5, -0.5), limits), -0.5 * np.diff(limits), False),
        ]:
            trained = Trained(layer, x, dtype=dtype)
            for out, image in zip(trained.outputs[0], x, strict=True):
                expected = changed(image, number, limits, contrast)
                error = 1e-6 if dtype == "float32" else 1e-14
                assert_allclose(out, expected, rtol=0, atol=error)


def test_clipped_pixels_have_no_gradient() -> None:
    x = np.linspace(0, 1, 24).reshape(1, 4, 6, 1)
    trained = Trained(layers.RandomBrightness((0.5, 0.5), (0, 1)), x)
    inside = x[0] + 0.5 <= 1
    assert_allclose(trained.gradient[0], trained.output_gradients[0] * inside, atol=1e-14)
    # A pixel at the end of the range that is not changed has the gradient of the others.
    trained = Trained(layers.RandomBrightness(0, (0, 1)), x)
    assert_allclose(trained.gradient, trained.output_gradients, atol=1e-14)


@pytest.mark.filterwarnings("ignore:Training stopped")
@pytest.mark.parametrize("contrast", [True, False])
def test_nan_remains_nan(contrast: bool) -> None:
    x = images(1, 4, 5, 2)
    x[0, 1, 2, 1] = np.nan
    layer = layers.RandomContrast(0.5) if contrast else layers.RandomBrightness(0.5)
    out = Trained(layer, x).outputs[0][0]
    assert np.isnan(out[1, 2, 1])
    assert not np.isnan(out[..., 0]).any()


# Gradients of everything


RANDOM: dict[str, Any] = {
    "zoom": lambda: layers.RandomZoom(0.5, 0.3, "wrap", seed=3),
    "nearest zoom": lambda: layers.RandomZoom(0.5, None, "constant", "nearest", 3),
    "rotation": lambda: layers.RandomRotation(0.3, "constant", seed=3),
    "nearest rotation": lambda: layers.RandomRotation(0.3, "reflect", "nearest", 3),
    "contrast": lambda: layers.RandomContrast((0.7, 0.9), (0.1, 0.8), 3),
    "brightness": lambda: layers.RandomBrightness(0.4, (0.1, 0.8), 3),
    "resizing": lambda: layers.Resizing(5, 2),
    "center crop": lambda: layers.CenterCrop(2, 3),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", [(3, 4, 2), (5, 3, 1), (7, 7, 3)])
def test_gradients_agree_with_central_differences(name: str, shape: tuple[int, ...]) -> None:
    x = images(4, *shape) * 4096 / np.prod((4, *shape))
    trained, h = Trained(RANDOM[name](), x), 1e-6
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=x.shape)
        up, down = (Trained(RANDOM[name](), x + s * h * direction).outputs[0] for s in (1, -1))
        expected = ((up - down) * trained.output_gradients).sum() / (2 * h)
        assert (trained.gradient * direction).sum() == pytest.approx(expected, rel=1e-6, abs=1e-6)


# Configurations


BOUNDS: dict[str, tuple[Any, list[Any]]] = {
    "zoom": (layers.RandomZoom, [0, 1, -1, (-1, 1), (-1, -1), (1, 1)]),
    "translation": (lambda f: layers.RandomTranslation(f, f), [0, 1, -1, (-1, 1), (1, 1)]),
    "rotation": (layers.RandomRotation, [0, 1, -1, (-1, 1), (1, 1)]),
    "contrast": (layers.RandomContrast, [0, 1, (0, 1), (1, 1), (-1, 2)]),
    "brightness": (layers.RandomBrightness, [0, 1, -1, (-1, 1), (1, 1)]),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_configurations_have_every_factor_at_its_bounds(name: str) -> None:
    make, factors = BOUNDS[name]
    for factor in factors:
        layer = make(factor)
        config = layer.get_config()
        assert type(layer).from_config(config).get_config() == config
        assert "-0.0" not in repr(layer)
        out = Trained(layer, images(3, 4, 5, 2)).outputs[0]
        assert np.isfinite(out).all()


# Draws


def assert_uniform(numbers: NDArray[np.float64], low: float, high: float) -> None:
    fractions = np.sort((numbers - low) / (high - low))
    n = len(fractions)
    assert fractions[0] >= -1e-9
    assert fractions[-1] <= 1 + 1e-9
    # Kolmogorov–Smirnov test: 1.95 / √n is exceeded with probability 0.001.
    assert abs(fractions - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)


def ramps(n: int, size: int) -> Images:
    """Return n images whose two channels are the row and the column of each pixel."""
    return np.broadcast_to(np.moveaxis(np.indices((size, size)), 0, 2), (n, size, size, 2)) * 1.0


def slopes(layer: layers.Layer) -> NDArray[np.float64]:
    """Return the derivatives of (row, column) in the input by those in the output, per image."""
    out = Trained(layer, ramps(500, 4)).outputs[0]
    down, right = out[:, 2, 1] - out[:, 1, 1], out[:, 1, 2] - out[:, 1, 1]
    return np.stack([down, right], axis=-1)


def test_zooms_are_uniformly_distributed() -> None:
    matrices = slopes(layers.RandomZoom((0.2, -0.5), (-0.1, 0.3), "nearest"))
    assert_uniform(matrices[:, 0, 0], 0.5, 1.2)
    assert_uniform(matrices[:, 1, 1], 0.9, 1.3)
    assert abs(np.corrcoef(matrices[:, 0, 0], matrices[:, 1, 1])[0, 1]) < 4 / np.sqrt(500)
    matrices = slopes(layers.RandomZoom(0.4))
    assert_uniform(matrices[:, 0, 0], 0.6, 1.4)
    assert_allclose(matrices[:, 0, 0], matrices[:, 1, 1])


def test_angles_are_uniformly_distributed() -> None:
    matrices = slopes(layers.RandomRotation((-0.3, 0.1), "nearest"))
    angles = np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]) / (2 * np.pi)
    assert_uniform(angles, -0.3, 0.1)


def test_factors_of_contrast_and_brightness_are_uniformly_distributed() -> None:
    x = np.tile(np.array([-1.0, 1.0]).reshape(1, 1, 2, 1), (500, 1, 1, 1))
    wide = (-10, 10)
    out = Trained(layers.RandomContrast((0.3, 0.5), wide), x).outputs[0]
    assert_uniform(out[:, 0, 1, 0], 0.7, 1.5)
    out = Trained(layers.RandomContrast(0.4, wide), x).outputs[0]
    assert_uniform(out[:, 0, 1, 0], 1.0, 1.4)
    out = Trained(layers.RandomBrightness((0.2, -0.1), wide), x).outputs[0]
    assert_uniform(out[:, 0, 0, 0] + 1, -2.0, 4.0)


def classifier() -> nnfast.Sequential:
    nnfast.set_seed(4)
    model = nnfast.Sequential(
        [
            layers.Input((6, 5, 2)),
            layers.Conv2D(3, 2),
            layers.RandomRotation(0.2),
            layers.RandomZoom(0.2, fill_mode="constant", fill_value=0.5),
            layers.RandomContrast(0.3, (-1, 1)),
            layers.RandomBrightness(0.1, (-1, 1)),
            layers.Resizing(7, 4),
            layers.CenterCrop(5, 5),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("batch_size", [8, 600])
def test_training_does_not_depend_on_the_number_of_threads(batch_size: int) -> None:
    """The threads share the small batch; the large batch is split into micro-batches."""
    x, y = images(600, 6, 5, 2), np.random.default_rng(2).normal(size=(600, 3))
    weights = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        model = classifier()
        model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    for other in weights[1:]:
        assert_array_equal(other, weights[0])


@pytest.mark.parametrize(
    "name", [name for name in RANDOM if name not in ("resizing", "center crop")]
)
def test_inference_leaves_images_as_they_are(name: str) -> None:
    x = images(3, 4, 5, 2)
    model = nnfast.Sequential([layers.Input((4, 5, 2)), RANDOM[name]()], dtype="float64")
    assert_array_equal(model.predict(x, verbose=0), x)
    model.compile("sgd", "mse")
    assert model.evaluate(x, x, verbose=0) == 0
    assert_allclose(model.input_gradient(x, np.zeros_like(x)), 2 * x / x[0].size, rtol=1e-12)


@pytest.mark.parametrize("name", RANDOM)
def test_uint8_images_train_like_float_images(name: str) -> None:
    rng = np.random.default_rng(0)
    x8, y = rng.integers(0, 256, (64, 8, 8, 3), np.uint8), rng.integers(0, 4, 64)
    weights = []
    for x, rescaled in itertools.product((x8, x8.astype(np.float32)), (True, False)):
        nnfast.set_seed(1)
        first = [layers.Rescaling(0.5)] if rescaled else []
        rest = [layers.Flatten(), layers.Dense(4, "softmax", kernel_initializer="zeros")]
        model = nnfast.Sequential([layers.Input((8, 8, 3)), *first, RANDOM[name](), *rest])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=2, batch_size=16, verbose=0)
        weights.append(model.layers[-1].kernel)
    assert_array_equal(weights[0], weights[2])
    assert_array_equal(weights[1], weights[3])
