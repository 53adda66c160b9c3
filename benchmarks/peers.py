"""The contenders: their names, required packages and classes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax_trainers
import policies
import predictors
import torch_trainers
import trainers
from cases import Case
from numpy.typing import NDArray


class Contender(Protocol):
    """A program that trains or predicts with one library."""

    def reset(self) -> None:
        """Restore the initial state."""

    def check_values(self) -> NDArray[Any]:
        """Return the values on which all contenders must agree: the first losses or the outputs."""

    def run(self, repeats: int) -> None:
        """Train for `repeats` epochs or predict `repeats` times; this call is timed."""


@dataclass(frozen=True)
class Peer:
    """A library in one configuration: the packages that it needs, and its contender classes."""

    packages: dict[str, str]  # module name → distribution name
    trainer: type[Any] | None
    predictor: type[Any] | None
    supports: Callable[[Case], bool] = lambda case: True
    policy: type[Any] | None = None

    def of(self, case: Case) -> type[Any] | None:
        """Return the contender's class for a case; None if the peer does not support the case."""
        if not self.supports(case):
            return None
        if case.stateful:
            return self.policy
        return self.trainer if case.training else self.predictor

    @property
    def missing(self) -> list[str]:
        return [d for m, d in self.packages.items() if importlib.util.find_spec(m) is None]


def dense(case: Case) -> bool:
    return case.dense


def dense_chain(case: Case) -> bool:
    return case.dense and case.network.is_chain


def dense_or_sequences(case: Case) -> bool:
    return case.dense or case.has_sequences


def has_sequences(case: Case) -> bool:
    return case.has_sequences


TORCH = {"torch": "torch"}
ONNX = {"onnxruntime": "onnxruntime", "onnx": "onnx"}
JAX = {"jax": "jax", "optax": "optax"}
PEERS = {
    "nnfast": Peer(
        {"nnfast": "nnfast"}, trainers.NNFast, predictors.NNFast, policy=policies.NNFast
    ),
    "numpy": Peer({"numpy": "numpy"}, trainers.NumPy, predictors.NumPy, dense),
    "sklearn": Peer(
        {"sklearn": "scikit-learn"}, trainers.ScikitLearn, predictors.ScikitLearn, dense_chain
    ),
    "torch": Peer(TORCH, torch_trainers.PyTorch, predictors.PyTorch, policy=policies.PyTorch),
    "torch-compile": Peer(TORCH, torch_trainers.CompiledPyTorch, predictors.CompiledPyTorch),
    "jax": Peer(JAX, jax_trainers.JAX, predictors.JAX),
    "keras": Peer(
        {"keras": "keras", "jax": "jax"}, trainers.Keras, predictors.Keras, has_sequences
    ),
    "onnxruntime": Peer(
        ONNX, None, predictors.OnnxRuntime, dense_or_sequences, policies.OnnxRuntime
    ),
}


def installed(names: Sequence[str]) -> list[str]:
    """Return the names of the installed peers; print the missing packages of the other peers."""
    for name in names:
        if missing := PEERS[name].missing:
            print(f"{name}: skipped, {', '.join(missing)} not installed", file=sys.stderr)
    return [name for name in names if not PEERS[name].missing]


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the version of each distribution that the named peers need."""
    found = {}
    for name in names:
        for distribution in PEERS[name].packages.values():
            found[distribution] = importlib.metadata.version(distribution)
    return found
