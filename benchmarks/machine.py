"""Measure the machine's limits: a core's peak FLOP/s and bandwidth, and the latency between cores.

    python benchmarks/machine.py

Even the fastest matrix product of a library is slower than the peak. Therefore ``machine.c``
measures the limits. It is compiled on demand with the system's compiler, in a temporary folder.
Without a compiler, the limits cannot be measured.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE = Path(__file__).with_name("machine.c")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
REALS = {"float32": "float", "float64": "double"}
ATTEMPTS = 50
ATTEMPT_SECONDS = 2e-3
FMA_REPEATS = 100_000
ALIGNMENT = 4096
TURNS = 50_000


class NoCompiler(RuntimeError):
    """There is no compiler that can compile ``machine.c``."""


def vector_bytes() -> int:
    """Return the size in bytes of the widest vectors that the compiler uses on this processor."""
    return int(_library("float32").vector_bytes())


def lanes(dtype: str) -> int:
    """Return how many elements of a dtype fit in one vector."""
    return vector_bytes() // np.dtype(dtype).itemsize


@functools.cache
def peak(dtype: str) -> float:
    """Return the peak FLOP/s of a core: the best of several calls of `multiply_adds`."""
    return max(multiply_adds(dtype) for _ in range(ATTEMPTS))


def multiply_adds(dtype: str) -> float:
    """Return the FLOP/s of multiply-adds in registers, measured for about 0.2 ms."""
    library, out = _library(dtype), ctypes.c_double()
    start = time.perf_counter()
    operations = library.multiply_adds(FMA_REPEATS, ctypes.byref(out))
    return float(operations / (time.perf_counter() - start))


@functools.cache
def bandwidth(size: int) -> float:
    """Return the bandwidth in bytes per second (read plus written) of updating `size` bytes."""
    data = _memory(size)
    return 2 * data.nbytes / _pass_seconds(_library("float32").update, data)


@functools.cache
def read_seconds(size: int) -> float:
    """Return the time in seconds of one pass that reads the same `size` bytes repeatedly."""
    out = ctypes.c_double()
    return _pass_seconds(_library("float32").read, _memory(size), ctypes.byref(out))


def exchange_seconds() -> float:
    """Return the round-trip time in seconds of a cache line to another core, or NaN with one core.

    The cores of a virtual machine may share a cache at some times and not at others.
    """
    known = hasattr(os, "sched_getaffinity")
    if (len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1) < 2:
        return float("nan")
    library, shared = _library("float32"), _memory(512).view(np.int64)

    def exchange() -> None:
        shared[0] = 0
        other = threading.Thread(target=library.take_turns, args=(shared.ctypes.data, 0, TURNS))
        other.start()
        library.take_turns(shared.ctypes.data, 1, TURNS)
        other.join()

    return _best(exchange, 5) / TURNS


def cache_levels() -> dict[str, int]:
    """Return the size in bytes of each level of data cache, as reported by Linux."""
    levels = {}
    for folder in sorted(CACHES.glob("index*")):
        kind, level, size = ((folder / n).read_text().strip() for n in ("type", "level", "size"))
        if kind != "Instruction" and (match := re.fullmatch(r"(\d+)K", size)):
            levels[f"L{level}"] = int(match[1]) * 1024
    return levels


def level_of(size: int) -> str:
    """Return the first level of the memory hierarchy that holds `size` bytes."""
    return next((name for name, capacity in cache_levels().items() if size <= capacity), "memory")


@functools.cache
def _library(dtype: str) -> ctypes.CDLL:
    real = REALS[dtype]
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise NoCompiler("no C compiler (cc, gcc or clang): the machine's limits are not measured")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"machine_{real}.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared", f"-DREAL={real}"]
        command = [compiler, *flags, str(SOURCE), "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NoCompiler(f"{compiler} cannot compile {SOURCE.name}: {done.stderr.strip()}")
        library = ctypes.CDLL(str(path))  # stays loaded after its file has been deleted
    library.vector_bytes.restype = ctypes.c_long
    library.multiply_adds.restype = ctypes.c_double
    library.multiply_adds.argtypes = [ctypes.c_long, ctypes.c_void_p]
    library.update.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    library.read.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
    library.take_turns.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return library


def _memory(size: int) -> NDArray[np.float32]:
    """Return a page-aligned array of ones of `size` bytes, rounded up to a multiple of 512."""
    count = -(-size // 512) * 512  # eight of the widest vectors
    data = np.empty(count + ALIGNMENT, np.uint8)
    start = -data.ctypes.data % ALIGNMENT
    ones = data[start : start + count].view(np.float32)
    ones.fill(1.0)
    return ones


def _pass_seconds(function: Any, data: NDArray[Any], *arguments: Any) -> float:
    """Return the time of one pass in seconds, as the mean of enough passes for the clock."""

    def passes(repeats: int) -> None:
        function(data.ctypes.data, data.nbytes // vector_bytes(), repeats, *arguments)

    passes(1)  # warm up
    repeats = max(1, round(ATTEMPT_SECONDS / _best(lambda: passes(1))))
    return _best(lambda: passes(repeats)) / repeats


def _best(function: Callable[[], Any], attempts: int = ATTEMPTS) -> float:
    """Return the shortest time, because a limit is the speed of an undisturbed core."""
    times = []
    for _ in range(attempts):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    print(f"vectors of {vector_bytes()} bytes, caches {cache_levels()}")
    for dtype in REALS:
        print(f"{dtype}: {peak(dtype) / 1e9:.0f} GFLOP/s")
    for size in (16 << 10, 32 << 10, 256 << 10, 512 << 10, 4 << 20, 16 << 20, 256 << 20):
        update, read = bandwidth(size) / 1e9, size / read_seconds(size) / 1e9
        print(f"{size >> 10:8} KiB ({level_of(size)}): updates {update:.0f}, reads {read:.0f} GB/s")
    print(f"round trip of a cache line to another core: {exchange_seconds() * 1e9:.0f} ns")


if __name__ == "__main__":
    main()
