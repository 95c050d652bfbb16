"""What Ray Tune tells the driver: workers that start, answer and die; and trials that it may forget."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler

from orchestrator.driver.ray.deaths import actor_of, death
from orchestrator.driver.ray.lost import judged, node_of
from orchestrator.driver.ray.searcher import PackSearcher
from orchestrator.driver.ray.trainable import UP

STARTS = 3  # workers that die before they took their first pack, one after the other, until the run is ended


class Watch(TrialProgressCallback):  # type: ignore[misc]  # ray has no types here
    """Hears of workers that start and die.

    A subclass of Tune's progress callback only so that Tune doesn't add its own, which remembers every trial.

    Args:
        searcher: whose packs these are.
        on_step: called some ten times a second.
        workers: node and process of every worker seen are added.
        logs: Ray's folder of logs, where it is on this machine.
    """

    def __init__(
        self,
        searcher: PackSearcher,
        on_step: Callable[[], None],
        workers: set[tuple[str, int]],
        logs: Path | None = None,
    ) -> None:
        self.searcher, self.on_step, self.workers, self.logs = searcher, on_step, workers, logs
        self.dead_starts = 0
        self.last_error = ""
        self._started: dict[str, str] = {}  # Tune trials whose actor is up: its id

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An actor has the trial's pack."""
        self._started[trial.trial_id] = trial.temporary_state.ray_actor._actor_id.hex()
        self.dead_starts = 0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Remember the worker."""
        self.workers.add((result["node_ip"], result["pid"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Forget the trial, its empty directory too."""
        self._started.pop(trial.trial_id, None)
        shutil.rmtree(trial.local_path, ignore_errors=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker is gone, or raised what it should have caught: tell the dispatch why."""
        why = death(trial, self.logs)
        self.last_error = why.log
        actor = self._started.pop(trial.trial_id, None)
        why = judged(replace(why, node=why.node or node_of(actor or actor_of(trial))))
        if actor is None and not why.lost:
            self.dead_starts += 1
        self.searcher.lost(trial.trial_id, why)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Let the driver look around.

        Raises:
            WorkersDontStart: several workers in a row died before they took a pack.
        """
        self.on_step()
        if self.dead_starts >= STARTS:
            raise WorkersDontStart(self.last_error)


class WorkersDontStart(RuntimeError):
    """No worker comes up; more attempts would only take time."""


class Forgetful(FIFOScheduler):  # type: ignore[misc]  # ray has no types here
    """First in, first out, and lets Tune forget trials that ended, so that a long run stays small.

    Tune keeps every trial for its experiment state and its result grid, which nobody reads here: the store
    is the record. The names below are Tune's own; one that a later version lacks is passed over.
    """

    KEPT = ("_stopped_trials", "_failed_trials", "_trials_to_cache", "_live_trials")

    def __init__(self, searcher: PackSearcher) -> None:
        super().__init__()
        self.searcher = searcher
        self._controller: Any = None

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Remember the controller, which has no other way here."""
        self._controller = tune_controller

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """See :meth:`on_trial_complete`."""
        self._controller = tune_controller

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Go on, until a worker that waits for the others may take its first pack."""
        if result.get(UP) and self.searcher.up(trial.trial_id):
            return str(FIFOScheduler.STOP)
        return str(FIFOScheduler.CONTINUE)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A new trial: forget those that ended before."""
        if self._controller is None:
            return
        trials = self._controller.get_trials()
        ended = [one for one in trials if one.is_finished()]
        trials[:] = [one for one in trials if not one.is_finished()]
        metadata = getattr(self._controller, "_trial_metadata", {})
        for one in ended:
            metadata.pop(one.trial_id, None)
            for name in self.KEPT:
                getattr(self._controller, name, set()).discard(one)
