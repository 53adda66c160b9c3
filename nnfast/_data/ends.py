"""The inputs or the outputs of a model: their names, and the structure in which users pass them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Ends:
    """The inputs or the outputs of a model.

    Parameters
    ----------
    structure : int, or a list, tuple or dict of structures
        The numbers 0, 1, … of the inputs in place of the symbolic tensors; those of a dict are in
        the order of the sorted keys.
    names : sequence of str
        The names of the layers of the inputs, or of those that make the outputs.

    Attributes
    ----------
    names : list of str
        The keys of a dict, or the names of the layers.

    Examples
    --------
    >>> ends = Ends({"a": 0, "b": 1}, ["dense", "dense_1"])
    >>> ends.names, ends.parts("x", {"b": "B", "a": "A"}), ends.packed(["A", "B"])
    (['a', 'b'], ['A', 'B'], {'a': 'A', 'b': 'B'})
    """

    def __init__(self, structure: Any, names: Sequence[str]) -> None:
        self._structure = structure
        self.names = list(names)
        self._single = len(self.names) == 1
        _name(structure, (), self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def keyed(self) -> bool:
        """Whether the structure is a dict."""
        return isinstance(self._structure, Mapping)

    @property
    def flat(self) -> bool:
        """Whether the structure is a number or a list of numbers."""
        structure = self._structure
        numbers = list(range(len(self)))
        return isinstance(structure, int) or (not self.keyed and list(structure) == numbers)

    def labelled(self, argument: str, value: Any, more: bool = False) -> list[tuple[str, Any]]:
        """Return the `parts` of an argument with their names in messages."""
        if self._single and type(value) is np.ndarray:
            return [(argument, value)]
        parts = self.parts(argument, value, more)
        if self._single:
            return [(argument, parts[0])]
        labels = [f"{argument}[{name!r}]" for name in self.names]
        return list(zip(labels, parts, strict=True))

    def parts(self, argument: str, value: Any, more: bool = False) -> list[Any]:
        """Return the entries of a list, tuple or dict in the order of the inputs.

        Parameters
        ----------
        argument : str
            The argument's name, for messages.
        value : object
            If there is only one input, anything but a dict is its entry.
        more : bool, default False
            Whether a dict may have other keys, too, which are ignored.

        Raises
        ------
        ValueError
            If an entry is missing, or there are too many.
        """
        if len(self) == 1 and not isinstance(value, Mapping):
            return [value]
        structure = self._structure
        if isinstance(value, Mapping) and not isinstance(structure, Mapping):
            names = set(self.names)
            complete = len(names) == len(self) and all(name in value for name in names)
            if not complete or (len(value) > len(names) and not more):
                raise self._unlike(argument, value)
            return [value[name] for name in self.names]
        found = [None] * len(self)
        self._collect(argument, structure, value, found, more)
        return found

    def _collect(
        self, argument: str, structure: Any, value: Any, found: list[Any], more: bool
    ) -> None:
        """Write the entries of a value that belong to a part of the structure to `found`."""
        if isinstance(structure, int):
            found[structure] = value
            return
        keys = sorted(structure) if isinstance(structure, Mapping) else range(len(structure))
        if isinstance(value, Mapping) and isinstance(structure, Mapping):
            if any(key not in value for key in keys) or (len(value) > len(keys) and not more):
                raise self._unlike(argument, value)
            value = [value[key] for key in keys]
        if not isinstance(value, (list, tuple)) or len(value) != len(keys):
            raise self._unlike(argument, value)
        for key, part in zip(keys, value, strict=True):
            self._collect(argument, structure[key], part, found, more)

    def _unlike(self, argument: str, value: Any) -> ValueError:
        received = type(value).__name__
        if isinstance(value, Mapping):
            received = f"a dict with the keys {sorted(map(str, value))}"
        elif isinstance(value, (list, tuple)):
            received = f"a {received} of length {len(value)}"
        return ValueError(
            f"{argument} must have one entry for each of {self.names}, in this order or in a dict; "
            f"received {received}"
        )

    def completed(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries for some of the outputs of a dict, and None for the others.

        Outputs that are not in a dict need all entries.
        """
        keys = self._structure if self.keyed else ()
        return {**dict.fromkeys(keys), **entries}

    def packed(self, values: Sequence[Any]) -> Any:
        """Return the values in the structure of the outputs; a list of one is that value."""
        if len(self) == 1 and not self.keyed:
            return values[0]
        return _packed(self._structure, values)


def only(name: str) -> Ends:
    """Return the only input or output of a model.

    Examples
    --------
    >>> only("dense").parts("loss", "mse"), only("dense").packed([3])
    (['mse'], 3)
    """
    return Ends(0, [name])


def _name(structure: Any, path: tuple[Any, ...], names: list[str]) -> None:
    """Replace the names of layers by the path of keys to each output, as Keras names its losses."""
    if isinstance(structure, int):
        if path:
            last = names[structure] if isinstance(path[-1], int) else path[-1]
            names[structure] = "/".join(map(str, (*path[:-1], last)))
        return
    keys: Any = structure if isinstance(structure, Mapping) else range(len(structure))
    for key in keys:
        _name(structure[key], (*path, key), names)


def _packed(structure: Any, values: Sequence[Any]) -> Any:
    if isinstance(structure, int):
        return values[structure]
    if isinstance(structure, Mapping):
        return {key: _packed(part, values) for key, part in structure.items()}
    return [_packed(part, values) for part in structure]
