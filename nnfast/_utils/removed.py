"""Errors that name today's spelling of what older versions of Keras had."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def refuse_arguments(removed: Mapping[str, str]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that refuses older names of arguments.

    Parameters
    ----------
    removed : mapping of str to str
        The older names, and what to use instead.

    Examples
    --------
    >>> @refuse_arguments({"nb_epoch": "epochs"})
    ... def fit(epochs=1):
    ...     return epochs
    >>> fit(epochs=2)
    2
    >>> fit(nb_epoch=2)
    Traceback (most recent call last):
        ...
    TypeError: fit() has no argument 'nb_epoch': use epochs
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> T:
            for name in options:
                if name in removed:
                    raise TypeError(
                        f"{function.__name__}() has no argument {name!r}: use {removed[name]}"
                    )
            return function(*args, **options)

        return call

    return decorate


def missing_attribute(owner: object, name: str, removed: Mapping[str, str]) -> Any:
    """Raise the AttributeError for an attribute that `owner` does not have.

    ``__getattr__`` calls this function. Python also calls it if a property raises an
    AttributeError, whose message is then repeated.

    Parameters
    ----------
    owner : object
    name : str
    removed : mapping of str to str
        The older names, and what to use instead.
    """
    if name in removed:
        raise AttributeError(
            f"{type(owner).__name__!r} object has no attribute {name!r}: use {removed[name]}"
        )
    return object.__getattribute__(owner, name)
