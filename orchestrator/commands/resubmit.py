"""resubmit: new attempts at failed trials, here or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from orchestrator.commands.common import (
    Address,
    DataGiven,
    DryRun,
    Json,
    Limit,
    MaxConcurrent,
    SetResources,
    StoreUri,
    WeightsGiven,
    Where,
    folders,
    maybe_sweep,
    one_of,
    only_with_dry_run,
    print_trials,
    say,
)
from orchestrator.commands.outcome import finish
from orchestrator.commands.submit import (
    Detach,
    Down,
    MaxHours,
    MaybeCluster,
    hand_over,
    named_folders,
    options,
    sweep_file,
)
from trials.errors import ApetError


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(resubmit)


def resubmit(
    context: typer.Context,
    store: StoreUri,
    where: Where = None,
    limit: Limit = None,
    sweep: Annotated[
        str | None, typer.Option(metavar="SWEEP", help="Take weights and data from where this sweep has them now.")
    ] = None,
    data: DataGiven = None,
    weights: WeightsGiven = None,
    settings: SetResources = None,
    address: Address = None,
    max_concurrent: MaxConcurrent = None,
    cluster: MaybeCluster = None,
    down_when_done: Down = False,
    max_hours: MaxHours = None,
    detach: Detach = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make new attempts at failed trials.

    Straight from the store: the sweep file isn't needed. Weights and data that have moved are looked for from the store
    and the current folder; elsewhere, --sweep, --data and --weights say where they are. With --cluster the head of a
    cluster does it, as `apet submit` has it run a sweep.
    """
    from orchestrator.clusters.job import Job
    from orchestrator.results.places import Given
    from orchestrator.results.resubmit import failed
    from orchestrator.results.resubmit import resubmit as again
    from orchestrator.text import number
    from trials.store.store import Store
    from trials.sweep.resources import Resources

    only_with_dry_run(dry_run, as_json)
    one_of({"--cluster": cluster, "--address": address, "--dry-run": dry_run})
    Resources().with_(settings or ())  # refused before anything is looked up
    quiet = context.obj.quiet
    given = Given(maybe_sweep(sweep, None), folders("--data", data), folders("--weights", weights))
    by_name = [(option, one) for option, some in (("--data", data), ("--weights", weights)) for one in some or ()]
    if cluster is not None:
        file = sweep_file(given.sweep)
        told = [*(("--sweep", name) for name in file), *by_name, *(("--set", one) for one in settings or ())]
        words = (*options(store, where, limit, max_concurrent, quiet), *(word for pair in told for word in pair))
        job = Job(
            "resubmit", store, ("apet", "resubmit", *words), file, max_hours, down_when_done, (sweep,) if sweep else ()
        )
        places = {f"--{what}": [folder] for what, _, folder in given.folders()}
        hand_over(job, cluster, {**named_folders(given.sweep), **places}, detach)
        return
    _only_with_cluster({"--down-when-done": down_when_done, "--max-hours": max_hours, "--detach": detach})
    known = Store(store)
    if dry_run:
        to_do = failed(known, where, limit, given)
        print_trials([todo.trial for todo in to_do], {todo.trial.trial_id: "failed" for todo in to_do}, as_json)
        say(f"{number(len(to_do), 'failed trial')} would run again; nothing was run")
        return
    chosen = {"address": address, "max_concurrent": max_concurrent, "quiet": quiet}
    summary = again(known, where=where, limit=limit, given=given, settings=settings or (), **chosen)
    if summary.asked == 0:
        say(f"nothing to do: no failed trial in {store}{' fulfils the condition' if where else ''}")
        return
    finish(summary, known, known.visible(), [("--sweep", sweep), *by_name])


def _only_with_cluster(options: Mapping[str, object]) -> None:
    """Refuse what is for a cluster, where none is named.

    Raises:
        ApetError: such an option is given.
    """
    if given := [name for name, value in options.items() if value]:
        raise ApetError(f"{' and '.join(given)}: for a job on a cluster; name its file: --cluster cluster.yaml")
