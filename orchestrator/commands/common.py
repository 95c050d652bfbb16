"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trials.errors import ApetError

if TYPE_CHECKING:
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial

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
SetResources = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="resources.KEY=VALUE",
        help="Run with another set-up than the sweep asked for: resources.gpus=1. May be repeated.",
    ),
]
DataGiven = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="TASK=DIR", help="Where the data of a task is now, checked by content."),
]
WeightsGiven = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="NAME=DIR", help="Where the weights of a backbone are now, likewise."),
]


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]

Address = Annotated[
    str | None,
    typer.Option(metavar="ADDR", help="A running Ray cluster; without it one starts here."),
]
MaxConcurrent = Annotated[int | None, typer.Option(metavar="N", min=1, help="Packs trained at a time, at most.")]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="At most so many trials, the first ones.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would run, and run nothing.")]


def print_json(value: Any) -> None:
    """One JSON document on stdout; values that JSON lacks become text, and numbers that it lacks null."""
    typer.echo(json.dumps(_finite(value), indent=1, default=str, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    """A value with None for every NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    """One line for the person at the terminal, on stderr."""
    typer.echo(text, err=True)


def folders(option: str, values: list[str] | None) -> dict[str, list[Path]]:
    """Folders by name, as ``NAME=DIR`` gives them.

    Raises:
        ApetError: a value that is no such pair.
    """
    found: dict[str, list[Path]] = {}
    for value in values or ():
        name, equals, folder = value.partition("=")
        if not (name and equals and folder):
            example = "rte=data/rte" if option == "--data" else "t5-xl=models/t5-xl"
            raise ApetError(f"{option} {value}: give a name and a folder, as in {option} {example}")
        found.setdefault(name, []).append(Path(folder))
    return found


def one_of(options: Mapping[str, object]) -> None:
    """Refuse options of which only one can hold.

    Args:
        options: by how they are written, true where given.

    Raises:
        ApetError: more than one is given.
    """
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise ApetError(f"{' and '.join(given)} exclude each other; give one of them")


def load_sweep(name: str, settings: list[str] | None = None) -> Sweep:
    """A sweep from a file or a built-in name, with ``--set`` applied.

    Raises:
        ApetError: it isn't there, or isn't valid.
    """
    from trials.sweep.sweep import Sweep

    return Sweep.load(name).with_(settings or [])


def maybe_sweep(name: str | None, settings: list[str] | None) -> Sweep | None:
    """A sweep where one is named, as :func:`load_sweep` gives it.

    Raises:
        ApetError: as :func:`load_sweep`, or ``--set`` without a sweep.
    """
    if name is not None:
        return load_sweep(name, settings)
    if settings:
        raise ApetError(f"--set {settings[0]}: it changes a sweep, and none is given; name one")
    return None


def only_with_dry_run(dry_run: bool, as_json: bool) -> None:
    """A run prints no table: its results are in the store.

    Raises:
        ApetError: JSON is asked for, and there is nothing to print.
    """
    if as_json and not dry_run:
        raise ApetError(
            "--json goes with --dry-run; what a run did is in the store: `apet query`, `apet status --json`"
        )


def print_trials(trials: Sequence[Trial], states: dict[str, str], as_json: bool) -> None:
    """Trials with their states by id, as a table or as JSON; one without is to do."""
    from orchestrator.planning.groups import counted
    from orchestrator.planning.plan import TO_DO
    from orchestrator.text import method_name, table
    from trials.backbones import loaded_parameters

    rows = [
        {
            "trial_id": trial.trial_id,
            "state": states.get(trial.trial_id, TO_DO),
            "backbone": trial.backbone.name,
            "task": trial.task.name,
            "method": method_name(trial.method, trial.backbone.family),
            "count": counted(trial.method, trial.backbone, loaded_parameters(trial.backbone)),
            "position_seed": trial.position_seed,
            "train_seed": trial.train_seed,
            "learning_rate": trial.learning_rate,
        }
        for trial in trials
    ]
    if as_json:
        print_json(rows)
    elif rows:
        typer.echo(table(list(rows[0]), [list(row.values()) for row in rows]))


def say_skipped(sweep: Sweep) -> None:
    """What ``over_capacity: skip`` left out, in one line; `plan` has it in full."""
    from orchestrator.text import number

    if sweep.skipped:
        count, (what, why) = len(sweep.skipped), sweep.skipped[0]
        some = f"{number(count, 'trial')} skipped" if sweep.trials() else f"no trial is left, all {count} were skipped"
        say(f"{some} (over_capacity: skip); the first: {what}: {why}; `apet plan SWEEP -v` lists them")


def say_in_hand(store: Store, trials: Sequence[Trial]) -> None:
    """Trials that somebody else seems to train: two runs of one sweep don't share them out."""
    from orchestrator.text import number

    ids = {trial.trial_id for trial in trials}
    count = len(ids & store.running().keys()) if store.exists() else 0
    if count:
        have, them = ("has", "it") if count == 1 else ("have", "them")
        say(
            f"{number(count, 'trial')} {have} a heartbeat of the last minute: another run trains {them}, and "
            "both would; or it was killed just now"
        )
