"""`get_file`: files from the internet, kept in Keras' cache."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from nnfast._utils.checks import entries, file_name, flag, optional_text
from nnfast._utils.registry import choose
from nnfast.keras.utils.downloads import SCHEMES, download

__all__ = ["get_file"]

_DIGITS = {"md5": 32, "sha256": 64}
_FORMATS: dict[str, list[str]] = {"auto": ["tar", "zip"], "tar": ["tar"], "zip": ["zip"]}


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str | os.PathLike[str] = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | Sequence[str] | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """Return the path of a file in the cache, which is downloaded if it is not there.

    The folders and names are those of Keras: files that Keras has downloaded are found. A file
    appears in the cache only when it is complete and has the right checksum.

    Parameters
    ----------
    fname : str or path-like, optional
        The name of the file in the cache, without folders; by default the last part of `origin`.
        With `extract`, a name with a dot, ``name.zip``, is the archive's, which is extracted into
        ``name_extracted``; a name without a dot is the extraction folder's, and the archive is
        ``name_archive``.
    origin : str
        The address: http, https or file.
    untar : bool, default False
        The same as ``extract=True, archive_format="tar"``.
    md5_hash : str, optional
        The MD5 checksum, if `file_hash` is None.
    file_hash : str, optional
        The checksum as hexadecimal digits, which cached and downloaded files are compared with.
    cache_subdir : str or path-like, default "datasets"
        The folder in `cache_dir`; an absolute path replaces `cache_dir`.
    hash_algorithm : {"auto", "md5", "sha256"}, default "auto"
        The kind of `file_hash`; "auto" recognizes it by its length.
    extract : bool, default False
        Whether to extract the file, a tar or zip archive.
    archive_format : {"auto", "tar", "zip"}, a list of the latter two, or None
        The formats to try, by default both. None allows none, and is an error with `extract`.
    cache_dir : str or path-like, optional
        By default ``$KERAS_HOME`` if it is set, otherwise ``~/.keras``. If it is not writable,
        the folder ``.keras`` in the folder for temporary files is used.
    force_download : bool, default False
        Whether to download the file even if it is in the cache.

    Returns
    -------
    str
        The path of the file, or of the folder into which the archive has been extracted.

    Raises
    ------
    ValueError
        If an argument is not valid, if the downloaded file has another checksum, or if the archive
        is damaged or has members outside of its folder.
    OSError
        If the file cannot be downloaded; the message says where to put it.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("numbers.csv").write_text("1,2,3")
    >>> origin = Path("numbers.csv").absolute().as_uri()
    >>> path = get_file(origin=origin, cache_dir="cache")
    Downloading data from file:...numbers.csv
    >>> Path(path).relative_to("cache").as_posix(), Path(path).read_text()
    ('datasets/numbers.csv', '1,2,3')
    """
    origin = _address(origin)
    name = _name(fname, origin)
    is_tar = flag("untar", untar)
    unpack = flag("extract", extract) or is_tar
    formats = _formats("tar" if is_tar else archive_format) if unpack else []
    checksum = _Checksum.of(md5_hash, file_hash, hash_algorithm)
    flag("force_download", force_download)

    folder = os.path.join(_cache(cache_dir), file_name("cache_subdir", cache_subdir))
    os.makedirs(folder, exist_ok=True)
    file, extracted = _places(name, named=bool(fname)) if unpack else (name, "")
    target = os.path.join(folder, file)
    if force_download or not _cached(target, checksum):
        download(origin, target, checksum.check)
    if not unpack:
        return target
    # Imported here, because archives and their compressions are slow to load.
    from nnfast.keras.utils import archives

    extraction = os.path.join(folder, extracted)
    archives.extract(target, extraction, formats)
    return extraction


@dataclass(frozen=True)
class _Checksum:
    """The expected checksum of a file.

    Attributes
    ----------
    algorithm : {"md5", "sha256"}
    digits : str or None
        None if any file is accepted.
    """

    algorithm: str
    digits: str | None

    @classmethod
    def of(cls, md5_hash: str | None, file_hash: str | None, algorithm: str) -> _Checksum:
        """Return the checksum that the arguments of `get_file` describe."""
        choose("hash_algorithm", algorithm, {"auto": None, **_DIGITS})
        name, value = "file_hash", optional_text("file_hash", file_hash)
        if value is None and md5_hash is not None:
            name, value, algorithm = "md5_hash", optional_text("md5_hash", md5_hash), "md5"
        if value is None:
            return cls(algorithm, None)
        if algorithm == "auto":
            algorithm = "sha256" if len(value) == _DIGITS["sha256"] else "md5"
        if not re.fullmatch(f"[0-9a-fA-F]{{{_DIGITS[algorithm]}}}", value):
            raise ValueError(
                f"{name} must have {_DIGITS[algorithm]} hexadecimal digits ({algorithm}); "
                f"received {value!r}"
            )
        return cls(algorithm, value.lower())

    def matches(self, path: str) -> bool:
        """Return whether a file has this checksum."""
        if self.digits is None:
            return True
        with open(path, "rb") as file:
            # With usedforsecurity, some systems would refuse MD5.
            new = hashlib.file_digest(
                file, lambda: hashlib.new(self.algorithm, usedforsecurity=False)
            )
        return new.hexdigest() == self.digits

    def check(self, path: str) -> None:
        """Raise a ValueError if a downloaded file has another checksum."""
        if not self.matches(path):
            raise ValueError(
                "Incomplete or corrupted file detected: the downloaded file does not have the "
                f"{self.algorithm} checksum {self.digits}"
            )


def _address(origin: str | None) -> str:
    """Return `origin` after checking that it is an address that can be downloaded."""
    if origin is None:
        raise ValueError("origin must be the address of the file to download; received None")
    if not isinstance(origin, str):
        raise TypeError(f"origin must be text; received {origin!r}")
    if urlsplit(origin).scheme.lower() not in SCHEMES:
        raise ValueError(f"origin must be an address of {', '.join(SCHEMES)}; received {origin!r}")
    return origin


def _name(fname: str | os.PathLike[str] | None, origin: str) -> str:
    """Return the name of the file, without folders."""
    given = "" if fname is None else file_name("fname", fname)
    name = given or os.path.basename(urlsplit(origin).path)
    if name in ("", ".", "..") or "\0" in name or set(name) & {os.sep, os.altsep}:
        what = "fname" if given else "the end of origin"
        raise ValueError(
            f"{what} must be the name of a file, without folders (cache_dir and cache_subdir are "
            f"for these); received {given or origin!r}"
        )
    return name


def _formats(archive_format: str | Sequence[str] | None) -> list[str]:
    """Return the formats of archives to try."""
    if isinstance(archive_format, str):
        return choose("archive_format", archive_format, _FORMATS)
    if not archive_format:
        raise ValueError(
            'archive_format must be "auto", "tar", "zip" or a list of these if a file is '
            f"extracted; received {archive_format!r}"
        )
    names = entries("archive_format", archive_format)
    return [choose("archive_format", name, {"tar": name, "zip": name}) for name in names]


def _cache(cache_dir: str | os.PathLike[str] | None) -> str:
    """Return the folder of the cache, or the spare folder if it is not writable."""
    if cache_dir is None:
        cache_dir = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    base = os.path.expanduser(file_name("cache_dir", cache_dir))
    try:
        os.makedirs(base, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    if os.access(base, os.W_OK):
        return base
    spare = os.path.join(tempfile.gettempdir(), ".keras")
    os.makedirs(spare, mode=0o700, exist_ok=True)
    # Anybody can create this folder, and whoever owns it controls what is read from it.
    if hasattr(os, "getuid") and os.lstat(spare).st_uid != os.getuid():
        raise PermissionError(
            f"{base} is not writable and {spare} belongs to another user: pass cache_dir or set "
            "KERAS_HOME to a folder of your own"
        )
    return spare


def _places(name: str, named: bool) -> tuple[str, str]:
    """Return the names of an archive and of the folder into which it is extracted.

    Examples
    --------
    >>> _places("a.tar.gz", named=True), _places("a", named=True), _places("a.tgz", named=False)
    (('a.tar.gz', 'a_extracted'), ('a_archive', 'a'), ('a.tgz_archive', 'a.tgz'))
    """
    if named and "." in name:
        return name, f"{name.partition('.')[0]}_extracted"
    return f"{name}_archive", name


def _cached(target: str, checksum: _Checksum) -> bool:
    """Return whether the file is in the cache and has the right checksum."""
    if not os.path.exists(target):
        return False
    if checksum.matches(target):
        return True
    print(
        f"A local file was found, but {target} is incomplete or outdated: it does not have the "
        f"{checksum.algorithm} checksum {checksum.digits}, so it is downloaded again"
    )
    return False
