"""A run and what is seen of it, connected."""

from __future__ import annotations

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.display.display import Display
from orchestrator.driver.display.tally import Tally
from orchestrator.planning.packing import Todo
from workers.pack.progress import Ended, Progress


def connect(dispatch: Dispatch, tally: Tally, show: Display) -> None:
    """Let the tally count what the dispatch tells, and the display show it."""
    told: set[tuple[str, str]] = set()  # task and backbone: their cut rows are said once

    def on_report(progress: Progress) -> None:
        tally.reported(progress)
        row = tally.rows.get(progress.pack_id)
        if row is None or not progress.cut_rows:
            return
        trial = row.pack.members[0].trial
        if (trial.task.name, trial.backbone.name) not in told:
            told.add((trial.task.name, trial.backbone.name))
            show.cut(trial, progress)

    def on_end(todo: Todo, ended: Ended) -> None:
        tally.trial_ended(todo, ended)
        show.ended(todo.trial, ended)

    dispatch.on_start, dispatch.on_report, dispatch.on_over = tally.started, on_report, tally.over
    dispatch.on_end, dispatch.on_note, dispatch.on_more = on_end, show.note, tally.add
    show.start(tally)
