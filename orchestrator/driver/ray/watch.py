"""What Ray Tune tells the driver: workers that start, answer and die; and trials that it may forget."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Set
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
        scheduler: which takes back what waits for nodes that can't be had; None on machines of our own.
    """

    def __init__(
        self,
        searcher: PackSearcher,
        on_step: Callable[[], None],
        workers: set[tuple[str, int]],
        logs: Path | None = None,
        scheduler: Forgetful | None = None,
    ) -> None:
        self.searcher, self.on_step, self.workers, self.logs = searcher, on_step, workers, logs
        self.scheduler = scheduler
        self.dead_starts = 0
        self.last_error = ""
        self._started: dict[str, str] = {}  # Tune trials whose actor is up: its id

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An actor has the trial's pack."""
        self._started[trial.trial_id] = trial.temporary_state.ray_actor._actor_id.hex()
        self.searcher.begun(trial.trial_id)
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
        if self.scheduler is not None:
            self._look_at_nodes(self.scheduler)
        if self.dead_starts >= STARTS:
            raise WorkersDontStart(self.last_error)

    def _look_at_nodes(self, scheduler: Forgetful) -> None:
        """Of a cluster that may grow or shrink."""
        searcher = self.searcher
        for kind in searcher.sold_out():
            scheduler.take_back({one for one, of in searcher.pending.items() if of == kind})
            searcher.leave(kind)
        if searcher.dispatch.over:  # what waits for a node would wait for ever
            scheduler.take_back(searcher.pending.keys())
        if not searcher.dispatch.waiting and not searcher.pending:
            scheduler.let_go()


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

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Go on, until a worker that waits for the others may take its first pack."""
        if result.get(UP) and self.searcher.up(trial.trial_id):
            return str(FIFOScheduler.STOP)
        return str(FIFOScheduler.CONTINUE)

    def take_back(self, trial_ids: Set[str]) -> None:
        """End trials that wait for a place; the searcher hears of it as of trials that end without a result."""
        if not trial_ids:
            return
        for one in [one for one in self._controller.get_trials() if one.trial_id in trial_ids]:
            if one.status == one.PENDING and one not in self._controller._resetting_trials:
                if one in self._controller._staged_trials:
                    self._controller._unstage_trial_with_resources(one)
                self._controller.stop_trial(one)

    def let_go(self) -> None:
        """End workers that have nothing to do: each keeps a node from going."""
        if self._controller is not None:
            self._controller._cleanup_cached_actors(force_all=True)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A new trial: forget those that ended before."""
        self._controller = getattr(tune_controller, "_tune_controller", tune_controller)  # without what wraps it
        trials = self._controller.get_trials()
        ended = [one for one in trials if one.is_finished()]
        trials[:] = [one for one in trials if not one.is_finished()]
        metadata = getattr(self._controller, "_trial_metadata", {})
        for one in ended:
            metadata.pop(one.trial_id, None)
            for name in self.KEPT:
                getattr(self._controller, name, set()).discard(one)
