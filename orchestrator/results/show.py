"""One trial, from a store or from a sweep: what it is, what it trains and where, how it went, how to run it alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.results.rerun import commands, failed_by_input
from orchestrator.text import as_text, cut_rows, duration, number, size, table
from trials.errors import ApetError, Problems
from trials.pack import superseded
from trials.sources.folders import SPLITS
from trials.sources.locations import plainly
from trials.store.record import BY_ROW
from trials.sweep.resources import Resources

if TYPE_CHECKING:
    from orchestrator.results.places import Given
    from trials.modules.sites import Site
    from trials.pack import Pack, Sources
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial

LOG_LINES = 15
_OUTCOME = (
    *("test_score", "validation_score", "untrained_score", "chance", "majority", "best_step", "steps_done"),
    "train_loss",
)
_EXECUTION = (
    *("device", "devices", "ranks", "zero_stage", "offload", "recompute", "precision", "pack_size", "micro_batch"),
    *("threads", "host", "started_at", "finished_at"),
)


@dataclass(frozen=True)
class Trains:
    """What a trial trains and where.

    Args:
        count: tunable scalars; for ``full`` the backbone's parameters.
        sites: how many sites carry something, and of how many; both None for ``full``.
        operations: scalars of each operation.
        blocks, kinds: scalars of each operation in each block, and at each kind of site.
    """

    count: int
    sites: tuple[int, int] | None
    operations: Mapping[str, int]
    blocks: Mapping[str, Mapping[str, int]]
    kinds: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Shown:
    """All that is known of one trial.

    Args:
        trial: itself.
        sources: where its weights and data are; of what isn't found, what its row says.
        trains: what it trains and where.
        row: its visible row, None where none is.
        attempts: every attempt's row, first to last.
        log: the last lines of the visible attempt's log.
        rerun: commands that run it alone.
        lost: what is wrong with its weights and data, where they aren't found.
        resources: what the sweep asks for that it was looked up in; all ``auto`` for a trial from a store.
    """

    trial: Trial
    sources: Sources
    trains: Trains
    row: Mapping[str, Any] | None
    attempts: tuple[Mapping[str, Any], ...]
    log: tuple[str, ...]
    rerun: tuple[str, ...]
    lost: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "trial_id": self.trial.trial_id,
            "spec": json.loads(self.trial.spec),
            "sources": vars(self.sources),
            "lost": self.lost,
            "trains": vars(self.trains),
            "row": self.row and {k: v for k, v in self.row.items() if k not in ("spec", *BY_ROW)},
            "attempts": len(self.attempts),
            "log": self.log,
            "rerun": self.rerun,
        }


def show(prefix: str, store: Store | None = None, sweep: Sweep | None = None, given: Given | None = None) -> Shown:
    """Look a trial up by its id or the beginning of it, in ``sweep`` where given, else in ``store``.

    Args:
        prefix: of its id.
        store: with its rows.
        sweep: that it is of.
        given: where to look first for the weights and data of a trial from the store.

    Raises:
        ApetError: no such trial, or several.
    """
    if sweep is not None:
        trial = _in_sweep(prefix, sweep)
        rows = _attempts(trial.trial_id, store) if store is not None and store.exists() else []
        sources, lost = sweep.sources(trial), list[str]()
        name = sweep.name
    elif store is not None:
        rows = _attempts(store.resolve(prefix), store)
        trial, sources, lost = _from_row(rows[-1], store, given)
        name = rows[-1]["sweep"] or ""
    else:
        raise ApetError("say where the trial is: --store URI (or APET_STORE), or --sweep SWEEP")
    row = _visible(trial, rows, store)
    log = store.load_log(row["log_uri"]).splitlines() if store is not None and row and row["log_uri"] else []
    return Shown(
        trial=trial,
        sources=sources,
        trains=trains(trial),
        row=row,
        attempts=tuple(rows),
        log=tuple(log[-LOG_LINES:]),
        rerun=commands(trial, row, store, sweep, name),
        lost=tuple(lost),
        resources=sweep.resources if sweep is not None else Resources(),
    )


def trains(trial: Trial) -> Trains:
    """Scalars per operation, block and kind of site, by arithmetic from the shape and the position seed."""
    from trials.backbones import loaded_parameters
    from trials.modules.counts import unit_size
    from trials.modules.sites import sites

    if trial.method.name == "full":
        return Trains(loaded_parameters(trial.backbone), None, {}, {}, {})
    from trials.modules.positions import layout

    placed = layout(trial, values=False)
    blocks: dict[str, Counter[str]] = {}
    kinds: dict[str, Counter[str]] = {}
    for op in placed.ops:
        held = [(group.site, len(group.units) * unit_size(op.op, group.site)) for group in op.groups]
        held += [(op.cut.site, len(op.cut.order))] if op.cut is not None else []
        for site, scalars in sorted(held, key=lambda item: item[0].index):
            blocks.setdefault(_block(site), Counter())[op.op] += scalars
            kinds.setdefault(site.kind, Counter())[op.op] += scalars
    places = sites(trial.backbone, trial.method.tokens or 0)
    order = {name: i for i, name in enumerate(dict.fromkeys(_block(site) for site in places))}
    return Trains(
        count=placed.count,
        sites=(len(placed.touched()), len(places)),
        operations=placed.given,
        blocks=dict(sorted(blocks.items(), key=lambda item: order.get(item[0], -1))),
        kinds=dict(sorted(kinds.items(), key=lambda item: -sum(item[1].values()))),
    )


def _block(site: Site) -> str:
    """``encoder.3``, ``decoder.final``."""
    return site.name.rpartition(".")[0]


def pack_of(shown: Shown) -> Pack:
    """A pack of this one trial, as its next attempt, for ``python -m workers.run``: set up for this machine as
    ``resources`` wish.

    Raises:
        ApetError: its weights or data aren't found, or it can't run here.
    """
    from orchestrator.planning.devices import here
    from orchestrator.planning.fit import fit
    from trials.pack import Member, Pack

    if shown.lost:
        raise Problems([f"trial {shown.trial.trial_id}: {what}" for what in shown.lost])
    attempt = 1 + max((row["attempt"] for row in shown.attempts), default=-1)
    sweep = (shown.row or {}).get("sweep") or ""
    found = fit([shown.trial], (here(),), replace(shown.resources, pack_size=1))
    if found.refusal:
        raise Problems([f"trial {shown.trial.trial_id}: {found.refusal}"])
    return Pack(f"alone-{shown.trial.trial_id}", (Member(shown.trial, attempt),), shown.sources, sweep, found.setup)


def text(shown: Shown) -> str:
    """All of it for a person."""
    trial, row = shown.trial, shown.row
    state = row["state"] if row else "not run"
    parts = [f"trial {trial.trial_id}  {state}, {number(len(shown.attempts), 'attempt')}", "", _trains_text(shown)]
    if row:
        parts += ["", _outcome_text(row)]
    if row and row["error_message"]:
        why = f" ({row['failure_class']})" if row["failure_class"] else ""
        parts += ["", f"error{why}: {row['error_class']}: {row['error_message']}"]
    if shown.log:
        parts += ["", f"last lines of its log ({row and row['log_uri']}):", *(f"  {line}" for line in shown.log)]
    found = [("weights", shown.sources.weights), ("data", shown.sources.data), *shown.sources.targets.items()]
    parts += ["", "found at", *(f"  {what}: {plainly(where)}" for what, where in found)]
    parts += [f"  not there now: {what}" for what in shown.lost]
    parts += ["", *_rerun_text(shown)]
    spec = json.dumps(json.loads(trial.spec), indent=2, ensure_ascii=False)
    return "\n".join([*parts, "", f"spec {spec}"])


def _rerun_text(shown: Shown) -> list[str]:
    if (why := superseded(shown.trial)) or not failed_by_input(shown.row):
        return [f"to run it {f'again: {why}' if why else 'alone'}", *(f"  {command}" for command in shown.rerun)]
    mended, restored = shown.rerun
    made = ["with its weights or data mended, which makes new trials", f"  {mended}"]
    return [*made, "with what it was given back in its place", f"  {restored}"]


def _trains_text(shown: Shown) -> str:
    trial, what = shown.trial, shown.trains
    head = f"{trial.method.name} on {trial.backbone.name}, {trial.task.name}: {as_text(what.count)} tunable parameters"
    if what.sites is None:
        return f"{head}, all of the backbone"
    lines = [f"{head} at {what.sites[0]} of {what.sites[1]} sites"]
    lines += ["", table(["operation", "scalars"], list(what.operations.items()))]
    for name, places in (("block", what.blocks), ("site", what.kinds)):
        rows = [[place, sum(n.values()), *(n.get(op) for op in what.operations)] for place, n in places.items()]
        lines += ["", table([name, "scalars", *what.operations], rows)]
    return "\n".join(lines)


def _outcome_text(row: Mapping[str, Any]) -> str:
    lines: list[tuple[str, object]] = [(name, row[name]) for name in (*_OUTCOME, *_EXECUTION) if row[name] is not None]
    lines += [
        (name, duration(row[name])) for name in ("load_s", "train_s", "eval_s", "wall_s") if row[name] is not None
    ]
    if row["peak_memory_bytes"]:
        lines.append(("peak memory", size(row["peak_memory_bytes"])))
    if row["truncated_rows"] is not None:
        rows = sum(row[f"{split}_rows"] for split in SPLITS)
        lines.append(("cut rows", cut_rows(row["truncated_rows"], rows, bool(row["transfer_sources"]))))
    lines += [(f"zero-shot {task}", score) for task, score in (row["transfer"] or {}).items()]
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(f"{name.ljust(width)}  {as_text(value)}" for name, value in lines)


def _in_sweep(prefix: str, sweep: Sweep) -> Trial:
    found = [trial for trial in sweep.trials() if trial.trial_id.startswith(prefix)]
    if len(found) == 1 and prefix:
        return found[0]
    if not found:
        raise ApetError(f"no trial {prefix!r} in sweep {sweep.name}; `apet plan SWEEP --trials` lists them")
    some = ", ".join(trial.trial_id for trial in found[:8])
    raise ApetError(f"{prefix!r} begins the ids of {len(found)} trials: {some}; give more digits")


def _attempts(trial_id: str, store: Store) -> list[dict[str, Any]]:
    """Every attempt at a trial, first to last, map columns as dicts."""
    import pyarrow.compute as pc

    attempts = store.attempts()
    rows = attempts.filter(pc.equal(attempts["trial_id"], trial_id)).to_pylist(maps_as_pydicts="strict")
    return sorted(rows, key=lambda row: (row["attempt"], row["attempt_id"]))


def _visible(trial: Trial, rows: Sequence[dict[str, Any]], store: Store | None) -> dict[str, Any] | None:
    if store is None or not rows:
        return None
    import pyarrow.compute as pc

    visible = store.trials()
    chosen = visible.filter(pc.equal(visible["trial_id"], trial.trial_id))["attempt_id"][0].as_py()
    return next(row for row in rows if row["attempt_id"] == chosen)


def _from_row(row: Mapping[str, Any], store: Store, given: Given | None) -> tuple[Trial, Sources, list[str]]:
    from orchestrator.results.places import Places
    from trials.trial import Trial

    trial = Trial.from_spec(row["spec"])
    return trial, *Places(store, given).sources(trial, row)
