"""A group's runs as an array: every level with every block on every task, or what had to be left out for that."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.contrast import Array
from orchestrator.analysis.dispersion.groups import POSITION, Group
from trials.store.scores import unpack_scores

_WORDS = {POSITION: ("position seed", "train seed"), "methods": ("method", "train seed"), "counts": ("count", "seeds")}


@dataclass(frozen=True)
class Layout:
    """Levels × blocks of runs, all of them with a score on all tasks.

    Args:
        tasks: names.
        levels: what is compared.
        blocks: what it is repeated over.
        scores: [levels, blocks] means over tasks.
        answers: by task, [levels, blocks, rows] scores of the test rows; or why there are none.
        rows: how many test rows the task with the fewest has.
        notes: what was left out.
    """

    tasks: tuple[str, ...]
    levels: tuple[Hashable, ...]
    blocks: tuple[Hashable, ...]
    scores: Array
    answers: tuple[Array, ...] | str
    rows: int | None
    notes: tuple[str, ...] = ()


def layout(group: Group, tasks: Collection[str] | None = None, levels: Collection[Hashable] | None = None) -> Layout:
    """The runs of a group as an array.

    Where some lack a score, the level, block or task goes that lacks the largest part of its own, until none lacks
    any: so most runs stay. A mean over tasks is never over other tasks for one seed than for the next.

    Args:
        group: the runs.
        tasks: those to take; None: all that have a score.
        levels: likewise.
    """
    chosen = [
        place for place in group.runs if (tasks is None or place[0] in tasks) and (levels is None or place[1] in levels)
    ]
    axes = [sorted({place[axis] for place in chosen}, key=_sorted) for axis in range(3)]
    there = np.zeros([len(axis) for axis in axes], bool)
    index = [{name: i for i, name in enumerate(axis)} for axis in axes]
    for place in chosen:
        there[tuple(at[name] for at, name in zip(index, place, strict=True))] = True
    dropped: list[tuple[int, Hashable]] = []
    while there.size and not there.all():
        axis, at = _emptiest(there)
        dropped.append((axis, axes[axis].pop(at)))
        there = np.delete(there, at, axis)
    kept = tuple(tuple(axis) for axis in axes)
    return _filled(group, kept, _said(group.what, dropped))


def _sorted(name: Hashable) -> tuple[bool, int, str]:
    return (name is None, name if isinstance(name, int) else 0, str(name))


def _emptiest(there: np.ndarray) -> tuple[int, int]:
    """Axis and index of what lacks the largest part; of equals a block, then a level, then a task."""
    best, where = -1.0, (0, 0)
    for axis in (2, 1, 0):
        lacks = 1 - there.mean(tuple(a for a in range(3) if a != axis))
        if lacks.max() > best + 1e-12:
            best, where = float(lacks.max()), (axis, int(lacks.argmax()))
    return where


def _said(what: str, dropped: Sequence[tuple[int, Hashable]]) -> tuple[str, ...]:
    if not dropped:
        return ()
    words = ("task", *_WORDS[what])
    names = ", ".join(f"{words[axis]} {_plain(name)}" for axis, name in sorted(dropped, key=lambda d: -d[0]))
    return (f"left out, since they don't have all scores: {names}",)


def _plain(name: Hashable) -> str:
    return "/".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _filled(group: Group, kept: tuple[tuple[Hashable, ...], ...], notes: tuple[str, ...]) -> Layout:
    tasks, levels, blocks = kept
    runs = [[[group.runs[str(task), level, block] for block in blocks] for level in levels] for task in tasks]
    scores = np.array([[[run["test_score"] for run in of] for of in by_level] for by_level in runs], float)
    scores = scores.reshape(len(tasks), len(levels), len(blocks))
    flat = [[run for of in by_level for run in of] for by_level in runs]
    lengths = [{run["test_rows"] for run in of} for of in flat]
    known = [n for of in lengths for n in of if n is not None]
    answers: tuple[Array, ...] | str
    if bare := sum(run["right"] is None or run["test_rows"] is None for of in flat for run in of):
        answers = f"{bare} of its {scores.size} scored rows have no answers (written before schema 4)"
    elif several := next((of for of in lengths if len(of) > 1), None):
        answers = f"its runs were scored on different numbers of test rows ({', '.join(map(str, sorted(several)))})"
    elif known and min(known) < 2:
        answers = "one test row says nothing of the luck of rows"
    else:
        answers = tuple(
            np.array([unpack_scores(run["right"], run["test_rows"]) for run in of]).reshape(
                len(levels), len(blocks), -1
            )
            for of in flat
        )
    mean = scores.mean(0) if tasks else np.zeros((len(levels), len(blocks)))
    return Layout(tuple(map(str, tasks)), levels, blocks, mean, answers, min(known, default=None), notes)
