"""Optimizers: hyperparameters only. The engine computes the steps; the model holds the state."""

from nnfast.optimizers import schedules
from nnfast.optimizers.optimizer import (
    Optimizer,
)
from nnfast.optimizers.rules import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Nadam,
    RMSprop,
    deserialize,
    get,
    serialize,
)
from nnfast.optimizers.rules import (
    TABLE as TABLE,
)
from nnfast.optimizers.rules import (
    resolve as resolve,
)

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]
