"""Engine guarantees: bitwise reproducibility, no leaks, no allocations in steps, exact dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, kernels, layers, losses, optimizers
from nnfast._plan.plan import Plan, compile_plan

INT = np.int32
THREADS = (1, 2, 3, 4, 7)


def engine(
    stack: Sequence[layers.Layer],
    n_in: int,
    dtype: str = "float32",
    loss: Any = "mean_squared_error",
    optimizer: Any = None,
) -> _engine.Engine:
    """Return an engine with random parameters, ready to run."""
    plan = compile_plan(stack, (n_in,))
    made = _engine.Engine(plan, dtype)
    optimizer = optimizer or optimizers.Adam()
    made.set_seed(5)
    made.set_loss(*losses.resolve(loss).engine_loss(plan.final_activation))
    made.set_optimizer(
        _engine.OPTIMIZERS[optimizer.kind], optimizer.n_slots, tuple(optimizer.hyper)
    )
    rng = np.random.default_rng(1)
    for parameter in plan.parameters:
        values = rng.normal(size=parameter.size) / np.sqrt(parameter.shape[0])
        made.params[parameter.offset : parameter.offset + parameter.size] = values
    return made


def classifier(
    sizes: Sequence[int], dtype: str = "float32", activation: str = "relu", dropout: float = 0.25
) -> _engine.Engine:
    stack: list[layers.Layer] = []
    for units in sizes[1:-1]:
        stack += [layers.Dense(units, activation=activation), layers.Dropout(dropout)]
    stack.append(layers.Dense(sizes[-1], activation="softmax"))
    return engine(stack, sizes[0], dtype, "sparse_categorical_crossentropy")


def class_data(n: int, sizes: Sequence[int], weighted: bool = False) -> _engine.Data:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, sizes[0]), np.float32)
    y = rng.integers(0, sizes[-1], n).astype(INT)
    return _engine.Data(x, y, rng.uniform(0.5, 2.0, n) if weighted else None)


def run(
    e: _engine.Engine,
    data: _engine.Data,
    steps: int,
    batch_size: int,
    shuffle: bool = True,
    lr: float = 0.01,
    outputs: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Run the steps in one call; return their losses."""
    step_losses = np.full(steps, np.nan)
    status, done = e.run(data, batch_size, shuffle, np.full(steps, lr), step_losses, outputs)
    assert (status, done) == (_engine.OK, steps)
    return step_losses


def state(e: _engine.Engine) -> list[Any]:
    return [e.params.copy(), e.slots.copy(), e.iterations, e.epoch, e.batch]


def assert_same_state(a: Sequence[Any], b: Sequence[Any]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


# Reproducibility


def trained(seed: int) -> tuple[list[NDArray[Any]], list[float]]:
    nnfast.set_seed(seed)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    model = nnfast.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(8, activation="tanh"),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x, y, batch_size=8, epochs=4, verbose=0).history["loss"]
    return model.get_weights(), history


def test_the_same_seed_gives_the_same_bits() -> None:
    weights, history = trained(3)
    again, history_again = trained(3)
    assert history == history_again
    for w, v in zip(weights, again, strict=True):
        np.testing.assert_array_equal(w, v)


def test_another_seed_gives_other_bits() -> None:
    weights, history = trained(3)
    other, other_history = trained(4)
    assert history != other_history
    assert not np.array_equal(weights[0], other[0])


def test_models_created_after_one_seed_differ() -> None:
    nnfast.set_seed(0)
    a, b = (nnfast.Sequential([layers.Dense(4, input_dim=3)]).get_weights()[0] for _ in range(2))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("pieces", [[1] * 21, [2, 3, 16], [7, 7, 7], [8, 1, 12], [20, 1]])
@pytest.mark.parametrize("shuffle", [False, True])
def test_splitting_a_run_of_steps_changes_no_bits(pieces: list[int], shuffle: bool) -> None:
    """21 steps are three epochs of 7 batches, and the last batch of each epoch is short."""
    sizes, n, batch = (5, 9, 3), 50, 8
    data = class_data(n, sizes, weighted=True)
    whole, parts = classifier(sizes), classifier(sizes)
    outputs, parts_outputs = np.zeros((n, 3), np.float32), np.zeros((n, 3), np.float32)
    expected = run(whole, data, 21, batch, shuffle, outputs=outputs)
    actual = [run(parts, data, k, batch, shuffle, outputs=parts_outputs) for k in pieces]
    np.testing.assert_array_equal(np.concatenate(actual), expected)
    np.testing.assert_array_equal(parts_outputs, outputs)
    assert_same_state(state(parts), state(whole))
    assert (whole.epoch, whole.batch, whole.iterations) == (3, 0, 21)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_split_by_its_deadline_changes_no_bits(threads: int, free_threads: None) -> None:
    sizes, steps = (5, 9, 3), 200
    data = class_data(50, sizes)
    whole, parts = classifier(sizes), classifier(sizes)
    expected = run(whole, data, steps, 8)
    _engine.force_threads(threads)
    actual, calls, done = np.full(steps, np.nan), 0, 0
    while done < steps:
        status, more = parts.run(
            data, 8, True, np.full(steps - done, 0.01), actual[done:], None, 0.0
        )
        assert status == _engine.OK
        assert more >= 1
        done += more
        calls += 1
    assert calls > 3
    np.testing.assert_array_equal(actual, expected)
    assert_same_state(state(parts), state(whole))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_training_continues_from_a_restored_position(threads: int, free_threads: None) -> None:
    """An engine set to (epoch, batch) continues like an engine that trained up to that point."""
    sizes = (5, 9, 3)
    data = class_data(50, sizes)
    one = classifier(sizes)
    run(one, data, 10, 8)
    assert (one.epoch, one.batch) == (1, 3)
    params, slots = one.params.copy(), one.slots.copy()
    expected = run(one, data, 9, 8)
    _engine.force_threads(threads)
    for _ in range(100):  # thread scheduling differs between repetitions
        other = classifier(sizes)
        other.params[:], other.slots[:] = params, slots
        other.iterations, other.epoch, other.batch = 10, 1, 3
        np.testing.assert_array_equal(run(other, data, 9, 8), expected)
        assert_same_state(state(one), state(other))


# (sizes, batch, rows, steps). The cases cover threads that share a batch, with and
# without split-K, micro-batches with partial gradients, and odd shapes.
THREAD_CASES = [
    ((20, 64, 64, 10), 32, 200, 14),
    ((33, 17, 5), 7, 30, 10),
    ((3, 4, 2), 1, 5, 10),
    ((300, 150, 230, 5), 24, 100, 9),
    ((515, 70, 3), 130, 300, 5),
    ((260, 130, 5), 1, 7, 9),
    ((260, 130, 5), 3, 8, 9),
    ((8, 4200, 3), 4, 10, 5),
    ((12, 2800, 3), 6, 15, 5),
    ((24, 1400, 3), 6, 15, 5),
    ((100, 130, 10), 256, 600, 6),
    ((20, 64, 64, 10), 256, 600, 6),
    ((260, 300, 10), 400, 809, 9),
    ((64, 100, 3), 200, 450, 5),
    ((2, 4, 2), 10_000, 10_000, 4),
    ((5, 8, 3), 1000, 2500, 6),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "batch", "n", "steps"), THREAD_CASES)
def test_results_do_not_depend_on_the_number_of_threads(
    sizes: tuple[int, ...], batch: int, n: int, steps: int, dtype: str, free_threads: None
) -> None:
    data = class_data(n, sizes, weighted=True)
    results = []
    for threads in THREADS:
        _engine.force_threads(threads)
        e = classifier(sizes, dtype)
        outputs = np.empty((n, sizes[-1]), dtype)
        step_losses = run(e, data, steps, batch, outputs=outputs)
        predictions = np.empty_like(outputs)
        value = e.evaluate(data, predictions)
        loss = e.loss_and_grad(data)
        results.append([step_losses, outputs, *state(e), value, predictions, loss, e.grads.copy()])
        assert np.isfinite(results[-1][0]).all()
    for result in results[1:]:
        assert_same_state(result, results[0])


@pytest.mark.parametrize("options", [{}, {"global_norm": 0.5}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_of_a_micro_batch_change_no_bits(
    dtype: str, options: dict[str, float], free_threads: None
) -> None:
    """With two threads, each processes 200 rows in two blocks; otherwise they share the batch."""
    sizes, results = (260, 300, 10), []
    for threads in THREADS:
        _engine.force_threads(threads)
        hidden = [layers.Dense(300), layers.LayerNormalization(), layers.Dense(300)]
        loss = "sparse_categorical_crossentropy"
        e = engine([*hidden, layers.Dense(10, activation="softmax")], 260, dtype, loss)
        kind = _engine.OPTIMIZERS["adam"]
        e.set_optimizer(kind, 2, (0.9, 0.999, 1e-7, 0.0), **options)
        step_losses = run(e, class_data(809, sizes, weighted=True), 9, 400)
        results.append([step_losses, *state(e)])
    for result in results[1:]:
        assert_same_state(result, results[0])


@pytest.mark.parametrize("sizes", [(20, 64, 64, 10), (2, 4, 2)])
def test_micro_batches_add_up_to_the_reference(sizes: tuple[int, ...]) -> None:
    """The loss and gradient summed over micro-batches equal those of the whole batch."""
    from reference import Network

    n = 3000
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, sizes[0]))
    y = rng.integers(0, sizes[-1], n).astype(INT)
    e = classifier(sizes, "float64", activation="tanh", dropout=0.0)
    plan_order = compile_plan([layers.Dense(units) for units in sizes[1:]], (sizes[0],)).parameters
    network = Network(
        [e.params[p.offset : p.offset + p.size].reshape(p.shape) for p in plan_order],
        ["tanh"] * (len(sizes) - 2) + ["softmax"],
        "sparse_categorical_crossentropy",
    )
    value, gradients = network.loss_and_grad(x, y)
    data = _engine.Data(x, y)
    assert e.loss_and_grad(data) == pytest.approx(value, rel=1e-12)
    assert e.evaluate(data) == pytest.approx(value, rel=1e-12)
    assert run(e, data, 1, n, lr=0.0)[0] == pytest.approx(value, rel=1e-12)
    for p, g in zip(plan_order, gradients, strict=True):
        actual = e.grads[p.offset : p.offset + p.size].reshape(p.shape)
        np.testing.assert_allclose(actual, g, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("form", ["float64", "float32", "uint8", "sparse"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_split_k_steps_follow_the_gradient(
    form: str, activation: str, threads: int, free_threads: None
) -> None:
    """If W is large compared with the batch, the threads of a step divide the reduction dimension.

    `loss_and_grad` splits the rows instead and must give the same gradient.
    """
    rng = np.random.default_rng(3)
    x: Any = rng.integers(0, 4, (26, 300)).astype("float32" if form == "sparse" else form)
    if form == "sparse":
        x = pytest.importorskip("scipy.sparse").csr_array(x)
    data = _engine.Data(x, rng.integers(0, 5, 26).astype(INT))
    e = classifier((300, 150, 230, 5), "float64", activation, dropout=0.0)
    start = e.params.copy()
    value = e.loss_and_grad(data)
    gradient = e.grads.copy()
    e.set_optimizer(_engine.OPTIMIZERS["sgd"], 0, (0.0, 0.0))
    _engine.force_threads(threads)
    step_losses = run(e, data, 1, 26, lr=0.25)
    assert step_losses[0] == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose((start - e.params) / 0.25, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_in", [2, 8, 12, 13, 24, 25])
@pytest.mark.parametrize("threads", [1, 3])
def test_wide_kernels_with_few_rows_give_the_loss(
    n_in: int, threads: int, free_threads: None
) -> None:
    """These kernels are also large, but their reduction dimension is short."""
    x = np.random.default_rng(3).standard_normal((1, n_in))
    data = _engine.Data(x, np.array([2], INT))
    e = classifier((n_in, 33_000 // n_in + 1, 3), "float64", dropout=0.0)
    value = e.loss_and_grad(data)
    _engine.force_threads(threads)
    assert run(e, data, 1, 1)[0] == pytest.approx(value, rel=1e-12)


def test_python_threads_may_predict_at_once() -> None:
    sizes = (20, 64, 10)
    e = classifier(sizes)
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((500, 20), np.float32) for _ in range(16)]

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.empty((len(x), 10), np.float32)
        e.forward(_engine.Data(x), out)
        return out

    def predict_few(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([e.predict(x[i : i + 1 + i % 7]) for i in range(0, 490, 7)])

    for function in (predict, predict_few):
        expected = [function(x) for x in xs]
        with ThreadPoolExecutor(4) as pool:
            for actual, one in zip(pool.map(function, xs), expected, strict=True):
                np.testing.assert_array_equal(actual, one)


# Shuffling


def test_an_epoch_uses_every_row_once() -> None:
    """Without layers, the outputs are the inputs, so the losses reveal the order of the rows."""
    n, batch = 103, 1
    x = np.arange(1, n + 1, dtype=np.float64)[:, None]
    e = engine([], 1, "float64")
    data = _engine.Data(x, np.zeros((n, 1)))
    orders = [np.sqrt(run(e, data, n, batch, lr=0.0)) for _ in range(2)]
    for order in orders:
        np.testing.assert_allclose(np.sort(order), x[:, 0], rtol=1e-14)
    assert not np.allclose(orders[0], orders[1])
    unshuffled = np.sqrt(run(e, data, n, batch, shuffle=False, lr=0.0))
    np.testing.assert_allclose(unshuffled, x[:, 0], rtol=1e-14)


def test_shuffling_is_uniform() -> None:
    """χ² over the positions of all rows is within 5 standard deviations of its mean."""
    n, epochs = 8, 4000
    x = np.arange(n, dtype=np.float64)[:, None]
    e = engine([], 1, "float64")
    step_losses = run(e, _engine.Data(x, np.zeros((n, 1))), n * epochs, 1, lr=0.0)
    order = np.rint(np.sqrt(step_losses)).astype(int).reshape(epochs, n)
    counts = np.stack([(order == row).sum(axis=0) for row in range(n)])
    assert (counts.sum(axis=0) == epochs).all()
    chi2 = ((counts - epochs / n) ** 2 / (epochs / n)).sum()
    freedom = (n - 1) ** 2
    assert abs(chi2 - freedom) < 5 * np.sqrt(2 * freedom)


# Subnormal numbers


def assert_subnormals_work() -> None:
    tiny = np.full(64, 1e-40, np.float32)
    assert (tiny * np.float32(0.5) > 0).all()
    assert np.float32(1e-40) * np.float32(0.5) > 0
    assert (np.full(64, 1e-310) * 0.5 > 0).all()
    assert 1e-310 * 0.5 > 0


@pytest.mark.parametrize("threads", [1, 4])
def test_flush_to_zero_is_confined_to_the_engine(threads: int, free_threads: None) -> None:
    assert_subnormals_work()
    _engine.force_threads(threads)
    sizes = (20, 64, 10)
    data, e = class_data(256, sizes), classifier(sizes)
    run(e, data, 5, 64)
    assert_subnormals_work()
    e.evaluate(data)
    assert_subnormals_work()
    e.loss_and_grad(data)
    assert_subnormals_work()
    kernels.dense_forward(np.ones((4, 3)), np.ones((3, 2)), np.ones(2), activation="tanh")
    assert_subnormals_work()


def test_flush_to_zero_is_off_in_callbacks() -> None:
    seen = []

    class Check(nnfast.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            assert_subnormals_work()
            seen.append(batch)

    model = nnfast.Sequential([layers.Dense(1, input_dim=2)])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 2)), np.ones(8), batch_size=4, callbacks=[Check()], verbose=0)
    assert seen == [0, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
def test_subnormal_optimizer_slots_are_flushed(
    dtype: str, threads: int, free_threads: None
) -> None:
    """Optimizer slots of dead units decay to 0 on every thread and do not stay subnormal."""
    _engine.force_threads(threads)
    e = engine([layers.Dense(64)], 64, dtype)
    e.slots[:] = np.finfo(dtype).tiny / 8
    assert (e.slots > 0).all()
    data = _engine.Data(np.zeros((8, 64), dtype), np.zeros((8, 64), dtype))
    e.params[:] = 0.0
    run(e, data, 1, 8)
    assert (e.slots == 0).all()
    assert (e.params == 0).all()


# Dropout


def masks(e: _engine.Engine, n: int, width: int, batch: int = 64, epochs: int = 1) -> Any:
    """Return the outputs of the last epoch of training on ones; the layers have no parameters."""
    outputs = np.full((n, width), np.nan, np.float32)
    data = _engine.Data(np.ones((n, width), np.float32), np.zeros((n, width), np.float32))
    run(e, data, epochs * -(-n // batch), batch, shuffle=False, outputs=outputs)
    return outputs


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_independent_values_at_its_rate(rate: float) -> None:
    n, width = 1000, 60
    out = masks(engine([layers.Dropout(rate)], width), n, width)
    kept = out != 0
    np.testing.assert_array_equal(out[kept], np.float32(1 / (1 - rate)))

    def deviations(fraction: Any, count: int) -> Any:
        return np.abs(fraction - (1 - rate)) / np.sqrt(rate * (1 - rate) / count)

    assert deviations(kept.mean(), kept.size) < 5
    assert deviations(kept.mean(axis=0), n).max() < 5
    assert deviations(kept.mean(axis=1), width).max() < 5
    for axis in (0, 1):
        first, second = (np.take(kept, range(i, kept.shape[axis] - 1 + i), axis) for i in (0, 1))
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(first.size)


def test_dropout_masks_do_not_depend_on_the_batch_size() -> None:
    n, width = 100, 33
    expected = masks(engine([layers.Dropout(0.4)], width), n, width, batch=100)
    for batch in (1, 7, 32, 64):
        actual = masks(engine([layers.Dropout(0.4)], width), n, width, batch=batch)
        np.testing.assert_array_equal(actual, expected)


def test_dropout_masks_differ_by_epoch_layer_and_seed() -> None:
    n, width = 50, 40
    first = masks(engine([layers.Dropout(0.5)], width), n, width)
    second = masks(engine([layers.Dropout(0.5)], width), n, width, epochs=2)
    twice = masks(engine([layers.Dropout(0.5), layers.Dropout(0.5)], width), n, width)
    seeded = engine([layers.Dropout(0.5)], width)
    seeded.set_seed(6)
    other = masks(seeded, n, width)
    for masked in (second, other):
        assert 0.4 < np.mean((first != 0) == (masked != 0)) < 0.6
    assert 0.2 < np.mean(twice != 0) < 0.3


def test_dropout_is_off_in_inference() -> None:
    e = engine([layers.Dropout(0.5)], 10)
    x = np.random.default_rng(0).standard_normal((20, 10), np.float32)
    out = np.empty_like(x)
    e.forward(_engine.Data(x), out)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_the_backward_pass_uses_the_mask_of_the_forward_pass(activation: str) -> None:
    """Recompute an SGD step with dropout from the mask that it used."""
    m, n_in, hidden = 16, 5, 12
    stack = [layers.Dense(hidden, activation=activation), layers.Dropout(0.5), layers.Dense(2)]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(m, n_in)), rng.normal(size=(m, 2))

    def make(ops: Sequence[layers.Layer], width: int) -> _engine.Engine:
        return engine(ops, width, "float64", optimizer=optimizers.SGD())

    probe = make([*stack[:1], layers.Dropout(0.5)], n_in)
    outputs = np.empty((m, hidden))
    run(probe, _engine.Data(x, np.zeros((m, hidden))), 1, m, False, lr=0.0, outputs=outputs)
    e = make(stack, n_in)
    plan = compile_plan(stack, (n_in,))
    w1, b1, w2, b2 = (
        e.params[p.offset : p.offset + p.size].reshape(p.shape).copy() for p in plan.parameters
    )
    np.testing.assert_array_equal(probe.params, np.concatenate([w1.ravel(), b1]))

    a = kernels.activation_forward(x @ w1 + b1, activation)
    mask = np.where(outputs != 0, 2.0, 0.0)
    dz2 = 2 * ((a * mask) @ w2 + b2 - y) / y.size
    dz1 = kernels.activation_backward((dz2 @ w2.T) * mask, a, activation)
    expected = [w1 - x.T @ dz1, b1 - dz1.sum(0), w2 - (a * mask).T @ dz2, b2 - dz2.sum(0)]

    run(e, _engine.Data(x, y), 1, m, False, lr=1.0)
    for p, after in zip(plan.parameters, expected, strict=True):
        actual = e.params[p.offset : p.offset + p.size].reshape(p.shape)
        np.testing.assert_allclose(actual, after, rtol=1e-12, atol=1e-13)


# Inputs that are read in place


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [None, 1 / 255])
@pytest.mark.parametrize("code", np.typecodes["AllInteger"])
def test_integer_inputs_give_the_bits_of_float_inputs(
    code: str, scale: float | None, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 12)).astype(code)
    y = rng.integers(0, 3, 40).astype(INT)
    first = [] if scale is None else [layers.Rescaling(scale, offset=-0.5)]
    stack = [*first, layers.Dense(7, activation="tanh"), layers.Dense(3, activation="softmax")]
    results = []
    for x in (images, images.astype(np.float32), images.astype(np.float64)):
        e = engine(stack, 12, dtype, "sparse_categorical_crossentropy")
        out = np.empty((40, 3), dtype)
        step_losses = run(e, _engine.Data(x, y), 10, 8)
        e.forward(_engine.Data(x), out)
        results.append([step_losses, e.params.copy(), out])
    for result in results[1:]:
        assert_same_state(result, results[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("code", np.typecodes["AllInteger"])
def test_extreme_integers_are_rounded_as_in_numpy(code: str, dtype: str) -> None:
    limits = np.iinfo(code)
    x = np.array([[limits.min, limits.max, limits.max - 1, 1, 0] * 7], code)
    e = engine([layers.Activation("linear")], 35, dtype)
    np.testing.assert_array_equal(e.predict(x), x.astype(dtype))


def test_other_types_are_refused() -> None:
    for code in ("e", "g", "F", ">f4", ">i4"):
        with pytest.raises(ValueError, match="dtype"):
            _engine.Data(np.zeros((2, 3), code))


def test_read_only_arrays_and_memmaps_are_inputs(tmp_path: Any) -> None:
    sizes = (6, 4, 3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 6), np.float32)
    y = rng.integers(0, 3, 30).astype(INT)
    x.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", np.float32, "r", shape=x.shape)
    frozen = x.copy()
    frozen.flags.writeable = False
    expected = run(classifier(sizes), _engine.Data(x, y), 6, 8)
    for other in (mapped, frozen):
        actual = run(classifier(sizes), _engine.Data(other, y), 6, 8)
        np.testing.assert_array_equal(actual, expected)


# Memory and errors


def test_steps_allocate_nothing() -> None:
    sizes = (20, 64, 10)
    data, e = class_data(320, sizes), classifier(sizes)
    run(e, data, 10, 32)
    before = _engine.allocation_count()
    run(e, data, 1, 32)
    run(e, data, 1000, 32)
    assert _engine.allocation_count() == before


def test_epochs_of_fit_allocate_nothing() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((320, 20), np.float32), rng.standard_normal((320, 4), np.float32)
    model = nnfast.Sequential([layers.Dense(8, activation="relu", input_dim=20), layers.Dense(4)])
    model.compile("adam", "mse")
    counts = []
    for epochs in (1, 1, 50):
        before = _engine.allocation_count()
        model.fit(x, y, epochs=epochs, verbose=0)
        counts.append(_engine.allocation_count() - before)
    assert counts[2] == counts[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 100, 192])
def test_short_predictions_allocate_only_their_result(rows: int, dtype: str) -> None:
    e = engine(
        [layers.Dense(33, activation="tanh"), layers.Dense(3, activation="softmax")], 9, dtype
    )
    rng = np.random.default_rng(0)
    for x in (
        rng.standard_normal((rows, 9), np.float32),
        rng.standard_normal((rows, 9)),
        *(rng.integers(0, 127, (rows, 9)).astype(code) for code in np.typecodes["AllInteger"]),
    ):
        expected = np.empty((rows, 3), dtype)
        e.forward(_engine.Data(x), expected)
        e.predict(x)
        before = _engine.allocation_count()
        np.testing.assert_array_equal(e.predict(x), expected)
        assert _engine.allocation_count() == before


def test_short_predictions_refuse_arrays_that_they_cannot_read_in_place() -> None:
    e = engine([layers.Dense(2)], 4, "float32")
    x = np.zeros((6, 4), np.float32)
    unaligned = np.frombuffer(bytes(1 + x.nbytes), np.uint8)[1:].view(np.float32).reshape(6, 4)
    others = [
        *(
            x[::2],
            np.asfortranarray(x),
            x[:, :3],
            x[0],
            x[:0],
            x[None],
            np.zeros((193, 4), np.float32),
        ),
        *(x.astype(">f4"), x.astype(">i4"), x.astype("f2"), x.astype(bool), x.astype(object)),
        *(unaligned, x.tolist(), np.ma.array(x), x.astype(complex), None, "x"),
    ]
    assert e.predict(x) is not None
    assert [i for i, other in enumerate(others) if e.predict(other) is not None] == []


def test_a_nonfinite_loss_stops_the_run_before_the_update() -> None:
    n, batch = 24, 8
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 4)), rng.standard_normal((n, 2))
    e, sane = (engine([layers.Dense(2)], 4, "float64") for _ in range(2))
    x[20] = np.inf
    run(sane, _engine.Data(x, y), 2, batch, shuffle=False)
    step_losses = np.zeros(6)
    status, done = e.run(_engine.Data(x, y), batch, False, np.full(6, 0.01), step_losses)
    assert (status, done) == (_engine.NONFINITE, 3)
    assert not np.isfinite(step_losses[2])
    assert (step_losses[3:] == 0).all()
    assert e.iterations == 2
    np.testing.assert_array_equal(e.params, sane.params)
    np.testing.assert_array_equal(e.slots, sane.slots)


def test_fit_warns_of_a_nonfinite_loss() -> None:
    x, y = np.full((8, 2), 1e30), np.ones(8)
    model = nnfast.Sequential([layers.Dense(1, input_dim=2)])
    model.compile(optimizers.SGD(1.0), "mse")
    before = model.get_weights()
    with pytest.warns(RuntimeWarning, match="not finite"):
        model.fit(x, y, epochs=3, verbose=0)
    for w, v in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, v)


def test_wrong_sizes_are_refused() -> None:
    e = classifier((4, 3, 2))
    x, y = np.zeros((6, 4), np.float32), np.zeros(6, INT)
    lr, step_losses = np.zeros(3), np.zeros(3)
    with pytest.raises(ValueError, match="features"):
        e.run(_engine.Data(np.zeros((6, 5), np.float32), y), 2, False, lr, step_losses)
    with pytest.raises(ValueError, match="y is missing"):
        e.run(_engine.Data(x), 2, False, lr, step_losses)
    with pytest.raises(ValueError, match="columns"):
        e.run(_engine.Data(x, np.zeros((6, 3), np.float32)), 2, False, lr, step_losses)
    for columns in (0, 3):
        with pytest.raises(ValueError, match=f"sample_weight has {columns} columns"):
            e.run(_engine.Data(x, y, np.ones((6, columns))), 2, False, lr, step_losses)
    with pytest.raises(ValueError, match="sample_weight and x differ in length"):
        _engine.Data(x, y, np.ones((5, 2)))
    with pytest.raises(ValueError, match="class index"):
        e.run(_engine.Data(x, y + INT(2)), 2, False, lr, step_losses)
    with pytest.raises(ValueError, match="length"):
        _engine.Data(x, y[:5])
    with pytest.raises(ValueError, match="length"):
        _engine.Data(x, y, np.ones(5))
    with pytest.raises(ValueError, match="wrong sizes"):
        e.run(_engine.Data(x, y), 2, False, lr, step_losses[:2])
    with pytest.raises(ValueError, match="wrong sizes"):
        e.run(_engine.Data(x, y), 0, False, lr, step_losses)
    with pytest.raises(ValueError, match="array for results"):
        e.run(_engine.Data(x, y), 2, False, lr, step_losses, np.zeros((5, 2), np.float32))
    e.batch = 3
    with pytest.raises(ValueError, match="no batch 3"):
        e.run(_engine.Data(x, y), 2, False, lr, step_losses)
    assert e.iterations == 0


def test_engines_may_use_the_same_arrays() -> None:
    """A second engine allocates only the arrays that it is not given."""
    first = classifier((6, 8, 3))
    plan = compile_plan([layers.Dense(8, activation="relu"), layers.Dense(2)], (6,))
    second = _engine.Engine(plan, "float32", [*first.arrays[:2], None, None])
    assert second.arrays[:2] == first.arrays[:2]
    assert second.weights.size == 8 * 2 + 2
    kernel = np.asarray(second.arrays[0])
    before = kernel.copy()
    run(first, class_data(64, (6, 8, 3)), 2, 32)
    assert not np.array_equal(kernel, before)
    np.testing.assert_array_equal(kernel, first.params[:48])


def test_arrays_and_plans_of_other_sizes_are_refused() -> None:
    plan = compile_plan([layers.Dense(8), layers.Dense(2)], (6,))
    arrays = _engine.Engine(plan, "float32").arrays
    with pytest.raises(ValueError, match="8 elements of format b'f', the plan needs 48 of b'f'"):
        _engine.Engine(plan, "float32", arrays[::-1][2:] + arrays[2:])
    with pytest.raises(ValueError, match="the plan needs 48 of b'd'"):
        _engine.Engine(plan, "float64", arrays)
    with pytest.raises(ValueError, match="shorter"):
        _engine.Engine(plan, "float32", arrays[:3])
    made = _engine.Engine(plan, "float32")
    with pytest.raises(ValueError, match="weights differ"):
        made.replan(compile_plan([layers.Dense(8)], (6,)))
    # It has as many trained weights as the first one.
    with pytest.raises(ValueError, match="the plan needs"):
        made.replan(
            compile_plan(
                [
                    layers.Dense(10, use_bias=False),
                    layers.Dense(1, "relu", use_bias=False),
                    layers.Dense(2),
                ],
                (6,),
            )
        )


class Watched:
    """A plan that calls a function whenever one of its attributes is read."""

    def __init__(self, plan: Plan, call: Callable[[], None]) -> None:
        self.plan = plan
        self.call = call

    def __getattr__(self, name: str) -> Any:
        self.call()
        return getattr(self.plan, name)


def test_a_plan_is_replaced_at_once() -> None:
    """While the engine reads a new plan, other threads have the old results and version."""
    frozen, trained = layers.Dense(8, "tanh", kernel_regularizer="l2"), layers.Dense(2)
    old = compile_plan([frozen, trained], (6,))
    engine = _engine.Engine(old, "float64")
    rng = np.random.default_rng(0)
    np.asarray(engine.params)[:] = rng.normal(size=len(engine.params))
    data = _engine.Data(rng.normal(size=(9, 6)), rng.normal(size=(9, 2)))
    loss, gradient = engine.loss_and_gradient(data)
    seen = []

    def compare() -> None:
        now, other = engine.loss_and_gradient(data)
        seen.append((engine.version, now, other.tobytes()))

    version = engine.version
    frozen.trainable = False
    engine.replan(Watched(compile_plan([frozen, trained], (6,), like=old), compare))
    assert set(seen) == {(version, loss, gradient.tobytes())}
    assert engine.version == version + 1
    assert engine.evaluate(data) < loss  # a frozen kernel has no penalty


def test_zero_rows_give_zero_predictions() -> None:
    e = classifier((4, 3, 2))
    out = np.empty((0, 2), np.float32)
    e.forward(_engine.Data(np.empty((0, 4), np.float32)), out)
    assert e.evaluate(_engine.Data(np.empty((0, 4), np.float32), np.empty(0, INT))) == 0.0
    with pytest.raises(ValueError, match="wrong sizes"):
        run(e, _engine.Data(np.empty((0, 4), np.float32), np.empty(0, INT)), 1, 1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [24, 2600])
def test_losses_and_penalties_may_be_divided_by_the_sum_of_weights(
    weighted: bool, rows: int
) -> None:
    """Steps with one or many micro-batches, and passes over all rows, agree with NumPy."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 3)), rng.standard_normal((rows, 2))
    weight = rng.uniform(0.5, 2.0, rows) if weighted else None
    data = _engine.Data(x, y, weight)
    stack = [layers.Dense(2, kernel_regularizer=nnfast.regularizers.L2(0.7))]
    results = []
    for threads in THREADS:
        _engine.force_threads(threads)
        try:
            e = engine(stack, 3, "float64", optimizer=optimizers.SGD())
            start = e.params.copy()
            kind = _engine.LOSSES["mean_squared_error"]
            e.set_loss(kind, False, value_scale=0.5, gradient_scale=1.0, weighted_mean=True)
            values = e.evaluate(data), e.loss_and_grad(data)
            gradient = e.grads.copy()
            half = rows // 2
            batch = rows - half
            step_losses = run(e, data, 2, batch, shuffle=False, lr=0.1)
            results.append((values, gradient, step_losses, e.params.copy()))
        finally:
            _engine.force_threads(0)
    w = np.ones(rows) if weight is None else weight

    def objective(theta: NDArray[Any], at: slice) -> tuple[float, NDArray[Any]]:
        kernel, bias = theta[:6].reshape(3, 2), theta[6:]
        error = x[at] @ kernel + bias - y[at]
        total = w[at].sum()
        value = w[at] @ (error**2).mean(axis=1) * 0.5 + 0.7 * (kernel**2).sum()
        dz = error * w[at][:, None]  # 2 · error, divided by the two outputs
        derivative = np.concatenate([(x[at].T @ dz + 1.4 * kernel).ravel(), dz.sum(axis=0)])
        return value / total, derivative / total

    value, full_gradient = objective(start, slice(rows))
    theta, expected = start, []
    for at in (slice(batch), slice(batch, rows)):
        loss, g = objective(theta, at)
        expected.append(loss)
        theta = theta - 0.1 * g
    for values, gradient, step_losses, params in results:
        np.testing.assert_allclose(values, value, rtol=1e-12)
        np.testing.assert_allclose(gradient, full_gradient, rtol=1e-10)
        np.testing.assert_allclose(step_losses, expected, rtol=1e-10)
        np.testing.assert_allclose(params, theta, rtol=1e-10)
        assert all(
            (a == b).all()
            for a, b in zip(results[0][1:], (gradient, step_losses, params), strict=True)
        )


def test_sample_weights_that_sum_to_zero_change_no_parameters() -> None:
    rng = np.random.default_rng(0)
    data = _engine.Data(rng.standard_normal((8, 3)), rng.standard_normal((8, 2)), np.zeros(8))
    e = engine([layers.Dense(2)], 3, "float64", optimizer=optimizers.SGD())
    e.set_loss(_engine.LOSSES["mean_squared_error"], False, weighted_mean=True)
    before = e.params.copy()
    assert (run(e, data, 1, 8) == 0).all()
    assert e.loss_and_grad(data) == 0
    assert (e.params == before).all()
    assert (e.grads == 0).all()


def test_the_loss_of_a_row_is_clipped_to_its_limit() -> None:
    x, y = np.ones((2, 1)), np.array([[0.0], [1000.0]])
    e = engine([layers.Dense(1)], 1, "float64")
    e.params[:] = 0
    e.set_loss(_engine.LOSSES["mean_squared_error"], False, value_scale=0.5, limit=30.0)
    assert e.evaluate(_engine.Data(x, y)) == 15.0
    assert e.loss_and_grad(_engine.Data(x, y, np.array([1.0, 3.0]))) == 45.0
    assert (e.grads == -3000).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_poisson_deviance_takes_the_logarithm_of_the_rate(dtype: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((40, 5)).astype(dtype)
    y = rng.poisson(2.0, (40, 5)).astype(dtype)
    gradient = np.empty_like(z)
    kind = _engine.LOSSES["poisson_log"]
    value = _engine.core.loss(kind, (), y, z, np.ones(40), gradient)
    z, y = z.astype(float), y.astype(float)
    expected = np.exp(z) - y * z + np.where(y > 0, y * np.log(np.maximum(y, 1)) - y, 0)
    assert value == pytest.approx(expected.mean(), rel=1e-5 if dtype == "float32" else 1e-13)
    derivative = (np.exp(z) - y) / z.size
    np.testing.assert_allclose(gradient, derivative, rtol=1e-4, atol=1e-7)
