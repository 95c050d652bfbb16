"""A run that says only what went wrong."""

from __future__ import annotations

from typing import IO

from orchestrator.driver.display.sentences import ended_line
from orchestrator.driver.display.streams import tolerant
from orchestrator.driver.display.tally import Tally
from trials.trial import Trial
from workers.pack.progress import Ended, Progress


class Quiet:
    """Says only what went wrong."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def start(self, tally: Tally) -> None:
        """Nothing."""

    def ended(self, trial: Trial, ended: Ended) -> None:
        """A failed trial only."""
        if ended.state == "failed":
            self.note(ended_line(trial, ended))

    def cut(self, trial: Trial, progress: Progress) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """One plain line."""
        with tolerant(self.stream):
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing."""
