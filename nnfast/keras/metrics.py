"""The metrics, as in `nnfast.metrics`."""

from nnfast.metrics import *
from nnfast.metrics import deserialize as deserialize, get as get, serialize as serialize
