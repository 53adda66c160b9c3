"""How many threads a model may use: settings, quotas of control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nnfast
from nnfast import layers
from nnfast._engine import cgroup, core

X = np.random.default_rng(0).standard_normal((4096, 64), np.float32)


@pytest.fixture
def machine() -> Iterator[None]:
    """Let a test say what the machine allows, and undo it."""
    yield
    core.set_machine_threads(cgroup.cpu_limit() or 0)
    nnfast.set_num_threads(None)


def team(model: nnfast.Sequential) -> int:
    """Return the threads that a big enough fit may use."""
    model.compile("sgd", "mse")
    model.fit(X, X, batch_size=len(X), verbose=0)
    assert model._engine is not None
    return model._engine.team


def wide() -> nnfast.Sequential:
    return nnfast.Sequential([layers.Dense(256, input_dim=64), layers.Dense(64)])


def test_a_model_may_have_fewer_threads() -> None:
    model = wide()
    assert model.n_threads is None
    assert team(model) == nnfast.get_num_threads()
    model.n_threads = 1
    assert team(model) == 1
    model.add(layers.Dense(64))  # a new engine keeps to it
    assert team(model) == 1
    model.n_threads = None
    assert team(model) == nnfast.get_num_threads()
    for wrong in (0, -1, 1.5, "two"):
        with pytest.raises((TypeError, ValueError), match="n_threads"):
            model.n_threads = wrong  # type: ignore[assignment]


def test_the_machine_limits_only_where_nobody_chose(machine: None) -> None:
    most = core.get_threads()
    core.set_machine_threads(1)
    assert nnfast.get_num_threads() == team(wide()) == 1
    nnfast.set_num_threads(most)
    assert nnfast.get_num_threads() == most


def groups(root: Path, lines: str, files: dict[str, str]) -> Path:
    """Write what a kernel would show below `root`."""
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
def test_quotas(tmp_path: Path, lines: str, files: dict[str, str], expected: int | None) -> None:
    assert cgroup.cpu_limit(str(groups(tmp_path, lines, files))) == expected
