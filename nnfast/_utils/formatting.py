"""Formatting of numbers and logs as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def line(logs: Mapping[str, Any]) -> str:
    """Return the logs as one line of text.

    Examples
    --------
    >>> line({"loss": 0.25, "val_loss": 1e-5})
    'loss: 0.2500 - val_loss: 1.0000e-05'
    """
    return " - ".join(f"{name}: {numbers(value)}" for name, value in logs.items())


def numbers(value: Any, form: str = "") -> str:
    """Return a number or an array of numbers as text, and anything else as ``str`` gives it.

    Examples
    --------
    >>> numbers(0.5), numbers([0.25, 1e-5]), numbers("none"), numbers(None)
    ('0.5000', '[0.2500, 1.0000e-05]', 'none', 'None')
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(numbers(entry, form) for entry in value)}]"
    if not isinstance(value, (int, float)):
        return str(value)
    return format(value, form or (".4f" if abs(value) >= 1e-3 or value == 0 else ".4e"))
