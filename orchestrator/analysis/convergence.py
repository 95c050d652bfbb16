"""Convergence: how many steps a run takes to a share of full fine-tuning's score, by position seed and scale.

The score to reach is ``share`` of the best validation score of full fine-tuning, the mean over its runs, at its
learning rate best on validation. It is a share of the score and not of the gain over chance, as in the paper: where
that asks for no more than learning nothing scores, nothing is said. Full fine-tuning is looked for in the whole store:
runs of the same backbone, task, head, labels and training settings (:func:`trials.keys.setting`).
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.asked import asked, check_level
from orchestrator.analysis.failed import by_class
from orchestrator.analysis.flat import read, to_arrow
from orchestrator.analysis.paces import Pace, paces
from orchestrator.analysis.pacing import SUMMARY, Summary, summaries
from orchestrator.analysis.table import WIDTH
from orchestrator.analysis.targets import COLUMNS, READ, runs
from orchestrator.text import number, table
from trials.errors import ApetError

if TYPE_CHECKING:
    import pyarrow as pa

    from trials.store.store import Store


_WHOSE = ("backbone", "task", "method", "placement", "variant")


@dataclass(frozen=True)
class Convergence:
    """How soon each run reached its target, and what that says of its cell and of the scales.

    Args:
        runs: rows with the columns of :data:`orchestrator.analysis.targets.COLUMNS`, one a run.
        summaries: one a cell, over its seeds.
        paces: between two scales of a family.
        share: of full fine-tuning's score that was to be reached.
        alpha: one less the confidence of the intervals.
        notes: on the whole selection.
    """

    runs: tuple[Mapping[str, Any], ...]
    summaries: tuple[Summary, ...]
    paces: tuple[Pace, ...]
    share: float
    alpha: float
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One plain row a run, the columns of :data:`COLUMNS`."""
        return [dict(run) for run in self.runs]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table, typed also when it is empty."""
        return to_arrow(self.rows(), COLUMNS)

    def render(self) -> str:
        """The summaries as aligned text, what differs between scales, and notes."""
        return _render(self)


def convergence(
    trials: Store | pa.Table,
    curves: pa.Table | None = None,
    *,
    where: str | None = None,
    share: float = 0.9,
    alpha: float = 0.05,
) -> Convergence:
    """Steps to a share of full fine-tuning's validation score, of every run with the learning rate that was chosen.

    Args:
        trials: a store, or the table that :func:`orchestrator.analysis.failed.with_failed` makes of its ``trials``.
        curves: with a table, the store's ``curves``.
        where: SQL condition over the columns of ``trials``; full fine-tuning is looked for in the whole store.
        share: of full fine-tuning's score, above 0 and at most 1.
        alpha: one less the confidence of the intervals between scales.

    Raises:
        ApetError: share or alpha out of range, or a condition that SQL refuses.
    """
    if not 0 < share <= 1:
        raise ApetError(f"share {share}: a share of full fine-tuning's score is above 0 and at most 1; 0.9 is 90 %")
    check_level(alpha)
    points = trials.curves() if curves is None and hasattr(trials, "curves") else curves
    assert points is not None, "a table of trials needs one of curves beside it"
    every, chosen, note = asked(trials, where)
    notes = [note] if note else []
    rows = read(chosen, READ)
    found = runs(rows, read(every, READ), points, share)
    if lost := [row for row in rows if row["state"] == "failed"]:
        notes.append(f"{number(len(lost), 'failed trial')} left out: {by_class(lost)}")
    if not found and not notes:
        notes.append("no run has a result: `apet status` says what is failed or missing")
    return Convergence(tuple(found), summaries(found), paces(found, alpha), share, alpha, tuple(notes))


def _render(found: Convergence) -> str:
    rows = [summary.row() for summary in found.summaries]
    shown = [name for name in SUMMARY if name not in ("family", "scale", "parameters", "notes")]
    shown = [name for name in shown if any(row[name] is not None for row in rows)]
    text = [table(shown, [[row[name] for name in shown] for row in rows])] if rows else []
    said: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["notes"]:
            said[row["notes"]].append(" · ".join(filter(None, (row[name] for name in _WHOSE))))
    for why, whose in said.items():
        text += ["", *dict.fromkeys(whose), f"  {why}"]
    if found.paces:
        text += ["", f"across scales: the larger's over the smaller's, interval at {1 - found.alpha:g}"]
        text += [f"  {pace}" for pace in found.paces]
    text += [f"note: {note}" for note in found.notes]
    if rows:
        text += ["", *_rules(found)]
    return "\n".join(text)


def _rules(found: Convergence) -> list[str]:
    said = (
        f"steps: the first evaluation at which the validation score is at least {found.share:g} of full fine-tuning's "
        "best (the mean over its runs): a share of the score, as the paper says it, and not of the gain over chance. A "
        "run that never does, in as many steps as within says, is slower than any.",
        "spread: over position seeds, the standard deviation of ln steps (0.2: they differ by some 20 %).",
    )
    return [textwrap.fill(one, WIDTH) for one in said]
