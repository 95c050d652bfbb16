"""Of a matrix of transfer: does it work within a category of tasks, and not across?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.analysis.answers import Replicate
from orchestrator.analysis.categories import difference
from orchestrator.analysis.contrast import Array, factors, labelled
from orchestrator.analysis.matrices import Matrix, category

_NAME = ("backbone", "family", "scale", "parameters", "method", "placement", "operations", "count", "variant")
CONTRAST = {
    **dict.fromkeys(_NAME, "string"),
    "parameters": "int64",
    "count": "int64",
    "within": "double",  # mean relative performance over pairs of different tasks of one category
    "across": "double",  # over pairs of two categories
    "difference": "double",
    "lower": "double",
    "upper": "double",
    "p": "double",  # one-sided, by dealing out the categories anew among the tasks
    "pairs_within": "int64",
    "pairs_across": "int64",
    "seeds": "int64",
    "tasks": "string",
    "notes": "string",
}


@dataclass(frozen=True)
class Within:
    """One matrix. ``name`` has the columns that its rows share, ``values`` the others of :data:`CONTRAST`."""

    name: dict[str, Any]
    values: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """A plain row, the columns of :data:`CONTRAST`."""
        return {column: (self.name | self.values).get(column) for column in CONTRAST}

    def __str__(self) -> str:
        count = None if self.name["count"] is None else f"{self.name['count']:,}"
        parts = (*(self.name[k] for k in ("backbone", "method", "placement", "operations")), count)
        label = " · ".join(filter(None, (*parts, self.name["variant"])))
        v = self.values
        if v["difference"] is None:
            return f"{label}: can't be told; {v['notes']}"
        ends = "" if v["lower"] is None else f" [{v['lower']:.3f}, {v['upper']:.3f}]"
        of = f"{v['pairs_within']} and {v['pairs_across']} pairs of {v['tasks']}, {v['seeds']} seeds"
        note = f"; {v['notes']}" if v["notes"] else ""
        return (
            f"{label}: within {v['within']:.3f}, across {v['across']:.3f}, difference {v['difference']:.3f}{ends}, "
            f"p over tasks {v['p']:.2g} ({of}){note}"
        )


def within(matrix: Matrix, alpha: float) -> Within:
    """Mean relative performance within categories less that across them.

    Args:
        matrix: of :func:`orchestrator.analysis.matrices.matrices`.
        alpha: one less the confidence of the interval.
    """
    known = {task: found for task in matrix.tasks if (found := category(task)) is not None}
    usable = {
        pair: {seeds: run for seeds, run in runs.items() if run.score is not None and run.reference}
        for pair, runs in matrix.pairs.items()
        if pair[0] != pair[1] and pair[0] in known and pair[1] in known
    }
    usable = {pair: runs for pair, runs in usable.items() if runs}
    same = [known[a] == known[b] for a, b in usable]
    counted = {"pairs_within": sum(same), "pairs_across": len(same) - sum(same), "tasks": ", ".join(known)}
    empty = dict.fromkeys(("within", "across", "difference", "lower", "upper", "p"))
    if not any(same) or all(same):
        which = "no two tasks of one category" if not any(same) else "no two categories"
        why = f"{which} have a score on each other with a reference"
        return Within(dict(matrix.name), {**empty, **counted, "seeds": 0, "notes": why})
    seeds, notes = _whole(usable)
    if not seeds:
        why = "no seed has a score and a reference in every cell: run what is missing"
        return Within(dict(matrix.name), {**empty, **counted, "seeds": 0, "notes": why})
    tasks = list(known)
    rows = [matrix.test_rows(task) for task in tasks]
    if None in rows:
        notes.append("the number of test rows isn't known of every task: their luck isn't counted")
    scores, references = (_array(usable, tasks, seeds, side) for side in (0, 1))
    sizes = np.array([float(n or 10**9) for n in rows])
    by = labelled(seeds, factors(seeds))
    told = difference(scores, references, [known[t] for t in tasks], sizes, by, alpha)
    if told.lower is None:
        notes.append("one seed: its luck isn't known, run 3 or more")
    named = ("within", "across", "difference", "lower", "upper", "p")
    values = {name: getattr(told, name) for name in named}
    return Within(dict(matrix.name), {**values, **counted, "seeds": len(seeds), "notes": "; ".join(notes) or None})


def _whole(usable: dict[tuple[str, str], Any]) -> tuple[list[Replicate], list[str]]:
    """The seeds that have every cell, and what is said of the others."""
    every = {seeds: None for runs in usable.values() for seeds in runs}
    whole = [seeds for seeds in every if all(seeds in runs for runs in usable.values())]
    lost = len(every) - len(whole)
    return whole, [f"{lost} of {len(every)} seeds lack a cell, left out"] if lost else []


def _array(usable: dict[tuple[str, str], Any], tasks: Sequence[str], seeds: Sequence[Replicate], side: int) -> Array:
    """[seeds, tasks, tasks] of scores or references, NaN where there is none."""
    found = np.full((len(seeds), len(tasks), len(tasks)), np.nan)
    for (source, target), runs in usable.items():
        for i, name in enumerate(seeds):
            found[i, tasks.index(source), tasks.index(target)] = runs[name][side]
    return found
