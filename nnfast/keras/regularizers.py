"""The regularizers, as in `nnfast.regularizers`."""

from nnfast.regularizers import *
