"""The constraints, as in `nnfast.constraints`, also under the names of older versions of Keras."""

from nnfast import constraints
from nnfast.constraints import *

maxnorm, nonneg, unitnorm = constraints.MaxNorm, constraints.NonNeg, constraints.UnitNorm
