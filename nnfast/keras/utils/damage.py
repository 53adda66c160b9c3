"""Errors of damaged and hostile files name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["reading"]


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn every error that the content of a file causes into a ValueError that names the file.

    Errors of the file system, such as a full disk, remain OSErrors.

    Examples
    --------
    >>> with reading("a.zip"):
    ...     b""[0]
    Traceback (most recent call last):
        ...
    ValueError: a.zip cannot be read: IndexError: index out of range
    """
    try:
        yield
    except Exception as error:
        # The decompressors raise OSErrors, too, but only the system's have a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        text = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} cannot be read: {text}") from error
