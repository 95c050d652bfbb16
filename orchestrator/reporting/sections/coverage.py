"""Coverage: what the sweeps asked for, what is there, what is missing, what failed and by what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import pyarrow.compute as pc

from orchestrator.reporting.cells import METHODS
from orchestrator.reporting.exhibit import Exhibit, Section, markup, table
from orchestrator.reporting.study import Study
from orchestrator.text import as_text, duration
from trials.errors import ApetError
from trials.failures import BAD_INPUT, BAD_TRIAL, INFRASTRUCTURE, OUT_OF_MEMORY, PREEMPTED
from trials.sweep.sweep import Sweep

ORDER = 80
STATES = ("completed", "diverged", "failed")
COLUMNS = ("backbone", "task", "method", "completed", "diverged", "failed", "attempts", "train_s", "wall_s")


def section(study: Study) -> Section:
    """Trials by state, what the sweeps still lack, what failed."""
    if not study.attempts.num_rows:
        return Section("Coverage", "The store is empty: no attempt has been written. `apet run SWEEP` fills it.")
    lead = "One trial is one point of the sweep, one attempt one execution of it; of several, the best state is shown."
    failures = [_failures(study)] if pc.any(pc.equal(study.trials["state"], "failed")).as_py() else []
    return Section("Coverage", lead, (_states(study), *_asked(study), *failures))


_ASKED = ("sweep", "backbone", "task", "asked", "completed", "diverged", "failed", "missing")


def _asked(study: Study) -> Iterable[Exhibit]:
    """What each sweep asked for, beside what is there of it."""
    if study.where is not None or not study.sweeps:
        return
    found = dict(zip(*(study.trials[name].to_pylist() for name in ("trial_id", "state")), strict=True))
    rows: list[dict[str, Any]] = []
    unread = []
    for name, where, text in study.sweeps:
        counted = _counted(where, text, found)
        if counted is None:
            unread.append(PurePath(where).stem)
        for (backbone, task), states in (counted or {}).items():
            shares = {state: states[state] for state in (*STATES, "missing")}
            rows.append({"sweep": name, "backbone": backbone, "task": task, "asked": states.total(), **shares})
    lines = [tuple(as_text(row[key]) for key in _ASKED) for row in rows]
    caption = (
        "Each sweep that was run into the store, as it was then; missing: no attempt has ended. "
        "`apet run SWEEP` runs what is missing, `apet resubmit` what failed."
    )
    if unread:
        caption += f" Not told here, since weights or data aren't those of then: {', '.join(unread)}."
    body = table([name.capitalize() for name in _ASKED], lines, numeric=range(3, 8)) if rows else ""
    yield Exhibit("asked", "What the sweeps asked for", caption, _ASKED, rows, body=body)


def _counted(where: str, text: str, found: Mapping[str, str]) -> dict[tuple[str, str], Counter[str]] | None:
    """A sweep's trials by backbone, task and state; None where its trials can't be told, or none of them is here."""
    try:
        trials = Sweep.parse(text, where).trials()
    except ApetError:
        return None
    if not any(trial.trial_id in found for trial in trials):
        return None
    counted: dict[tuple[str, str], Counter[str]] = {}
    for trial in trials:
        state = found.get(trial.trial_id, "missing")
        counted.setdefault((trial.backbone.name, trial.task.name), Counter())[state] += 1
    return counted


def _states(study: Study) -> Exhibit:
    rows = list(_groups(study))
    totals = {key: sum(row[key] for row in rows) for key in COLUMNS[3:]}
    tiles = [
        (f"{study.trials.num_rows:,}", "trials"),
        *((f"{totals[state]:,}", state) for state in STATES),
        (f"{totals['attempts']:,}", "attempts"),
        (duration(totals["train_s"]), "training time"),
    ]
    shown = "".join(markup("<div><b>{}</b><span>{}</span></div>", value, name) for value, name in tiles)
    lines = [
        (r["backbone"], r["task"], r["method"], *(str(r[k]) for k in COLUMNS[3:7]), duration(r["train_s"]))
        for r in rows
    ]
    head = ("Backbone", "Task", "Method", "Completed", "Diverged", "Failed", "Attempts", "Training time")
    caption = (
        "Trials by the state of their visible row, attempts as executed. Training time is summed over attempts. Failed "
        "trials have no result and are in no figure; `apet resubmit` makes new attempts."
    )
    body = f'<div class="tiles">{shown}</div>{table(head, lines, numeric=range(3, 8))}'
    return Exhibit("overview", f"Store {study.name}", caption, COLUMNS, rows, body=body)


def _groups(study: Study) -> Iterable[dict[str, Any]]:
    names = ["backbone", "task", "method"]
    attempts = study.attempts.select([*names, "backbone_parameters", "train_s", "wall_s"]).to_pylist()
    states = Counter(
        (*(row[n] for n in names), row["state"]) for row in study.trials.select([*names, "state"]).to_pylist()
    )
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in sorted(attempts, key=_order):
        groups.setdefault(tuple(row[n] for n in names), []).append(row)
    for key, rows in groups.items():
        seconds = {column: math.fsum(r[column] or 0.0 for r in rows) for column in ("train_s", "wall_s")}
        counts = {state: states[(*key, state)] for state in STATES}
        yield {**dict(zip(names, key, strict=True)), **counts, "attempts": len(rows), **seconds}


def _order(row: Mapping[str, Any]) -> tuple[int | str, ...]:
    """Small backbones first, then as in a table of methods."""
    method = METHODS.index(row["method"]) if row["method"] in METHODS else len(METHODS)
    return (row["backbone_parameters"] or 0, row["backbone"], row["task"], method, row["method"])


_FAILURES = ("failure_class", "error_class", "backbone", "task")
_HELP = {
    BAD_TRIAL: "this trial can't be done as it is: see its error",
    BAD_INPUT: "mend the weights or data and run the sweep again, or put back what the trials were given and resubmit",
    OUT_OF_MEMORY: "resubmit where there is more memory",
    INFRASTRUCTURE: "resubmit: the worker, its card, the store or the network failed",
    PREEMPTED: "resubmit: the machine was taken away",
}


def _failures(study: Study) -> Exhibit:
    """Failed trials by what made them fail."""
    failed = study.trials.filter(pc.equal(study.trials["state"], "failed")).select(_FAILURES).to_pylist()
    found = Counter(tuple(row[name] or "" for name in _FAILURES) for row in failed)
    lines = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rows = [{**dict(zip(_FAILURES, values, strict=True)), "trials": n} for values, n in lines]
    shown = [
        (cls or "–", error, backbone, task, f"{n:,}", _HELP.get(cls, "")) for (cls, error, backbone, task), n in lines
    ]
    body = table(("Class", "Error", "Backbone", "Task", "Trials", "What may help"), shown, numeric=(4,))
    caption = "Trials whose every attempt failed, by the class of the last failure; `apet show TRIAL` has the error."
    return Exhibit("failures", "What failed", caption, (*_FAILURES, "trials"), rows, body=body)
