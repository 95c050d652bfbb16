"""status: how far a store is, once or as it goes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.common import Json, Set, StoreUri, maybe_sweep, one_of, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.results.status import Status
    from orchestrator.results.watch import Look


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(status)


def status(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Also say what is missing of it.")] = None,
    *,
    store: StoreUri,
    settings: Set = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again; with a sweep, until it is through.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count trials: done, failed, diverged, running, missing.

    By backbone and task; what is missing needs the sweep. With --watch a terminal shows the table as it changes, a pipe
    gets a line for each change.
    """
    from orchestrator.results.status import status as look
    from orchestrator.results.watch import looks
    from trials.store.store import Store

    one_of({"--watch": watch, "--json": as_json})
    known, wanted = Store(store), maybe_sweep(sweep, settings)
    if watch:
        _watch(looks(known, wanted))
        return
    found = look(known, wanted)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(found.render())


def _watch(found: Iterator[Look]) -> None:
    """Show looks until there are no more.

    Raises:
        typer.Exit: 130, on Ctrl-C: nothing was interrupted but the looking.
    """
    try:
        if sys.stdout.isatty():
            _redraw(found)
        else:
            _lines(found)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _redraw(found: Iterator[Look]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for look in found:
            parts = [look.error] if look.status is None else [look.status.render(), look.status.render_working()]
            then = "the sweep is through" if look.last else f"looking every {look.every_s:.0f} s; Ctrl-C ends it"
            live.update(Text("\n\n".join([*filter(None, parts), f"{_clock()}, {then}"])), refresh=True)


def _lines(found: Iterator[Look]) -> None:
    last = ""
    for look in found:
        line = look.error if look.status is None else _line(look.status)
        if line != last:
            typer.echo(f"{_clock()}  {line}")
            sys.stdout.flush()
        last = line


def _line(status: Status) -> str:
    """The totals, in one line."""
    total = status.total
    missing = "" if total.missing is None else f", {total.missing} missing"
    return f"{total.done} done, {total.failed} failed, {total.diverged} diverged, {total.running} running{missing}"


def _clock() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
