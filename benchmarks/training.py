"""What all contenders in training share: Adam's settings, and the reasons to exclude one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

LEARNING_RATE = 1e-3
BETA_1, BETA_2 = 0.9, 0.999
# Smaller than every library's default. Keras adds epsilon to √v, other libraries to the
# bias-corrected root, which makes a difference for small gradients. An epsilon of 1e-7 changed the
# losses of the large case by 1e-3, and 1e-8 also changed the convolutional networks' losses.
EPSILON = 1e-10


class Excluded(Exception):
    """A contender cannot take part in a case; the message gives the reason."""


def trigger_compilation(call: Callable[[], Any], limit: float = math.inf) -> None:
    """Compile with a first call; raise `Excluded` if it fails or takes over `limit` seconds."""
    start = time.perf_counter()
    try:
        call()
    except Exception as error:  # the compiler may be missing or fail with any error
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Excluded(f"compilation failed: {reason[0]}") from error
    if (took := time.perf_counter() - start) > limit:
        raise Excluded(f"compiling took {took:.0f} s, more than the limit of {limit:.0f} s")


def only(parts: list[Any]) -> Any:
    """Return the only part, or the list of several."""
    return parts[0] if len(parts) == 1 else parts
