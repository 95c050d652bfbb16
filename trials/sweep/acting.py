"""Settings that can't act are left out, so that runs which are equal are one trial, whatever was written.

- `eval_every` of `steps` or more becomes null: the last step is evaluated anyway;
- `early_stop` of one less than the evaluations, or more, becomes null: the first evaluation is always the best by then,
  and the last one ends the trial anyway;
- a row limit at or above the rows that the data has becomes null;
- `evaluate_on` goes by name, without limits of train and validation rows: each target is scored by itself, on test
  rows.

A limit is compared with what is known before rows are read (``trials.sources.counts``): of a split that is cut from
train that is the most it can have; the sizes of the hub's data sets aren't known, and limits on them stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from trials.sources.counts import most_rows
from trials.trial import TaskRef, Training

LIMITS = {"train_rows": "train", "validation_rows": "validation", "test_rows": "test"}


def training(asked: Training) -> Training:
    """The settings without what can't act."""
    eval_every = asked.eval_every if asked.eval_every is not None and asked.eval_every < asked.steps else None
    times = evaluations(asked.steps, eval_every)
    early_stop = asked.early_stop if asked.early_stop is not None and asked.early_stop < times - 1 else None
    return replace(asked, eval_every=eval_every, early_stop=early_stop)


def evaluations(steps: int, eval_every: int | None) -> int:
    """How often validation is scored; always at the end."""
    return max(1, ceil(steps / eval_every)) if eval_every else 1


def limits(task: str, location: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Row limits of a task without those that leave nothing out.

    Args:
        task: its name.
        location: where its data was found.
        given: by key of the sweep file.
    """
    if not any(limit is not None for limit in given.values()):
        return dict(given)
    most = most_rows(task, location)
    return {
        key: None if limit is not None and LIMITS[key] in most and limit >= most[LIMITS[key]] else limit
        for key, limit in given.items()
    }


def targets(refs: Iterable[TaskRef]) -> tuple[TaskRef, ...]:
    """Tasks that are scored zero-shot, by name."""
    return tuple(sorted((target(ref) for ref in refs), key=lambda ref: ref.name))


def target(ref: TaskRef) -> TaskRef:
    """A task of which only test rows are scored."""
    return replace(ref, train_rows=None, validation_rows=None)
