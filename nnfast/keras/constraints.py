"""The constraints, as in `nnfast.constraints`, also under the names of older versions of Keras."""

from nnfast import constraints as _constraints
from nnfast.constraints import *

maxnorm, nonneg, unitnorm = _constraints.MaxNorm, _constraints.NonNeg, _constraints.UnitNorm
