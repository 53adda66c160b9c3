"""`nnfast.keras` is `nnfast` itself, and `nnfast.keras.layers` is `nnfast.layers`."""

import sys

import nnfast
from nnfast import (
    activations,
    callbacks,
    constraints,
    datasets,
    initializers,
    kernels,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    plotting,
    regularizers,
)
from nnfast.optimizers import schedules

# Without these entries, `from nnfast.keras.layers import Dense` would load a second copy.
for _module in (
    *(activations, callbacks, constraints, datasets, initializers, kernels),
    *(layers, losses, metrics, models, optimizers, plotting, regularizers, schedules),
):
    sys.modules[_module.__name__.replace("nnfast", __name__)] = _module
sys.modules[f"{__name__}.schedules"] = schedules
sys.modules[__name__] = nnfast  # so that `import nnfast.keras` returns nnfast
