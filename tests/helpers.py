"""Models, data and NumPy references that several test files share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import reference_images as images
from numpy.typing import NDArray
from reference import (
    ELEMENTWISE_LOSSES,
    KINKS,
    Network,
    activate,
    batch_norm,
    crop,
    group_norm,
    layer_norm,
    loss_rows,
    one_hot,
    resize,
    standardize,
)
from reference_recurrent import recurrent_outputs

import nnfast
from nnfast import _engine, layers
from nnfast._plan.graph import Graph
from nnfast._plan.plan import compile_graph
from nnfast.layers.window import Windowed

CLASS_LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy")

LOSS_CLASSES = {
    "mean_squared_error": "MeanSquaredError",
    "binary_crossentropy": "BinaryCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
    "binary_focal_crossentropy": "BinaryFocalCrossentropy",
    "categorical_focal_crossentropy": "CategoricalFocalCrossentropy",
}


def loss_object(loss: str, from_logits: bool) -> Any:
    """Return a loss object if ``from_logits`` is true, otherwise the name of the loss."""
    return getattr(nnfast.losses, LOSS_CLASSES[loss])(from_logits=True) if from_logits else loss


def dense_model(
    sizes: Sequence[int], activations: Sequence[str], dtype: str = "float64"
) -> nnfast.Sequential:
    """Return a model of Dense layers."""
    stack = [
        layers.Dense(units, activation=activation)
        for units, activation in zip(sizes[1:], activations, strict=True)
    ]
    return nnfast.Sequential([layers.Input((sizes[0],)), *stack], dtype=dtype)


def random_weights(rng: np.random.Generator, sizes: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return [w, b, w, b, …] with biases that are not zero."""
    weights: list[NDArray[np.float64]] = []
    for n_in, n_out in pairwise(sizes):
        weights.append(rng.normal(size=(n_in, n_out)) / np.sqrt(n_in))
        weights.append(rng.normal(size=n_out) * 0.3)
    return weights


def targets(rng: np.random.Generator, loss: str, m: int, n_out: int) -> NDArray[Any]:
    """Return random targets that the loss accepts."""
    if loss == "poisson":
        return rng.poisson(2.0, (m, n_out)).astype(np.float64)
    if loss in ("hinge", "squared_hinge"):
        return rng.choice([-1.0, 1.0], (m, n_out))
    if loss == "mean_squared_logarithmic_error":
        return rng.uniform(0.1, 3.0, (m, n_out))
    if loss in (*ELEMENTWISE_LOSSES, "cosine_similarity"):
        return rng.normal(size=(m, n_out))
    if loss == "kl_divergence":
        return rng.dirichlet(np.ones(n_out), m)
    if loss in ("binary_crossentropy", "binary_focal_crossentropy"):
        return rng.integers(0, 2, (m, n_out)).astype(np.float64)
    labels = rng.integers(0, n_out, m)
    return labels if loss == "sparse_categorical_crossentropy" else one_hot(labels, n_out)


def distance_to_kink(network: Network, x: NDArray[Any]) -> float:
    """Return the smallest distance between a pre-activation and a kink of its activation."""
    zs, _ = network.forward(x)
    distances = [
        np.abs(z - kink).min()
        for z, f in zip(zs, network.activations, strict=True)
        for kink in KINKS.get(f, ())
    ]
    return float(min(distances, default=np.inf))


def layer_outputs(
    layer: layers.Layer, a: NDArray[Any], w: dict[str, NDArray[Any]], training: bool = False
) -> NDArray[Any]:
    """Return the outputs of a layer without noise, computed in NumPy; `w` holds its weights."""
    gamma, beta = w.get("gamma", 1.0), w.get("beta", 0.0)
    if "recurrent_kernel" in w:
        return recurrent_outputs(layer, a, w)
    if isinstance(layer, Windowed):
        return image_outputs(layer, a, w)
    if isinstance(layer, layers.Embedding):
        return w["embeddings"][a.astype(int)]
    if isinstance(layer, layers.Dense):
        return activate(a @ w["kernel"] + w.get("bias", 0.0), layer.activation.name)
    if a.size == 0:
        return a.reshape(len(a), *layer.infer_shape(a.shape[1:]))
    if isinstance(layer, layers.Activation):
        return activate(a, layer.activation.name)
    if isinstance(layer, layers.LeakyReLU):
        return np.where(a > 0, a, layer.negative_slope * a)
    if isinstance(layer, layers.ReLU):
        most = np.inf if layer.max_value is None else layer.max_value
        low = layer.negative_slope * (a - layer.threshold)
        return np.where(a > layer.threshold, np.minimum(a, most), low)
    if isinstance(layer, layers.PReLU):
        return np.where(a > 0, a, w["alpha"] * a)
    if isinstance(layer, layers.ELU):
        return np.where(a > 0, a, layer.alpha * np.expm1(np.minimum(a, 0)))
    if isinstance(layer, layers.Softmax):
        e = np.exp(a - a.max(axis=layer.axis, keepdims=True))
        return e / e.sum(axis=layer.axis, keepdims=True)
    if isinstance(layer, layers.UnitNormalization):
        return a / np.maximum(np.sqrt((a**2).sum(axis=layer.axis, keepdims=True)), 1e-12)
    if isinstance(layer, layers.GroupNormalization):
        return group_norm(a, layer.groups, layer.axis, gamma, beta, layer.epsilon)
    if isinstance(layer, layers.Rescaling):
        return layer.scale * a + layer.offset
    if isinstance(layer, layers.BatchNormalization):
        moving = None if training else (w["moving_mean"], w["moving_variance"])
        return batch_norm(a, gamma, beta, layer.epsilon, moving)
    if isinstance(layer, layers.LayerNormalization):
        return layer_norm(a, gamma, beta, layer.epsilon, len(layer.axes))
    if isinstance(layer, layers.Normalization):
        return standardize(a, w["mean"], w["variance"], layer.invert)
    if isinstance(layer, layers.Permute):
        return a.transpose(0, *layer.dims)
    if isinstance(layer, layers.RepeatVector):
        return a[:, None].repeat(layer.n, axis=1)
    if isinstance(layer, layers.ZeroPadding1D):
        return np.pad(a, ((0, 0), layer.padding, (0, 0)))
    if isinstance(layer, layers.ZeroPadding2D):
        return np.pad(a, ((0, 0), *layer.padding, (0, 0)))
    if isinstance(layer, (layers.Cropping1D, layers.Cropping2D)):
        first = np.reshape(layer.cropping, (-1, 2))[:, 0]
        sizes = layer.infer_shape(a.shape[1:])
        return a[:, *(slice(i, i + n) for i, n in zip(first, sizes, strict=False))]
    if isinstance(layer, layers.UpSampling1D):
        return a.repeat(layer.size, axis=1)
    if isinstance(layer, layers.UpSampling2D):
        height, width = layer.infer_shape(a.shape[1:])[:2]
        if layer.interpolation == "bilinear":
            return resize(resize(a, 1, height), 2, width)
        return a.repeat(layer.size[0], axis=1).repeat(layer.size[1], axis=2)
    if isinstance(layer, layers.RandomCrop):
        return resize(resize(crop(a, layer.height, layer.width), 1, layer.height), 2, layer.width)
    if isinstance(layer, (layers.Resizing, layers.CenterCrop)):
        return resized_outputs(layer, a)
    return a.reshape(len(a), *layer.infer_shape(a.shape[1:]))


def resized_outputs(layer: Any, a: NDArray[Any]) -> NDArray[Any]:
    """Return the outputs of Resizing or CenterCrop."""
    height, width = layer.height, layer.width
    top, left = a.shape[1] - height, a.shape[2] - width
    if isinstance(layer, layers.CenterCrop) and min(top, left) >= 0:
        return a[:, top // 2 : top // 2 + height, left // 2 : left // 2 + width]
    if getattr(layer, "crop_to_aspect_ratio", True):
        a = crop(a, height, width)
    elif layer.pad_to_aspect_ratio:
        rows = max(0, a.shape[2] * height // width - a.shape[1]) // 2
        columns = max(0, a.shape[1] * width // height - a.shape[2]) // 2
        fill = {"constant_values": layer.fill_value}
        a = np.pad(a, ((0, 0), (rows, rows), (columns, columns), (0, 0)), **fill)
    if getattr(layer, "interpolation", "bilinear") == "nearest":
        i, j = (
            (2 * np.arange(n) + 1) * size // (2 * n)
            for n, size in zip((height, width), a.shape[1:3], strict=True)
        )
        return a[:, i][:, :, j]
    return resize(resize(a, 1, height), 2, width)


def image_outputs(layer: Any, a: NDArray[Any], w: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the outputs of a layer that slides a window over images or one-row sequences."""
    out = layer.infer_shape(a.shape[1:])
    flat = layer.rank == 1
    a = a[:, None] if flat else a

    def two(sizes: Sequence[int]) -> Sequence[int]:
        return (1, *sizes) if flat else sizes

    if type(layer).__name__.startswith("Global"):
        take = a.max if "Max" in type(layer).__name__ else a.mean
        return np.asarray(take(axis=(1, 2))).reshape(len(a), *out)
    strides = two(layer.strides)
    if hasattr(layer, "pool_size"):
        largest = isinstance(layer, layers.MaxPooling2D)
        y = images.pool(a, two(layer.pool_size), strides, layer.padding, largest)
        return y.reshape(len(a), *out)
    kernels = {name: v[None] if flat else v for name, v in w.items() if "kernel" in name}
    options: Any = strides, layer.padding, two(layer.dilation_rate)
    if isinstance(layer, layers.SeparableConv2D):
        y = images.depthwise(a, kernels["depthwise_kernel"], *options)
        y = images.convolve(y, kernels["pointwise_kernel"])
    elif isinstance(layer, layers.Conv1DTranspose | layers.Conv2DTranspose):
        extra = None if layer.output_padding is None else (0, *layer.output_padding)[-2:]
        y = images.transposed(a, kernels["kernel"], *options, extra)
    elif isinstance(layer, layers.DepthwiseConv2D):
        y = images.depthwise(a, kernels["kernel"], *options)
    else:
        y = images.convolve(a, kernels["kernel"], *options, layer.groups)
    return activate(y + w.get("bias", 0.0), layer.activation.name).reshape(len(a), *out)


def _penalty(regularizer: Any, values: NDArray[Any]) -> float:
    if regularizer is None:
        return 0.0
    l1, l2 = regularizer.penalty
    return float(l1 * np.abs(values).sum() + l2 * (values**2).sum())


def plain_outputs(
    model: nnfast.Sequential, weights: Sequence[NDArray[Any]], x: NDArray[Any], training: bool
) -> tuple[NDArray[Any], float]:
    """Return a model's outputs and total penalty for these weights, in float64."""
    remaining = iter(weights)
    a, penalties = np.asarray(x, np.float64), 0.0
    for layer in model.layers:
        own = {name: np.asarray(next(remaining), np.float64) for name in layer.named_weights}
        a = layer_outputs(layer, a, own, training)
        penalties += _penalty(layer.activity_regularizer, a) / len(a)
        for name, values in own.items():
            penalties += _penalty(getattr(layer, f"{name}_regularizer", None), values)
    return a, penalties


def plain_loss(
    model: nnfast.Sequential,
    weights: Sequence[NDArray[Any]],
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    training: bool,
    sample_weight: NDArray[Any] | None = None,
) -> float:
    """Return the loss of a compiled model with these weights, computed in NumPy."""
    assert model.loss is not None
    a, penalties = plain_outputs(model, weights, x, training)
    rows, _ = loss_rows(y, a.reshape(len(a), -1), model.loss.kind, from_logits=False)
    if sample_weight is not None:
        rows = rows * sample_weight
    return float(rows.mean()) + penalties


def normal_draws(seed: int, shape: tuple[int, ...], epoch: int | None = None) -> NDArray[Any]:
    """Return the ε of ``Sampling(seed)`` for rows of this shape, in an epoch or in inference."""
    n = math.prod(shape[1:])
    x = nnfast.Input((n,))
    graph = Graph([x], [layers.Sampling(seed)([x, x])]).flat
    engine = _engine.Engine(compile_graph(graph), "float64")
    zeros, out = np.zeros((shape[0], n)), np.empty((shape[0], n))
    if epoch is None:
        engine.forward(_engine.Data(zeros), out)
    else:
        engine.epoch = epoch
        engine.run(_engine.Data(zeros, zeros), len(zeros), False, np.zeros(1), np.empty(1), out)
    return out.reshape(shape)


def differences(
    f: Callable[[], float], arrays: Sequence[NDArray[Any]], h: float = 1e-5
) -> list[NDArray[Any]]:
    """Return central differences of f with respect to `arrays`, which are left unchanged."""
    gradients = [np.empty_like(array) for array in arrays]
    for array, gradient in zip(arrays, gradients, strict=True):
        for i in np.ndindex(array.shape):
            value, sides = array[i], []
            for array[i] in (value + h, value - h):
                sides.append(f())
            array[i] = value
            gradient[i] = (sides[0] - sides[1]) / (2 * h)
    return gradients


def randomize(model: nnfast.Sequential, seed: int = 0) -> list[NDArray[Any]]:
    """Set the weights of a model to distinct nonzero values and return them."""
    rng = np.random.default_rng(seed)
    weights: list[NDArray[Any]] = []
    for layer in model.layers:
        for name, view in layer.named_weights.items():
            if name == "kernel" and view.ndim == 2:
                weights.append(rng.normal(size=view.shape) / np.sqrt(len(view)))
            elif "kernel" in name:
                weights.append(rng.normal(size=view.shape) / np.sqrt(view[..., 0].size))
            elif name == "gamma" or "variance" in name:
                weights.append(rng.uniform(0.5, 2.0, view.shape))
            else:
                weights.append(rng.normal(size=view.shape) * 0.5)
    model.set_weights(weights)
    return weights


def trainable(model: nnfast.Sequential, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the entries of `values`, one per weight, that belong to trainable weights."""
    names = [(layer, name) for layer in model.layers for name in layer.named_weights]
    return [
        v for (layer, name), v in zip(names, values, strict=True) if name not in layer.fixed_weights
    ]
