"""What a trial answers to the rows of a split, and what each answer scores: a table beside the attempt's own row.

The same of the untrained module, the frozen backbone with nothing in it, is kept once for all trials that share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trials.store.record import Record

_SHARED = [
    ("task", pa.string()),
    ("row", pa.int32()),  # its place in the split's fixed order, from 0
    ("score", pa.float64()),  # 0 or 1, or the row's own F1 or ROUGE-L, as the task's metric has it
    ("answer", pa.string()),  # the label's word, or the text as generated
]
ANSWERS = pa.schema([("trial_id", pa.string()), ("attempt_id", pa.string()), *_SHARED])
UNTRAINED = pa.schema([("untrained_key", pa.string()), *_SHARED])


@dataclass(frozen=True)
class Answered:
    """The answers to all rows of a split, in its fixed order, and the score of each, [rows]."""

    scores: Sequence[float]
    answers: Sequence[str]

    @staticmethod
    def of(table: pa.Table, rows: int) -> Answered | None:
        """From a table of one task's answers; None where it isn't of all of so many rows."""
        table = table.sort_by("row")
        if table["row"].to_pylist() != list(range(rows)):
            return None
        return Answered(table["score"].to_pylist(), table["answer"].to_pylist())


def answer_table(row: Record, answered: Mapping[str, Answered]) -> pa.Table:
    """The answers of a row's attempt, by task."""
    ids = {"trial_id": row["trial_id"], "attempt_id": row["attempt_id"]}
    return pa.concat_tables(_table(ids, task, given, ANSWERS) for task, given in answered.items())


def untrained_table(key: str, task: str, answered: Answered) -> pa.Table:
    """The answers of an untrained module."""
    return _table({"untrained_key": key}, task, answered, UNTRAINED)


def _table(ids: Mapping[str, str], task: str, given: Answered, schema: pa.Schema) -> pa.Table:
    n = len(given.scores)
    texts = [pa.repeat(pa.scalar(value, pa.string()), n) for value in (*ids.values(), task)]
    return pa.table([*texts, np.arange(n, dtype=np.int32), pa.array(given.scores, pa.float64()), given.answers], schema)
