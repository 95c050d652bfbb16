"""Commands that turn rows into results: thresholds, dispersion, convergence, transfer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from orchestrator.commands.common import Format, Json, StoreUri, Where, one_of, print_json, say

if TYPE_CHECKING:
    import pyarrow as pa


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (thresholds, dispersion, convergence, transfer):
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
    from trials.store.store import Store

    _check(form, as_json)
    found = bracket(Store(store), where=where, alpha=alpha, margin=margin, floor=floor.value)
    rules = {"alpha": alpha, "margin": margin, "floor": floor.value}
    over = {"ranges": [asdict(r) for r in found.ranges], "trends": [asdict(t) for t in found.trends]}
    _print(found, form, as_json, {**rules, "curves": found.rows(), **over})


DispersionFormat = Annotated[
    Format, typer.Option("--format", help="csv, parquet: a row a spread; json: also ratios across scales.")
]
Confidence = Annotated[float, typer.Option("--alpha", help="One less the confidence of the intervals.")]


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
    from trials.store.store import Store

    _check(form, as_json)
    found = spread(Store(store), where=where, alpha=alpha)
    _print(found, form, as_json, {"alpha": alpha, "spreads": found.rows(), "ratios": found.ratio_rows()})


ConvergenceFormat = Annotated[
    Format, typer.Option("--format", help="csv, parquet: a row a run; json: also cells over their seeds, and scales.")
]
Share = Annotated[float, typer.Option(help="Of full fine-tuning's validation score, which is to be reached.")]


def convergence(
    store: StoreUri,
    where: Where = None,
    share: Share = 0.9,
    alpha: Confidence = 0.05,
    form: ConvergenceFormat = Format.table,
    as_json: Json = False,
) -> None:
    """Count the steps to a share of full fine-tuning's score.

    By the first evaluation that reaches it; a run that never does is said to, with the steps that it had. Full
    fine-tuning is looked for in the whole store: the same backbone, task and settings.
    """
    from orchestrator.analysis.convergence import convergence as reach
    from trials.store.store import Store

    _check(form, as_json)
    found = reach(Store(store), where=where, share=share, alpha=alpha)
    over = {"cells": [s.row() for s in found.summaries], "scales": [p.row() for p in found.paces]}
    _print(found, form, as_json, {"share": share, "alpha": alpha, **over, "runs": found.rows()})


TransferFormat = Annotated[
    Format, typer.Option("--format", help="csv, parquet: a row a source and target; json: also the contrasts.")
]


def transfer(
    store: StoreUri,
    where: Where = None,
    alpha: Confidence = 0.05,
    form: TransferFormat = Format.table,
    as_json: Json = False,
) -> None:
    """Compare scores on other tasks with those of training there.

    A matrix a backbone and placement, and the mean within categories of tasks less that across them.
    """
    from orchestrator.analysis.transfer import transfer as compare
    from trials.store.store import Store

    _check(form, as_json)
    found = compare(Store(store), where=where, alpha=alpha)
    contrasts = [contrast.row() for contrast in found.contrasts]
    _print(found, form, as_json, {"alpha": alpha, "cells": found.rows(), "contrasts": contrasts})


class _Result(Protocol):
    """What every analysis gives."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def to_arrow(self) -> pa.Table: ...

    def render(self) -> str: ...


def _check(form: Format, as_json: bool) -> None:
    one_of({f"--format {form.value}": form in (Format.csv, Format.parquet), "--json": as_json})


def _print(found: _Result, form: Format, as_json: bool, document: Mapping[str, Any]) -> None:
    """Print a result: ``document``, with its notes, is what JSON has of it."""
    from orchestrator.commands.rows import write

    if as_json or form is Format.json:
        print_json({**document, "notes": found.notes})
    elif form is Format.table:
        typer.echo(found.render())
    else:
        for note in found.notes:
            say(note)
        write(found.to_arrow(), form.value)
