"""One call of Ray Tune: packs go out, reports come in, until the dispatch has nothing left to hand out."""

from __future__ import annotations

from collections.abc import Callable

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.launch import Launch
from orchestrator.driver.ray.cluster import Cluster
from orchestrator.driver.ray.searcher import STARTS, Forgetful, PackSearcher, Watch, WorkersDontStart
from orchestrator.driver.ray.trainable import PackTrainable

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
        WorkersDontStart: several in a row died before they took a pack.
        RayError, TuneError: of their own; what ran is still in ``dispatch.running``.
    """
    searcher = PackSearcher(dispatch, launch, place.workers)
    tune.run(
        PackTrainable,
        name="run",
        search_alg=searcher,
        scheduler=Forgetful(searcher),
        callbacks=[Watch(searcher, on_step, workers, place.logs)],
        num_samples=-1,
        resources_per_trial=place.resources,
        reuse_actors=True,
        max_failures=0,
        raise_on_failed_trial=False,
        storage_path=str(place.directory / "tune"),
        trial_name_creator=str,
        trial_dirname_creator=lambda trial: trial.trial_id,
        verbose=0,
    )
