"""Files, functions and parameter lists are short enough to read in one go."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nnfast

PACKAGE = Path(nnfast.__file__).parent

FILE_LINES = 600
FUNCTION_LINES = 40
PARAMETERS = 8

# Docstrings do not count here: they document the whole interface of models.
LONG_BY_DOCSTRINGS = {"nnfast.models.model"}

# "module" or "module:qualified name": the reason why it may be longer.
EXCEPTIONS: dict[str, str] = {
    "nnfast.layers.multi_head_attention:MultiHeadAttention.__call__": "the arguments are Keras'",
}


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def too_large(module: str, source: str, prescribed: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the size of everything in a module that is too large.

    prescribed: functions, as "module:qualified name", whose parameters follow Keras or
    scikit-learn and are not counted.
    """
    tree = ast.parse(source)
    # True for each line that contains code.
    code = [bool(line.strip()) and not line.strip().startswith("#") for line in source.splitlines()]
    docstrings = set(_docstring_lines(tree))
    length = len(code) - (len(docstrings) if module in LONG_BY_DOCSTRINGS else 0)
    if length > FILE_LINES:
        yield module, f"{length} lines"
    for qualified, function in _functions(tree):
        name = f"{module}:{qualified}"
        body = range(function.body[0].lineno, (function.end_lineno or 0) + 1)
        lines = sum(code[number - 1] and number not in docstrings for number in body)
        if lines > FUNCTION_LINES:
            yield name, f"{lines} lines"
        count = len(_parameters(function))
        if count > PARAMETERS and name not in prescribed:
            yield name, f"{count} parameters"


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the ``__qualname__`` and the node of every function below a node."""
    for child in ast.iter_child_nodes(node):
        inside = prefix
        if isinstance(child, Function):
            yield prefix + child.name, child
            inside = f"{prefix}{child.name}.<locals>."
        elif isinstance(child, ast.ClassDef):
            inside = f"{prefix}{child.name}."
        yield from _functions(child, inside)


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, Function)) and ast.get_docstring(node):
            text = node.body[0]
            yield from range(text.lineno, (text.end_lineno or 0) + 1)


def _parameters(function: Function) -> list[str]:
    """Return the names of the parameters without `self` and `cls`; *args counts as one."""
    args = function.args
    names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    names += [a.arg for a in (args.vararg, args.kwarg) if a is not None]
    return [name for name in names if name not in ("self", "cls")]


def prescribed_functions() -> set[str]:
    """Return the exported functions, and the public methods of exported classes.

    Their signatures follow Keras and scikit-learn. Constructors are included, also those that a
    private base class defines.
    """
    found = set()
    for exported in _exported():
        members = inspect.getmembers(exported) if inspect.isclass(exported) else [("", exported)]
        for name, member in members:
            function = inspect.unwrap(member)
            if inspect.isroutine(function) and (name == "__init__" or name[:1] != "_"):
                code = getattr(function, "__code__", None)  # only Python functions have one
                found |= {f"{function.__module__}:{code.co_qualname}"} if code else set()
    return found


def _exported() -> Iterator[Any]:
    """Yield the classes and functions of the public modules."""
    for name in FILES:
        # Programs import from the modules of nnfast.keras at any depth.
        if "._" in name or (name.count(".") > 1 and not name.startswith("nnfast.keras.")):
            continue
        module = importlib.import_module(name)
        listed = getattr(module, "__all__", None)
        for key, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__ and key[:1] != "_"
            if key in listed if listed is not None else own:
                yield thing


@pytest.fixture(scope="module")
def too_large_names() -> dict[str, str]:
    """Return the name and the size of everything in the package that is too large."""
    prescribed = prescribed_functions()
    return {
        name: size
        for module, path in FILES.items()
        for name, size in too_large(module, path.read_text(encoding="utf-8"), prescribed)
    }


def test_files_functions_and_parameter_lists_are_short(too_large_names: dict[str, str]) -> None:
    wrong = {k: v for k, v in too_large_names.items() if k not in EXCEPTIONS}
    assert not wrong


def test_exceptions_are_few_and_needed(too_large_names: dict[str, str]) -> None:
    assert len(EXCEPTIONS) <= 10
    assert all(EXCEPTIONS.values()), "each has a reason"
    assert EXCEPTIONS.keys() <= too_large_names.keys()


FEW = "def f(self, a, b, *, c=1, d=2, **options):\n    return a\n"


def sizes(source: str, module: str = "nnfast._some", prescribed: str = "") -> dict[str, str]:
    return dict(too_large(module, source, {prescribed}))


def test_small_sources_pass() -> None:
    assert not sizes(FEW)
    assert not sizes("x = 1\n" * FILE_LINES)
    assert not sizes("def f():\n" + "    x = 1\n" * FUNCTION_LINES)


def test_long_files_are_found() -> None:
    source = "x = 1\n" * (FILE_LINES + 1)
    assert sizes(source) == {"nnfast._some": "601 lines"}
    described = '"""' + "text\n" * FILE_LINES + '"""\nx = 1\n'
    assert sizes(described) == {"nnfast._some": "602 lines"}
    assert not sizes(described, "nnfast.models.model")
    assert sizes(source, "nnfast.models.model") == {"nnfast.models.model": "601 lines"}


def test_long_methods_and_nested_functions_are_found() -> None:
    lines = ["x = 1"] * (FUNCTION_LINES + 1)
    at_top = "def f(\n    a,\n):\n" + "".join(f"    {line}\n" for line in lines)
    assert sizes(at_top) == {"nnfast._some:f": "41 lines"}
    method = "class A:\n    async def f(self):\n" + "".join(f"        {line}\n" for line in lines)
    assert sizes(method) == {"nnfast._some:A.f": "41 lines"}
    inner = "def f():\n    if x:\n        def g():\n" + "".join(f"            {s}\n" for s in lines)
    assert sizes(inner) == {"nnfast._some:f": "43 lines", "nnfast._some:f.<locals>.g": "41 lines"}


def test_comments_docstrings_and_blank_lines_do_not_count() -> None:
    half = "    x = 1\n" * (FUNCTION_LINES // 2)
    described = f'def f():\n    """Text.\n\n    Text.\n    """\n{half}\n    # text\n{half}'
    assert not sizes(described)
    assert sizes(described + "    return 1  # text\n") == {"nnfast._some:f": "41 lines"}


def test_long_lists_of_parameters_are_found() -> None:
    names = ", ".join(f"a{i}" for i in range(PARAMETERS))
    assert not sizes(f"class A:\n    def f(self, {names}): ...\n")
    for more in ("b", "*args", "**kwargs", "*, b=1"):
        method = f"class A:\n    def f(self, {names}, {more}): ...\n"
        assert sizes(method) == {"nnfast._some:A.f": "9 parameters"}
        assert not sizes(method, prescribed="nnfast._some:A.f")


def test_signatures_of_public_functions_are_prescribed() -> None:
    prescribed = prescribed_functions()
    assert {
        "nnfast.layers.core:Dense.__init__",
        "nnfast.layers.convolution:_Conv.__init__",  # the constructor of Conv1D and Conv2D
        "nnfast.estimators.classifier:MLPClassifier.__init__",
        "nnfast.plotting:learning_curves",
    } <= prescribed
    own = {name.rpartition(":")[2].rpartition(".")[2] for name in prescribed}
    assert {name for name in own if name.startswith("_")} == {"__init__"}
