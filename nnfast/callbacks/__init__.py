"""Callbacks for training, evaluation and prediction, which are called as in Keras.

Callbacks without batch methods cost nothing per batch. A callback that overrides a batch method
makes training, evaluation or prediction run one batch at a time.
"""

from nnfast.callbacks.backup import (
    BackupAndRestore,
)
from nnfast.callbacks.callback import (
    Callback,
    Logs as Logs,
)
from nnfast.callbacks.callback_list import (
    CallbackList,
)
from nnfast.callbacks.checkpoint import (
    ModelCheckpoint,
)
from nnfast.callbacks.early_stopping import (
    EarlyStopping,
)
from nnfast.callbacks.history import (
    History,
)
from nnfast.callbacks.learning_rate import (
    LearningRateScheduler,
    ReduceLROnPlateau,
)
from nnfast.callbacks.logging import (
    CSVLogger,
    LambdaCallback,
    ProgbarLogger,
    TerminateOnNaN,
)
from nnfast.callbacks.tensorboard import (
    TensorBoard,
)

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
