"""Commands that narrow thresholds: refine, and ``run --until-resolved``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.analyses import Alpha, Floor, FloorRule, Margin
from orchestrator.commands.common import Json, Set, StoreUri, SweepName, Where, load_sweep, print_json, say
from orchestrator.commands.outcome import finish

if TYPE_CHECKING:
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep

UntilResolved = Annotated[
    bool,
    typer.Option("--until-resolved", help="Run only what its thresholds need, one thing after the other."),
]
BudgetText = Annotated[
    str | None,
    typer.Option("--budget", metavar="BUDGET", help="With --until-resolved, of this call: trials=40 or hours=1.5."),
]
Trials = Annotated[
    str | None,
    typer.Option("--budget", metavar="trials=N", help="So many trials: also those that may be needed after these."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (refine,):
        app.command()(command)


def refine(
    sweep: SweepName,
    store: StoreUri,
    where: Where = None,
    budget: Trials = None,
    settings: Set = None,
    alpha: Alpha = 0.05,
    margin: Margin = 0.02,
    floor: FloorRule = Floor.majority,
    as_json: Json = False,
) -> None:
    """Print the next trials that narrow a sweep's thresholds, as a sweep file.

    Bisection of its counts, seeds that confirm, full fine-tuning where there is too little. `apet run` takes the file;
    `apet run SWEEP --until-resolved` does it all. How far every threshold has come is said beside it.
    """
    from orchestrator.refining.budget import Budget
    from orchestrator.refining.refine import refine as find
    from orchestrator.refining.rules import Rules
    from trials.store.store import Store

    loaded, known = load_sweep(sweep, settings), Store(store)
    limit = None if budget is None else Budget.of(budget)
    found = find(loaded, known, where=where, budget=limit, rules=Rules(alpha, margin, floor.value))
    if as_json:
        print_json(found.to_dict())
        return
    if not known.exists():
        say(f"no store at {store} yet: everything is to do")
    say(found.standings.render())
    typer.echo(found.text() or "# all is resolved that the trials of this sweep can resolve", nl=not found.text())


def check_options(until_resolved: bool, budget: str | None, limit: int | None, dry_run: bool) -> None:
    """Refuse options of ``run`` that don't go together.

    Raises:
        ApetError: a budget without --until-resolved, or --limit or --dry-run with it.
    """
    from trials.errors import ApetError

    if budget is not None and not until_resolved:
        raise ApetError(f"--budget {budget}: goes with --until-resolved; --limit N runs the first N trials of a sweep")
    if until_resolved and limit is not None:
        raise ApetError(f"--limit {limit}: not with --until-resolved; --budget trials={limit} runs so many at most")
    if until_resolved and dry_run:
        raise ApetError("--dry-run: not with --until-resolved; `apet refine SWEEP` prints what it would run next")


def run_refined(
    sweep: Sweep, store: Store, budget: str | None, places: Sequence[tuple[str, str | None]], how: Mapping[str, Any]
) -> None:
    """Run what thresholds need, and print them; unresolved ones are a result.

    Args:
        sweep: whose thresholds are wanted.
        store: where rows are and go.
        budget: as given.
        places: see :func:`orchestrator.commands.outcome.finish`.
        how: what else `run` was told.
    """
    from orchestrator.refining.budget import Budget
    from orchestrator.refining.run import run_until_resolved

    done = run_until_resolved(sweep, store, budget=Budget.of(budget), **how)
    typer.echo(done.standings.render())
    if not done.trial_ids:
        say("nothing was run: no trial of this sweep would say more")
    else:
        finish(done.summary, store, done.trial_ids, places)
