"""docs/coming-from-keras.md lists every argument of Keras that there is not."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnfast import keras

PAGE = Path(__file__).parents[1] / "docs/coming-from-keras.md"
FAMILIES = (
    *("layers", "losses", "optimizers", "metrics", "initializers", "regularizers", "constraints"),
    *("callbacks", "optimizers.schedules"),
)
METHODS = (
    *("fit", "evaluate", "predict", "compile", "train_on_batch", "test_on_batch", "get_layer"),
    *("predict_on_batch", "save", "save_weights", "load_weights", "summary", "build", "add", "pop"),
    *("get_weights", "set_weights", "count_params", "get_config", "__init__"),
)
# Bases that programs do not make objects of, and what only the training loop uses.
INTERNAL = {"Layer", "Loss", "Metric", "Optimizer", "CallbackList"}
# Of `Layer`, by way of **options.
OF_LAYERS = {"activity_regularizer", "dtype", "name", "trainable"}

# Prints every argument of every public class and of the methods of Sequential.
KERAS = f"""
import inspect, json, keras
found = {{}}
for family in {FAMILIES!r}:
    module = keras
    for part in family.split("."):
        module = getattr(module, part)
    for name in dir(module):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            found[f"{{family}}.{{name}}"] = list(inspect.signature(thing.__init__).parameters)
found["layers.Input"] = list(inspect.signature(keras.Input).parameters)
for name in {METHODS!r}:
    method = getattr(keras.Sequential, name)
    found[f"Sequential.{{name}}"] = list(inspect.signature(method).parameters)
print(json.dumps(found))
"""


def resolve(name: str) -> Any:
    """Return what nnfast has under a name such as ``layers.Dense``; None if there is nothing."""
    thing: Any = keras
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing


def arguments(name: str) -> set[str]:
    """Return the arguments of a class or method of nnfast."""
    own = set(inspect.signature(resolve(name)).parameters)
    return own | OF_LAYERS if "options" in own and name.startswith("layers.") else own


def listed() -> dict[str, set[str]]:
    """Return the arguments that the page says there are not, by class or method or family."""
    text = PAGE.read_text("utf-8").split("## Arguments that there are not\n")[1].split("\n## ")[0]
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("| ") and "`" in line:
            _, names, missing, _ = line.split("|")
            for name in names.split(","):
                found[name.strip()] = set(re.findall(r"`(\w+)`", missing)) - {"path"}
    return found


def said_of(name: str) -> set[str]:
    """Return what the page says of a class: by its name, with its family's, or of the family."""
    page, (family, _, own) = listed(), name.rpartition(".")
    return page.get(family, set()) | page.get(own, set()) | page.get(name, set())


def test_what_is_listed_is_refused() -> None:
    families = {name for name in listed() if inspect.ismodule(resolve(name))}
    assert families == {"losses", "optimizers", "metrics", "layers"}
    for name, missing in listed().items():
        owners = [name] if resolve(name) else [f"{f}.{name}" for f in FAMILIES]
        owners = [owner for owner in owners if resolve(owner) is not None]
        assert owners, f"there is no {name}"
        for owner in set(owners) - families:
            assert missing
            assert not missing & arguments(owner)


@pytest.mark.parametrize(
    ("name", "required"),
    [("losses.Hinge", {}), ("layers.Dense", {"units": 1}), ("metrics.AUC", {})],
)
def test_the_error(name: str, required: dict[str, Any]) -> None:
    for argument in said_of(name):
        with pytest.raises(TypeError, match=rf"{name.rpartition('.')[2]}.*{argument}"):
            resolve(name)(**required, **{argument: None})


def test_every_argument_of_an_installed_keras() -> None:
    backend = next((b for b in ("torch", "jax") if importlib.util.find_spec(b)), None)
    if importlib.util.find_spec("keras") is None or backend is None:
        pytest.skip("needs Keras and JAX or PyTorch")
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", KERAS], env=environment, capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    compared = 0
    for name, parameters in theirs.items():
        own = resolve(name)
        if own is None or name.rpartition(".")[2] in INTERNAL or not callable(own):
            continue
        compared += 1
        missing = set(parameters) - {"self", "args", "kwargs"} - arguments(name)
        assert missing == said_of(name) & set(parameters), name
    assert compared > 120
