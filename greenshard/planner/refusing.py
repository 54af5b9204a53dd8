"""Refusals as errors."""

from __future__ import annotations

from collections.abc import Iterable

from greenshard import errors
from greenshard.planner.plan import Plan, Refusal, Refused


def refusal_error(plan: Plan) -> errors.Error:
    """The error for a plan that refuses its statement."""
    step = plan.step
    if not isinstance(step, Refused):
        raise TypeError(f"{step.strategy} is no refusal")
    at = "" if step.position is None else f" at character {step.position + 1}"
    error = errors.refused(
        f"{step.message}{at}", code=step.code, hint=step.hint, pgcode=step.pgcode
    )
    error.refusals = plan.refusals
    return error


def reasons(refusals: Iterable[Refusal]) -> str:
    """Refusals in words, one a line."""
    return "\n".join(
        f"{each.strategy}: {each.reason}"
        + ("" if each.position is None else f" (character {each.position + 1})")
        for each in refusals
    )
