"""What every row of a task must hold: texts, and an answer. Plan and worker check with this, the one before the other.

A file that passed isn't read for it again: the cache remembers the digest of its content.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trials.canonical import canonical
from trials.errors import ApetError
from trials.sources.digests import cache_folder, file_digest
from trials.sources.rows import rows_of
from trials.tasks.spec import Task

RULES = "rows-1"  # another name when a rule here or in trials.sources.rows changes
Answer = int | tuple[str, ...]  # a class, an index into ``task.labels``; or the texts that are right, best first


def check_file(task: Task, split: str, path: Path) -> None:
    """Check all rows of a local file, or remember that they were found good.

    Raises:
        ApetError: the file can't be read, or a row lacks a text or a right answer: with file, row and column.
    """
    lists = not task.labels and isinstance(task.example[task.answer_column], list)
    said = [RULES, file_digest(path), path.suffix, *task.needed, len(task.labels), lists]
    root = cache_folder()
    passed = root and root / "checked" / hashlib.sha256(canonical(said).encode()).hexdigest()[:32]
    if passed is not None and passed.is_file():
        return
    for _ in checked(task, split, rows_of(path, task.needed, task), str(path)):
        pass
    if passed is not None:
        with contextlib.suppress(OSError):  # a cache that can't be written only costs time
            passed.parent.mkdir(parents=True, exist_ok=True)
            passed.touch()


def checked(
    task: Task, split: str, rows: Iterable[Sequence[Any]], where: str
) -> Iterable[tuple[tuple[str, ...], Answer]]:
    """Texts and answer of each row.

    Args:
        task: that the rows are of.
        split: train, validation or test.
        rows: the values of ``task.needed``, the answer last.
        where: the file or split in messages.

    Raises:
        ApetError: a row without a text, or without a right answer.
    """
    answer_of = _label if task.labels else _targets
    for number, (*texts, answer) in enumerate(rows, start=1):
        for name, text in zip(task.columns, texts, strict=True):
            if not _is_text(text):
                raise ApetError(f"{where}, row {number}, column {name}: {text!r} is no text; remove the row or fill it")
        if not any(text.strip() for text in texts):
            raise ApetError(f"{where}, row {number}, column {task.columns[0]}: no text; remove the row or fill it")
        yield tuple(texts), answer_of(task, split, answer, f"{where}, row {number}, column {task.answer_column}")


def _is_text(value: object) -> bool:
    """Whether it is text that a tokenizer and a digest can take: half a pair of surrogates is none."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _targets(task: Task, split: str, answer: object, where: str) -> tuple[str, ...]:
    """The texts that are right: one, or a list of them."""
    found = (answer,) if isinstance(answer, str) else tuple(answer) if isinstance(answer, list | tuple) else ()
    for text in found or (answer,):
        if not _is_text(text) or not str(text).strip():
            raise ApetError(
                f"{where}: {answer!r} holds no answer; {task.name} needs a text, or a list of texts: "
                "remove the row or fill it"
            )
    return found


def _label(task: Task, split: str, label: object, where: str) -> int:
    """The class that a number names: 1 and 1.0 are the same one."""
    number = label
    if isinstance(label, float) and label.is_integer():
        number = int(label)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(task.labels):
        return number
    valid = ", ".join(f"{i} ({name})" for i, name in enumerate(task.labels))
    step = ""
    if number == -1:
        step = "; -1 marks a row that nobody labelled: " + (
            "take the test file out of the folder, and validation is the test split"
            if split == "test"
            else "leave such rows out"
        )
    raise ApetError(f"{where}: unknown label {label!r}; labels of {task.name}: {valid}{step}")
