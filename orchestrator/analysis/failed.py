"""Failed trials beside the results: which seeds a cell lacks, and why, so that none is left out without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def with_failed(trials: pa.Table) -> pa.Table:
    """Rows of the ``selected`` view, and after them the failed ones that would stand among them, had they a result.

    These are of the learning rate that was selected for their cell. Where the whole cell failed, no rate was, and each
    of its seeds stands there once. Each row has the rates that its cell was tried with, ``rates_tried``.

    Args:
        trials: visible rows with ``cell_id``, as ``Store.trials`` gives them.
    """
    import pyarrow as pa

    from orchestrator.analysis.selection import with_rates
    from trials.store import arrays
    from trials.store.views import selected

    chosen = selected(trials)
    rates = dict(zip(chosen["cell_id"].to_pylist(), chosen["learning_rate"].to_pylist(), strict=True))
    failed = trials.filter(arrays.among(trials["state"], ["failed"]))
    names = ("cell_id", "learning_rate", "position_seed", "train_seed")
    seen: set[tuple[Any, ...]] = set()
    keep = []
    for cell, rate, *seeds in zip(*(failed[name].to_pylist() for name in names), strict=True):
        keep.append(rates.get(cell, rate) == rate and (cell, *seeds) not in seen)
        if keep[-1]:
            seen.add((cell, *seeds))
    both = pa.concat_tables([chosen, failed.filter(arrays.booleans(keep))])
    return with_rates(both, trials)


def by_class(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many rows failed by what: ``2 out_of_memory, 1 of no known class`` (rows of older stores have none).

    Args:
        rows: have a ``failure_class``.
    """
    found = Counter(row["failure_class"] or "of no known class" for row in rows)
    return ", ".join(f"{n} {name}" for name, n in sorted(found.items(), key=lambda item: (-item[1], item[0])))
