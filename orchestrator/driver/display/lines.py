"""A run in a pipe or a file: one plain line per finished trial."""

from __future__ import annotations

from orchestrator.driver.display.quiet import Quiet
from orchestrator.driver.display.sentences import cut_line, ended_line
from orchestrator.driver.display.tally import Tally
from orchestrator.text import duration, number
from trials.trial import Trial
from workers.pack.progress import Ended, Progress


class Lines(Quiet):
    """One plain line per finished trial."""

    def start(self, tally: Tally) -> None:
        """What will be done."""
        self.tally = tally
        before = f", {tally.before} done before" if tally.before else ""
        at_a_time = number(tally.workers, "pack")
        self.note(f"{number(tally.total, 'trial')} to run{before}, {at_a_time} at a time")

    def ended(self, trial: Trial, ended: Ended) -> None:
        """How far, which, how it ended, what is left."""
        left = self.tally.seconds_left
        tail = f", {duration(left)} left" if left is not None and self.tally.done < self.tally.total else ""
        self.note(f"[{self.tally.done}/{self.tally.total}] {ended_line(trial, ended)}{tail}")

    def cut(self, trial: Trial, progress: Progress) -> None:
        """How many rows of which task."""
        self.note(cut_line(trial, progress))
