"""Layers and models as JSON values, and models from files and pickles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from nnfast._plan.plan import compile_graph
from nnfast._plan.sized import first_sized
from nnfast._runtime import state
from nnfast.layers.registry import (
    MODELS as MODELS,
    describe as describe,
    deserialize as deserialize,
)


def check_keys(config: object, needed: Sequence[str]) -> None:
    """Raise a ValueError if a configuration lacks one of these keys."""
    if not isinstance(config, Mapping) or not config.keys() >= set(needed):
        raise ValueError(
            f"config must be a dict with {', '.join(needed)}, as get_config returns it; "
            f"received {config!r}"
        )


def unpickled(saved: dict[str, Any]) -> Any:
    """Return the model whose state `Model.__reduce__` returned."""
    model = deserialize(saved["model"])
    model._build()
    model._take_state(saved)
    return model


def restored(arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Any:
    """Return the model described by a saved file, without running any code from the file.

    Raises
    ------
    ValueError, TypeError, KeyError
        If something is missing or inconsistent.
    """
    entry = description["model"]
    # Files of Sequential models have the configuration alone.
    kind = entry if "class_name" in entry else {"class_name": "Sequential", "config": entry}
    model = deserialize(kind)
    flat = model.graph.flat
    plan = compile_graph(first_sized(flat), model.trainable)
    shapes = {f"layers/{flat.paths[p.layer]}/{p.name}": p.shape for p in plan.parameters}
    state.check_shapes(arrays, shapes, plan)  # before the model allocates memory for them
    model._build()
    model._built().limit_growth(sum(array.size for array in arrays.values()))
    if description["compile"] is not None:
        model.compile(**description["compile"])
    model._take_contents(arrays, state.checked_counters(description["state"]))
    return model
