"""Descriptions of models as JSON text."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def json_text(description: Any, **options: Any) -> str:
    """Return `description` as JSON text; `options` are those of `json.dumps`.

    Raises
    ------
    TypeError
        If it contains a function.
    """
    return json.dumps(description, **{"default": _refuse, **options})


def _refuse(value: object) -> NoReturn:
    raise TypeError(
        f"Neither files nor JSON can hold {value!r}. If it is an argument of a layer, such as "
        "standardize or split of TextVectorization, save a model without this layer, and call the "
        "layer with the data"
    )
