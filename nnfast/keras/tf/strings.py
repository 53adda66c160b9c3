"""Functions of arrays of text, as in ``tf.strings``.

TextVectorization calls such functions: its arguments `standardize` and `split` may be made of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import flag
from nnfast._utils.registry import choose

__all__ = ["lower", "regex_replace", "split", "strip", "upper"]

# ASCII letters alone change if `encoding` is "".
_ENCODINGS = {"": False, "utf-8": True}
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {small: large for large, small in _LOWER.items()}


def _each(function: Callable[[str], Any], value: ArrayLike) -> NDArray[Any]:
    """Return an array of the results of `function` for each text."""
    texts = np.asarray(value)
    if texts.dtype.kind not in "UOT" or not all(isinstance(t, str) for t in texts.ravel().tolist()):
        raise TypeError(f"input must hold text; received {value!r:.80}")
    found = np.empty(texts.shape, object)
    found.reshape(-1)[:] = [function(text) for text in texts.ravel().tolist()]
    return found


def lower(input: ArrayLike, encoding: str = "") -> NDArray[Any]:
    """Return text in lower case.

    Parameters
    ----------
    input : array_like of str
    encoding : {"", "utf-8"}
        With ``""``, only ASCII letters change.

    Examples
    --------
    >>> lower(["ÀB"]).tolist(), lower(["ÀB"], "utf-8").tolist()
    (['Àb'], ['àb'])
    """
    if choose("encoding", encoding, _ENCODINGS):
        return _each(str.lower, input)
    return _each(lambda text: text.translate(_LOWER), input)


def upper(input: ArrayLike, encoding: str = "") -> NDArray[Any]:
    """Return text in upper case; the parameters are those of `lower`.

    Examples
    --------
    >>> upper(["àb"]).tolist()
    ['àB']
    """
    if choose("encoding", encoding, _ENCODINGS):
        return _each(str.upper, input)
    return _each(lambda text: text.translate(_UPPER), input)


def strip(input: ArrayLike) -> NDArray[Any]:
    r"""Return text without ASCII whitespace at both ends.

    Examples
    --------
    >>> strip([" a b\n"]).tolist()
    ['a b']
    """
    return _each(lambda text: text.strip(" \t\n\v\f\r"), input)


def regex_replace(
    input: ArrayLike, pattern: str, rewrite: str, replace_global: bool = True
) -> NDArray[Any]:
    r"""Return text with the matches of a regular expression replaced.

    Parameters
    ----------
    input : array_like of str
    pattern : str
        An expression of Python's `re`.
    rewrite : str
        The replacement, in which ``\1`` stands for the first group.
    replace_global : bool, default True
        Whether to replace all matches or the first one.

    Examples
    --------
    >>> regex_replace(["a<br />b"], "<[^>]*>", " ").tolist()
    ['a b']
    """
    count = 0 if flag("replace_global", replace_global) else 1
    compiled = re.compile(pattern)
    return _each(lambda text: compiled.sub(rewrite, text, count), input)


def split(input: ArrayLike, sep: str | None = None) -> list[list[str]]:
    """Return the parts of each text.

    Parameters
    ----------
    input : array_like of str (n,)
    sep : str, optional
        What separates parts; by default any ASCII whitespace, which leaves no empty parts.

    Returns
    -------
    list of n lists of str

    Examples
    --------
    >>> split(["a b", "c"]), split(["a,,b"], ",")
    ([['a', 'b'], ['c']], [['a', '', 'b']])
    """

    def parts(text: str) -> list[str]:
        if sep:
            return text.split(sep)
        return re.findall(r"[^ \t\n\v\f\r]+", text)

    found: list[list[str]] = _each(parts, input).tolist()
    return found
