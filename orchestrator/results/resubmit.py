"""New attempts at failed trials, from the store alone: the sweep file isn't needed.

A row says what a trial is; where its weights and data are now, :mod:`orchestrator.results.places` finds out. What it
may use is in the store's own copy of its sweep, as that was run last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.driver.run import check, check_limit, execute, make
from orchestrator.driver.summary import Summary
from orchestrator.planning import reachable
from orchestrator.planning.packing import Todo
from orchestrator.results.places import Given, Places
from trials.errors import ApetError
from trials.pack import superseded
from trials.store.store import Store
from trials.sweep.resources import Resources
from trials.trial import SPEC_VERSION, Trial

COLUMNS = ("trial_id", "spec", "weights_source", "data_source", "transfer_sources", "sweep")


def resubmit(
    store: Store,
    *,
    where: str | None = None,
    limit: int | None = None,
    given: Given | None = None,
    settings: Sequence[str] = (),
    address: str | None = None,
    max_concurrent: int | None = None,
    quiet: bool = False,
) -> Summary:
    """Make one new attempt at every trial whose visible row is a failed one.

    Args:
        store: has the rows, and gets the new ones.
        where: SQL condition over the columns of ``trials``: only those failed trials.
        limit: at most so many, the first by id.
        given: where to look for weights and data first: a sweep, folders by name.
        settings: ``resources.KEY=VALUE``, in place of what the trials' sweeps say.
        address: of a running Ray cluster; None runs on this machine.
        max_concurrent: packs at a time at most.
        quiet: say only what went wrong.

    Raises:
        ApetError: no store, a wrong condition or limit, weights or data that are found nowhere or out of reach, a given
            folder that no trial needs or that has another content, resources that this release can't train with.
    """
    Resources().with_(settings)  # refused before anything is looked up
    todo = failed(store, where, limit, given)
    if not todo:
        return Summary(0, 0)
    by_resources = _by_resources(todo, store, settings)
    for resources, some in by_resources:
        check(some, resources, address)
    if address is None:
        reachable.check((one.trial, one.sources) for one in todo)
    make(store)
    done = []
    for resources, some in by_resources:
        done.append(execute(some, store, resources, address=address, max_concurrent=max_concurrent, quiet=quiet))
        if done[-1].stopped:
            break
    return _sum(done, asked=len(todo))


def failed(store: Store, where: str | None = None, limit: int | None = None, given: Given | None = None) -> list[Todo]:
    """The next attempt at every failed trial, its weights and data found.

    Raises:
        ApetError: as :func:`resubmit`.
    """
    check_limit(limit)
    rows = store.trials()
    rows = rows.filter(pc.equal(rows["state"], "failed"))
    if where is not None:
        from orchestrator.results.query import where as choose

        rows = choose(rows, where)
    highest = _highest_attempts(store.attempts())
    chosen, places = rows.slice(0, limit).select(COLUMNS).to_pylist(), Places(store, given)
    todo = [_todo(row, highest[row["trial_id"]] + 1, places) for row in chosen]
    _check_versions(todo)
    places.check()
    return todo


def _by_resources(todo: Iterable[Todo], store: Store, settings: Sequence[str]) -> list[tuple[Resources, list[Todo]]]:
    """Trials by what their sweeps may use, but for what is set now, so that each is run with its own."""
    known: dict[str, Resources] = {}
    groups: dict[Resources, list[Todo]] = defaultdict(list)
    for one in todo:
        if one.sweep not in known:
            text = store.load_sweep(one.sweep)
            known[one.sweep] = (Resources() if text is None else Resources.of(text)).with_(settings)
        groups[known[one.sweep]].append(one)
    return list(groups.items())


def _sum(done: Sequence[Summary], asked: int) -> Summary:
    """Several runs as one."""
    names = ("before", "completed", "diverged", "failed", "wall_s", "workers_started")
    totals = {name: sum(getattr(summary, name) for summary in done) for name in names}
    return Summary(asked, **totals, stopped=done[-1].stopped)


def _highest_attempts(attempts: pa.Table) -> dict[str, int]:
    grouped = attempts.group_by("trial_id").aggregate([("attempt", "max")])
    return dict(zip(grouped["trial_id"].to_pylist(), grouped["attempt_max"].to_pylist(), strict=True))


def _todo(row: dict[str, Any], attempt: int, places: Places) -> Todo:
    """A trial from its row; ``places`` keeps what is wrong with its sources."""
    trial = Trial.from_spec(row["spec"])
    sources, _ = places.sources(trial, row)
    return Todo(trial, sources, attempt, row["sweep"] or "")


def _check_versions(todo: Iterable[Todo]) -> None:
    """Make sure that no trial is of an older release.

    Raises:
        ApetError: some are; it names them, and says how to leave them out.
    """
    older = [one.trial for one in todo if superseded(one.trial)]
    if older:
        named = ", ".join(trial.trial_id for trial in older[:8]) + (", …" if len(older) > 8 else "")
        sweeps = ", ".join(sorted({one.sweep for one in todo if one.sweep and superseded(one.trial)}))
        raise ApetError(
            f"{len(older)} failed trials can't be made again ({named}): of them, {superseded(older[0])}"
            f"{f' (sweep {sweeps})' if sweeps else ''}. To leave them out: "
            f"""--where "spec LIKE '%\"spec_version\":{SPEC_VERSION},%'\""""
        )
