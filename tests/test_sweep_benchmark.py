"""The arithmetic of ``benchmarks/sweep.py``: goals, medians, what is kept. What it measures takes a quiet machine."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from paths import ROOT
from sweep import PARTS, line, parse
from ways.arithmetic import Goal, as_many, longest_gap, median, ms_each, per_hour, shares, spread
from ways.kept import Kept
from ways.measurements import items
from ways.ours import compared, some

MEASURED = {
    ("authors", "per_hour"): [20.0],
    ("tune", "per_hour"): [50.0],
    ("auto", "per_hour"): [150.0, 120.0, 130.0],
    ("floor", "per_hour"): [160.0, 130.0, 140.0],
    ("auto", "outside"): [0.02, 0.04, 0.03],
    ("noop-1000", "ms"): [30.0],
    ("noop-10000", "ms"): [36.0],
    ("noop-10000", "gap_s"): [0.5],
}


def test_help_says_what_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "sweep.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert all(part in done.stdout for part in PARTS)


def test_figures_are_held_against_goals() -> None:
    goals, last = line(lambda name, figure: MEASURED.get((name, figure), []), 1000, 10000)
    said = {goal.what: goal.met for goal in goals}
    assert last["trials_per_hour"] == {
        "authors": 20.0, "tune_peft": 50.0, "cold": None, "warm": None, "auto": 130.0, "floor": 140.0,
    }  # fmt: skip
    assert list(said.values()) == [True, True, False, True, False, None, True]
    assert last["orchestration_share"] == 0.03
    assert (last["noop"]["ms_1000"], last["noop"]["ms_10000"]) == (30.0, 36.0)
    assert last["noop"]["growth"] == pytest.approx(1.2)
    assert last["noop"]["tune_ms"] is None
    assert last["spread"]["auto"] == pytest.approx(30 / 130)


def test_a_goal_says_whether_it_is_met() -> None:
    assert str(Goal("x", 2.0, 2.0)).endswith("met)")
    assert str(Goal("x", 2.1, 2.0, most=True)).endswith("missed)")
    assert "not measured" in str(Goal("x", None, 2.0))


def test_rates_and_times() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert per_hour(16, 3600) == 16
    assert as_many(4, 16, each_s=100, once_s=10) == 410
    assert ms_each([(3.0, "a"), (1.0, "a"), (2.0, "a")]) == 1000
    assert ms_each([(0.0, "a"), (9.0, "b"), (10.0, "a"), (11.0, "b"), (12.0, "a")]) == 1000  # b was late
    assert ms_each([(0.0, "a"), (1.0, "a"), (2.0, "a"), (7.0, "b")]) == 3000  # so late that half of them count
    assert longest_gap([start, start + timedelta(seconds=3), start + timedelta(seconds=1)]) == 2
    assert (median([]), spread([])) == (None, None)
    rows = [
        {"load_s": 1.0, "train_s": 6.0, "eval_s": 2.0, "wall_s": 10.0},
        {"load_s": None, "train_s": 8.0, "eval_s": 1.0, "wall_s": 10.0},
    ]
    assert shares(rows) == {"outside": pytest.approx(0.15), "loading": pytest.approx(0.05)}


def test_a_measurement_is_made_once_and_again_under_other_settings(tmp_path: Path) -> None:
    made: list[int] = []

    def measure() -> dict[str, int]:
        made.append(len(made))
        return {"n": made[-1]}

    for steps in (60, 60, 30):
        Kept(tmp_path / "kept.json").make("auto-1", {"steps": steps}, measure)
    assert made == [0, 1]
    assert Kept(tmp_path / "kept.json").get("auto-1", {"steps": 30}) == {"n": 1}
    assert Kept(tmp_path / "kept.json").get("auto-1", {"steps": 60}) is None


def test_the_few_trials_are_of_both_seeds_and_all_rates(tmp_path: Path) -> None:
    sweep = compared(tmp_path / "compared.yaml", 16, 60)
    few = some(sweep, 4)
    assert len({trial.trial_id for trial in sweep.trials()}) == 16
    assert sorted(trial.train_seed for trial in few) == [0, 0, 1, 1]
    assert len({trial.learning_rate for trial in few}) == 2
    assert {trial.training.eval_every for trial in few} == {30}
    assert parse([]).trials_floor == 16


def test_scores_of_the_few_are_of_the_same_trials_in_every_way() -> None:
    def settings(*words: str) -> dict[str, object]:
        return {name: its for name, its, _ in items(MagicMock(args=parse(list(words))))}

    two, four = settings("--trials-slow", "2"), settings("--trials-slow", "4")
    again = {name.partition("-")[0] for name in two if two[name] != four[name]}
    assert again == {"authors", "tune", "cold", "warm", "auto"}
