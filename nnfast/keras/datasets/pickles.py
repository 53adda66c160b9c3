"""Reading of pickled arrays and lists as plain data.

A pickle is a program for a stack machine that can call any function. `load_pickle` runs only the
operations that build numbers, text, lists, dicts and NumPy arrays, and calls nothing that the
pickle names. It allocates memory in proportion to the pickle's own size, even if the pickle uses an
object many times.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_BYTES", "load_pickle"]

# Limits on what a short compressed file can cost. CIFAR-100 has the most bytes, 155 million, and
# Reuters and IMDB have the most operations, less than a million.
MAX_BYTES = 2**28
_MAX_OPERATIONS = 10**7
_MAX_AXES = 32  # maximum number of dimensions in NumPy 1
_MAX_TEXT = 100  # characters of a key, and of the code of a dtype

# A run of integers: the operations BININT1, BININT2 and BININT with their operands.
_INTEGERS = re.compile(rb"(?:K.|M..|J....)++", re.DOTALL)
_DTYPE = re.compile(r"[iuf][1248]|O[48]?")


def load_pickle(data: bytes) -> Any:
    """Return the array or dict of a pickle, such as NumPy's object arrays and CIFAR's batches.

    Text that Python 2 wrote is returned as bytes. Arrays of numbers are read-only.

    Raises
    ------
    ValueError
        If the pickle has any other operation than those of arrays, lists, tuples, dicts, text and
        integers. Other errors are possible if it is damaged, but nothing is executed.

    Examples
    --------
    >>> load_pickle(pickle.dumps({"labels": [1, 2], "data": np.array([[3]])}, 2))
    {'labels': [1, 2], 'data': array([[3]])}
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"expected a pickle of at most {MAX_BYTES} bytes, got {len(data)}")
    return _Machine(data).run()


@dataclass(frozen=True)
class _Name:
    """A function or class that a pickle names; it stands for itself and is never called."""

    module: str
    name: str


_RECONSTRUCT = (
    _Name("numpy.core.multiarray", "_reconstruct"),  # NumPy 1
    _Name("numpy._core.multiarray", "_reconstruct"),  # NumPy 2
)
_NDARRAY = _Name("numpy", "ndarray")
_NEW_DTYPE = _Name("numpy", "dtype")
_ENCODE = _Name("_codecs", "encode")  # Python 3 writes bytes with it in the protocol of Python 2
_NAMES = {*_RECONSTRUCT, _NDARRAY, _NEW_DTYPE, _ENCODE}


@dataclass(eq=False)
class _Object:
    """An array or dtype that a pickle first creates and then fills."""

    value: Any = None


class _Machine:
    """The stack machine.

    Attributes
    ----------
    data : bytes
        The pickle, of which `at` bytes have been read.
    stack : list
    marks : list of int
        Positions in the stack at which lists, tuples and dicts under construction begin.
    memo : dict
        Objects that are used again later.
    left : int
        How many more characters and elements may be copied.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.left = len(data)

    def run(self) -> Any:
        """Run the pickle and return its result."""
        for _ in range(_MAX_OPERATIONS):
            code = self.take(1)
            if code == b".":
                return _finished(self.stack.pop())
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise ValueError(f"the pickle's operation {code!r} is not one of an array's")
            operation(self)
        raise ValueError(f"the pickle has more than {_MAX_OPERATIONS} operations")

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise ValueError("the pickle ends too early")
        self.at += size
        return piece

    def copy(self, size: int) -> None:
        """Refuse the copies of one long object that is used many times."""
        self.left -= size
        if self.left < 0:
            raise ValueError("the pickle has more elements than bytes")

    def number(self, size: int) -> int:
        """Return the unsigned integer in the next `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def integers(self) -> None:
        """Push a run of integers, of which the first byte has been read."""
        run = _INTEGERS.match(self.data, self.at - 1)
        if run is None:
            raise ValueError("the pickle ends too early")
        self.at = run.end()
        # pickle's own loop is fast, and this expression has admitted nothing but integers.
        self.stack += pickle.loads(b"(" + run[0] + b"l.")

    def long(self) -> None:
        """Push an integer of Python 2's type long."""
        self.stack.append(int.from_bytes(self.take(self.number(1)), "little", signed=True))

    def name(self, module: str, name: str) -> None:
        """Push one of the admitted names."""
        named = _Name(module, name)
        if named not in _NAMES:
            raise ValueError(f"the pickle names {module}.{name}, which is not a part of an array")
        self.stack.append(named)

    def name_line(self) -> None:
        """Push a name that two lines of text spell."""
        end = self.data.index(b"\n", self.data.index(b"\n", self.at) + 1)
        module, name = self.take(end - self.at).decode("ascii").split("\n")
        self.take(1)
        self.name(module, name)

    def name_pair(self) -> None:
        """Push a name whose two parts are on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        self.name(_of(str, module), _of(str, name))

    def marked(self) -> list[Any]:
        """Remove and return the objects since the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def tuple(self, size: int) -> None:
        """Push a tuple of the last `size` objects."""
        start = len(self.stack) - size
        self.stack[start:] = [tuple(self.stack[start:])]

    def extend(self, items: list[Any]) -> None:
        """Append objects to the list on the stack."""
        _of(list, self.stack[-1]).extend(items)

    def update(self, items: list[Any]) -> None:
        """Add keys and values to the dict on the stack."""
        keys = [_text(key) for key in items[::2]]
        _of(dict, self.stack[-1]).update(zip(keys, items[1::2], strict=True))

    def reduce(self) -> None:
        """Push the result of a call, which creates an array, a dtype or bytes."""
        arguments, named = _of(tuple, self.stack.pop()), _of(_Name, self.stack.pop())
        if named in _RECONSTRUCT:
            self.stack.append(_Object())
        elif named == _NEW_DTYPE:
            self.stack.append(_Object(_dtype(_text(arguments[0]))))
        elif named == _ENCODE and arguments[1:] in (("latin1",), ("latin-1",)):
            text = _of(str, arguments[0])
            self.copy(len(text))
            self.stack.append(text.encode("latin-1"))
        else:
            raise ValueError(f"the pickle calls {named}")

    def build(self) -> None:
        """Fill the array or dtype on the stack."""
        state, made = _of(tuple, self.stack.pop()), _of(_Object, self.stack[-1])
        if made.value is None:
            made.value = _array(state)
            if made.value.dtype == object:  # bytes are not copied
                self.copy(made.value.size)
        else:
            made.value = _ordered(_of(np.dtype, made.value), state)


def _finished(result: Any) -> Any:
    """Return an array itself instead of the object that stands for it, also as value of a dict."""
    if type(result) is dict:
        return {key: getattr(value, "value", value) for key, value in result.items()}
    return getattr(result, "value", result)


def _of(kind: type, value: Any) -> Any:
    """Return `value` after checking its type."""
    if not isinstance(value, kind):
        raise ValueError(f"the pickle has {type(value).__name__} instead of {kind.__name__}")
    return value


def _text(value: Any) -> str:
    """Return short text, which is bytes if Python 2 wrote it."""
    if isinstance(value, (str, bytes)) and len(value) > _MAX_TEXT:
        raise ValueError(f"the pickle has a name of {len(value)} characters")
    text: str = value.decode() if isinstance(value, bytes) else _of(str, value)
    return text


def _dtype(code: str) -> np.dtype[Any]:
    """Return the dtype of integers, floating-point numbers or objects with this code."""
    if not _DTYPE.fullmatch(code):
        raise ValueError(f"the pickle has an array of dtype {code!r}")
    return np.dtype(code[:1] if code[0] == "O" else code)


def _ordered(dtype: np.dtype[Any], state: tuple[Any, ...]) -> np.dtype[Any]:
    """Return the dtype in the byte order of its pickled state."""
    order = _text(state[1])
    if order not in ("|", "<", ">", "=") or any(part is not None for part in state[2:5]):
        raise ValueError("the pickle has an array whose dtype has fields")
    return np.dtype(order + dtype.str[1:])


def _array(state: tuple[Any, ...]) -> NDArray[Any]:
    """Return the array of a pickled state: version, shape, dtype, column-major, elements."""
    _, shape, made, column_major, data = state
    dtype = _of(np.dtype, _of(_Object, made).value)
    if len(_of(tuple, shape)) > _MAX_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("the pickle has an array whose shape is not valid")
    objects = dtype.kind == "O"
    size = math.prod(shape) * (1 if objects else dtype.itemsize)
    if len(_of(list if objects else bytes, data)) != size:
        raise ValueError(f"the pickle has an array of shape {shape} with {len(data)} elements")
    flat = np.fromiter(data, object, size) if objects else np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if column_major else "C")


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make(machine))


def _put(index: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda machine: machine.memo.__setitem__(index(machine), machine.stack[-1])


def _bytes(size: int) -> Callable[[_Machine], None]:
    """Return the operation that pushes bytes, preceded by their number in `size` bytes."""
    return _push(lambda m: m.take(m.number(size)))


def _unicode(size: int) -> Callable[[_Machine], None]:
    return _push(lambda m: m.take(m.number(size)).decode())


# The operations in the order and with the names of the module `pickletools`.
_OPERATIONS: dict[bytes, Callable[[_Machine], object]] = {
    **dict.fromkeys((b"J", b"K", b"M"), _Machine.integers),
    b"\x8a": _Machine.long,
    b"T": _bytes(4),  # BINSTRING
    b"U": _bytes(1),  # SHORT_BINSTRING
    b"B": _bytes(4),  # BINBYTES
    b"C": _bytes(1),  # SHORT_BINBYTES
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"X": _unicode(4),  # BINUNICODE
    b"\x8c": _unicode(1),  # SHORT_BINUNICODE
    b"]": _push(lambda m: []),
    b"a": lambda m: m.extend([m.stack.pop()]),  # APPEND
    b"e": lambda m: m.extend(m.marked()),  # APPENDS
    b")": lambda m: m.tuple(0),
    b"t": lambda m: m.stack.append(tuple(m.marked())),
    b"\x85": lambda m: m.tuple(1),
    b"\x86": lambda m: m.tuple(2),
    b"\x87": lambda m: m.tuple(3),
    b"}": _push(lambda m: {}),
    b"s": lambda m: m.update([m.stack.pop(-2), m.stack.pop()]),  # SETITEM
    b"u": lambda m: m.update(m.marked()),  # SETITEMS
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"h": _push(lambda m: m.memo[m.number(1)]),  # BINGET
    b"j": _push(lambda m: m.memo[m.number(4)]),  # LONG_BINGET
    b"q": _put(lambda m: m.number(1)),  # BINPUT
    b"r": _put(lambda m: m.number(4)),  # LONG_BINPUT
    b"\x94": _put(lambda m: len(m.memo)),  # MEMOIZE
    b"c": _Machine.name_line,  # GLOBAL
    b"\x93": _Machine.name_pair,  # STACK_GLOBAL
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.take(8),  # FRAME
}
