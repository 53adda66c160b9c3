"""What files hold of a model: checked before memory is taken for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from nnfast._plan.plan import Plan

# Numbers of a sample that a model may put out, and that it may have in between, where neither its
# inputs nor its file are large: the outputs of all samples stay, in between are those of one.
# 64 filters on images of 512 × 512 make as many as are allowed; training on such takes gigabytes.
OUTPUT_LIMIT = 2**22
BETWEEN_LIMIT = 2**24
# Times as many as its inputs or the numbers in its file may be made, as 64 filters make of gray
# images. The caller's inputs exist, but a file may claim any number of them.
GROWTH = 64
GROWTH_LIMIT = 2**28


def check_shapes(
    arrays: Mapping[str, NDArray[Any]], weights: Mapping[str, tuple[int, ...]], plan: Plan
) -> None:
    """Check that a file has the weights that its model needs, before memory is taken for it.

    And that predictions of a sample do not take much memory for which nothing is to show.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Of the file.
    weights : dict of str to tuple of int
        The shapes of the model's.
    plan : Plan
        The model's.

    Raises
    ------
    ValueError
        If one is missing or has another shape, or inputs and weights are too few for the numbers
        that the model makes of a sample.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    wrong = [name for name, shape in weights.items() if shapes.get(name) != shape]
    if wrong:
        name = wrong[0]
        has = f"of shape {shapes[name]}" if name in shapes else "missing"
        raise ValueError(f"array {name} is {has}, the model needs {weights[name]}")
    stored = sum(array.size for array in arrays.values())
    grown = max(GROWTH * stored, min(GROWTH * plan.n_in, GROWTH_LIMIT))
    if plan.n_out > max(OUTPUT_LIMIT, grown):
        raise ValueError(f"its model puts out {plan.n_out} numbers for a sample")
    if plan.most_numbers > max(BETWEEN_LIMIT, grown):
        raise ValueError(f"its model makes {plan.most_numbers} numbers of a sample in between")
