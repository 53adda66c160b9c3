"""Limits for the memory that a model from a file may demand."""

from __future__ import annotations

import math

from nnfast._plan.plan import Plan

# Any loaded model may have up to this many outputs and intermediate values per sample. The output
# limit is lower, because the outputs of all samples are kept in memory. A convolution with 64
# filters on images of 512 × 512 pixels reaches the intermediate limit.
OUTPUT_LIMIT = 2**22
INTERMEDIATE_LIMIT = 2**24
# A model with large inputs or a large file may exceed these limits. It may have GROWTH values per
# input value or per number stored in its file; 64 filters on gray images need as many. A file can
# claim any input size, so the allowance that is based on the inputs is at most GROWTH_LIMIT.
GROWTH = 64
GROWTH_LIMIT = 2**28


def check_growth(plan: Plan, stored: int) -> None:
    """Raise a ValueError if a model computes too many values per sample.

    Parameters
    ----------
    plan : Plan
    stored : int
        The number of values in the model's file.
    """
    n_in, n_out = (
        sum(map(math.prod, shapes)) for shapes in (plan.input_shapes, plan.output_shapes)
    )
    grown = max(GROWTH * stored, min(GROWTH * n_in, GROWTH_LIMIT))
    if n_out > max(OUTPUT_LIMIT, grown):
        raise ValueError(f"its model puts out {n_out} numbers per sample, too many for its size")
    if plan.max_values_per_sample > max(INTERMEDIATE_LIMIT, grown):
        raise ValueError(
            f"its model has {plan.max_values_per_sample} intermediate values per sample, too many "
            "for its size"
        )
