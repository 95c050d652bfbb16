"""One call of Ray Tune: packs go out, reports come in, until the dispatch has nothing left to hand out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune import registry
from ray.tune.error import TuneError

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.launch import Launch
from orchestrator.driver.ray.cluster import Cluster
from orchestrator.driver.ray.searcher import PackSearcher
from orchestrator.driver.ray.trainable import PackTrainable
from orchestrator.driver.ray.watch import STARTS, Forgetful, Watch, WorkersDontStart
from trials.errors import ApetError

__all__ = ["RAY_ERRORS", "STARTS", "WorkersDontStart", "once"]

RAY_ERRORS = (RayError, TuneError, KeyError)  # the last: an idle actor that dies trips Tune's own books


def once(
    dispatch: Dispatch, launch: Launch, place: Cluster, on_step: Callable[[], None], workers: set[tuple[str, int]]
) -> None:
    """Run Tune until the dispatch is empty and its packs have ended.

    Args:
        on_step: called some ten times a second.
        workers: node and process of every worker seen are added.

    Raises:
        ApetError: a pack takes more than this machine has, or no node is left that could work.
        WorkersDontStart: several in a row died before they took a pack.
        RayError, TuneError: of their own; what ran is still in ``dispatch.running``.
    """
    dispatch.others = place.others
    if place.room is not None:
        for setup in {setup for _, setup in dispatch.setups()}:
            place.room.check(setup)
    by_type = place.room is None and dispatch.stock.types  # then the searcher counts what waits, of every type
    waiting = place.most if place.room or by_type else dispatch.workers  # what can't run at a time needs no node yet
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(waiting)
    searcher = PackSearcher(dispatch, launch, place.room, place.asks_memory, place.max_concurrent, on_step)
    scheduler = Forgetful(searcher)
    with asked_once():
        tune.run(
            PackTrainable,
            name="run",
            search_alg=searcher,
            scheduler=scheduler,
            callbacks=[Watch(searcher, on_step, workers, place.logs, None if place.room else scheduler)],
            num_samples=-1,
            reuse_actors=True,
            max_failures=0,
            raise_on_failed_trial=False,
            storage_path=str(place.directory / "tune"),
            trial_name_creator=str,
            trial_dirname_creator=lambda trial: trial.trial_id,
            verbose=0,
        )
    if dispatch.hopeless and not dispatch.stopping:
        raise ApetError(
            f"{dispatch.hopeless}\nNo other machine is left. What is finished has its rows, and what failed so has "
            "none: mend the machine, or give others with --address, and run the same command again"
        )


@contextmanager
def asked_once() -> Iterator[None]:
    """Tune asks the cluster three times a trial for the trainable that it has registered itself: the first will do."""
    own, known = registry._global_registry, dict[tuple[str, str], Any]()
    get, contains = own.get, own.contains

    def remembered(category: str, key: str) -> Any:
        if (category, key) not in known:
            known[category, key] = get(category, key)
        return known[category, key]

    own.get, own.contains = remembered, lambda category, key: (category, key) in known or contains(category, key)
    try:
        yield
    finally:
        del own.get, own.contains  # the class has its own again
