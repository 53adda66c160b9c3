from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray


Array = NDArray[Any]
Doubles = NDArray[np.float64]

COMPILER: Final[str]
OPS: Final[dict[str, OpTraits]]
ACTIVATIONS: Final[dict[str, int]]
CONSTRAINTS: Final[dict[str, int]]
AXES: Final[dict[str, int]]
BORDERS: Final[dict[str, int]]
CELLS: Final[dict[str, int]]
RESAMPLINGS: Final[dict[str, int]]
LOSSES: Final[dict[str, int]]
REDUCTIONS: Final[dict[str, int]]
OPTIMIZERS: Final[dict[str, int]]
PRIMITIVES: Final[dict[str, int]]
NEEDS_PREACTIVATION: Final[set[str]]
OK: Final[int]
NONFINITE: Final[int]

class OpTraits(Protocol):
    """The traits of an op in the ops table; see the struct in program.pxd."""

    kind: int
    applies_activation: bool
    is_activation: bool
    training_only: bool
    elementwise: bool
    last_axis: bool
    fuses_relu_backward: bool
    passes_gradient: bool
    stops_gradient: bool
    reads_x2: bool
    splits_k: bool
    works_in_place: bool
    ignores_x: bool
    ignores_y: bool
    copies_images: bool
    repeats_channels: bool
    numbers_per_line: int
    channel_statistics: int
    feature_statistics: int
    sample_statistics: int
    sample_channel_statistics: int
    keeps_steps: bool

def install(float32: object, float64: object) -> None: ...
def describe(table: object) -> dict[str, Any]: ...
def set_threads(n: int) -> int: ...
def set_machine_threads(n: int) -> None: ...
def get_threads() -> int: ...
def force_threads(n: int) -> None: ...
def allocation_count() -> int: ...
def fail_allocation(n: int) -> None: ...
def set_pass_seconds(seconds: float) -> float: ...
def poison(on: bool) -> None: ...
def before_fork() -> None: ...
def after_fork() -> None: ...

class OpTable(Protocol):
    """The ops for one kind of pass."""

    @property
    def ops(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def width(self) -> int: ...
    @property
    def n_values(self) -> int: ...
    @property
    def inputs(self) -> list[int]: ...
    @property
    def input_strides(self) -> list[int]: ...
    @property
    def input_columns(self) -> list[int]: ...
    @property
    def outputs(self) -> list[int]: ...
    @property
    def input_gradients(self) -> list[int]: ...
    @property
    def output_gradients(self) -> list[int]: ...
    @property
    def single_reader(self) -> bool: ...
    @property
    def shares_parameters(self) -> bool: ...

class Tables(Protocol):
    """The part of a plan from which an engine is built."""

    @property
    def input_shapes(self) -> list[tuple[int, ...]]: ...
    @property
    def output_shapes(self) -> list[tuple[int, ...]]: ...
    @property
    def inputs(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def outputs(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def ids(self) -> list[list[tuple[int, int, int]] | None]: ...
    @property
    def n_params(self) -> int: ...
    @property
    def n_weights(self) -> int: ...
    @property
    def n_stats(self) -> int: ...
    @property
    def training(self) -> OpTable: ...
    @property
    def input_gradient(self) -> OpTable: ...
    @property
    def inference(self) -> OpTable: ...
    @property
    def arrays(self) -> Sequence[Mapping[str, Any]]: ...

class Guard:
    def __init__(self) -> None: ...
    @property
    def held(self) -> bool: ...
    @property
    def held_elsewhere(self) -> bool: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, error: object, traceback: object) -> None: ...

class Buffer: ...

class WeightArray:
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Hold:
    def __init__(self, arrays: list[WeightArray]) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, error: object, traceback: object) -> None: ...

def weight_arrays(sizes: list[int], dtype: str) -> list[WeightArray]: ...

class Data:
    def __init__(
        self,
        x: Any,
        y: Sequence[Array | None] | Array | None = None,
        sample_weight: Sequence[Doubles | None] | Doubles | None = None,
        targets: object = ...,
    ) -> None: ...

class Engine:
    iterations: int
    batch: int
    epoch: int
    n_threads: int
    optimizer_version: int
    version: int
    def __init__(
        self,
        plan: Tables,
        dtype: str,
        arrays: Sequence[WeightArray | None] | None = None,
        like: Engine | None = None,
    ) -> None: ...
    @property
    def arrays(self) -> list[WeightArray]: ...
    @property
    def changed(self) -> list[WeightArray]: ...
    @property
    def weights(self) -> Any: ...
    @property
    def grads(self) -> Any: ...
    @property
    def slots(self) -> Any: ...
    @property
    def team(self) -> int: ...
    @property
    def has_average(self) -> bool: ...
    def set_seed(self, seed: int) -> None: ...
    def new_heads(self) -> Buffer: ...
    def new_loss_parameters(
        self, parameters: tuple[tuple[float, ...], ...], head: int = ...
    ) -> Buffer: ...
    def set_loss(
        self,
        kind: int,
        fused: bool,
        parameters: tuple[tuple[float, ...], ...] | Buffer = ...,
        target_scale: float = ...,
        target_offset: float = ...,
        function: object = ...,
        *,
        value_scale: float = ...,
        gradient_scale: float = ...,
        limit: float = ...,
        reduction: int = ...,
        weighted_mean: bool = ...,
        head: int = ...,
        loss_weight: float = ...,
        heads: Buffer | None = None,
    ) -> None: ...
    def set_optimizer(
        self,
        kind: int,
        n_slots: int,
        hyper: tuple[float, ...],
        weight_decay: float = ...,
        clip_value: float = ...,
        clip_norm: float = ...,
        global_norm: float = ...,
        ema_momentum: float = ...,
        ema_period: float = ...,
        *,
        keep_state: bool = ...,
    ) -> None: ...
    def replan(self, plan: Tables) -> None: ...
    def run(
        self,
        data: Data,
        batch_size: int,
        shuffle: bool,
        lr: Doubles,
        losses: Doubles,
        outputs: list[Array] | Array | None = None,
        seconds: float = ...,
        first_row: int = ...,
        supplied: bool = ...,
    ) -> tuple[int, int]: ...
    def predict(self, x: object) -> Any: ...
    def call(self, x: object) -> Any: ...
    def forward(self, data: Data, out: list[Array] | Array, first_row: int = ...) -> None: ...
    def evaluate(
        self,
        data: Data,
        outputs: list[Array] | Array | None = None,
        version: int = ...,
        losses: Doubles | None = None,
        first_row: int = ...,
    ) -> float: ...
    def loss_and_grad(self, data: Data) -> float: ...
    def loss_and_gradient(self, data: Data, version: int = ...) -> tuple[float, Array]: ...
    def input_gradient(
        self, data: Data, out: list[Array] | Array, version: int = ...
    ) -> None: ...

class PassTrial:
    def __init__(self) -> None: ...
    def choose(self, threads: int, now: float) -> int: ...
    def note(self, threads: int, seconds: float, flops: float, now: float) -> None: ...

class Snapshot:
    next_copy: float
    next_check: float
    def __init__(self, engine: Engine) -> None: ...
    @property
    def iterations(self) -> int: ...
    def take(self) -> None: ...
    def is_suspect(self, always: bool) -> bool: ...
    def restore(self) -> bool: ...
    def release(self) -> None: ...

def dense_forward(
    x: Array, w: Array, b: Array, activation: int, alpha: float, out: Array
) -> None: ...
def dense_backward(
    dout: Array,
    x: Array,
    w: Array,
    out: Array,
    z: Array,
    activation: int,
    alpha: float,
    dx: Array,
    dw: Array,
    db: Array,
) -> None: ...
def activation_forward(x: Array, activation: int, alpha: float, out: Array) -> None: ...
def activation_backward(
    dout: Array, out: Array, x: Array, activation: int, alpha: float, dx: Array
) -> None: ...
def loss(
    kind: int,
    parameters: tuple[tuple[float, ...], ...],
    y_true: Array,
    y_pred: Array,
    weight: Doubles,
    gradient: Array,
) -> float: ...
def find_wrong_id(array: Array, columns: list[tuple[int, int, int]]) -> int: ...
def in_range(array: Array, low: float, high: float) -> bool: ...
def optimizer_step(
    kind: int,
    n_slots: int,
    hyper: tuple[float, ...],
    lr: float,
    weight_decay: float,
    clip_value: float,
    ema_momentum: float,
    iteration: int,
    params: Array,
    grads: Array,
    slots: Array,
) -> None: ...
def primitive(which: int, x: Array, y: Array) -> None: ...
