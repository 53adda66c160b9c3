"""A program on so many cores and threads: what is compared is the code, not the number of cores."""

from __future__ import annotations

import os
import sys


def pin(threads: int) -> None:
    """Run on the last `threads` cores with that many threads; starts the program anew if need be.

    The libraries read the environment when they are loaded, hence before this process starts.
    """
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} "
        f"intra_op_parallelism_threads={threads}",
        "JAX_PLATFORMS": "cpu",
    }
    if any(os.environ.get(key) != value for key, value in environment.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **environment})
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < threads:
            raise SystemExit(f"{threads} threads need as many cores; there are {len(cores)}")
        os.sched_setaffinity(0, cores[-threads:])


def threads() -> int:
    """Return the threads that contenders may use: those the program is pinned to."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))
