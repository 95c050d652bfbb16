"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from trials.sweep import Sweep

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a built-in sweep.")]
_STORE = "A folder, or a URI such as s3://bucket/study."
StoreUri = Annotated[str, typer.Option("--store", envvar="APET_STORE", metavar="URI", help=_STORE)]
MaybeStoreUri = Annotated[str | None, typer.Option("--store", envvar="APET_STORE", metavar="URI", help=_STORE)]
Where = Annotated[
    str | None,
    typer.Option(metavar="COND", help="Only trials for which this SQL condition holds: \"backbone = 't5-xl'\"."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the sweep file: training.steps=30. May be repeated."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def print_json(value: Any) -> None:
    """One JSON document on stdout; values that JSON lacks become text."""
    typer.echo(json.dumps(value, indent=1, default=str, ensure_ascii=False))


def say(text: str) -> None:
    """One line for the person at the terminal, on stderr."""
    typer.echo(text, err=True)


def load_sweep(name: str, settings: list[str] | None = None) -> Sweep:
    """A sweep from a file or a built-in name, with ``--set`` applied.

    Raises:
        ApetError: it isn't there, or isn't valid.
    """
    from trials.sweep import Sweep

    return Sweep.load(name).with_(settings or [])
