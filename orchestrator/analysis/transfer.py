"""Transfer: how well a module trained on one task does on another, untrained, relative to one trained there.

Relative performance is the score on the target, never trained on, over the score of the same spec trained on it: the
reference, as the view ``transfers`` finds it, with the same seeds. Over seeds it is the ratio of the means, of runs
that have a reference, so that one poor reference can't make it large.

It is no share of what can be learnt: who learns nothing has ``floor`` over ``reference``. The floor is on the target's
test rows, from the runs trained there: the largest of chance, the most frequent label and the untrained module, which
stands under the same head or words and so is the same module as that of the source.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.asked import asked, check_level
from orchestrator.analysis.failed import by_class
from orchestrator.analysis.flat import to_arrow
from orchestrator.analysis.matrices import COLUMNS, Matrix, cells, matrices
from orchestrator.analysis.within import Within, within
from orchestrator.text import number, table

if TYPE_CHECKING:
    import pyarrow as pa

    from trials.store.store import Store


@dataclass(frozen=True)
class Transfer:
    """The matrices of relative performance, and what categories of tasks have to do with it.

    Args:
        cells: rows with the columns of :data:`orchestrator.analysis.matrices.COLUMNS`, one a matrix, source and target.
            A matrix is of one backbone and module: its trials share all but the task and the seeds. Where source and
            target are one task it is the score of the runs trained there, 1 by definition.
        contrasts: within a category less across, one a matrix.
        alpha: one less the confidence of the intervals.
        notes: on the whole selection.
    """

    cells: tuple[Mapping[str, Any], ...]
    contrasts: tuple[Within, ...]
    alpha: float
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One plain row a matrix, source and target."""
        return [dict(cell) for cell in self.cells]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table, typed also when it is empty."""
        return to_arrow(self.rows(), COLUMNS)

    def render(self) -> str:
        """Each matrix as aligned text, the contrasts, and notes."""
        return _render(self)


def transfer(store: Store | pa.Table, *, where: str | None = None, alpha: float = 0.05) -> Transfer:
    """Matrices of relative performance of a store's runs, with the learning rate that was chosen.

    Args:
        store: a store, or the table that :func:`orchestrator.analysis.failed.with_failed` makes of its ``trials``.
        where: SQL condition over the columns of ``trials``; references are looked for in the whole store.
        alpha: one less the confidence of the intervals.

    Raises:
        ApetError: alpha out of range, or a condition that SQL refuses.
    """
    check_level(alpha)
    every, chosen, note = asked(store, where)
    notes = [note] if note else []
    made = matrices(chosen, every)
    if lost := _lost(chosen, made):
        notes.append(f"{number(len(lost), 'failed trial')} left out: {by_class(lost)}")
    if not made and not notes:
        notes.append("no run was scored on other tasks: give a sweep `evaluate_on`, as the built-in `transfer` has it")
    rows = tuple(cell for matrix in made for cell in cells(matrix))
    return Transfer(rows, tuple(within(matrix, alpha) for matrix in made), alpha, tuple(notes))


def _lost(trials: pa.Table, made: Sequence[Matrix]) -> list[dict[str, Any]]:
    """Failed trials that would be in a matrix."""
    from trials.keys import matrix
    from trials.store import arrays

    keys = {one.key for one in made}
    failed = trials.filter(arrays.among(trials["state"], ["failed"])).select(["spec", "failure_class"]).to_pylist()
    return [row for row in failed if matrix(row["spec"]) in keys]


def _render(found: Transfer) -> str:
    by_matrix: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for cell, label in ((c, _label(c)) for c in found.cells):
        by_matrix[label].append(cell)
    text: list[str] = []
    for label, some in by_matrix.items():
        text += [f"{label}: relative performance, trained on the task of the line, scored on that of the column"]
        text += [_square(some), ""]
    text += [f"within categories and across them, interval at {1 - found.alpha:g}"] if found.contrasts else []
    text += [f"  {one}" for one in found.contrasts]
    said: dict[str, list[str]] = defaultdict(list)
    for cell in found.cells:
        if cell["notes"]:
            said[cell["notes"]].append(f"{cell['source']} → {cell['target']}")
    text += [f"note: {note} ({', '.join(dict.fromkeys(whose))})" for note, whose in said.items()]
    text += [f"note: {note}" for note in found.notes]
    if found.cells:
        text += ["", "in brackets: what learning nothing scores, relative likewise; –: no reference, see the notes"]
    return "\n".join(text)


def _label(cell: Mapping[str, Any]) -> str:
    count = None if cell["count"] is None else f"{cell['count']:,}"
    names = (cell["backbone"], cell["method"], cell["placement"], cell["operations"], count, cell["variant"])
    return " · ".join(filter(None, names))


def _square(some: Iterable[Mapping[str, Any]]) -> str:
    by_pair = {(cell["source"], cell["target"]): cell for cell in some}
    sources, targets = (list(dict.fromkeys(pair[side] for pair in by_pair)) for side in (0, 1))
    floors = {cell["target"]: cell["floor"] / cell["reference"] for cell in by_pair.values() if _floored(cell)}
    head = [f"{target} [{floors[target]:.2f}]" if target in floors else target for target in targets]
    lines = [[source, *(_shown(by_pair.get((source, target))) for target in targets)] for source in sources]
    return table(["", *head], lines)


def _floored(cell: Mapping[str, Any]) -> bool:
    return bool(cell["reference"]) and cell["floor"] is not None


def _shown(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else "–" if cell["relative"] is None else f"{cell['relative']:.2f}"
