"""Whether a case's goals are met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cases import Case


@dataclass(frozen=True)
class Verdict:
    """One number that has to be at least so large."""

    kind: str  # "best", "against" or "limit"
    what: str  # a peer's name or that of the limit
    measured: float | None
    required: float | None
    stretch: float | None = None


def word(measured: float | None, goal: float) -> str:
    if measured is None:
        return "not measured"
    return "met" if measured >= goal else "missed"


def verdicts(case: Case, microseconds: Mapping[str, float], limit: float | None) -> list[Verdict]:
    """Compare the times of a case with its goals.

    Parameters
    ----------
    case : Case
    microseconds : mapping
        Of nnfast and its peers.
    limit : float or None
        The time of the goal's limit, if it is known.
    """
    own, goal = microseconds["nnfast"], case.goal
    ratios = {name: us / own for name, us in microseconds.items() if name != "nnfast"}
    best = min(ratios, key=ratios.__getitem__, default=None)
    return [
        Verdict("best", best or "best", ratios[best] if best else None, goal.best, goal.stretch),
        *(
            Verdict("against", name, ratios.get(name), required)
            for name, required in goal.against.items()
        ),
        Verdict(
            "limit",
            goal.limit,
            None if limit is None else limit / own,
            goal.share,
            goal.stretch_share,
        ),
    ]
