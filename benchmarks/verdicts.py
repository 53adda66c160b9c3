"""Verdicts: whether a case meets its goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cases import Case


@dataclass(frozen=True)
class Verdict:
    """A measured ratio and its required minimum values."""

    kind: str  # "best", "against" or "limit"
    what: str  # name of the peer or of the limit
    measured: float | None  # None if the peer or the limit was not measured
    required: float | None
    stretch: float | None = None


def outcome(measured: float | None, goal: float) -> str:
    if measured is None:
        return "not measured"
    return "met" if measured >= goal else "missed"


def verdicts(case: Case, microseconds: Mapping[str, float], limit: float | None) -> list[Verdict]:
    """Return the verdicts for a case, which compare its times with its goals.

    If one of the goals `best` and `share` is enough and is met, the other one is not required.

    Parameters
    ----------
    case : Case
    microseconds : mapping
        The times of nnfast and its peers, with their names as keys.
    limit : float or None
        The time of the goal's limit in microseconds, or None if it is unknown.
    """
    nnfast, goal = microseconds["nnfast"], case.goal
    ratios = {name: us / nnfast for name, us in microseconds.items() if name != "nnfast"}
    best = min(ratios, key=ratios.__getitem__, default=None)
    ratio = ratios[best] if best else None
    share = None if limit is None else limit / nnfast
    required, required_share = goal.best, goal.share
    if goal.either and outcome(ratio, goal.best or 0.0) == "met":
        required_share = None
    elif goal.either and outcome(share, goal.share or 0.0) == "met":
        required = None
    return [
        Verdict("best", best or "best", ratio, required, goal.stretch),
        *(
            Verdict("against", name, ratios.get(name), required)
            for name, required in goal.against.items()
        ),
        Verdict("limit", goal.limit, share, required_share, goal.stretch_share),
    ]
