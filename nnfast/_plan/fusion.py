"""Fusion of ops: activations into their producers, rescaling into the input.

`fuse` takes the lowered ops of a graph. It returns `Fused`: the ops for training and for inference,
and the scale and offset of the input.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from nnfast._engine import OPS
from nnfast._plan.lowering import Lowered, SizedOp, in_training_only
from nnfast._plan.spec import IDENTITY, AffineSettings


class Fused(NamedTuple):
    """The ops for training and for inference; each list has at least one op.

    The last op writes the predictions. The engine computes x·in_scale + in_offset while it reads
    the input x, which is the tensor numbered `input`.
    """

    training: list[SizedOp]
    inference: list[SizedOp]
    input: int
    in_scale: float
    in_offset: float


def fuse(lowered: Lowered, n_in: int) -> Fused:
    """Return the fused ops of a graph whose input has n_in elements per sample.

    A Rescaling layer that alone reads the input is folded into the step that reads it. An
    activation is folded into the op that produces its input if that op has no activation yet and
    can apply one, and if nothing else reads its output.
    """
    ops: list[SizedOp] = []
    same: dict[int, int] = {}  # tensors that need no op any more
    producer: dict[int, int] = {}
    readers = Counter(tensor for sized in lowered.ops for tensor in sized.inputs)
    scale, offset = 1.0, 0.0
    for sized in lowered.ops:
        sized = sized._replace(inputs=tuple(same.get(tensor, tensor) for tensor in sized.inputs))
        source, settings = sized.inputs[0], sized.op.settings
        alone = readers[source] == 1
        at = producer.get(source, -1)
        if isinstance(settings, AffineSettings) and _folds(sized, source, lowered) and alone:
            scale, offset = settings.scale * scale, settings.scale * offset + settings.offset
        elif OPS[sized.op.kind].is_activation and alone and at >= 0 and _takes_activation(ops[at]):
            folded = replace(ops[at].op, activation=sized.op.activation, alpha=sized.op.alpha)
            ops[at] = ops[at]._replace(op=folded, activity=sized.activity)
        else:
            producer[sized.output] = len(ops)
            ops.append(sized)
            continue
        same[sized.output] = source
        readers[source] = readers[sized.output]
    nothing = [SizedOp(IDENTITY, 0, 0, (lowered.input,), -1, n_in, n_in)]
    return Fused(ops or nothing, _inference(ops) or nothing, lowered.input, scale, offset)


def final_activation(last: SizedOp) -> str:
    """Return the activation that the loss may be fused with.

    The result is "linear" if the output has a penalty, which needs the activated output.
    """
    return "linear" if any(last.activity) else last.op.activation


def _folds(sized: SizedOp, source: int, lowered: Lowered) -> bool:
    """Return whether an affine op can be computed while the input is read."""
    return source == lowered.input and not any(sized.activity)


def _takes_activation(sized: SizedOp) -> bool:
    return (
        OPS[sized.op.kind].applies_activation
        and sized.op.activation == "linear"
        and not any(sized.activity)
    )


def _inference(ops: list[SizedOp]) -> list[SizedOp]:
    """Return the ops for inference, without those that are the identity there.

    An identity whose output has a penalty is kept, because it computes the penalty.
    """
    kept: list[SizedOp] = []
    same: dict[int, int] = {}
    for sized in ops:
        sized = sized._replace(inputs=tuple(same.get(tensor, tensor) for tensor in sized.inputs))
        if not in_training_only(sized.op):
            kept.append(sized)
        elif any(sized.activity):
            kept.append(sized._replace(op=IDENTITY))
        else:
            same[sized.output] = sized.inputs[0]
    return kept
