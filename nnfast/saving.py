"""The file format: safetensors, with a JSON description in its metadata.

A file holds arrays, and one JSON object under the metadata key ``"nnfast"``. Nothing in it is
ever executed; names in the description are looked up in closed tables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
_KEY = "nnfast"


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, NDArray[Any]],
    description: Mapping[str, Any],
) -> None:
    """Write a file so that `path` holds either the whole of it or what was there before.

    Parameters
    ----------
    path : str or path-like
    arrays : dict of str to ndarray
    description : dict
        Values that JSON can hold.

    Raises
    ------
    OSError
        If the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> write(folder.name + "/a.safetensors", {"w": np.ones(2)}, {"name": "a"})
    >>> arrays, description = read(folder.name + "/a.safetensors")
    >>> arrays["w"], description["name"]
    (array([1., 1.]), 'a')
    >>> folder.cleanup()
    """
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, **description}, allow_nan=False)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(contiguous, metadata={_KEY: text})
    target = Path(path).absolute()
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a file that `write` wrote.

    Returns
    -------
    arrays : dict of str to ndarray
    description : dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file, or of a format that this version does not know.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"No such file: {os.fspath(path)!r}")
    try:
        with safe_open(os.fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise malformed(path, str(error)) from None
    try:
        description = json.loads(metadata[_KEY])
        version = description["format"]
    except (KeyError, TypeError, ValueError):
        raise malformed(path, "it holds no description of a model") from None
    if version != FORMAT:
        raise malformed(path, f"its format is {version!r}; this version reads {FORMAT}")
    return arrays, description


def weights_by_layer(path: str | os.PathLike[str]) -> dict[tuple[int, str], NDArray[Any]]:
    """Read the weights in a file of `save_weights` or `save`.

    Returns
    -------
    dict of (place of the layer, name) to ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file.
    """
    arrays, description = read(path)
    try:
        if "model" in description:
            names = [layer["config"]["name"] for layer in description["model"]["layers"]]
            places = {name: i for i, name in enumerate(names)}
        else:
            places = {str(i): i for i in range(len(description["layers"]))}
        parts = {key: key.split("/") for key in arrays if key.startswith("layers/")}
        return {(places[layer], name): arrays[key] for key, (_, layer, name) in parts.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise malformed(path, f"{type(error).__name__}: {error}") from None


def malformed(path: str | os.PathLike[str], why: str) -> ValueError:
    """Return the error for a file that is not what it should be."""
    return ValueError(f"{os.fspath(path)!r} is not a model saved by nnfast: {why}")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where folders can be opened (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
