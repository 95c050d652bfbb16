"""``run --until-resolved``: trials of a sweep as its thresholds need them, until no trial would say more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.driver.run import WORKER, check, execute, make
from orchestrator.driver.summary import Summary
from orchestrator.planning import reachable
from orchestrator.refining.budget import Budget
from orchestrator.refining.refine import feed_of, standing_of
from orchestrator.refining.rules import Rules
from orchestrator.refining.standing import Standings

if TYPE_CHECKING:
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep


@dataclass(frozen=True)
class Refined:
    """What was done, and how far every threshold has come.

    Args:
        summary: of the run.
        standings: after it.
        trial_ids: that were handed out.
    """

    summary: Summary
    standings: Standings
    trial_ids: frozenset[str]


def run_until_resolved(
    sweep: Sweep,
    store: Store,
    *,
    where: str | None = None,
    budget: Budget | None = None,
    rules: Rules | None = None,
    address: str | None = None,
    max_concurrent: int | None = None,
    quiet: bool = False,
    worker: str = WORKER,
) -> Refined:
    """Run trials of a sweep until its thresholds are found, or can't be, or the budget is spent.

    The state is the store: the same call again goes on where this one ended, with a budget of its own. No round ends
    before the next begins: a worker that would wait gets what the outcome of running trials may ask for.

    Args:
        sweep, where, rules: see :func:`orchestrator.refining.refine.refine`.
        store: where rows are and go; made if it isn't there.
        budget: of this call; None: no limit.
        address, max_concurrent, quiet, worker: see :func:`orchestrator.driver.run.execute`.

    Raises:
        ApetError: as these two functions do.
    """
    feed = feed_of(sweep, store, where, budget or Budget(), rules or Rules())
    first = feed.more()
    if not first:
        return Refined(Summary(0, 0), standing_of(feed), frozenset())
    check(feed.possible, sweep.resources, address)
    if address is None:
        reachable.check((one.trial, one.sources) for one in feed.possible)
    make(store)
    store.save_sweep(sweep.name, sweep.standalone())
    summary = execute(
        first,
        store,
        sweep.resources,
        address=address,
        max_concurrent=max_concurrent,
        quiet=quiet,
        worker=worker,
        feed=feed,
    )
    return Refined(summary, standing_of(feed), feed.given)
