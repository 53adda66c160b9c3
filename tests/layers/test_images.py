"""Layers that map images to images: padding, upsampling, flips, translations and crops."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import layer_outputs
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from trained_layer import Images, Trained, assert_transposed, images

import nnfast
from nnfast import _engine, layers, optimizers

DTYPES = ["float32", "float64"]
PAD_MODES = {"reflect": "symmetric", "constant": "constant", "nearest": "edge", "wrap": "wrap"}


@pytest.fixture(autouse=True)
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


# Padding and upsampling


FIXED = {
    "padding": lambda: layers.ZeroPadding2D(2),
    "padding by axis": lambda: layers.ZeroPadding2D((0, 3)),
    "padding by side": lambda: layers.ZeroPadding2D(((1, 0), (2, 5))),
    "no padding": lambda: layers.ZeroPadding2D(0),
    "repeated": lambda: layers.UpSampling2D(),
    "repeated, columns": lambda: layers.UpSampling2D((1, 3)),
    "bilinear": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "bilinear, by 3 and 5": lambda: layers.UpSampling2D((3, 5), interpolation="bilinear"),
    "bilinear, by 1": lambda: layers.UpSampling2D(1, interpolation="bilinear"),
    "centre crop": lambda: layers.RandomCrop(2, 3),
    "resized": lambda: layers.Resizing(6, 3),
    "resized to the nearest pixels": lambda: layers.Resizing(7, 4, "nearest"),
    "cropped and resized": lambda: layers.Resizing(2, 7, crop_to_aspect_ratio=True),
    "padded and resized": lambda: layers.Resizing(6, 2, pad_to_aspect_ratio=True, fill_value=0.5),
    "padded, nearest pixels": lambda: layers.Resizing(3, 9, "nearest", pad_to_aspect_ratio=True),
    "central part": lambda: layers.CenterCrop(2, 3),
    "central part, enlarged": lambda: layers.CenterCrop(7, 4),
}
SHAPES = [(4, 5, 1), (3, 4, 2), (2, 3, 17), (1, 1, 3), (5, 7, 8), (9, 3, 33)]
SMALL = SHAPES[:4]


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inference_agrees_with_numpy(name: str, dtype: str) -> None:
    for shape in SHAPES:
        x = images(5, *shape)
        model = nnfast.Sequential([layers.Input(shape), FIXED[name]()], dtype=dtype)
        expected = layer_outputs(model.layers[0], x, {})
        actual = model.predict(x, verbose=0)
        assert actual.shape == expected.shape == (5, *model.output_shape[1:])
        error = 1e-6 if dtype == "float32" else 1e-14
        assert_allclose(actual, expected, rtol=0, atol=error * expected.max())


@pytest.mark.parametrize("name", [name for name in FIXED if name != "centre crop"])
def test_backward_passes_are_transposes_of_forward_passes(name: str) -> None:
    for shape in SMALL:
        layer = FIXED[name]()
        trained = Trained(layer, images(3, *shape))
        for row in range(3):
            empty = layer_outputs(layer, np.zeros((1, *shape)), {})[0]  # the fill value alone
            assert_transposed(
                trained,
                row,
                lambda image: layer_outputs(layer, image[None], {})[0] - empty,  # noqa: B023
            )


@pytest.mark.peers
def test_bilinear_upsampling_agrees_with_pytorch() -> None:
    import torch

    x = images(2, 5, 7, 3)
    for size in [(2, 2), (3, 1), (4, 5)]:
        model = nnfast.Sequential(
            [layers.UpSampling2D(size, interpolation="bilinear", input_shape=(5, 7, 3))],
            dtype="float64",
        )
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(x).permute(0, 3, 1, 2), scale_factor=size, mode="bilinear"
        )
        assert_allclose(model.predict(x, verbose=0), expected.permute(0, 2, 3, 1), rtol=1e-11)


def test_an_infinite_pixel_causes_no_nan() -> None:
    """An implementation that multiplied pixels by 0 would turn infinity into NaN."""
    x = images(1, 4, 4, 1)
    x[0, 1, 1, 0] = np.inf
    for layer in (
        *(layers.ZeroPadding2D(1), layers.RandomCrop(2, 2), layers.UpSampling2D((2, 1))),
        layers.Resizing(2, 7, "nearest"),
    ):
        model = nnfast.Sequential([layers.Input((4, 4, 1)), layer])
        assert not np.isnan(model.predict(x, verbose=0)).any()


def test_images_without_pixels_are_accepted() -> None:
    for layer in (
        *(layers.ZeroPadding2D(1), layers.UpSampling2D(2), layers.RandomTranslation(1, 1)),
        *(layers.RandomZoom(0.5), layers.RandomRotation(0.5)),
        *(layers.RandomContrast(0.5), layers.RandomBrightness(0.5)),
    ):
        for shape in [(0, 3, 2), (3, 0, 2), (3, 3, 0)]:
            model = nnfast.Sequential([layers.Input(shape), layer, layers.Flatten()])
            out = model.predict(np.zeros((2, *shape)), verbose=0)
            assert out.shape == (2, *model.output_shape[1:])
            assert not out.any()
            model.compile(optimizers.SGD(0.0), lambda y, a: (np.zeros(len(a)), np.zeros_like(a)))
            model.fit(np.zeros((2, *shape)), out, verbose=0)


# Flips


def flipped(image: Images, vertical: bool, horizontal: bool) -> Images:
    return image[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def flips_of(trained: Trained, x: Images, epoch: int = 0) -> list[tuple[bool, bool]]:
    """Return how each image was flipped, judging by its pixels."""
    ways = list(itertools.product([False, True], repeat=2))
    found = []
    for image, out in zip(x, trained.outputs[epoch], strict=True):
        which = [way for way in ways if np.array_equal(flipped(image, *way), out)]
        assert len(which) == 1
        found += which
    return found


@pytest.mark.parametrize(
    ("mode", "vertical", "horizontal"),
    [("horizontal", 0, 1), ("vertical", 1, 0), ("horizontal_and_vertical", 1, 1)],
)
def test_flips_are_independent_and_happen_half_of_the_time(
    mode: str, vertical: int, horizontal: int
) -> None:
    x = images(400, 3, 4, 2)
    trained = Trained(layers.RandomFlip(mode), x, epochs=2)
    ways = np.array([flips_of(trained, x, epoch) for epoch in range(2)])
    # The tolerance is 4 standard deviations of a fair coin.
    assert abs(ways.mean(axis=1) - np.array([vertical, horizontal]) / 2).max() < 4 * 0.5 / 20
    equal = (ways[..., 0] == ways[..., 1]).mean(axis=1)
    if vertical and horizontal:
        assert abs(equal - 0.5).max() < 4 * 0.5 / 20
    same = 0.5 ** (vertical + horizontal)
    repeated = (ways[0] == ways[1]).all(axis=1).mean()
    assert abs(repeated - same) < 4 * np.sqrt(same * (1 - same) / 400)
    for row in range(5):
        assert_transposed(trained, row, lambda image: flipped(image, *ways[1, row]))  # noqa: B023


def test_gradients_of_flips_are_flipped_back_for_many_channels() -> None:
    for shape in SMALL[:-1]:
        x = images(7, *shape)
        trained = Trained(layers.RandomFlip(), x)
        for row, way in enumerate(flips_of(trained, x)):
            assert_transposed(trained, row, lambda image: flipped(image, *way))  # noqa: B023


# Translations


def translated(
    image: Images, down: float, right: float, mode: str, smooth: bool, fill: float = 0.0
) -> Images:
    """Return a translated image; down and right are in pixels."""
    h, w, _ = image.shape
    constant = {"constant_values": fill} if mode == "constant" else {}
    wide = np.pad(image, ((h + 1,) * 2, (w + 1,) * 2, (0, 0)), PAD_MODES[mode], **constant)

    def along(a: Images, axis: int, n: int, shift: float) -> Images:
        at = np.arange(n) - shift + n + 1
        if not smooth:
            return np.take(a, np.rint(at).astype(int), axis)
        low = np.floor(at).astype(int)
        weight = (at - low).reshape([-1 if i == axis else 1 for i in range(3)])
        high = np.minimum(low + 1, a.shape[axis] - 1)
        return np.take(a, low, axis) * (1 - weight) + np.take(a, high, axis) * weight

    return along(along(wide, 0, h, down), 1, w, right)


@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_translations_and_their_gradients_agree_with_numpy(mode: str, interpolation: str) -> None:
    for shape in SMALL:
        for down, right in [(0.0, 0.0), (0.3, -0.45), (-1.0, 0.71), (0.5, 1.0)]:
            layer = layers.RandomTranslation(
                *((down, down), (right, right), mode, interpolation), fill_value=2.5
            )
            x = images(3, *shape)
            trained = Trained(layer, x)
            pixels = down * shape[0], right * shape[1]
            smooth = interpolation == "bilinear"
            for row in range(3):
                expected = translated(x[row], *pixels, mode, smooth, 2.5)
                assert_allclose(trained.outputs[0][row], expected, rtol=1e-11, atol=1e-12)
                assert_transposed(
                    *(trained, row),
                    lambda image: translated(image, *pixels, mode, smooth),  # noqa: B023
                )


def test_translations_are_uniformly_distributed() -> None:
    n, size = 500, 32
    ramp = np.arange(size, dtype=float)
    x = np.broadcast_to(
        np.stack(np.meshgrid(ramp, ramp, indexing="ij"), axis=-1), (n, size, size, 2)
    ).copy()
    trained = Trained(layers.RandomTranslation((0.3, -0.2), 0.1, "nearest"), x)
    middle = trained.outputs[0][:, size // 2, size // 2]
    for shift, low, high in zip(
        (size // 2 - middle).T / size, (-0.2, -0.1), (0.3, 0.1), strict=True
    ):
        fractions = np.sort((shift - low) / (high - low))
        assert fractions[0] >= -1e-9
        assert fractions[-1] <= 1 + 1e-9
        # Kolmogorov–Smirnov test: 1.95 / √n is exceeded with probability 0.001.
        assert abs(fractions - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)
    assert abs(np.corrcoef(middle.T)[0, 1]) < 4 / np.sqrt(n)


# Crops


def starts_of(trained: Trained, x: Images, height: int, width: int) -> NDArray[Any]:
    """Return the corner of each crop, judging by its first pixel."""
    found = []
    for image, out in zip(x, trained.outputs[0], strict=True):
        i, j = np.argwhere(image[..., 0] == out[0, 0, 0])[0]
        assert_array_equal(out, image[i : i + height, j : j + width])
        found.append((i, j))
    return np.array(found)


def test_crops_are_uniformly_distributed() -> None:
    x = images(600, 5, 4, 2)
    trained = Trained(layers.RandomCrop(3, 2), x)
    starts = starts_of(trained, x, 3, 2)
    counts = np.zeros((3, 3))
    np.add.at(counts, tuple(starts.T), 1)
    assert abs(counts / 600 - 1 / 9).max() < 4 * np.sqrt(1 / 9 * 8 / 9 / 600)
    for row in range(5):
        i, j = starts[row]
        assert_transposed(trained, row, lambda image: image[i : i + 3, j : j + 2])  # noqa: B023


def test_crops_as_high_as_the_image_vary_in_one_axis() -> None:
    x = images(60, 4, 6, 1)
    starts = starts_of(Trained(layers.RandomCrop(4, 2), x), x, 4, 2)
    assert set(starts[:, 0]) == {0}
    assert set(starts[:, 1]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("size", [(6, 2), (5, 9), (8, 8), (7, 3)])
def test_images_smaller_than_the_crop_are_resized(size: tuple[int, int]) -> None:
    """The largest central part with the crop's aspect ratio is resized, also in training."""
    x = images(3, 5, 4, 2)
    layer = layers.RandomCrop(*size)
    trained = Trained(layer, x)
    expected = layer_outputs(layer, x, {})
    assert_allclose(trained.outputs[0], expected, rtol=1e-12)
    for row in range(3):
        assert_transposed(trained, row, lambda image: layer_outputs(layer, image[None], {})[0])


def test_crops_are_central_in_inference() -> None:
    x = images(2, 6, 5, 1)
    model = nnfast.Sequential([layers.RandomCrop(6, 3, input_shape=(6, 5, 1))], dtype="float64")
    assert_array_equal(model.predict(x, verbose=0), x[:, :, 1:4])


# Random draws


RANDOM = {
    "flip": lambda seed=None: layers.RandomFlip(seed=seed),
    "translation": lambda seed=None: layers.RandomTranslation(0.4, 0.4, seed=seed),
    "crop": lambda seed=None: layers.RandomCrop(3, 4, seed=seed),
    "zoom": lambda seed=None: layers.RandomZoom(0.5, 0.4, seed=seed),
    "zoom of both axes alike": lambda seed=None: layers.RandomZoom(0.5, seed=seed),
    "rotation": lambda seed=None: layers.RandomRotation(0.5, seed=seed),
    "contrast": lambda seed=None: layers.RandomContrast(0.5, (0, 0.75), seed=seed),
    "brightness": lambda seed=None: layers.RandomBrightness(0.5, (0, 0.75), seed=seed),
}
X = images(40, 6, 7, 2)


@pytest.mark.parametrize("name", RANDOM)
def test_draws_do_not_depend_on_batch_size_and_threads(name: str) -> None:
    _engine.force_threads(1)
    expected = Trained(RANDOM[name](), X, epochs=2)
    assert (expected.outputs[0] != expected.outputs[1]).any(), "every epoch has its own draws"
    for size, threads in itertools.product([1, 7, 40], [1, 3]):
        _engine.force_threads(threads)
        trained = Trained(RANDOM[name](), X, epochs=2, batch_size=size)
        assert_array_equal(trained.outputs, expected.outputs)
        assert_allclose(trained.gradient, expected.gradient, rtol=1e-9)


@pytest.mark.parametrize("name", RANDOM)
def test_draws_depend_on_seeds(name: str) -> None:
    def draws(layer_seed: int | None = None, **options: Any) -> Images:
        return Trained(RANDOM[name](layer_seed), X, **options).outputs[0]

    own = draws()
    assert_array_equal(own, draws())
    for other in (draws(seed=1), draws(before=1), draws(0), draws(3)):
        assert (own != other).any(axis=(1, 2, 3)).mean() > 0.5
    # If the layer has a seed, neither the model's seed nor the layer's position matters.
    assert_array_equal(draws(3), draws(3, seed=1, before=1))


@pytest.mark.parametrize("name", RANDOM)
def test_draws_are_the_same_in_both_dtypes(name: str) -> None:
    one, two = (Trained(RANDOM[name](), X, dtype=dtype) for dtype in DTYPES)
    assert_allclose(one.outputs, two.outputs, rtol=1e-5)
    assert_allclose(one.gradient, two.gradient, rtol=1e-3, atol=1e-3)


def augmented(dtype: str = "float32", rows: int = 45) -> Any:
    nnfast.set_seed(4)
    model = nnfast.Sequential(
        [
            layers.Input((6, 5, 2)),
            layers.ZeroPadding2D(1),
            layers.RandomCrop(6, 6),
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(0.2, 0.2, "nearest"),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.Flatten(),
            *(layers.Dense(8, "relu"), layers.Dense(3)),
        ],
        dtype=dtype,
    )
    model.compile("adam", "mse")
    return model


XS, YS = images(45, 6, 5, 2), np.random.default_rng(2).normal(size=(45, 3))


def test_inference_is_not_random() -> None:
    model = augmented("float64")
    w, b, v, c = model.get_weights()
    z = np.pad(XS, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for layer in model.layers[1:6]:
        z = layer_outputs(layer, z, {})
    expected = np.maximum(z.reshape(45, -1) @ w + b, 0) @ v + c
    assert_allclose(model.predict(XS, verbose=0), expected, rtol=1e-9)
    loss = ((expected - YS) ** 2).mean()
    assert model.evaluate(XS, YS, verbose=0) == pytest.approx(loss)
    assert model.loss_and_grad(XS, YS)[0] == pytest.approx(loss)
    assert model.train_on_batch(XS, YS) != pytest.approx(loss, rel=1e-4)


def test_input_gradients_are_those_of_inference() -> None:
    """Compare a directional derivative with central differences of evaluate."""
    model = augmented("float64")
    x = XS[:2].copy()
    gradient = model.input_gradient(x, YS[:2])
    direction = np.random.default_rng(5).normal(size=x.shape)
    h = 1e-6
    losses = [2 * model.evaluate(x + sign * h * direction, YS[:2], verbose=0) for sign in (1, -1)]
    assert (gradient * direction).sum() == pytest.approx(
        (losses[0] - losses[1]) / (2 * h), rel=1e-6
    )


def test_generators_give_the_same_bits_as_arrays() -> None:
    array, stream = augmented(), augmented()
    array.fit(XS, YS, batch_size=8, epochs=2, shuffle=False, verbose=0)
    parts = [(XS[i : i + 8], YS[i : i + 8]) for i in range(0, 45, 8)]
    for _ in range(2):
        stream.fit(iter(parts), verbose=0)
    for a, b in zip(array.get_weights(), stream.get_weights(), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("batch_size", [8, 600])
def test_training_does_not_depend_on_the_number_of_threads(batch_size: int) -> None:
    """The threads share the small batch; the large batch is split into micro-batches."""
    x, y = np.tile(XS, (20, 1, 1, 1)), np.tile(YS, (20, 1))
    weights = []
    for threads in (1, 2, 5):
        _engine.force_threads(threads)
        model = augmented()
        model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    assert_array_equal(weights[1], weights[0])
    assert_array_equal(weights[2], weights[0])


def test_a_loaded_model_continues_with_the_same_draws(tmp_path: Any) -> None:
    model = augmented()
    model.fit(XS, YS, verbose=0)
    model.save(tmp_path / "model")
    copy = nnfast.load_model(tmp_path / "model")
    for each in (model, copy):
        each.fit(XS, YS, verbose=0)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        assert_array_equal(a, b)


# uint8


def test_rescaled_uint8_images_train_like_float_images() -> None:
    """A leading Rescaling is fused into reading the input, before the augmentation."""
    rng = np.random.default_rng(0)
    x8 = rng.integers(0, 256, (64, 8, 8, 3), np.uint8)
    y = rng.integers(0, 4, 64)
    weights = []
    for x, first in [(x8, [layers.Rescaling(1 / 255)]), (x8 * np.float32(1 / 255), [])]:
        nnfast.set_seed(1)
        model = nnfast.Sequential(
            [
                layers.Input((8, 8, 3)),
                *first,
                layers.RandomFlip(seed=2),
                layers.RandomTranslation(0.2, 0.2, seed=3),
                *(layers.Flatten(), layers.Dense(4)),
            ]
        )
        model.layers[-1].set_weights([rng.normal(size=(192, 4)) * 0, np.zeros(4)])
        model.compile("adam", nnfast.losses.SparseCategoricalCrossentropy(from_logits=True))
        model._built().engine.set_seed(7)
        model.fit(x, y, epochs=3, batch_size=16, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        assert_array_equal(a, b)


# Errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.ZeroPadding2D(-1), "padding"),
        (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding.*above.*received"),
        (lambda: layers.ZeroPadding2D(((1, 2), (3,))), r"padding\[1\]"),
        (lambda: layers.ZeroPadding2D(1.5), "padding.*integer"),
        (lambda: layers.ZeroPadding2D("same"), "padding.*'same'"),
        (lambda: layers.UpSampling2D(0), "size.*>= 1"),
        (lambda: layers.UpSampling2D((2, 2, 2)), "size.*pair"),
        (lambda: layers.UpSampling2D((2, 1.5)), r"size\[1\]"),
        (lambda: layers.UpSampling2D(interpolation="bicubic"), "interpolation.*'bilinear'"),
        (lambda: layers.RandomFlip("both"), "mode.*'horizontal'"),
        (lambda: layers.RandomFlip(seed=-1), "seed"),
        (lambda: layers.RandomFlip(seed=1.5), "seed"),
        (lambda: layers.RandomTranslation(1.5, 0.1), "height_factor.*1.5"),
        (lambda: layers.RandomTranslation(0.1, (0.1, 0.2, 0.3)), "width_factor.*pair"),
        (lambda: layers.RandomTranslation(0.1, "a"), "width_factor"),
        (lambda: layers.RandomTranslation(0.1, 0.1, "mirror"), "fill_mode.*'reflect'"),
        (lambda: layers.RandomTranslation(0.1, 0.1, interpolation="cubic"), "interpolation"),
        (lambda: layers.RandomTranslation(0.1, 0.1, fill_value=np.nan), "fill_value"),
        (lambda: layers.RandomCrop(0, 3), "height"),
        (lambda: layers.RandomCrop(3, 2.5), "width"),
        (lambda: layers.Resizing(0, 3), "height"),
        (lambda: layers.Resizing(3, 3, "bicubic"), "interpolation.*'bilinear'"),
        (lambda: layers.Resizing(3, 3, "nearest", 2), "crop_to_aspect_ratio.*2"),
        (
            lambda: layers.Resizing(3, 3, "nearest", True, True),
            "crop_to_aspect_ratio and pad_to_aspect_ratio",
        ),
        (lambda: layers.Resizing(3, 3, fill_mode="wrap"), "fill_mode.*'constant'"),
        (lambda: layers.Resizing(3, 3, fill_value="0"), "fill_value"),
        (lambda: layers.Resizing(3, 3, antialias=True), "antialias"),
        (lambda: layers.CenterCrop(3, -3), "width.*-3"),
        (lambda: layers.RandomZoom(-1.5), "height_factor.*-1.5"),
        (lambda: layers.RandomZoom(0.1, (0.1, 1.5)), "width_factor.*1.5"),
        (lambda: layers.RandomZoom(0.1, "a"), "width_factor"),
        (lambda: layers.RandomZoom(0.1, fill_mode="mirror"), "fill_mode.*'reflect'"),
        (lambda: layers.RandomRotation(1.5), "factor.*1.5"),
        (lambda: layers.RandomRotation((1.5, 2.5)), "factor.*1.5"),
        (lambda: layers.RandomRotation((0.1, 0.2, 0.3)), "factor.*pair"),
        (lambda: layers.RandomRotation(None), "factor"),
        (lambda: layers.RandomRotation(0.1, interpolation="cubic"), "interpolation"),
        (lambda: layers.RandomContrast(-0.1), "factor.*-0.1"),
        (lambda: layers.RandomContrast((-0.3, -0.1)), "factor.*-0.3"),
        (lambda: layers.RandomContrast(0.1, 255), "value_range.*255"),
        (lambda: layers.RandomBrightness(0.1, (0, 1, 2)), "value_range.*pair"),
        (lambda: layers.RandomBrightness(0.1, (0, np.inf)), "value_range"),
        (lambda: layers.RandomBrightness(2), "factor.*2"),
    ],
)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"(?i){message}"):
        make()


LAYERS: list[Any] = [
    lambda **o: layers.ZeroPadding2D(1, **o),
    lambda **o: layers.UpSampling2D(2, **o),
    lambda **o: layers.RandomFlip(**o),
    lambda **o: layers.RandomTranslation(0.1, 0.1, **o),
    lambda **o: layers.RandomCrop(2, 2, **o),
    lambda **o: layers.Resizing(2, 2, **o),
    lambda **o: layers.CenterCrop(2, 2, **o),
    lambda **o: layers.RandomZoom(0.1, **o),
    lambda **o: layers.RandomRotation(0.1, **o),
    lambda **o: layers.RandomContrast(0.1, **o),
    lambda **o: layers.RandomBrightness(0.1, **o),
]


@pytest.mark.parametrize("make", LAYERS)
def test_samples_that_are_not_images_are_refused(make: Any) -> None:
    layer = make(name="mine")
    for shape in [(5,), (5, 5), (2, 5, 5, 1)]:
        with pytest.raises(ValueError, match=r"'mine'.*\(height, width, channels\)") as caught:
            nnfast.Sequential([layers.Input(shape), layer])
        assert str(shape) in str(caught.value)


@pytest.mark.parametrize("make", LAYERS)
def test_channels_first_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"data_format.*channels_last.*channels_first"):
        make(data_format="channels_first")


@pytest.mark.parametrize("cls", [layers.RandomCrop, layers.Resizing, layers.CenterCrop])
def test_images_without_pixels_cannot_be_resized(cls: Any) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__}.*'mine'.*\(0, 3, 1\)"):
        nnfast.Sequential([layers.Input((0, 3, 1)), cls(2, 2, name="mine")])
