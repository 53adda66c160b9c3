"""Files survive killed processes, full disks and read-only folders."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import kill_programs
import numpy as np
import pytest

import nnfast
from nnfast import layers
from nnfast._utils import container

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLS = int(os.environ.get("NNFAST_TEST_KILLS", "200"))


def model(units: int = 3) -> nnfast.Sequential:
    return nnfast.Sequential([layers.Dense(units, input_dim=2)])


def run(*arguments: str) -> list[str]:
    program = [sys.executable, kill_programs.__file__, *arguments]
    result = subprocess.run(program, capture_output=True, text=True, timeout=60 + KILLS)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_a_killed_writer_leaves_a_complete_file(tmp_path: Path) -> None:
    whole, interrupted, *files = run("save", str(tmp_path), str(KILLS))
    assert int(whole) == KILLS
    assert int(interrupted) > KILLS / 20  # some kills interrupted a write
    assert files == ["model"]  # the next save removed the temporary files


def test_killed_training_continues_from_its_last_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    kill_programs.train(tmp_path / "whole")
    last = kill_programs.last(tmp_path / "whole")
    assert last.name == f"{kill_programs.EPOCHS:03d}"
    (tmp_path / "killed").mkdir()
    kills, digest = run("checkpoint", str(tmp_path / "killed"))
    assert int(kills) > 0
    assert digest == kill_programs.digest(nnfast.load_model(last))


def temporary(folder: Path, machine: str = container._MACHINE, process: int = 12) -> Path:
    """Return the path that this process on this machine would use for a temporary file."""
    return folder / f".nnfast-{machine}-{process}-0123abcd.tmp"


def made_old(path: Path) -> Path:
    path.touch()
    os.utime(path, times=(0, time.time() - 2 * 86400))
    return path


def test_only_abandoned_temporary_files_are_removed(tmp_path: Path) -> None:
    """The process id does not matter: another container may use the same id."""
    fcntl = pytest.importorskip("fcntl")
    stale = [
        temporary(tmp_path),
        temporary(tmp_path, process=os.getpid()),
        made_old(temporary(tmp_path, "0" * 8)),  # another machine's locks may be invisible
    ]
    kept = [
        temporary(tmp_path, process=13),
        made_old(temporary(tmp_path, process=14)),
        temporary(tmp_path, "0" * 8, process=13),
        temporary(tmp_path, process=0),
        tmp_path / f"nnfast-{container._MACHINE}-12-0123abcd.tmp",
        tmp_path / f".nnfast-{container._MACHINE}-12-mine.tmp",
    ]
    for path in (stale[0], stale[1], *kept):
        path.touch(exist_ok=True)
    made_old(kept[1])
    pipe = temporary(tmp_path, process=15)  # opening it would block forever
    os.mkfifo(pipe)
    with open(kept[0]) as one, open(kept[1]) as other:
        for file in (one, other):
            fcntl.flock(file, fcntl.LOCK_EX)
        model().save(tmp_path / "model")
    assert set(tmp_path.iterdir()) == {*kept, pipe, tmp_path / "model"}
    model().save(tmp_path / "model")  # `kept[0]` and `kept[1]` are no longer locked
    assert set(tmp_path.iterdir()) == {*kept[2:], pipe, tmp_path / "model"}


def test_age_decides_if_locks_are_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    fresh, old = temporary(tmp_path), made_old(temporary(tmp_path, process=13))
    fresh.touch()
    model().save(tmp_path / "model")
    assert old.exists() is False
    assert set(tmp_path.iterdir()) == {fresh, tmp_path / "model"}


# This program saves for a second. It sees no other processes, as if in a separate container.
WRITER = """
import os, sys, time
import nnfast
from nnfast import layers

def unknown(process, signal):
    raise ProcessLookupError

os.kill = unknown
model = nnfast.Sequential([layers.Dense(300, input_dim=300)])
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + 1
saves = 0
while time.monotonic() < end:
    model.save(os.path.join(sys.argv[1], f"model{sys.argv[2]}"))
    saves += 1
print(saves)
"""


def test_isolated_processes_may_save_into_one_folder(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", WRITER, str(tmp_path), str(i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        out, error = writer.communicate(timeout=60)
        assert writer.returncode == 0, error
        assert int(out) > 0
    assert sorted(os.listdir(tmp_path)) == ["model0", "model1", "model2"]
    for i in range(3):
        assert nnfast.load_model(tmp_path / f"model{i}").output_shape == (None, 300)


def test_a_removed_temporary_file_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove a temporary file before its writer has locked it."""
    pytest.importorskip("fcntl")
    lock, seen = container._lock, []

    def removed_first(descriptor: int) -> bool | None:
        if len(seen) < 2:
            (path,) = tmp_path.glob(".nnfast-*.tmp")
            seen.append(path)
            path.unlink()
            return (
                lock(descriptor) if len(seen) == 1 else False
            )  # the second file is locked by a process that removes it
        return lock(descriptor)

    monkeypatch.setattr(container, "_lock", removed_first)
    model().save(tmp_path / "model")
    assert len(seen) == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_content_is_flushed_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test can cut the power, so this one checks the order of the system calls."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("folder" if folder else f"{os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def note_replace(old: Path, new: Path) -> None:
        calls.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    for save in (model().save, model().save_weights):
        calls.clear()
        save(tmp_path / "model")
        assert calls == [f"{(tmp_path / 'model').stat().st_size} bytes", "rename", "folder"]


@contextlib.contextmanager
def limited_files() -> Iterator[None]:
    """Limit files to 1000 bytes, to simulate a full disk.

    The limit must be brief, because pytest may write its output to a file.
    """
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_a_full_disk_keeps_the_old_file(method: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"an older file")
    large = model(1000)
    with pytest.raises(OSError, match=r"File too large.*/model'$") as caught, limited_files():
        getattr(large, method)(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder_keeps_the_old_file() -> None:
    # Root may write to any folder, so another user saves here. That user cannot enter tmp_path.
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


def test_pipes_and_folders_are_not_replaced(tmp_path: Path) -> None:
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


def test_links_and_permissions_are_kept(tmp_path: Path) -> None:
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
def test_any_file_name_is_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = model()
    one.save(name)
    assert os.listdir() == [name]
    x = np.ones((1, 2))
    np.testing.assert_array_equal(nnfast.load_model(name).predict(x), one.predict(x))
