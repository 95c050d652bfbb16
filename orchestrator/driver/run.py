"""``run``: does what the store lacks, with Ray Tune, and comes back with a summary."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.display.connected import connect
from orchestrator.driver.display.display import Display, display
from orchestrator.driver.display.tally import Tally
from orchestrator.driver.feed import Feed
from orchestrator.driver.launch import Launch
from orchestrator.driver.ledger import Ledger
from orchestrator.driver.ray.deaths import explain
from orchestrator.driver.summary import Counts, Summary
from orchestrator.planning import reachable
from orchestrator.planning.devices import Machine, here
from orchestrator.planning.packing import Todo
from orchestrator.planning.places import node_types
from orchestrator.planning.setups import Setups
from orchestrator.planning.stocks import Stocks
from trials.code import digest
from trials.errors import ApetError
from trials.failures import PREEMPTED
from trials.store.store import Store
from trials.sweep.resources import Resources
from workers.signals import Stop

if TYPE_CHECKING:
    from orchestrator.driver.ray.cluster import Cluster
    from trials.sweep.sweep import Sweep

WORKER = "workers.worker:Worker"
GONE = (
    "Ray's processes on this machine ended, killed from outside or for lack of memory; what is finished "
    "has its rows: run the same command again"
)
RESTARTS = 2  # of Tune's loop after an error of its own, with no trial done between: a lost machine may be one


def run(
    sweep: Sweep,
    store: Store,
    *,
    where: str | None = None,
    limit: int | None = None,
    address: str | None = None,
    max_concurrent: int | None = None,
    quiet: bool = False,
) -> Summary:
    """Run the trials of a sweep that have no row in the store; failed and diverged ones are left alone.

    With nothing to do, nothing is started and nothing is written.

    Args:
        sweep: what is wanted.
        store: where rows go; made if it isn't there.
        where: SQL condition over identity columns: only those trials.
        limit: at most so many, the first of the sweep.
        address: of a running Ray cluster; None runs on this machine.
        max_concurrent: packs at a time; by default as many as there is room for.
        quiet: say only what went wrong.

    Raises:
        ApetError: a condition that is wrong or that no trial fulfils, resources that this machine doesn't have, a hub
            that can't be reached, a store that can't be written or that not every node sees, no cluster.
    """
    asked, todo = missing(sweep, store, where, limit)
    before = asked - len(todo)
    if not todo:
        return Summary(asked, before)
    check(todo, sweep.resources, address)
    if address is None:  # elsewhere, the workers may reach what this machine doesn't
        reachable.check((one.trial, one.sources) for one in todo)
    make(store)
    store.save_sweep(sweep.name, sweep.standalone())
    return execute(
        todo, store, sweep.resources, before=before, address=address, max_concurrent=max_concurrent, quiet=quiet
    )


def check(todo: Sequence[Todo], resources: Resources, address: str | None = None) -> None:
    """Refuse what this machine can't run; what a cluster can is known once it has been joined.

    Raises:
        ApetError: every group of trials that is refused, and why.
    """
    if address is None:
        _setups(todo, (here(),), resources)


def _setups(
    todo: Sequence[Todo], machines: Sequence[Machine], resources: Resources, store: Store | None = None
) -> Setups:
    """The set-up of every trial; the same as in ``apet plan`` on the same machines.

    Args:
        todo: attempts at them.
        machines: that they may run on.
        resources: of every pack.
        store: where workers may have measured pack sizes; None: only what fits matters.

    Raises:
        ApetError: as :func:`check`.
    """
    calibrations = None if store is None else store.calibrations()
    found = Setups((one.trial for one in todo), machines, resources, calibrations)
    found.check()
    return found


def missing(sweep: Sweep, store: Store, where: str | None = None, limit: int | None = None) -> tuple[int, list[Todo]]:
    """How many trials were asked for, and those of them that have no row.

    Raises:
        ApetError: a condition that is wrong or that no trial fulfils, or a limit below 1.
    """
    check_limit(limit)
    trials = sweep.trials()
    if where is not None:
        from orchestrator.results.query import nothing, select_trials

        trials = tuple(select_trials(trials, where))
        if not trials:
            raise ApetError(f"{nothing(where, len(sweep.trials()))}; `apet plan SWEEP --trials` lists them")
    states = store.visible() if store.exists() else {}
    todo = [Todo(t, sweep.sources(t), sweep=sweep.name) for t in trials if t.trial_id not in states]
    left_out = len(todo[limit:]) if limit is not None else 0
    return len(trials) - left_out, todo[:limit]


def check_limit(limit: int | None) -> None:
    """Refuse a limit that isn't positive.

    Raises:
        ApetError: it is below 1.
    """
    if limit is not None and limit < 1:
        raise ApetError(f"limit {limit}: at least 1, or none for all trials")


def make(store: Store) -> None:
    """Make a store that isn't there.

    Raises:
        ApetError: it can't be written.
    """
    Store(store.uri, create=True)


def execute(
    todo: Sequence[Todo],
    store: Store,
    resources: Resources | None = None,
    *,
    before: int = 0,
    address: str | None = None,
    max_concurrent: int | None = None,
    quiet: bool = False,
    worker: str = WORKER,
    feed: Feed | None = None,
) -> Summary:
    """Make every attempt of ``todo``, on Ray.

    Args:
        todo: one attempt per trial; those that somebody else has made by the time Ray is up are left out.
        store: where rows go; it is there and can be written.
        resources: of every pack, and new attempts at a trial whose worker was lost; None: the defaults.
        before: trials that were asked for and are done, for the display.
        worker: ``module:name`` of what makes a worker, see :class:`orchestrator.driver.launch.Launch`.
        feed: gives more when these are handed out.

    Raises:
        ApetError: what is to run is more than there is, no worker starts, no cluster, a store that not every node sees,
            a number out of range.
    """
    if max_concurrent is not None and max_concurrent < 1:
        raise ApetError(f"max_concurrent {max_concurrent}: at least 1, or none for one a GPU or CPU")
    from orchestrator.driver.ray.cluster import cluster
    from orchestrator.driver.ray.probe import probe

    began, asked = time.monotonic(), before + len(todo)
    tally = Tally((), before)
    run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    ledger, show, stop = Ledger(store), display(quiet), Stop()
    resources = resources or Resources()
    counts, started = Counts(), 0
    try:
        with stop, _summed_up(stop), cluster(address, max_concurrent) as place:
            strange = probe(store, run_id) if address is not None else {}
            with suppress(ApetError):  # what killed runs left is in nobody's way
                store.clear_runs()
            todo = ledger.lacking(todo)
            before = asked - len(todo)
            every = [*todo, *feed.possible] if feed is not None else todo
            found = _setups(every, place.machines, resources, store)
            stock = Stocks(every, found.setup, list(node_types(place.machines)), found.elsewhere)
            workers, retries = place.share_out(stock), resources.retries
            if feed is not None:  # what else there may be was only to know how many workers there is room for
                stock.empty()
                stock.add(todo)
            tally = Tally(todo, before, workers)
            dispatch = Dispatch(stock, run_id, retries, ledger.state, ledger.stored, ledger.give_up, workers, feed=feed)
            counts = dispatch.counts
            connect(dispatch, tally, show)
            dispatch.others = place.others
            for node, note in strange.items():
                dispatch.shun(node, note)
            code = digest() if address is not None else ""  # here, it is what the driver itself runs
            started = _tune(dispatch, Launch(ledger.uri, run_id, worker, code), place, stop, ledger, show)
    finally:
        show.close()
        with suppress(ApetError):  # a store that hiccups now takes nothing back of what was done
            store.end_run(run_id)  # after the workers' last heartbeats
    return Summary(
        asked=max(asked, before + tally.total),
        before=before,
        completed=counts.completed,
        diverged=counts.diverged,
        failed=counts.failed,
        wall_s=time.monotonic() - began,
        workers_started=started,
        stopped=stop.signal,
    )


@contextmanager
def _summed_up(stop: Stop) -> Iterator[None]:
    """A signal that cuts a run short, wherever it met it, is no reason to go without a summary."""
    try:
        yield
    except KeyboardInterrupt:
        if not stop.asked:
            raise


def _tune(dispatch: Dispatch, launch: Launch, place: Cluster, stop: Stop, ledger: Ledger, show: Display) -> int:
    """Run Tune until nothing waits; the number of workers that it started."""
    from orchestrator.driver.ray import loop
    from orchestrator.driver.ray.local import lookout

    look = lookout(place.private)

    def on_step() -> None:
        if stop.overdue:
            raise KeyboardInterrupt
        if not look():
            if stop.asked:  # the signal was for Ray's processes too
                raise KeyboardInterrupt
            raise ApetError(GONE)
        if stop.asked and not dispatch.stopping:
            dispatch.stopping = True
            show.note("stopping: what trains ends at its next batch and keeps a checkpoint; once more ends it at once")
            ledger.patient = False
            with suppress(ApetError, OSError):  # then packs end by themselves, or when their time is up
                ledger.store.request_stop(launch.run_id)

    workers: set[tuple[str, int]] = set()
    errors, done = 0, 0
    while dispatch.waiting and not stop.asked:
        try:
            loop.once(dispatch, launch, place, on_step, workers)
        except KeyboardInterrupt:
            dispatch.stopping, stop.ending, ledger.patient = True, True, False
        except loop.WorkersDontStart as error:
            raise ApetError(f"no worker starts, {loop.STARTS} in a row died; the last said:\n{error}") from None
        except loop.RAY_ERRORS as error:
            errors, done = 1 + errors * (dispatch.counts.done == done), dispatch.counts.done
            if errors > RESTARTS:
                raise
            show.note(f"Ray Tune stopped ({error!r}); going on with what is left")
        for pack_id in list(dispatch.running):
            dispatch.lost(pack_id, replace(explain("Ray Tune ended before the pack"), failure_class=PREEMPTED))
    loop.check(dispatch)
    stop.ending = True
    return len(workers)
