"""`get_file` finds, downloads, checks and extracts files, and leaves none incomplete."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import re
import socket
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_server import WebServer, web_server

from nnfast._runtime import progress
from nnfast.keras.utils import downloads, files, get_file

CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = "0" * 64


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache, which is the only folder that these tests use."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "keras"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as state:
        yield state


@pytest.fixture
def origin(server: WebServer) -> str:
    return server.add("a.bin", CONTENT)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_a_file_is_downloaded_once(home: Path, server: WebServer, origin: str) -> None:
    for _ in range(2):
        path = get_file(origin=origin)
        assert path == str(home / "datasets" / "a.bin")
        assert Path(path).read_bytes() == CONTENT
    assert server.requests == ["a.bin"]
    get_file("b.bin", origin, cache_subdir="other")
    get_file("b.bin", origin, cache_subdir="other", force_download=True)
    assert server.requests == ["a.bin"] * 3
    assert names(home) == ["datasets", "datasets/a.bin", "other", "other/b.bin"]


def test_the_query_of_an_address_is_not_part_of_the_name(server: WebServer) -> None:
    path = get_file(origin=server.add("a.bin?x=1/2", CONTENT))
    assert os.path.basename(path) == "a.bin"


def test_the_cache_is_where_keras_has_it(
    tmp_path: Path, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = tmp_path / "absolute"
    assert get_file(origin=origin, cache_subdir=absolute) == str(absolute / "a.bin")
    other = tmp_path / "other"
    assert get_file(Path("b"), origin, cache_dir=other) == str(other / "datasets" / "b")
    assert get_file(origin=origin, cache_dir="~/c", cache_subdir="") == str(
        tmp_path / "home/c/a.bin"
    )
    monkeypatch.delenv("KERAS_HOME")
    assert get_file(origin=origin) == str(tmp_path / "home/.keras/datasets/a.bin")


def test_a_folder_that_is_not_writable_has_a_replacement(
    tmp_path: Path, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).startswith(str(closed)) and real(path, mode)
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = get_file(origin=origin, cache_dir=closed)
    assert path == str(tmp_path / ".keras" / "datasets" / "a.bin")
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with pytest.raises(PermissionError, match=r"belongs to another user.*KERAS_HOME"):
        get_file(origin=origin, cache_dir=closed)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_created_has_a_replacement(
    number: int, tmp_path: Path, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    real = os.makedirs

    def makedirs(path: str, *args: Any, **options: Any) -> None:
        if path == str(closed):
            raise OSError(number, "not possible")
        real(path, *args, **options)

    monkeypatch.setattr(os, "makedirs", makedirs)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = get_file(origin=origin, cache_dir=closed)
    assert path == str(tmp_path / ".keras" / "datasets" / "a.bin")
    closed.touch()
    number = errno.EEXIST
    with pytest.raises(FileExistsError):
        get_file(origin=origin, cache_dir=closed)


@pytest.mark.parametrize(
    "options",
    [
        {"file_hash": SHA256},
        {"file_hash": SHA256.upper(), "hash_algorithm": "sha256"},
        {"file_hash": MD5},
        {"file_hash": MD5, "hash_algorithm": "md5"},
        {"md5_hash": MD5},
        {"md5_hash": "0" * 32, "file_hash": SHA256},  # file_hash wins
    ],
)
def test_a_right_checksum_is_accepted(
    options: dict[str, Any], origin: str, server: WebServer
) -> None:
    for _ in range(2):
        assert Path(get_file(origin=origin, **options)).read_bytes() == CONTENT
    assert server.requests == ["a.bin"]


@pytest.mark.parametrize("options", [{"file_hash": WRONG}, {"md5_hash": "0" * 32}])
def test_a_file_with_a_wrong_checksum_does_not_appear(
    options: dict[str, Any], home: Path, origin: str
) -> None:
    with pytest.raises(ValueError, match=r"Incomplete or corrupted file detected.*checksum 0000"):
        get_file(origin=origin, **options)
    assert names(home) == ["datasets"]


def test_a_cached_file_with_a_wrong_checksum_is_downloaded_again(
    home: Path, origin: str, server: WebServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "datasets").mkdir(parents=True)
    (home / "datasets/a.bin").write_bytes(b"old")
    assert Path(get_file(origin=origin)).read_bytes() == b"old"
    assert Path(get_file(origin=origin, file_hash=SHA256)).read_bytes() == CONTENT
    assert "A local file was found" in capsys.readouterr().out
    assert names(home) == ["datasets", "datasets/a.bin"]


def test_a_failed_download_says_where_to_put_the_file(
    home: Path, server: WebServer, origin: str
) -> None:
    missing = f"{server.address}/missing.bin"
    with pytest.raises(OSError, match=r"404.*put a copy of it at .*missing\.bin") as caught:
        get_file(origin=missing)
    assert type(caught.value.__cause__).__name__ == "HTTPError"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # without listening, so that connections are refused
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/a.bin"
        with pytest.raises(OSError, match=r"URL fetch failure on http.*refused") as caught:
            get_file(origin=closed)
    assert type(caught.value.__cause__).__name__ == "URLError"
    with pytest.raises(OSError, match="URL fetch failure on file"):
        get_file(origin="file:///does/not/exist.bin")
    with pytest.raises(OSError, match="URL fetch failure"):
        get_file(origin=f"{server.address}/a b.bin")
    assert names(home) == ["datasets"]


def test_without_network_a_bad_file_stays_and_the_error_names_it(home: Path) -> None:
    (home / "datasets").mkdir(parents=True)
    (home / "datasets/a.bin").write_bytes(b"old")
    with pytest.raises(OSError, match=re.escape(str(home / "datasets/a.bin"))):
        get_file("a.bin", "file:///does/not/exist.bin", file_hash=SHA256)
    assert names(home) == ["datasets", "datasets/a.bin"]


def test_a_connection_that_breaks_leaves_no_file(
    home: Path, server: WebServer, origin: str
) -> None:
    server.cut.add("a.bin")
    with pytest.raises(OSError, match="closed after 128000 of 256000 bytes"):
        get_file(origin=origin)
    assert names(home) == ["datasets"]
    server.cut.clear()
    assert Path(get_file(origin=origin)).read_bytes() == CONTENT


def test_a_download_without_announced_size_succeeds(server: WebServer, origin: str) -> None:
    server.unsized.add("a.bin")
    assert Path(get_file(origin=origin)).read_bytes() == CONTENT


def test_an_interrupt_leaves_the_old_file(
    home: Path, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "datasets").mkdir(parents=True)
    (home / "datasets/a.bin").write_bytes(b"old")

    def interrupted(*args: object) -> Iterator[bytes]:
        yield CONTENT
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "_pieces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get_file(origin=origin, force_download=True)
    assert names(home) == ["datasets", "datasets/a.bin"]
    assert (home / "datasets/a.bin").read_bytes() == b"old"


def test_files_have_the_permissions_of_new_files(tmp_path: Path, origin: str) -> None:
    (tmp_path / "new").touch()
    assert os.stat(get_file(origin=origin)).st_mode == (tmp_path / "new").stat().st_mode


def test_a_short_line_is_printed_elsewhere_than_in_a_terminal(
    origin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    get_file(origin=origin)
    get_file(origin=origin)
    out, err = capsys.readouterr()
    assert out == f"Downloading data from {origin}\n"
    assert err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("bar", ["rich", "tqdm", "none"])
@pytest.mark.parametrize("sized", [True, False])
def test_a_terminal_shows_the_progress(
    bar: str, sized: bool, server: WebServer, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bar != "none":
        pytest.importorskip(bar)
    for name in {"rich", "tqdm"} - {bar}:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, f"{name}.console", None)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    if not sized:
        server.unsized.add("a.bin")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    get_file(origin=origin)
    assert "Downloading" in screen.getvalue().partition("\n")[2]
    assert ("0.3 of 0.3 MB" if sized else "0.3 MB") in screen.getvalue()
    assert " of " in screen.getvalue() or not sized


@pytest.mark.parametrize("options", [{"extract": True}, {"untar": True}])
@pytest.mark.parametrize(
    ("fname", "archive", "folder"),
    [
        (None, "a.tar.gz_archive", "a.tar.gz"),
        ("name", "name_archive", "name"),
        ("name.tar.gz", "name.tar.gz", "name_extracted"),
    ],
)
def test_archives_and_their_folders_are_named_as_in_keras(
    fname: str | None, archive: str, folder: str, options: Any, home: Path, server: WebServer
) -> None:
    origin = server.add("a.tar.gz", gzip.compress(tar({"b/c.txt": b"text"})))
    expected = ["datasets", f"datasets/{archive}", f"datasets/{folder}"]
    inside = [f"datasets/{folder}/b", f"datasets/{folder}/b/c.txt"]
    for _ in range(2):
        assert get_file(fname, origin, **options) == str(home / "datasets" / folder)
        assert names(home) == sorted(expected + inside)
    assert server.requests == ["a.tar.gz"]


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("formats", ["auto", ["zip", "tar"], "own"])
def test_formats_are_recognized(kind: str, formats: Any, server: WebServer) -> None:
    members = {"b/c.txt": b"text", "d.txt": b"", "e/": b""}
    if kind == "zip":
        content = zipped(members)
    else:
        del members["e/"]
        content = tar(members, "w" if kind == "tar" else f"w:{kind}")
    if formats == "own":
        formats = "zip" if kind == "zip" else "tar"
    path = Path(get_file("a", server.add("a", content), extract=True, archive_format=formats))
    assert (path / "b/c.txt").read_bytes() == b"text"
    assert (path / "d.txt").read_bytes() == b""
    assert (path / "e").is_dir() or kind != "zip"


def test_extraction_restores_files_and_keeps_others(server: WebServer) -> None:
    origin = server.add("a", tar({"b/c.txt": b"text"}))
    path = Path(get_file("a", origin, extract=True))
    (path / "b/c.txt").write_bytes(b"changed")
    (path / "b/mine.txt").write_bytes(b"mine")
    get_file("a", origin, extract=True)
    assert names(path) == ["b", "b/c.txt", "b/mine.txt"]
    assert (path / "b/c.txt").read_bytes() == b"text"


def test_links_inside_are_extracted(server: WebServer) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, target in (
            ("a/b", tarfile.REGTYPE, ""),
            ("c/soft", tarfile.SYMTYPE, "../a/b"),
            ("hard", tarfile.LNKTYPE, "a/b"),
            ("folder", tarfile.SYMTYPE, "a"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 4 * (not target)
            archive.addfile(info, io.BytesIO(b"text"))
    origin = server.add("a", file.getvalue())
    for _ in range(2):
        path = Path(get_file("a", origin, extract=True))
        assert names(path) == ["a", "a/b", "c", "c/soft", "folder", "hard"]
        for name in ("c/soft", "hard", "folder/b"):
            assert (path / name).read_bytes() == b"text"


def test_the_setuid_bit_is_not_extracted(server: WebServer) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.mode = 0o4777
        archive.addfile(info)
    path = Path(get_file("x", server.add("x", file.getvalue()), extract=True))
    assert (path / "a").stat().st_mode & 0o7000 == 0


def test_a_file_that_is_not_of_the_format_is_an_error(home: Path, server: WebServer) -> None:
    origin = server.add("a", zipped({"b": b""}))
    with pytest.raises(ValueError, match=r"a_archive cannot be read: it is not an archive"):
        get_file("a", origin, untar=True)
    with pytest.raises(ValueError, match="tar or zip"):
        get_file("b", server.add("b", CONTENT), extract=True)
    assert names(home) == ["datasets", "datasets/a_archive", "datasets/b_archive"]


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (ValueError, "origin", {"origin": None}),
        (TypeError, "origin", {"origin": 3}),
        (ValueError, "origin.*http, https, file", {"origin": "ftp://127.0.0.1/a"}),
        (ValueError, "origin", {"origin": "a.bin"}),
        (ValueError, "the end of origin", {"origin": "http://127.0.0.1/"}),
        (ValueError, "the end of origin", {"origin": "http://127.0.0.1/.."}),
        (ValueError, "fname.*cache_dir", {"fname": "a/b"}),
        (ValueError, "fname", {"fname": ".."}),
        (ValueError, "fname", {"fname": "a\0b"}),
        (TypeError, "fname", {"fname": 3}),
        (TypeError, "untar", {"untar": "yes"}),
        (TypeError, "extract", {"extract": "yes"}),
        (TypeError, "force_download", {"force_download": "yes"}),
        (ValueError, "md5_hash.*32 hexadecimal", {"md5_hash": "12"}),
        (ValueError, "file_hash.*32 hexadecimal", {"file_hash": "12"}),
        (ValueError, "file_hash", {"file_hash": SHA256, "hash_algorithm": "md5"}),
        (ValueError, "file_hash", {"file_hash": "x" * 64}),
        (TypeError, "file_hash", {"file_hash": 12}),
        (ValueError, "hash_algorithm", {"hash_algorithm": "sha1"}),
        (ValueError, "archive_format", {"extract": True, "archive_format": "rar"}),
        (ValueError, "archive_format", {"extract": True, "archive_format": ["rar"]}),
        (ValueError, "archive_format", {"extract": True, "archive_format": None}),
        (ValueError, "archive_format", {"extract": True, "archive_format": []}),
        (TypeError, "cache_dir", {"cache_dir": 3}),
        (TypeError, "cache_subdir", {"cache_subdir": None}),
    ],
)
def test_bad_arguments_are_refused_before_the_download(
    error: type[Exception], match: str, options: dict[str, Any], home: Path, server: WebServer
) -> None:
    with pytest.raises(error, match=match):
        get_file(**{"origin": server.add("a.bin", CONTENT), **options})
    assert server.requests == []
    assert names(home) == []


def test_downloads_do_not_follow_a_link_in_the_cache(
    tmp_path: Path, home: Path, origin: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (home / "datasets").mkdir(parents=True)
    (home / "datasets/a.bin").symlink_to(outside)
    get_file(origin=origin, force_download=True)
    assert outside.read_bytes() == b"mine"
    assert not (home / "datasets/a.bin").is_symlink()


@pytest.mark.peers
@pytest.mark.parametrize("fname", [None, "name", "name.zip", "name.tar.gz", ".name"])
@pytest.mark.parametrize(
    "options", [{}, {"extract": True}, {"untar": True}, {"extract": True, "cache_subdir": "a/b"}]
)
def test_keras_finds_the_file_and_returns_the_same_path(
    fname: str | None, options: dict[str, Any], home: Path, server: WebServer
) -> None:
    import keras

    origin = server.add("a.tgz", gzip.compress(tar({"b/c.txt": b"text"})))
    path = get_file(fname, origin, **options)
    before = names(home)
    assert keras.utils.get_file(fname, origin, cache_dir=str(home), **options) == path
    assert names(home) == before
    assert server.requests == ["a.tgz"]


def test_the_module_exports_get_file_only() -> None:
    assert files.__all__ == ["get_file"]
