"""All that is wrong with a cluster file, at once, offline."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.clusters.file import ClusterFile
from orchestrator.clusters.finding import ERROR, Case, Finding
from orchestrator.clusters.rules import rules

if TYPE_CHECKING:
    from orchestrator.clusters.holdings import Holding
    from trials.sweep.sweep import Sweep


@dataclass(frozen=True)
class Checked:
    """What is wrong with a file, and which node types hold a sweep.

    Args:
        path: of the file, as given.
        findings: by line.
        holdings: of the sweep, none where none was given.
        head_price: $ an hour of the head, 0 where that isn't known.
    """

    path: str
    findings: tuple[Finding, ...]
    holdings: tuple[Holding, ...]
    head_price: float

    @property
    def errors(self) -> int:
        """How many of the findings are errors."""
        return sum(one.level == ERROR for one in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "file": self.path,
            "findings": [vars(one) for one in self.findings],
            "holdings": [one.to_dict() for one in self.holdings],
            "head_price": self.head_price or None,
        }


def check(path: str, sweep: Sweep | None = None, store: str | None = None) -> Checked:
    """Check a file for whoever runs this, in the current folder.

    Args:
        path: of the cluster file.
        sweep: what is to run on it; None: nothing is said about that.
        store: where results are to go; None: likewise.

    Raises:
        ApetError: no such file, or no YAML; a sweep whose resources exclude each other.
    """
    from orchestrator.clusters.holdings import holdings

    file = ClusterFile.load(path)
    held = () if sweep is None else holdings(file, sweep)
    name = None if sweep is None else sweep.name
    case = Case(file, Path.cwd(), Path.home(), os.environ, store, name, held)
    return Checked(path, findings(case), held, file.head.price if file.head else 0.0)


def findings(case: Case) -> tuple[Finding, ...]:
    """What all rules find, by line, errors first on the same line.

    What is said of several node types in one line, which an anchor gives to all of them, is said once.
    """
    found: dict[tuple[int, str, str, str, str], dict[str, None]] = defaultdict(dict)
    for name, rule in rules().items():
        for one in rule(case):
            found[case.file.where(*one.path), one.level, name, one.said, one.mend][one.node_type] = None
    return tuple(
        Finding(line, level, rule, f"{', '.join(filter(None, types))}: {said}" if any(types) else said, mend)
        for (line, level, rule, said, mend), types in sorted(found.items())
    )
