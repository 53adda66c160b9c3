"""Multi-head attention: attention of several heads between projections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnfast import constraints, initializers, regularizers
from nnfast._plan.spec import Op, Weight
from nnfast._plan.symbolic import KerasTensor, Node, symbolic
from nnfast._utils.checks import Shape, entries, flag, integer, real, shape
from nnfast.layers.attention_core import (
    MASK_INPUTS,
    AttentionCore,
    AttentionOptions,
    check_roles,
    set_flags,
)
from nnfast.layers.core import Dense
from nnfast.layers.layer import register, symbolic_leaves
from nnfast.layers.resampling import check_seed
from nnfast.layers.reshaping import Reshape
from nnfast.layers.wrapper import Composite

__all__ = ["MultiHeadAttention"]


class Projection(Dense):
    """A Dense layer whose kernel and bias have an axis for the heads.

    Parameters
    ----------
    outputs : tuple of int
        The axes of an output, which the result has one after the other in its last axis.
    **options
        See `Dense`.
    """

    def __init__(self, outputs: Shape, **options: Any) -> None:
        super().__init__(math.prod(outputs), **options)
        self._axes = outputs

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        kernel = self._weight("kernel", (input_shape[-1], *self._axes))
        return [kernel, self._weight("bias", self._axes)] if self.use_bias else [kernel]


class OutputProjection(Dense):
    """The projection of the results of all heads, the second input; the first one is the query.

    Parameters
    ----------
    inputs : tuple of int
        The heads and the size of a value.
    outputs : tuple of int or None
        The axes of an output; None: the features of the query.
    **options
        See `Dense`.
    """

    def __init__(self, inputs: Shape, outputs: Shape | None, **options: Any) -> None:
        super().__init__(1 if outputs is None else math.prod(outputs), **options)
        self._axes = inputs, outputs

    def _inputs(self, x: Any) -> list[KerasTensor]:
        return symbolic_leaves(f"Layer {self.name!r}", x)

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        return (input_shape[0], input_shape[-1] if self._axes[1] is None else self.units)

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        return [Op("dense", operands=(1,))]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        inputs, outputs = self._axes
        outputs = input_shape[-1:] if outputs is None else outputs
        kernel = self._weight("kernel", (*inputs, *outputs))
        return [kernel, self._weight("bias", outputs)] if self.use_bias else [kernel]


class MultiHeadAttention(Composite):
    """Attention with several heads (Vaswani et al., 2017).

    For each head, with the queries q, the keys k and the values v projected by matrices of their
    own::

        Q = q·w_q + b_q,  K = k·w_k + b_k,  V = v·w_v + b_v
        P = softmax(Q·Kᵀ / √key_dim + masks)
        output = concatenate(P·V of all heads)·w_o + b_o

    A call takes the queries of shape (n, queries, features), the values of shape (n, keys,
    features) and, if they are not the values, the keys. Masks leave keys out of the softmax:

    - the mask of the value and that of the key, if there is one (see `Masking`),
    - an `attention_mask`, whose samples have shape (queries, keys), or (heads, queries, keys), or
      sizes of 1 there: a tensor, or an array of shape (queries, keys) for all samples,
    - `use_causal_mask` and `sliding_window`.

    Where no key is left, and where the mask of the query is false, the attention is zero, so the
    output is b_o. The output has the mask of the query.

    Parameters
    ----------
    num_heads : int
    key_dim : int
        The size of a query and of a key for each head.
    value_dim : int, optional
        The size of a value for each head, by default `key_dim`.
    dropout : float, default 0.0
        In training, the fraction of the elements of P that are dropped; the others are divided by
        1 − dropout.
    use_bias : bool, default True
        Whether b_q, b_k, b_v and b_o are added.
    output_shape : int or tuple of int, optional
        The axes of an output after that of the queries, by default the features of the query.
    attention_axes : None, 1 or (1,)
        The axis of the queries and keys; others are not supported.
    sliding_window : int, optional
        A query uses only the keys at a distance below this number.
    flash_attention : bool, optional
        Accepted for compatibility with Keras; it changes nothing.
    kernel_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, bias_regularizer : str, Regularizer or None, default None
        Penalties from `nnfast.regularizers` that are added to the loss.
    activity_regularizer : str, Regularizer or None, default None
        Penalty on Q, K, V and the output.
    kernel_constraint, bias_constraint : str, Constraint or None, default None
        Constraints from `nnfast.constraints` that are applied after each step.
    seed : int, optional
        Makes the dropout independent of the model's seed.
    **options
        See `Layer`.

    Attributes
    ----------
    query_dense, key_dense, value_dense, output_dense : Layer
        The projections. Their kernels have shapes (features, heads, key_dim) and, for the output,
        (heads, value_dim, features).

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> x = nnfast.Input((10, 16))
    >>> layer = MultiHeadAttention(num_heads=2, key_dim=8)
    >>> layer(x, x, use_causal_mask=True).shape
    (None, 10, 16)
    >>> y, scores = layer(x, nnfast.Input((7, 16)), return_attention_scores=True)
    >>> scores.shape
    (None, 2, 10, 7)
    """

    _penalizes_outputs = False
    passes_mask = True
    call_arguments: ClassVar[tuple[str, ...]] = (
        *("roles", "attention_mask", "return_attention_scores", "use_causal_mask"),
    )
    _weight_fields: ClassVar[tuple[str, ...]] = (
        *("kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer"),
        *("kernel_constraint", "bias_constraint"),
    )
    _fields: ClassVar[tuple[str, ...]] = (
        *("num_heads", "key_dim", "value_dim", "dropout", "use_bias", "attention_axes"),
        *("sliding_window", "flash_attention", *_weight_fields, "seed"),
    )

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        activity_regularizer: str | regularizers.L1L2 | None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self.num_heads = integer("num_heads", num_heads, minimum=1)
        self.key_dim = integer("key_dim", key_dim, minimum=1)
        self.value_dim = self.key_dim if value_dim is None else integer("value_dim", value_dim, 1)
        self.dropout = real("dropout", dropout, low=0, below=1)
        self.use_bias = flag("use_bias", use_bias)
        self._output_axes = _output_axes(output_shape)
        self.attention_axes = _attention_axes(attention_axes)
        self.sliding_window = (
            None if sliding_window is None else integer("sliding_window", sliding_window, 1)
        )
        self.flash_attention = _checked_flash(flash_attention, self.dropout)
        self._configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.seed = check_seed(seed)
        self._make_projections()
        self._adopt()

    def _make_projections(self) -> None:
        heads, options = self.num_heads, self._common_options()
        self.query_dense = Projection((heads, self.key_dim), name="query", **options)
        self.key_dense = Projection((heads, self.key_dim), name="key", **options)
        self.value_dense = Projection((heads, self.value_dim), name="value", **options)
        self.output_dense = OutputProjection(
            (heads, self.value_dim), self._output_axes, name="attention_output", **options
        )

    def _common_options(self) -> dict[str, Any]:
        """Return the options of all projections."""
        options = {name: getattr(self, name) for name in self._weight_fields}
        regularizer = self.activity_regularizer
        return options | {"use_bias": self.use_bias, "activity_regularizer": regularizer}

    @property
    def parts(self) -> list[Any]:
        return [self.query_dense, self.key_dense, self.value_dense, self.output_dense]

    def get_config(self) -> dict[str, Any]:
        axes = self._output_axes
        return super().get_config() | {"output_shape": None if axes is None else list(axes)}

    # ---- calls -----------------------------------------------------------------------------------

    def __call__(  # type: ignore[override]
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return the symbolic output for symbolic inputs; see `Layer`.

        Parameters
        ----------
        query : KerasTensor
            Of shape (n, queries, features).
        value : KerasTensor
            Of shape (n, keys, features).
        key : KerasTensor, optional
            Of shape (n, keys, features); by default `value`.
        query_mask, value_mask, key_mask : KerasTensor, optional
            Masks of shape (n, queries) or (n, keys), in which 0 marks padding. They replace the
            masks that the inputs have.
        attention_mask : KerasTensor or array_like, optional
            See `MultiHeadAttention`; 0 marks a key that a query does not use.
        return_attention_scores : bool, default False
            Whether P, of shape (n, heads, queries, keys), is a second output.
        training : bool, optional
            See `Layer`.
        use_causal_mask : bool, default False
            Whether query number i uses only the keys up to number i.

        Returns
        -------
        KerasTensor, or a pair of them
        """
        given = {
            "key": key,
            "query_mask": query_mask,
            "value_mask": value_mask,
            "key_mask": key_mask,
            "attention_mask": attention_mask,
        }
        arguments: dict[str, Any] = {
            "return_attention_scores": return_attention_scores,
            "use_causal_mask": use_causal_mask,
        }
        if attention_mask is not None and not symbolic(attention_mask):
            arguments["attention_mask"] = given.pop("attention_mask")
        inputs = {name: x for name, x in given.items() if x is not None}
        if inputs:
            arguments["roles"] = [*inputs]
        for name, x in {"query": query, "value": value, **inputs}.items():
            if not isinstance(x, KerasTensor):
                raise TypeError(
                    f"{name} of layer {self.name!r} must be a symbolic tensor, which Input and "
                    f"other layers return; received {type(x).__name__}"
                )
        node = self.connect([query, value, *inputs.values()], training, **arguments)
        register([node])
        return node.outputs[0] if len(node.specs) == 1 else node.outputs

    def connect(self, x: Any, training: bool | None = None, **arguments: Any) -> Node:
        arguments = set_flags(arguments)
        if arguments.get("attention_mask") is not None:
            mask = constant_mask(self.name, arguments["attention_mask"])
            arguments["attention_mask"] = mask[np.newaxis].tolist()
        return super().connect(x, training, **arguments)

    def _inputs(self, x: Any) -> list[KerasTensor]:
        return symbolic_leaves(f"Layer {self.name!r}", x)

    def _apply(
        self,
        inputs: list[KerasTensor],
        roles: Sequence[str] = (),
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> list[KerasTensor]:
        roles = check_roles(self.name, roles, len(inputs) - 2, ("key", *MASK_INPUTS))
        query, value = inputs[:2]
        named = dict(zip(roles, inputs[2:], strict=True))
        key = named.pop("key", value)
        constant = None
        if attention_mask is not None:
            if "attention_mask" in named:
                raise ValueError(f"A call of layer {self.name!r} has two attention masks")
            constant = constant_mask(self.name, attention_mask)
        options = AttentionOptions(
            heads=self.num_heads,
            scale=1 / math.sqrt(self.key_dim),
            rate=self.dropout,
            seed=self.seed,
            causal=use_causal_mask,
            window=self.sliding_window or 0,
            returns_scores=return_attention_scores,
            masks_queries=True,
            masks_keys=key != value,
            mask_inputs=tuple(named),
            constant=constant,
        )
        core = AttentionCore(options, name=self._inner_name("core"))
        projected = [
            dense.connect(x).outputs[0]
            for dense, x in zip(self.parts, (query, key, value), strict=False)
        ]
        attended, *scores = core.connect([*projected, *named.values()]).outputs
        (y,) = self.output_dense.connect([query, attended]).outputs
        if self._output_axes is not None and len(self._output_axes) > 1:
            shape = (-1, *self._output_axes)
            (y,) = Reshape(shape, name=self._inner_name("axes")).connect(y).outputs
        return [y, *scores]


def constant_mask(layer: str, mask: Any) -> NDArray[Any]:
    """Return an attention mask for all samples as an array of shape (1 or heads, queries, keys)."""
    try:
        array = np.asarray(mask)
    except ValueError:
        array = np.asarray(None)
    leading = array.shape[: max(0, array.ndim - 3)]
    if array.dtype.kind not in "biuf" or not 2 <= array.ndim <= 4 or leading not in ((), (1,)):
        raise ValueError(
            f"attention_mask of layer {layer!r} must be a symbolic tensor or an array of shape "
            f"(queries, keys) or (1, heads, queries, keys); received {mask!r}"
        )
    if array.ndim == 3 and len(array) != 1:  # the first axis is that of the batch
        raise ValueError(
            f"attention_mask of layer {layer!r} must be a symbolic tensor if it differs from "
            f"sample to sample; received an array of shape {array.shape}"
        )
    heads: NDArray[Any] = np.asarray(array != 0).reshape((-1, *array.shape[-2:]))
    return heads


def _output_axes(output_shape: Any) -> Shape | None:
    if output_shape is None:
        return None
    if isinstance(output_shape, (int, np.integer)):
        output_shape = (output_shape,)
    axes = shape("output_shape", output_shape)
    if 0 in axes:
        raise ValueError(f"output_shape must have positive sizes; received {output_shape!r}")
    return axes


def _attention_axes(axes: Any) -> int | None:
    single = axes is None or isinstance(axes, (int, np.integer))
    found = axes if single else entries("attention_axes", axes)
    if found not in (None, 1, [1]):
        raise ValueError(
            "attention_axes must be None, 1 or (1,), because inputs have one axis of queries or "
            f"keys; received {axes!r}"
        )
    return None if axes is None else 1


def _checked_flash(flash_attention: Any, dropout: float) -> bool | None:
    """Return the argument, which changes nothing; raise an error where Keras does."""
    if flash_attention is None:
        return None
    if flag("flash_attention", flash_attention) and dropout > 0:
        raise ValueError(
            f"flash_attention=True cannot be combined with dropout; received dropout={dropout}"
        )
    return bool(flash_attention)
