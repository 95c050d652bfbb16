"""What a run may be fed from, whose trials aren't known at its start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.planning.todo import Todo


class Feed(Protocol):
    """Gives trials as the rows of others ask for them; asked when a worker would have nothing to do."""

    @property
    def possible(self) -> Sequence[Todo]:
        """Trials that any one that will be given is like: their set-ups are the same."""

    def more(self) -> Sequence[Todo]:
        """What to run now; nothing: none before another one ends."""

    def ended(self, trial_id: str, has_row: bool) -> None:
        """A trial ended: its row is in the store, or there will be none in this run."""
