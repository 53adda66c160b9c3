"""Saving and restoring the state of a network and its training, for files and pickles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._plan.plan import Plan
from nnfast._runtime.limits import check_growth
from nnfast._runtime.network import Network
from nnfast._runtime.settings import Settings
from nnfast._utils.assign import assign, assign_named
from nnfast._utils.checks import integer, real, warn
from nnfast.layers.layer import Layer
from nnfast.losses import FunctionLoss
from nnfast.optimizers import Optimizer

Array = NDArray[Any]

# The largest step or epoch count in a file; larger counts are saved as this number. Beyond it, a
# float64 cannot represent every integer. A loaded model can count on from it without overflow.
COUNT_LIMIT = 2**53


def check_shapes(
    arrays: Mapping[str, NDArray[Any]], weights: Mapping[str, tuple[int, ...]], plan: Plan
) -> None:
    """Check the sizes of a model in a file before memory is allocated for it.

    The file must have the model's weights. The values that the model computes per sample must be
    in proportion to the inputs and weights, so that a small file cannot demand much memory.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The arrays in the file.
    weights : dict of str to tuple of int
        The shapes of the model's weights.
    plan : Plan
        The model's plan.

    Raises
    ------
    ValueError
        If an array is missing or has another shape, or the model computes too many values per
        sample.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    wrong = [name for name, shape in weights.items() if shapes.get(name) != shape]
    if wrong:
        name = wrong[0]
        has = f"of shape {shapes[name]}" if name in shapes else "missing"
        raise ValueError(f"array {name} is {has}, the model needs {weights[name]}")
    stored = sum(array.size for array in arrays.values())
    check_growth(plan, stored)


def contents(
    network: Network, optimizer: Optimizer | None
) -> tuple[dict[str, Array], dict[str, int]]:
    """Return views of the weights and optimizer slots by name, and the counters."""
    engine = network.engine
    arrays, iterations = dict(network.named_weights()), engine.iterations
    if optimizer is not None:
        slots, iterations = _optimizer_state(network, optimizer)
        arrays |= {f"optimizer/{i}": slot for i, slot in enumerate(slots)}
    counters = {
        "seed": network.seed,
        # An unfinished epoch is not continued: the next `fit` starts the following one.
        "epoch": min(engine.epoch + (engine.batch > 0), COUNT_LIMIT),
        "iterations": min(iterations, COUNT_LIMIT),
    }
    return arrays, counters


def take_contents(
    network: Network,
    optimizer: Optimizer | None,
    arrays: Mapping[str, Array],
    counters: Mapping[str, int],
) -> None:
    """Restore what `contents` returned.

    Raises
    ------
    ValueError
        If names, dtypes or shapes do not match.
    """
    engine = network.engine
    views = dict(network.named_weights())
    if optimizer is not None:
        views |= {f"optimizer/{i}": slot for i, slot in enumerate(engine.slots)}
    assign_named("the saved model", views, arrays)
    network.set_seed(counters["seed"])
    engine.epoch = counters["epoch"]
    engine.iterations = counters["iterations"]


def checked_counters(counters: Mapping[str, Any]) -> dict[str, int]:
    """Return the counters from a file after checking their types and ranges."""
    limits = {"seed": 2**64 - 1} | dict.fromkeys(("epoch", "iterations"), COUNT_LIMIT)
    return {
        key: integer(key, counters[key], minimum=0, maximum=limit) for key, limit in limits.items()
    }


def save(
    path: str,
    description: Mapping[str, Any],
    settings: Settings | None,
    arrays: Mapping[str, Array],
    counters: Mapping[str, int],
) -> None:
    """Write a model's description, its `compile` settings and its `contents`.

    The optimizer's slots are left out if there are no settings or a loss is user-defined.
    """
    from nnfast._utils import container

    compiled = None
    if settings is not None:
        own = [loss.name for loss in settings.losses if isinstance(loss, FunctionLoss)]
        if own:
            warn(
                f"Loss {', '.join(own)} is a function and is not saved, nor is the optimizer: "
                "compile the loaded model with both again"
            )
        else:
            compiled = settings.describe()
    if compiled is None:
        arrays = {name: a for name, a in arrays.items() if not name.startswith("optimizer/")}
    rest = {"compile": compiled, "state": dict(counters)}
    container.write(path, arrays, {**description, **rest})


def save_state(path: str, network: Network, optimizer: Optimizer | None, epoch: int) -> None:
    """Write a network's `contents`, the learning rate and the epoch that comes next.

    Layers are numbered, because a model that is built again may have other names.
    """
    from nnfast._utils import container

    arrays, counters = contents(network, optimizer)
    numbers = _numbered(network)
    rate = getattr(optimizer, "learning_rate", None)
    container.write(
        path,
        {numbers.get(name, name): array for name, array in arrays.items()},
        {
            "state": counters,
            "learning_rate": rate if isinstance(rate, float) else None,
            "initial_epoch": epoch,
        },
    )


def load_state(path: str, network: Network, optimizer: Optimizer | None) -> int:
    """Restore what `save_state` wrote; return the epoch.

    Raises
    ------
    ValueError
        If the file holds something else, or does not fit. Nothing is changed then.
    """
    from nnfast._utils import container

    found, description = container.read(path)
    names = {number: name for name, number in _numbered(network).items()}
    arrays = {names.get(number, number): array for number, array in found.items()}
    try:
        rate, counters = description["learning_rate"], checked_counters(description["state"])
        rate = None if rate is None else real("learning_rate", rate, low=0.0)
        epoch = integer("initial_epoch", description["initial_epoch"], minimum=0)
        take_contents(network, optimizer, arrays, counters)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path!r} does not hold the state of a model like this one: {container.reason(error)}"
        ) from error
    if rate is not None and optimizer is not None:
        optimizer.learning_rate = rate
    return epoch


def _numbered(network: Network) -> dict[str, str]:
    """Return the name of each weight in `contents`, with a name that has the layer's number."""
    return {
        f"layers/{path}/{name}": f"layers/{i}/{name}"
        for i, (layer, path) in enumerate(zip(network.layers, network.names, strict=True))
        for name in layer.named_weights
    }


def save_weights(path: str, network: Network) -> None:
    """Write a network's weights, named by the layer's index and the weight's name."""
    from nnfast._utils import container

    views = _by_layer(network.layers)
    arrays = {f"layers/{i}/{name}": view for (i, name), view in views.items()}
    container.write(path, arrays, {"layers": network.names})


def load_weights(
    path: str, network: Network, whose: str, skip_mismatch: bool = False, by_name: bool = False
) -> None:
    """Set a network's weights from a file of the same architecture.

    If `skip_mismatch`, layers whose weights have other names or shapes are skipped with a warning.
    If `by_name`, only layers that have the same name in the file and in the network are considered.

    Raises
    ------
    ValueError
        If the weights do not fit. No weight is changed then.
    """
    from nnfast._utils import container

    names, arrays = container.weights_by_layer(path)
    views = _by_layer(network.layers)
    if by_name:
        own_index = {name: i for i, name in enumerate(network.names)}
        arrays = {
            (own_index[names[i]], weight): array
            for (i, weight), array in arrays.items()
            if names[i] in own_index
        }
        views = {key: view for key, view in views.items() if network.names[key[0]] in names}
    if skip_mismatch:
        shapes, own = _shapes_by_layer(arrays), _shapes_by_layer(views)
        skipped = {i for i in own.keys() | shapes.keys() if own.get(i) != shapes.get(i)}
        if skipped:
            warn(f"the weights of layers {sorted(skipped)} of {path!r} do not fit {whose}")
        arrays = {key: array for key, array in arrays.items() if key[0] not in skipped}
        views = {key: view for key, view in views.items() if key[0] not in skipped}
    if arrays.keys() != views.keys():
        layer, name = min(arrays.keys() ^ views.keys())
        raise ValueError(
            f"{path!r} has another architecture: {name} of layer {layer} is only in "
            f"{'the file' if (layer, name) in arrays else whose}"
        )
    assign(repr(path), list(views.values()), [arrays[key] for key in views])


def _by_layer(layers: Sequence[Layer]) -> dict[tuple[int, str], Array]:
    """Return the weights by the layer's index and the weight's name."""
    return {
        (i, name): view
        for i, layer in enumerate(layers)
        for name, view in layer.named_weights.items()
    }


def _shapes_by_layer(arrays: Mapping[tuple[int, str], Array]) -> dict[int, dict[str, Any]]:
    shapes: dict[int, dict[str, Any]] = {}
    for (i, name), array in arrays.items():
        shapes.setdefault(i, {})[name] = array.shape
    return shapes


def _optimizer_state(network: Network, optimizer: Optimizer) -> tuple[Array, int]:
    """Return the slots in the layout of a rebuilt network, and the number of steps taken.

    A rebuilt network has slots only for the weights that are trainable now. If some of these
    weights have no slots yet, the result is the state of a newly compiled optimizer.
    """
    engine, plan = network.engine, network.plan
    missing = bool(network.missing())
    if not (missing or plan.has_untrained_slots):
        return engine.slots, engine.iterations
    new = network.new_plan()
    slots = np.zeros((len(engine.slots), new.n_params), network.dtype)
    optimizer.start(slots)
    if missing:
        return slots, 0
    for slot, old in zip(slots, engine.slots, strict=True):
        for target, source in zip(new.trained_views(slot), plan.trained_views(old), strict=True):
            target[...] = source
    return slots, engine.iterations
