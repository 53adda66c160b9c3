"""Settings, cgroup quotas and timings limit a model's threads without affecting its results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, layers
from nnfast._engine import core
from nnfast._engine.machine import cgroup

X = np.random.default_rng(0).standard_normal((4096, 64), np.float32)


@pytest.fixture
def machine() -> Iterator[None]:
    """After the test, reset the thread counts set for the machine and by the user."""
    yield
    core.set_machine_threads(cgroup.cpu_limit() or 0)
    nnfast.set_num_threads(None)


def team(model: nnfast.Sequential) -> int:
    """Return the number of threads that a large fit may use."""
    model.compile("sgd", "mse")
    model.fit(X, X, batch_size=len(X), verbose=0)
    assert model._network is not None
    return model._network.engine.team


def wide() -> nnfast.Sequential:
    return nnfast.Sequential([layers.Dense(256, input_dim=64), layers.Dense(64)])


def test_n_threads_limits_the_threads_of_a_model() -> None:
    model = wide()
    assert model.n_threads is None
    assert team(model) == nnfast.get_num_threads()
    model.n_threads = 1
    assert team(model) == 1
    model.add(layers.Dense(64))  # a new engine keeps the setting
    assert team(model) == 1
    model.n_threads = None
    assert team(model) == nnfast.get_num_threads()
    for wrong in (0, -1, 1.5, "two"):
        with pytest.raises((TypeError, ValueError), match="n_threads"):
            model.n_threads = wrong  # type: ignore[assignment]


def test_the_quota_of_the_machine_is_only_the_default(machine: None) -> None:
    most = core.get_threads()
    core.set_machine_threads(1)
    assert nnfast.get_num_threads() == team(wide()) == 1
    nnfast.set_num_threads(most)
    assert nnfast.get_num_threads() == most


def groups(root: Path, lines: str, files: dict[str, str]) -> Path:
    """Write cgroup files below `root` as a Linux kernel shows them; return `root`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "cpu.max": "10000 100000"}, 1),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, None),
        ("0::/a\n", {"a/cpu.max": "300000 0"}, None),
        (
            "4:cpuacct,cpu:/x\n3:memory:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "250000", "cpu/x/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("1:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("garbage\n", {}, None),
    ],
)
def test_quotas_of_control_groups_limit_threads(
    tmp_path: Path, lines: str, files: dict[str, str], expected: int | None
) -> None:
    assert cgroup.cpu_limit(str(groups(tmp_path, lines, files))) == expected


def simulate(alone: float, together: list[float], gap: float = 0.01) -> list[int]:
    """Return the number of threads chosen for each pass.

    With one thread a pass takes `alone` seconds; `together` lists the seconds per pass with two.
    """
    trial, now, chosen = core.PassTrial(), 100.0, []
    for seconds in together:
        threads = trial.choose(2, now)
        took = seconds if threads == 2 else alone
        trial.note(threads, took, 1e6, now)
        chosen.append(threads)
        now += took + gap
    return chosen


def test_a_team_that_is_faster_is_used() -> None:
    """Occasional trials with one thread cost less than 2 % of the time."""
    chosen = simulate(0.01, [0.006] * 3000)
    assert chosen[:2] == [2, 1]
    assert sum(n == 1 for n in chosen) * 0.004 < 0.02 * 3000 * 0.006


def test_a_team_that_was_slower_is_tried_again() -> None:
    """Another program occupies the machine for a while."""
    chosen = simulate(0.01, [0.006] * 100 + [0.02] * 1000 + [0.006] * 1000)
    assert chosen[100:102] == [2, 1]
    busy, free = chosen[102:1100], chosen[1100:]
    assert 0 < sum(n == 2 for n in busy) < 30
    assert sum(n == 1 for n in free[100:]) < 30


def test_one_slow_pass_does_not_disable_the_team() -> None:
    chosen = simulate(0.01, [0.006] * 500 + [0.1] + [0.006] * 500)
    assert sum(n == 1 for n in chosen[501:]) < 60


def test_thread_settings_take_precedence_over_measurements() -> None:
    trial = core.PassTrial()
    assert trial.choose(1, 0.0) == 1
    trial.note(2, 9.0, 1e6, 1.0)
    trial.note(1, 1.0, 1e6, 2.0)
    assert trial.choose(3, 3.0) == 1
    core.force_threads(3)
    try:
        assert trial.choose(3, 3.0) == 3
    finally:
        core.force_threads(0)


# Zeros are not spread evenly over the rows here. Threads that share a batch (for a batch
# normalization or a user-defined loss) decide by their own rows whether to skip zeros, which must
# not change the results.


def draw_layers(rng: np.random.Generator) -> list[layers.Layer]:
    """Return random layers, several of which skip zeros in the backward pass."""
    made: list[layers.Layer] = [layers.BatchNormalization()] if rng.random() < 0.5 else []
    if rng.random() < 0.7:
        made.insert(0, layers.Input((int(rng.integers(4, 9)), 7, int(rng.choice([3, 16, 33])))))
        for _ in range(2):
            kernel = (int(rng.integers(1, 4)), int(rng.integers(2, 4)))
            filters, activation = int(rng.choice([8, 17, 32])), str(rng.choice(["relu", "linear"]))
            made.append(layers.Conv2D(filters, kernel, padding="same", activation=activation))
            others: list[Any] = [
                *(layers.MaxPooling2D, layers.AveragePooling2D, layers.BatchNormalization),
                *(layers.LayerNormalization, lambda: layers.DepthwiseConv2D(2)),
                lambda: layers.Conv2DTranspose(9, 3, padding="same"),
                *(lambda: layers.PReLU(shared_axes=[1, 2]), lambda: layers.GroupNormalization(1)),
            ]
            if rng.random() < 0.5:
                made.append(others[rng.integers(len(others))]())
        made.append(layers.Flatten())
    else:
        made.insert(0, layers.Input((int(rng.choice([20, 64, 300])),)))
        made.append(layers.Dense(int(rng.choice([17, 130])), "relu"))
        made.append(layers.LayerNormalization())
    return [*made, layers.Dense(int(rng.choice([16, 100])), "relu"), layers.Dense(5)]


def squares(y: NDArray[Any], p: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return ((p - y) ** 2).mean(axis=1), 2 * (p - y) / p.shape[1]


def trained_with(threads: int, seed: int, dtype: str) -> list[NDArray[Any]]:
    """Return losses, weights and gradients; some rows have weight 0, others are mostly zeros."""
    rng = np.random.default_rng(seed)
    nnfast.set_seed(seed)
    model = nnfast.Sequential(draw_layers(rng), dtype=dtype)
    rows = int(rng.choice([20, 61, 200]))
    x = rng.normal(size=(rows, *model.input_shape[1:]))
    few = slice(*sorted(rng.integers(0, rows + 1, 2)))
    x[few][rng.random(x[few].shape) < 0.8] = 0.0
    weight = np.ones(rows)
    weight[slice(*sorted(rng.integers(0, rows + 1, 2)))] = 0.0
    model.compile("adam", squares if rng.random() < 0.5 else "mse")
    _engine.force_threads(threads)
    y = rng.normal(size=(rows, 5))
    history = model.fit(x, y, rows, 2, sample_weight=weight, shuffle=False, verbose=0)
    return [np.array(history.history["loss"]), *model.get_weights(), model.input_gradient(x, y)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_do_not_depend_on_threads_if_some_rows_are_sparse(dtype: str) -> None:
    try:
        for seed in range(12):
            first = trained_with(1, seed, dtype)
            assert all(np.isfinite(a).all() for a in first)
            for threads in (2, 3, 4, 7):
                for a, b in zip(first, trained_with(threads, seed, dtype), strict=True):
                    assert_array_equal(a, b, err_msg=f"seed {seed}, {threads} threads")
    finally:
        _engine.force_threads(0)
