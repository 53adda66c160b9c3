"""A model's files: what they hold, and how a model takes it back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from nnfast import _validation as check
from nnfast import losses
from nnfast import metrics as _metrics
from nnfast._compiled import Compiled
from nnfast._layer import assign, assign_named
from nnfast._resolve import describe

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
        from nnfast import saving

        path = check.file_name("path", path)
        engine = self._built_engine()
        arrays = dict(self._named_weights())
        description: dict[str, Any] = {"model": self.get_config(), "compile": None}
        compiled = check.flag("include_optimizer", include_optimizer) and self.optimizer is not None
        if compiled and not isinstance(self.loss, losses.FunctionLoss):
            description["compile"] = {
                "optimizer": describe(self.optimizer),
                "loss": None if self.loss is None else describe(self.loss),
                "metrics": _metrics.describe_all(self._metric_entries),
                "weighted_metrics": _metrics.describe_all(self._weighted_entries),
            }
            arrays |= {f"optimizer/{i}": slot for i, slot in enumerate(engine.slots)}
        if compiled and isinstance(self.loss, losses.FunctionLoss):
            check.warn(
                f"Loss {self.loss.name} is a function and is not saved, nor is the optimizer: "
                "compile the loaded model with them"
            )
        description["state"] = {
            "seed": self._seed,
            # An epoch under way is not gone on with: the next `fit` begins the one after.
            "epoch": engine.epoch + (engine.batch > 0),
            "iterations": engine.iterations,
        }
        saving.write(path, arrays, description)

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
        from nnfast import saving

        path = check.file_name("path", path)
        self._built_engine()
        arrays = {
            f"layers/{i}/{name}": view
            for i, layer in enumerate(self._layers)
            for name, view in layer.named_weights.items()
        }
        saving.write(path, arrays, {"layers": [layer.name for layer in self._layers]})

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
        from nnfast import saving

        self._built_engine()
        arrays = saving.weights_by_layer(path)
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
        """Take the state that `save` wrote."""
        engine = self._built_engine()
        places = dict(self._named_weights())
        if description["compile"] is not None:
            self.compile(**description["compile"])
            places |= {f"optimizer/{i}": slot for i, slot in enumerate(engine.slots)}
        assign_named("the saved model", places, arrays)
        state = {
            key: check.integer(key, description["state"][key], minimum=0)
            for key in ("seed", "epoch", "iterations")
        }
        self._seed = state["seed"]
        engine.set_seed(self._seed)
        engine.epoch = state["epoch"]
        engine.iterations = state["iterations"]
