"""How far scores spread over positions, methods and counts, and whether less on larger scales (Figures 2 and 4).

What is estimated is in :mod:`orchestrator.analysis.dispersion.components`, with what certainty in
:mod:`orchestrator.analysis.dispersion.limits` and :mod:`orchestrator.analysis.dispersion.ratios`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.analysis import selection
from orchestrator.analysis.asked import asked, check_level
from orchestrator.analysis.dispersion.groups import groups
from orchestrator.analysis.dispersion.parts import part
from orchestrator.analysis.dispersion.ratios import ratios
from orchestrator.analysis.dispersion.result import Dispersion

if TYPE_CHECKING:
    import pyarrow as pa

    from trials.store.store import Store


def dispersion(store: Store | pa.Table, *, where: str | None = None, alpha: float = 0.05) -> Dispersion:
    """Standard deviations over position seeds, over methods and over counts, of the mean scores over tasks.

    The learning rate of each cell is chosen on validation first. Runs without a score are left out, and named.

    Args:
        store: a store, or the table that :func:`orchestrator.analysis.failed.with_failed` makes of its ``trials``.
        where: SQL condition over those columns.
        alpha: one less the confidence of the intervals.

    Raises:
        ApetError: alpha out of range, or a condition that SQL refuses.
    """
    check_level(alpha)
    _, chosen, note = asked(store, where)
    found = groups(chosen)
    notes = [note] if note else []
    if not found and not note:
        notes.append("nothing to compare: run apet at several position seeds, or several methods")
    if edges := selection.note(chosen):
        notes.append(edges)
    parts = tuple(part(group, alpha) for group in found)
    return Dispersion(parts, ratios(parts, alpha), alpha, tuple(notes))
