"""Commands on files for Ray's cluster launcher."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.common import Json, MaybeStoreUri, Set, maybe_sweep, print_json, say

if TYPE_CHECKING:
    from orchestrator.clusters.check import Checked


def register(app: typer.Typer) -> None:
    """Add the commands of this module: `cluster check`."""
    group = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Look at a file for `ray up`.")
    group.command()(check)
    group.callback()(_group)
    app.add_typer(group, name="cluster")


def _group() -> None:
    """Look at a file for `ray up`."""


def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A cluster file, as `ray up` takes it.")],
    sweep: Annotated[
        str | None, typer.Argument(metavar="[SWEEP]", help="Also say which node type holds what of it, and the price.")
    ] = None,
    store: MaybeStoreUri = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a cluster file, before it costs anything.

    Offline, with no account: what Ray's launcher doesn't look at, or only when machines are up. Exit code 2 with
    errors, 0 with warnings alone.
    """
    from orchestrator.clusters.check import check as look

    checked = look(file, maybe_sweep(sweep, settings), store)
    if as_json:
        print_json(checked.to_dict())
    else:
        _print(checked)
    if checked.errors:
        raise typer.Exit(2)


def _print(checked: Checked) -> None:
    """Findings as compilers write them, then which node type holds what."""
    from orchestrator.text import number

    for one in checked.findings:
        typer.echo(f"{checked.path}:{one.line}: {one.level}: {one.problem}; {one.mend} [{one.rule}]")
    if checked.holdings:
        typer.echo("\n".join([*([""] if checked.findings else []), *_holdings(checked)]))
    warnings = len(checked.findings) - checked.errors
    if checked.findings:
        say(f"{checked.path}: {number(checked.errors, 'error')}, {number(warnings, 'warning')}")
    else:
        say(f"{checked.path}: nothing is wrong")


def _holdings(checked: Checked) -> list[str]:
    """A table of what goes where, and the sum."""
    from orchestrator.text import table

    columns = ["backbone", "trials of", "trials", "node type", "set-up", "pack", "packs a node"]
    columns += ["$ an hour", "node hours", "$ in all", "or on"]
    held = [one for one in checked.holdings if one.node_type]
    times = Counter(one.backbone for one in checked.holdings)
    rows = [
        [
            one.backbone,
            one.methods if times[one.backbone] > 1 else "all",
            one.trials,
            one.node_type,
            one.way,
            one.pack_size,
            one.packs,
            _cents(one.price),
            _cents(one.hours),
            _cents(one.cost),
            ", ".join(one.others) or None,
        ]
        for one in held
    ]
    if not held:
        return []
    if not all(one.price for one in held):
        return [table(columns, rows), "what it costs isn't known: labels apet-price say $ an hour of a node"]
    total = _cents(sum(one.cost for one in held))
    head = f"; the head takes ${checked.head_price:g} an hour as long as it is up" if checked.head_price else ""
    return [table(columns, rows), f"about ${total:,f} in all, by arithmetic, with every node full{head}"]


def _cents(value: float) -> Decimal | None:
    return round(Decimal(value), 2) if value else None
