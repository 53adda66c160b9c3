"""Who takes part: each contender's name, what it needs, and its classes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import predictors
import trainers
from cases import Case
from numpy.typing import NDArray


class Contender(Protocol):
    """What trains or predicts."""

    def reset(self) -> None:
        """Go back to the start."""

    def proof(self) -> NDArray[Any]:
        """Return what all contenders must agree on: the first losses, or the outputs."""

    def run(self, times: int) -> None:
        """Train for some epochs or predict some times: the thing that is timed."""


@dataclass(frozen=True)
class Peer:
    """A library in one of its ways: the packages it needs, and its classes."""

    packages: dict[str, str]  # module: distribution
    trainer: type[Any] | None
    predictor: type[Any] | None
    only_dense: bool = False

    def of(self, case: Case) -> type[Any] | None:
        """Return the class that takes part in a case, or None."""
        if self.only_dense and not case.dense:
            return None
        return self.trainer if case.training else self.predictor

    @property
    def missing(self) -> list[str]:
        return [d for m, d in self.packages.items() if importlib.util.find_spec(m) is None]


TORCH = {"torch": "torch"}
ONNX = {"onnxruntime": "onnxruntime", "onnx": "onnx"}
PEERS = {
    "nnfast": Peer({"nnfast": "nnfast"}, trainers.NNFast, predictors.NNFast),
    "numpy": Peer({"numpy": "numpy"}, trainers.NumPy, predictors.NumPy, True),
    "sklearn": Peer(
        {"sklearn": "scikit-learn"}, trainers.ScikitLearn, predictors.ScikitLearn, True
    ),
    "torch": Peer(TORCH, trainers.PyTorch, predictors.PyTorch),
    "torch-compile": Peer(TORCH, trainers.CompiledPyTorch, predictors.CompiledPyTorch),
    "jax": Peer({"jax": "jax", "optax": "optax"}, trainers.JAX, predictors.JAX),
    "onnxruntime": Peer(ONNX, None, predictors.OnnxRuntime, True),
}


def installed(names: Sequence[str]) -> list[str]:
    """Return those of `names` whose packages are there, and say which are not."""
    for name in names:
        if missing := PEERS[name].missing:
            print(f"{name}: left out, {', '.join(missing)} not installed", file=sys.stderr)
    return [name for name in names if not PEERS[name].missing]


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the version of each distribution that `names` need."""
    found = {}
    for name in names:
        for distribution in PEERS[name].packages.values():
            found[distribution] = importlib.metadata.version(distribution)
    return found
