"""How a command that ran trials ends: what to do next, and the exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import typer

from orchestrator.commands.common import say
from orchestrator.driver.display.streams import tolerant

if TYPE_CHECKING:
    from orchestrator.driver.summary import Summary
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep


def at_hand(sweep: Sweep, name: str) -> str | None:
    """What `resubmit` is to be told of a sweep that finds folders: wherever it and the store are, they are there."""
    folder = any(
        trial.backbone.weights.kind == "folder" or trial.task.data.kind == "folder" for trial in sweep.trials()
    )
    return name if folder and not sweep.settings else None


def finish(
    summary: Summary, store: Store, trial_ids: Collection[str], places: Sequence[tuple[str, str | None]]
) -> None:
    """What to do next, and the exit code: 128 and the signal that stopped it, or 1 when any trial has failed.

    Args:
        summary: what was done.
        store: where.
        trial_ids: that were asked for.
        places: options of `resubmit` that say where weights and data are.
    """
    with tolerant(sys.stderr):
        say(f"{summary}; store {store.uri}")
    visible = store.visible() if store.exists() else {}
    failed = sum(state == "failed" for trial_id, (state, _) in visible.items() if trial_id in trial_ids)
    if failed:
        told = [f"{option} {shlex.quote(value)}" for option, value in places if value is not None]
        _advise(store, trial_ids, " ".join(["apet resubmit --store", shlex.quote(store.uri), *told]))
    if summary.stopped:
        raise typer.Exit(128 + summary.stopped)
    if failed:
        raise typer.Exit(1)


def _advise(store: Store, trial_ids: Collection[str], command: str) -> None:
    """What to do about failed trials, those by their input apart: `apet resubmit` refuses data that was mended."""
    from trials.failures import BAD_INPUT

    rows = store.trials().select(["trial_id", "state", "failure_class"]).to_pylist()
    classes = [row["failure_class"] for row in rows if row["state"] == "failed" and row["trial_id"] in trial_ids]
    mend, again = classes.count(BAD_INPUT), len(classes) - classes.count(BAD_INPUT)
    if mend:
        say(
            f"{mend} failed by their weights or data: `apet show TRIAL` says why; mend them and run the sweep again, "
            f"or put back what the trials were given, and `{command}` makes new attempts"
        )
    if again:
        say(f"{again} failed: `apet show TRIAL` says why, `{command}` makes new attempts")
