"""Attention without projections: Attention and AdditiveAttention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack

from nnfast import initializers
from nnfast._plan.spec import (
    IDENTITY,
    Contraction,
    Masking,
    MaskSettings,
    Op,
    SlopeSettings,
    Weight,
)
from nnfast._plan.symbolic import KerasTensor, Node
from nnfast._utils.checks import Shape, flag, real
from nnfast._utils.registry import choose
from nnfast.layers.attention_core import (
    AttentionCore,
    AttentionOptions,
    check_roles,
    set_flags,
)
from nnfast.layers.core import Activation
from nnfast.layers.layer import Layer, LayerOptions, register, symbolic_leaves
from nnfast.layers.merged_ops import broadcast_op, weighted_sum
from nnfast.layers.merging import Merge
from nnfast.layers.resampling import check_seed
from nnfast.layers.wrapper import Composite

__all__ = ["AdditiveAttention", "Attention"]

SCORE_MODES = {"dot": "dot", "concat": "concat"}


class Scale(Layer):
    """The product of the input and a trainable number.

    Parameters
    ----------
    weight : str
        The name of the number.
    **options
        See `Layer`.
    """

    passes_mask = True

    def __init__(self, weight: str, **options: Any) -> None:
        super().__init__(**options)
        self.weight = weight

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("prelu", settings=SlopeSettings(math.inf), axes=0)]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        return [Weight(self.weight, (), initializers.resolve("ones"))]


class PairSums(Merge):
    """The sums q + k of each query with each key, of shape (queries, keys, features)."""

    n_inputs = 2
    passes_mask = True

    @property
    def masking(self) -> Masking:
        return Masking.PASSES

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        (keys,) = others
        if len(input_shape) != 2 or len(keys) != 2 or input_shape[1] != keys[1]:
            raise ValueError(
                f"Layer {self.name!r} expects queries and keys of shape (steps, features) with "
                f"equally many features; received shapes {[input_shape, keys]}"
            )
        return (input_shape[0], *keys)

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        full = self.infer_shape(input_shape, *others)
        queries = broadcast_op((full[0], 1, full[2]), full)
        keys = broadcast_op((1, *full[1:]), full)
        return [
            replace(queries, operands=(0,)),
            replace(keys, operands=(1,)),
            replace(weighted_sum(1, 1), operands=(2, 3), shape=full),
        ]


class FeatureSum(Layer):
    """The sum over the last axis, with trainable factors if `weighted`.

    Parameters
    ----------
    weighted : bool
    **options
        See `Layer`.
    """

    passes_mask = True

    def __init__(self, weighted: bool, **options: Any) -> None:
        super().__init__(**options)
        self.weighted = weighted

    def infer_shape(self, input_shape: Shape) -> Shape:
        return input_shape[:-1]

    def ops(self, input_shape: Shape) -> list[Op]:
        *rest, depth = input_shape
        if self.weighted:
            return [Op("dense", shape=(*rest, 1)), replace(IDENTITY, weights=())]
        rows = math.prod(rest)
        product = Contraction(rows, 1, depth, depth, 1, depth, 1)
        return [Op("dot", settings=product, constant=(1.0,) * depth)]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        initializer = initializers.resolve("glorot_uniform")
        return [Weight("scale", input_shape[-1:], initializer)] if self.weighted else []


class ZeroMasked(Merge):
    """Return the first input with zeros where its mask, or a second input in its place, is 0."""

    uses_mask = True

    @property
    def masking(self) -> Masking:
        return Masking.PASSES

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        if others and others[0] != input_shape[:1]:
            raise ValueError(
                f"The query mask must have samples of shape {input_shape[:1]}; received shape "
                f"{others[0]}"
            )
        return input_shape

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        if not others:
            return []
        mask = MaskSettings(input_shape[0], 1)
        ones = Op("step_mask", settings=mask, operands=(1,), shape=input_shape[:1])
        return [ones, self._zeros(input_shape, 2)]

    def masked_ops(self, *shapes: Shape) -> list[Op]:
        input_shape, *others, _ = shapes
        return self.ops(input_shape, *others) or [self._zeros(input_shape, 1)]

    def _zeros(self, shape: Shape, mask: int) -> Op:
        return Op("zero_steps", settings=MaskSettings(*shape), operands=(0, mask), shape=shape)


class Attention(Composite):
    """Attention of queries to keys, without projections (Luong et al., 2015).

    With the queries q, the keys k and the values v of a sample::

        scores[i, j] = scale·Σ q[i]·k[j]                                   (score_mode="dot")
        scores[i, j] = concat_score_weight·Σ tanh(scale·(q[i] + k[j]))     (score_mode="concat")
        output = softmax(scores)·v

    The layer is called with a list [q, v] or [q, v, k] of tensors of shape (n, queries, features)
    and (n, keys, features); by default, the values are the keys. The mask of the values leaves keys
    out of the softmax. Where the mask of the queries is false, or no key is left, the output is
    zero. The output has the mask of the queries.

    Parameters
    ----------
    use_scale : bool, default False
        Whether there is a trainable number `scale`, which is 1 at first.
    score_mode : {"dot", "concat"}, default "dot"
        With "concat", a sample takes memory for queries·keys·features numbers.
    dropout : float, default 0.0
        In training, the fraction of the probabilities that are dropped; the others are divided by
        1 − dropout.
    seed : int, optional
        Makes the dropout independent of the model's seed.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> q, v = nnfast.Input((10, 16)), nnfast.Input((7, 16))
    >>> Attention()([q, v]).shape
    (None, 10, 16)
    >>> y, probabilities = Attention()([q, v], return_attention_scores=True)
    >>> probabilities.shape
    (None, 10, 7)
    """

    passes_mask = True
    call_arguments: ClassVar[tuple[str, ...]] = (
        *("roles", "return_attention_scores", "use_causal_mask"),
    )
    _fields: ClassVar[tuple[str, ...]] = ("use_scale", "score_mode", "dropout", "seed")
    score_mode: str

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.use_scale = flag("use_scale", use_scale)
        choose("score_mode", score_mode, SCORE_MODES)
        self.score_mode = score_mode
        self.dropout = real("dropout", dropout, low=0, below=1)
        self.seed = check_seed(seed)
        self._make_parts()
        self._adopt()

    def _make_parts(self) -> None:
        """Make the layers of `parts`."""
        self._parts: list[Any] = []
        if self.use_scale:
            self._parts.append(Scale("scale", name="factor"))
        if self.score_mode == "concat":
            self._parts.append(Scale("concat_score_weight", name="score_factor"))

    @property
    def parts(self) -> list[Any]:
        return self._parts

    def __call__(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return the symbolic output for symbolic inputs; see `Layer`.

        Parameters
        ----------
        inputs : list of KerasTensor
            The queries, the values and, if they differ from these, the keys.
        mask : list of (KerasTensor or None), optional
            The masks of the queries and of the values, in which 0 marks padding. They replace the
            masks that the inputs have. A third entry, for the keys, is not used.
        training : bool, optional
            See `Layer`.
        return_attention_scores : bool, default False
            Whether the probabilities, of shape (n, queries, keys), are a second output.
        use_causal_mask : bool, default False
            Whether query number i uses only the keys up to number i.

        Returns
        -------
        KerasTensor, or a pair of them
        """
        if not isinstance(inputs, (list, tuple)) or len(inputs) not in (2, 3):
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} must be called on a list of inputs, "
                f"[query, value] or [query, value, key]; received {inputs!r}"
            )
        if mask is not None and (
            not isinstance(mask, (list, tuple)) or len(mask) not in (2, len(inputs))
        ):
            raise ValueError(
                f"mask of layer {self.name!r} must be a list [query_mask, value_mask]; received "
                f"{mask!r}"
            )
        names = ("query_mask", "value_mask")
        given = {name: x for name, x in zip(names, mask or (), strict=False) if x is not None}
        arguments: dict[str, Any] = {
            "return_attention_scores": return_attention_scores,
            "use_causal_mask": use_causal_mask,
        }
        roles = ["key"] * (len(inputs) > 2) + [*given]
        if roles:
            arguments["roles"] = roles
        node = self.connect([*inputs, *given.values()], training, **arguments)
        register([node])
        return node.outputs[0] if len(node.specs) == 1 else node.outputs

    def connect(self, x: Any, training: bool | None = None, **arguments: Any) -> Node:
        return super().connect(x, training, **set_flags(arguments))

    def _inputs(self, x: Any) -> list[KerasTensor]:
        return symbolic_leaves(f"Layer {self.name!r}", x)

    def _apply(
        self,
        inputs: list[KerasTensor],
        roles: Sequence[str] = (),
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> list[KerasTensor]:
        known = ("key", "query_mask", "value_mask")
        roles = check_roles(self.name, roles, len(inputs) - 2, known)
        query, value = inputs[:2]
        named = dict(zip(roles, inputs[2:], strict=True))
        key = named.get("key", value)
        scores = self._scores(query, key)
        given = self.score_mode != "dot"
        options = AttentionOptions(
            rate=self.dropout,
            seed=self.seed,
            causal=use_causal_mask,
            returns_scores=return_attention_scores,
            one_head=True,
            given=given,
            shared=key == value,
            mask_inputs=("value_mask",) if "value_mask" in named else (),
        )
        core = AttentionCore(options, name=self._inner_name("core"))
        keys = [] if given or key == value else [key]
        masks = [named[name] for name in options.mask_inputs]
        y, *probabilities = core.connect([scores, *keys, value, *masks]).outputs
        zero = ZeroMasked(name=self._inner_name("zero"))
        mask = [named["query_mask"]] if "query_mask" in named else []
        return [*zero.connect([y, *mask]).outputs, *probabilities]

    def _scores(self, query: KerasTensor, key: KerasTensor) -> KerasTensor:
        """Return the scores or, for products, the queries times the scale."""
        if self.score_mode == "dot":
            for scale in self._parts:
                (query,) = scale.connect(query).outputs
            return query
        sums = PairSums(name=self._inner_name("sums")).connect([query, key]).outputs[0]
        if self.use_scale:
            (sums,) = self._parts[0].connect(sums).outputs
        total = self._sum_of_tanh(sums, FeatureSum(False, name=self._inner_name("total")))
        scores: KerasTensor = self._parts[-1].connect(total).outputs[0]
        return scores

    def _sum_of_tanh(self, sums: KerasTensor, total: FeatureSum) -> KerasTensor:
        (z,) = Activation("tanh", name=self._inner_name("tanh")).connect(sums).outputs
        (y,) = total.connect(z).outputs
        return y


class AdditiveAttention(Attention):
    """Additive attention of queries to keys (Bahdanau et al., 2015).

    It is called like `Attention` and has the same masks. Its scores are::

        scores[i, j] = Σ scale·tanh(q[i] + k[j])

    A sample takes memory for queries·keys·features numbers.

    Parameters
    ----------
    use_scale : bool, default True
        Whether there is a trainable factor for each feature.
    dropout : float, default 0.0
    seed : int, optional
        See `Attention`.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> q, v = nnfast.Input((10, 16)), nnfast.Input((7, 16))
    >>> AdditiveAttention()([q, v]).shape
    (None, 10, 16)
    """

    _fields: ClassVar[tuple[str, ...]] = ("use_scale", "dropout", "seed")

    def __init__(
        self,
        use_scale: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(use_scale, "concat", dropout, seed, **options)

    def _make_parts(self) -> None:
        self._total = FeatureSum(self.use_scale, name="total")
        self._parts = [self._total] if self.use_scale else []

    def _scores(self, query: KerasTensor, key: KerasTensor) -> KerasTensor:
        sums = PairSums(name=self._inner_name("sums")).connect([query, key]).outputs[0]
        return self._sum_of_tanh(sums, self._total)
