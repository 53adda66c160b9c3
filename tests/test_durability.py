"""Files survive: a process that is killed, a disk that is full, a folder that is read-only."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import kill_programs
import numpy as np
import pytest

import nnfast
from nnfast import layers, saving

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLS = int(os.environ.get("NNFAST_TEST_KILLS", "200"))


def model(units: int = 3) -> nnfast.Sequential:
    return nnfast.Sequential([layers.Dense(units, input_dim=2)])


def run(*arguments: str) -> list[str]:
    program = [sys.executable, kill_programs.__file__, *arguments]
    result = subprocess.run(program, capture_output=True, text=True, timeout=60 + KILLS)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    whole, interrupted, *files = run("save", str(tmp_path), str(KILLS))
    assert int(whole) == KILLS
    assert int(interrupted) > KILLS / 20  # some of them did come in the middle of writing
    assert files == ["model"]  # and what they left behind is gone with the next save


def test_training_that_is_killed_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    kill_programs.train(tmp_path / "whole")
    last = kill_programs.last(tmp_path / "whole")
    assert last.name == f"{kill_programs.EPOCHS:03d}"
    (tmp_path / "killed").mkdir()
    kills, digest = run("checkpoint", str(tmp_path / "killed"))
    assert int(kills) > 0
    assert digest == kill_programs.digest(nnfast.load_model(last))


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_only_temporaries_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = dead_process()
    stale = tmp_path / f".nnfast-{saving._MACHINE}-{dead}-0123abcd.tmp"
    kept = [
        tmp_path / f".nnfast-{saving._MACHINE}-{os.getppid()}-0123abcd.tmp",
        tmp_path / f".nnfast-{'0' * 8}-{dead}-0123abcd.tmp",  # of another machine
        tmp_path / f".nnfast-{saving._MACHINE}-0-0123abcd.tmp",  # of no process
        tmp_path / f"nnfast-{saving._MACHINE}-{dead}-0123abcd.tmp",
        tmp_path / f".nnfast-{saving._MACHINE}-{dead}-mine.tmp",
    ]
    for path in (stale, *kept):
        path.touch()
    model().save(tmp_path / "model")
    assert set(tmp_path.iterdir()) == {*kept, tmp_path / "model"}


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test can cut the power; the order of what the system is asked for is what helps then."""
    asked: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        asked.append("folder" if folder else f"{os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def note_replace(old: Path, new: Path) -> None:
        asked.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    for save in (model().save, model().save_weights):
        asked.clear()
        save(tmp_path / "model")
        assert asked == [f"{(tmp_path / 'model').stat().st_size} bytes", "rename", "folder"]


@contextlib.contextmanager
def limited_files() -> Iterator[None]:
    """No file may have more than 1000 bytes, as on a disk that has no more.

    For as short as can be: pytest's own output may go to a file.
    """
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_a_full_disk(method: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"an older file")
    large = model(1000)
    with pytest.raises(OSError, match=r"File too large.*/model'$") as caught, limited_files():
        getattr(large, method)(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder() -> None:
    # Not tmp_path: only its owner may enter that, and root writes to any folder.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "model"
        model().save(path)
        before = path.read_bytes()
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError) as caught:
                model().save(path)
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
        assert caught.value.filename == str(path)
        assert path.read_bytes() == before
        assert list(folder.iterdir()) == [path]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match=f"Not a file.*{name}"):
            model().save(tmp_path / name)
        with pytest.raises(OSError, match="No such file"):
            nnfast.load_model(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nowhere/model"):
        model().save(tmp_path / "nowhere" / "model")
    assert len(list(tmp_path.iterdir())) == 2


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "model", tmp_path / "link"
    link.symlink_to(target)
    model(3).save(link)
    target.chmod(0o640)
    model(5).save(link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert nnfast.load_model(target).output_shape == (None, 5)


@pytest.mark.parametrize("name", ["x" * 255, "model", ".hidden", "a b ü 層.keras", "-", "%s{}"])
def test_any_file_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = model()
    one.save(name)
    assert os.listdir() == [name]
    x = np.ones((1, 2))
    np.testing.assert_array_equal(nnfast.load_model(name).predict(x), one.predict(x))
