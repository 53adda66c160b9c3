"""Checked samples, with which models are trained, evaluated and used for predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast._data.arrays import batch_of, check_ids, check_order, features, sample_weights, targets
from nnfast._data.ends import Ends
from nnfast._data.preparation import Part
from nnfast._engine import Data
from nnfast._utils.checks import Array, Shape, batch_size, integer, real, warn
from nnfast.losses import TargetSpec

# Ranges of columns: first column, end, and the number of rows of the table that they name.
IdColumns = list[tuple[int, int, int]]
Weights = NDArray[np.float64]
# The names of the arguments in messages.
NAMES = ("x", "y", "sample_weight")


class SampleSpec(NamedTuple):
    """What a model requires of its samples.

    Attributes
    ----------
    outputs : Ends
    input_shapes : sequence of tuple of int
        Shape of one sample of each array that the engine reads.
    targets : tuple of TargetSpec
    functions : tuple of int
        The numbers of the outputs whose loss is a user-defined function.
    dtype : numpy.dtype
        The model's dtype.
    ids : sequence of (list of tuple of int or None)
        The columns of each array that hold ids; see `check_ids`.
    sizes : tuple of tuple of int, optional
        The shape of a sample of each array that the engine reads, if the model has axes whose
        sizes may vary.
    """

    outputs: Ends
    input_shapes: Sequence[Shape]
    targets: tuple[TargetSpec, ...]
    functions: tuple[int, ...]
    dtype: np.dtype[Any]
    ids: Sequence[IdColumns | None] = ()
    sizes: tuple[Shape, ...] | None = None


@dataclass
class Samples:
    """Checked rows, in the form that `nnfast._engine.Data` takes.

    Attributes
    ----------
    x : list of ndarray (n, n_in), float32, float64 or integers; in estimators also a CSR matrix
        One array per input.
    y : list of ndarray (n, n_out) of the model's dtype, or (n, ...) int32 class indices; any
        (n, ...) if the output's loss is a user-defined function
        One array per output.
    weights : list of ndarray (n,) or (n, steps) float64, or None
        One entry per output: weights of samples, or of their steps.
    functions : tuple of int
        The numbers of the outputs whose loss is a user-defined function.
    several_classes : bool
        Whether the targets of a sample are several classes.
    steps : tuple of int
        The axes of a sample's targets except the last, such as steps or pixels, of the only output.
    sizes : tuple of tuple of int, or None
        See `SampleSpec`.
    """

    x: list[Array]
    y: list[Array]
    weights: list[Weights | None]
    functions: tuple[int, ...] = ()
    several_classes: bool = False
    steps: Shape = ()
    sizes: tuple[Shape, ...] | None = None

    def __len__(self) -> int:
        n: int = self.x[0].shape[0]
        return n

    @property
    def total_weight(self) -> float:
        """The sum of the sample weights of the only output."""
        (weight,) = self.weights
        return float(len(self)) if weight is None else float(weight.sum())

    def data(self) -> Data:
        """Return the engine's view of these rows."""
        if not self.functions and not self.several_classes:
            return Data(self.x, self.y, self.weights)
        y: list[Array | None] = [
            part.reshape(-1) if part.dtype == np.int32 else part for part in self.y
        ]
        for k in self.functions:
            y[k] = None
        return Data(self.x, y, self.weights, self.y)

    def first_batches(
        self, name: str, steps: int | None, given_size: object
    ) -> tuple[Samples, int]:
        """Return a view of the first `steps` batches (by default all), and the batch size."""
        size = batch_size(given_size, len(self), steps)
        if steps is None:
            return self, size
        if (steps - 1) * size >= len(self):
            warn(
                f"{name} ran out of data: it has {-(-len(self) // size)} batches of {size} rows, "
                f"but {steps} were requested"
            )
        return self.subset(slice(0, steps * size)), size

    def batch_slices(self, size: int) -> Iterator[slice]:
        """Yield the slices of batches of `size` rows; the last one may be smaller."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def subset(self, rows: Any) -> Samples:
        """Return some of the rows: a view if `rows` is a slice, a copy if it is indices."""
        return replace(
            self,
            x=[part[rows] for part in self.x],
            y=[part[rows] for part in self.y],
            weights=[None if part is None else part[rows] for part in self.weights],
        )

    def with_class_weight(self, class_weight: object) -> Samples:
        """Return these samples, each weighted by its class (1 if the class has no weight)."""
        if len(self.y) > 1:
            raise ValueError(
                f"class_weight needs a model with one output; this one has {len(self.y)}: pass "
                "sample_weight"
            )
        if math.prod(self.steps) > 1:
            raise ValueError(
                "class_weight needs targets with one class per sample; each sample has several "
                f"targets here, of shape {self.steps}: pass a sample_weight of shape "
                f"{batch_of(self.steps)}"
            )
        return replace(self, weights=[_class_weights(class_weight, self.y[0])])


def checked_rows(
    parts: Sequence[Part],
    shapes: Sequence[Shape],
    dtype: np.dtype[Any],
    ids: Sequence[IdColumns | None] = (),
) -> list[Array]:
    """Return the arrays that the engine reads, which have the same number of rows.

    See `features` and `SampleSpec`.
    """
    found: list[Array] = []
    for label, part in parts:
        rows = features(label, part, shapes[len(found)], dtype)
        if found and len(rows) != len(found[0]):
            raise ValueError(
                f"{label} must have {len(found[0])} rows, as {parts[0][0]} has; received "
                f"{len(rows)}"
            )
        found.append(rows)
    for k, columns in enumerate(ids):
        if columns is not None:
            check_ids(parts[k][0], found[k], shapes[k], columns)
    return found


def checked(
    spec: SampleSpec,
    x: Sequence[Part],
    y: object,
    sample_weight: object,
    method: str,
    names: tuple[str, str, str] = NAMES,
) -> Samples:
    """Return x, y and weights as checked samples of a model.

    Parameters
    ----------
    spec : SampleSpec
    x : sequence of (str, array_like)
        The arrays that the engine reads, with their names in messages.
    y, sample_weight
        As in `fit`.
    method : str
        The method that was called, for messages. Methods that train limit the number of rows,
        because the rows can be shuffled.
    names : tuple of str
        The names of the three arrays in messages.

    Raises
    ------
    TypeError, ValueError
        If an array does not fit.
    """
    rows = checked_rows(x, spec.input_shapes, spec.dtype, spec.ids)
    n = len(rows[0])
    if n == 0:
        raise ValueError(f"{names[0]} must have at least one row in {method}(); received none")
    if method in ("fit", "train_on_batch"):
        check_order(names[0], n)
    found: list[Array] = []  # a comprehension would be slower for one output
    several = False
    for label, part in spec.outputs.labelled(names[1], y):
        own = spec.targets[len(found)]
        several |= own.one_hot and len(own.shape) > 1
        if part is None and own.optional:  # there is no loss, so any targets will do
            found.append(np.zeros((n, math.prod(own.shape)), spec.dtype))
        else:
            found.append(targets(label, part, n, own, spec.dtype))
    weights: list[Weights | None] = [None] * len(found)
    if sample_weight is not None:
        weights = _weights(spec, names[2], sample_weight, n)
    steps = () if spec.targets[0].free else spec.targets[0].steps
    return Samples(rows, found, weights, spec.functions, several, steps, spec.sizes)


def _weights(spec: SampleSpec, name: str, value: object, n: int) -> list[Weights | None]:
    """Return the weights for each output; an array alone is for the samples of all of them."""
    if len(spec.outputs) > 1 and not isinstance(value, (list, tuple, Mapping)):
        return [sample_weights(name, value, n)] * len(spec.outputs)
    parts = zip(spec.outputs.labelled(name, value), spec.targets, strict=True)
    return [sample_weights(*part, n, own.steps) for part, own in parts]


def _class_weights(class_weight: object, y: Array) -> Weights:
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight must be a dict of class index to weight; received {class_weight!r}"
        )
    table = {
        _class_index(key): real(f"class_weight[{key!r}]", weight, low=0.0)
        for key, weight in class_weight.items()
    }
    if y.ndim > 2:
        y = y.reshape(len(y), -1)
    if y.ndim == 1:
        classes = y
    elif y.shape[1] == 1:
        classes = np.round(y[:, 0])
        classes[classes == -1] = 0  # for hinge losses, targets -1 and 0 are the same class
    else:
        classes = y.argmax(axis=1)
    weights = np.ones(len(y))
    for key, weight in table.items():
        weights[classes == key] = weight
    return weights


def _class_index(key: object) -> int:
    """Return a key of `class_weight` as an int; as in Keras, keys may also be 1.0 or True."""
    whole = isinstance(key, (float, np.floating)) and key.is_integer()
    if whole or isinstance(key, (bool, np.bool_)):
        key = int(key)  # type: ignore[call-overload]
    return integer("each class of class_weight", key, minimum=0)


def check_single_weighting(class_weight: object, sample_weight: object) -> None:
    """Raise a ValueError if both kinds of weights are given, as Keras does."""
    if class_weight is not None and sample_weight is not None:
        raise ValueError("class_weight and sample_weight cannot be given at the same time")


def split(samples: Samples, fraction: object) -> tuple[Samples, Samples]:
    """Return (training, validation) samples: validation is the last `fraction` of the rows."""
    share = real("validation_split", fraction, low=0.0, below=1.0)
    n_train = math.floor(len(samples) * (1.0 - share))
    if n_train in (0, len(samples)):
        raise ValueError(
            f"validation_split={fraction} of {len(samples)} rows leaves no rows for "
            f"{'training' if n_train == 0 else 'validation'}"
        )
    return samples.subset(slice(0, n_train)), samples.subset(slice(n_train, None))
