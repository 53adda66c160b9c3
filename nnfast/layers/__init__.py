"""The layers: their configuration, shape inference and operations.

All names in the `__all__` lists of these modules are public. `registry` has a table of the layers.
"""

from nnfast.layers import cells, merging, registry as registry
from nnfast.layers.activation import *
from nnfast.layers.attention import *
from nnfast.layers.augmentation import *
from nnfast.layers.bidirectional import *
from nnfast.layers.cells import *
from nnfast.layers.convolution import *
from nnfast.layers.core import *
from nnfast.layers.discretization import *
from nnfast.layers.embedding import *
from nnfast.layers.encoding import *
from nnfast.layers.group_normalization import *
from nnfast.layers.intensity import *
from nnfast.layers.layer import *
from nnfast.layers.lookup import *
from nnfast.layers.masking import *
from nnfast.layers.merging import *
from nnfast.layers.multi_head_attention import *
from nnfast.layers.normalization import *
from nnfast.layers.pooling import *
from nnfast.layers.recurrent import *
from nnfast.layers.registry import (
    TABLE as TABLE,
    deserialize as deserialize,
    serialize as serialize,
)
from nnfast.layers.regularization import *
from nnfast.layers.reshaping import *
from nnfast.layers.resizing import *
from nnfast.layers.rnn import *
from nnfast.layers.sampling import *
from nnfast.layers.text_vectorization import *
from nnfast.layers.time_distributed import *
from nnfast.layers.transposed_convolution import *
from nnfast.layers.unit_normalization import *
from nnfast.layers.wrapper import *

__all__ = [
    *sorted({*registry.register(vars()), *merging.__all__, *cells.__all__}),
    *("deserialize", "serialize"),
]
