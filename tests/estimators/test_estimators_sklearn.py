"""scikit-learn's estimator checks, and its tests of MLPs, run on the estimators of nnfast."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks

import nnfast
from nnfast import MLPClassifier, MLPRegressor

TESTS = Path(__file__).parent
# The folder of the package under test: this checkout or an installed copy.
PACKAGE = str(Path(nnfast.__file__).parents[1])

FORMS = [
    form
    for kind in (MLPClassifier, MLPRegressor)
    for form in (
        kind(),
        kind(solver="lbfgs"),
        kind(solver="sgd"),
        kind(max_iter=100, normalization="layer"),
    )
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(FORMS)
def test_scikit_learns_estimator_checks_pass(estimator, check):
    check(estimator)


def test_scikit_learns_mlp_tests_pass_on_nnfast(tmp_path):
    mlp_tests = Path(sklearn.__file__).parent / "neural_network/tests/test_mlp.py"
    if not mlp_tests.is_file():
        pytest.skip("scikit-learn is installed without its tests")
    paths = [str(TESTS), PACKAGE, os.environ.get("PYTHONPATH", "")]
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "sklearn_plugin", "-p", "no:cacheprovider"),
        *("--rootdir", str(tmp_path), "-c", os.devnull, str(mlp_tests)),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) >= 40
    assert "failed" not in done.stdout


def test_the_plugin_replaces_the_classes_that_scikit_learns_tests_import(tmp_path):
    """A small test module checks which classes it imports."""
    program = tmp_path / "test_seen.py"
    program.write_text(
        "import pytest\n"
        "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
        "@pytest.mark.parametrize('kind', [MLPClassifier, MLPRegressor])\n"
        "def test_seen(kind):\n    assert kind.__module__.startswith('nnfast.')\n"
    )
    paths = [str(TESTS), PACKAGE]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "sklearn_plugin", str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout
