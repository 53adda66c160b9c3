"""The initializers, as in `nnfast.initializers`."""

from nnfast.initializers import *
