"""What the store holds: trials and attempts by state, and how they were run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow.compute as pc

from orchestrator.reporting.exhibit import Exhibit, Section, markup, table
from orchestrator.reporting.study import METHODS, Study
from orchestrator.text import as_text, duration
from trials.failures import BAD_INPUT, BAD_TRIAL, INFRASTRUCTURE, OUT_OF_MEMORY, PREEMPTED

ORDER = 50
STATES = ("completed", "diverged", "failed")
COLUMNS = ("backbone", "task", "method", "completed", "diverged", "failed", "attempts", "train_s", "wall_s")


def section(study: Study) -> Section:
    """Counts and execution facts."""
    if not study.attempts.num_rows:
        return Section(
            "Overview of the store", "The store is empty: no attempt has been written. `apet run SWEEP` fills it."
        )
    lead = "One trial is one point of the sweep, one attempt one execution of it; of several, the best state is shown."
    facts = Exhibit(
        "execution",
        "How the trials were run",
        "Values over all attempts, with how many attempts have them. Scores of different precisions or versions are "
        "comparable only as far as these are.",
        ("fact", "value", "attempts"),
        _facts(study),
        body=table(("Fact", "Values"), _fact_lines(study)),
    )
    failures = [_failures(study)] if pc.any(pc.equal(study.trials["state"], "failed")).as_py() else []
    return Section("Overview of the store", lead, (_states(study), *failures, _data(study), facts))


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


_DATA = ("task", "backbone", "train_rows", "validation_rows", "test_rows", "truncated_rows")


def _data(study: Study) -> Exhibit:
    """The rows that trials read, and how many of them were too long."""
    read = Counter(tuple(row.values()) for row in study.trials.select(_DATA).to_pylist() if row["train_rows"])
    lines = sorted(read.items(), key=lambda item: (item[0][:2], -item[1], str(item[0])))
    rows = [{**dict(zip(_DATA, values, strict=True)), "trials": n} for values, n in lines]
    head = ("Task", "Backbone", "Train", "Validation", "Test", "Cut", "Trials")
    caption = (
        "Rows that trials read, of each split, and how many of these were cut, for they are longer than their task's "
        "inputs (or, in training, answers) may be; the test rows of transfer targets are counted among the cut."
    )
    body = table(head, [tuple(map(as_text, row.values())) for row in rows], numeric=range(2, 7))
    return Exhibit("data", "What the trials read", caption, (*_DATA, "trials"), rows, body=body)


_FACTS = (
    *("sweep", "device", "devices", "ranks", "precision", "zero_stage", "offload", "recompute"),
    *("weights", "host", "node_type", "commit"),
)


def _facts(study: Study) -> list[dict[str, Any]]:
    rows = study.attempts.select([*_FACTS, "versions"]).to_pylist()
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        found.update((name, str(row[name])) for name in _FACTS if row[name] not in (None, ""))
        found.update(("versions", f"{package} {version}") for package, version in row["versions"] or ())
    order = [*_FACTS, "versions"]
    lines = sorted(found.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0][1]))
    return [{"fact": fact, "value": value, "attempts": n} for (fact, value), n in lines]


def _fact_lines(study: Study) -> list[tuple[str, str]]:
    """One line a fact; how many attempts have a value is said where it isn't all of them."""
    everything = study.attempts.num_rows
    lines: dict[str, list[str]] = {}
    for row in _facts(study):
        some = "" if row["attempts"] == everything else f" ({row['attempts']} of {everything})"
        lines.setdefault(row["fact"].replace("_", " "), []).append(f"{row['value']}{some}")
    return [(fact, ", ".join(values)) for fact, values in lines.items()]
