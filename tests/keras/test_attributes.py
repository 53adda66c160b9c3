"""Tests of attributes of models and layers, and of arguments that have several forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers, models, regularizers
from nnfast.keras.models import save_model

X = np.random.default_rng(0).normal(size=(8, 4, 4, 1)).astype(np.float32)
Y = np.arange(8) % 2


def network(**options: Any) -> Any:
    nnfast.set_seed(0)
    return nnfast.Sequential(
        [
            layers.Input((4, 4, 1), **options),
            layers.Conv2D(2, 3, name="conv"),
            layers.Flatten(name="flat"),
            layers.Dense(1, "sigmoid", name="head", kernel_regularizer=regularizers.L2(0.5)),
        ]
    )


def test_shapes_of_a_model_and_its_layers() -> None:
    net = network()
    assert (net.input_shape, net.output_shape) == ((None, 4, 4, 1), (None, 1))
    assert net.inputs[0].shape == net.input.shape == (None, 4, 4, 1)
    assert net.outputs == [net.output]
    assert (net.output.name, net.output.dtype) == ("head", "float32")
    conv, flat, head = net.layers
    assert (conv.input_shape, conv.output_shape) == ((None, 4, 4, 1), (None, 2, 2, 2))
    assert (flat.output.shape, head.input.name) == ((None, 8), "flat")
    with pytest.raises(AttributeError, match="no input yet"):
        _ = layers.Dense(1).input_shape
    for attribute in ("input", "output"):
        with pytest.raises(AttributeError, match=f"has no {attribute} shape yet"):
            getattr(nnfast.Sequential([layers.Dense(1)]), attribute)


def test_an_input_may_have_a_batch_size() -> None:
    for net in (network(batch_size=5), models.clone_model(network(batch_size=5))):
        assert (net.input_shape, net.output_shape) == ((5, 4, 4, 1), (5, 1))
    lines: list[str] = []
    network(batch_size=5).summary(print_fn=lines.append)
    assert "(5, 2, 2, 2)" in "\n".join(lines)
    assert models.model_from_json(net.to_json()).input_shape == (5, 4, 4, 1)
    assert net.predict(X).shape == (8, 1)
    same = nnfast.Sequential([layers.Input(batch_shape=(5, 3)), layers.Dense(1)])
    assert same.input_shape == (5, 3)
    for wrong in ({"shape": (3,), "batch_shape": (5, 3)}, {"batch_size": 5}, {}):
        with pytest.raises(ValueError, match="shape"):
            layers.Input(**wrong)


def test_names_and_metrics() -> None:
    net = network()
    assert net.metrics_names == [] == net.metrics
    net.compile("sgd", "binary_crossentropy", ["accuracy"], weighted_metrics="mae")
    assert net.metrics_names == ["loss", "accuracy", "mae"]
    assert [type(metric).__name__ for metric in net.metrics] == [
        "BinaryAccuracy",
        "MeanAbsoluteError",
    ]
    assert len(net.evaluate(X, Y, verbose=0)) == len(net.metrics_names)


def test_losses_are_the_penalties() -> None:
    net = network()
    kernel = net.get_layer("head").get_weights()[0].astype(np.float64)
    np.testing.assert_allclose(net.losses, [0.5 * (kernel**2).sum()], rtol=1e-6)
    assert net.losses[0].numpy() == net.losses[0] == net.layers[-1].losses[0].numpy()
    net.trainable = False
    assert net.losses == []
    assert nnfast.Sequential([layers.Dense(1, kernel_regularizer="l2")]).losses == []


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X[..., 0], Y),
        ([X], [Y]),
        (X[..., None], Y[:, None]),
        (X, Y[:, None, None]),
        (X[..., 0].tolist(), (Y.astype(np.float32),)),
    ],
)
def test_a_missing_last_axis_is_added_and_a_superfluous_one_removed(x: Any, y: Any) -> None:
    expected, net = network(), network()
    for each, a, b in ((expected, X, Y), (net, x, y)):
        each.compile("sgd", "binary_crossentropy")
        each.fit(a, b, epochs=2, verbose=0, shuffle=False)
    np.testing.assert_array_equal(net.predict(x), expected.predict(X))
    np.testing.assert_array_equal(net(x), expected.predict(X))
    assert net.evaluate(x, y, verbose=0) == expected.evaluate(X, Y, verbose=0)


def test_other_shapes_are_refused() -> None:
    for x in (X[:, 0], X[..., None, None], X.transpose(3, 0, 1, 2), [X, X]):
        with pytest.raises((TypeError, ValueError), match="x must"):
            network().predict(x)


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        (["binary_crossentropy"], "accuracy"),
        ({"head": "binary_crossentropy"}, {"head": ["accuracy"]}),
        (("binary_crossentropy",), [["accuracy"]]),
        ({"head": "binary_crossentropy"}, {"head": "accuracy"}),
    ],
)
def test_losses_and_metrics_by_output(loss: Any, metrics: Any) -> None:
    one, two = network(), network()
    one.compile("sgd", "binary_crossentropy", ["accuracy"])
    two.compile("sgd", loss, metrics)
    assert (two.loss, two.metrics) == (one.loss, one.metrics)
    assert one.fit(X, Y, verbose=0).history == two.fit(X, Y, verbose=0).history


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    net, path = network(), tmp_path / "model.keras"
    save_model(net, path)
    for write in (net.save, net.save_weights, lambda path, overwrite: save_model(net, path, False)):
        with pytest.raises(FileExistsError, match="overwrite=True"):
            write(path, overwrite=False)
    net.save(filepath=path)
    assert models.load_model(filepath=path).count_params() == net.count_params()


def test_a_model_may_be_loaded_without_its_compilation(tmp_path: Path) -> None:
    net, path = network(), tmp_path / "model.keras"
    net.compile("adam", "binary_crossentropy")
    net.fit(X, Y, verbose=0)
    net.save(path)
    bare = models.load_model(path, compile=False)
    assert bare.optimizer is bare.loss is None
    np.testing.assert_array_equal(bare.predict(X), net.predict(X))
    assert models.load_model(path, custom_objects={}, safe_mode=False).optimizer == net.optimizer
    with pytest.raises(ValueError, match=r"custom_objects.*\['Mine'\]"):
        models.load_model(path, custom_objects={"Mine": object})


def test_weights_that_do_not_fit_may_be_skipped(tmp_path: Path) -> None:
    net, path = network(), tmp_path / "weights"
    net.save_weights(path)
    other = nnfast.Sequential(
        [layers.Input((4, 4, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="shape"):
        other.load_weights(path)
    head = other.layers[-1].get_weights()
    with pytest.warns(UserWarning, match=r"layers \[2\]"):
        other.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(other.layers[0].kernel, net.layers[0].kernel)
    np.testing.assert_array_equal(other.layers[-1].get_weights()[0], head[0])


def summary(**options: Any) -> list[str]:
    lines: list[str] = []
    net = network()
    net.layers[0].trainable = False
    net.summary(print_fn=lines.append, **options)
    return lines


def test_the_width_of_a_summary() -> None:
    assert {len(line) for line in summary(line_length=70)[1:-1]} == {70}
    lines = summary(line_length=60, positions=[0.5, 0.75, 1.0])
    assert lines[1].index("Output") == 30
    assert lines[2] == "-" * 60
    assert summary(positions=[20, 40, 50])[1].index("Output") == 20
    for wrong in ([0.5, 1.0], [0.8, 0.5, 1.0]):
        with pytest.raises(ValueError, match="positions"):
            summary(positions=wrong)


def test_a_summary_of_some_layers_with_their_flags() -> None:
    lines = summary(show_trainable=True)
    assert lines[1].endswith("Trainable")
    assert [line.split()[-1] for line in lines[3:6]] == ["N", "Y", "Y"]
    assert len(summary(layer_range=("flat", "head"))) == len(lines) - 1
    assert "conv" not in "".join(summary(layer_range=["^fl", "head"]))
    with pytest.raises(ValueError, match=r"layer_range.*'conv', 'flat', 'head'"):
        summary(layer_range=("flat", "none"))
    assert summary(expand_nested=True)[1:] == summary()[1:]


@pytest.mark.parametrize(
    ("call", "today"),
    [
        (lambda net: net.fit(X, Y, nb_epoch=2), "use epochs"),
        (lambda net: net.fit_generator(X), "use fit"),
        (lambda net: net.predict_classes(X), "argmax"),
        (lambda net: net.evaluate_generator(X), "use evaluate"),
        (lambda net: layers.Dense(3, W_regularizer="l2"), "use kernel_regularizer"),
        (lambda net: layers.Conv2D(3, 3, border_mode="same"), "use padding"),
        (lambda net: nnfast.keras.optimizers.SGD(decay=0.1), "InverseTimeDecay"),
        (lambda net: nnfast.optimizers.SGD().lr, "use learning_rate"),
        (lambda net: setattr(nnfast.optimizers.SGD(), "lr", 0.5), "use learning_rate"),
    ],
)
def test_older_spellings_are_refused_with_todays_name(call: Any, today: str) -> None:
    with pytest.raises((TypeError, AttributeError), match=today):
        call(network())


def test_lr_is_the_learning_rate_in_keras_alone() -> None:
    with pytest.warns(DeprecationWarning, match="learning_rate"):
        optimizer = nnfast.keras.optimizers.Adam(lr=0.1)
    assert optimizer.learning_rate == 0.1
    with pytest.raises(TypeError, match="lr"):
        nnfast.optimizers.Adam(lr=0.1)  # type: ignore[call-arg]
