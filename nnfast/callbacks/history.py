"""The logs of every epoch."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from nnfast.callbacks.callback import Callback, Logs
from nnfast.callbacks.protocol import WatchedModel


class History(Callback):
    """The logs of every epoch, which `fit` returns.

    Attributes
    ----------
    epoch : list of int
        The trained epochs, counted from 0.
    history : dict of str to list of float
        The values of ``loss`` and of each metric, under the name passed to `compile`; if there are
        several outputs, of ``<output>_loss`` and ``<output>_<metric>``. With validation, there is
        also a key ``val_…`` for each of them. A metric with several values has one array per
        epoch.
    epochs : dict of str to list of int
        For each key of `history`, the epoch of each value, because validation may skip epochs.
        Keras does not have this attribute.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = [[1.0], [2.0]], [1.0, 2.0]
    >>> history = model.fit(x, y, epochs=4, validation_split=0.5, validation_freq=2, verbose=0)
    >>> history.epochs
    {'loss': [0, 1, 2, 3], 'val_loss': [1, 3]}
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}
        # The positions in `epoch` of each key's values; a second fit may count from 0 again.
        self._places: dict[str, list[int]] = {}

    @property
    def epochs(self) -> dict[str, list[int]]:
        return {key: [self.epoch[at] for at in self._places_of(key)] for key in self.history}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._places.setdefault(name, []).append(len(self.epoch))
        self.epoch.append(epoch)

    def add_losses(self, first: int, losses: Mapping[str, Sequence[float]]) -> None:
        """Add the epochs first, first + 1, …, whose logs consist of losses only."""
        place, count = len(self.epoch), len(losses["loss"])
        self.epoch.extend(range(first, first + count))
        for name, values in losses.items():
            self.history.setdefault(name, []).extend(values)
            self._places.setdefault(name, []).extend(range(place, place + count))

    def _places_of(self, key: str) -> Sequence[int]:
        """Return the positions in `epoch` of a key's values.

        If other code has changed the number of values in `history`, return the last positions.
        """
        count = len(self.history[key])
        places = self._places.get(key, ())
        end = len(self.epoch)
        return places if len(places) == count else range(max(0, end - count), end)

    def plot(self, keys: Sequence[str] | None = None, axes: Any = None) -> Any:
        """Plot learning curves with matplotlib: see `nnfast.plotting.learning_curves`."""
        from nnfast import plotting

        return plotting.learning_curves(self, keys, axes)

    def _repr_html_(self) -> str:
        """Return an HTML table of the first and the last epochs, for notebooks."""
        import html

        from nnfast._utils.formatting import numbers

        columns = [
            dict(zip(self._places_of(key), values, strict=False))
            for key, values in self.history.items()
        ]
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in ("epoch", *self.history))
        places: list[int | None] = [*range(len(self.epoch))]
        if len(places) > 2 * _SHOWN:
            places[_SHOWN:-_SHOWN] = [None]
        body = ""
        for place in places:
            if place is None:
                body += f'<tr><td colspan="{len(columns) + 1}">…</td></tr>'
                continue
            values = [numbers(c[place], ".4g") if place in c else "" for c in columns]
            cells = (str(self.epoch[place] + 1), *map(html.escape, values))
            body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class HistoryKeeper:
    """A weak reference from a model to its history, which in turn refers to the model."""

    def __init__(self) -> None:
        self._kept: tuple[weakref.ref[History], dict[str, Any]] | None = None

    def keep(self, history: History) -> None:
        """Remember a history; if it is deleted, `get` returns a new one with the same lists."""
        content = {name: value for name, value in vars(history).items() if name != "model"}
        self._kept = weakref.ref(history), content

    def get(self, model: WatchedModel) -> History | None:
        """Return the last history that was passed to `keep`, or None if there is none."""
        if self._kept is None:
            return None
        history = self._kept[0]()
        if history is None:
            history = History()
            vars(history).update(self._kept[1])
            self.keep(history)
            history.set_model(model)
        return history


# The number of epochs shown at each end of a long table.
_SHOWN = 5
