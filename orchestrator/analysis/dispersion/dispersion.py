"""How far scores spread over positions, methods and counts, and whether less on larger scales (Figures 2 and 4).

What is estimated is in :mod:`orchestrator.analysis.dispersion.components`, with what certainty in
:mod:`orchestrator.analysis.dispersion.limits` and :mod:`orchestrator.analysis.dispersion.ratios`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.analysis import selection
from orchestrator.analysis.dispersion.groups import groups
from orchestrator.analysis.dispersion.parts import part
from orchestrator.analysis.dispersion.ratios import ratios
from orchestrator.analysis.dispersion.result import Dispersion
from orchestrator.analysis.failed import with_failed
from trials.errors import ApetError

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
    if not 0 < alpha < 0.5:
        raise ApetError(f"alpha {alpha}: a level is between 0 and 0.5, both excluded; 0.05 is the default")
    table: pa.Table = with_failed(store.trials()) if hasattr(store, "trials") else store
    chosen, said = table, ""
    if where is not None:
        from orchestrator.results.query import nothing
        from orchestrator.results.query import where as keep

        chosen = keep(table, where)
        said = nothing(where, len(table)) if len(table) and not len(chosen) else ""
    found = groups(chosen)
    notes = [said] if said else []
    if not found and not said:
        notes.append("nothing to compare: run apet at several position seeds, or several methods")
    if edges := selection.note(chosen):
        notes.append(edges)
    parts = tuple(part(group, alpha) for group in found)
    return Dispersion(parts, ratios(parts, alpha), alpha, tuple(notes))
