"""Commands that read a store: show, query, report, export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.analyses import Alpha, Floor, FloorRule, Margin
from orchestrator.commands.common import (
    DataGiven,
    Format,
    Json,
    MaybeStoreUri,
    Set,
    StoreUri,
    WeightsGiven,
    Where,
    folders,
    maybe_sweep,
    one_of,
    print_json,
    say,
)

if TYPE_CHECKING:
    from orchestrator.results.show import Shown
    from trials.store.store import Store


class ModuleFormat(StrEnum):
    """What a trained module is exported as."""

    safetensors = "safetensors"
    peft = "peft"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (show, query, report, export):
        app.command()(command)


TrialId = Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, or the beginning of it.")]


def show(
    trial: TrialId,
    store: MaybeStoreUri = None,
    sweep: Annotated[
        str | None, typer.Option(metavar="SWEEP", help="Look in a sweep: a file, or a built-in one.")
    ] = None,
    settings: Set = None,
    data: DataGiven = None,
    weights: WeightsGiven = None,
    pack: Annotated[
        bool, typer.Option("--pack", help="Print the pack of this trial alone, for `python -m workers.run`.")
    ] = False,
    answers: Annotated[
        bool, typer.Option("--answers", help="Some of its answers to the test rows; all of them with --json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one trial: what it trains and where, how it went.

    Also the error and log of a failed one, and the command that runs it alone.
    """
    from orchestrator.results.places import Given
    from orchestrator.results.show import pack_of, text
    from orchestrator.results.show import show as look
    from trials.store.store import Store

    one_of({"--pack": pack, "--json": as_json})
    one_of({"--pack": pack, "--answers": answers})
    one_of({"--sweep": sweep is not None, "--data or --weights": data or weights})
    given = Given(None, folders("--data", data), folders("--weights", weights))
    at = Store(store) if store is not None else None
    found = look(trial, at, maybe_sweep(sweep, settings), given)
    if answers:
        _show_answers(found, at, as_json)
    elif pack:
        typer.echo(pack_of(found).to_json())
    elif as_json:
        print_json(found.to_dict())
    else:
        typer.echo(text(found))


def _show_answers(found: Shown, store: Store | None, as_json: bool) -> None:
    from orchestrator.results import answers
    from trials.errors import ApetError

    if store is None:
        raise ApetError("--answers: they are in a store, and none is given; add --store URI, or set APET_STORE")
    given = answers.answers(found, store)
    if as_json:
        print_json([vars(one) for one in given])
    else:
        typer.echo(answers.text(given, found))


def query(
    sql: Annotated[
        str,
        typer.Argument(
            metavar="SQL", help="Read-only, over trials, selected, attempts, curves, answers, untrained, transfers."
        ),
    ],
    store: StoreUri,
    form: Annotated[
        Format, typer.Option("--format", help="How rows are printed; parquet needs a pipe or a file.")
    ] = Format.table,
    as_json: Json = False,
) -> None:
    """Read the store with SQL."""
    from orchestrator.commands.rows import write
    from orchestrator.results.query import ask
    from trials.store.store import Store

    one_of({f"--format {form.value}": form in (Format.csv, Format.parquet), "--json": as_json})
    found = ask(Store(store), sql)
    for note in found.notes:
        say(note)
    write(found.table, "json" if as_json else form.value)


def report(
    store: StoreUri,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The page, and each figure and table as SVG, PNG and CSV.")
    ] = Path("report"),
    where: Where = None,
    alpha: Alpha = 0.05,
    margin: Margin = 0.02,
    floor: FloorRule = Floor.majority,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it again while a sweep fills the store, until Ctrl-C.")
    ] = False,
) -> None:
    """Write figures and tables as one self-contained HTML page."""
    from trials.store.store import Store

    rules: dict[str, Any] = {"where": where, "alpha": alpha, "margin": margin, "floor": floor.value}
    if watch:
        _watch(Store(store), out, rules)
        return
    from orchestrator.reporting.report import report as write

    typer.echo(str(write(Store(store), out, **rules)))


def _watch(store: Store, out: Path, rules: dict[str, Any]) -> None:
    """Say each time that the report was written; Ctrl-C is how it ends."""
    from orchestrator.reporting.watching import watch
    from orchestrator.text import number

    looks = watch(store, out, **rules)
    try:
        for look in looks:
            say(look.error or f"{look.page}: {number(look.attempts, 'attempt')}")
    except KeyboardInterrupt:
        looks.close()


def export(
    trial: TrialId,
    store: StoreUri,
    form: Annotated[
        ModuleFormat,
        typer.Option("--format", help="safetensors: the store's own file; peft: an adapter for Hugging Face PEFT."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or an empty folder.")],
) -> None:
    """Take a trained module out of the store.

    Every method but full as safetensors, which apet loads again; lora and prompt also as adapters that PEFT loads.
    """
    from orchestrator.results.export import export as write
    from trials.store.store import Store

    done = write(trial, Store(store), form.value, out)
    for path in done.files:
        typer.echo(str(path))
    for note in done.notes:
        say(note)
