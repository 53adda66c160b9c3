"""The optimizers, which hold hyperparameters only. The engine computes the steps."""

from nnfast.optimizers import rules, schedules
from nnfast.optimizers.optimizer import Optimizer
from nnfast.optimizers.rules import *
from nnfast.optimizers.rules import TABLE as TABLE, resolve as resolve

__all__ = ["Optimizer", "schedules"]
__all__ += rules.__all__
