"""Extract tar and zip archives from untrusted sources.

All members are checked before the first is written. They are unpacked into a temporary folder and
moved from there, so the target folder never has an incomplete file.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence

from nnfast.keras.utils.damage import reading

__all__ = ["extract"]

Parts = tuple[str, ...]


def extract(path: str, folder: str, formats: Sequence[str]) -> None:
    """Extract an archive into a folder; other files that are already there stay.

    Parameters
    ----------
    path : str
    folder : str
        Created if it does not exist.
    formats : sequence of str
        "tar" (also compressed with gzip, bzip2 or xz) and "zip", in the order in which they are
        tried.

    Raises
    ------
    ValueError
        If the file is not a complete archive of one of the formats; if a member lies outside of
        the folder, is a link to such a place, or is neither a regular file, a folder nor a link; or
        if the members need more space than there is. Nothing is written then, unless damage is
        found only when members are unpacked.
    """
    openers = {"tar": _extract_tar, "zip": _extract_zip}
    recognizers = {"tar": tarfile.is_tarfile, "zip": zipfile.is_zipfile}
    with reading(path):
        for name in formats:
            if recognizers[name](path):
                openers[name](path, folder)
                return
        raise ValueError(f"it is not an archive of format {' or '.join(formats)}")


def _extract_tar(path: str, folder: str) -> None:
    with tarfile.open(path) as archive:
        members = _members(archive)
        # The checksums of gzip, bzip2 and xz are at the end, which tarfile itself does not read.
        while archive.fileobj and archive.fileobj.read(2**20):
            pass
        _check_tar(members)
        _check_space(sum(member.size for member in members), folder)
        for member in members:
            member.mode &= 0o777  # Python before 3.11.4 would also set the setuid bit
        with _Scratch(folder) as scratch:
            if hasattr(tarfile, "data_filter"):  # since Python 3.11.4
                archive.extractall(scratch, members, filter="data")
            else:
                archive.extractall(scratch, members)


def _members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Return the members; tarfile takes a damaged header after the first one for the end."""
    members = archive.getmembers()
    file = archive.fileobj
    if file is not None:
        file.seek(archive.offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise ValueError("the header of a member is damaged")
    return members


def _extract_zip(path: str, folder: str) -> None:
    # zipfile never reads more of a member than the size that was added up here.
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            _parts(member.filename)
        _check_space(sum(member.file_size for member in members), folder)
        with _Scratch(folder) as scratch:
            archive.extractall(scratch)


def _check_tar(members: Iterable[tarfile.TarInfo]) -> None:
    """Refuse members through which an archive could reach places outside of its folder.

    No member lies below a link. The folder of a link is therefore a real folder, and ".." at the
    start of its target leads where the text says. A target has no other "..".
    """
    paths = {member: _parts(member.name) for member in members}
    files = {parts for member, parts in paths.items() if member.isreg()}
    # Case is ignored, as some file systems do.
    links = {_folded(parts) for member, parts in paths.items() if member.issym()}
    for member, parts in paths.items():
        if any(_folded(parts[:depth]) in links for depth in range(1, len(parts))):
            raise ValueError(f"member {member.name!r} lies below a link")
        if member.issparse() or not (member.isreg() or member.isdir() or _is_link(member)):
            raise ValueError(f"member {member.name!r} is not a file, a folder or a link")
        if not parts and not member.isdir():
            raise ValueError(f"member {member.name!r} has no name")
        inside = (
            _parts(member.linkname) in files
            if member.islnk()
            else not member.issym() or _stays(parts, member.linkname)
        )
        if not inside:
            raise ValueError(f"member {member.name!r} is a link to {member.linkname!r}")


def _is_link(member: tarfile.TarInfo) -> bool:
    return member.issym() or member.islnk()


def _folded(parts: Parts) -> Parts:
    return tuple(part.casefold() for part in parts)


def _parts(name: str) -> Parts:
    """Return the folders and the name of a path that stays inside; otherwise raise a ValueError.

    Examples
    --------
    >>> _parts("./images/a.png")
    ('images', 'a.png')
    """
    parts = name.replace("\\", "/").split("/")
    if (not parts[0] and len(parts) > 1) or ".." in parts or os.path.splitdrive(name)[0]:
        raise ValueError(f"member {name!r} lies outside of the archive's folder")
    return tuple(part for part in parts if part not in ("", "."))


def _stays(link: Parts, target: str) -> bool:
    """Return whether a symbolic link stays in the folder.

    Examples
    --------
    >>> _stays(("a", "b"), "../c"), _stays(("a", "b"), "../../c"), _stays(("a", "b"), "c/../d")
    (True, False, False)
    """
    steps = target.replace("\\", "/").split("/")
    ups = 0
    while ups < len(steps) and steps[ups] in ("..", "."):
        ups += 1
    upwards = steps[:ups].count("..")
    rest = steps[ups:]
    absolute = not steps[0] or bool(os.path.splitdrive(target)[0])
    return not absolute and upwards < len(link) and ".." not in rest


def _check_space(size: int, folder: str) -> None:
    parent = os.path.dirname(os.path.realpath(folder))
    free = shutil.disk_usage(parent).free
    if size > free:
        raise ValueError(f"its members have {size} bytes, but only {free} are free in {parent}")


class _Scratch(tempfile.TemporaryDirectory[str]):
    """A temporary folder whose content is moved to the target if the block ends without error."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        # Next to the target and thus on the same file system, where files can be renamed.
        super().__init__(prefix=".nnfast-", dir=os.path.dirname(os.path.realpath(folder)))

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                _move(self.name, self.folder)
        finally:
            self.cleanup()


def _move(source: str, folder: str) -> None:
    """Move the files and links below `source` to the same places below `folder`.

    An earlier archive may have put a link where this one has a folder. What the links in this
    archive lead to would then differ from what `_check_tar` has checked.
    """
    for place, folders, files in os.walk(source):
        target = os.path.join(folder, os.path.relpath(place, source))
        if place != source and os.path.islink(target):
            raise ValueError(f"it has a folder where {target} is a link")
        os.makedirs(target, exist_ok=True)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if name not in links]
        for name in files + links:
            os.replace(os.path.join(place, name), os.path.join(target, name))
