"""Decides which, where and when, and reads the results.

``from orchestrator import plan, run, status, resubmit, show, query, thresholds, report, export``: the functions behind
the commands of the same names. Nothing is imported before it is asked for, so that a command line answers at once.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.analysis.thresholds import thresholds
    from orchestrator.driver.run import run
    from orchestrator.export import export
    from orchestrator.plan import plan
    from orchestrator.query import query
    from orchestrator.report import report
    from orchestrator.resubmit import resubmit
    from orchestrator.show import show
    from orchestrator.status import status

__all__ = ["export", "plan", "query", "report", "resubmit", "run", "show", "status", "thresholds"]


class _Function:
    """A function of a module below, imported when it is first asked for.

    All but ``run`` and ``thresholds`` are also the names of modules: importing one of those would set the attribute of
    the package to the module, which ``__set__`` therefore ignores. The module itself is reached as usual,
    ``from orchestrator.report import ...``.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __get__(self, package: ModuleType, kind: type | None = None) -> Any:
        return getattr(importlib.import_module(self.module), self.name)

    def __set__(self, package: ModuleType, value: object) -> None:
        pass


class _Package(ModuleType):
    export = _Function("orchestrator.export", "export")
    plan = _Function("orchestrator.plan", "plan")
    query = _Function("orchestrator.query", "query")
    report = _Function("orchestrator.report", "report")
    resubmit = _Function("orchestrator.resubmit", "resubmit")
    run = _Function("orchestrator.driver.run", "run")
    show = _Function("orchestrator.show", "show")
    status = _Function("orchestrator.status", "status")
    thresholds = _Function("orchestrator.analysis.thresholds", "thresholds")


sys.modules[__name__].__class__ = _Package
