"""The activation functions, as in `nnfast.activations`."""

from nnfast.activations import *
