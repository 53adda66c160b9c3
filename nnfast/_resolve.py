"""From what the user names (a string, a class, an object, a saved description) to an object."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Configured:
    """Base of the dataclasses that are configuration: losses, optimizers, initializers, metrics."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain Python values (JSON)."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {field.name: plain(getattr(self, field.name)) for field in fields if field.init}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new object made from what `get_config` gave.

        Raises
        ------
        ValueError
            If it names an argument that there is not.
        """
        names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
        for key in config:
            choose(f"argument of {cls.__name__}", key, dict.fromkeys(names))
        return cls(**config)


def choose(what: str, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[name]``; an unknown name gets a ValueError with the nearest valid one.

    Examples
    --------
    >>> choose("colour", "gren", {"green": 1, "red": 2})
    Traceback (most recent call last):
        ...
    ValueError: Unknown colour 'gren'; did you mean 'green'? Valid: 'green', 'red'
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name).lower(), table, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    valid = ", ".join(repr(key) for key in table)
    raise ValueError(f"Unknown {what} {name!r}{hint} Valid: {valid}")


def resolve(what: str, identifier: object, base: type[T], table: Mapping[str, type[T]]) -> T:
    """Return the `base` object that `identifier` stands for.

    Parameters
    ----------
    what : str
        The family's name in messages, for example ``"loss"``.
    identifier : str, dict, base or subclass of base
        A name of `table` (any case) or a class name; an object, returned as it is; a class,
        called without arguments; or a description made by `describe`.
    base : type
    table : mapping of short name to class

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is none of these.
    """
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, str):
        by_class = {cls.__name__: cls for cls in table.values()}
        return (by_class.get(identifier) or choose(what, identifier.lower(), table))()
    if isinstance(identifier, Mapping) and {"class_name", "config"} <= identifier.keys():
        by_class = {cls.__name__: cls for cls in table.values()}
        return from_config(choose(what, identifier["class_name"], by_class), identifier["config"])
    raise TypeError(
        f"Expected a {what} as a name (one of {', '.join(map(repr, table))}) or a "
        f"{base.__name__} object; received {identifier!r} of type {type(identifier).__name__}"
    )


def from_config(cls: type[T], config: Mapping[str, Any]) -> T:
    """Return an object of `cls` made from what its `get_config` gave."""
    made: T = cls.from_config(config)  # type: ignore[attr-defined]
    return made


def describe(obj: Any) -> dict[str, Any]:
    """Return the JSON description of an object, ``{"class_name": …, "config": …}``.

    `deserialize` of the same module makes an equal object of it.
    """
    return {"class_name": type(obj).__name__, "config": obj.get_config()}


def plain(value: Any) -> Any:
    """Return a constructor's argument as JSON can hold it."""
    if isinstance(value, Configured):
        return describe(value)
    return list(value) if isinstance(value, tuple) else value


def snake_case(class_name: str) -> str:
    """Return Keras' default name for a class.

    Examples
    --------
    >>> snake_case("MeanSquaredError")
    'mean_squared_error'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower()
