"""The models, as in `nnfast.models`."""

from nnfast.models import *
