"""Commands that turn rows into results: thresholds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.commands.common import Format, Json, StoreUri, Where, one_of, print_json, say


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (thresholds,):
        app.command()(command)


class Floor(StrEnum):
    """What a low threshold has to be above."""

    majority = "majority"
    chance = "chance"


ThresholdsFormat = Annotated[
    Format, typer.Option("--format", help="csv, parquet: a row a curve; json: also ranges over tasks, and trends.")
]
Alpha = Annotated[float, typer.Option(help="Level of each one-sided test.")]
Margin = Annotated[float, typer.Option(help="How far below full fine-tuning still equals it, as a fraction.")]
FloorRule = Annotated[Floor, typer.Option(help="majority: also above a constant answer; chance: the paper's rule.")]


def thresholds(
    store: StoreUri,
    where: Where = None,
    alpha: Alpha = 0.05,
    margin: Margin = 0.02,
    floor: FloorRule = Floor.majority,
    form: ThresholdsFormat = Format.table,
    as_json: Json = False,
) -> None:
    """Bracket the thresholds of every count curve.

    Low: above it the score leaves the floor. High: above it the score equals full fine-tuning. Or unresolved,
    with the reason.
    """
    from dataclasses import asdict

    from orchestrator.analysis.thresholds import thresholds as bracket
    from orchestrator.commands.rows import write
    from trials.store.store import Store

    one_of({f"--format {form.value}": form in (Format.csv, Format.parquet), "--json": as_json})
    found = bracket(Store(store), where=where, alpha=alpha, margin=margin, floor=floor.value)
    if as_json or form is Format.json:
        rules = {"alpha": alpha, "margin": margin, "floor": floor.value}
        over = {"ranges": [asdict(r) for r in found.ranges], "trends": [asdict(t) for t in found.trends]}
        print_json({**rules, "curves": found.rows(), **over, "notes": found.notes})
    elif form is Format.table:
        typer.echo(found.render())
    else:
        for note in found.notes:
            say(note)
        write(found.to_arrow(), form.value)
