"""The optimizers and their schedules; here, `lr` is an older name of `learning_rate`."""

from __future__ import annotations

import functools
import warnings
from typing import Any, TypeVar

from nnfast.keras.optimizers import schedules
from nnfast.optimizers import Optimizer, rules
from nnfast.optimizers.rules import deserialize, get, serialize

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

T = TypeVar("T", bound=type[Optimizer])


def _accepts_lr(cls: T) -> T:
    """Let the constructor take `lr` with a DeprecationWarning, and refuse `decay` with advice."""
    own: Any = cls.__init__

    @functools.wraps(own)
    def init(self: Optimizer, *args: Any, **options: Any) -> None:
        if "lr" in options:
            warnings.warn(
                f"{cls.__name__}(lr=…) is deprecated: use learning_rate=…",
                DeprecationWarning,
                stacklevel=2,
            )
            options["learning_rate"] = options.pop("lr")
        if "decay" in options:
            raise TypeError(
                f"{cls.__name__}() has no argument 'decay': use learning_rate="
                "schedules.InverseTimeDecay(learning_rate, 1, decay)"
            )
        own(self, *args, **options)

    cls.__init__ = init  # type: ignore[method-assign]
    return cls


@_accepts_lr
class SGD(rules.SGD):
    """`nnfast.optimizers.SGD`, which also takes `lr`."""


@_accepts_lr
class Adadelta(rules.Adadelta):
    """`nnfast.optimizers.Adadelta`, which also takes `lr`."""


@_accepts_lr
class Adamax(rules.Adamax):
    """`nnfast.optimizers.Adamax`, which also takes `lr`."""


@_accepts_lr
class Adagrad(rules.Adagrad):
    """`nnfast.optimizers.Adagrad`, which also takes `lr`."""


@_accepts_lr
class Adam(rules.Adam):
    """`nnfast.optimizers.Adam`, which also takes `lr`."""


@_accepts_lr
class AdamW(rules.AdamW):
    """`nnfast.optimizers.AdamW`, which also takes `lr`."""


@_accepts_lr
class Lion(rules.Lion):
    """`nnfast.optimizers.Lion`, which also takes `lr`."""


@_accepts_lr
class Nadam(rules.Nadam):
    """`nnfast.optimizers.Nadam`, which also takes `lr`."""


@_accepts_lr
class RMSprop(rules.RMSprop):
    """`nnfast.optimizers.RMSprop`, which also takes `lr`."""
