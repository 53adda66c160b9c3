"""The CPU quota that control groups grant this process; OpenMP does not take it into account.

A container limited to two CPUs still sees all 64 CPUs of its machine. A team of 64 threads would
spend most of the quota waiting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator


def cpu_limit(root: str = "") -> int | None:
    """Return the number of CPUs that the quotas allow, rounded up; None without a quota.

    Parameters
    ----------
    root : str
        The folder that contains ``/proc`` and ``/sys``.

    Examples
    --------
    >>> cpu_limit("/nowhere") is None
    True
    """
    allowed = [quota / period for quota, period in _quotas(root) if quota > 0 and period > 0]
    return max(1, math.ceil(min(allowed))) if allowed else None


def _quotas(root: str) -> Iterator[tuple[int, int]]:
    """Yield (quota, period) in µs for each control group of this process."""
    mount = f"{root}/sys/fs/cgroup"
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        parts = path.strip("/").split("/")
        for depth in range(len(parts), -1, -1):
            group = "/".join(parts[:depth])
            if number == "0":  # cgroups version 2
                quota, _, period = _read(f"{mount}/{group}/cpu.max").partition(" ")
                if quota.isdigit():
                    yield int(quota), int(period or 100_000)
            elif "cpu" in controllers.split(","):
                folder = f"{mount}/cpu/{group}"
                quota = _read(f"{folder}/cpu.cfs_quota_us")
                if quota.isdigit():  # -1: no quota
                    yield int(quota), int(_read(f"{folder}/cpu.cfs_period_us") or 100_000)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
