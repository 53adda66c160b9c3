"""Tests that Ctrl-C and SIGTERM take effect within 0.3 s and leave a usable model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import interrupt_programs
import numpy as np
import pytest

import nnfast
from nnfast import _engine, cli, demo, layers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals")
LIMIT = 0.3


def environment() -> dict[str, str]:
    """Return an environment in which programs import the package under test.

    The package need not be installed.
    """
    package = os.path.dirname(os.path.dirname(nnfast.__file__))
    paths = [package, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.mark.skipif(
    _engine.core.describe(_engine._tables[0])["vector_bytes"] < 16,
    reason="a build without SIMD takes seconds for a step of that network",
)
@pytest.mark.parametrize(
    ("call", "threads"),
    [("fit", 1), ("fit", 2), ("evaluate", 1), ("predict", 2), ("loss_and_grad", 2), ("lbfgs", 1)],
)
def test_ctrl_c_in_the_largest_network_returns_at_once(call: str, threads: int) -> None:
    if call == "lbfgs":
        pytest.importorskip("sklearn")
    program = [sys.executable, interrupt_programs.__file__, call, str(threads)]
    done = subprocess.run(
        program, capture_output=True, text=True, timeout=120, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    step, *late = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert len(late) == interrupt_programs.TIMES
    # A training step is never interrupted; with baseline instructions, a step exceeds the limit.
    limit = max(LIMIT, 0.1 + 1.5 * step[0] / threads)
    print(f"a step takes {step[0] / threads:.3f} s; late:", late)
    for wall, processor in late:
        assert processor / threads < limit
        assert wall < 10 * limit  # Wall time is bounded loosely, because the machine may be busy.


def test_results_do_not_depend_on_where_a_pass_checks_for_ctrl_c() -> None:
    """Between two checks, a large network processes one micro-batch per thread.

    Gradients are computed block by block; a micro-batch has 212 rows here, in two blocks.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1700, 700), np.float32)
    y = rng.integers(0, 3, len(x))
    model = nnfast.Sequential(
        [layers.Dense(1100, activation="tanh", input_dim=700, kernel_regularizer="l2")]
    )
    model.add(layers.Dense(3, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    found = []
    before = _engine.core.set_pass_seconds(0.0)
    try:
        for seconds in (0.0, np.inf):
            _engine.core.set_pass_seconds(seconds)
            for threads in (1, 2, 3):
                _engine.force_threads(threads)
                loss, gradients = model.loss_and_grad(x, y)
                outputs = model.predict(x), model.input_gradient(x, y), *gradients
                found.append([model.evaluate(x, y, verbose=0), loss, *outputs])
    finally:
        _engine.force_threads(0)
        _engine.core.set_pass_seconds(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    evaluated, loss, predicted, _, _, _, dw2, db2 = found[0]
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in model.layers)
    h = np.tanh(x @ w1 + b1)
    z = h @ w2 + b2
    expected = np.exp(z - z.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    value = -np.log(expected[np.arange(len(x)), y]).mean() + 0.01 * (w1**2).sum()
    assert evaluated == pytest.approx(value, rel=1e-4)
    assert loss == pytest.approx(value, rel=1e-4)
    dz = (expected - np.eye(3)[y]) / len(x)
    np.testing.assert_allclose(dw2, h.T @ dz, atol=1e-5)
    np.testing.assert_allclose(db2, dz.sum(axis=0), atol=1e-5)


def test_sigterm_ends_the_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(epochs: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5.0)

    monkeypatch.setattr(demo, "digits", task)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "nnfast: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


COMMAND = """
import sys
from nnfast import cli, demo

train = demo._train
demo._train = lambda task: (print("trains", flush=True), train(task))[1]
sys.exit(cli.main(["demo", "--epochs", "1000000"]))
"""


def test_sigterm_ends_the_command_while_it_trains() -> None:
    for extra in ("sklearn", "matplotlib", "rich"):
        pytest.importorskip(extra)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", COMMAND],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "trains\n"
        time.sleep(0.3)
        sent = time.perf_counter()
        command.terminate()
        _, errors = command.communicate(timeout=60)
        late = time.perf_counter() - sent
    assert errors.endswith("nnfast: interrupted\n")
    assert command.returncode == 130
    print(f"{late:.2f} s")
    assert late < 10 * LIMIT  # This includes the exit of the interpreter on a busy machine.
