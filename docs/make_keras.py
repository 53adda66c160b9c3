"""Write docs/keras.md, which compares the names of nnfast.keras with those of Keras.

``python docs/make_keras.py`` reads the names and signatures of Keras from docs/keras_api.json.
``python docs/make_keras.py --snapshot`` writes that file, and needs Keras. Tests compare the page
with the output of `page`, and the file with that of `snapshot`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import nnfast.keras
from nnfast import activations

FOLDER = Path(__file__).parent
PAGE, SNAPSHOT = FOLDER / "keras.md", FOLDER / "keras_api.json"

# Modules of Keras, and of the names that only programs for tf.keras use.
FAMILIES = (
    *("", "models", "layers", "activations", "losses", "metrics", "optimizers"),
    *("optimizers.schedules", "initializers", "regularizers", "constraints", "callbacks"),
    *("datasets.boston_housing", "datasets.california_housing", "datasets.cifar10"),
    *("datasets.cifar100", "datasets.fashion_mnist", "datasets.imdb", "datasets.mnist"),
    *("datasets.reuters", "preprocessing", "preprocessing.image", "preprocessing.sequence"),
    *("preprocessing.text", "utils", "wrappers", "random", "saving", "config", "backend"),
)
METHODS = "Sequential"
REQUIRED = "required"
UNLISTED = {"autocast"}
UNCOMPARED = {"name"}  # None stands for the name that Keras' default is

# Names of Keras whose arguments agree with nnfast's, but which do something else; or a remark on
# arguments that are missing. coming-from-keras.md has the details.
NOTES = {
    ".KerasTensor": "returned by `Input` and by calls, not made by programs",
    "layers.RandomCrop": "draws separately for each image",
    "layers.RandomFlip": "draws separately for each image",
    "layers.CategoryEncoding": "dense outputs; before the other layers of a model",
    "layers.Discretization": "dense outputs; before the other layers of a model",
    "layers.IntegerLookup": "dense outputs; before the other layers of a model",
    "layers.StringLookup": "dense outputs; before the other layers of a model",
    "layers.TextVectorization": "dense outputs; before the other layers of a model",
    "preprocessing.sequence.skipgrams": "other random numbers; `seed` determines all of them",
    "preprocessing.text.hashing_trick": "the default hash is MD5, not Python's",
    "preprocessing.text.one_hot": "the hash is MD5, not Python's",
    "preprocessing.text_dataset_from_directory": "`max_length` in characters",
    "utils.text_dataset_from_directory": "`max_length` in characters",
    "layers.Softmax": "called without a mask",
    "layers.Resizing": 'interpolates by "nearest" and "bilinear", without antialiasing',
    "layers.UpSampling2D": 'interpolates by "nearest" and "bilinear"',
    "losses.Loss": "a loss of one's own is a function: see `losses.FunctionLoss`",
    "callbacks.EarlyStopping": "`baseline` and NaN as Keras documents them",
    "callbacks.ReduceLROnPlateau": "`cooldown` and NaN as Keras documents them",
    "callbacks.ModelCheckpoint": "files in nnfast's format",
    f"{METHODS}.save": "files in nnfast's format",
    f"{METHODS}.save_weights": "files in nnfast's format",
}

INTRODUCTION = """\
# Names of Keras

Every public name of Keras {version}, and whether a program that uses it runs with `nnfast.keras`.

- **yes**: the name exists, with all arguments and the same defaults.
- **different**: arguments are missing or have another default, or the note says what differs.
- **no**: the name does not exist.

No layer has the argument `autocast`, which is for mixed precision.

[Coming from Keras](coming-from-keras.md) explains the differences. `python docs/make_keras.py`
writes this page."""

HEAD = "| name | there | arguments that are missing | other defaults (Keras) and notes |"


def snapshot() -> dict[str, Any]:
    """Return the names of the installed Keras: its version, and signatures by family and name.

    An alias has ``"= name"`` instead of a signature. Names that only ``tf.keras`` has are in a
    family with the prefix ``"tf.keras."``.
    """
    import keras

    families, older = {}, {}
    for family in FAMILIES:
        # Keras 3 itself no longer has some of the modules.
        current = importlib.util.find_spec(f"keras.{family}".rstrip("."))
        public = _names(_module("keras", family)) if current else {}
        every = _names(_module("keras._tf_keras.keras", family))
        if public:
            families[family] = _signatures(public, public)
        only = every.keys() - public.keys()
        if only:
            older[f"tf.keras.{family}"] = _signatures(public | every, sorted(only))
    methods = (name for name in dir(keras.Sequential) if not name.startswith("_"))
    families[METHODS] = {name: signature(getattr(keras.Sequential, name)) for name in methods}
    return {"version": keras.__version__, "families": families | older}


def _module(root: str, family: str) -> ModuleType:
    return importlib.import_module(f"{root}.{family}".rstrip("."))


def _names(module: ModuleType) -> dict[str, Any]:
    """Return the public functions, classes and constants of a module of Keras."""
    return {
        name: thing
        for name, thing in sorted(vars(module).items())
        if not name.startswith("_") and not inspect.ismodule(thing)
    }


def _signatures(names: dict[str, Any], wanted: Iterable[str]) -> dict[str, str]:
    """Return the signature of each name in `wanted`, or ``"= name"`` if it is an alias."""
    found = {}
    for name in wanted:
        thing = names[name]
        own = getattr(thing, "__name__", name)
        first = own if names.get(own) is thing else next(n for n in names if names[n] is thing)
        found[name] = signature(thing) if first == name else f"= {first}"
    return found


def signature(thing: Any) -> str:
    """Return the signature of a function or class as text, or "" if it has none.

    Layers have the arguments that they pass on to the class Layer, and those of typed options.
    """
    is_class = inspect.isclass(thing)
    try:
        found = inspect.signature(thing.__init__ if is_class else thing)
    except (TypeError, ValueError):
        return ""
    parameters = [
        p.replace(annotation=p.empty, default=p.default if _is_plain(p.default) else ...)
        for p in found.parameters.values()
        if p.name != "self"
    ]
    parameters[-1:] = [*_options(thing, parameters), *parameters[-1:]]
    bases = inspect.getmro(thing)[1:] if is_class else ()
    layer = next((base for base in bases if base.__name__ == "Layer"), None)
    if layer is not None and parameters and parameters[-1].kind == inspect.Parameter.VAR_KEYWORD:
        named = {p.name for p in parameters}
        parameters[-1:] = [
            p.replace(kind=p.KEYWORD_ONLY, annotation=p.empty)
            for p in inspect.signature(layer.__init__).parameters.values()
            if p.name not in named | {"self"} and p.kind != p.VAR_KEYWORD
        ]
    return str(inspect.Signature(parameters)).replace("Ellipsis", "...")


def _options(thing: Any, parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return the arguments of ``**options: Unpack[…]`` that have no parameters of their own."""
    if not parameters or parameters[-1].kind != inspect.Parameter.VAR_KEYWORD:
        return []
    function = thing.__init__ if inspect.isclass(thing) else thing
    annotation = str(getattr(function, "__annotations__", {}).get(parameters[-1].name, ""))
    module = sys.modules.get(getattr(function, "__module__", ""))
    options = getattr(module, annotation.removeprefix("Unpack[").removesuffix("]"), None)
    own = {p.name for p in parameters}
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=...)
        for name in getattr(options, "__annotations__", {})
        if name not in own
    ]


def _is_plain(value: Any) -> bool:
    """Return whether a default is a number, a text or the like, or there is none."""
    try:
        ast.literal_eval(repr(value))
    except (SyntaxError, ValueError):
        return value is inspect.Parameter.empty
    return True


def arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a signature and their defaults, `REQUIRED` if there is none."""
    function: Any = ast.parse(f"def f{text or '()'}: pass").body[0]
    parsed = function.args
    names = [*parsed.posonlyargs, *parsed.args, *parsed.kwonlyargs]
    positional = len(names) - len(parsed.kwonlyargs)
    defaults = [None] * (positional - len(parsed.defaults)) + parsed.defaults + parsed.kw_defaults
    return {
        name.arg: REQUIRED if default is None else ast.literal_eval(default)
        for name, default in zip(names, defaults, strict=True)
    }


def page() -> str:
    """Return the page as Markdown."""
    known = json.loads(SNAPSHOT.read_text("utf-8"))
    lines = [INTRODUCTION.format(version=known["version"])]
    for family, names in known["families"].items():
        lines += ["", f"## {_title(family)}", "", HEAD, "| --- " * HEAD.count(" | ") + "| --- |"]
        lines += [_row(family, names, name) for name in names]
    return "\n".join(lines) + "\n"


def _title(family: str) -> str:
    if family == METHODS:
        return "Methods and attributes of Sequential"
    if family.startswith("tf.keras"):
        return f"Older names, which only {family} has"
    return f"keras.{family}".rstrip(".")


def _row(family: str, names: dict[str, str], name: str) -> str:
    home = family.removeprefix("tf.keras.")
    found = resolve(home, name)
    if found is None:
        return f"| `{name}` | no | | |"
    if names[name].startswith("= "):
        notes, missing = [f"the same as `{names[name][2:]}`"], []
        different = False
    else:
        missing, notes = differences(names[name], found)
        notes += [NOTES[key] for key in (f"{home}.{name}",) if key in NOTES]
        different = bool(missing or notes)
    cells = (", ".join(f"`{a}`" for a in missing), "; ".join(notes))
    there = "different" if different else "yes"
    return " ".join(f"| `{name}` | {there} | {cells[0]} | {cells[1]} |".split())


def resolve(family: str, name: str) -> Any:
    """Return the object of nnfast that has a name of Keras, or None."""
    if family == METHODS:
        return getattr(nnfast.keras.Sequential, name, None)
    try:
        return getattr(_module("nnfast.keras", family), name, None)
    except ModuleNotFoundError:
        return None


def differences(text: str, thing: Any) -> tuple[list[str], list[str]]:
    """Return the arguments that nnfast lacks, and notes on other defaults."""
    expected = arguments(text)
    if isinstance(thing, activations.Activation):
        actual = {"x": REQUIRED, **activations.ARGUMENTS.get(thing.name, {})}
    else:
        actual = arguments(signature(thing))
    missing = [name for name in expected if name not in actual and name not in UNLISTED]
    notes = [
        f"`{name}` has no default"
        if actual[name] == REQUIRED
        else f"`{name}={actual[name]!r}` (`{default!r}`)"
        for name, default in expected.items()
        if name in actual and name not in UNCOMPARED and not _same(actual[name], default)
    ]
    return missing, notes


def _same(actual: Any, expected: Any) -> bool:
    """Return whether nnfast's default is that of Keras, where 1 and (1, 1) are the same."""
    return actual in (..., expected, (expected, expected)) or expected in (
        REQUIRED,
        (actual, actual),
    )


if __name__ == "__main__":
    if "--snapshot" in sys.argv:
        SNAPSHOT.write_text(json.dumps(snapshot(), indent=1) + "\n", "utf-8")
    PAGE.write_text(page(), "utf-8")
