"""Conversion of names, classes and saved descriptions to objects, and back."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Configured:
    """Base class of objects that keep their constructor's arguments as attributes.

    Examples
    --------
    >>> class Point(Configured):
    ...     def __init__(self, x, y=0):
    ...         self.x, self.y = x, y
    >>> Point(1)
    Point(x=1, y=0)
    >>> Point.from_config(Point(1, 2).get_config()) == Point(1, 2)
    True
    """

    def _keep(self, **values: Any) -> None:
        """Set attributes in the constructor, even if the class forbids setting them later."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain Python values (JSON)."""
        return {
            name: plain(getattr(self, name)) for name in inspect.signature(type(self)).parameters
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new object from the result of `get_config`.

        Raises
        ------
        ValueError
            If `config` has an unknown argument.
        """
        names = dict.fromkeys(inspect.signature(cls).parameters)
        for key in config:
            choose(f"argument of {cls.__name__}", key, names)
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({arguments})"


C = TypeVar("C", bound=Configured)


def name_constructors(classes: Iterable[type]) -> None:
    """Make errors about wrong arguments name these classes instead of their base classes.

    Each class gets its own copy of the `__init__` that it inherits.

    Examples
    --------
    >>> class Base:
    ...     def __init__(self, x):
    ...         self.x = x
    >>> class Point(Base):
    ...     pass
    >>> name_constructors([Point])
    >>> Point(y=1)
    Traceback (most recent call last):
        ...
    TypeError: Point.__init__() got an unexpected keyword argument 'y'
    """
    for cls in classes:
        own: Any = cls.__init__  # type: ignore[misc]
        if "__init__" not in vars(cls) and isinstance(own, FunctionType):
            copy = FunctionType(
                own.__code__, own.__globals__, "__init__", own.__defaults__, own.__closure__
            )
            copy.__kwdefaults__, copy.__annotations__ = own.__kwdefaults__, own.__annotations__
            copy.__qualname__ = f"{cls.__qualname__}.__init__"
            cls.__init__ = copy  # type: ignore[misc]


def choose(what: str, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[name]``; for an unknown name, raise a ValueError that suggests a valid one.

    Examples
    --------
    >>> choose("colour", "gren", {"green": 1, "red": 2})
    Traceback (most recent call last):
        ...
    ValueError: Unknown colour 'gren'; did you mean 'green'? Valid: 'green', 'red'
    """
    if isinstance(name, str) and name in table:  # a name from a file may be any object
        return table[name]
    import difflib  # takes 2 ms to import, and only error messages need it

    near = difflib.get_close_matches(str(name).lower(), table, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    valid = ", ".join(repr(key) for key in table)
    raise ValueError(f"Unknown {what} {name!r}{hint} Valid: {valid}")


def resolve(what: str, identifier: object, base: type[C], table: Mapping[str, type[C]]) -> C:
    """Return the `base` object that `identifier` stands for.

    Parameters
    ----------
    what : str
        The family's name in messages, for example ``"loss"``.
    identifier : str, dict, base or subclass of base
        A name in `table` (in any case) or a class name; an object, which is returned unchanged; a
        class, which is called without arguments; or a description from `describe`.
    base : type
    table : mapping of short name to class

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is anything else.
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
        return choose(what, identifier["class_name"], by_class).from_config(identifier["config"])
    raise TypeError(
        f"Expected a {what} as a name (one of {', '.join(map(repr, table))}) or a "
        f"{base.__name__} object; received {identifier!r} of type {type(identifier).__name__}"
    )


def describe(obj: Any) -> dict[str, Any]:
    """Return the JSON description of an object, ``{"class_name": …, "config": …}``.

    The object's module has a `deserialize` that turns it into an equal object.

    Examples
    --------
    >>> class Point(Configured):
    ...     def __init__(self, x):
    ...         self.x = x
    >>> describe(Point((1, 2)))
    {'class_name': 'Point', 'config': {'x': [1, 2]}}
    """
    return {"class_name": type(obj).__name__, "config": obj.get_config()}


def plain(value: Any) -> Any:
    """Return a constructor's argument as a value that can be written as JSON."""
    if isinstance(value, Configured):
        return describe(value)
    if isinstance(value, float):
        return float(value)  # also of subclasses, such as an optimizer's learning rate
    return [plain(entry) for entry in value] if isinstance(value, tuple) else value


def snake_case(class_name: str) -> str:
    """Return a class name in snake case, converted as in Keras.

    Examples
    --------
    >>> snake_case("MeanSquaredError")
    'mean_squared_error'
    >>> snake_case("TopKCategoricalAccuracy")
    'top_k_categorical_accuracy'
    >>> snake_case("Conv2D")
    'conv2d'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", class_name).lower()
