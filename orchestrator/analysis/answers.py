"""The answers of runs on the test rows, as the tests read them: kept as a row of the store has them until asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.analysis.contrast import Array
from trials.store.scores import unpack_scores

Replicate = tuple[int | None, int | None]  # (position seed, train seed)
COLUMNS = ("right", "untrained_right", "untrained_score", "majority_right")
FULL = 0  # stands for the count of full fine-tuning
NONE = "no run has a score"


@dataclass(frozen=True)
class Answers:
    """What runs answered on the same test rows.

    Args:
        rows: how many test rows there are.
        right: scores on them, by count and replicate; packed, see :mod:`trials.store.scores`.
        untrained: those of the untrained module that a replicate began from, the head or the words being its own.
        constant: those of the most frequent test label; None where the task has no labels.
    """

    rows: int
    right: Mapping[tuple[int, Replicate], bytes]
    untrained: Mapping[Replicate, bytes]
    constant: bytes | None

    def scores(self, count: int, replicates: Iterable[Replicate]) -> Array:
        """[replicates, rows] of the modules trained at a count."""
        return np.array([unpack_scores(self.right[count, name], self.rows) for name in replicates]).reshape(
            -1, self.rows
        )

    def untrained_scores(self, replicates: Iterable[Replicate]) -> Array:
        """[replicates, rows] of the untrained ones; of a replicate that has none, those of its train seed, or any."""
        by_seed = {train: data for (_, train), data in self.untrained.items()}
        anyone = next(iter(by_seed.values()))
        packed = [self.untrained.get(name, by_seed.get(name[1], anyone)) for name in replicates]
        unpacked = {data: unpack_scores(data, self.rows) for data in set(packed)}
        return np.stack([unpacked[data] for data in packed])

    def constant_scores(self) -> Array | None:
        """[1, rows] of the constant answer."""
        return None if self.constant is None else unpack_scores(self.constant, self.rows)[None]


def read(runs: Iterable[tuple[int, Replicate, Mapping[str, Any]]]) -> Answers | str:
    """The answers of scored rows, or in words why there are none.

    Args:
        runs: count, replicate and row, which has ``test_rows``, ``majority`` and :data:`COLUMNS`.
    """
    runs = list(runs)
    rows = [row for _, _, row in runs]
    if not rows:
        return NONE
    bare = sum(row["right"] is None or row["test_rows"] is None for row in rows)
    if bare:
        return f"{bare} of its {len(rows)} scored rows have no answers (written before schema 4)"
    lengths = sorted({row["test_rows"] for row in rows})
    if len(lengths) > 1:
        return f"its runs were scored on different numbers of test rows ({', '.join(map(str, lengths))})"
    untrained = {name: row["untrained_right"] for _, name, row in runs if row["untrained_right"] is not None}
    if not untrained:
        return "its rows have no answers of the untrained module"
    constant = next((row["majority_right"] for row in rows if row["majority_right"] is not None), None)
    if constant is None and any(row["majority"] is not None for row in rows):
        return "its rows don't say where the most frequent label is right"
    return Answers(lengths[0], {(count, name): row["right"] for count, name, row in runs}, untrained, constant)
