"""What ``trials.sweep.acting`` leaves out changes no run, and no more could be left out: tried on the real rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from folders_for_tests import write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from trials_for_tests import make_trial

from trials import tasks
from trials.pack import Member
from trials.sources.locations import find_data
from trials.sweep import acting
from trials.trial import TaskRef, Training
from workers.pack.state import TrialState
from workers.rows.data import load_rows


def run(training: Training, score: Callable[[int], float]) -> tuple[int, int | None]:
    """(steps done, best step) of a trial whose score at each step is given: the rule of ``workers.pack.loop.train``."""
    state = TrialState(Member(make_trial(trial={"training": training})), 0)
    for step in range(1, training.steps + 1):
        state.trained(1.0, 0.0, 0)
        due = step == training.steps or (training.eval_every and step % training.eval_every == 0)
        if due:
            state.evaluated(step, score(step), "accuracy", 0.0)
        if state.outcome:
            break
    return state.steps_done, state.best_step


MAYBE = st.none() | st.integers(1, 14)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 12), MAYBE, MAYBE, st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=12, max_size=12))
def test_no_run_is_another_without_what_cannot_act(
    steps: int, every: int | None, stop: int | None, scores: list[float]
) -> None:
    asked = Training(steps=steps, eval_every=every, early_stop=stop)
    left = acting.training(asked)
    assert run(asked, lambda step: scores[step - 1]) == run(left, lambda step: scores[step - 1])
    assert run(asked, lambda step: 0.5) == run(left, lambda step: 0.5)  # stops as early as can be
    if left.early_stop is not None:
        assert run(left, lambda step: 0.5) != run(replace(left, early_stop=None), lambda step: 0.5)
    if left.eval_every is not None:
        assert run(left, lambda step: -step) != run(replace(left, eval_every=None, early_stop=None), lambda step: -step)


@pytest.mark.parametrize(
    "splits", [{"train": 60}, {"train": 60, "validation": 9}, {"train": 60, "validation": 9, "test": 8}]
)
def test_no_row_goes_by_a_limit_that_is_left_out(splits: dict[str, int], tmp_path: Path) -> None:
    """Some texts are there several times, so that splits which are cut are smaller than they might be."""
    for split, n in splits.items():
        write_rows(
            tmp_path / f"{split}.jsonl", [{"text": f"{split} {i // 2 if i < 20 else i}", "label": 1} for i in range(n)]
        )
    task, (source, where) = tasks.get("rotten_tomatoes"), find_data("rotten_tomatoes", tmp_path)
    every = load_rows(task, TaskRef(task.name, source), where)
    dropped = 0
    for key, split in acting.LIMITS.items():
        for limit in (1, 5, 6, 7, 8, 9, 10, 48, 54, 59, 60, 61):
            if acting.limits(task.name, where, {key: limit})[key] is None:
                dropped += 1
                some = load_rows(task, TaskRef(task.name, source, **{key: limit}), where)
                assert getattr(some, split).digest == getattr(every, split).digest
    assert dropped >= 10
