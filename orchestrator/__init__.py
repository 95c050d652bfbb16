"""Decides which, where and when, and reads the results.

``from orchestrator import plan, run, resubmit, thresholds, report, export``: the functions behind the commands of
the same names. Nothing is imported before it is asked for, so that a command line answers at once.
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
    from orchestrator.report import report
    from orchestrator.resubmit import resubmit

__all__ = ["export", "plan", "report", "resubmit", "run", "thresholds"]


class _Function:
    """A function of a module below, imported when it is first asked for.

    ``export``, ``plan``, ``report`` and ``resubmit`` are also the names of modules: importing one of those would set
    the attribute of the package to the module, which ``__set__`` therefore ignores. The module itself is
    reached as usual, ``from orchestrator.report import ...``.
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
    report = _Function("orchestrator.report", "report")
    resubmit = _Function("orchestrator.resubmit", "resubmit")
    run = _Function("orchestrator.driver.run", "run")
    thresholds = _Function("orchestrator.analysis.thresholds", "thresholds")


sys.modules[__name__].__class__ = _Package
