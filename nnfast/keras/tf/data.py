"""Data sets of NumPy arrays with the names of ``tf.data``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils import config
from nnfast._utils.ahead import ahead
from nnfast._utils.checks import flag, integer
from nnfast._utils.tensor import Tensor
from nnfast.keras.tf.iteration import cached, chunks, repeated, runs, shuffled, unbatched
from nnfast.keras.tf.structures import (
    as_array,
    combine,
    conform,
    filled,
    leaves,
    map_structure,
    padded,
    read_only,
    rows_of_arrays,
    specs,
    stack,
)

__all__ = [
    "AUTOTUNE",
    "INFINITE_CARDINALITY",
    "UNKNOWN_CARDINALITY",
    "Dataset",
    "Options",
    "experimental",
    "from_rows",
]

AUTOTUNE = -1
INFINITE_CARDINALITY = -1
UNKNOWN_CARDINALITY = -2

# The number of elements that prefetch(AUTOTUNE) fetches in advance.
_AUTOTUNED = 4

# A source of rows: returns one row for an int, and the batch of the rows for an array of ints.
Rows = Callable[[Any], Any]
# Begins an iteration.
Items = Callable[[], Iterator[Any]]


def from_rows(rows: Rows, n: int, in_memory: bool = True) -> Dataset:
    """Return the data set of `n` rows, which are made in batches if possible.

    Parameters
    ----------
    rows : callable
        Takes an int and returns that row, or takes an array of ints and returns these rows as a
        batch.
    n : int
    in_memory : bool
        Whether making a batch only takes microseconds.
    """
    return Dataset(lambda: iter(range(n)), n, rows, in_memory)


class Options(SimpleNamespace):
    """The attributes of ``tf.data.Options``, which may be set and have no effect."""

    def __init__(self, **values: Any) -> None:
        groups = ("autotune", "experimental_distribute", "experimental_optimization", "threading")
        super().__init__(**{name: SimpleNamespace() for name in groups} | values)


class Dataset:
    """A sequence of elements that are made anew in each iteration, as ``tf.data.Dataset``.

    An element is an array, or a nested structure of tuples and dicts of arrays. Class methods such
    as `from_tensor_slices` make a data set, and its methods return new ones. ``fit``, ``evaluate``
    and ``predict`` accept data sets whose elements are batches.

    Arrays in memory are read in place: elements may be read-only views of them. As long as rows are
    only selected and ordered (`shuffle`, `take`, `skip`, `repeat`, `cache`), `batch` gathers all
    rows of a batch at once. The functions of `map` and `filter` are Python functions that take and
    return arrays. They are called one after another.

    Attributes
    ----------
    batch_size : int or None
        The argument of `batch` if that made this data set.

    Examples
    --------
    >>> data = Dataset.from_tensor_slices(([1, 2, 3], [0, 1, 0])).batch(2)
    >>> for x, y in data:
    ...     print(x, y)
    [1 2] [0 1]
    [3] [0]
    >>> len(data)
    2
    """

    # Between `from_rows` and `batch`, the items of a data set are row numbers. They are replaced by
    # elements when a method needs these.
    def __init__(
        self, items: Items, size: int, rows: Rows | None = None, in_memory: bool = False
    ) -> None:
        self._items = items
        self._size = size
        self._rows = rows
        self._in_memory = in_memory
        self._options = Options()
        self.batch_size: int | None = None

    # ---- sources ---------------------------------------------------------------------------------

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Dataset:
        """Return the data set of the rows of arrays.

        Parameters
        ----------
        tensors : array_like, or tuples and dicts of them
            All of the same length. Lists are converted to arrays.

        Raises
        ------
        ValueError
            If the lengths differ, or there is no array.
        """
        arrays = map_structure(lambda value: read_only(as_array(value)), tensors)
        found = leaves(arrays)
        if not found or any(array.ndim == 0 for array in found):
            raise ValueError(
                "tensors must be arrays with at least one axis, or tuples or dicts of such arrays; "
                f"received {type(tensors).__name__}"
            )
        lengths = {len(array) for array in found}
        if len(lengths) > 1:
            raise ValueError(f"All arrays of tensors must have one length; received {lengths}")
        return from_rows(partial(rows_of_arrays, arrays), lengths.pop())

    @staticmethod
    def from_tensors(tensors: Any) -> Dataset:
        """Return the data set of a single element."""
        arrays = map_structure(lambda value: read_only(_leaf(value)), tensors)
        return Dataset(lambda: iter([arrays]), 1, in_memory=True)

    @staticmethod
    def from_generator(
        generator: Callable[..., Any],
        output_types: Any = None,
        output_shapes: Any = None,
        args: tuple[Any, ...] = (),
        output_signature: Any = None,
    ) -> Dataset:
        """Return the data set of copies of what ``generator(*args)`` yields.

        Parameters
        ----------
        generator : callable
            Returns an iterable; called at the start of each iteration.
        output_types : dtype or structure of dtypes, optional
            Elements are converted to these dtypes.
        output_shapes : shape or structure of shapes, optional
            The shapes of elements, if `output_types` are given; None allows any size.
        args : tuple, optional
        output_signature : structure of objects with `shape` and `dtype`, optional
            In place of `output_types` and `output_shapes`, such as ``tf.TensorSpec((None, 3))``.

        Raises
        ------
        TypeError, ValueError
            If arguments contradict each other, or, during iteration, an element does not conform.
        """
        if not callable(generator):
            raise TypeError(f"generator must be callable; received {type(generator).__name__}")
        if output_signature is not None and not (output_types is None and output_shapes is None):
            raise ValueError("output_signature replaces output_types and output_shapes")
        if output_types is None and output_shapes is not None:
            raise ValueError("output_shapes must come with output_types")
        spec = output_signature if output_types is None else specs(output_types, output_shapes)
        convert = partial(map_structure, _copied) if spec is None else partial(conform, spec)
        arguments = tuple(_seen(as_array(value)) for value in args)
        return Dataset(lambda: map(convert, generator(*arguments)), UNKNOWN_CARDINALITY)

    @staticmethod
    def range(*args: int, output_type: Any = np.int64) -> Dataset:
        """Return the data set of the integers in ``range(*args)``.

        Examples
        --------
        >>> list(Dataset.range(1, 8, 3).as_numpy_iterator())
        [np.int64(1), np.int64(4), np.int64(7)]
        """
        numbers, dtype = range(*map(int, args)), np.dtype(output_type)

        def rows(index: Any) -> NDArray[Any]:
            return np.asarray(numbers.start + numbers.step * np.asarray(index)).astype(dtype)

        return from_rows(rows, len(numbers))

    @staticmethod
    def zip(*args: Any, datasets: Any = None) -> Dataset:
        """Return the data set of tuples of the elements of several data sets.

        The shortest data set determines the length.

        Parameters
        ----------
        *args : Dataset, or tuples and dicts of data sets
            ``zip(a, b)`` is ``zip((a, b))``.
        datasets : structure of Dataset, optional
            In place of `args`.

        Examples
        --------
        >>> pairs = Dataset.zip(Dataset.range(2), Dataset.range(5, 9))
        >>> [(int(a), int(b)) for a, b in pairs]
        [(0, 5), (1, 6)]
        """
        if datasets is None:
            datasets = args[0] if len(args) == 1 else args
        parts = leaves(datasets)
        if not parts or not all(isinstance(part, Dataset) for part in parts):
            raise TypeError("zip expects data sets, or tuples or dicts of them")
        sizes = [part._size for part in parts]
        if UNKNOWN_CARDINALITY in sizes:
            size = UNKNOWN_CARDINALITY
        else:
            size = min((n for n in sizes if n >= 0), default=INFINITE_CARDINALITY)

        def items() -> Iterator[Any]:
            elements = zip(*(part._elements() for part in parts), strict=False)
            return map(partial(filled, datasets), elements)

        return Dataset(items, size, in_memory=all(part._in_memory for part in parts))

    # ---- selection and order ---------------------------------------------------------------------

    def shuffle(
        self, buffer_size: int, seed: int | None = None, reshuffle_each_iteration: bool = True
    ) -> Dataset:
        """Return the elements in random order.

        A buffer of `buffer_size` elements is filled, and each next element is drawn from it and
        replaced. The order is uniformly random if the buffer can contain all elements.

        Parameters
        ----------
        buffer_size : int
        seed : int, optional
            By default, it depends on `nnfast.set_seed`.
        reshuffle_each_iteration : bool, default True
            Whether each iteration has another order.
        """
        capacity = integer("buffer_size", buffer_size, minimum=1)
        again = True if reshuffle_each_iteration is None else reshuffle_each_iteration
        again = flag("reshuffle_each_iteration", again)
        start = config.next_seed() if seed is None else integer("seed", seed, minimum=0)
        iterations = itertools.count()

        def items() -> Iterator[Any]:
            rng = np.random.default_rng((start, next(iterations) if again else 0))
            return shuffled(self._items(), capacity, rng)

        return self._reordered(items, self._size)

    def repeat(self, count: int | None = None) -> Dataset:
        """Return the elements `count` times, or without end if `count` is None or -1."""
        times = -1 if count is None else integer("count", count, minimum=-1)
        size = self._size
        if times >= 0:
            size = size * times if size >= 0 or times == 0 else size
        elif size != 0:
            size = INFINITE_CARDINALITY
        return self._reordered(partial(repeated, self._items, times), size)

    def take(self, count: int) -> Dataset:
        """Return the first `count` elements, or all if `count` is -1."""
        most = integer("count", count, minimum=-1)
        if most < 0:
            return self._reordered(self._items, self._size)
        size = most if self._size == INFINITE_CARDINALITY else min(most, self._size)
        return self._reordered(lambda: itertools.islice(self._items(), most), size)

    def skip(self, count: int) -> Dataset:
        """Return all elements except the first `count`, or none if `count` is -1."""
        first = integer("count", count, minimum=-1)
        if first < 0:
            return self._reordered(lambda: iter(()), 0)
        size = max(self._size - first, 0) if self._size >= 0 else self._size
        return self._reordered(lambda: itertools.islice(self._items(), first, None), size)

    def cache(self, filename: str = "") -> Dataset:
        """Return the elements that the first complete iteration keeps in memory, not in a file."""
        if filename:
            raise ValueError(f"cache keeps elements in memory only; received {filename!r}")
        kept: list[list[Any]] = []
        return self._reordered(partial(cached, self._items, kept), self._size)

    def filter(self, predicate: Callable[..., Any]) -> Dataset:
        """Return the elements for which `predicate`, called as in `map`, is true."""
        test = partial(_call, predicate)
        return Dataset(lambda: filter(test, self._elements()), UNKNOWN_CARDINALITY)

    def concatenate(self, dataset: Dataset) -> Dataset:
        """Return the elements of this data set, then those of another one."""
        if not isinstance(dataset, Dataset):
            raise TypeError(f"dataset must be a Dataset; received {type(dataset).__name__}")
        parts = (self, dataset)
        sizes = [part._size for part in parts]
        size = sum(sizes)
        if min(sizes) < 0:
            endless = INFINITE_CARDINALITY in sizes
            size = INFINITE_CARDINALITY if endless else UNKNOWN_CARDINALITY
        return Dataset(
            lambda: itertools.chain.from_iterable(part._elements() for part in parts),
            size,
            in_memory=all(part._in_memory for part in parts),
        )

    # ---- batches ---------------------------------------------------------------------------------

    def batch(
        self,
        batch_size: int,
        drop_remainder: bool = False,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
    ) -> Dataset:
        """Return batches: `batch_size` elements each, whose arrays get a new first axis.

        Parameters
        ----------
        batch_size : int
        drop_remainder : bool, default False
            Whether to omit a last batch that is smaller.
        num_parallel_calls, deterministic : optional
            Have no effect.
        """
        join = partial(combine, stack) if self._rows is None else partial(_gather, self._rows)
        return self._batched(self._items, join, batch_size, drop_remainder)

    def padded_batch(
        self,
        batch_size: int,
        padded_shapes: Any = None,
        padding_values: Any = None,
        drop_remainder: bool = False,
    ) -> Dataset:
        """Return batches of `batch_size` elements, whose arrays are padded to one shape.

        Parameters
        ----------
        padded_shapes : structure of sequences of (int or None), optional
            None, also in place of a number, means the largest size in the batch.
        padding_values : scalar or structure of scalars, optional
            By default 0 or empty text.

        Examples
        --------
        >>> data = Dataset.from_generator(lambda: [[1, 2, 3], [4]])
        >>> next(iter(data.padded_batch(2)))
        Tensor([[1, 2, 3],
               [4, 0, 0]], dtype=int32)
        """
        join = partial(padded, shapes=padded_shapes, values=padding_values)
        return self._batched(self._elements, join, batch_size, drop_remainder)

    def _batched(
        self, items: Items, join: Callable[[list[Any]], Any], batch_size: object, drop: object
    ) -> Dataset:
        """Return the data set of the results of `join` for `batch_size` items each."""
        per_batch = integer("batch_size", batch_size, minimum=1)
        dropped = flag("drop_remainder", drop)
        size = self._size
        if size >= 0:
            size = size // per_batch if dropped else -(-size // per_batch)
        batched = Dataset(
            lambda: map(join, chunks(items(), per_batch, dropped)), size, None, self._in_memory
        )
        batched.batch_size = per_batch
        return batched

    def unbatch(self) -> Dataset:
        """Return the rows of each element as elements."""
        return Dataset(
            lambda: unbatched(self._elements()), UNKNOWN_CARDINALITY, in_memory=self._in_memory
        )

    def window(
        self, size: int, shift: int | None = None, stride: int = 1, drop_remainder: bool = False
    ) -> Dataset:
        """Return windows of `size` elements, each of which is a data set or a structure of them.

        Parameters
        ----------
        size : int
        shift : int, optional
            The distance between the first elements of two windows, by default `size`.
        stride : int, default 1
            The distance between two elements of a window.
        drop_remainder : bool, default False
            Whether to omit windows at the end that are smaller.

        Examples
        --------
        >>> windows = Dataset.range(4).window(2, shift=1, drop_remainder=True)
        >>> list(windows.flat_map(lambda window: window.batch(2)).as_numpy_iterator())
        [array([0, 1]), array([1, 2]), array([2, 3])]
        """
        n = integer("size", size, minimum=1)
        step = n if shift is None else integer("shift", shift, minimum=1)
        span = (n - 1) * integer("stride", stride, minimum=1) + 1
        drop = flag("drop_remainder", drop_remainder)

        def items() -> Iterator[Any]:
            for run in runs(self._elements(), span, step, drop):
                yield combine(_in_memory_dataset, run[::stride])

        count = self._size
        if count >= 0:
            count = max(-(-(count - span + 1) // step), 0) if drop else -(-count // step)
        return Dataset(items, count, in_memory=self._in_memory)

    # ---- functions and threads -------------------------------------------------------------------

    def map(
        self,
        map_func: Callable[..., Any],
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
    ) -> Dataset:
        """Return the results of a function for the elements.

        Parameters
        ----------
        map_func : callable
            If an element is a tuple, each part is an argument. Returns an array, a number, or a
            structure of these; a list is a tuple.
        num_parallel_calls, deterministic : optional
            Have no effect, because the function is called for one element after another.

        Examples
        --------
        >>> data = Dataset.from_tensor_slices(([1, 2], [3, 4])).map(lambda x, y: x * y)
        >>> list(data.as_numpy_iterator())
        [np.int32(3), np.int32(8)]
        """
        if not callable(map_func):
            raise TypeError(f"map_func must be callable; received {type(map_func).__name__}")
        return Dataset(
            lambda: (_result(_call(map_func, own)) for own in self._elements()), self._size
        )

    def flat_map(self, map_func: Callable[..., Any]) -> Dataset:
        """Return the elements of the data sets that a function, called as in `map`, returns."""

        def items() -> Iterator[Any]:
            for own in self._elements():
                made = _call(map_func, own)
                if not isinstance(made, Dataset):
                    raise TypeError(f"map_func must return a Dataset; received {made!r:.80}")
                yield from made._elements()

        return Dataset(items, UNKNOWN_CARDINALITY)

    def apply(self, transformation_func: Callable[[Dataset], Dataset]) -> Dataset:
        """Return ``transformation_func(self)``."""
        return transformation_func(self)

    def enumerate(self, start: int = 0) -> Dataset:
        """Return pairs of a number, counted from `start`, and an element."""
        first = integer("start", start, minimum=-(2**63))

        def items() -> Iterator[Any]:
            for i, own in enumerate(self._elements(), first):
                yield np.asarray(i, np.int64), own

        return Dataset(items, self._size, in_memory=self._in_memory)

    def prefetch(self, buffer_size: int) -> Dataset:
        """Return the elements, which a background thread makes in advance.

        Elements of arrays in memory are made without a thread, because that is faster.

        Parameters
        ----------
        buffer_size : int
            The maximum number of elements in advance; `AUTOTUNE` means 4.
        """
        size = integer("buffer_size", buffer_size, minimum=AUTOTUNE)
        depth = _AUTOTUNED if size == AUTOTUNE else size
        if self._in_memory or depth == 0:
            return self._reordered(self._items, self._size)
        return Dataset(lambda: ahead(self._elements, depth), self._size)

    def with_options(self, options: Options) -> Dataset:
        """Return this data set with options, which have no effect."""
        changed = self._reordered(self._items, self._size)
        changed._options = options
        return changed

    def options(self) -> Options:
        """Return the options."""
        return self._options

    # ---- iteration -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return (map_structure(_seen, own) for own in self._elements())

    def as_numpy_iterator(self) -> Iterator[Any]:
        """Return an iterator over the elements as NumPy arrays and scalars."""
        return (map_structure(_numpy, own) for own in self._elements())

    def cardinality(self) -> NDArray[Any]:
        """Return the number of elements as an int64 array without axes.

        It is `INFINITE_CARDINALITY` (-1) or `UNKNOWN_CARDINALITY` (-2) if there is no such number.
        """
        return np.array(self._size, np.int64).view(Tensor)

    def __len__(self) -> int:
        if self._size == INFINITE_CARDINALITY:
            raise TypeError("The dataset is infinite.")
        if self._size == UNKNOWN_CARDINALITY:
            raise TypeError("The dataset length is unknown.")
        return self._size

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        size = {
            INFINITE_CARDINALITY: "infinitely many",
            UNKNOWN_CARDINALITY: "an unknown number of",
        }
        return f"<Dataset of {size.get(self._size, self._size)} elements>"

    def _elements(self) -> Iterator[Any]:
        return self._items() if self._rows is None else map(self._rows, self._items())

    def _reordered(self, items: Items, size: int) -> Dataset:
        """Return a data set with items of the same kind."""
        return Dataset(items, size, self._rows, self._in_memory)


experimental = SimpleNamespace(
    AUTOTUNE=AUTOTUNE,
    INFINITE_CARDINALITY=INFINITE_CARDINALITY,
    UNKNOWN_CARDINALITY=UNKNOWN_CARDINALITY,
    cardinality=Dataset.cardinality,
)


def _gather(rows: Rows, numbers: list[int]) -> Any:
    return rows(np.array(numbers, np.intp))


def _in_memory_dataset(values: list[Any]) -> Dataset:
    return Dataset(lambda: iter(values), len(values), in_memory=True)


def _call(function: Callable[..., Any], own: Any) -> Any:
    """Return the result of a user's function for an element; the parts of a tuple are arguments."""
    seen = map_structure(_seen, own)
    return function(*seen) if type(seen) is tuple else function(seen)


def _seen(value: Any) -> Any:
    """Return a leaf of an element as users see it."""
    return value.view(Tensor) if isinstance(value, np.ndarray) else value


def _numpy(value: Any) -> Any:
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _result(value: Any) -> Any:
    """Return what a user's function or generator returned as an element."""
    return map_structure(_leaf, tuple(value) if isinstance(value, list) else value)


def _leaf(value: Any) -> Any:
    return value if value is None or isinstance(value, Dataset) else as_array(value)


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else _leaf(value)
