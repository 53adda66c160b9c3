"""The schedules, as in `nnfast.optimizers.schedules`."""

from nnfast.optimizers.schedules import *
