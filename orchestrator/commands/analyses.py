"""Commands that turn rows into results: thresholds, dispersion."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.commands.common import Format, Json, StoreUri, Where, one_of, print_json, say


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (thresholds, dispersion):
        app.command()(command)


class Floor(StrEnum):
    """What a low threshold has to be above."""

    majority = "majority"
    chance = "chance"


ThresholdsFormat = Annotated[
    Format, typer.Option("--format", help="csv, parquet: a row a curve; json: also ranges over tasks, and trends.")
]
DispersionFormat = Annotated[
    Format, typer.Option("--format", help="csv, parquet: a row a spread; json: also ratios across scales.")
]
Alpha = Annotated[float, typer.Option(help="Level of each one-sided test.")]
Confidence = Annotated[float, typer.Option("--alpha", help="One less the confidence of the intervals.")]
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


def dispersion(
    store: StoreUri,
    where: Where = None,
    alpha: Confidence = 0.05,
    form: DispersionFormat = Format.table,
    as_json: Json = False,
) -> None:
    """How far scores spread over positions, methods and counts.

    With the luck of rows and seeds taken out, and whether less on larger scales. Or why it can't be told.
    """
    from orchestrator.analysis.dispersion.dispersion import dispersion as spread
    from orchestrator.commands.rows import write
    from trials.store.store import Store

    one_of({f"--format {form.value}": form in (Format.csv, Format.parquet), "--json": as_json})
    found = spread(Store(store), where=where, alpha=alpha)
    if as_json or form is Format.json:
        print_json({"alpha": alpha, "spreads": found.rows(), "ratios": found.ratio_rows(), "notes": found.notes})
    elif form is Format.table:
        typer.echo(found.render())
    else:
        for note in found.notes:
            say(note)
        write(found.to_arrow(), form.value)
