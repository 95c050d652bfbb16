"""What a worker tells while it runs a pack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """A trial that has ended; but for ``interrupted`` its row is in the store.

    ``state`` is completed, diverged, failed or interrupted (no row; a checkpoint waits for the next run).
    """

    trial_id: str
    state: str
    test_score: float | None
    error_message: str | None
    wall_s: float
    load_s: float
    attempt_id: str


@dataclass(frozen=True)
class Progress:
    """Where a pack is.

    Args:
        scores: the latest validation scores by trial id.
        cut_rows: ``truncated_rows`` of its rows in the store, 0 until the data is there.
        rows: that train, validation and test have together.
    """

    pack_id: str
    step: int
    steps: int
    scores: dict[str, float]
    ended: tuple[Ended, ...]
    cut_rows: int
    rows: int
