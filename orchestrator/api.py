"""The functions behind the commands, for notebooks: ``from orchestrator import plan`` is ``orchestrator.api.plan``.

No module of this package has the name of one of them, so that importing a module never hides a function.
"""

from __future__ import annotations

from orchestrator.analysis.convergence import convergence
from orchestrator.analysis.dispersion.dispersion import dispersion
from orchestrator.analysis.thresholds import thresholds
from orchestrator.analysis.transfer import transfer
from orchestrator.driver.run import run
from orchestrator.planning.plan import plan
from orchestrator.reporting.report import report
from orchestrator.results.export import export
from orchestrator.results.query import query
from orchestrator.results.resubmit import resubmit
from orchestrator.results.show import show
from orchestrator.results.status import status

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
