"""Decides which, where and when, and reads the results.

``from orchestrator import plan, run, thresholds, report``: the functions behind the commands, those of
:mod:`orchestrator.api`. That is imported when the first of them is asked for, so that a command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import (
        convergence,
        dispersion,
        export,
        plan,
        query,
        report,
        resubmit,
        run,
        show,
        status,
        thresholds,
        transfer,
    )

__all__ = [
    "convergence",
    "dispersion",
    "export",
    "plan",
    "query",
    "report",
    "resubmit",
    "run",
    "show",
    "status",
    "thresholds",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    return getattr(import_module("orchestrator.api"), name)
