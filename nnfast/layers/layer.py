"""The base class of the layers, which hold configuration and infer shapes but compute nothing.

A layer describes itself in four methods: its output's shape (`infer_shape`), its operations
(`ops`), its weights (`weight_specs`) and its arguments (`get_config`). A model compiles these into
a plan. Once the model is built, each layer holds views of its weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import activations, constraints, initializers, regularizers
from nnfast._engine import WeightArray, weight_arrays
from nnfast._plan.open_shapes import fixed_weights, probed_shapes
from nnfast._plan.spec import Masking, Op, OpenShape, Weight
from nnfast._plan.symbolic import (
    KerasTensor,
    Node,
    TensorSpec,
    batch_size,
    leaves,
    sample_shape,
    symbolic,
)
from nnfast._utils.assign import assign
from nnfast._utils.checks import Shape, flag, integer, open_shape, warn
from nnfast._utils.config import DTYPES, check_dtype, default_dtype
from nnfast._utils.names import auto_name, check_name
from nnfast._utils.registry import plain
from nnfast._utils.tensor import Scalar
from nnfast._utils.variable import Variable

__all__ = [
    "Layer",
]

# Arguments of layers in older versions of Keras, and today's.
_REMOVED_ARGUMENTS = {
    "batch_input_shape": "Input(batch_shape=…)",
    "border_mode": "padding",
    "init": "kernel_initializer",
    "subsample": "strides",
    "weights": "set_weights after building",
    "W_constraint": "kernel_constraint",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
}


class LayerOptions(TypedDict, total=False):
    """Keyword arguments that every layer accepts; see `Layer`."""

    input_shape: Sequence[int | None] | None
    input_dim: int | None
    name: str | None
    dtype: str | None
    activity_regularizer: str | regularizers.L1L2 | None
    trainable: bool


class Layer:
    """Base class of the layers.

    The constructor's arguments are read-only attributes, because models are compiled from them.
    Only `trainable` may change.

    Parameters
    ----------
    input_shape : tuple of (int or None), optional
        Shape of one sample, without the batch axis; None is a size that may vary. Only the first
        layer of a model uses it; the model is then built immediately.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.
    name : str, optional
        By default the class name in snake case, numbered: ``"dense"``, ``"dense_1"``, …
    dtype : str, optional
        If given, it must be the model's dtype.
    activity_regularizer : str, Regularizer or None, default None
        Penalty on the layer's output, averaged over the batch's rows and added to the loss.
    trainable : bool, default True
        False freezes the layer: training does not change its weights.

    Attributes
    ----------
    name : str
    trainable : bool
        May be set at any time; takes effect at the next training step. Frozen weights have no
        gradient and no regularization penalty. A frozen BatchNormalization uses its moving
        averages in training, too, and does not update them. Weights that were frozen when the
        model was compiled can be trained only after the next `compile`.
    built : bool
        True once the layer's model is built.
    named_weights : dict of str to ndarray
        Views of the weights, which all models with the layer use; empty until it is built.
    weights : list of ndarray
        The same views without names, in the order of `get_weights`.
    trainable_weights, non_trainable_weights : list of ndarray
        The weights that the optimizer updates, and all other weights, both in the order of
        `weights`. All weights of a frozen layer are non-trainable.
    """

    # Whether the computation in training differs from that in inference.
    training_differs: ClassVar[bool] = False

    # Whether Python computes the layer before the engine reads the data.
    before_engine: ClassVar[bool] = False

    # Whether the output has the mask of the input, and whether ops depend on the masks of the first
    # `n_masks` inputs.
    passes_mask: ClassVar[bool] = False
    uses_mask: ClassVar[bool] = False
    n_masks: int = 1

    # The further arguments that `connect` takes, as JSON values.
    call_arguments: ClassVar[tuple[str, ...]] = ()

    # The dtype of the data if the layer is the first one of a model; None is the model's.
    input_dtype: ClassVar[str | None] = None

    # Constructor arguments of the subclass. `get_config` returns them; they cannot be reassigned.
    _fields: ClassVar[tuple[str, ...]] = ()

    # The dtypes that the argument `dtype` may have.
    _dtypes: ClassVar[tuple[str, ...]] = DTYPES

    # Attributes of every layer, which cannot be reassigned either.
    _fixed: ClassVar[tuple[str, ...]] = ("name", "dtype", "feature_shape", "activity_regularizer")

    def __init__(
        self,
        *,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
        activity_regularizer: str | regularizers.L1L2 | None = None,
        trainable: bool = True,
        **unknown: Any,
    ) -> None:
        if unknown:
            wrong = min(unknown)
            hint = f": use {_REMOVED_ARGUMENTS[wrong]}" if wrong in _REMOVED_ARGUMENTS else ""
            raise TypeError(f"{type(self).__name__} got an unexpected argument {wrong!r}{hint}")
        if input_dim is not None:
            if input_shape is not None:
                raise ValueError(
                    "Give either input_shape or input_dim, not both; received "
                    f"input_shape={input_shape!r} and input_dim={input_dim!r}"
                )
            input_shape = (integer("input_dim", input_dim, minimum=0),)
        self.feature_shape = None if input_shape is None else open_shape("input_shape", input_shape)
        self.name = auto_name(type(self).__name__) if name is None else check_name(name)
        self.dtype = None if dtype is None else check_dtype(dtype, self._dtypes)
        self.activity_regularizer = regularizers.resolve(activity_regularizer)
        self._trainable = flag("trainable", trainable)
        # Weak references to the networks that contain, or once contained, the layer.
        self.networks: list[Callable[[], Any]] = []
        # The memory of the weights, which the engines of all its models use.
        self.arrays: dict[str, WeightArray] = {}
        self._named_weights: dict[str, NDArray[Any]] = {}
        # What the layer keeps from batch to batch.
        self._named_states: dict[str, NDArray[Any]] = {}
        # Weak references to the calls of the layer: a call belongs to the models it is part of.
        self._calls: list[weakref.ref[Node]] = []
        # The weights as variables, made when they are asked for.
        self._variables: dict[str, Variable] = {}
        # Names of the non-trainable weights, such as moving averages.
        self.fixed_weights: frozenset[str] = frozenset()
        self._built = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name in (*self._fixed, *self._fields) and hasattr(self, name):
            raise AttributeError(
                f"{name} of layer {self.name!r} cannot be changed, because models are compiled "
                f"from the layer: make a new {type(self).__name__} in a new model"
            )
        super().__setattr__(name, value)

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = flag("trainable", value)
        for ref in self.networks:
            network = ref()
            if network is not None:
                network.note_trainable()

    @property
    def built(self) -> bool:
        return self._built

    @property
    def named_weights(self) -> dict[str, NDArray[Any]]:
        return self._named_weights

    @property
    def named_states(self) -> dict[str, NDArray[Any]]:
        """What the layer keeps from batch to batch, as views."""
        return self._named_states

    def flat_layers(self) -> list[Layer]:
        """Return the layers that a call of this one consists of: by default, the layer itself."""
        return [self]

    @property
    def masking(self) -> Masking:
        """What becomes of the mask of an input."""
        return Masking.PASSES if self.passes_mask else Masking.ENDS

    def infer_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape for one sample, without the batch axis."""
        return input_shape

    def infer_shapes(self, *input_shapes: Shape) -> list[Shape]:
        """Return the shapes of all outputs."""
        return [self.infer_shape(*input_shapes)]

    def infer_open_shapes(self, *shapes: OpenShape) -> list[OpenShape]:
        """Return the shapes of all outputs for inputs with axes of unknown size, which are None."""
        return probed_shapes(self.infer_shapes, shapes)

    def ops(self, input_shape: Shape) -> list[Op]:
        """Return the layer's ops for samples of `input_shape`, in order of execution.

        The list is empty if the layer only changes the shape or does nothing.
        """
        return []

    def masked_ops(self, *shapes: Shape) -> list[Op]:
        """Return the ops for inputs with masks, which are the last inputs, if `uses_mask`."""
        return self.ops(*shapes[: -self.n_masks])

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        """Return the descriptions of the layer's weights, in the order of `get_weights`."""
        return []

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON-serializable Python values."""
        config: dict[str, Any] = {"name": self.name}
        if self.feature_shape is not None:
            config["input_shape"] = list(self.feature_shape)
        if self.dtype is not None:
            config["dtype"] = self.dtype
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = plain(self.activity_regularizer)
        if not self.trainable:
            config["trainable"] = False
        return config | {field: _plain(getattr(self, field)) for field in self._fields}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """Return a new layer from the arguments that `get_config` returned."""
        return cls(**config)

    def _configure_weight(
        self,
        name: str,
        initializer: str | initializers.Initializer,
        regularizer: str | regularizers.L1L2 | None,
        constraint: str | constraints.Constraint | None,
    ) -> None:
        """Set ``{name}_initializer``, ``{name}_regularizer`` and ``{name}_constraint``."""
        setattr(self, f"{name}_initializer", initializers.resolve(initializer))
        setattr(self, f"{name}_regularizer", regularizers.resolve(regularizer))
        setattr(self, f"{name}_constraint", constraints.resolve(constraint))

    def _weight(self, name: str, shape: Shape, configured: str | None = None) -> Weight:
        """Return the description of a weight with the options set by `_configure_weight`.

        The options' names begin with `configured`, by default the weight's own name.
        """
        prefix = configured or name
        return Weight(
            name,
            shape,
            getattr(self, f"{prefix}_initializer"),
            getattr(self, f"{prefix}_regularizer"),
            getattr(self, f"{prefix}_constraint"),
        )

    # ---- calls -----------------------------------------------------------------------------------

    def __call__(self, x: Any, *, training: bool | None = None) -> KerasTensor:
        """Return the symbolic output for a symbolic input, as part of a model's graph.

        Parameters
        ----------
        x : KerasTensor
            The output of `Input` or of another layer. Layers that merge take a list of them.
        training : bool, optional
            False: this call computes as in inference, even while the model is trained.

        Returns
        -------
        KerasTensor

        Raises
        ------
        TypeError
            If `x` is not symbolic: arrays are passed to models.
        ValueError
            If the layer cannot take the shape of `x`, or a call with another shape made weights
            of other shapes.

        Examples
        --------
        >>> import nnfast
        >>> x = nnfast.Input((4,))
        >>> nnfast.layers.Dense(3)(x).shape
        (None, 3)
        """
        output: KerasTensor = self._called_on(x, training)
        return output

    def _called_on(self, x: Any, training: bool | None) -> Any:
        """Return the outputs of a new call: a tensor, or a tuple of several."""
        node = self.connect(x, training)
        register([node])
        return node.outputs[0] if len(node.specs) == 1 else node.outputs

    def connect(self, x: Any, training: bool | None = None) -> Node:
        """Return the node of a call; `register` makes it one of the layer's calls."""
        inputs = self._inputs(x)
        node = Node(self, inputs, self._output_specs(inputs), None, inference(training))
        self._check_weights(sample_shape(inputs[0]))
        self._warn_of_lost_mask(inputs)
        return node

    def _inputs(self, x: Any) -> list[KerasTensor]:
        """Return the inputs of a call after checking their number and type."""
        inputs = symbolic_leaves(f"Layer {self.name!r}", x)
        if len(inputs) != 1:
            raise ValueError(f"Layer {self.name!r} expects 1 input; received {len(inputs)}: {x}")
        return inputs

    def _output_specs(self, inputs: Sequence[KerasTensor]) -> list[TensorSpec]:
        shapes = self.infer_open_shapes(*(sample_shape(x) for x in inputs))
        rows, masked = batch_size(self.name, inputs), self._makes_masked(inputs)
        dtype = self._output_dtype(inputs)
        # Only the first output may have a mask.
        return [
            TensorSpec((rows, *shape), dtype, self.name, masked and i == 0)
            for i, shape in enumerate(shapes)
        ]

    def _output_dtype(self, inputs: Sequence[KerasTensor]) -> str:
        return float_dtype(f"layer {self.name!r}", self.dtype, inputs)

    def _makes_masked(self, inputs: Sequence[KerasTensor]) -> bool:
        """Return whether the output for these inputs has a mask."""
        match self.masking:
            case Masking.PASSES:
                return inputs[0].masked
            case Masking.GIVEN:
                return inputs[-1].masked
            case Masking.ANY:
                return all(x.masked for x in inputs)
            case Masking.JOINED:
                return any(x.masked for x in inputs)
        return self.masking is Masking.MAKES

    def _warn_of_lost_mask(self, inputs: Sequence[KerasTensor]) -> None:
        ends = self.masking is Masking.ENDS and not self.uses_mask
        if ends and any(x.masked for x in inputs):
            warn(
                f"Layer {self.name!r} ({type(self).__name__}) was called with a masked input, but "
                "does not support masks: layers after it treat all steps as real"
            )

    def _check_weights(self, input_shape: OpenShape) -> None:
        """Raise a ValueError if the layer has weights that do not fit the shape of a sample."""
        needed = self._weight_shapes(input_shape)
        node = self._first_call()
        if self.built:
            own = [view.shape for view in self.named_weights.values()]
        elif node is not None:
            own = self._weight_shapes(sample_shape(node.inputs[0]))
        else:
            return
        if needed != own:
            raise ValueError(
                f"Layer {self.name!r} has weights of shapes {own} from another model or an earlier "
                f"call; an input with samples of shape {input_shape} needs {needed}"
            )

    def _weight_shapes(self, input_shape: OpenShape) -> list[Shape]:
        return [spec.shape for spec in fixed_weights(self, input_shape) if not spec.is_state]

    def _first_call(self) -> Node | None:
        """Return the first of the calls that models or tensors still refer to."""
        nodes = (call() for call in self._calls)
        return next((node for node in nodes if node is not None), None)

    @property
    def input(self) -> Any:
        """The symbolic input of the layer's first call; a list if it merges several inputs."""
        inputs = self._called("input").inputs
        return inputs[0] if len(inputs) == 1 else list(inputs)

    @property
    def output(self) -> Any:
        """The symbolic output of the layer's first call; a list if there are several."""
        outputs = self._called("output").outputs
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def _called(self, which: str) -> Node:
        node = self._first_call()
        if node is None:
            raise AttributeError(
                f"Layer {self.name!r} has no {which} yet: call it, or build its model first"
            )
        return node

    @property
    def input_shape(self) -> Any:
        """Shape of a batch of inputs; a list of shapes if the layer merges several inputs."""
        inputs = self.input
        return [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape

    @property
    def output_shape(self) -> Any:
        """Shape of a batch of outputs; a list of shapes if there are several."""
        shapes = [y.shape for y in self._called("output_shape").outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    # ---- weights ---------------------------------------------------------------------------------

    def bind(
        self,
        arrays: dict[str, WeightArray],
        shapes: Mapping[str, Shape],
        fixed: frozenset[str],
        states: frozenset[str] = frozenset(),
    ) -> None:
        """Give the layer its weights, once for ever.

        `fixed` contains the names of the non-trainable weights, `states` those of the states.
        """
        self.arrays = arrays
        views = {name: np.asarray(array).reshape(shapes[name]) for name, array in arrays.items()}
        self._named_weights = {name: view for name, view in views.items() if name not in states}
        self._named_states = {name: views[name] for name in states}
        self.fixed_weights = fixed
        self._built = True

    @property
    def weights(self) -> list[Variable]:
        """The weights, kernel before bias: views of the built model's memory."""
        return [self._variable(name) for name in self.named_weights]

    variables = weights

    @property
    def trainable_weights(self) -> list[Variable]:
        return [self._variable(name) for name in self.named_weights if self._is_trained(name)]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [self._variable(name) for name in self.named_weights if not self._is_trained(name)]

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def _variable(self, name: str) -> Variable:
        """Return a weight as a variable.

        Raises
        ------
        AttributeError
            If the layer is not built.
        """
        if not self.built:
            raise AttributeError(f"Layer {self.name!r} has no {name} yet: build its model first")
        if name not in self._variables:
            self._variables[name] = Variable.of(self.named_weights[name], self.name, name)
        return self._variables[name]

    def _is_trained(self, name: str) -> bool:
        return self.trainable and name not in self.fixed_weights

    @property
    def losses(self) -> list[Scalar]:
        """The current penalties of the weights' regularizers; [] before the layer is built."""
        node = self._first_call()
        if node is None or not self.built:
            return []
        return [
            Scalar(spec.regularizer(self.named_weights[spec.name]))
            for spec in fixed_weights(self, sample_shape(node.inputs[0]))
            if spec.regularizer is not None and self._is_trained(spec.name)
        ]

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of the weights, kernel before bias; [] before the model is built."""
        return [view.copy() for view in self.named_weights.values()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set the weights.

        Parameters
        ----------
        weights : sequence of array_like
            Arrays in the order and with the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs; then no weight is changed.
        """
        assign(f"layer {self.name!r}", list(self.named_weights.values()), weights)

    def count_params(self) -> int:
        """Return the number of parameters: the total number of elements in all weights.

        Raises
        ------
        ValueError
            If the layer is not built.
        """
        if not self.built:
            raise ValueError(
                f"Layer {self.name!r} has no parameters yet: build its model first, with an Input, "
                "an input_shape, build() or the first fit or predict"
            )
        return sum(view.size for view in self.named_weights.values())

    def __getstate__(self) -> dict[str, Any]:
        # A copy belongs to no model.
        return vars(self) | {"arrays": {}, "_variables": {}, "_calls": [], "networks": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        values = self._named_weights | self._named_states
        if values:  # a copy does not share the weights
            sizes = [value.size for value in values.values()]
            arrays = weight_arrays(sizes, next(iter(values.values())).dtype.name)
            shapes = {name: value.shape for name, value in values.items()}
            states = frozenset(self._named_states)
            self.bind(dict(zip(values, arrays, strict=True)), shapes, self.fixed_weights, states)
            for name, view in (self._named_weights | self._named_states).items():
                view[...] = values[name]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def register(nodes: Iterable[Node]) -> None:
    """Make these nodes, and those of the layers within wrappers, the last calls of their layers."""
    for node in nodes:
        if node.step is not None:
            register([node.step])
        elif isinstance(node.layer, Layer):
            calls = [call for call in node.layer._calls if call() is not None]
            node.layer._calls = [*calls, weakref.ref(node)]
            register(node.graph.nodes if node.graph is not None else ())


def symbolic_leaves(whose: str, x: Any) -> list[KerasTensor]:
    """Return the tensors in the argument of a call; raise TypeError if it has anything else."""
    found = leaves(x)
    wrong = [leaf for leaf in found if not symbolic(leaf)]
    if wrong or not found:
        raise TypeError(
            f"{whose} can be called with symbolic tensors, which Input and other layers return; "
            f"received {type((wrong or [x])[0]).__name__}: pass arrays to a model"
        )
    return found


def float_dtype(whose: str, dtype: str | None, inputs: Sequence[KerasTensor]) -> str:
    """Return the dtype of an output: `dtype`, or that of the inputs; for integers, the default."""
    found = {x.dtype for x in inputs if x.dtype in DTYPES} | ({dtype} if dtype else set())
    if len(found) > 1:
        raise ValueError(
            f"A model has one dtype; {whose} has "
            f"{f'dtype {dtype} and ' if dtype else ''}inputs of {[x.dtype for x in inputs]}"
        )
    return next(iter(found), default_dtype())


def inference(training: object) -> bool | None:
    """Return the argument `training` of a symbolic call."""
    if training is None or not flag("training", training):
        return None if training is None else False
    raise ValueError("training must be None or False in a symbolic call; received True")


def _plain(value: Any) -> Any:
    if isinstance(value, activations.Activation):
        return activations.serialize(value)
    return plain(value)
