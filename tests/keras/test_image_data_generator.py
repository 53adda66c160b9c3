"""Batches of transformed and normalized images."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_batches import Images, assert_same, classifier, images

from nnfast.keras.preprocessing import image
from nnfast.keras.preprocessing.image import ImageDataGenerator

pytest.importorskip("PIL")
pytest.importorskip("scipy")

# ---- the options of the generator ----------------------------------------------------------------

DRAWS = {
    "rotation_range": (20, "theta", -20, 20),
    "height_shift_range": (0.5, "tx", -3, 3),
    "width_shift_range": (0.25, "ty", -2, 2),
    "shear_range": (10, "shear", -10, 10),
    "zoom_range": (0.25, "zx", 0.75, 1.25),
    "channel_shift_range": (9.0, "channel_shift_intensity", -9, 9),
    "brightness_range": ((0.5, 0.75), "brightness", 0.5, 0.75),
}


@pytest.mark.parametrize("option", DRAWS)
def test_ranges_limit_random_parameters(option: str) -> None:
    value, name, low, high = DRAWS[option]
    generator = ImageDataGenerator(**{option: value})
    random = np.random.RandomState(0)
    found = [generator.get_random_transform((6, 8, 3), random)[name] for _ in range(200)]
    assert low <= min(found) < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < max(found) <= high
    others = generator.get_random_transform((6, 8, 3), random)
    plain = ImageDataGenerator().get_random_transform((6, 8, 3), random)
    changed = {key for key in plain if plain[key] != others[key]}
    assert changed == ({"zx", "zy"} if name == "zx" else {name})


@pytest.mark.parametrize(
    ("limit", "shifts"),
    [
        (3, {-2, -1, 0, 1, 2}),
        ([1, 4], {-4, -1, 1, 4}),
        ([0.25, 0.5], {-4, -2, 2, 4}),
        ((0.5,), {-4, 4}),
        ([], {0}),
        (0, {0}),
    ],
)
def test_shifts_may_be_chosen_from_numbers(limit: Any, shifts: set[float]) -> None:
    generator = ImageDataGenerator(width_shift_range=limit)
    random = np.random.RandomState(0)
    found = {generator.get_random_transform((6, 8, 3), random)["ty"] for _ in range(100)}
    assert found == shifts


def test_half_of_the_images_are_flipped() -> None:
    x = images(200, 2, 2, 1)
    for option, axis in (("horizontal_flip", 2), ("vertical_flip", 1)):
        batch = next(ImageDataGenerator(**{option: True}).flow(x, batch_size=200, shuffle=False))
        flipped = (batch == np.flip(x, axis)).all(axis=(1, 2, 3))
        assert 60 < flipped.sum() < 140
        np.testing.assert_array_equal(batch[~flipped], x[~flipped])


def test_parameters_are_applied_in_turn() -> None:
    x = images(1)[0]
    generator = ImageDataGenerator()
    apply = generator.apply_transform
    np.testing.assert_array_equal(apply(x, {"flip_horizontal": True}), x[:, ::-1])
    np.testing.assert_array_equal(apply(x, {"flip_vertical": True}), x[::-1])
    np.testing.assert_array_equal(apply(x, {"brightness": 0.5}), x // 2)
    shifted = image.apply_channel_shift(x, 9.0)
    np.testing.assert_array_equal(apply(x, {"channel_shift_intensity": 9.0}), shifted)
    np.testing.assert_array_equal(apply(x, {"tx": 1})[:, :-1], x[:, 1:])
    assert apply(x, {}) is x
    first = ImageDataGenerator(data_format="channels_first")
    parameters = {"theta": 30, "brightness": 0.5, "flip_horizontal": True}
    np.testing.assert_array_equal(
        first.apply_transform(np.moveaxis(x, -1, 0), parameters),
        np.moveaxis(apply(x, parameters), -1, 0),
    )


def test_the_border_and_the_order_of_the_spline_have_an_effect() -> None:
    x = images(1)[0]
    options: list[dict[str, Any]] = [
        {},
        {"fill_mode": "reflect"},
        {"fill_mode": "wrap"},
        {"fill_mode": "constant"},
        {"fill_mode": "constant", "cval": 9.0},
        {"interpolation_order": 0},
        {"interpolation_order": 3},
    ]
    found = [ImageDataGenerator(**o).apply_transform(x, {"tx": 2.5}).tobytes() for o in options]
    assert len(set(found)) == len(options)


def test_a_seed_makes_a_transformation_reproducible() -> None:
    x = images(1)[0]
    generator = ImageDataGenerator(rotation_range=40)
    np.testing.assert_array_equal(
        generator.random_transform(x, seed=3), generator.random_transform(x, seed=3)
    )
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    generator.random_transform(x, seed=3)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


# ---- normalization -------------------------------------------------------------------------------


def batch_of(x: Images, **options: Any) -> Images:
    batch: Images = next(ImageDataGenerator(**options).flow(x, batch_size=len(x), shuffle=False))
    return batch


def test_each_normalization_has_its_formula() -> None:
    x = images()
    axes = (1, 2, 3)
    centered = x - x.mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(batch_of(x, rescale=1 / 255), x / 255, rtol=1e-6)
    np.testing.assert_array_equal(batch_of(x, rescale=0), x)
    np.testing.assert_allclose(batch_of(x, samplewise_center=True), centered, atol=1e-3)
    standard = batch_of(x, samplewise_center=True, samplewise_std_normalization=True)
    np.testing.assert_allclose(standard.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=axes), 1, rtol=1e-5)
    doubled = batch_of(x, preprocessing_function=lambda one: one * 2, rescale=0.5)
    np.testing.assert_array_equal(doubled, x)


def test_featurewise_statistics_are_those_of_the_data_of_fit() -> None:
    x = images(40)
    kept = x.copy()
    generator = ImageDataGenerator(
        featurewise_center=True, featurewise_std_normalization=True, rescale=0.5
    )
    generator.fit(x)
    np.testing.assert_array_equal(x, kept)
    batch = next(generator.flow(x, batch_size=40))
    np.testing.assert_allclose(batch.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(batch.std(axis=(0, 1, 2)), 1, rtol=1e-5)
    assert generator.mean is not None
    np.testing.assert_allclose(generator.mean.ravel(), x.mean(axis=(0, 1, 2)) / 2, rtol=1e-5)
    first = ImageDataGenerator(featurewise_center=True, data_format="channels_first")
    first.fit(np.moveaxis(x, -1, 1))
    assert first.mean is not None
    np.testing.assert_allclose(first.mean.ravel(), 2 * generator.mean.ravel(), rtol=1e-5)
    np.testing.assert_array_equal(x, kept)


def test_whitened_pixels_are_not_correlated() -> None:
    x = images(60, 2, 2, 1)
    generator = ImageDataGenerator(featurewise_center=True, zca_whitening=True)
    generator.fit(x)
    rows = next(generator.flow(x, batch_size=60)).reshape(60, 4)
    np.testing.assert_allclose(rows.T @ rows / 60, np.eye(4), atol=1e-4)
    blurred = ImageDataGenerator(featurewise_center=True, zca_whitening=True, zca_epsilon=1e3)
    blurred.fit(x)
    assert np.abs(next(blurred.flow(x, batch_size=60))).max() < np.abs(rows).max()


def test_fit_may_transform_the_images() -> None:
    x = images(3)
    found = []
    for options in ({}, {"augment": True}, {"augment": True, "rounds": 4}):
        for _ in range(2):
            generator = ImageDataGenerator(featurewise_center=True, channel_shift_range=50.0)
            generator.fit(x, seed=2, **options)
            found.append(generator.mean.tobytes())  # type: ignore[union-attr]
    assert found[::2] == found[1::2]
    assert len(set(found)) == 3


def test_standardize_changes_no_array() -> None:
    x = images(1)[0]
    kept = x.copy()
    other = x + 1

    def double(image: Images) -> Images:
        image *= 2
        return other

    generator = ImageDataGenerator(rescale=1 / 255, preprocessing_function=double)
    np.testing.assert_allclose(generator.standardize(x), other / 255, rtol=1e-6)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(other, kept + 1)
    plain = ImageDataGenerator(samplewise_center=True)
    assert plain.standardize(x.astype(np.float64)).dtype == np.float64
    assert plain.standardize(np.array([[[0, 4]]], np.uint8)).tolist() == [[[-2.0, 2.0]]]


def test_options_turn_each_other_on_and_off() -> None:
    with pytest.warns(UserWarning, match="featurewise_std_normalization needs featurewise_center"):
        assert ImageDataGenerator(featurewise_std_normalization=True).featurewise_center
    with pytest.warns(UserWarning, match="samplewise_std_normalization needs samplewise_center"):
        assert ImageDataGenerator(samplewise_std_normalization=True).samplewise_center
    with pytest.warns(UserWarning, match="zca_whitening needs featurewise_center"):
        generator = ImageDataGenerator(zca_whitening=True)
    assert generator.featurewise_center
    with pytest.warns(UserWarning, match="zca_whitening replaces featurewise_std_normalization"):
        generator = ImageDataGenerator(
            featurewise_center=True, zca_whitening=True, featurewise_std_normalization=True
        )
    assert not generator.featurewise_std_normalization
    with pytest.warns(UserWarning, match="have no effect before fit"):
        np.testing.assert_array_equal(batch_of(images(), featurewise_center=True), images())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zoom_range": (1.0,)}, "zoom_range must be two numbers"),
        ({"brightness_range": (1.0, 2.0, 3.0)}, "brightness_range must be two numbers"),
        ({"validation_split": 1.0}, "validation_split must be a finite number"),
        ({"data_format": "first"}, "Unknown data_format 'first'"),
        ({"fill_mode": "zero"}, "Unknown fill_mode 'zero'"),
        ({"interpolation_order": 6}, "interpolation_order must be an integer"),
        ({"width_shift_range": -3}, "width_shift_range must be an integer >= 0"),
        ({"rotation_range": np.nan}, "rotation_range must be a finite number"),
    ],
)
def test_the_generator_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageDataGenerator(**options)
    with pytest.raises(TypeError, match="preprocessing_function must be a function or None"):
        ImageDataGenerator(preprocessing_function=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x must be one or more images"):
        ImageDataGenerator().fit(np.zeros((2, 2, 3)))


# ---- batches from arrays -------------------------------------------------------------------------


def test_an_epoch_has_every_image_once() -> None:
    x, y = images(), np.arange(10)
    batches = ImageDataGenerator().flow(x, y, batch_size=4, seed=0)
    assert (len(batches), batches.n, batches.batch_size) == (3, 10, 4)
    epochs = []
    for _ in range(3):
        labels = []
        for size in (4, 4, 2):
            batch, own = next(batches)
            assert batch.dtype == np.float32
            np.testing.assert_array_equal(batch, x[own])
            assert len(own) == size
            labels += own.tolist()
        assert sorted(labels) == list(range(10))
        epochs.append(labels)
    assert epochs[0] != epochs[1] != epochs[2]
    ordered = ImageDataGenerator().flow(x, y, batch_size=4, shuffle=False)
    assert [ordered.next()[1].tolist() for _ in range(4)] == [
        *([0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3])
    ]


def test_reset_starts_an_epoch() -> None:
    batches = ImageDataGenerator().flow(images(), np.arange(10), batch_size=4, shuffle=False)
    assert iter(batches) is batches
    next(batches)
    batches.reset()
    assert next(batches)[1].tolist() == [0, 1, 2, 3]
    assert batches[2][1].tolist() == [8, 9]
    with pytest.raises(ValueError, match="idx must be an integer >= 0 and <= 2"):
        batches[3]


def test_the_parts_of_a_batch_are_those_given() -> None:
    x, y, w = images(), np.eye(10), np.arange(10) / 10
    assert isinstance(next(ImageDataGenerator().flow(x)), np.ndarray)
    batch = next(ImageDataGenerator(dtype="float64").flow(x, y, sample_weight=w))
    np.testing.assert_array_equal(batch[1].argmax(axis=1) / 10, batch[2])
    assert batch[0].dtype == np.float64
    lists = ImageDataGenerator().flow(x.tolist(), y.tolist(), shuffle=False)
    np.testing.assert_array_equal(next(lists)[0], x)


def test_subclasses_make_their_own_batches() -> None:
    class Rows(image.Iterator):
        def _get_batches_of_transformed_samples(self, index_array: Any) -> Any:
            return index_array.tolist()

    rows = Rows(3, 2, False, None)
    assert [next(rows), next(rows), rows[1]] == [[0, 1], [2], [2]]
    assert rows.read_ahead == 2
    assert Rows(9, 2, False, None, workers=2, max_queue_size=5).read_ahead == 5


def test_a_seed_makes_batches_reproducible() -> None:
    generator = ImageDataGenerator(rotation_range=30)

    def epoch(seed: int | None) -> Images:
        batches = generator.flow(images(), batch_size=4, seed=seed)
        return np.concatenate([next(batches) for _ in range(6)])

    np.testing.assert_array_equal(epoch(1), epoch(1))
    assert not np.array_equal(epoch(1), epoch(2))
    assert not np.array_equal(epoch(1)[:10], epoch(1)[10:])  # another transformation each time
    found = []
    for seed in (5, 5):
        np.random.seed(seed)  # noqa: NPY002
        found.append(epoch(None))
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(found[0], epoch(None))


def test_batches_with_a_seed_leave_the_state_of_numpy_alone() -> None:
    batches = ImageDataGenerator(rotation_range=30).flow(images(), seed=1)
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    next(batches)
    batches.on_epoch_end()
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_arrays_are_not_changed() -> None:
    x = images()
    kept = x.copy()
    generator = ImageDataGenerator(rescale=1 / 255, samplewise_center=True, horizontal_flip=True)
    batches = generator.flow(x, np.arange(10))
    next(batches)
    batches[0]
    np.testing.assert_array_equal(x, kept)


def test_a_split_divides_the_data() -> None:
    generator = ImageDataGenerator(validation_split=0.3)
    x, y = images(), np.arange(10)
    options: dict[str, Any] = {"ignore_class_split": True, "shuffle": False, "batch_size": 10}
    weights = y / 10
    train = generator.flow(x, y, sample_weight=weights, subset="training", **options)
    test = generator.flow(x, y, sample_weight=weights, subset="validation", **options)
    assert next(test)[1].tolist() == [0, 1, 2]
    assert next(train)[1].tolist() == [3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(next(train)[2], weights[3:])
    assert generator.flow(x, y % 2, subset="training").n == 7
    with pytest.raises(ValueError, match="must have the same classes"):
        generator.flow(x, y, subset="training")
    with pytest.raises(ValueError, match="Unknown subset 'test'"):
        generator.flow(x, y, subset="test")
    with pytest.raises(ValueError, match="needs an ImageDataGenerator with a validation_split"):
        ImageDataGenerator().flow(x, y, subset="validation")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((images(1)[0],), r"x must be images \(n, height, width, channels\)"),
        ((images(), np.zeros(9)), "y must have as many entries as x has images, 10"),
        ((images(), None, 0), "batch_size must be an integer >= 1"),
        ((images(), None, 2, True, np.zeros(3)), "sample_weight must have as many entries"),
        ((images(), None, 2, True, None, -1), "seed must be an integer >= 0"),
    ],
)
def test_flow_refuses(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageDataGenerator().flow(*arguments)
    with pytest.warns(UserWarning, match="x has 5 channels on axis 3"):
        ImageDataGenerator().flow(np.zeros((1, 2, 2, 5)))


def test_images_of_batches_may_be_saved(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_to_dir": tmp_path, "save_prefix": "a", "save_format": "bmp"}
    next(ImageDataGenerator().flow(images(3), shuffle=False, **options))
    names = sorted(os.listdir(tmp_path))
    assert [name.split("_")[:2] for name in names] == [["a", "0"], ["a", "1"], ["a", "2"]]
    assert all(name.endswith(".bmp") for name in names)
    saved = image.img_to_array(image.load_img(tmp_path / names[1]))
    np.testing.assert_allclose(saved, image.img_to_array(image.array_to_img(images(3)[1])))


# ---- training ------------------------------------------------------------------------------------


class SeenBatches(image.NumpyArrayIterator):
    """Keeps the batches that it makes, `depth` of them ahead."""

    def __init__(self, depth: int, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.depth = depth
        self.seen: list[Images] = []

    @property
    def read_ahead(self) -> int:
        assert super().read_ahead == 2
        return self.depth

    def __getitem__(self, index: int) -> Any:
        batch = super().__getitem__(index)
        self.seen.append(batch[0])
        return batch


@pytest.mark.filterwarnings("ignore:x ran out of data")
@pytest.mark.parametrize(
    "fit",
    [{}, {"steps_per_epoch": 2}, {"steps_per_epoch": 3, "shuffle": False}, {"steps_per_epoch": 4}],
    ids=str,
)
def test_reading_ahead_changes_no_result(fit: dict[str, Any]) -> None:
    x, y = images(), np.arange(10) % 2
    results = []
    for depth in (0, 2, 20):
        generator = ImageDataGenerator(rescale=1 / 255, rotation_range=30)
        batches = SeenBatches(depth, x, y, generator, batch_size=4, shuffle=True, seed=3)
        test = generator.flow(x, y, batch_size=4, shuffle=False, seed=4)
        model = classifier((6, 6, 3))
        history = model.fit(batches, epochs=3, validation_data=test, verbose=0, **fit).history
        results.append((history, [w.tolist() for w in model.get_weights()], batches.seen))
        assert not [t for t in threading.enumerate() if t.name.startswith("nnfast-ahead")]
    for history, weights, seen in results[1:]:
        assert (history, weights) == results[0][:2]
        for own, expected in zip(seen, results[0][2], strict=True):
            np.testing.assert_array_equal(own, expected)
    if not fit:  # three batches per epoch
        epochs = [np.concatenate(results[0][2][i : i + 3]) for i in (0, 3, 6)]
        assert len({epoch.sum().item() for epoch in epochs}) == 3


# ---- Keras ---------------------------------------------------------------------------------------

GENERATORS: dict[str, dict[str, Any]] = {
    "geometry": {"rotation_range": 30, "shear_range": 15, "zoom_range": 0.3}
    | {"width_shift_range": 0.2, "height_shift_range": 0.1, "horizontal_flip": True},
    "pixels": {"width_shift_range": 4, "height_shift_range": [-3, 1, 2.0], "fill_mode": "wrap"},
    "fractions": {"width_shift_range": [0.1, 0.3], "height_shift_range": 2.5, "cval": 3.0}
    | {"fill_mode": "constant", "interpolation_order": 0},
    "light": {"brightness_range": (0.5, 1.5), "channel_shift_range": 30.0, "rescale": 1 / 255},
    "samplewise": {"samplewise_center": True, "samplewise_std_normalization": True}
    | {"zoom_range": (0.8, 1.1), "preprocessing_function": np.sqrt},
    "featurewise": {"featurewise_center": True, "featurewise_std_normalization": True}
    | {"vertical_flip": True, "rescale": 0.5},
    "whitening": {"featurewise_center": True, "zca_whitening": True, "zca_epsilon": 1e-3},
    "channels first": {"data_format": "channels_first", "rotation_range": 20},
    "float64": {"dtype": "float64", "rotation_range": 20, "interpolation_order": 3},
}


@pytest.mark.peers
@pytest.mark.parametrize("name", GENERATORS)
def test_images_are_those_of_keras(name: str) -> None:
    import keras.src.legacy.preprocessing.image as peer

    x, y = images(10, 7, 9), np.arange(10)
    options = GENERATORS[name]
    if "data_format" in options:
        x = np.moveaxis(x, -1, 1)
    both = []
    for cls in (ImageDataGenerator, peer.ImageDataGenerator):
        generator: Any = cls(**options)
        if "featurewise_center" in options:
            generator.fit(x, augment=True, rounds=2, seed=4)
        both.append(generator.flow(x, y, sample_weight=y / 10, batch_size=4, seed=7))
    assert_same(*both)


@pytest.mark.peers
def test_arguments_are_those_of_keras() -> None:
    import inspect

    import keras.src.legacy.preprocessing.image as peer

    def arguments(thing: Any) -> dict[str, Any]:
        return {k: p.default for k, p in inspect.signature(thing).parameters.items()}

    for name in image.__all__:
        if hasattr(peer, name):
            assert arguments(getattr(image, name)) == arguments(getattr(peer, name)), name
    methods = ("flow", "flow_from_directory", "flow_from_dataframe", "fit", "standardize")
    for name in (*methods, "random_transform", "get_random_transform", "apply_transform"):
        own, other = (getattr(m.ImageDataGenerator, name) for m in (image, peer))
        assert arguments(own) == arguments(other), name
