"""Names of layers, cells and models."""

from __future__ import annotations

from collections import Counter

from nnfast._utils.registry import snake_case

_given: Counter[str] = Counter()


def auto_name(class_name: str) -> str:
    """Return the next unused name for a class: "dense", then "dense_1", and so on, as in Keras."""
    base = snake_case(class_name)
    number = _given[base]
    _given[base] += 1
    return f"{base}_{number}" if number else base


def restart_names() -> None:
    """Let `auto_name` start again: the next layer of a class has no number."""
    _given.clear()


def check_name(name: object) -> str:
    """Return the name of a layer or a model; raise ValueError if a file could not store it."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name must be a non-empty string without '/'; received {name!r}")
    return name
