"""What files and pickles hold of a network and its training, and how it is taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._plan.plan import Plan, compile_plan
from nnfast._runtime.network import Network
from nnfast._runtime.trainer import Settings
from nnfast._utils.assign import assign, assign_named
from nnfast._utils.checks import integer, warn
from nnfast.layers.layer import Layer
from nnfast.losses import FunctionLoss
from nnfast.optimizers import Optimizer

Array = NDArray[Any]

# Of steps and epochs in a file. A file says no more and a model that has more says this, so that
# what was loaded can be trained, saved and loaded; and floats count no further.
COUNT_LIMIT = 2**53

# Numbers of a sample that a model may put out, and that it may have in between, where neither its
# inputs nor its file are large: the outputs of all samples stay, in between are those of one.
# 64 filters on images of 512 × 512 make as many as are allowed; training on such takes gigabytes.
OUTPUT_LIMIT = 2**22
BETWEEN_LIMIT = 2**24
# Times as many as its inputs or the numbers in its file may be made, as 64 filters make of gray
# images. The caller's inputs exist, but a file may claim any number of them.
GROWTH = 64
GROWTH_LIMIT = 2**28


def check_shapes(
    arrays: Mapping[str, NDArray[Any]], weights: Mapping[str, tuple[int, ...]], plan: Plan
) -> None:
    """Check that a file has the weights that its model needs, before memory is taken for it.

    And that predictions of a sample do not take much memory for which nothing is to show.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Of the file.
    weights : dict of str to tuple of int
        The shapes of the model's.
    plan : Plan
        The model's.

    Raises
    ------
    ValueError
        If one is missing or has another shape, or inputs and weights are too few for the numbers
        that the model makes of a sample.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    wrong = [name for name, shape in weights.items() if shapes.get(name) != shape]
    if wrong:
        name = wrong[0]
        has = f"of shape {shapes[name]}" if name in shapes else "missing"
        raise ValueError(f"array {name} is {has}, the model needs {weights[name]}")
    stored = sum(array.size for array in arrays.values())
    grown = max(GROWTH * stored, min(GROWTH * plan.n_in, GROWTH_LIMIT))
    if plan.n_out > max(OUTPUT_LIMIT, grown):
        raise ValueError(f"its model puts out {plan.n_out} numbers for a sample")
    if plan.most_numbers > max(BETWEEN_LIMIT, grown):
        raise ValueError(f"its model makes {plan.most_numbers} numbers of a sample in between")


def contents(
    network: Network, optimizer: Optimizer | None
) -> tuple[dict[str, Array], dict[str, int]]:
    """Return weights and optimizer slots by name, not copied, and the counters."""
    engine = network.engine
    arrays, iterations = dict(network.named_weights()), engine.iterations
    if optimizer is not None:
        slots, iterations = _optimizer_state(network, optimizer)
        arrays |= {f"optimizer/{i}": slot for i, slot in enumerate(slots)}
    counters = {
        "seed": network.seed,
        # An epoch under way is not gone on with: the next `fit` begins the one after.
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
    """Take what `contents` gave.

    Raises
    ------
    ValueError
        If names, dtypes or shapes do not match.
    """
    engine = network.engine
    places = dict(network.named_weights())
    if optimizer is not None:
        places |= {f"optimizer/{i}": slot for i, slot in enumerate(engine.slots)}
    assign_named("the saved model", places, arrays)
    network.set_seed(counters["seed"])
    engine.epoch = counters["epoch"]
    engine.iterations = counters["iterations"]


def checked_counters(counters: Mapping[str, Any]) -> dict[str, int]:
    """Return the counters of a file, which may hold anything."""
    limits = {"seed": 2**64 - 1} | dict.fromkeys(("epoch", "iterations"), COUNT_LIMIT)
    return {
        key: integer(key, counters[key], minimum=0, maximum=limit) for key, limit in limits.items()
    }


def save(
    path: str,
    config: Mapping[str, Any],
    settings: Settings | None,
    arrays: Mapping[str, Array],
    counters: Mapping[str, int],
) -> None:
    """Write a model's configuration, what it is compiled with, and its `contents`.

    Without settings, or with a loss that is a function, the optimizer's slots are left out.
    """
    from nnfast._utils import container

    compiled = None
    if settings is not None and isinstance(settings.loss, FunctionLoss):
        warn(
            f"Loss {settings.loss.name} is a function and is not saved, nor is the optimizer: "
            "compile the loaded model with them"
        )
    elif settings is not None:
        compiled = settings.describe()
    if compiled is None:
        arrays = {name: a for name, a in arrays.items() if not name.startswith("optimizer/")}
    description = {"model": dict(config), "compile": compiled, "state": dict(counters)}
    container.write(path, arrays, description)


def save_weights(path: str, layers: Sequence[Layer]) -> None:
    """Write the weights of layers by their layer's number and their name."""
    from nnfast._utils import container

    arrays = {f"layers/{i}/{name}": view for (i, name), view in _by_layer(layers).items()}
    container.write(path, arrays, {"layers": [layer.name for layer in layers]})


def load_weights(path: str, layers: Sequence[Layer], whose: str) -> None:
    """Set the weights of layers from a file of the same architecture.

    Raises
    ------
    ValueError
        If they do not fit; nothing is set then.
    """
    from nnfast._utils import container

    arrays = container.weights_by_layer(path)
    views = _by_layer(layers)
    if arrays.keys() != views.keys():
        layer, name = min(arrays.keys() ^ views.keys())
        raise ValueError(
            f"{path!r} is of another architecture: {name} of layer {layer} is only in "
            f"{'the file' if (layer, name) in arrays else whose}"
        )
    assign(repr(path), list(views.values()), [arrays[key] for key in views])


def _by_layer(layers: Sequence[Layer]) -> dict[tuple[int, str], Array]:
    """Return the weights by their layer's number and their name."""
    return {
        (i, name): view
        for i, layer in enumerate(layers)
        for name, view in layer.named_weights.items()
    }


def _optimizer_state(network: Network, optimizer: Optimizer) -> tuple[Array, int]:
    """Return the slots as a new network of the same layers has them, and the steps taken.

    That one has slots for the weights that are trained now, and no others. The optimizer starts
    anew if it does not know some of them.
    """
    engine, plan = network.engine, network.plan
    missing = bool(network.missing())
    if not (missing or plan.has_untrained_slots):
        return engine.slots, engine.iterations
    new = compile_plan(network.layers, plan.input_shape, network.trainable)
    slots = np.zeros((len(engine.slots), new.n_params), network.dtype)
    optimizer.start(slots)
    if missing:
        return slots, 0
    for slot, old in zip(slots, engine.slots, strict=True):
        for to, source in zip(new.trained_views(slot), plan.trained_views(old), strict=True):
            to[...] = source
    return slots, engine.iterations
