"""Hostile and damaged files give a ValueError that names the file, and do nothing else."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published_data as data
import pytest

from nnfast.keras.datasets import cifar10, fashion_mnist, imdb, mnist, published, reuters
from nnfast.keras.datasets.cifar import load_batch
from nnfast.keras.datasets.npz import load_npz
from nnfast.keras.datasets.pickles import load_pickle
from nnfast.keras.utils import archives, get_file

HUGE = 10**12


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache, in which files are accepted without a checksum; nothing is downloaded."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = tmp_path / "keras" / "datasets"
    folder.mkdir(parents=True)
    for name in published.FILES:
        monkeypatch.setitem(published.FILES, name, (f"file:///does/not/exist/{name}", None))
    return folder


def refused(call: Callable[[], Any], name: str, match: str = "") -> None:
    """Check that a call raises a ValueError that names the file, and needs little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"{re.escape(name)}.*{match}"):
            call()
        assert tracemalloc.get_traced_memory()[1] < 10**8
    finally:
        tracemalloc.stop()


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def array_pickle(shape: bytes, state: bytes, contents: bytes) -> bytes:
    """Return the pickle of an array from the operations of its shape, dtype and elements."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\n" + state + b"b\x89" + contents + b"tb."
    )


OBJECTS = b"U\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t"
BYTES = b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
LONG_HUGE = b"\x8a\x08" + struct.pack("<q", HUGE)
SYSTEM = f"c{os.system.__module__}\nsystem\n".encode()
CRY = b"U\x04exit\x85"

HOSTILE_PICKLES = {
    "a call": pickle.dumps(Call(os.system, "exit")),
    "a call in a list": pickle.dumps(data.ragged([[1], [Call(os.system, "exit")]]), 2),
    "a call in a dict": pickle.dumps({"data": Call(eval, "1"), "labels": [1]}),
    "a call as key": pickle.dumps({Call(str, "data"): [1]}),
    "a call of NumPy": pickle.dumps(Call(np.frombuffer, b"1")),
    "a function": pickle.dumps(print),
    "a class": b"\x80\x02c__builtin__\nobject\n)\x81.",
    "INST": b"(U\x04exitios\nsystem\n.",
    "OBJ": b"(" + SYSTEM + b"U\x04exito.",
    "NEWOBJ": b"cnumpy\nndarray\n" + LONG_HUGE + b"\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04cnumpy\nndarray\n)}\x92.",
    "EXT1": b"\x82\x01.",
    "PERSID": b"P1\n.",
    "BINPERSID": b"K\x01Q.",
    "BUILD of a name": b"cnumpy\ndtype\n}b.",
    "BUILD of an unfinished array": b"cnumpy\ndtype\nU\x02u1\x85RK\x01b.",
    "ndarray of a huge shape": b"cnumpy\nndarray\n" + LONG_HUGE + b"\x85\x85R.",
    "an encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00idna2\x86R.",
    "a dtype of a class": b"cnumpy\ndtype\ncnumpy\nndarray\n\x85R.",
    "a dtype of text": b"cnumpy\ndtype\nU\x0aS999999999\x85R.",
    "a dtype with commas": b"cnumpy\ndtype\nU\x05u1,u1\x85R.",
    "objects of a huge shape": array_pickle(LONG_HUGE + b"\x85", OBJECTS, b"]"),
    "bytes of a huge shape": array_pickle(LONG_HUGE + b"\x85", BYTES, b"U\x01a"),
    "a product that overflows": array_pickle((LONG_HUGE + LONG_HUGE) + b"\x86", BYTES, b"U\x00"),
    "a negative size": array_pickle(b"J\xff\xff\xff\xff\x85", BYTES, b"U\x01a"),
    "two negative sizes": array_pickle(b"J\xff\xff\xff\xff" * 2 + b"\x86", BYTES, b"U\x01a"),
    "a size of text": array_pickle(b"U\x01a\x85", BYTES, b"U\x01a"),
    "too many axes": array_pickle(b"(" + b"K\x01" * 99 + b"t", BYTES, b"U\x01a"),
    "addresses as objects": array_pickle(b"K\x01\x85", OBJECTS, b"U\x08AAAAAAAA"),
    "objects as bytes": array_pickle(b"K\x01\x85", BYTES, b"](K\x01e"),
    "a dtype with fields": array_pickle(b"K\x01\x85", OBJECTS.replace(b"NNN", b"N)}"), b"]N\x85a"),
    "a dtype of parts": array_pickle(b"K\x01\x85", BYTES.replace(b"NNN", b"N)N"), b"U\x01a"),
    "an order": array_pickle(b"K\x01\x85", BYTES.replace(b"|", b"S"), b"U\x01a"),
    "an array as dtype": b"cnumpy._core.multiarray\n_reconstruct\n)Rq\x00(K\x01)h\x00N]tb.",
    "a reference to nothing": b"h\x05.",
    "bytes that are not there": b"B\xff\xff\xff\xffaa.",
    "BYTEARRAY8": b"\x96" + struct.pack("<q", HUGE) + b"a.",
    "BINBYTES8": b"\x8e" + struct.pack("<q", HUGE) + b"a.",
    "PUT": b"]p999999999999\n.",
    "nested tuples": b"}" + b"N" + b"\x85" * 2 * 10**4 + b"Ns.",
    "nested lists": b"]" * 20000 + b"a" * 19999 + b".",
    "a nested name": b"]" * 20000 + b"a" * 19999 + b")R.",
    "a key that is a list": b"}]Ns.",
    "a value without key": b"}(U\x01au.",
    "an append to a number": b"K\x01K\x02a.",
    "a float": b"G" + b"\0" * 8 + b".",
    "text that is not UTF-8": b"X\x01\x00\x00\x00\xff.",
    "no stack": b"R.",
    "no mark": b"t.",
    "no name": b"cos\n",
    "no end": b"]",
    "nothing": b"",
    "text": b"hello",
}


@pytest.fixture
def no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*args: object) -> None:
        pytest.exit("a pickle called a function")

    monkeypatch.setattr(os, "system", called)


@pytest.mark.usefixtures("no_calls")
@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_pickles_of_anything_else_are_refused(name: str, tmp_path: Path) -> None:
    content = HOSTILE_PICKLES[name]
    batch = tmp_path / "batch"
    batch.write_bytes(content)
    refused(lambda: load_batch(str(batch), "labels"), "batch")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (2,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + content)
    refused(lambda: load_npz(str(tmp_path / "a.npz"), "x"), "a.npz")


def test_a_pickle_of_a_thousand_dicts_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnfast.keras.datasets.pickles._MAX_OPERATIONS", 1000)
    with pytest.raises(ValueError, match="more than 1000 operations"):
        load_pickle(b"}" * 1000 + b".")
    monkeypatch.setattr("nnfast.keras.datasets.pickles.MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 1000 bytes"):
        load_pickle(b"}" * 1000 + b".")


LENGTH = 10**5
TEXT_OF_LENGTH = struct.pack("<I", LENGTH) + b"a" * LENGTH


def array_many_times(dtype: bytes, contents: bytes) -> bytes:
    """Return a pickle with a thousand arrays of the same elements."""
    size = b"J" + struct.pack("<i", LENGTH) + b"\x85"
    state = b"(K\x01" + size + b"cnumpy\ndtype\n" + dtype + b"b\x89" + contents + b"tq\x01"
    head = b"cnumpy.core.multiarray\n_reconstruct\nq\x00"
    return head + state + b"h\x00)Rh\x01b" * 1000 + b"."


LATIN1 = b"X\x06\x00\x00\x00latin1\x86q\x01"
REPEATED = {
    "a list": array_many_times(OBJECTS, b"](" + b"N" * LENGTH + b"e"),
    "text": b"c_codecs\nencode\nq\x00X" + TEXT_OF_LENGTH + LATIN1 + b"h\x00h\x01R" * 1000 + b".",
    "a key": b"T" + TEXT_OF_LENGTH + b"q\x00" + b"}h\x00Ns" * 1000 + b".",
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_long_object_that_is_used_many_times_is_not_copied(name: str, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(REPEATED[name])
    refused(lambda: load_batch(str(path), "labels"), "batch", "more elements|a name of 100000")


def test_arrays_of_the_same_bytes_share_them() -> None:
    content = array_many_times(BYTES, b"T" + TEXT_OF_LENGTH)
    tracemalloc.start()
    array = load_pickle(content)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    assert array.tobytes() == b"a" * LENGTH


def test_a_memo_with_a_large_index_costs_nothing() -> None:
    """Python's own unpickler would allocate 64 GB."""
    tracemalloc.start()
    assert load_pickle(b"]r\xff\xff\xff\xffj\xff\xff\xff\xff.") == []
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_that_end_too_early_are_refused(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({"labels": [1, 300, 70000], "data": data.PIXELS[:1, :5]}, protocol)
    path = tmp_path / "batch"
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="batch"):
            load_batch(str(path), "labels")


@pytest.mark.usefixtures("no_calls")
def test_damaged_pickles_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    good = data.python2_batch(data.PIXELS[:, :6], labels=[1, 2, 3, 4])
    path = tmp_path / "batch"
    for _ in range(500):
        content = bytearray(good)
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        with pytest.raises(ValueError, match="batch"):  # also undamaged, for lack of pixels
            load_batch(str(path), "labels")


def lists(*texts: Any) -> bytes:
    return data.npz(x=data.ragged(list(texts)), y=np.arange(len(texts)))


def same_list() -> bytes:
    """Return an .npz file that would be of 10¹² words, if its lists were copied."""
    array = data.ragged([[1] * 10**6] * 10**4)
    return data.npz(x=array, y=np.arange(10**4))


def own_list() -> Any:
    text: list[Any] = [1]
    text.append(text)
    return text


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (lists([1], [2.0]), ""),
        (lists([1], ["a"]), "something else than integers"),
        (lists([1], [True]), "something else than integers"),
        (lists([1], [[2]]), "something else than integers"),
        (lists([1], own_list()), "something else than integers"),
        (lists([1], (2, 3)), "not lists"),
        (lists([1], None), "not lists"),
        (lists([1], {"a": 1}), "not lists"),
        (lists([1], np.arange(3)), "not lists"),
        (data.npz(x=np.array([[1, None], [2, None]]), y=np.arange(2)), "not lists"),
        (same_list(), "more integers than bytes"),
        (data.npz(x=np.arange(2), y=np.arange(3)), "x of shape"),
        (data.npz(x=data.ragged([[1], [2]]), y=np.arange(3)), "y of shape"),
        (data.npz(x=data.ragged([[1], [2]]), y=np.zeros((2, 1))), "y of shape"),
        (data.npz(x=data.ragged([[1], [2]])), "no member y.npy"),
        (data.npz(x=np.array(["text"]), y=np.arange(1)), "x.npy declares <U4"),
        (data.npz(x=np.zeros(2, "u1,u1"), y=np.arange(2)), "x.npy declares"),
        (data.npz(x=np.zeros(2, "u1,O"), y=np.arange(2)), "x.npy declares"),
        (data.npz(x=np.zeros(2, "M8[s]"), y=np.arange(2)), "x.npy declares"),
        (data.npz(x=np.zeros(2, complex), y=np.arange(2)), "x.npy declares"),
        (b"", "not a zip"),
        (b"PK\x03\x04", "not a zip"),
        (data.tar({"x.npy": b"", "y.npy": b""}), "not a zip"),
        (lists([1], [2])[:-30], "not a zip"),
    ],
)
def test_npz_files_of_other_content_are_refused(content: bytes, match: str, home: Path) -> None:
    (home / "reuters.npz").write_bytes(content)
    refused(lambda: reuters.load_data(num_words=9), "reuters.npz", match)


def member(header: str, content: bytes = b"12345678", version: bytes = b"\x01\x00") -> bytes:
    """Return an .npy file from the text of its header."""
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header.encode("latin-1") + content


NUMBERS = "{'descr': '<f8', 'fortran_order': False, 'shape': %s}"
HOSTILE_MEMBERS = {
    "a huge shape": member(NUMBERS % f"({HUGE},)"),
    "a product that overflows": member(NUMBERS % f"({2**32}, {2**32})"),
    "a huge shape and a zero": member(NUMBERS % f"({HUGE}, 0, {HUGE}, {HUGE})"),
    "negative sizes": member(NUMBERS % "(-1, -1)"),
    "a size of text": member(NUMBERS % "('a',)"),
    "too little": member(NUMBERS % "(2,)"),
    "too much": member(NUMBERS % "(1,)", b"1" * 9),
    "a huge dtype": member(NUMBERS.replace("<f8", f"S{2**31 - 1}") % "(1,)"),
    "an unknown dtype": member(NUMBERS.replace("<f8", "z9") % "(1,)"),
    "a dtype in Python": member(NUMBERS.replace("'<f8'", "[('a', 'O')]") % "(1,)"),
    "a call": member(NUMBERS % "__import__('os').system('exit')"),
    "parentheses": member("(" * 9000),
    "a long header": member(NUMBERS % "(1,)" + " " * 60000),
    "a header without end": member(NUMBERS % "(1,)", b"", b"\x02\x00")[:30],
    "a header of 4 GB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "another version": member(NUMBERS % "(1,)", version=b"\x09\x00"),
    "no header": b"\x93NUMPY\x01\x00",
    "no array": b"hello",
    "objects without pickle": member(NUMBERS.replace("<f8", "|O") % "(1,)", b""),
    "objects of another shape": member(
        NUMBERS.replace("<f8", "|O") % f"({HUGE},)", pickle.dumps(data.ragged([[1]]), 4)
    ),
    "nothing": b"",
}


@pytest.mark.usefixtures("no_calls")
@pytest.mark.parametrize("name", HOSTILE_MEMBERS)
def test_members_are_compared_with_their_real_size(name: str, home: Path) -> None:
    with zipfile.ZipFile(home / "mnist.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", HOSTILE_MEMBERS[name])
    refused(mnist.load_data, "mnist.npz", "" if name == "parentheses" else "cannot be read")


def with_size(content: bytes, size: int) -> bytes:
    """Return a zip file of one member with another size in both of its headers."""
    content = bytearray(content)
    struct.pack_into("<I", content, 22, size)
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, size)
    return bytes(content)


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


ZEROS = zipped(("x_train.npy", member(NUMBERS % "(1000,)", bytes(8000))))


@pytest.mark.parametrize("size", [10, 7000, 9000, 2**31, 2**32 - 2])
def test_members_that_lie_about_their_size_are_refused(size: int, home: Path) -> None:
    (home / "mnist.npz").write_bytes(with_size(ZEROS, size))
    refused(mnist.load_data, "mnist.npz")


def test_large_members_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnfast.keras.datasets.npz._MAX_BYTES", 8000)
    (home / "mnist.npz").write_bytes(ZEROS)
    refused(mnist.load_data, "mnist.npz", "expected at most 8000 bytes in x_train.npy, got 8")


BATCH = {"data": data.PIXELS, "labels": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"data": None}, "matrix of bytes"),
        ({"data": [1, 2]}, "matrix of bytes"),
        ({"data": data.PIXELS.astype(np.int32)}, "matrix of bytes"),
        ({"data": data.PIXELS[0]}, "matrix of bytes"),
        ({"data": data.PIXELS[:, 1:]}, "reshape"),
        ({"data": data.ragged([[1], [2]])}, "matrix of bytes"),
        ({"labels": None}, "4 labels"),
        ({"labels": [1, 2, 3]}, "4 labels"),
        ({"labels": [1, 2, 3, 256]}, "4 labels"),
        ({"labels": [1, 2, 3, -1]}, "4 labels"),
        ({"labels": ["a"] * 4}, "4 labels"),
        ({"labels": data.PIXELS}, "4 labels"),
    ],
)
def test_cifar_batches_of_other_content_are_refused(
    change: dict[str, Any], match: str, tmp_path: Path
) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(BATCH, 2))
    x, y = load_batch(str(path), "labels")
    assert x.shape == (4, 32, 32, 3)
    assert y.tolist() == [[1], [2], [3], [4]]
    path.write_bytes(pickle.dumps({**BATCH, **change}, 2))
    refused(lambda: load_batch(str(path), "labels"), "batch", match)


def test_a_pickle_that_is_not_a_dict_is_no_batch(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(pickle.dumps([1, 2]))
    refused(lambda: load_batch(str(tmp_path / "batch"), "labels"), "batch", "expected a dict")


def test_an_archive_without_batches_is_an_error(home: Path) -> None:
    (home / "cifar-10-batches-py-target_archive").write_bytes(data.tar({"other": b""}))
    with pytest.raises(FileNotFoundError, match="data_batch_1"):
        cifar10.load_data()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "IDX"),
        (b"hello", "IDX"),
        (data.idx(data.X_TRAIN)[:-9], "damaged gzip"),
        (gzip.compress(b"hello"), "IDX"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12 + b"1"), "expected .* bytes of data"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x01" + bytes(10**8), 1), "got more"),
        (gzip.compress(b"\0\0\x08\xff" + b"\xff" * 2000), "dimensions"),
        (data.idx(data.X_TRAIN[:3]), "28 × 28 bytes for each label"),
        (data.idx(data.X_TRAIN[:, :27]), "28 × 28 bytes for each label"),
        (gzip.compress(b"\0\0\x09\x03" + struct.pack(">3I", 7, 28, 28) + bytes(5488)), "int8"),
    ],
)
def test_idx_files_of_other_content_are_refused(content: bytes, match: str, home: Path) -> None:
    folder = home / "fashion-mnist"
    folder.mkdir()
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(data.idx(data.Y_TRAIN))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(content)
    refused(fashion_mnist.load_data, "train-images-idx3-ubyte.gz", match)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"hello", b"[1, 2]", b"3", b'{"a": "b"}', b'{"a": 1.5}', b'{"a": true}'),
        *(b'{"a": null}', b'{"a": [1]}', b'{"a": 1', b"\xff\xfe", b'{"\xff": 1}', b'{"a": NaN}'),
        *(b"[" * 10**5, b'{"a":' * 10**5, b'{"a": 1' + b"0" * 10**5 + b"}"),
    ],
)
@pytest.mark.parametrize("module", [imdb, reuters])
def test_word_indices_of_other_content_are_refused(module: Any, content: bytes, home: Path) -> None:
    (home / "a.json").write_bytes(content)
    refused(lambda: module.get_word_index("a.json"), "a.json")


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = entry("good/a")
HOSTILE_TARS = {
    "an absolute path": [GOOD, entry("/tmp/evil")],
    "a parent": [GOOD, entry("../evil")],
    "a parent inside of a path": [GOOD, entry("good/../../evil")],
    "a folder above": [GOOD, entry("..", tarfile.DIRTYPE)],
    "a parent for Windows": [GOOD, entry("good\\..\\..\\evil")],
    "a root for Windows": [GOOD, entry("\\evil")],
    "no name": [GOOD, entry(".")],
    "a symbolic link to a root": [entry("a", tarfile.SYMTYPE, "/etc")],
    "a symbolic link above": [entry("good/a", tarfile.SYMTYPE, "../../evil")],
    "a symbolic link to the parent": [entry("a", tarfile.SYMTYPE, "..")],
    "a symbolic link down and up": [entry("a", tarfile.SYMTYPE, "b/../../evil")],
    "a symbolic link for Windows": [entry("a", tarfile.SYMTYPE, "..\\evil")],
    "the folder as a link": [entry(".", tarfile.SYMTYPE, "a")],
    "a file below a link": [entry("a", tarfile.SYMTYPE, "."), entry("a/b")],
    "a file below a later link": [entry("a/b"), entry("a", tarfile.SYMTYPE, ".")],
    "a file below a link in other case": [entry("A", tarfile.SYMTYPE, "."), entry("a/b")],
    "a link below a link": [
        entry("p/q", tarfile.SYMTYPE, "."),
        entry("p/q/l", tarfile.SYMTYPE, "../.."),
    ],
    "a link through a link": [
        entry("a/b/c", tarfile.SYMTYPE, "../.."),
        entry("d", tarfile.SYMTYPE, "a/b/c/../evil"),
    ],
    "a hard link to a root": [entry("a", tarfile.LNKTYPE, "/etc/passwd")],
    "a hard link above": [entry("a", tarfile.LNKTYPE, "../evil")],
    "a hard link to nothing": [entry("a", tarfile.LNKTYPE, "missing")],
    "a hard link to a link": [
        entry("a", tarfile.SYMTYPE, "b"),
        entry("c", tarfile.LNKTYPE, "a"),
    ],
    "a character device": [GOOD, entry("a", tarfile.CHRTYPE)],
    "a block device": [GOOD, entry("a", tarfile.BLKTYPE)],
    "a fifo": [GOOD, entry("a", tarfile.FIFOTYPE)],
    "a sparse file": [GOOD, entry("a", tarfile.GNUTYPE_SPARSE)],
}


def archive_of(members: list[tarfile.TarInfo]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for info in members:
            archive.addfile(info)
    return file.getvalue()


def refused_archive(content: bytes, home: Path, match: str = "", **options: Any) -> None:
    """Check that an archive is refused before anything is written."""
    (home / "x_archive").write_bytes(content)
    before = sorted(path.as_posix() for path in home.parents[1].rglob("*"))
    refused(
        lambda: get_file("x", "file:///does/not/exist", extract=True, **options), "x_archive", match
    )
    assert sorted(path.as_posix() for path in home.parents[1].rglob("*")) == before


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_tar_members_outside_of_the_folder_are_refused(name: str, home: Path) -> None:
    refused_archive(archive_of(HOSTILE_TARS[name]), home, "cannot be read: member")


def test_without_the_filter_of_python_archives_are_extracted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (home / "x_archive").write_bytes(archive_of([GOOD]))
    path = get_file("x", "file:///does/not/exist", extract=True)
    assert (Path(path) / "good/a").is_file()


def test_a_folder_where_an_earlier_archive_had_a_link_is_refused(home: Path) -> None:
    """Below the link, the second archive's link would lead out of the folder."""
    first = archive_of([GOOD, entry("b/c/a", tarfile.SYMTYPE, "../..")])
    (home / "x_archive").write_bytes(first)
    get_file("x", "file:///does/not/exist", extract=True)
    second = archive_of([entry("b/c/a/l", tarfile.SYMTYPE, "../../../evil")])
    refused_archive(second, home, "a folder where .* is a link")


@pytest.mark.parametrize("name", ["/evil", "../evil", "a/../../evil", "..\\evil", "\\evil", ".."])
def test_zip_members_outside_of_the_folder_are_refused(name: str, home: Path) -> None:
    refused_archive(zipped(("good", b"1"), (name, b"1")), home, "lies outside")


def test_symbolic_links_in_zip_files_are_extracted_as_text(home: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    (home / "x_archive").write_bytes(file.getvalue())
    path = Path(get_file("x", "file:///does/not/exist", extract=True)) / "a"
    assert not path.is_symlink()
    assert path.read_text() == "/etc/passwd"


def huge_tar() -> bytes:
    info = entry("a")
    info.size = 2**62
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


TEXT = b"some text" * 100
GOOD_ZIP, GOOD_TAR = zipped(("a", TEXT)), data.tar({"a": TEXT}, "w")
GOOD_GZ = gzip.compress(GOOD_TAR)
TWO_TAR = data.tar({"first": b"", "second": b""}, "w")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        huge_tar(),
        gzip.compress(huge_tar()),
        GOOD_TAR[:700],
        TWO_TAR[:512] + TWO_TAR[512:].replace(b"second", b"third!"),
        TWO_TAR[:900],
        GOOD_GZ[:10],
        GOOD_GZ[:50],
        GOOD_GZ[:-8] + bytes(8),
        GOOD_ZIP[:-5],
        GOOD_ZIP[:30] + b"\xff" * 10 + GOOD_ZIP[40:],
        with_size(GOOD_ZIP, 10),
        GOOD_ZIP.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        GOOD_ZIP.replace(b"\x00\x00\x08\x00", b"\x00\x00\x63\x00"),
        data.tar({"x" * 300: b""}, "w:bz2"),
        data.tar({"a": b"", "a/b": b""}, "w:xz"),
        zipped(("a/b", b""), ("a", b"")),
    ],
)
def test_damaged_archives_are_refused(content: bytes, home: Path) -> None:
    refused_archive(content, home)


def test_archives_that_do_not_fit_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: Usage)
    for content in GOOD_ZIP, GOOD_TAR, GOOD_GZ:
        refused_archive(content, home, "900 bytes, but only 100 are free")


def test_damage_within_a_member_leaves_the_old_files(home: Path) -> None:
    (home / "x_archive").write_bytes(zipped(("a", b"old"), ("b", b"old")))
    path = Path(get_file("x", "file:///does/not/exist", extract=True))
    damaged = bytearray(zipped(("a", b"new"), ("b", os.urandom(1000))))
    damaged[200] ^= 1
    (home / "x_archive").write_bytes(damaged)
    refused(lambda: get_file("x", "file:///does/not/exist", extract=True), "x_archive")
    assert {p.name: p.read_bytes() for p in path.iterdir()} == {"a": b"old", "b": b"old"}
    assert sorted(p.name for p in home.iterdir()) == ["x", "x_archive"]


@pytest.mark.parametrize("good", [GOOD_ZIP, GOOD_TAR, GOOD_GZ])
def test_changed_archives_are_read_or_refused(good: bytes, home: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(good)
        for position in rng.integers(0, min(len(content), 1500), rng.integers(1, 4)):
            content[position] = rng.integers(256)
        (home / "x_archive").write_bytes(content)
        try:
            get_file("x", "file:///does/not/exist", extract=True)
        except ValueError as error:
            assert "x_archive" in str(error)  # noqa: PT017
    assert {p.name for p in home.iterdir()} <= {"x", "x_archive"}


def test_changed_npz_files_are_read_or_refused(home: Path) -> None:
    rng = np.random.default_rng(0)
    good = lists([1, 2], [300, 70000])
    for _ in range(200):
        content = bytearray(good)
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            content[position] = rng.integers(256)
        (home / "reuters.npz").write_bytes(content)
        try:
            reuters.load_data()
        except ValueError as error:
            assert "reuters.npz" in str(error)  # noqa: PT017
