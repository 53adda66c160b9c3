"""Optimizers: hyper-parameters only. The steps are the engine's, the state is the model's."""

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
