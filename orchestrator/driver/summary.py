"""What a run did, in one line at its end."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.text import duration


@dataclass
class Counts:
    """Trials by how they ended in this run."""

    completed: int = 0
    diverged: int = 0
    failed: int = 0
    interrupted: int = 0

    def add(self, state: str) -> None:
        """Count one trial that ended in ``state``."""
        setattr(self, state, getattr(self, state) + 1)

    @property
    def done(self) -> int:
        """Trials that have a row now."""
        return self.completed + self.diverged + self.failed


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Args:
        asked: trials that were asked for.
        before: of those, had a row before, whatever its state.
        completed, diverged, failed: ended in this run.
        wall_s: seconds, Ray's start included.
        workers_started: worker processes, those that took the place of lost ones included.
        stopped: number of the signal that ended it before its end, 0 where none did.
    """

    asked: int
    before: int
    completed: int = 0
    diverged: int = 0
    failed: int = 0
    wall_s: float = 0.0
    workers_started: int = 0
    stopped: int = 0

    @property
    def remaining(self) -> int:
        """Trials that are still to be done; those that were interrupted go on from their checkpoint."""
        return self.asked - self.before - self.completed - self.diverged - self.failed

    def __str__(self) -> str:
        if not self.asked:
            return "nothing to do: no trial was asked for"
        if self.asked == self.before:
            one = self.asked == 1
            return f"nothing to do: {'the trial has its row' if one else f'all {self.asked} trials have their rows'}"
        done = f"{self.completed} completed, {self.diverged} diverged, {self.failed} failed in {duration(self.wall_s)}"
        before = f"; {self.before} done before" if self.before else ""
        left = f"; {self.remaining} remain: run the same command again to go on" if self.remaining else ""
        return f"{'stopped: ' if self.stopped else ''}{done}{before}{left}"
