"""How much CPU the control groups allow this process: OpenMP does not ask.

A container limited to two CPUs on a machine of 64 still shows 64 of them, and a team of 64 threads
would spend most of its quota on waiting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path


def cpu_limit(root: Path = Path("/")) -> int | None:
    """Return the number of CPUs that the quotas allow, rounded up; None without a quota.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.

    Examples
    --------
    >>> cpu_limit(Path("/nowhere")) is None
    True
    """
    allowed = [quota / period for quota, period in _quotas(root) if quota > 0 and period > 0]
    return max(1, math.ceil(min(allowed))) if allowed else None


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Yield (quota, period) of every group that this process is in, in µs."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        own = path.lstrip("/")
        for group in (own, *map(str, Path(own).parents)):
            if number == "0":  # version 2
                quota, _, period = _read(mount / group / "cpu.max").partition(" ")
                if quota.isdigit():
                    yield int(quota), int(period or 100_000)
            elif "cpu" in controllers.split(","):
                folder = mount / "cpu" / group
                quota = _read(folder / "cpu.cfs_quota_us")
                if quota.isdigit():  # -1: none
                    yield int(quota), int(_read(folder / "cpu.cfs_period_us") or 100_000)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
