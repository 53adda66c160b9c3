"""The callbacks, as in `nnfast.callbacks`."""

from nnfast.callbacks import *
