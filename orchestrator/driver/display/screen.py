"""A run in a terminal: a live display."""

from __future__ import annotations

from typing import IO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.driver.display.sentences import cut_line, ended_line
from orchestrator.driver.display.streams import tolerant
from orchestrator.driver.display.tally import RunningPack, Tally
from orchestrator.text import duration, trial_name
from trials.trial import Trial
from workers.pack.progress import Ended, Progress

SHOWN = 8  # running packs in the live display
COLOURS = {"completed": "green", "diverged": "yellow", "failed": "red", "interrupted": "yellow"}


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
            self.note(ended_line(trial, ended))

    def cut(self, trial: Trial, progress: Progress) -> None:
        """How many rows of which task."""
        self.note(cut_line(trial, progress))

    def note(self, text: str) -> None:
        """One line above the display."""
        with tolerant(self.console.file):
            self.console.print(Text(text))

    def close(self) -> None:
        """Leave the last state on the screen."""
        live, self.live = self.live, None
        if live:
            with tolerant(self.console.file):
                live.stop()

    def render(self) -> RenderableType:
        """The display as it is now."""
        tally = self.tally
        parts: list[RenderableType] = [self._bar(), counts(tally)]
        if tally.rows:
            parts.append(self._running())
        if tally.latest:
            parts.append(Text(f"latest  {ended_line(*tally.latest)}", no_wrap=True, overflow="ellipsis"))
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
            trial = next(iter(row.open), row.pack.members[0].trial)
            more = f" and {len(row.open) - 1} more" if len(row.open) > 1 else ""
            seconds = duration(self.tally.now() - row.since)
            step = f"step {row.step}/{row.steps}"
            table.add_row(trial.trial_id[:8], trial_name(trial) + more, step, scores(row), seconds)
        if len(rows) > SHOWN:
            table.add_row("", f"and {len(rows) - SHOWN} more packs")
        return table


def scores(row: RunningPack) -> str:
    """The latest validation scores of a pack's open trials: one, or the lowest and the highest."""
    found = [f"{row.scores[one.trial_id]:.3f}" for one in row.open if one.trial_id in row.scores]
    if not found:
        return ""
    low, high = min(found), max(found)
    return f"validation {low}" if low == high else f"validation {low} to {high}"


def counts(tally: Tally) -> Text:
    """Trials by state, in colour where there are any."""
    text = Text()
    for state in ("completed", "running", "failed", "diverged"):
        number = tally.running if state == "running" else tally.ended.get(state, 0)
        text.append(f"{number} {state}  ", style=COLOURS.get(state, "cyan") if number else "dim")
    if tally.before:
        text.append(f"{tally.before} done before", style="dim")
    return text
