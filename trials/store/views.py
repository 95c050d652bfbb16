"""What readers see of a store's attempts: visible rows, the selected learning rate.

Tables in, tables out; no file is read here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trials import keys
from trials.store import arrays
from trials.store.record import STATES


def once(table: pa.Table, part: np.ndarray[Any, Any]) -> pa.Table:
    """A table where every attempt's rows are from one part only, its first.

    While small files are being merged into a large one, an attempt may stand in both.

    Args:
        table: rows with an ``attempt_id``, any number each.
        part: [rows] a number for the file that each row is from.
    """
    if not len(table):
        return table
    attempt = arrays.codes(table["attempt_id"])
    first = np.full(attempt.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, attempt, part)
    keep = part == first[attempt]
    return table if keep.all() else table.filter(arrays.booleans(keep))


def visible(attempts: pa.Table) -> pa.Table:
    """The visible row of every trial, by ``trial_id``.

    Completed before diverged before failed, then the highest attempt number, then ``attempt_id``; no
    clock decides.
    """
    rank = pc.index_in(attempts["state"], value_set=arrays.texts(STATES))
    order = pc.sort_indices(
        attempts.append_column("_rank", rank),
        sort_keys=[
            ("trial_id", "ascending"),
            ("_rank", "ascending"),
            ("attempt", "descending"),
            ("attempt_id", "ascending"),
        ],
    )
    ids = arrays.codes(attempts["trial_id"])[arrays.positions(order)]
    first = np.ones(len(ids), dtype=bool)
    first[1:] = ids[1:] != ids[:-1]
    return attempts.take(order.filter(arrays.booleans(first)))


def with_groups(trials: pa.Table) -> pa.Table:
    """Rows with two more columns, ``cell_id`` and ``curve_id`` of their trials."""
    groups = [keys.cell_and_curve(spec) for spec in trials["spec"].to_pylist()]
    for name, values in (("cell_id", [cell for cell, _ in groups]), ("curve_id", [curve for _, curve in groups])):
        trials = trials.append_column(name, arrays.texts(values))
    return trials


def selected(trials: pa.Table) -> pa.Table:
    """Per cell, the rows of the learning rate that is best on validation.

    Rates are ranked by how many of the cell's seeds have a validation score, then by the mean of these
    scores, then the smaller rate first. Only completed and diverged rows enter: a failed one is no result.

    Args:
        trials: visible rows :func:`with_groups`.
    """
    results = trials.filter(arrays.among(trials["state"], ["completed", "diverged"]))
    cells, rates = results["cell_id"].to_pylist(), results["learning_rate"].to_pylist()
    scores: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell, rate, score in zip(cells, rates, results["validation_score"].to_pylist(), strict=True):
        found = scores[cell][rate]
        if score is not None:
            found.append(score)
    best = {cell: max(by_rate, key=lambda rate: _merit(rate, by_rate[rate])) for cell, by_rate in scores.items()}
    return results.filter(arrays.booleans(best[cell] == rate for cell, rate in zip(cells, rates, strict=True)))


def _merit(rate: float, scores: list[float]) -> tuple[int, float, float]:
    return len(scores), math.fsum(scores) / len(scores) if scores else -math.inf, -rate
