"""Commands that turn a sweep into work: plan, run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.commands.common import (
    Address,
    DryRun,
    Json,
    Limit,
    MaxConcurrent,
    MaybeStoreUri,
    Set,
    StoreUri,
    SweepName,
    Where,
    load_sweep,
    only_with_dry_run,
    print_json,
    print_trials,
    say,
    say_in_hand,
    say_skipped,
)
from orchestrator.commands.outcome import at_hand, finish
from orchestrator.commands.refining import BudgetText, UntilResolved, check_options, run_refined


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (plan, run):
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
        say_skipped(loaded)
        every = loaded.trials()
        print_trials(every, states_of(every, known), as_json)
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
    resolve: UntilResolved = False,
    budget: BudgetText = None,
) -> None:
    """Run what the store lacks of a sweep.

    Failed and diverged trials are left alone. Ctrl-C, and a SIGTERM or SIGHUP too, stops at the next batch, with
    checkpoints; run the same command again to go on. With --until-resolved only what the thresholds need is run, with
    further seeds where they need those; they are printed at the end.
    """
    from orchestrator.driver.run import check, missing
    from orchestrator.driver.run import run as drive
    from orchestrator.text import number
    from trials.store.store import Store

    only_with_dry_run(dry_run, as_json)
    check_options(resolve, budget, limit, dry_run)
    loaded, known = load_sweep(sweep, settings), Store(store)
    say_skipped(loaded)
    if loaded.skipped and not loaded.trials():
        print_trials([], {}, as_json)
        return
    say_in_hand(known, loaded.trials())
    if dry_run:
        asked, to_do = missing(loaded, known, where, limit)
        check(to_do, loaded.resources, address)
        print_trials([todo.trial for todo in to_do], {}, as_json)
        say(f"{len(to_do)} of {number(asked, 'trial')} would run; nothing was run")
        return
    places = [("--sweep", at_hand(loaded, sweep))]
    how: dict[str, Any] = {"where": where, "address": address, "max_concurrent": max_concurrent}
    how["quiet"] = context.obj.quiet
    if resolve:
        run_refined(loaded, known, budget, places, how)
        return
    finish(drive(loaded, known, limit=limit, **how), known, {trial.trial_id for trial in loaded.trials()}, places)
