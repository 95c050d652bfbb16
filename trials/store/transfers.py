"""The view ``transfers``: what rows score on tasks that they weren't trained on, beside rows that were.

The score of a row on a target is relative to its **reference**: the selected row that differs in nothing but being
trained on the target, seeds included. Scored on the same test rows; trained on as many rows, which is one of

- the same limits of train and validation rows in both specs, or, where no such row is there,
- limits that one of the two doesn't have, and its data doesn't exceed (these were left out of its spec).

Where several rows are such (they were scored on different targets, say), it is their mean.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from trials import keys
from trials.store import arrays

_LIMITS = ("train_rows", "validation_rows")


class _Limit(NamedTuple):
    """The limit of a spec, and how many rows there were; None: none, and not known."""

    most: int | None
    rows: int | None


class _Trained(NamedTuple):
    """A row trained on its own task."""

    limits: tuple[_Limit, ...]
    score: float


def transfers(trials: pa.Table, chosen: pa.Table) -> pa.Table:
    """One line per row and target task, the columns of the row and five more.

    These are ``target``, ``target_score`` (never trained on it), ``relative`` (to the reference; null where there is
    none, or it scores 0), ``reference`` (its test score, of several the mean) and ``references`` (how many).

    Args:
        trials: visible rows.
        chosen: rows among which references are looked for, one learning rate a cell.
    """
    maps = [dict(scores or ()) for scores in trials["transfer"].to_pylist()]
    targets = {target for scores in maps for target in scores}
    trained = _trained(chosen.filter(arrays.among(chosen["task"], targets)))
    specs, counts = trials["spec"], trials.select(_LIMITS).to_pylist()
    rows: list[int] = []
    lines: list[tuple[str, float | None, float | None, float | None, int]] = []
    for row, scores in enumerate(maps):
        if not scores:
            continue
        spec = specs[row].as_py()
        shared, limits = keys.transfers(spec), _limits(spec, counts[row])
        for target, score in sorted(scores.items()):
            found = _references(limits, trained.get(shared.get(target, ""), []))
            reference = math.fsum(found) / len(found) if found else None
            relative = score / reference if reference and score is not None else None
            rows.append(row)
            lines.append((target, score, relative, reference, len(found)))
    table = trials.take(arrays.integers(rows))
    kinds = {"target": pa.string(), "target_score": pa.float64(), "relative": pa.float64(), "reference": pa.float64()}
    for index, (name, kind) in enumerate((*kinds.items(), ("references", pa.int64()))):
        table = table.append_column(name, pa.array([line[index] for line in lines], kind))
    return table


def _trained(rows: pa.Table) -> dict[str, list[_Trained]]:
    """Rows with a score, by what they share with a row that transfers to their task."""
    found: dict[str, list[_Trained]] = defaultdict(list)
    for row in rows.select(["spec", "test_score", *_LIMITS]).to_pylist():
        if row["test_score"] is not None:
            found[keys.transfer(row["spec"])].append(_Trained(_limits(row["spec"], row), row["test_score"]))
    return found


def _limits(spec: str, row: Mapping[str, Any]) -> tuple[_Limit, ...]:
    task = json.loads(spec)["task"]
    return tuple(_Limit(task[name], row[name]) for name in _LIMITS)


def _references(mine: tuple[_Limit, ...], trained: list[_Trained]) -> list[float]:
    """The scores of the rows that were trained on as many rows."""
    same = [one.score for one in trained if all(a.most == b.most for a, b in zip(mine, one.limits, strict=True))]
    return same or [one.score for one in trained if all(map(_alike, mine, one.limits))]


def _alike(mine: _Limit, theirs: _Limit) -> bool:
    """Whether one limit may have been asked of both."""
    if mine.most is None or theirs.most is None:
        free, bound = (mine, theirs.most) if mine.most is None else (theirs, mine.most)
        return bound is None or (free.rows is not None and free.rows <= bound)
    return mine.most == theirs.most
