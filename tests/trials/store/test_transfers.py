"""The view ``transfers``: scores on other tasks beside those of training there, against its definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rows_for_tests import attempts, row, trial

from trials.store import transfers as view
from trials.store import views
from trials.store.record import Record
from trials.trial import Trial


def transfers(*rows: Record) -> dict[tuple[str, float, str], tuple[Any, Any]]:
    table = views.with_groups(views.visible(attempts(*rows)))
    found = view.transfers(table, views.selected(table))
    columns = ("task", "learning_rate", "target", "target_score", "relative")
    return {line[:3]: line[3:] for line in zip(*(found[c].to_pylist() for c in columns), strict=True)}


def test_transfers_are_relative_to_the_selected_row_trained_on_the_target() -> None:
    targets = {"rte": 0.4, "sst2": 0.9, "qqp": None}
    source = row(trial(on="sst2", rate=1e-2, targets=tuple(targets)), transfer=targets)
    tuned = [
        row(trial(on="rte", rate=1e-3, length=256, targets=("sst2",)), score=0.8, transfer={"sst2": 0.3}),
        row(trial(on="rte", rate=1e-2, length=256, targets=("sst2",)), score=0.5),  # not selected
        row(trial(on="rte", seed=1, length=256), score=0.1),  # another seed
        row(trial(on="rte", count=99, length=256), score=0.1),  # another spec
    ]
    assert transfers(source, *tuned) == {
        ("sst2", 1e-2, "rte"): (0.4, 0.5),
        ("sst2", 1e-2, "sst2"): (0.9, 0.9 / 0.5),
        ("sst2", 1e-2, "qqp"): (None, None),
        ("rte", 1e-3, "sst2"): (0.3, 0.6),
    }
    assert transfers(source)["sst2", 1e-2, "rte"] == (0.4, None), "nothing trained on the target: missing, not 0"


@pytest.mark.parametrize("score", [0.0, None])
def test_a_target_without_a_score_to_divide_by(score: float | None) -> None:
    source = row(trial(on="sst2", targets=("rte",)), transfer={"rte": 0.4})
    assert transfers(source, row(trial(on="rte"), test_score=score))["sst2", 1e-3, "rte"] == (0.4, None)


def limited(on: str, *, targets: tuple[str, ...] = (), test_rows: int | None = None, **limits: int | None) -> Trial:
    """Trained on so many rows; every task has so many test rows."""
    one = trial(on=on, targets=targets)
    task = replace(one.task, test_rows=test_rows, **limits)
    return replace(one, task=task, evaluate_on=tuple(replace(t, test_rows=test_rows) for t in one.evaluate_on))


def relative(source: Record, *trained: Record) -> tuple[Any, Any]:
    """The score of one reference or the mean of several, and how many they are."""
    table = views.with_groups(views.visible(attempts(source, *trained)))
    (line,) = [x for x in view.transfers(table, views.selected(table)).to_pylist() if x["task"] == source["task"]]
    assert line["relative"] == (None if line["reference"] is None else line["target_score"] / line["reference"])
    return line["reference"], line["references"]


def test_a_reference_is_trained_on_as_many_rows() -> None:
    source = row(limited("sst2", targets=("rte",), train_rows=100), transfer={"rte": 0.4})
    trained = [row(limited("rte", train_rows=n), score=s) for n, s in ((50, 0.6), (100, 0.8), (None, 0.9))]
    assert relative(source, *trained) == (0.8, 1)
    assert relative(source, trained[0]) == (None, 0)
    assert relative(source, row(limited("rte", train_rows=100, validation_rows=9))) == (None, 0)


@pytest.mark.parametrize(("there", "found"), [(80, 1), (100, 1), (101, 0), (None, 0)])
def test_a_limit_that_acts_on_one_of_two_tasks_alone_is_that_of_both(there: int | None, found: int) -> None:
    """One that doesn't act is left out of the spec: the data then has no more rows than the other's limit."""
    source = row(limited("sst2", targets=("rte",), train_rows=100), transfer={"rte": 0.4}, train_rows=100)
    small = row(limited("rte"), score=0.8, train_rows=there)
    assert relative(source, small)[1] == found
    back = row(limited("rte", targets=("sst2",)), transfer={"sst2": 0.4}, train_rows=there)
    assert relative(back, row(limited("sst2", train_rows=100), score=0.8, train_rows=100))[1] == found


def test_equal_limits_are_preferred_to_ones_that_may_be() -> None:
    source = row(limited("sst2", targets=("rte",)), transfer={"rte": 0.4}, train_rows=80)
    capped, whole = row(limited("rte", train_rows=100), score=0.6), row(limited("rte"), score=0.8)
    assert relative(source, capped, whole) == (0.8, 1)
    assert relative(source, capped) == (0.6, 1)


def test_a_reference_is_scored_on_the_same_test_rows() -> None:
    source = row(limited("sst2", targets=("rte",), test_rows=50), transfer={"rte": 0.4})
    assert relative(source, row(limited("rte", test_rows=50), score=0.8)) == (0.8, 1)
    assert relative(source, row(limited("rte", test_rows=60), score=0.8)) == (None, 0)


def test_several_references_are_their_mean_in_any_order() -> None:
    source = row(limited("sst2", targets=("rte",)), transfer={"rte": 0.4})
    trained = [row(limited("rte", targets=targets), score=s) for targets, s in (((), 0.6), (("sst2",), 0.8))]
    for one in (trained, trained[::-1]):
        score, runs = relative(source, *one)
        assert (score, runs) == (pytest.approx(0.7), 2)
