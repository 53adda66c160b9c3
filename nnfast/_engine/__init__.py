"""The compiled engine. Only this module chooses which variant runs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from typing import TYPE_CHECKING

import numpy as np

if importlib.util.find_spec(f"{__name__}.core") is None:
    raise ImportError(
        f"nnfast was imported from {os.path.dirname(os.path.dirname(__file__))}, where its "
        "compiled modules are not. If that is a checkout, start Python in another folder to use "
        "the nnfast that is installed, or build here: python setup.py build_ext --inplace"
    )

from nnfast._engine import core
from nnfast._engine.core import (
    ACTIVATIONS,
    AXES,
    BORDERS,
    CELLS,
    CONSTRAINTS,
    LOSSES,
    NEEDS_PREACTIVATION,
    NONFINITE,
    OK,
    OPS,
    OPTIMIZERS,
    PRIMITIVES,
    REDUCTIONS,
    RESAMPLINGS,
    Data,
    Guard,
    Hold,
    Snapshot,
    WeightArray,
    allocation_count,
    fail_allocation,
    find_wrong_id,
    force_threads,
    in_range,
    weight_arrays,
)
from nnfast._engine.machine import cgroup, cpu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnfast._engine.core import Tables

__all__ = [
    "ACTIVATIONS",
    "AXES",
    "BORDERS",
    "CELLS",
    "CONSTRAINTS",
    "LOSSES",
    "NEEDS_PREACTIVATION",
    "NONFINITE",
    "OK",
    "OPS",
    "OPTIMIZERS",
    "PRIMITIVES",
    "REDUCTIONS",
    "RESAMPLINGS",
    "Data",
    "Engine",
    "Guard",
    "Hold",
    "Snapshot",
    "WeightArray",
    "allocation_count",
    "core",
    "fail_allocation",
    "find_wrong_id",
    "force_threads",
    "get_num_threads",
    "in_range",
    "set_num_threads",
    "show_config",
    "weight_arrays",
]

ISAS = ("avx512", "avx2", "base")  # widest first


def _is_built(isa: str) -> bool:
    """Return whether both variants of an instruction set are built."""
    names = (f"{__name__}.variants.{isa}_{real}" for real in ("f32", "f64"))
    return all(importlib.util.find_spec(name) is not None for name in names)


def _choose() -> str:
    """Return the instruction set that NNFAST_ISA names, or the widest one that can run here."""
    usable = [isa for isa in cpu.supported() if _is_built(isa)]
    if not usable:
        raise ImportError(
            f"This build of nnfast has no variant for this processor, which supports "
            f"{', '.join(cpu.supported())}; built for float32 and float64 is "
            f"{', '.join(filter(_is_built, ISAS)) or 'none'}: build it again without NNFAST_BUILD"
        )
    wanted = os.environ.get("NNFAST_ISA")
    if not wanted:
        return usable[0]
    if wanted not in ISAS:
        raise ImportError(f"NNFAST_ISA={wanted!r} is unknown, expected one of {', '.join(ISAS)}")
    if wanted not in usable:
        raise ImportError(
            f"NNFAST_ISA={wanted!r} cannot be used here: this processor and this build "
            f"support {', '.join(usable)}"
        )
    return wanted


_isa = _choose()
_variants = [f"{__name__}.variants.{_isa}_{real}" for real in ("f32", "f64")]
_tables = [importlib.import_module(name).table for name in _variants]
core.install(*_tables)
if "OMP_NUM_THREADS" not in os.environ:
    core.set_machine_threads(cgroup.cpu_limit() or 0)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=core.before_fork, after_in_child=core.after_fork)


class Engine(core.Engine):
    """A compiled model; api/engine.pxi documents the methods."""

    def __init__(
        self,
        plan: Tables,
        dtype: str,
        arrays: Sequence[WeightArray | None] | None = None,
        like: Engine | None = None,
    ) -> None:
        super().__init__(plan, dtype, arrays, like)
        # Shapes of one sample, kept here because another thread may replace the model's engine.
        self.input_shapes, self.output_shapes = plan.input_shapes, plan.output_shapes
        # Whether every output of a sample is a vector, so that predictions need no reshaping.
        self.plain_rows = all(len(shape) == 1 for shape in plan.output_shapes)

    @property
    def weights(self) -> np.ndarray:
        """Parameters, then the weights that are never trained: shape (n_weights,), writable.

        Arrays that were given to the engine are not part of this memory.
        """
        weights: np.ndarray = np.asarray(super().weights)[0]
        return weights

    @property
    def params(self) -> np.ndarray:
        """Parameters: shape (n_params,), writable."""
        return self.weights[: self.grads.size]

    @property
    def grads(self) -> np.ndarray:
        """Gradients: shape (n_params,), valid until the next `loss_and_grad` or `run`."""
        grads: np.ndarray = np.asarray(super().grads)[0]
        return grads

    @property
    def slots(self) -> np.ndarray:
        """Optimizer slots: shape (n_slots, n_params), writable."""
        slots: np.ndarray = np.asarray(super().slots)[:, : self.grads.size]
        return slots


def set_num_threads(n: int | None) -> None:
    """Limit the number of threads per call.

    Results do not depend on this limit. `Sequential.n_threads` sets a stricter limit for a single
    model. If the system cannot start that many threads, because it limits processes or memory, a
    call uses fewer.

    Parameters
    ----------
    n : int or None
        At least 1; None: as many as OpenMP and the machine allow.

    Raises
    ------
    TypeError, ValueError
        If `n` is not a positive integer or None.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.set_num_threads(1)
    >>> nnfast.get_num_threads()
    1
    >>> nnfast.set_num_threads(None)
    """
    if n is None:
        core.set_threads(0)
        return
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool):
        raise TypeError(f"n: expected a positive integer or None, got {n!r}")
    if n < 1:
        raise ValueError(f"n: expected a positive integer or None, got {n}")
    core.set_threads(min(int(n), 2**15))


def get_num_threads() -> int:
    """Return the maximum number of threads per call.

    Returns
    -------
    int
        The limit set by `set_num_threads`. If there is none, the CPU quota of the process's control
        group applies, unless OMP_NUM_THREADS is set. The result is never more than OpenMP allows
        (OMP_NUM_THREADS, threadpoolctl, the process's affinity).
    """
    return int(core.get_threads())


def show_config() -> dict[str, object]:
    """Print and return the version, the instruction set in use and how nnfast was built.

    Returns
    -------
    dict
        version, isa, isas_built, isas_supported, vector_bits, openmp, threads, compiler, python,
        numpy, machine.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.show_config()["version"] == nnfast.__version__  # doctest: +ELLIPSIS
    version ...
    True
    """
    from nnfast._version import __version__

    built = core.describe(_tables[0])
    config: dict[str, object] = {
        "version": __version__,
        "isa": _isa,
        "isas_built": [isa for isa in ISAS if _is_built(isa)],
        "isas_supported": cpu.supported(),
        "vector_bits": 8 * built["vector_bytes"],
        "openmp": built["openmp"],
        "threads": get_num_threads(),
        "compiler": core.COMPILER,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
    for key, value in config.items():
        print(key, ", ".join(value) if isinstance(value, list) else value)
    return config
