"""Modules import only from lower levels, and `import nnfast` loads little."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import nnfast

PACKAGE = Path(nnfast.__file__).parent

# From bottom to top, as in docs/design.md. A module imports only from its own or lower levels.
LEVELS = [
    {"_version", "_utils"},
    {"_engine"},
    {"activations", "losses", "optimizers", "initializers", "regularizers", "constraints"}
    | {"plotting", "datasets", "convert"},
    {"_plan", "_data", "callbacks"},
    {"layers", "metrics", "kernels"},
    {"_runtime"},
    {"models", "estimators"},
    {"keras"},
    {"__init__"},
    {"demo", "cli"},
]
LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}


def imported(path: Path) -> set[str]:
    """Return the package's modules that a file imports, even in functions or for type checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("nnfast")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for alias in node.names if module.partition(".")[0] == "nnfast" else ():
                name = f"{module}.{alias.name}"
                found.add(name if name in MODULES else module)
    return found


def _top(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {_module(path) for path in FILES}


def test_every_module_has_a_floor() -> None:
    assert len(LEVELS) <= 10
    assert {_top(module) for module in MODULES} == LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_go_down(path: Path) -> None:
    own = _top(_module(path))
    upwards = {name for name in imported(path) if LEVEL[_top(name)] > LEVEL[own]}
    assert not upwards, f"{_module(path)} imports from above: {sorted(upwards)}"


def test_imports_have_no_cycles() -> None:
    modules = {_module(path): imported(path) - {_module(path)} for path in FILES}
    list(TopologicalSorter(modules).static_order())  # raises a CycleError that names the cycle
    folders: dict[str, set[str]] = {}
    for module, names in modules.items():
        own = _top(module)
        folders.setdefault(own, set()).update({_top(name) for name in names} - {own})
    list(TopologicalSorter(folders).static_order())


def test_names_that_cross_modules_have_no_underscore() -> None:
    """Modules are exempt: `from nnfast import _engine`."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nnfast"):
                names = {f"{node.module}.{alias.name}" for alias in node.names} - MODULES
                private = {name for name in names if name.rpartition(".")[2][:1] == "_"}
                assert private <= {"nnfast._version.__version__"}, f"{path}: {private}"


def test_the_parser_finds_every_import(tmp_path: Path) -> None:
    """The tests above rely on this parser."""
    source = tmp_path / "some.py"
    source.write_text(
        "import nnfast.demo\n"
        "from nnfast import models, Sequential\n"
        "def f():\n    from nnfast.layers import Dense\n"
        "if TYPE_CHECKING:\n    from nnfast import cli\n"
        "import numpy\n"
    )
    expected = {"nnfast", "nnfast.demo", "nnfast.models", "nnfast.layers", "nnfast.cli"}
    assert imported(source) == expected


def test_the_root_folder_has_only_public_modules() -> None:
    files = [path for path in PACKAGE.iterdir() if path.is_file() and path.suffix != ".pyc"]
    assert len(files) <= 14, sorted(path.name for path in files)
    underscored = {path.name for path in files if path.name.startswith("_")}
    assert underscored == {"__init__.py", "_version.py"}


def test_only_estimators_and_wrappers_import_scikit_learn_at_module_level() -> None:
    """Other modules import scikit-learn inside functions, for its data sets."""
    found = {
        path.parent.relative_to(PACKAGE).as_posix()
        for path in FILES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for inner in ast.walk(node)
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Try)) and _imports(inner, "sklearn")
    }
    assert found == {"estimators", "keras/wrappers"}


def _imports(node: ast.AST, package: str) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.partition(".")[0] == package for name in names)


def fresh(code: str) -> str:
    """Return the output of a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=PACKAGE.parent
    )
    return done.stdout


def test_import_loads_no_package_but_numpy() -> None:
    code = (
        "import sys, json; before = set(sys.modules); import nnfast.keras; "
        # Cython also registers its shared types under a short name; __name__ has the full one.
        "names = {getattr(sys.modules[m], '__name__', m) for m in set(sys.modules) - before}; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in names})))"
    )
    loaded = set(json.loads(fresh(code))) - set(sys.stdlib_module_names)
    third_party = {name for name in loaded if not name.startswith(("_cython", "cython_runtime"))}
    assert third_party == {"nnfast", "numpy"}


@pytest.mark.parametrize(
    "module",
    [
        *["argparse", "difflib", "gzip", "pathlib", "subprocess"],
        *["safetensors", "matplotlib", "rich"],
    ],
)
def test_import_does_not_load_heavy_modules(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    code = (
        "import sys, numpy; before = set(sys.modules); import nnfast.keras; "
        f"print({module!r} in set(sys.modules) - before)"
    )
    assert fresh(code).strip() == "False"


def test_programs_for_keras_run() -> None:
    code = (
        "from nnfast.keras import layers, tf\n"
        "from nnfast.keras.layers import Dense\n"
        "from nnfast.keras.models import Sequential\n"
        "from nnfast.keras.optimizers import Adam\n"
        "assert Dense is tf.keras.layers.Dense is layers.Dense\n"
        "model = tf.keras.Sequential([tf.keras.Input(shape=(2,)), tf.keras.layers.Dense(1)])\n"
        "assert isinstance(model, Sequential)\n"
        "model.compile(optimizer=tf.keras.optimizers.Adam(0.1), loss='mse')\n"
        "print(model.fit([[0, 1], [1, 0]], [1, 0], epochs=2, verbose=0).epoch)\n"
    )
    assert fresh(code).strip() == "[0, 1]"


@pytest.mark.parametrize(
    "code",
    [
        "import nnfast.keras as keras",
        "from nnfast import keras",
        "import nnfast.keras.layers; keras = nnfast.keras",
        "from nnfast.keras.layers import Dense; import nnfast; keras = nnfast.keras",
        "from nnfast.keras import tf; keras = tf.keras",
        "import nnfast as tf; keras = tf.keras",
    ],
)
def test_keras_modules_export_the_classes_of_the_package(code: str) -> None:
    fresh(
        f"{code}; import sys, nnfast; assert keras is nnfast.keras is sys.modules['nnfast.keras']; "
        "from nnfast.keras.layers import Dense; from nnfast.keras.models import Sequential; "
        "assert Dense is keras.layers.Dense is nnfast.layers.Dense; "
        "assert Sequential is keras.Sequential is nnfast.Sequential"
    )


STAR_IMPORTED = {
    "datasets": {
        *("boston_housing", "california_housing", "cifar10", "cifar100", "fashion_mnist"),
        *("imdb", "mnist", "reuters"),
    },
    "optimizers": {"schedules"},
    "preprocessing": {"image", "sequence", "text"},
    "wrappers": {"scikit_learn"},
}


KERAS_MODULES = {path.stem for path in (PACKAGE / "keras").iterdir()} & {*nnfast.keras.__all__}


@pytest.mark.parametrize("name", sorted(KERAS_MODULES - {"tf"}))
def test_star_imports_of_keras_modules_bring_no_helpers(name: str) -> None:
    """Programs write ``from keras.utils import *``, and have variables called `images` or `os`."""
    if name == "wrappers":
        pytest.importorskip("sklearn")
    found: dict[str, object] = {}
    exec(f"from nnfast.keras.{name} import *", found)
    del found["__builtins__"]
    modules = {key for key, value in found.items() if isinstance(value, ModuleType)}
    assert modules == STAR_IMPORTED.get(name, set())
    homes = {getattr(found[key], "__module__", "nnfast") for key in found.keys() - modules}
    assert {home.partition(".")[0] for home in homes} <= {"nnfast"}


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'nnfast' has no attribute 'Sequental'"):
        _ = nnfast.Sequental
    with pytest.raises(ImportError, match="cannot import name 'Sequental'"):
        exec("from nnfast import Sequental")


def test_public_names_exist() -> None:
    missing = [name for name in nnfast.__all__ if not hasattr(nnfast, name)]
    assert not missing
    assert set(nnfast.__all__) <= set(dir(nnfast))
    assert nnfast.__version__ == importlib.import_module("nnfast._version").__version__


def test_typing_marker_is_installed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def private_uses(source: str) -> set[str]:
    """Return the private attributes that a module reads from a variable called `model`."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and (getattr(node.value, "id", "") == "model" or getattr(node.value, "attr", "") == "model")
    }


def test_only_its_own_modules_use_private_methods_of_a_model() -> None:
    """Training loops, callbacks, files and estimators use the public interface."""
    own = {f"nnfast.models.{name}" for name in ("model", "sequential", "serialization", "topology")}
    found = {
        name: uses
        for path in FILES
        if (name := _module(path)) not in own
        and (uses := private_uses(path.read_text(encoding="utf-8")))
    }
    assert not found
    assert private_uses("model._claim(); self.model._pull(); model.fit()") == {"_claim", "_pull"}
