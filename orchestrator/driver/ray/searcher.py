"""What Ray Tune sees of the driver: a searcher that feeds packs, and a scheduler and a callback that listen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.launch import Launch
from orchestrator.driver.ray.deaths import death
from orchestrator.driver.ray.trainable import LAUNCH, PACK, REPORT, UP
from workers.pack.progress import Progress

STARTS = 3  # workers that die before they took their first pack, one after the other, until the run is ended
START_S = 60.0  # how long the first worker that is up waits for the others


class PackSearcher(Searcher):  # type: ignore[misc]  # ray has no types here
    """Turns a :class:`Dispatch` into Tune's suggestions: one pack each, when a worker is free for it.

    The first suggestions have no pack: they start all workers at once, and end when all are up. Without
    them Tune would give a waiting pack to the first worker that is free, and end the worker that starts for it.

    Args:
        dispatch: what is to be done.
        launch: what every pack of the run shares.
        workers: packs at a time; None lets Tune keep some waiting, which makes a cluster scale up.
    """

    def __init__(self, dispatch: Dispatch, launch: Launch, workers: int | None) -> None:
        super().__init__()
        self.dispatch, self.workers = dispatch, workers
        self.packs: dict[str, str] = {}  # Tune's trial id: pack id, of packs that run
        self._launch = launch.to_json()
        self._to_start = workers if workers is not None and workers > 1 else 0
        self._starting: set[str] = set()  # Tune's trial ids of suggestions without a pack
        self._up: set[str] = set()
        self._first_up = 0.0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next pack, nothing for now, or the end: Tune then lets idle actors go."""
        if not self.dispatch.waiting:
            return str(Searcher.FINISHED)
        if self.workers is not None and len(self.packs) + len(self._starting) >= self.workers:
            return None
        if self._to_start:
            self._to_start -= 1
            self._starting.add(trial_id)
            return {PACK: "", LAUNCH: self._launch}
        pack = self.dispatch.next()
        assert pack is not None, "something is waiting"
        self.packs[trial_id] = pack.pack_id
        return {PACK: pack.to_json(), LAUNCH: self._launch}

    def up(self, trial_id: str) -> bool:
        """A worker without a pack is up; whether it may take one now: all are, or it waited long enough."""
        self._first_up = self._first_up or time.monotonic()
        self._up.add(trial_id)
        waited = time.monotonic() - self._first_up > START_S
        return waited or self.dispatch.stopping or (not self._to_start and self._starting <= self._up)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A pack reached an evaluation."""
        if REPORT in result:
            self.dispatch.report(Progress.from_json(result[REPORT]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A pack is through; a broken one waits for :meth:`Watch.on_trial_error`, which knows why."""
        self._starting.discard(trial_id)
        if error or trial_id not in self.packs:
            return
        if result:
            self.on_trial_result(trial_id, result)
        self.dispatch.finished(self.packs.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see :meth:`save`."""


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
        self._started: set[str] = set()  # Tune trials whose actor is up

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An actor has the trial's pack."""
        self._started.add(trial.trial_id)
        self.dead_starts = 0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Remember the worker."""
        self.workers.add((result["node_ip"], result["pid"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Forget the trial, its empty directory too."""
        self._started.discard(trial.trial_id)
        shutil.rmtree(trial.local_path, ignore_errors=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker is gone, or raised what it should have caught: tell the dispatch why."""
        why = death(trial, self.logs)
        self.last_error = why.log
        if trial.trial_id in self._started:
            self._started.discard(trial.trial_id)
        else:
            self.dead_starts += 1
        pack_id = self.searcher.packs.pop(trial.trial_id, None)
        if pack_id is not None:  # Tune counts no failure when the machine was taken away
            self.searcher.dispatch.lost(pack_id, why, preempted=trial.num_failures == 0)

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
