"""What attention layers have in common: the op, its masks, and how its inputs lie in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._plan.layouts import LINE
from nnfast._plan.spec import (
    AttentionSettings,
    BlockSettings,
    Masking,
    MaskSettings,
    Op,
)
from nnfast._utils.checks import Shape, flag
from nnfast.layers.merged_ops import broadcast_op, permutation_ops
from nnfast.layers.merging import Merge

MASK_INPUTS = ("query_mask", "value_mask", "key_mask", "attention_mask")


@dataclass(frozen=True)
class AttentionOptions:
    """The options of one call of an attention layer.

    Attributes
    ----------
    heads : int
    scale : float
        The factor of the scores.
    rate : float
        That of the dropout of the probabilities.
    seed : int or None
    causal : bool
    window : int
        Keys at this distance and beyond are not used; 0: there is no limit.
    returns_scores : bool
        Whether the probabilities are a second output.
    one_head : bool
        Whether their shape has no axis for the heads.
    given : bool
        Whether the first input has the scores instead of the queries.
    shared : bool
        Whether the values serve as keys.
    masks_queries, masks_keys : bool
        Whether the masks of the queries, and those of the keys in addition to those of the values,
        are used.
    mask_inputs : tuple of str
        Which of `MASK_INPUTS` the last inputs are.
    constant : ndarray or None
        A mask of shape (heads or 1, queries, keys) that is the same for all samples.
    """

    heads: int = 1
    scale: float = 1.0
    rate: float = 0.0
    seed: int | None = None
    causal: bool = False
    window: int = 0
    returns_scores: bool = False
    one_head: bool = False
    given: bool = False
    shared: bool = False
    masks_queries: bool = False
    masks_keys: bool = False
    mask_inputs: tuple[str, ...] = ()
    constant: NDArray[Any] | None = None


class AttentionCore(Merge):
    """Return the values of each head, weighted by the probabilities softmax(scale·Q·Kᵀ).

    The inputs are the queries or the scores, the keys unless the values serve as keys or there are
    scores, the values, and the masks. The heads lie one after the other in the last axis.

    Parameters
    ----------
    given : AttentionOptions
    **options
        See `Layer`.
    """

    passes_mask = True
    uses_mask = True

    def __init__(self, given: AttentionOptions, **options: Any) -> None:
        super().__init__(**options)
        self.options = given

    @property
    def masking(self) -> Masking:
        return Masking.PASSES

    @property
    def training_differs(self) -> bool:  # type: ignore[override]
        return self.options.rate > 0

    def _sequences(self, shapes: Sequence[Shape]) -> int:
        """Return the number of inputs that are no masks."""
        return len(shapes) - len(self.options.mask_inputs)

    def infer_shapes(self, *input_shapes: Shape) -> list[Shape]:
        o, n = self.options, self._sequences(input_shapes)
        queries, *keys, values = input_shapes[:n]
        self._check_sequences(queries, keys[0] if keys else values, values)
        sizes = queries[0], values[0]
        for name, shape in zip(o.mask_inputs, input_shapes[n:], strict=True):
            self._check_mask(name, shape, sizes)
        if o.constant is not None and o.constant.shape not in ((1, *sizes), (o.heads, *sizes)):
            self._refuse_mask("attention_mask", o.constant.shape, sizes)
        out = (queries[0], values[1])
        scores = sizes if o.one_head else (o.heads, *sizes)
        return [out, scores] if o.returns_scores else [out]

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        return self.infer_shapes(input_shape, *others)[0]

    def _check_sequences(self, queries: Shape, keys: Shape, values: Shape) -> None:
        shapes = [queries, keys, values]
        if any(len(shape) != 2 or shape[0] == 0 for shape in shapes):
            raise ValueError(
                f"Layer {self.name!r} expects queries, keys and values of shape (steps, features) "
                f"with at least one step; received shapes {shapes}"
            )
        if keys[0] != values[0]:
            raise ValueError(
                f"Layer {self.name!r} expects as many keys as values; received shapes {shapes}"
            )
        if not self.options.given and queries[1] != keys[1]:
            raise ValueError(
                f"Layer {self.name!r} expects queries and keys with equally many features; "
                f"received shapes {shapes}"
            )

    def _check_mask(self, name: str, shape: Shape, sizes: tuple[int, int]) -> None:
        """Raise a ValueError if an input has no shape that a mask may have."""
        if name != "attention_mask":
            fits = shape == (sizes[0 if name == "query_mask" else 1],)
        else:
            *heads, queries, keys = shape if len(shape) > 1 else (0, 0)
            fits = queries in (1, sizes[0]) and keys in (1, sizes[1])
            fits = fits and (heads in ([], [1]) or heads == [self.options.heads])
        if not fits:
            self._refuse_mask(name, shape, sizes)

    def _refuse_mask(self, name: str, shape: Shape, sizes: tuple[int, int]) -> None:
        raise ValueError(
            f"{name} of layer {self.name!r} does not fit {sizes[0]} queries, {sizes[1]} keys and "
            f"{self.options.heads} heads; received samples of shape {shape}"
        )

    # ---- ops -------------------------------------------------------------------------------------

    @property
    def n_masks(self) -> int:  # type: ignore[override]
        return 2 if self.options.given or self.options.shared else 3

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        return _Builder(self.options, [input_shape, *others], 0).ops

    def masked_ops(self, *shapes: Shape) -> list[Op]:
        return _Builder(self.options, shapes, self.n_masks).ops


class _Builder:
    """Builds the list of the ops of one call; operands are their numbers, as in `Op.operands`.

    A row of x has a query, then the masks of queries: whether it is real, and which keys it may
    use. A row of x2 has a key, a value and whether they are real. Parts begin at whole cache
    lines, so that the op that computes a part can write it in place.
    """

    def __init__(self, options: AttentionOptions, shapes: Sequence[Shape], n_masks: int) -> None:
        self.ops: list[Op] = []
        self._o, self._n_inputs = options, len(shapes)
        n = len(shapes) - n_masks - len(options.mask_inputs)
        (self._queries, width), *keys, (self._keys, values) = shapes[:n]
        masks = self._masks(n, n_masks)
        x, columns, ld_x = self._joined(
            self._queries,
            [(0, width), *self._query_masks(masks, shapes)],
        )
        parts = [(1, width)] if keys else []
        x2, columns2, ld_x2 = self._joined(
            self._keys, [*parts, (n - 1, values), *self._key_mask(masks)]
        )
        query_mask = options.masks_queries and "query_mask" in masks
        settings = AttentionSettings(
            options.heads,
            self._queries,
            self._keys,
            width // options.heads,
            values // options.heads,
            ld_x,
            ld_x2,
            v_column=columns2[len(keys)],
            query_mask=columns[1] if query_mask else -1,
            key_mask=columns2[-1] if len(columns2) > 1 + len(keys) else -1,
            mask=columns[-1] if "attention_mask" in masks else -1,
            mask_heads=self._mask_heads(masks, shapes),
            constant=options.constant is not None,
            causal=options.causal,
            window=options.window,
            given=options.given,
            returns_scores=options.returns_scores,
            scale=options.scale,
            rate=options.rate,
            seeded=options.seed is not None,
            seed=options.seed or 0,
        )
        self._add_attention(settings, (x, x2))

    def _add(self, op: Op) -> int:
        self.ops.append(replace(op, weights=()))
        return self._n_inputs + len(self.ops) - 1

    def _add_attention(self, s: AttentionSettings, operands: tuple[int, int]) -> None:
        """Add the op, and copies of the two parts of its output if it returns scores."""
        mask = self._o.constant
        constant = () if mask is None else tuple(mask.reshape(-1).tolist())
        sizes = [s.queries * s.heads * s.value_dim, s.heads * s.queries * s.keys]
        shape = (sum(sizes),) if s.returns_scores else None
        op = Op("attention", settings=s, operands=operands, shape=shape, constant=constant)
        both = self._add(op)
        if s.returns_scores:
            for k, size in enumerate(sizes):
                blocks = BlockSettings(1, size, k * sizes[0], size, 0, size, covers_x=False)
                self._add(Op("copy_blocks", settings=blocks, operands=(both,), output=k))

    def _masks(self, n: int, n_masks: int) -> dict[str, int]:
        """Return the masks by name: those of the inputs, unless further inputs replace them."""
        o, names = self._o, ["query_mask", "key_mask", "value_mask"]
        if n < 3:
            names.remove("key_mask")
        first = self._n_inputs - n_masks
        masks = {name: first + k for k, name in enumerate(names[:n_masks])}
        if not o.masks_keys:
            masks.pop("key_mask", None)
        return masks | {name: n + k for k, name in enumerate(o.mask_inputs)}

    def _column(self, mask: int, steps: int) -> int:
        """Return a mask as a column of ones and zeros."""
        settings = MaskSettings(steps, 1)
        return self._add(Op("step_mask", settings=settings, operands=(mask,), shape=(steps, 1)))

    def _query_masks(self, masks: dict[str, int], shapes: Sequence[Shape]) -> list[tuple[int, int]]:
        """Return the columns of x after the queries, and their widths."""
        columns = []
        if self._o.masks_queries and "query_mask" in masks:
            columns.append((self._column(masks["query_mask"], self._queries), 1))
        if "attention_mask" in masks:
            number = masks["attention_mask"]
            heads = self._mask_heads(masks, shapes)
            full: Shape = (heads, self._queries, self._keys)
            shape = shapes[number]
            if (1,) * (3 - len(shape)) + shape != full:
                number = self._add(replace(broadcast_op(shape, full), operands=(number,)))
            rows = (self._queries, heads * self._keys)
            for op in permutation_ops(full, (1, 0, 2)):
                number = self._add(replace(op, operands=(number,), shape=rows))
            columns.append((number, rows[1]))
        return columns

    def _mask_heads(self, masks: dict[str, int], shapes: Sequence[Shape]) -> int:
        """Return the number of masks for each query."""
        found = 1 if self._o.constant is None else len(self._o.constant)
        if "attention_mask" in masks:
            shape = shapes[masks["attention_mask"]]
            found = shape[0] if len(shape) == 3 else 1
        return found

    def _key_mask(self, masks: dict[str, int]) -> list[tuple[int, int]]:
        """Return the column of x2 for the mask of the keys and values, if there is one."""
        found = [masks[name] for name in ("value_mask", "key_mask") if name in masks]
        if not found:
            return []
        columns = [self._column(mask, self._keys) for mask in found]
        if len(columns) > 1:
            both = Op("minimum", operands=(columns[0], columns[1]), shape=(self._keys, 1))
            columns = [self._add(both)]
        return [(columns[0], 1)]

    def _joined(self, rows: int, parts: Sequence[tuple[int, int]]) -> tuple[int, list[int], int]:
        """Return a tensor whose rows have these parts, the first columns, and a row's length."""
        if len(parts) == 1:
            return parts[0][0], [0], parts[0][1]
        widths = [LINE * math.ceil(width / LINE) for _, width in parts]
        columns = [int(begin) for begin in np.cumsum([0, *widths[:-1]])]
        for k, (operand, width) in enumerate(parts):
            blocks = BlockSettings(1, width, 0, width, columns[k], sum(widths), covers_x=True)
            number = self._add(
                Op(
                    "copy_blocks",
                    settings=blocks,
                    operands=(operand,),
                    shape=(rows, sum(widths)),
                    writes_part=k > 0,
                    in_steps=True,
                )
            )
        return number, columns, sum(widths)


def set_flags(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call, with only those flags that are set."""
    names = ("return_attention_scores", "use_causal_mask")
    unset = [name for name in names if not flag(name, arguments.get(name, False))]
    return {name: value for name, value in arguments.items() if name not in unset}


def check_roles(layer: str, roles: Any, n: int, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a call's further inputs after checking them."""
    valid = isinstance(roles, (list, tuple)) and all(role in known for role in roles)
    if not valid or len(roles) != n or len(set(roles)) < n:
        raise ValueError(
            f"Layer {layer!r} takes a query and a value, and further inputs named {[*known]}; "
            f"received {n} further inputs named {roles!r}"
        )
    return tuple(roles)
