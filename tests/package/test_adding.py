"""Adding an activation, a loss, an optimizer or a layer changes only what CONTRIBUTING names.

Each of them is added to a copy of the package, in those places only. The copy is built for one
instruction set, and the tests that are parametrized over the tables are run on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.build


class Checkout:
    """A copy of the package and its tests that counts the places where code is added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: Counter[str] = Counter()
        self.new: set[str] = set()
        ignore = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        for name in ("nnfast", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)

    def add(self, name: str, after: str, code: str) -> None:
        """Insert code after a text that occurs once in a file."""
        path = self.folder / name
        text = path.read_text("utf-8")
        assert text.count(after) == 1, (name, after)
        path.write_text(text.replace(after, after + code), "utf-8")
        self.places[name] += 1

    def create(self, name: str, code: str) -> None:
        (self.folder / name).write_text(code, "utf-8")
        self.places[name] += 1
        self.new.add(name)

    def counted(self) -> tuple[int, int, int]:
        """Return the numbers of changed places, changed files and new files; reset the counts."""
        package = {name: n for name, n in self.places.items() if name.startswith("nnfast/")}
        counts = sum(package.values()), len(package), len(self.new)
        self.places.clear()
        self.new.clear()
        return counts

    def run(self, *arguments: str, **environment: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), **environment},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


ENUMS = "nnfast/_engine/core.pxd"
ACTIVATION_KERNELS = "nnfast/_engine/kernels/activations.pxi"
LOSS_KERNELS = "nnfast/_engine/kernels/losses.pxi"
OPTIMIZER_KERNELS = "nnfast/_engine/kernels/optimizers.pxi"
RULES = "nnfast/optimizers/rules.py"
ENGINE = "nnfast/_engine"


def add_activation(checkout: Checkout) -> None:
    """Add the activation f(z) = max(0, z)², whose derivative is 2·√f."""
    checkout.add(ENUMS, "    ACT_EXPONENTIAL\n", "    ACT_SQUARED_RELU\n")
    checkout.add(
        ACTIVATION_KERNELS,
        "    elif activation == ACT_EXPONENTIAL:\n        return v_exp(z)\n",
        "    elif activation == ACT_SQUARED_RELU:\n"
        "        return vmax(vsplat(0), z) * vmax(vsplat(0), z)\n",
    )
    checkout.add(
        ACTIVATION_KERNELS,
        "    elif activation == ACT_EXPONENTIAL:\n        return v\n",
        "    elif activation == ACT_SQUARED_RELU:\n        return vsplat(2) * vsqrt(v)\n",
    )
    checkout.add(
        ACTIVATION_KERNELS,
        "        map_rows(backward, ACT_EXPONENTIAL, a, z, y, dy, out)\n",
        "    elif activation == ACT_SQUARED_RELU:\n"
        "        map_rows(backward, ACT_SQUARED_RELU, a, z, y, dy, out)\n",
    )
    checkout.add(
        "nnfast/activations.py",
        'exponential = Activation("exponential")\n',
        'squared_relu = Activation("squared_relu")\n',
    )
    checkout.add("nnfast/activations.py", '    "squareplus",\n', '    "squared_relu",\n')
    # The forward and the backward table of the reference.
    table = checkout.folder / "tests" / "reference.py"
    text = table.read_text("utf-8")
    forward, backward = text.split("# name: f'(z)", 1)
    line = '    "exponential": np.exp,\n'
    forward = forward.replace(
        line, line + '    "squared_relu": lambda z: np.maximum(z, 0.0) ** 2,\n'
    )
    backward = backward.replace(
        line, line + '    "squared_relu": lambda z: 2.0 * np.maximum(z, 0.0),\n'
    )
    table.write_text(forward + "# name: f'(z)" + backward, "utf-8")


def add_loss(checkout: Checkout) -> None:
    """Add the loss that is the mean of (ŷ − y)⁴ over the outputs."""
    checkout.add(ENUMS, "    LOSS_HINGE\n", "    LOSS_QUARTIC\n")
    checkout.add(
        LOSS_KERNELS,
        "        return vmax(vsplat(0), vsplat(1) - y * a)\n",
        "    elif kind == LOSS_QUARTIC:\n        return d * d * (d * d)\n",
    )
    checkout.add(
        LOSS_KERNELS,
        "        return vselect(vgt(vsplat(1), y * a), -y, vsplat(0))\n",
        "    elif kind == LOSS_QUARTIC:\n        return vsplat(4) * d * d * d\n",
    )
    checkout.add(
        LOSS_KERNELS,
        "        mean_loss(LOSS_HINGE, o, a[0], y, weight, scale, da, value)\n",
        "    elif o.kind == LOSS_QUARTIC:\n"
        "        mean_loss(LOSS_QUARTIC, o, a[0], y, weight, scale, da, value)\n",
    )
    checkout.add(
        "nnfast/losses/functional.py",
        "    return _mean(np.square(outputs - targets))\n",
        "\n\ndef quartic(y_true: ArrayLike, y_pred: ArrayLike) -> Any:\n"
        '    """Return the mean of (ŷ − y)⁴ over the last axis."""\n'
        "    targets, outputs = _pair(y_true, y_pred)\n"
        "    return _mean((outputs - targets) ** 4)\n",
    )
    checkout.add("nnfast/losses/functional.py", '    "poisson",\n', '    "quartic",\n')
    checkout.add(
        "nnfast/losses/regression.py",
        "    formula = staticmethod(functional.mean_squared_error)\n",
        "\n\nclass Quartic(PlainLoss):\n"
        '    """l = mean over the outputs of (ŷ − y)⁴."""\n\n'
        '    kind = "quartic"\n'
        "    formula = staticmethod(functional.quartic)\n",
    )
    checkout.add("nnfast/losses/regression.py", '    "Quantile",\n', '    "Quartic",\n')
    checkout.add(
        "tests/reference.py",
        '    "hinge": lambda d, p, t: (np.maximum(1.0 - t * p, 0.0), '
        "np.where(t * p < 1.0, -t, 0.0)),\n",
        '    "quartic": lambda d, p, t: (d**4, 4.0 * d**3),\n',
    )


def add_optimizer(checkout: Checkout) -> None:
    """Add the optimizer w ← w − η·sign(g), with learning rate η and gradient g."""
    checkout.add(ENUMS, "    OPT_LION\n", "    OPT_SIGNUM\n")
    checkout.add(
        OPTIMIZER_KERNELS,
        "    update_with(lion, 1, s, transform, p)\n",
        """

# ---- sign of the gradient ------------------------------------------------------------------------

cdef int slots_signum(const void* settings) noexcept nogil:
    return 0


cdef void prepare_signum(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                         vreal* constants) noexcept nogil:
    constants[0] = vsplat(<real>lr)


cdef inline vreal signum(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    cdef vreal zero = vsplat(0)
    return w - s.rule[0] * vselect(vgt(g, zero), vsplat(1), vselect(vgt(zero, g), vsplat(-1), g))


cdef void update_signum(const void* settings, const StepConstants* s, const GradientTransform* transform,
                        const ParameterRange* p) noexcept nogil:
    update_with(signum, 0, s, transform, p)
""",
    )
    checkout.add(
        OPTIMIZER_KERNELS,
        "OPTIMIZER_TABLE[<int>OPT_LION] = "
        "OptimizerFunctions(slots_lion, prepare_lion, update_lion)\n",
        "OPTIMIZER_TABLE[<int>OPT_SIGNUM] = "
        "OptimizerFunctions(slots_signum, prepare_signum, update_signum)\n",
    )
    checkout.add(RULES, '    "RMSprop",\n', '    "Signum",\n')
    checkout.add(
        RULES,
        "        return (self.beta_1, self.beta_2)\n",
        """

@dataclass(repr=False, eq=False)
class Signum(Optimizer):
    \"\"\"w ← w − η·sign(g).\"\"\"

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    kind = "signum"

    @property
    def rule_slots(self) -> int:
        return 0

    @property
    def hyper(self) -> tuple[float, ...]:
        return ()
""",
    )
    checkout.add(RULES, '    "lion": Lion,\n', '    "signum": Signum,\n')


def add_layer(checkout: Checkout) -> None:
    """Add the layer y = scale·x³, which has its own op."""
    checkout.create(
        "nnfast/layers/cube.py",
        """from typing import Any, NamedTuple

from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, real
from nnfast.layers.layer import Layer

__all__ = ["Cube"]


class CubeSettings(NamedTuple):
    scale: float


class Cube(Layer):
    _fields = ("scale",)

    def __init__(self, scale: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale = real("scale", scale)

    def infer_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("cube", settings=CubeSettings(self.scale))]
""",
    )
    checkout.create(
        f"{ENGINE}/kernels/cube.pxi",
        """cdef void cube(const Matrix* x, const Matrix* y, double scale) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real v
    for i in range(x.rows):
        for j in range(x.cols):
            v = x.data[i * x.ld + j]
            y.data[i * y.ld + j] = <real>scale * v * v * v


cdef void cube_gradient(const Matrix* x, const Matrix* dz, const Matrix* dx, double scale) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real v
    for i in range(x.rows):
        for j in range(x.cols):
            v = x.data[i * x.ld + j]
            dx.data[i * dx.ld + j] = <real>(3 * scale) * v * v * dz.data[i * dz.ld + j]
""",
    )
    checkout.create(
        f"{ENGINE}/ops/cube.pxi",
        """ctypedef struct CubeSettings:
    double scale


cdef int forward_cube(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef Matrix z = preactivation(shard, op)
    cube(x, &z, (<const CubeSettings*>settings_of(op)).scale)
    return activation


cdef void backward_cube(const Shard* shard, const Op* op) noexcept nogil:
    cdef Matrix x = input_of(shard, op), dz = output_gradient(shard, op), dx = input_gradient(shard, op)
    cube_gradient(&x, &dz, &dx, (<const CubeSettings*>settings_of(op)).scale)
""",
    )
    variant = f"{ENGINE}/variant.pxi"
    checkout.add(variant, 'include "kernels/images.pxi"\n', 'include "kernels/cube.pxi"\n')
    checkout.add(variant, 'include "ops/images.pxi"\n', 'include "ops/cube.pxi"\n')
    checkout.add(
        f"{ENGINE}/ops/table.pxi",
        "cdef OpFunctions* table_row\n",
        """
table_row = add_op(b"cube")
table_row.forward = forward_cube
table_row.backward = backward_cube
""",
    )
    checkout.add(
        "nnfast/layers/__init__.py",
        "from nnfast.layers.core import *\n",
        "from nnfast.layers.cube import *\n",
    )
    checkout.add(
        "tests/every_layer.py",
        "LAYERS: dict[str, Callable[[], layers.Layer]] = {\n",
        '    "Cube": lambda: layers.Cube(0.5),\n',
    )


CUBE = """
import numpy as np
import nnfast

layers = [nnfast.layers.Dense(3, input_dim=4), nnfast.layers.Cube(0.5)]
model = nnfast.Sequential(layers, dtype="float64")
model.compile("sgd", "mse")
rng = np.random.default_rng(0)
x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 3))
np.testing.assert_allclose(model.predict(x), 0.5 * (x @ model.layers[0].kernel) ** 3)
theta = model.get_flat_weights()
gradient = model.loss_and_grad_flat(theta, x, y)[1]
for i in range(theta.size):
    step = np.zeros(theta.size)
    step[i] = 1e-6
    up, down = (model.loss_and_grad_flat(theta + s, x, y)[0] for s in (step, -step))
    np.testing.assert_allclose(gradient[i], (up - down) / 2e-6, rtol=1e-5, atol=1e-8)

layers = [nnfast.layers.Dense(1, input_dim=2, use_bias=False)]
model = nnfast.Sequential(layers, dtype="float64")
model.compile(nnfast.optimizers.Signum(0.25), nnfast.losses.quartic)
model.set_weights([np.array([[1.0], [-1.0]])])
model.train_on_batch(np.array([[1.0, 2.0]]), np.array([[1.0]]))
np.testing.assert_array_equal(model.get_weights()[0], [[1.25], [-0.75]])
"""


def test_parts_are_added_in_few_places(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    add_activation(checkout)
    assert checkout.counted() == (6, 3, 0)
    add_loss(checkout)
    assert checkout.counted() == (8, 4, 0)
    add_optimizer(checkout)
    assert checkout.counted() == (6, 3, 0)
    add_layer(checkout)
    assert checkout.counted() == (7, 6, 3)

    checkout.run(*("setup.py", "-q", "build_ext", "--inplace"), NNFAST_BUILD="base_f32,base_f64")
    checkout.run("-c", CUBE)
    tests = [
        ("squared_relu", "engine/test_kernels.py", "engine/test_gradients.py"),
        ("quartic", "engine/test_gradients.py"),
        ("signum or Signum", "optimizers/test_optimizers.py", "models/test_given_gradients.py"),
        (
            "Cube",
            "models/test_config.py",
            "models/test_fixed_attributes.py",
            "files/test_copies.py",
        ),
        ("test_engine_rooms", "package/test_engine_rooms.py"),
    ]
    for words, *files in tests:
        checkout.run("-m", "pytest", "-q", "-x", "-k", words, *(f"tests/{name}" for name in files))
