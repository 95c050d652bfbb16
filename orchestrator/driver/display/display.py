"""The run as it goes, on stderr: what a display is, and which one fits a stream."""

from __future__ import annotations

import sys
from typing import IO, Protocol

from orchestrator.driver.display.lines import Lines
from orchestrator.driver.display.quiet import Quiet
from orchestrator.driver.display.screen import Screen
from orchestrator.driver.display.tally import Tally
from trials.trial import Trial
from workers.pack.progress import Ended, Progress


class Display(Protocol):
    """How a run is shown."""

    def start(self, tally: Tally) -> None:
        """Packs are about to be handed out."""

    def ended(self, trial: Trial, ended: Ended) -> None:
        """A trial ended; the tally has counted it."""

    def cut(self, trial: Trial, progress: Progress) -> None:
        """Rows of a trial's pack were cut; said once for its task and backbone."""

    def note(self, text: str) -> None:
        """One line that the person should read."""

    def close(self) -> None:
        """Nothing more comes."""


def display(quiet: bool = False, stream: IO[str] | None = None) -> Display:
    """The display that fits ``stream``, which is stderr by default."""
    stream = stream or sys.stderr
    if quiet:
        return Quiet(stream)
    return Screen(stream) if stream.isatty() else Lines(stream)
