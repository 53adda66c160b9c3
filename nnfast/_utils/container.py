"""The file format: safetensors, with a JSON description in its metadata.

A file holds arrays, and one JSON object under the metadata key ``"nnfast"``. Nothing in it is
ever executed; names in the description are looked up in fixed tables.

Arrays are written and read without intermediate copies. The safetensors library is not used: it
copies all arrays, and if memory runs out it aborts the process or raises something that is not an
Exception. Its reader accepts duplicate names and headers of 100 MB. It also maps the file, so that
truncation by another process would kill this one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import re
import stat
import sys
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import file_name
from nnfast._utils.json_text import json_text

if sys.platform != "win32":
    import fcntl

FORMAT = 1
_KEY = "nnfast"

# Maps a key of the description to the module whose `restored(arrays, description)` recreates the
# object.
KINDS = {"model": "nnfast.models.serialization", "estimator": "nnfast.estimators.files"}

# Maximum size of the header in bytes; parsing it takes up to 30 times as much memory.
HEADER_LIMIT = 2**24
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_MAX_AXES = 32

# A temporary file is named after the machine (folders may be shared), the process and a random
# number.
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
_TEMPORARY = re.compile(r"\.nnfast-([0-9a-f]{8})-[1-9][0-9]{0,9}-[0-9a-f]{8}\.tmp")
# A temporary file that has not changed for a day is considered abandoned.
_STALE_SECONDS = 86400.0


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, NDArray[Any]],
    description: Mapping[str, Any],
) -> None:
    """Write a file atomically: `path` holds either the complete new file or the old one.

    Temporary files that dead processes left in the folder are removed. The arrays are not copied,
    so they must not change during the call.

    Parameters
    ----------
    path : str or path-like
    arrays : dict of str to ndarray
    description : dict
        Values that can be written as JSON.

    Raises
    ------
    TypeError, ValueError
        If the description contains a function, or is too long.
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
    text = json_text({"format": FORMAT, **description}, allow_nan=False)
    # Use the order of the safetensors library: by item size, largest first, then by name.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    stored = {
        name: np.require(arrays[name], arrays[name].dtype.newbyteorder("<"), "C") for name in order
    }
    header = _header_of(stored, text)
    if len(header) > HEADER_LIMIT:
        raise ValueError(
            f"the description of the model has {len(header)} bytes; at most {HEADER_LIMIT} are "
            "allowed"
        )
    views = [array.data for array in stored.values()]
    content: list[bytes | memoryview] = [len(header).to_bytes(8, "little"), header, *views]
    target = Path(os.path.realpath(path))  # replace the file that a link points to, not the link
    try:
        mode = _mode(target)
        _sweep(target.parent)
        _replace(target, content, mode)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno is None:
            raise
        # A write error names no file, and an error on opening names the temporary file.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _header_of(arrays: Mapping[str, NDArray[Any]], text: str) -> bytes:
    """Return the header, which contains the position of each array and `text`."""
    names = {dtype: name for name, dtype in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": {_KEY: text}}
    end = 0
    for name, array in arrays.items():
        offsets = [end, end := end + array.nbytes]
        header[name] = {"dtype": names[array.dtype], "shape": array.shape, "data_offsets": offsets}
    written = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    return written + b" " * (-len(written) % 8)  # align the arrays to a multiple of 8


def _mode(target: Path) -> int | None:
    """Return the permissions of the file that will be replaced, None if no such file exists."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "Not a file that a model could replace")
    return stat.S_IMODE(mode)


def _replace(target: Path, content: Iterable[bytes | memoryview], mode: int | None) -> None:
    """Replace `target` with `content` through a temporary file."""
    file, temporary = _temporary(target.parent)
    try:
        with file:
            for part in content:
                file.write(part)
            file.flush()
            if mode is not None:
                os.chmod(temporary, mode)
            os.fsync(file.fileno())
            if os.name != "nt":  # Windows cannot rename an open file
                os.replace(temporary, target)
        if os.name == "nt":
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(folder: Path) -> tuple[BinaryIO, Path]:
    """Create a file that is locked while open; the lock shows that its writer is alive."""
    while True:
        path = folder / f".nnfast-{_MACHINE}-{os.getpid()}-{os.urandom(4).hex()}.tmp"
        file = open(path, "xb")  # noqa: SIM115
        # Before the file is locked, another process may take it for a stale file and remove it.
        if _lock(file.fileno()) is not False and path.exists():
            return file, path
        file.close()


def _lock(descriptor: int) -> bool | None:
    """Lock a file and return whether that succeeded, None if locks are not supported."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep(folder: Path) -> None:
    """Remove the temporary files of dead writers; ignore errors."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if match := _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    _remove_stale(folder / name, match[1] == _MACHINE)


def _remove_stale(path: Path, here: bool) -> None:
    """Remove a temporary file that has no lock and no living writer.

    Process ids do not show whether the writer is alive, because containers with the same host name
    do not see each other's processes. If the file system has no locks, or another machine wrote
    the file, the file's age decides.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return
    old = time.time() - status.st_mtime > _STALE_SECONDS
    if sys.platform == "win32":  # no lock is needed: Windows cannot remove an open file
        if old:
            path.unlink()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        free = _lock(descriptor)
        if free is not False and (old or (free and here)):
            path.unlink()  # removed while locked, so its writer notices when it gets the lock
    finally:
        os.close(descriptor)


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
        If `write` did not write the file, or this version cannot read its format.
    """
    path = file_name("path", path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"No such file: {os.fspath(path)!r}")
    try:
        with open(path, "rb") as file:
            header = _header(file)
            description = _json(header.pop("__metadata__")[_KEY])
            version = description["format"]
            start = file.tell()
            arrays = {name: _array(file, start, entry) for name, entry in header.items()}
    except ValueError as error:
        raise malformed(path, str(error)) from None
    except (KeyError, TypeError):
        raise malformed(path, "it holds no description of a model") from None
    if type(version) is not int or version != FORMAT:
        raise malformed(path, f"its format is {version!r}; this version reads format {FORMAT}")
    return arrays, description


def _header(file: BufferedReader) -> dict[str, Any]:
    """Return a file's header after checking it against the size of the file."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > min(HEADER_LIMIT, size - 8):
        raise ValueError(f"it has no header of {length} bytes")
    header = _json(file.read(length).decode())
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    _check_layout(entries, size - 8 - length)
    return header


def _array(file: BufferedReader, start: int, entry: Mapping[str, Any]) -> NDArray[Any]:
    """Return an array from a file whose layout has been checked."""
    array: NDArray[Any] = np.empty(entry["shape"], _TYPES[entry["dtype"]])
    file.seek(start + entry["data_offsets"][0])
    if array.size and file.readinto(array.data) != array.nbytes:
        raise ValueError("it was cut short during reading")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_layout(entries: Sequence[Any], size: int) -> None:
    """Check that arrays fill `size` bytes exactly, without gaps or overlaps."""
    ranges = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError("its header describes something that is not an array")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _TYPES:
            raise ValueError(f"it holds an array of type {dtype!r}")
        if not _sizes(shape) or len(shape) > _MAX_AXES:
            raise ValueError(f"it holds an array of shape {str(shape)[:100]}")
        if not _sizes(offsets) or len(offsets) != 2:
            raise ValueError("its header does not say where an array is")
        if offsets[1] - offsets[0] != math.prod(shape) * _TYPES[dtype].itemsize:
            raise ValueError(f"an array of shape {shape} has {offsets[1] - offsets[0]} bytes")
        ranges.append(offsets)
    end = 0
    for offsets in sorted(ranges):
        if offsets[0] != end:
            raise ValueError(f"nothing, or two arrays, are at byte {end} of its arrays")
        end = offsets[1]
    if end != size:
        raise ValueError(f"its arrays have {end} bytes, and there are {size}")


def _sizes(value: object) -> bool:
    """Return whether `value` is a list of non-negative 64-bit integers."""
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size < 2**63 for size in value
    )


def _json(text: str) -> Any:
    """Return the parsed JSON; duplicate keys and numbers that are not finite are refused."""
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("its description is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("its description has a key twice")
    return unique


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"its description has the number {text}")
    return number


def weights_by_layer(
    path: str | os.PathLike[str],
) -> tuple[list[str], dict[tuple[int, str], NDArray[Any]]]:
    """Read the weights in a file that `save_weights` or `save` wrote.

    Returns
    -------
    names : list of str
        The names of the layers; those of layers within models are paths.
    arrays : dict of (layer index, weight name) to ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If neither of them wrote the file.
    """
    arrays, description = read(path)
    if "estimator" in description:
        raise malformed(path, "it holds an estimator, which nnfast.load_model reads")
    try:
        if "model" in description:
            names = description.get("paths")
            if names is None:  # a chain of layers
                names = [layer["config"]["name"] for layer in description["model"]["layers"]]
            indices = {name: i for i, name in enumerate(names)}
        else:
            names = description["layers"]
            indices = {str(i): i for i in range(len(names))}
        if not all(isinstance(name, str) for name in names):
            raise TypeError("names must be text")
        parts = {
            key: key.removeprefix("layers/").rpartition("/")
            for key in arrays
            if key.startswith("layers/")
        }
        found = {(indices[layer], name): arrays[key] for key, (layer, _, name) in parts.items()}
        return names, found
    except (KeyError, TypeError, ValueError) as error:
        raise malformed(path, reason(error)) from None


def malformed(path: str | os.PathLike[str], why: str) -> ValueError:
    """Return the ValueError for a file that is not a valid model file."""
    return ValueError(f"{os.fspath(path)!r} is not a model saved by nnfast: {why}")


def reason(error: Exception) -> str:
    """Return a text that explains an error raised while a description was read.

    Examples
    --------
    >>> reason(KeyError("layers")), reason(ValueError("units must be positive"))
    ("its description lacks 'layers'", 'ValueError: units must be positive')
    """
    if isinstance(error, KeyError):
        return f"its description lacks {error}"
    return f"{type(error).__name__}: {error}"


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; on Windows, where folders cannot be opened, do nothing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
