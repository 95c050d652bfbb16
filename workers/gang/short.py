"""Memory that ran out where a rank can't go on alone: the others wait inside a collective call for what it won't do."""

from __future__ import annotations

from typing import Any


class ShortOfMemory(Exception):
    """The gang has to begin anew with less: no fault of the trials, and it costs none of their attempts.

    Args:
        limits: plain JSON values, what the worker's ``run`` is to be called with next; smaller than those before.
    """

    def __init__(self, limits: dict[str, Any]) -> None:
        super().__init__(f"out of memory; to be tried with {limits}")
        self.limits = limits
