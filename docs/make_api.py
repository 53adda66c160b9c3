"""Write docs/api/*.md from the docstrings, one page per family: ``python docs/make_api.py``.

A test compares the pages with the output of `pages`, so that they cannot become outdated.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nnfast

FAMILIES = (
    "models",
    "estimators",
    "layers",
    "activations",
    "losses",
    "optimizers",
    "metrics",
    "callbacks",
    "initializers",
    "regularizers",
    "constraints",
    "schedules",
    "plotting",
    "datasets",
    "convert",
    "kernels",
)
# Names without a leading underscore that are nevertheless internal to the package.
INTERNAL = {
    "CallbackList",
    "LayerOptions",
    "assign",
    "auto_name",
    "check_names",
    "describe_all",
    "name_of",
    "parameter_generator",
    "resolve",
    "resolve_all",
    # The sentence below each table describes these functions.
    "deserialize",
    "get",
    "serialize",
}
# Strings that name different metrics, depending on the model and the loss.
AMBIGUOUS = ("accuracy", "acc")
FOLDER = Path(__file__).parent / "api"


def entries(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield each public class, function and table row of a module, in the module's order."""
    public = getattr(module, "__all__", ())
    for name, thing in vars(module).items():
        own = name in public or getattr(thing, "__module__", None) == module.__name__
        named = inspect.isclass(thing) or inspect.isfunction(thing)
        if named and thing.__name__ != name:
            continue  # Keras' short name of a class or function
        if not name.startswith("_") and own and callable(thing) and name not in INTERNAL:
            yield name, thing


def summary(module: ModuleType, name: str, thing: Any) -> str:
    """Return the first paragraph of an entry's docstring, or for a table row a fixed phrase."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return "Element by element." if getattr(thing, "elementwise", True) else "Over a row."
    return str(inspect.getdoc(thing)).split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def names(module: ModuleType, thing: Any) -> str:
    """Return the strings that users can pass instead of a class."""
    table = getattr(module, "TABLE", {}) if hasattr(module, "get") else {}
    found = [
        f"`{key!r}`"
        for key, value in table.items()
        if value is thing and key.islower() and key not in AMBIGUOUS
    ]
    return ", ".join(found).replace("'", '"')


def page(family: str) -> str:
    """Return the page of a family as Markdown."""
    module = getattr(nnfast, family)
    rows = [
        (f"`{name}`", names(module, thing), summary(module, name, thing))
        for name, thing in entries(module)
    ]
    named = any(row[1] for row in rows)
    head = ("name", "as a string", "what it is") if named else ("name", "what it is")
    lines = [f"# nnfast.{family}", "", str(inspect.getdoc(module)).split("\n\n>>>")[0], ""]
    lines += [_row(head), _row(("---",) * len(head))]
    lines += [_row(row if named else (row[0], row[2])) for row in rows]
    if hasattr(module, "serialize"):
        lines += [
            "",
            "`serialize(object)` returns a JSON-compatible description of an object, and "
            "`deserialize` creates the object from it"
            + (
                ". `get` accepts a string, a class, an object or a description."
                if hasattr(module, "get")
                else "."
            ),
        ]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def pages() -> dict[Path, str]:
    """Return a dict of the pages' texts, with their paths as keys."""
    return {FOLDER / f"{family}.md": page(family) for family in FAMILIES}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
