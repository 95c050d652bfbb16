"""What a worker tells while it runs a pack; it travels to the driver as text, so this imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Ended:
    """A trial that has ended; but for ``interrupted`` its row is in the store.

    Args:
        state: completed, diverged, failed or interrupted (no row; a checkpoint waits for the next run).
        failure_class: of a failed one, see ``trials.failures``.
        wall_s, load_s: the trial's share of its pack's seconds, and of those the ones that loading took.
    """

    trial_id: str
    state: str
    test_score: float | None = None
    error_message: str | None = None
    wall_s: float = 0.0
    load_s: float = 0.0
    attempt_id: str | None = None
    failure_class: str | None = None


@dataclass(frozen=True)
class Progress:
    """Where a pack is.

    Args:
        scores: the latest validation scores by trial id.
        cut_rows: ``truncated_rows`` of its rows in the store, 0 until the data is there.
        rows: that train, validation and test have together.
        pack_size: trials of a pack like this one that the worker takes to be best from here on, measured, or by what
            memory held; None: it has learnt nothing new.
    """

    pack_id: str
    step: int = 0
    steps: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()
    cut_rows: int = 0
    rows: int = 0
    pack_size: int | None = None

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Progress:
        """The inverse of :meth:`to_json`."""
        data = json.loads(text)
        return Progress(**{**data, "ended": tuple(Ended(**ended) for ended in data["ended"])})
