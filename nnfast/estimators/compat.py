"""The undocumented functions and version-dependent options of scikit-learn and SciPy in use."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import scipy
from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call as first_call_of_partial_fit
from sklearn.utils.validation import _check_sample_weight as check_sample_weight, validate_data

__all__ = [
    "Interval",
    "Options",
    "StrOptions",
    "check_sample_weight",
    "first_call_of_partial_fit",
    "fit_context",
    "lbfgs_verbosity",
    "one_blas_thread",
    "validate_data",
    "validate_parameters",
]


def validate_parameters(estimator: Any) -> None:
    """Raise scikit-learn's error if a parameter violates its constraints."""
    estimator._validate_params()


def lbfgs_verbosity(verbose: int) -> dict[str, Any]:
    """Return the option of SciPy's L-BFGS-B for printing progress; empty for SciPy 1.15 and later.

    Examples
    --------
    >>> set(lbfgs_verbosity(0)) <= {"iprint"}
    True
    """
    major, minor = (int(part) for part in scipy.__version__.split(".")[:2])
    return {"iprint": 1 if verbose else -1} if (major, minor) < (1, 15) else {}


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context manager that limits BLAS to one thread.

    Otherwise the thread pools of BLAS and of the engine would compete for the cores.

    Examples
    --------
    >>> with one_blas_thread():
    ...     pass
    """
    try:
        from sklearn.utils.parallel import _get_threadpool_controller
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = _get_threadpool_controller().limit(
        limits=1, user_api="blas"
    )
    return limits
