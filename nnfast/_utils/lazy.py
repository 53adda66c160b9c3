"""Packages that import their public names on first use, as NumPy and SciPy do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        The package's name.
    homes : mapping of str to str
        Each lazily imported name, with the full name of the module that defines it. A name whose
        module is the package itself is a submodule.

    Examples
    --------
    >>> getattribute, names = lazy("nnfast", {"Sequential": "nnfast.models", "models": "nnfast"})
    >>> getattribute("Sequential").__name__, getattribute("models").__name__
    ('Sequential', 'nnfast.models')
    """

    def getattribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if homes[name] == package:
            value = import_module(f"{package}.{name}")
        else:
            value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return getattribute, lambda: sorted({*vars(sys.modules[package]), *homes})
