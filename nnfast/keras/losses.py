"""The losses, as in `nnfast.losses`."""

from nnfast.losses import *
