"""submit: a cluster's head does the work, as it does for resubmit with --cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.common import Limit, MaxConcurrent, Set, StoreUri, SweepName, Where, load_sweep, say
from orchestrator.driver.display.streams import tolerant
from trials.errors import ApetError

if TYPE_CHECKING:
    from orchestrator.clusters.job import Job
    from trials.sweep.sweep import Sweep

_CLUSTER = "The file of `ray up`, or the address of a Ray dashboard: http://localhost:8265."
Cluster = Annotated[str, typer.Option("--cluster", metavar="FILE", help=_CLUSTER)]
MaybeCluster = Annotated[str | None, typer.Option("--cluster", metavar="FILE", help=_CLUSTER)]
Down = Annotated[
    bool, typer.Option("--down-when-done", help="The cluster ends itself with the job, wherever this machine is then.")
]
MaxHours = Annotated[
    float | None, typer.Option(metavar="H", help="Stop the job after so many hours, with checkpoints.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Don't follow the job's log.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(submit)


def submit(
    context: typer.Context,
    sweep: SweepName,
    cluster: Cluster,
    store: StoreUri,
    where: Where = None,
    limit: Limit = None,
    settings: Set = None,
    max_concurrent: MaxConcurrent = None,
    down_when_done: Down = False,
    max_hours: MaxHours = None,
    detach: Detach = False,
) -> None:
    """Run what the store lacks of a sweep on a cluster that `ray up` started.

    The head runs it as a job of Ray; this machine only follows its log. Ctrl-C ends the following, not the job; the
    same command follows it again. The exit code is that of `apet run`.
    """
    from orchestrator.clusters.job import Job

    loaded = load_sweep(sweep, settings)
    if where is not None:
        _check_condition(loaded, where)
    file = sweep_file(loaded)
    words = (*file, *options(store, where, limit, max_concurrent, context.obj.quiet))
    look = (sweep, *(word for one in settings or () for word in ("--set", one)))
    job = Job(loaded.name, store, ("apet", "run", *words), file, max_hours, down_when_done, look)
    hand_over(job, cluster, named_folders(loaded), detach)


def sweep_file(sweep: Sweep | None) -> dict[str, str]:
    """A sweep's text by the name of its file on the head; none without a sweep."""
    return {} if sweep is None else {f"{sweep.name}.yaml": sweep.standalone()}


def named_folders(sweep: Sweep | None) -> dict[str, Sequence[str]]:
    """Folders that a sweep names, by its keys; they are this machine's."""
    from trials.sweep import paths

    return {} if sweep is None else {key: paths.folders_of(sweep.standalone(), key) for key in paths.KEYS}


def options(
    store: str, where: str | None, limit: int | None, max_concurrent: int | None, quiet: bool
) -> tuple[str, ...]:
    """What `run` and `resubmit` on a head are told alike."""
    given = {"--store": store, "--where": where, "--limit": limit, "--max-concurrent": max_concurrent}
    words = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return (*words, "--address", "auto", *(["--quiet"] if quiet else []))


def hand_over(job: Job, cluster: str, folders: Mapping[str, Sequence[object]], detach: bool) -> None:
    """Submit a job, follow it unless ``detach``, and exit as it does.

    Args:
        folders: of this machine that the job needs, by what names them.

    Raises:
        typer.Exit: its exit code isn't 0.
    """
    from orchestrator.clusters.submit import check
    from orchestrator.clusters.submit import submit as begin

    def write(text: str) -> None:
        with tolerant(sys.stderr):
            sys.stderr.write(text)
            sys.stderr.flush()

    check(job, cluster, folders)
    code = begin(job, cluster, follow=not detach, say=say, write=write)
    if code:
        raise typer.Exit(code)


def _check_condition(sweep: Sweep, where: str) -> None:
    """Refuse here what the head would refuse.

    Raises:
        ApetError: a condition that is wrong, or that no trial fulfils.
    """
    from orchestrator.results.query import nothing, select_trials

    if not select_trials(sweep.trials(), where):
        raise ApetError(f"{nothing(where, len(sweep.trials()))}; `apet plan SWEEP --trials` lists them")
