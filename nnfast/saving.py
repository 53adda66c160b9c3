"""The file format: safetensors, with a JSON description in its metadata.

A file holds arrays, and one JSON object under the metadata key ``"nnfast"``. Nothing in it is
ever executed; names in the description are looked up in closed tables.

What a file says of itself is checked here before safetensors is given it, whose own reader
takes the last of several arrays of one name, allows headers of 100 MB and maps the file:
another process that cuts it short would then end this one.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import re
import stat
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
_KEY = "nnfast"

# Bytes of the part of a file that describes the arrays. Python's objects take up to 30 times it.
HEADER_LIMIT = 2**24
# Elements of a sample that a model may put out whose file has no weights to show for it.
OUTPUT_LIMIT = 2**22

_ITEM_SIZES = {"F32": 4, "F64": 8}
_MOST_AXES = 32

# Names of temporary files: the machine (folders may be shared), the process, chance.
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
_TEMPORARY = re.compile(rf"\.nnfast-{_MACHINE}-([1-9][0-9]{{0,9}})-[0-9a-f]{{8}}\.tmp")


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, NDArray[Any]],
    description: Mapping[str, Any],
) -> None:
    """Write a file so that `path` holds either the whole of it or what was there before.

    Temporary files that dead processes left in the folder are removed.

    Parameters
    ----------
    path : str or path-like
    arrays : dict of str to ndarray
    description : dict
        Values that JSON can hold.

    Raises
    ------
    ValueError
        If the description is too long.
    OSError
        If the file cannot be written.

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
    header = int.from_bytes(content[:8], "little")
    if header > HEADER_LIMIT:
        raise ValueError(f"the description of the model has {header} bytes, {HEADER_LIMIT} at most")
    target = Path(os.path.realpath(path))  # what a link points to is replaced, not the link
    try:
        mode = _mode(target)
        _sweep(target.parent)
        name = f".nnfast-{_MACHINE}-{os.getpid()}-{os.urandom(4).hex()}.tmp"
        _replace(target, target.with_name(name), content, mode)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno is None:
            raise
        # Writing to an open file does not say which, opening names the temporary one.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _mode(target: Path) -> int | None:
    """Return the permissions of the file that is to be replaced, None if there is none."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "Not a file, which a model could replace")
    return stat.S_IMODE(mode)


def _replace(target: Path, temporary: Path, content: bytes, mode: int | None) -> None:
    """Put `content` in the place of `target`, by way of `temporary`."""
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            if mode is not None:
                os.chmod(temporary, mode)
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sweep(folder: Path) -> None:
    """Remove the temporary files of processes of this machine that are no more."""
    if os.name == "nt":  # where asking for a process by signal 0 would end it
        return
    for entry in os.listdir(folder):
        match = _TEMPORARY.fullmatch(entry)
        if match and not _is_alive(int(match[1])):
            (folder / entry).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


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
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not Path(path).is_file():
        raise FileNotFoundError(f"No such file: {os.fspath(path)!r}")
    try:
        with open(path, "rb") as file:
            header, rest = _header(file)
        arrays = load(rest)
        description = _json(header["__metadata__"][_KEY])
        version = description["format"]
    except (SafetensorError, ValueError) as error:
        raise malformed(path, str(error)) from None
    except (KeyError, TypeError):
        raise malformed(path, "it holds no description of a model") from None
    if type(version) is not int or version != FORMAT:
        raise malformed(path, f"its format is {version!r}; this version reads {FORMAT}")
    return arrays, description


def _header(file: BinaryIO) -> tuple[Mapping[str, Any], bytes]:
    """Return a file's header and its whole content, read once the header is known to fit it."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if length > min(HEADER_LIMIT, size - 8):
        raise ValueError(f"it has no header of {length} bytes")
    text = file.read(length)
    header = _json(text.decode())
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    _check_layout(entries, size - 8 - length)
    return header, start + text + file.read(size - 8 - length)


def _check_layout(entries: Sequence[Any], size: int) -> None:
    """Check that arrays fill `size` bytes, without gaps, overlaps or anything behind them."""
    places = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError("its header describes something that is not an array")
        dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _ITEM_SIZES:
            raise ValueError(f"it holds an array of type {dtype!r}")
        if not _sizes(shape) or len(shape) > _MOST_AXES:
            raise ValueError(f"it holds an array of shape {str(shape)[:100]}")
        if not _sizes(place) or len(place) != 2:
            raise ValueError("its header does not say where an array is")
        if place[1] - place[0] != math.prod(shape) * _ITEM_SIZES[dtype]:
            raise ValueError(f"an array of shape {shape} has {place[1] - place[0]} bytes")
        places.append(place)
    end = 0
    for place in sorted(places):
        if place[0] != end:
            raise ValueError(f"nothing, or two arrays, are at byte {end} of its arrays")
        end = place[1]
    if end != size:
        raise ValueError(f"its arrays have {end} bytes, and there are {size}")


def _sizes(value: object) -> bool:
    """Return whether `value` is a list of sizes."""
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size < 2**63 for size in value
    )


def _json(text: str) -> Any:
    """Return what JSON says that says nothing twice and only knows finite numbers."""
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("its description is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("its description says something twice")
    return unique


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"its description has the number {text}")
    return number


def check_shapes(
    arrays: Mapping[str, NDArray[Any]], weights: Mapping[str, tuple[int, ...]], n_out: int
) -> None:
    """Check that a file has the weights that its model needs, before memory is taken for it.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Of the file.
    weights : dict of str to tuple of int
        The shapes of the model's.
    n_out : int
        Elements of a sample that the model puts out.

    Raises
    ------
    ValueError
        If one is missing or has another shape, or the size of the outputs follows from none.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    wrong = [name for name, shape in weights.items() if shapes.get(name) != shape]
    if wrong:
        name = wrong[0]
        has = f"of shape {shapes[name]}" if name in shapes else "missing"
        raise ValueError(f"array {name} is {has}, the model needs {weights[name]}")
    if n_out > max(OUTPUT_LIMIT, sum(array.size for array in arrays.values())):
        raise ValueError(f"its model puts out {n_out} numbers for a sample")


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
