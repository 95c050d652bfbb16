"""Rows of a task: read from a folder, a package or the hub, checked, and cut into splits.

The rules of the splits are the study's (Evaluation, in the design): a source's own splits stay as they are, with a
missing test replaced by validation, and a missing validation cut from train; a source of one file is cut 80/10/10.
Which rows are cut, and which a row limit keeps, follows from fixed streams, never from a trial's seeds.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from trials import streams
from trials.canonical import canonical
from trials.errors import ApetError
from trials.sources import counts
from trials.sources.checks import Answer, checked
from trials.tasks.spec import Task
from trials.trial import TaskRef
from workers.rows import readers

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Some rows of a task.

    Args:
        texts: per row the text columns, in the task's order.
        answers: per row the class, or the texts that are right.
    """

    texts: Sequence[tuple[str, ...]]
    answers: Sequence[Answer]

    def __len__(self) -> int:
        return len(self.answers)

    @cached_property
    def digest(self) -> str:
        """20 hex digits of the sha256 over texts and answers, in order."""
        state = hashlib.sha256()
        for texts, answer in zip(self.texts, self.answers, strict=True):
            state.update(f"{canonical([*texts, answer])}\n".encode())
        return state.hexdigest()[:20]

    def take(self, indices: Sequence[int]) -> Rows:
        """The rows at some indices, in that order."""
        return Rows([self.texts[i] for i in indices], [self.answers[i] for i in indices])


@dataclass(frozen=True)
class Splits:
    """The rows that a trial uses: train on, choose by, report on.

    Args:
        overlaps: validation and test rows whose text also stands in train (before row limits).
        empty: rows of the hub that have no text or no answer, and were left out.
    """

    train: Rows
    validation: Rows
    test: Rows
    overlaps: int
    empty: int


def splits_digest(train: str, validation: str, test: str) -> str:
    """20 hex digits over the digests of the rows of three splits: a row's ``data_digest``."""
    return hashlib.sha256(canonical([train, validation, test]).encode()).hexdigest()[:20]


def load_rows(task: Task, ref: TaskRef, location: str) -> Splits:
    """Read, check, cut and limit the rows of a task.

    Args:
        task: what to read.
        ref: the task as a trial names it: the upper limits of rows.
        location: ``folder:PATH`` (or the path alone), ``package:NAME`` or ``hub:ID@REVISION``.

    Raises:
        ApetError: a source that can't be read, a missing column, a row without text, an unknown label,
            or a split that is empty.
    """
    assert ref.name == task.name, f"{ref.name} is not {task.name}"
    tables = readers.read(task, location)
    # nobody can mend the hub's rows (SAMSum has a chat without a word): they are left out there, an error elsewhere
    kept = {
        split: _with_text(task, table) if location.startswith("hub:") else table for split, (table, _) in tables.items()
    }
    found = {split: _rows(task, split, kept[split], where) for split, (_, where) in tables.items()}
    empty = sum(len(table[task.answer_column]) - len(found[split]) for split, (table, _) in tables.items())
    if empty:
        _log.warning("task %s: left out %d rows of %s that have no text or no answer", task.name, empty, location)
    cut = _cut(found)
    for split, rows in cut.items():
        if not len(rows):
            raise ApetError(
                f"task {task.name}: {location} leaves no row for {split}; it needs 10 different texts or more"
            )
    limits = {"train": ref.train_rows, "validation": ref.validation_rows, "test": ref.test_rows}
    used = {split: _limit(rows, split, limits[split]) for split, rows in cut.items()}
    return Splits(used["train"], used["validation"], used["test"], _overlaps(cut), empty)


def text_key(texts: Sequence[str]) -> str:
    """What two rows of equal text agree in: lower case, letters and digits only, column by column."""
    return "\n".join(re.sub(r"[\W_]+", "", text.lower()) for text in texts)


def _with_text(task: Task, table: readers.Table) -> readers.Table:
    """The rows of a table that have a text, and an answer that isn't empty."""
    columns = [table[name] for name in task.needed if name in table]
    kept = [
        i
        for i, (*texts, answer) in enumerate(zip(*columns, strict=True))
        if any(isinstance(text, str) and text.strip() for text in texts) and (task.labels or answer)
    ]
    return {name: [column[i] for i in kept] for name, column in table.items()}


def _rows(task: Task, split: str, table: readers.Table, where: str) -> Rows:
    """Check one table, row by row."""
    missing = [name for name in task.needed if name not in table]
    if missing:
        raise ApetError(
            f"{where}: no column {', '.join(missing)}, needed by task {task.name}; found: {', '.join(table)}; "
            "use the hub's column names (`apet tasks`)"
        )
    found = list(checked(task, split, zip(*(table[name] for name in task.needed), strict=True), where))
    return Rows([texts for texts, _ in found], [answer for _, answer in found])


def _cut(found: Mapping[str, Rows]) -> dict[str, Rows]:
    """The three splits, from those that the source has."""
    train = found["train"]
    if "validation" in found and "test" in found:
        return {"train": train, "validation": found["validation"], "test": found["test"]}
    if "validation" in found or "test" in found:
        rest, validation = _cut_off(train, min(counts.CUT_ROWS, len(train) // counts.CUT_SHARE))
        return {"train": rest, "validation": validation, "test": found.get("test", found.get("validation", train))}
    rest, validation, test = _cut_off(train, len(train) // counts.CUT_SHARE, len(train) // counts.CUT_SHARE)
    return {"train": rest, "validation": validation, "test": test}


def _cut_off(rows: Rows, *sizes: int) -> list[Rows]:
    """What remains, then one part per size. Rows of equal text stay together, so a part may lack a row or two.

    Groups of equal text are dealt in the order of a fixed shuffle; one that is larger than the room left in a part
    goes to the next.
    """
    groups: dict[str, list[int]] = {}
    for i, texts in enumerate(rows.texts):
        groups.setdefault(text_key(texts), []).append(i)
    shuffled = list(groups.values())
    shuffled = [shuffled[i] for i in streams.permutation(len(shuffled), "rows", "split")]
    parts: list[list[int]] = [[] for _ in sizes]
    rest: list[int] = []
    for group in shuffled:
        room = (part for part, size in zip(parts, sizes, strict=True) if len(part) + len(group) <= size)
        next(room, rest).extend(group)
    return [rows.take(sorted(part)) for part in (rest, *parts)]


def _limit(rows: Rows, split: str, limit: int | None) -> Rows:
    """At most ``limit`` rows: a prefix of a fixed shuffle, in the source's order."""
    if limit is None or limit >= len(rows):
        return rows
    return rows.take(sorted(streams.permutation(len(rows), "rows", "limit", split)[:limit].tolist()))


def _overlaps(splits: Mapping[str, Rows]) -> int:
    train = {text_key(texts) for texts in splits["train"].texts}
    return sum(text_key(texts) in train for split in ("validation", "test") for texts in splits[split].texts)
