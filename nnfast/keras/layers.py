"""The layers, as in `nnfast.layers`."""

from nnfast.layers import *
