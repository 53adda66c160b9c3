"""The losses, as classes and as functions.

The engine computes the losses of training. The loss of a batch of n rows is Σᵢ wᵢ·lᵢ / n (Keras'
``sum_over_batch_size``) with sample weights wᵢ, unless `reduction` says otherwise. Calls of a loss
or of a function such as `mean_squared_error` are computed with NumPy.
"""

from nnfast.losses import functional, margins, probabilistic, regression
from nnfast.losses.function import FunctionLoss
from nnfast.losses.functional import *
from nnfast.losses.loss import Loss, TargetSpec as TargetSpec
from nnfast.losses.margins import *
from nnfast.losses.probabilistic import *
from nnfast.losses.registry import (
    TABLE as TABLE,
    deserialize,
    get,
    resolve as resolve,
    serialize,
)
from nnfast.losses.regression import *

__all__ = ["FunctionLoss", "Loss", "deserialize", "get", "serialize"]
__all__ += functional.__all__
__all__ += margins.__all__
__all__ += probabilistic.__all__
__all__ += regression.__all__
