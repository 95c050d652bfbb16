"""Commands that turn a sweep into work: plan, run, status, resubmit."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.common import (
    DataGiven,
    Json,
    MaybeStoreUri,
    Set,
    SetResources,
    StoreUri,
    SweepName,
    WeightsGiven,
    Where,
    folders,
    load_sweep,
    maybe_sweep,
    print_json,
    say,
)
from orchestrator.driver.display.streams import tolerant
from trials.errors import ApetError

if TYPE_CHECKING:
    from orchestrator.driver.summary import Summary
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial

Address = Annotated[
    str | None,
    typer.Option(metavar="ADDR", help="A running Ray cluster; without it one starts here."),
]
MaxConcurrent = Annotated[int | None, typer.Option(metavar="N", min=1, help="Packs trained at a time, at most.")]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="At most so many trials, the first ones.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would run, and run nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (plan, run, status, resubmit):
        app.command()(command)


def plan(
    context: typer.Context,
    sweep: SweepName,
    store: MaybeStoreUri = None,
    trials: Annotated[bool, typer.Option("--trials", help="One line for each trial, with its id.")] = False,
    gpu: Annotated[
        str | None, typer.Option(metavar="CARD", help="Plan for a machine with such GPUs: a100-80, h100-80, a10g-24.")
    ] = None,
    gpus: Annotated[int, typer.Option(metavar="N", min=1, help="How many GPUs it has, with --gpu.")] = 1,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Say what a sweep holds, whether it fits and what it costs.

    Exact counts, what is done and to do, GPUs, memory and time; loads no weights.
    """
    from orchestrator.commands.planned import text
    from orchestrator.planning.devices import machine_with
    from orchestrator.planning.plan import plan as make
    from orchestrator.planning.plan import states_of
    from trials.store.store import Store

    loaded = load_sweep(sweep, settings)
    known = Store(store) if store is not None else None
    if known is not None and not known.exists():
        say(f"no store at {store} yet: everything is to do")
        known = None
    if trials:
        _say_skipped(loaded)
        every = loaded.trials()
        _print_trials(every, states_of(every, known), as_json)
        return
    made = make(loaded, known, None if gpu is None else (machine_with(gpu, gpus),))
    if as_json:
        print_json(made.to_dict())
    else:
        typer.echo(text(made, verbose=context.obj.verbose > 0))


def run(
    context: typer.Context,
    sweep: SweepName,
    store: StoreUri,
    where: Where = None,
    limit: Limit = None,
    settings: Set = None,
    address: Address = None,
    max_concurrent: MaxConcurrent = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run what the store lacks of a sweep.

    Failed and diverged trials are left alone. Ctrl-C, and a SIGTERM or SIGHUP too, stops at the next batch, with
    checkpoints; run the same command again to go on.
    """
    from orchestrator.driver.run import check, missing
    from orchestrator.driver.run import run as drive
    from orchestrator.text import number
    from trials.store.store import Store

    _only_with_dry_run(dry_run, as_json)
    loaded, known = load_sweep(sweep, settings), Store(store)
    _say_skipped(loaded)
    if loaded.skipped and not loaded.trials():
        _print_trials([], {}, as_json)
        return
    if dry_run:
        asked, to_do = missing(loaded, known, where, limit)
        check(to_do, loaded.resources, address)
        _print_trials([todo.trial for todo in to_do], {}, as_json)
        say(f"{len(to_do)} of {number(asked, 'trial')} would run; nothing was run")
        return
    summary = drive(
        loaded,
        known,
        where=where,
        limit=limit,
        address=address,
        max_concurrent=max_concurrent,
        quiet=context.obj.quiet,
    )
    _finish(summary, known, {trial.trial_id for trial in loaded.trials()}, [("--sweep", _at_hand(loaded, sweep))])


def status(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Also say what is missing of it.")] = None,
    *,
    store: StoreUri,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Count trials: done, failed, diverged, running, missing.

    By backbone and task; what is missing needs the sweep.
    """
    from orchestrator.results.status import status as look
    from trials.store.store import Store

    found = look(Store(store), maybe_sweep(sweep, settings))
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(found.render())


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
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make new attempts at failed trials.

    Straight from the store: the sweep file isn't needed. Weights and data that have moved are looked for from the store
    and the current folder; elsewhere, --sweep, --data and --weights say where they are.
    """
    from orchestrator.results.places import Given
    from orchestrator.results.resubmit import failed
    from orchestrator.results.resubmit import resubmit as again
    from orchestrator.text import number
    from trials.store.store import Store
    from trials.sweep.resources import Resources

    _only_with_dry_run(dry_run, as_json)
    known, quiet = Store(store), context.obj.quiet
    given = Given(maybe_sweep(sweep, None), folders("--data", data), folders("--weights", weights))
    if dry_run:
        Resources().with_(settings or ())  # what would be refused
        to_do = failed(known, where, limit, given)
        _print_trials([todo.trial for todo in to_do], {todo.trial.trial_id: "failed" for todo in to_do}, as_json)
        say(f"{number(len(to_do), 'failed trial')} would run again; nothing was run")
        return
    options = {"address": address, "max_concurrent": max_concurrent, "quiet": quiet}
    summary = again(known, where=where, limit=limit, given=given, settings=settings or (), **options)
    if summary.asked == 0:
        say(f"nothing to do: no failed trial in {store}{' fulfils the condition' if where else ''}")
        return
    by_name = [(option, one) for option, some in (("--data", data), ("--weights", weights)) for one in some or ()]
    _finish(summary, known, known.visible(), [("--sweep", sweep), *by_name])


def _at_hand(sweep: Sweep, name: str) -> str | None:
    """What `resubmit` is to be told of a sweep that finds folders: wherever it and the store are, they are there."""
    folder = any(
        trial.backbone.weights.kind == "folder" or trial.task.data.kind == "folder" for trial in sweep.trials()
    )
    return name if folder and not sweep.settings else None


def _say_skipped(sweep: Sweep) -> None:
    """What ``over_capacity: skip`` left out, in one line; `plan` has it in full."""
    from orchestrator.text import number

    if sweep.skipped:
        count, (what, why) = len(sweep.skipped), sweep.skipped[0]
        some = f"{number(count, 'trial')} skipped" if sweep.trials() else f"no trial is left, all {count} were skipped"
        say(f"{some} (over_capacity: skip); the first: {what}: {why}; `apet plan SWEEP -v` lists them")


def _only_with_dry_run(dry_run: bool, as_json: bool) -> None:
    """A run prints no table: its results are in the store.

    Raises:
        ApetError: JSON is asked for, and there is nothing to print.
    """
    if as_json and not dry_run:
        raise ApetError(
            "--json goes with --dry-run; what a run did is in the store: `apet query`, `apet status --json`"
        )


def _print_trials(trials: Sequence[Trial], states: dict[str, str], as_json: bool) -> None:
    from orchestrator.planning.groups import counted
    from orchestrator.planning.plan import TO_DO
    from orchestrator.text import method_name, table
    from trials.backbones import loaded_parameters

    rows = [
        {
            "trial_id": trial.trial_id,
            "state": states.get(trial.trial_id, TO_DO),
            "backbone": trial.backbone.name,
            "task": trial.task.name,
            "method": method_name(trial.method, trial.backbone.family),
            "count": counted(trial.method, trial.backbone, loaded_parameters(trial.backbone)),
            "position_seed": trial.position_seed,
            "train_seed": trial.train_seed,
            "learning_rate": trial.learning_rate,
        }
        for trial in trials
    ]
    if as_json:
        print_json(rows)
    elif rows:
        typer.echo(table(list(rows[0]), [list(row.values()) for row in rows]))


def _finish(
    summary: Summary, store: Store, trial_ids: Collection[str], places: Sequence[tuple[str, str | None]]
) -> None:
    """What to do next, and the exit code: 128 and the signal that stopped it, or 1 when any trial has failed.

    Args:
        summary: what was done.
        store: where.
        trial_ids: that were asked for.
        places: options of `resubmit` that say where weights and data are.
    """
    with tolerant(sys.stderr):
        say(f"{summary}; store {store.uri}")
    visible = store.visible() if store.exists() else {}
    failed = sum(state == "failed" for trial_id, (state, _) in visible.items() if trial_id in trial_ids)
    if failed:
        told = [f"{option} {shlex.quote(value)}" for option, value in places if value is not None]
        _advise(store, trial_ids, " ".join(["apet resubmit --store", shlex.quote(store.uri), *told]))
    if summary.stopped:
        raise typer.Exit(128 + summary.stopped)
    if failed:
        raise typer.Exit(1)


def _advise(store: Store, trial_ids: Collection[str], command: str) -> None:
    """What to do about failed trials, those by their input apart: `apet resubmit` refuses data that was mended."""
    from trials.failures import BAD_INPUT

    rows = store.trials().select(["trial_id", "state", "failure_class"]).to_pylist()
    classes = [row["failure_class"] for row in rows if row["state"] == "failed" and row["trial_id"] in trial_ids]
    mend, again = classes.count(BAD_INPUT), len(classes) - classes.count(BAD_INPUT)
    if mend:
        say(
            f"{mend} failed by their weights or data: `apet show TRIAL` says why; mend them and run the sweep again, "
            f"or put back what the trials were given, and `{command}` makes new attempts"
        )
    if again:
        say(f"{again} failed: `apet show TRIAL` says why, `{command}` makes new attempts")
