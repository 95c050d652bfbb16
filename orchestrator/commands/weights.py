"""Commands on the weights that this machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.common import Json, print_json, say
from trials.errors import ApetError


def register(app: typer.Typer) -> None:
    """Add the commands of this module: `weights` lists, `weights fetch` fetches."""
    group = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
    group.callback()(weights)
    group.command()(fetch)
    app.add_typer(group, name="weights")


def weights(context: typer.Context, as_json: Json = False) -> None:
    """List the weights on this machine, or fetch some ahead.

    Downloads of the hub, packages, and converted copies of large files, with size, precision and place.
    """
    from orchestrator.weights import weights as look

    if context.invoked_subcommand is not None:
        if as_json:
            raise ApetError(f"--json stands behind the command: apet weights {context.invoked_subcommand} … --json")
        return
    rows = look()
    _print(rows, as_json)
    if not rows:
        say("no weights are here yet; `apet weights fetch NAME` fetches some, `apet backbones` lists the names")


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A built-in backbone; any name with --model-dir.")],
    precision: Annotated[
        str | None,
        typer.Option(metavar="P", help="bf16 or fp32, of a converted copy; else what auto comes to on this machine."),
    ] = None,
    model_dir: Annotated[
        Path | None, typer.Option("--model-dir", metavar="DIR", help="A folder with them, instead of the hub.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch, check and convert the weights of a backbone.

    A large .bin is converted once into sharded safetensors, in APET_CACHE; a conversion that was killed goes on.
    """
    from orchestrator.weights import fetch as have

    rows = have(name, precision, model_dir)
    _print(rows, as_json)
    say(f"{name}: its weights are here" if rows else f"{name}: its weights are random, and made whenever it is loaded")


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    from orchestrator.text import size, table

    if as_json:
        print_json(rows)
    elif rows:
        shown = [{**row, "bytes": size(row["bytes"])} for row in rows]
        typer.echo(table([name.replace("bytes", "size") for name in shown[0]], [list(row.values()) for row in shown]))
