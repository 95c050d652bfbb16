"""The learning rate that was chosen on validation: whether it lies at the edge of the rates that were tried."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

TRIED = "rates_tried"  # column: all learning rates of a row's cell, ascending


def with_rates(chosen: pa.Table, trials: pa.Table) -> pa.Table:
    """Rows with :data:`TRIED`, all learning rates that their cells were trained with.

    Args:
        chosen: rows of cells' chosen rates.
        trials: visible rows, of all rates.
    """
    from trials.store import arrays

    tried: dict[str, set[float]] = defaultdict(set)
    for cell, rate in zip(trials["cell_id"].to_pylist(), trials["learning_rate"].to_pylist(), strict=True):
        tried[cell].add(rate)
    lists = {cell: sorted(rates) for cell, rates in tried.items()}
    values = [lists[cell] for cell in chosen["cell_id"].to_pylist()]
    return chosen.append_column(TRIED, arrays.lists(values))


def note(table: pa.Table) -> str:
    """How many cells chose a rate at the edge of those tried, in words; '' where none had a choice.

    Args:
        table: rows :func:`with_rates`.
    """
    if TRIED not in table.column_names:
        return ""
    columns = (table[name].to_pylist() for name in ("cell_id", "state", "learning_rate", TRIED))
    cells = {cell: (rate, tried) for cell, state, rate, tried in zip(*columns, strict=True) if state != "failed"}
    several = [(rate, tried) for rate, tried in cells.values() if len(tried) > 1]
    smallest = sum(rate == tried[0] for rate, tried in several)
    largest = sum(rate == tried[-1] for rate, tried in several)
    if not smallest + largest:
        return ""
    parts = [f"{n} the {which}" for n, which in ((smallest, "smallest"), (largest, "largest")) if n]
    return (
        f"{smallest + largest} of {len(several)} cells with several learning rates chose one at the edge of those "
        f"tried ({', '.join(parts)}): a better one may lie beyond"
    )
