"""Refusals as errors."""

from __future__ import annotations

from collections.abc import Iterable

from greenshard import errors
from greenshard.planner.plan import Refusal, Refused


def refusal_error(step: Refused, refusals: tuple[Refusal, ...]) -> errors.Error:
    """The error for a statement that is refused.

    Args:
        step: The refusal.
        refusals: Why no strategy could do it.
    """
    at = "" if step.position is None else f" at character {step.position + 1}"
    error = errors.refused(
        f"{step.message}{at}", code=step.code, hint=step.hint, pgcode=step.pgcode
    )
    error.refusals = refusals
    return error


def reasons(refusals: Iterable[Refusal]) -> str:
    """Refusals in words, one a line."""
    return "\n".join(
        f"{each.strategy}: {each.reason}"
        + ("" if each.position is None else f" (character {each.position + 1})")
        for each in refusals
    )
