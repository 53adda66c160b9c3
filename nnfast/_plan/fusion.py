"""Fusion of ops: activations into their producers, rescaling into the input.

`fuse` takes the lowered ops of a graph. It returns `Fused`: the ops for training and for inference,
and the scales and offsets of the inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from nnfast._engine import OPS
from nnfast._plan.lowering import Lowered, SizedOp, in_training_only
from nnfast._plan.spec import IDENTITY, AffineSettings


class Fused(NamedTuple):
    """The ops for training and for inference.

    Attributes
    ----------
    training, inference : list of SizedOp
    inputs : tuple of int
        The numbers of the input tensors.
    input_sizes : tuple of int
        The numbers of elements of one sample of each input.
    training_outputs, inference_outputs : tuple of int
        The numbers of the output tensors.
    scaling : dict of int to tuple of float
        The scale and the offset of each input: the engine computes scale·x + offset while it
        reads x.
    unpadded : frozenset of int
        See `Layouts`.
    masks : tuple of (int or None)
        The number of the tensor with the mask of each output, None if it has no mask.
    """

    training: list[SizedOp]
    inference: list[SizedOp]
    inputs: tuple[int, ...]
    input_sizes: tuple[int, ...]
    training_outputs: tuple[int, ...]
    inference_outputs: tuple[int, ...]
    scaling: dict[int, tuple[float, float]]
    unpadded: frozenset[int]
    masks: tuple[int | None, ...]


def fuse(lowered: Lowered) -> Fused:
    """Return the fused ops of a graph.

    A Rescaling layer that alone reads the input is folded into the step that reads it. An
    activation is folded into the op that produces its input if that op has no activation yet and
    can apply one, and if nothing else reads its output.
    """
    ops: list[SizedOp] = []
    same: dict[int, int] = {}  # tensors that need no op any more
    producer: dict[int, int] = {}
    readers = Counter(tensor for sized in lowered.ops for tensor in sized.inputs)
    readers.update(lowered.outputs)
    scaling = dict.fromkeys(lowered.inputs, (1.0, 0.0))
    for sized in lowered.ops:
        sized = sized._replace(inputs=tuple(same.get(tensor, tensor) for tensor in sized.inputs))
        source, settings = sized.inputs[0], sized.op.settings
        alone = readers[source] == 1
        at = producer.get(source, -1)
        if isinstance(settings, AffineSettings) and _folds(sized, source, lowered) and alone:
            scale, offset = scaling[source]
            scaling[source] = settings.scale * scale, settings.scale * offset + settings.offset
        elif OPS[sized.op.kind].is_activation and alone and at >= 0 and _takes(ops[at], sized):
            folded = replace(ops[at].op, activation=sized.op.activation, alpha=sized.op.alpha)
            ops[at] = ops[at]._replace(op=folded, activity=sized.activity)
        else:
            producer[sized.output] = len(ops)
            ops.append(sized)
            continue
        same[sized.output] = source
        readers[source] = readers[sized.output]
    outputs = tuple(same.get(tensor, tensor) for tensor in lowered.outputs)
    inference, renamed = _inference(ops, lowered.inputs, outputs)
    inference_outputs = tuple(renamed.get(tensor, tensor) for tensor in outputs)
    return Fused(
        ops,
        inference,
        lowered.inputs,
        lowered.sizes,
        outputs,
        inference_outputs,
        scaling,
        lowered.unpadded,
        lowered.masks,
    )


def heads_of(ops: Sequence[SizedOp], outputs: tuple[int, ...]) -> list[int]:
    """Return the number of the output that each op writes and that no op reads, or -1."""
    read = {tensor for sized in ops for tensor in sized.inputs}
    numbers = {tensor: k for k, tensor in enumerate(outputs) if tensor not in read}
    return [numbers.get(sized.output, -1) for sized in ops]


def final_activations(fused: Fused) -> tuple[str, ...]:
    """Return the activation of each output that the loss may be fused with.

    It is "linear" if the output has a penalty or another reader, which need the activated output.
    """
    activations = ["linear"] * len(fused.training_outputs)
    heads = heads_of(fused.training, fused.training_outputs)
    for sized, head in zip(fused.training, heads, strict=True):
        if head >= 0 and not any(sized.activity):
            activations[head] = sized.op.activation
    return tuple(activations)


def _folds(sized: SizedOp, source: int, lowered: Lowered) -> bool:
    """Return whether an affine op can be computed while an input is read."""
    output = sized.output in lowered.outputs  # an output must differ from the input
    return source in lowered.inputs and not any(sized.activity) and not output


def _takes(sized: SizedOp, activation: SizedOp) -> bool:
    """Return whether an op can apply the activation that follows it to its own rows."""
    return (
        OPS[sized.op.kind].applies_activation
        and sized.steps == activation.steps
        and sized.op.activation == "linear"
        and not any(sized.activity)
    )


def _inference(
    ops: list[SizedOp], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[list[SizedOp], dict[int, int]]:
    """Return the ops for inference, without those that are the identity there.

    Also return the numbers of tensors that are replaced by others. An identity is kept if its
    output has a penalty, which it computes, or if an output would otherwise be an input or another
    output.
    """
    kept: list[SizedOp] = []
    same: dict[int, int] = {}
    for sized in ops:
        sized = sized._replace(inputs=tuple(same.get(tensor, tensor) for tensor in sized.inputs))
        if not in_training_only(sized.op):
            kept.append(sized)
        elif any(sized.activity) or (
            sized.output in outputs and sized.inputs[0] in (*inputs, *outputs, *same.values())
        ):
            kept.append(sized._replace(op=IDENTITY))
        else:
            same[sized.output] = sized.inputs[0]
    return kept, same
