"""Layers and models as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnfast import layers

# The classes of models by their names in configurations; the modules of the classes fill it.
MODELS: dict[str, Any] = {}


def describe(layer: Any) -> dict[str, Any]:
    """Return the description of a layer or a model, ``{"class_name": …, "config": …}``."""
    name = getattr(layer, "class_name", None) or type(layer).__name__
    return {"class_name": name, "config": layer.get_config()}


def deserialize(description: Mapping[str, Any]) -> Any:
    """Return a new layer, or a model that is not built, from the result of `describe`."""
    kind = description.get("class_name") if isinstance(description, Mapping) else None
    if isinstance(kind, str) and kind in MODELS:
        return MODELS[kind].without_weights(description.get("config", {}))
    return layers.deserialize(description)


def check_keys(config: object, needed: Sequence[str]) -> None:
    """Raise a ValueError if a configuration lacks one of these keys."""
    if not isinstance(config, Mapping) or not config.keys() >= set(needed):
        raise ValueError(
            f"config must be a dict with {', '.join(needed)}, as get_config returns it; "
            f"received {config!r}"
        )
