"""How the numbers were made: the rules, the seeds, the rows, the machines and versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from orchestrator.analysis.table import rules
from orchestrator.reporting.exhibit import Exhibit, Section, table
from orchestrator.reporting.study import Study
from orchestrator.text import as_text

ORDER = 90


def section(study: Study) -> Section:
    """The rules as words, the rest as tables."""
    title = "How the numbers were made"
    if not study.attempts.num_rows:
        return Section(title, "No attempt has been written yet.")
    lead = (
        "Learning rate and best step are chosen on the validation rows, the score is the one on the test rows. "
        "Backbones are frozen but for full; a module has exactly the count that was asked for. "
        f"{' '.join(rules(study.thresholds))}"
    )
    facts = Exhibit(
        "execution",
        "How the trials were run",
        "Values over all attempts, with how many attempts have them. Scores of different precisions or versions are "
        "comparable only as far as these are.",
        ("fact", "value", "attempts"),
        _facts(study),
        body=table(("Fact", "Values"), _fact_lines(study)),
    )
    return Section(title, lead, (_seeds(study), _data(study), facts))


_SEEDS = (
    "backbone",
    "task",
    "method",
    "placement",
    "position_seeds",
    "train_seeds",
    "learning_rates",
    "steps",
    "trials",
)


def _seeds(study: Study) -> Exhibit:
    """The seeds and rates that were tried."""
    names = ("backbone", "task", "method", "placement")
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    axes = ("position_seed", "train_seed", "learning_rate", "steps")
    for row in study.trials.select([*names, *axes]).to_pylist():
        groups.setdefault(tuple(row[n] or "" for n in names), []).append(row)
    rows = []
    for key, of in sorted(groups.items()):
        tried = [_values(row[axis] for row in of) for axis in axes]
        rows.append(dict(zip(_SEEDS, (*key, *tried, len(of)), strict=True)))
    head = (
        "Backbone",
        "Task",
        "Method",
        "Placement",
        "Position seeds",
        "Train seeds",
        "Learning rates",
        "Steps",
        "Trials",
    )
    body = table(head, [tuple(map(as_text, row.values())) for row in rows], numeric=(8,))
    return Exhibit(
        "seeds", "Seeds and learning rates", "All that were tried, failed trials too.", _SEEDS, rows, body=body
    )


def _values(of: Iterable[Any]) -> str:
    return " ".join(f"{value:g}" for value in sorted({value for value in of if value is not None}))


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
