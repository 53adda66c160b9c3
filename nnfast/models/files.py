"""A model's files: what they hold, and how a model takes it back."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnfast import losses, optimizers
from nnfast import metrics as _metrics
from nnfast._plan.plan import compile_plan
from nnfast._utils import checks
from nnfast._utils.assign import assign, assign_named
from nnfast._utils.registry import describe
from nnfast.models.compiled import Compiled

Array = NDArray[Any]


class Files(Compiled):
    """A compiled model that is saved and goes on from there."""

    def save(self, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
        """Write the model to a file from which `load_model` continues it exactly.

        The file holds architecture, weights, what was compiled, the optimizer's state and the
        place in the random streams. It replaces an older one at once, or not at all. Metrics
        that are functions of the caller's are left out, with a warning.

        Parameters
        ----------
        path : str or path-like
            Any file name.
        include_optimizer : bool, default True
            Without it what was compiled and the optimizer's state are left out: the file is for
            predictions, or for another `compile`.

        Raises
        ------
        ValueError
            If the model is not built.
        OSError
            If the file cannot be written.
        """
        from nnfast._utils import container

        path = checks.file_name("path", path)
        self._built_engine()
        include = checks.flag("include_optimizer", include_optimizer)
        arrays, state = self._contents()
        description: dict[str, Any] = {"model": self.get_config(), "compile": None}
        if self._settings is not None and include:
            optimizer, loss, metrics, weighted_metrics = self._settings
            include = not isinstance(loss, losses.FunctionLoss)
            if isinstance(loss, losses.FunctionLoss):
                checks.warn(
                    f"Loss {loss.name} is a function and is not saved, nor is the optimizer: "
                    "compile the loaded model with them"
                )
            else:
                description["compile"] = {
                    "optimizer": describe(optimizer),
                    "loss": None if loss is None else describe(loss),
                    "metrics": _metrics.describe_all(metrics),
                    "weighted_metrics": _metrics.describe_all(weighted_metrics),
                }
        if not include:
            arrays = {name: a for name, a in arrays.items() if not name.startswith("optimizer/")}
        container.write(path, arrays, description | {"state": state})

    def _contents(self) -> tuple[dict[str, Array], dict[str, int]]:
        """Return weights and optimizer slots by name, not copied, and the counters."""
        from nnfast._utils import container

        self._follow_trainable()
        engine = self._built_engine()
        arrays, iterations = dict(self._named_weights()), engine.iterations
        if self._settings is not None:
            slots, iterations = self._optimizer_state(self._settings.optimizer)
            arrays |= {f"optimizer/{i}": slot for i, slot in enumerate(slots)}
        counters = {
            "seed": self._seed,
            # An epoch under way is not gone on with: the next `fit` begins the one after.
            "epoch": min(engine.epoch + (engine.batch > 0), container.COUNT_LIMIT),
            "iterations": min(iterations, container.COUNT_LIMIT),
        }
        return arrays, counters

    def _optimizer_state(self, optimizer: optimizers.Optimizer) -> tuple[Array, int]:
        """Return the slots as a new model of the same configuration has them, and the steps taken.

        That one has slots for the weights that are trained now, and no others. The optimizer starts
        anew if it does not know some of them.
        """
        engine, plan = self._built_engine(), self._plan
        assert plan is not None
        assert self._one is not None
        missing = bool(self._missing())
        if not (missing or plan.has_untrained_slots):
            return engine.slots, engine.iterations
        new = compile_plan(self._layers, self._one, self.trainable)
        slots = np.zeros((len(engine.slots), new.n_params), self._np_dtype)
        optimizer.start(slots)
        if missing:
            return slots, 0
        for slot, old in zip(slots, engine.slots, strict=True):
            for to, source in zip(new.trained_views(slot), plan.trained_views(old), strict=True):
                to[...] = source
        return slots, engine.iterations

    def _state(self) -> dict[str, Any]:
        """Return what `_take_state` makes of a new model of the same configuration."""
        arrays, counters = self._contents() if self.built else ({}, {"seed": self._seed})
        return {
            "model": self.get_config(),
            "settings": self._settings,
            "arrays": {name: array.copy() for name, array in arrays.items()},
            "counters": counters,
            "n_threads": self.n_threads,
        }

    def _take_state(self, state: Mapping[str, Any]) -> None:
        """Go on like the model of which `_state` gave this."""
        if state["settings"] is not None:
            self._compile(state["settings"])
        self.n_threads = state["n_threads"]
        if self.built:
            self._take_contents(state["arrays"], state["counters"])
        self._seed = state["counters"]["seed"]

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights, and nothing else, to a file for `load_weights`.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            If the model is not built.
        OSError
            If the file cannot be written.
        """
        from nnfast._utils import container

        path = checks.file_name("path", path)
        self._built_engine()
        arrays = {
            f"layers/{i}/{name}": view
            for i, layer in enumerate(self._layers)
            for name, view in layer.named_weights.items()
        }
        container.write(path, arrays, {"layers": [layer.name for layer in self._layers]})

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Set the weights from a file of `save_weights` or `save`, of the same architecture.

        The optimizer's state and the random streams stay as they are.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds no weights saved by nnfast, or they do not fit; nothing is set then.

        Examples
        --------
        >>> import tempfile, nnfast
        >>> a, b = (nnfast.Sequential([nnfast.layers.Dense(2, input_dim=3)]) for _ in range(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     a.save_weights(folder + "/a.weights.safetensors")
        ...     b.load_weights(folder + "/a.weights.safetensors")
        >>> bool((a.get_weights()[0] == b.get_weights()[0]).all())
        True
        """
        from nnfast._utils import container

        path = checks.file_name("path", path)
        self._built_engine()
        arrays = container.weights_by_layer(path)
        places = {
            (i, name): view
            for i, layer in enumerate(self._layers)
            for name, view in layer.named_weights.items()
        }
        if arrays.keys() != places.keys():
            layer, name = min(arrays.keys() ^ places.keys())
            raise ValueError(
                f"{os.fspath(path)!r} is of another architecture: {name} of layer {layer} is only "
                f"in {'the file' if (layer, name) in arrays else f'model {self.name!r}'}"
            )
        assign(f"{os.fspath(path)!r}", list(places.values()), [arrays[key] for key in places])

    def _restore(self, arrays: Mapping[str, Array], description: Mapping[str, Any]) -> None:
        """Take what `save` wrote."""
        from nnfast._utils import container

        if description["compile"] is not None:
            self.compile(**description["compile"])
        limits = {
            "seed": 2**64 - 1,
            "epoch": container.COUNT_LIMIT,
            "iterations": container.COUNT_LIMIT,
        }
        counters = {
            key: checks.integer(key, description["state"][key], minimum=0, maximum=limit)
            for key, limit in limits.items()
        }
        self._take_contents(arrays, counters)

    def _take_contents(self, arrays: Mapping[str, Array], state: Mapping[str, int]) -> None:
        """Take what `_contents` gave."""
        engine = self._built_engine()
        places = dict(self._named_weights())
        if self._settings is not None:
            places |= {f"optimizer/{i}": slot for i, slot in enumerate(engine.slots)}
        assign_named("the saved model", places, arrays)
        self._seed = state["seed"]
        engine.set_seed(self._seed)
        engine.epoch = state["epoch"]
        engine.iterations = state["iterations"]
