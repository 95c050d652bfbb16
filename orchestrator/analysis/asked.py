"""What an analysis is asked for: of which rows of a store, and at which level."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.analysis.failed import with_failed
from trials.errors import ApetError

if TYPE_CHECKING:
    import pyarrow as pa

    from trials.store.store import Store


class Asked(NamedTuple):
    """Rows of a store, as :func:`orchestrator.analysis.failed.with_failed` has them.

    Args:
        every: of the whole store, where references are looked for.
        chosen: those that a condition holds for.
        note: that there are none of these, though the store has some; else ''.
    """

    every: pa.Table
    chosen: pa.Table
    note: str


def asked(store: Store | pa.Table, where: str | None) -> Asked:
    """The rows of a store, and those that an analysis is about.

    Args:
        store: a store, or the table that :func:`orchestrator.analysis.failed.with_failed` makes of its ``trials``.
        where: SQL condition over those columns; None: all.

    Raises:
        ApetError: a condition that SQL refuses.
    """
    every: pa.Table = with_failed(store.trials()) if hasattr(store, "trials") else store
    if where is None:
        return Asked(every, every, "")
    from orchestrator.results.query import nothing
    from orchestrator.results.query import where as keep

    chosen = keep(every, where)
    return Asked(every, chosen, nothing(where, len(every)) if len(every) and not len(chosen) else "")


def check_level(alpha: float) -> None:
    """Refuse what is no level of a test, nor one less the confidence of an interval.

    Raises:
        ApetError: it isn't between 0 and 1/2.
    """
    if not 0 < alpha < 0.5:
        raise ApetError(f"alpha {alpha}: a level is between 0 and 0.5, both excluded; 0.05 is the default")
