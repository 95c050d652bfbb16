"""Memory that ran out where a rank can't go on alone: the others wait inside a collective call for what it won't do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trials.failures import InfrastructureError


class ShortOfMemory(InfrastructureError):
    """The gang has to begin anew with less, from checkpoints: no fault of the trials, and no failed attempt at them.

    Args:
        limits: plain JSON values, what the worker's ``run`` is to be called with next, for the trials that are left;
            smaller than those before.
        reason: what ran out.
    """

    def __init__(self, limits: Mapping[str, Any], reason: str = "out of memory") -> None:
        super().__init__(f"{reason}; to be tried with {limits}")
        self.limits = dict(limits)
