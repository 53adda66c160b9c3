"""A readable neural network in NumPy that nnfast is compared with.

Everything is float64 and follows Keras' formulas. Rows are samples: ``x`` is (m, n_in),
``w`` is (n_in, n_out) and ``z = x @ w + b``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

CLIP = 1e-7  # Keras clips probabilities to [CLIP, 1 - CLIP]


def sigmoid(z: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-z))


def normal_cdf(z: Array) -> Array:
    return 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-z / math.sqrt(2.0))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
GELU_C = math.sqrt(2.0 / math.pi)

# name: f(z)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.where(z < 0.0, 0.2 * z, z),
    "elu": lambda z: np.where(z < 0.0, np.expm1(np.minimum(z, 0.0)), z),
    "selu": lambda z: SELU_SCALE * np.where(z < 0.0, SELU_ALPHA * np.expm1(np.minimum(z, 0.0)), z),
    "gelu": lambda z: z * normal_cdf(z),
    "gelu_tanh": lambda z: 0.5 * z * (1.0 + np.tanh(GELU_C * (z + 0.044715 * z**3))),
    "silu": lambda z: z * sigmoid(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0.0, z)),
    "softplus": lambda z: np.logaddexp(0.0, z),
    "softsign": lambda z: z / (1.0 + np.abs(z)),
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda z: np.clip(z / 6.0 + 0.5, 0.0, 1.0),
    "tanh": np.tanh,
    "exponential": np.exp,
    "relu6": lambda z: np.clip(z, 0.0, 6.0),
    "hard_tanh": lambda z: np.clip(z, -1.0, 1.0),
    "hard_silu": lambda z: z * np.clip(z / 6.0 + 0.5, 0.0, 1.0),
    "log_sigmoid": lambda z: -np.logaddexp(0.0, -z),
    "tanh_shrink": lambda z: z - np.tanh(z),
    "soft_shrink": lambda z: np.sign(z) * np.maximum(np.abs(z) - 0.5, 0.0),
    "hard_shrink": lambda z: z * (np.abs(z) > 0.5),
    "celu": lambda z: np.where(z < 0.0, np.expm1(np.minimum(z, 0.0)), z),
    "squareplus": lambda z: 0.5 * (z + np.sqrt(z**2 + 4.0)),
    "sparse_plus": lambda z: np.where(z > 1.0, z, 0.25 * np.maximum(z + 1.0, 0.0) ** 2),
    "sparse_sigmoid": lambda z: np.clip(0.5 * (z + 1.0), 0.0, 1.0),
    "softmax": lambda z: (
        np.exp(z - z.max(axis=-1, keepdims=True))
        / np.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True)
    ),
}


def gelu_tanh_derivative(z: Array) -> Array:
    t = np.tanh(GELU_C * (z + 0.044715 * z**3))
    return 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t**2) * GELU_C * (1.0 + 3 * 0.044715 * z**2)


# name: f'(z), for element-wise activations
DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "linear": np.ones_like,
    "relu": lambda z: (z > 0.0).astype(z.dtype),
    "leaky_relu": lambda z: np.where(z > 0.0, 1.0, 0.2),
    "elu": lambda z: np.where(z > 0.0, 1.0, np.exp(np.minimum(z, 0.0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0.0, 1.0, SELU_ALPHA * np.exp(np.minimum(z, 0.0))),
    "gelu": lambda z: normal_cdf(z) + z * np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi),
    "gelu_tanh": gelu_tanh_derivative,
    "silu": lambda z: sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z))),
    "mish": lambda z: (
        np.tanh(np.logaddexp(0.0, z)) + z * (1.0 - np.tanh(np.logaddexp(0.0, z)) ** 2) * sigmoid(z)
    ),
    "softplus": sigmoid,
    "softsign": lambda z: 1.0 / (1.0 + np.abs(z)) ** 2,
    "sigmoid": lambda z: sigmoid(z) * (1.0 - sigmoid(z)),
    "hard_sigmoid": lambda z: (np.abs(z) < 3.0) / 6.0,
    "tanh": lambda z: 1.0 - np.tanh(z) ** 2,
    "exponential": np.exp,
    "relu6": lambda z: ((z > 0.0) & (z < 6.0)).astype(z.dtype),
    "hard_tanh": lambda z: (np.abs(z) < 1.0).astype(z.dtype),
    "hard_silu": lambda z: np.where(np.abs(z) < 3.0, z / 3.0 + 0.5, z > 0.0),
    "log_sigmoid": lambda z: sigmoid(-z),
    "tanh_shrink": lambda z: np.tanh(z) ** 2,
    "soft_shrink": lambda z: (np.abs(z) > 0.5).astype(z.dtype),
    "hard_shrink": lambda z: (np.abs(z) > 0.5).astype(z.dtype),
    "celu": lambda z: np.where(z > 0.0, 1.0, np.exp(np.minimum(z, 0.0))),
    "squareplus": lambda z: 0.5 * (1.0 + z / np.sqrt(z**2 + 4.0)),
    "sparse_plus": lambda z: np.clip(0.5 * (z + 1.0), 0.0, 1.0),
    "sparse_sigmoid": lambda z: 0.5 * (np.abs(z) < 1.0),
}

# Points where an activation has no derivative.
KINKS = {
    **dict.fromkeys(("relu", "leaky_relu", "selu"), (0.0,)),
    **dict.fromkeys(("hard_sigmoid", "hard_silu"), (-3.0, 3.0)),
    **dict.fromkeys(("hard_tanh", "sparse_sigmoid"), (-1.0, 1.0)),
    **dict.fromkeys(("soft_shrink", "hard_shrink"), (-0.5, 0.5)),
    "relu6": (0.0, 6.0),
}


def activate(z: Array, activation: str) -> Array:
    """Return a = f(z)."""
    return ACTIVATIONS[activation](z)


def activate_backward(da: Array, z: Array, activation: str) -> Array:
    """Return the gradient with respect to z, given the gradient with respect to a = f(z)."""
    if activation == "softmax":
        # One Jacobian per row: ∂a_i/∂z_j = a_i (δ_ij − a_j), which is symmetric.
        a = activate(z, "softmax")
        jacobian = a[:, :, None] * (np.eye(a.shape[1]) - a[:, None, :])
        return np.einsum("mij,mj->mi", jacobian, da)
    return da * DERIVATIVES[activation](z)


def batch_norm(
    x: Array,
    gamma: ArrayLike = 1.0,
    beta: ArrayLike = 0.0,
    epsilon: float = 1e-3,
    moving: tuple[Array, Array] | None = None,
) -> Array:
    """Normalize each channel by the batch's mean and variance, or by those in `moving`."""
    others = tuple(range(x.ndim - 1))
    mean, variance = moving or (x.mean(axis=others), x.var(axis=others))
    return gamma * ((x - mean) / np.maximum(np.sqrt(variance + epsilon), 1e-7)) + beta


def layer_norm(
    x: Array, gamma: ArrayLike = 1.0, beta: ArrayLike = 0.0, epsilon: float = 1e-3, axes: int = 1
) -> Array:
    """Normalize over the last `axes` axes of each sample."""
    last = tuple(range(x.ndim - axes, x.ndim))
    mean, variance = x.mean(axis=last, keepdims=True), x.var(axis=last, keepdims=True)
    return gamma * ((x - mean) / np.maximum(np.sqrt(variance + epsilon), 1e-7)) + beta


def group_norm(
    x: Array, groups: int, axis: int, gamma: ArrayLike, beta: ArrayLike, epsilon: float
) -> Array:
    """Normalize groups of channels, which are an axis of each sample; −1: one group per channel."""
    last = np.moveaxis(x, axis, -1)
    n = last.shape[-1] if groups < 0 else groups
    parts = last.reshape(*last.shape[:-1], n, -1)
    over = (*range(1, parts.ndim - 2), parts.ndim - 1)
    mean, variance = parts.mean(axis=over, keepdims=True), parts.var(axis=over, keepdims=True)
    normal = ((parts - mean) / np.maximum(np.sqrt(variance + epsilon), 1e-7)).reshape(last.shape)
    return np.moveaxis(gamma * normal + beta, -1, axis)


def standardize(x: Array, mean: ArrayLike, variance: ArrayLike, invert: bool = False) -> Array:
    """Subtract the mean and divide by the standard deviation; undo it if `invert` is true."""
    root = np.maximum(np.sqrt(variance), 1e-7)
    return x * root + mean if invert else (x - mean) / root


def resize(x: Array, axis: int, n: int) -> Array:
    """Resize one axis to n pixels by linear interpolation between pixel centres."""
    size = x.shape[axis]
    at = np.clip((np.arange(n) + 0.5) * size / n - 0.5, 0, size - 1)
    low = np.floor(at).astype(int)
    weight = (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    high = np.minimum(low + 1, size - 1)
    return np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight


def crop(x: Array, height: int, width: int) -> Array:
    """Return the largest central crop that has the aspect ratio height : width."""
    h, w = x.shape[1:3]
    rows, columns = max(1, min(h, w * height // width)), max(1, min(w, h * width // height))
    i, j = (h - rows) // 2, (w - columns) // 2
    return x[:, i : i + rows, j : j + columns]


def one_hot(y: ArrayLike, n_classes: int) -> Array:
    """Return the one-hot encoding of class indices."""
    return np.eye(n_classes)[np.asarray(y).reshape(-1).astype(int)]


# name: (value, derivative with respect to p) of one element, from d = p − t, p and t. Huber has
# delta 1 and Quantile has level 0.5.
ELEMENTWISE_LOSSES: dict[str, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "mean_squared_error": lambda d, p, t: (d**2, 2.0 * d),
    "mean_absolute_error": lambda d, p, t: (np.abs(d), np.sign(d)),
    "huber": lambda d, p, t: (
        np.where(np.abs(d) <= 1.0, 0.5 * d**2, np.abs(d) - 0.5),
        np.clip(d, -1.0, 1.0),
    ),
    "log_cosh": lambda d, p, t: (np.logaddexp(d, -d) - math.log(2.0), np.tanh(d)),
    "quantile": lambda d, p, t: (0.5 * np.abs(d), 0.5 * np.sign(d)),
    "poisson": lambda d, p, t: (p - t * np.log(p + 1e-7), 1.0 - t / (p + 1e-7)),
    "hinge": lambda d, p, t: (np.maximum(1.0 - t * p, 0.0), np.where(t * p < 1.0, -t, 0.0)),
    "squared_hinge": lambda d, p, t: (
        np.maximum(1.0 - t * p, 0.0) ** 2,
        -2.0 * t * np.maximum(1.0 - t * p, 0.0),
    ),
    "mean_absolute_percentage_error": lambda d, p, t: (
        100.0 * np.abs(d / t),
        100.0 * np.sign(d) / np.abs(t),
    ),
    "mean_squared_logarithmic_error": lambda d, p, t: (
        (np.log1p(np.maximum(p, CLIP)) - np.log1p(np.maximum(t, CLIP))) ** 2,
        2.0
        * (np.log1p(np.maximum(p, CLIP)) - np.log1p(np.maximum(t, CLIP)))
        / (p + 1.0)
        * (p > CLIP),
    ),
}


def focal_rows(y: Array, p: Array, one_hot: bool) -> tuple[Array, Array]:
    """Return each row's focal cross-entropy with γ = 2 and its derivative with respect to p.

    With one_hot, α is 0.25 and probabilities are divided by their sum.
    """
    total = p.sum(axis=1, keepdims=True) if one_hot else 1.0
    s = p / total
    q = np.clip(s, CLIP, 1.0 - CLIP)
    inside = q == s
    if one_hot:
        value = -0.25 * (1.0 - q) ** 2 * y * np.log(q)
        ds = 0.25 * y * (2.0 * (1.0 - q) * np.log(q) - (1.0 - q) ** 2 / q) * inside
        return value.sum(axis=1), (ds - (ds * s).sum(axis=1, keepdims=True)) / total
    entropy = -y * np.log(q) - (1.0 - y) * np.log(1.0 - q)
    slope = ((1.0 - y) / (1.0 - q) - y / q) * inside
    miss = y * (1.0 - p) + (1.0 - y) * p
    ds = 2.0 * miss * (1.0 - 2.0 * y) * entropy + miss**2 * slope
    return (miss**2 * entropy).mean(axis=1), ds / p.shape[1]


def loss_rows(y: ArrayLike, p: Array, loss: str, from_logits: bool) -> tuple[Array, Array]:
    """Return each row's loss (m,) and its derivative with respect to ``p`` (m, n_out)."""
    n_out = p.shape[1]
    if loss == "sparse_categorical_crossentropy":
        y, loss = one_hot(y, n_out), "categorical_crossentropy"
    t = np.asarray(y, dtype=np.float64).reshape(p.shape)

    d = p - t
    if loss in ELEMENTWISE_LOSSES:
        value, derivative = ELEMENTWISE_LOSSES[loss](d, p, t)
        return value.mean(axis=1), derivative / n_out

    if loss == "binary_crossentropy" and from_logits:
        rows = np.maximum(p, 0.0) - p * t + np.log1p(np.exp(-np.abs(p)))
        return rows.mean(axis=1), (activate(p, "sigmoid") - t) / n_out

    if loss == "binary_crossentropy":
        q = np.clip(p, CLIP, 1.0 - CLIP)
        rows = -t * np.log(q) - (1.0 - t) * np.log(1.0 - q)
        dq = ((1.0 - t) / (1.0 - q) - t / q) / n_out
        return rows.mean(axis=1), dq * (q == p)

    if loss == "categorical_crossentropy" and from_logits:
        top = p.max(axis=1, keepdims=True)
        log_q = p - top - np.log(np.exp(p - top).sum(axis=1, keepdims=True))
        dp = np.exp(log_q) * t.sum(axis=1, keepdims=True) - t
        return -(t * log_q).sum(axis=1), dp

    if loss == "categorical_crossentropy":
        total = p.sum(axis=1, keepdims=True)
        s = p / total
        q = np.clip(s, CLIP, 1.0 - CLIP)
        ds = -t / q * (q == s)
        return -(t * np.log(q)).sum(axis=1), (ds - (ds * s).sum(axis=1, keepdims=True)) / total

    if loss in ("binary_focal_crossentropy", "categorical_focal_crossentropy"):
        f, hot = ("sigmoid", False) if loss.startswith("binary") else ("softmax", True)
        if not from_logits:
            return focal_rows(t, p, hot)
        value, da = focal_rows(t, activate(p, f), hot)
        return value, activate_backward(da, p, f)

    if loss == "kl_divergence":
        q, t = np.clip(p, CLIP, 1.0), np.clip(t, CLIP, 1.0)
        return (t * np.log(t / q)).sum(axis=1), -t / q * (q == p)

    if loss == "categorical_hinge":
        others = (1.0 - t) * p
        value = 1.0 + others.max(axis=1) - (t * p).sum(axis=1)
        first = np.eye(n_out)[others.argmax(axis=1)]
        return np.maximum(value, 0.0), (value > 0.0)[:, None] * (first * (1.0 - t) - t)

    if loss == "cosine_similarity":
        norm, size = (np.linalg.norm(a, axis=1, keepdims=True) for a in (p, t))
        u, v = p / np.maximum(norm, CLIP), t / np.maximum(size, CLIP)
        cosine = (u * v).sum(axis=1, keepdims=True)
        return -cosine[:, 0], ((norm >= CLIP) * cosine * u - v) / np.maximum(norm, CLIP)

    raise ValueError(f"unknown loss: {loss}")


# These pairs are computed from the pre-activation z, where no clipping is needed.
CANONICAL = {
    ("sigmoid", "binary_crossentropy"),
    ("softmax", "categorical_crossentropy"),
    ("softmax", "sparse_categorical_crossentropy"),
}


@dataclass
class Network:
    """A chain of dense layers and a loss; ``weights`` is [w, b, w, b, …] as in Keras."""

    weights: list[Array]
    activations: Sequence[str]
    loss: str
    from_logits: bool = False

    def __post_init__(self) -> None:
        self.weights = [np.array(w, dtype=np.float64) for w in self.weights]

    def forward(self, x: ArrayLike) -> tuple[list[Array], list[Array]]:
        """Return the pre-activations z and the activations a of every layer; a[0] is the input."""
        zs, outputs = [], [np.asarray(x, dtype=np.float64)]
        for w, b, activation in zip(
            self.weights[::2], self.weights[1::2], self.activations, strict=True
        ):
            zs.append(outputs[-1] @ w + b)
            outputs.append(activate(zs[-1], activation))
        return zs, outputs

    def loss_and_grad(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, list[Array]]:
        """Return Σ weight · loss / m over the m rows, and its gradient for each array."""
        zs, outputs = self.forward(x)
        m = len(outputs[0])
        weight = np.ones(m) if sample_weight is None else np.asarray(sample_weight, np.float64)

        activations = list(self.activations)
        if (activations[-1], self.loss) in CANONICAL and not self.from_logits:
            rows, da = loss_rows(y, zs[-1], self.loss, from_logits=True)
            activations[-1] = "linear"
        else:
            rows, da = loss_rows(y, outputs[-1], self.loss, self.from_logits)
        da = da * weight[:, None] / m

        gradients: list[Array] = []
        for i in reversed(range(len(zs))):
            dz = activate_backward(da, zs[i], activations[i])
            gradients[:0] = [outputs[i].T @ dz, dz.sum(axis=0)]
            da = dz @ self.weights[2 * i].T
        return float((weight * rows).sum() / m), gradients

    def step(
        self,
        optimizer: SGD | Adam,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Do one optimizer step in place; return the loss before it."""
        loss, gradients = self.loss_and_grad(x, y, sample_weight)
        optimizer.update(self.weights, gradients)
        return loss


@dataclass
class SGD:
    """Keras' SGD with learning rate η, momentum μ, velocity v and gradient g.

    v ← μ·v − η·g; w ← w + v, or w + μ·v − η·g with Nesterov.
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    velocities: list[Array] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.velocities = self.velocities or [np.zeros_like(w) for w in weights]
        for w, v, g in zip(weights, self.velocities, gradients, strict=True):
            v[:] = self.momentum * v - self.learning_rate * g
            w += self.momentum * v - self.learning_rate * g if self.nesterov else v


@dataclass
class Adam:
    """Keras' Adam: the step size includes the bias corrections; ε is outside the square root."""

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    iterations: int = 0
    ms: list[Array] = field(default_factory=list)
    vs: list[Array] = field(default_factory=list)
    largest: list[Array] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.ms = self.ms or [np.zeros_like(w) for w in weights]
        self.vs = self.vs or [np.zeros_like(w) for w in weights]
        self.largest = self.largest or [np.zeros_like(w) for w in weights]
        self.iterations += 1
        t = self.iterations
        alpha = self.learning_rate * np.sqrt(1.0 - self.beta_2**t) / (1.0 - self.beta_1**t)
        state = zip(weights, self.ms, self.vs, self.largest, gradients, strict=True)
        for w, m, v, largest, g in state:
            m += (1.0 - self.beta_1) * (g - m)
            v += (1.0 - self.beta_2) * (g**2 - v)
            np.maximum(largest, v, out=largest)
            w -= alpha * m / (np.sqrt(largest if self.amsgrad else v) + self.epsilon)


@dataclass
class RMSprop:
    """Keras' RMSprop, with ε inside the square root."""

    learning_rate: float = 0.001
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    state: list[tuple[Array, Array, Array]] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.state = self.state or [(0 * w, 0 * w, 0 * w) for w in weights]
        for w, (v, b, mean), g in zip(weights, self.state, gradients, strict=True):
            v += (1.0 - self.rho) * (g**2 - v)
            mean += (1.0 - self.rho) * (g - mean)
            variance = v - mean**2 if self.centered else v
            b[:] = self.momentum * b + self.learning_rate * g / np.sqrt(variance + self.epsilon)
            w -= b


@dataclass
class Adagrad:
    """Keras' Adagrad."""

    learning_rate: float = 0.001
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7
    vs: list[Array] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.vs = self.vs or [np.full_like(w, self.initial_accumulator_value) for w in weights]
        for w, v, g in zip(weights, self.vs, gradients, strict=True):
            v += g**2
            w -= self.learning_rate * g / np.sqrt(v + self.epsilon)


@dataclass
class Lion:
    """Keras' Lion."""

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.99
    ms: list[Array] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.ms = self.ms or [np.zeros_like(w) for w in weights]
        for w, m, g in zip(weights, self.ms, gradients, strict=True):
            w -= self.learning_rate * np.sign(self.beta_1 * m + (1.0 - self.beta_1) * g)
            m[:] = self.beta_2 * m + (1.0 - self.beta_2) * g


@dataclass
class Adadelta:
    """Keras' Adadelta."""

    learning_rate: float = 0.001
    rho: float = 0.95
    epsilon: float = 1e-7
    state: list[tuple[Array, Array]] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.state = self.state or [(0 * w, 0 * w) for w in weights]
        for w, (v, u), g in zip(weights, self.state, gradients, strict=True):
            v[:] = self.rho * v + (1.0 - self.rho) * g**2
            d = g * np.sqrt(u + self.epsilon) / np.sqrt(v + self.epsilon)
            u[:] = self.rho * u + (1.0 - self.rho) * d**2
            w -= self.learning_rate * d


@dataclass
class Adamax:
    """Keras' Adamax: the step size includes the bias correction of m."""

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    iterations: int = 0
    state: list[tuple[Array, Array]] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.state = self.state or [(0 * w, 0 * w) for w in weights]
        self.iterations += 1
        alpha = self.learning_rate / (1.0 - self.beta_1**self.iterations)
        for w, (m, u), g in zip(weights, self.state, gradients, strict=True):
            m += (1.0 - self.beta_1) * (g - m)
            u[:] = np.maximum(self.beta_2 * u, np.abs(g))
            w -= alpha * m / (u + self.epsilon)


@dataclass
class Nadam:
    """Keras' Nadam: the momentum β₁ warms up as u_t."""

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    iterations: int = 0
    product: float = 1.0
    ms: list[Array] = field(default_factory=list)
    vs: list[Array] = field(default_factory=list)

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.ms = self.ms or [np.zeros_like(w) for w in weights]
        self.vs = self.vs or [np.zeros_like(w) for w in weights]
        self.iterations += 1
        t = self.iterations
        u, u_next = (self.beta_1 * (1.0 - 0.5 * 0.96**i) for i in (t, t + 1))
        self.product *= u
        for w, m, v, g in zip(weights, self.ms, self.vs, gradients, strict=True):
            m += (1.0 - self.beta_1) * (g - m)
            v += (1.0 - self.beta_2) * (g**2 - v)
            m_hat = u_next * m / (1.0 - self.product * u_next) + (1.0 - u) * g / (
                1.0 - self.product
            )
            v_hat = v / (1.0 - self.beta_2**t)
            w -= self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)
