"""Commands on what is built in: sweeps, tasks, backbones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.commands.common import Json, one_of, print_json, say


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (sweeps, tasks, backbones):
        app.command()(command)


def sweeps(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print this one's YAML, to copy and edit.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of sweep files.")] = False,
    as_json: Json = False,
) -> None:
    """List the built-in sweeps, or print one."""
    from orchestrator import listing
    from trials.sweep.sweep import builtin_text, json_schema

    for option, given in (("--schema", schema), ("--json", as_json)):
        one_of({f"NAME {name}": name is not None, option: given})
    if schema:
        print_json(json_schema())
    elif name is not None:
        typer.echo(builtin_text(name), nl=False)
    else:
        _print(listing.sweeps(), as_json)
        say("\n`apet sweeps NAME > mine.yaml` is a file to edit; `apet plan NAME` says what it costs.")


def tasks(
    overlaps: Annotated[
        bool, typer.Option("--overlaps", help="Read the data that is here; count the rows whose text stands in train.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the tasks and where their data would be found now."""
    from orchestrator import listing

    _print(listing.tasks(overlaps), as_json)


def backbones(
    counts: Annotated[
        bool, typer.Option("--counts", help="Tunable parameters of each method, and what each operation holds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the backbones, where their weights are, their counts."""
    from orchestrator import listing

    if counts:
        _print_counts(listing.counts(), as_json)
    else:
        _print(listing.backbones(), as_json)


def _print_counts(rows: list[dict[str, Any]], as_json: bool) -> None:
    """The counts; as a table, those of the study's authors stand beside ours where they differ, and why below."""
    from orchestrator.text import as_text

    if as_json:
        print_json(rows)
        return
    beside = [", ".join(f"{name} {as_text(it['authors'])}" for name, it in row["differs"].items()) for row in rows]
    _print([{**row, "differs": text or None} for row, text in zip(rows, beside, strict=True)], as_json=False)
    why: dict[str, list[str]] = {}
    for row in rows:
        for name, it in row["differs"].items():
            why.setdefault(it["why"], []).append(f"{row['backbone']} {name}")
    say("\ndiffers: the count of the study's authors, where it isn't ours")
    for reason, places in why.items():
        say(f"  {', '.join(places)}: {reason}")


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    from orchestrator.text import table

    if as_json:
        print_json(rows)
    elif rows:
        typer.echo(table(list(rows[0]), [list(row.values()) for row in rows]))
