"""Pin the program to cores and limit its threads, so that all contenders use the same number."""

from __future__ import annotations

import os
import sys


def pin(threads: int) -> None:
    """Run this program with `threads` threads on the last `threads` cores.

    Libraries read these environment variables when they are loaded. If a variable has another
    value, the program therefore restarts itself with the right values.
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
            raise SystemExit(
                f"{threads} threads need {threads} cores; only {len(cores)} are available"
            )
        os.sched_setaffinity(0, cores[-threads:])


def threads() -> int:
    """Return the number of threads that each contender may use, as set by `pin`."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))
