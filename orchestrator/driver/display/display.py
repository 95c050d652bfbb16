"""The run as it goes, on stderr: a live display in a terminal, one plain line per finished trial elsewhere."""

from __future__ import annotations

import sys
from typing import IO, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.driver.display.tally import Tally, describe, duration
from orchestrator.text import cut_rows, number
from trials import tasks
from trials.trial import Trial
from workers.pack.progress import Ended, Progress

SHOWN = 8  # running packs in the live display
COLOURS = {"completed": "green", "diverged": "yellow", "failed": "red", "interrupted": "yellow"}


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


class Quiet:
    """Says only what went wrong."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def start(self, tally: Tally) -> None:
        """Nothing."""

    def ended(self, trial: Trial, ended: Ended) -> None:
        """A failed trial only."""
        if ended.state == "failed":
            self.note(line(trial, ended))

    def cut(self, trial: Trial, progress: Progress) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """One plain line."""
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing."""


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
        self.note(f"[{self.tally.done}/{self.tally.total}] {line(trial, ended)}{tail}")

    def cut(self, trial: Trial, progress: Progress) -> None:
        """How many rows of which task."""
        self.note(cut_line(trial, progress))


class Screen:
    """A bar, what runs, the latest result; finished trials scroll by above when they failed."""

    def __init__(self, stream: IO[str], width: int | None = None) -> None:
        self.console = Console(file=stream, highlight=False, width=width)
        self.live: Live | None = None

    def start(self, tally: Tally) -> None:
        """Show the display."""
        self.tally = tally
        self.live = Live(
            console=self.console,
            get_renderable=self.render,
            refresh_per_second=4,
            redirect_stdout=False,
            transient=False,
        )
        self.live.start()

    def ended(self, trial: Trial, ended: Ended) -> None:
        """A failed or diverged trial stays readable; the others are in the counts."""
        if ended.state in ("failed", "diverged"):
            self.note(line(trial, ended))

    def cut(self, trial: Trial, progress: Progress) -> None:
        """How many rows of which task."""
        self.note(cut_line(trial, progress))

    def note(self, text: str) -> None:
        """One line above the display."""
        self.console.print(Text(text))

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self.live:
            self.live.stop()
            self.live = None

    def render(self) -> RenderableType:
        """The display as it is now."""
        tally = self.tally
        parts: list[RenderableType] = [self._bar(), counts(tally)]
        if tally.rows:
            parts.append(self._running())
        if tally.latest:
            parts.append(Text(f"latest  {line(*tally.latest)}", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _bar(self) -> RenderableType:
        tally = self.tally
        grid = Table.grid(padding=(0, 1))
        rate = f"{tally.per_minute:.1f} a minute" if tally.per_minute else ""
        left = f"{duration(tally.seconds_left)} left" if tally.seconds_left is not None else ""
        bar = ProgressBar(total=tally.total, completed=tally.done, width=min(40, max(10, self.console.width - 50)))
        grid.add_row(bar, f"{tally.done}/{tally.total}", rate, left)
        return grid

    def _running(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        rows = list(self.tally.rows.values())
        for row in rows[:SHOWN]:
            trial = row.pack.members[0].trial
            more = f" and {len(row.pack.members) - 1} more" if len(row.pack.members) > 1 else ""
            score = "" if row.score is None else f"validation {row.score:.3f}"
            seconds = duration(self.tally.now() - row.since)
            table.add_row(trial.trial_id[:8], describe(trial) + more, f"step {row.step}/{row.steps}", score, seconds)
        if len(rows) > SHOWN:
            table.add_row("", f"and {len(rows) - SHOWN} more packs")
        return table


def counts(tally: Tally) -> Text:
    """Trials by state, in colour where there are any."""
    text = Text()
    for state in ("completed", "running", "failed", "diverged"):
        number = tally.running if state == "running" else tally.ended.get(state, 0)
        text.append(f"{number} {state}  ", style=COLOURS.get(state, "cyan") if number else "dim")
    if tally.before:
        text.append(f"{tally.before} done before", style="dim")
    return text


def line(trial: Trial, ended: Ended) -> str:
    """A finished trial in one line."""
    score = "" if ended.test_score is None else f", test {ended.test_score:.3f}"
    error = f": {' '.join(ended.error_message.split())[:160]}" if ended.error_message else ""
    seconds = f", {duration(ended.wall_s)}" if ended.wall_s else ""
    return f"{trial.trial_id[:8]} {describe(trial)}: {ended.state}{error}{score}{seconds}"


def cut_line(trial: Trial, progress: Progress) -> str:
    """Rows that were cut, and the lengths that cut them."""
    limits = f"{trial.training.max_input_length} tokens"
    if not tasks.get(trial.task.name).labels:
        limits += f" of input or {trial.training.max_generated_length} of answer"
    cut = cut_rows(progress.cut_rows, progress.rows, bool(trial.evaluate_on))
    return f"{trial.task.name} on {trial.backbone.name}: cut rows {cut}, longer than {limits}"
