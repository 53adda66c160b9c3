"""Read-only properties whose error message says what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar, overload

T = TypeVar("T")


class ReadOnly(Generic[T]):
    """A property of a named object; setting it raises an AttributeError with advice."""

    def __init__(self, advice: str, getter: Callable[[Any], T]) -> None:
        self.advice = advice
        self.getter = getter
        self.__doc__ = getter.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> ReadOnly[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> ReadOnly[T] | T:
        return self if instance is None else self.getter(instance)

    def __set__(self, instance: Any, value: object) -> NoReturn:
        raise AttributeError(f"{self.name} of model {instance.name!r} cannot be {self.advice}")


def read_only(advice: str) -> Callable[[Callable[[Any], T]], ReadOnly[T]]:
    """Return a decorator that turns a method into a read-only property.

    Examples
    --------
    >>> class Model:
    ...     name = "m"
    ...     @read_only("set: make a new model")
    ...     def dtype(self):
    ...         return "float32"
    >>> Model().dtype
    'float32'
    >>> Model().dtype = "float64"
    Traceback (most recent call last):
        ...
    AttributeError: dtype of model 'm' cannot be set: make a new model
    """
    return lambda getter: ReadOnly(advice, getter)
