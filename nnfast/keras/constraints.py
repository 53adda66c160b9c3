"""The constraints, as in `nnfast.constraints`."""

from nnfast.constraints import *
