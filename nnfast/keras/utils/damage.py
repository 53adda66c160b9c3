"""Errors of damaged and hostile files name the file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["reading"]

# Decompressors raise OSErrors without a number. The others come from positions and names in files.
_OF_CONTENT = {None, *(errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)}


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
        if isinstance(error, OSError) and error.errno not in _OF_CONTENT:
            raise
        text = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} cannot be read: {text}") from error
