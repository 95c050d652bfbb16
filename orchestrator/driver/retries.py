"""What is known of failures in one run: how often each trial came back, and which nodes fail whatever they get."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.driver.ray.deaths import Death

BACK_OFF_S = 3.0  # before the first new attempt
GROWTH = 4.0  # of that delay, from attempt to attempt
LONGEST_S = 300.0
IN_A_ROW = 5  # packs that fail on a node, with none between that worked, until it gets nothing more; and machines that
# are lost under a trial, which got no further between, until it is taken for the culprit


@dataclass
class Retries:
    """Trials that came back because a worker couldn't go on; forgotten when they end.

    Args:
        limit: how often a trial may come back.
    """

    limit: int
    spent: dict[str, int] = field(default_factory=dict)  # by trial_id
    failed_on: dict[str, str] = field(default_factory=dict)  # trial_id: the node where it failed last
    _lost: dict[str, tuple[int, float]] = field(default_factory=dict)  # trial_id: machines in a row, and how far it was

    def fail(self, trial_id: str, node: str) -> float | None:
        """One more failure: seconds to wait for the next attempt, None when there is no attempt left."""
        spent = self.spent.get(trial_id, 0) + 1
        if spent > self.limit:
            return None
        self.spent[trial_id], self.failed_on[trial_id] = spent, node
        return min(LONGEST_S, BACK_OFF_S * GROWTH ** (spent - 1))

    def lost(self, trial_id: str, over: float) -> int:
        """A machine was lost under a trial that was so far, of 1: how many there were in a row with no step forward."""
        times, furthest = self._lost.get(trial_id, (0, 0.0))
        times = 1 if over > furthest else times + 1
        self._lost[trial_id] = times, max(over, furthest)
        return times

    def forget(self, trial_id: str) -> None:
        """The trial has ended."""
        self._lost.pop(trial_id, None)
        self.spent.pop(trial_id, None)
        self.failed_on.pop(trial_id, None)


@dataclass
class Nodes:
    """Nodes by how the packs that they got ended; a node is Ray's id of it."""

    excluded: set[str] = field(default_factory=set)
    _in_a_row: dict[str, int] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)

    def worked(self, node: str) -> None:
        """A pack came to its end there: whatever becomes of its trials, the node can work."""
        self._in_a_row.pop(node, None)

    def lost(self, node: str) -> bool:
        """A node is gone, or about to go; whether that is news."""
        known = node in self._lost
        self._lost.add(node)
        return not known

    def failed(self, node: str, why: Death) -> str:
        """A pack failed there; one line for people when that was once too often, else nothing."""
        count = self._in_a_row.get(node, 0) + 1
        self._in_a_row[node] = count
        if count < IN_A_ROW or node in self.excluded:
            return ""
        self.excluded.add(node)
        name = why.host or "this machine"
        return f"{name}: {count} packs in a row failed, it gets nothing more; the last: {why.reason}"
