"""What thresholds read of rows: answers where there are some, else in words why nothing can be claimed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from study_rows import answers, apet, curve, full, row, selected, trial, write

from orchestrator.analysis.failed import with_failed
from orchestrator.analysis.table import CurveThresholds
from orchestrator.analysis.thresholds import share_at_most, thresholds
from trials.store.record import Record
from trials.store.scores import pack_scores
from trials.trial import Trial

COUNTS = [16 * 4**i for i in range(5)]
LATER = ("right", "untrained_right", "untrained_score", "untrained_key", "majority_right")


def study() -> list[Record]:
    steps = {c: [s, s + 0.01, s - 0.01] for c, s in zip(COUNTS, (0.5, 0.5, 0.7, 0.8, 0.8), strict=True)}
    return curve(steps) + full([0.8, 0.79, 0.8])


def judge(rows: list[Record] | pa.Table, **options: Any) -> CurveThresholds:
    (one,) = thresholds(rows if isinstance(rows, pa.Table) else selected(rows), **options).curves
    return one


def without(rows: list[Record], *names: str) -> list[Record]:
    return [r | dict.fromkeys(names) for r in rows]


def test_rows_of_an_older_store_say_what_they_lack() -> None:
    old = without(study(), *LATER)
    found = judge(old)
    assert (
        "15 of its 15 scored rows have no answers (written before schema 4), so nothing says on which"
        in found.low.reason
    )
    assert "run the sweep into a new store" in found.low.reason
    assert "--floor chance needs none, the paper's rule" in found.low.reason
    assert "so nothing says on how many rows the two disagree" in found.high.reason
    paper = judge(old, floor="chance")
    assert (paper.low.lower, paper.low.upper) == (64, 256)
    assert paper.high.state == "unresolved"
    table = selected(old).drop_columns(list(LATER))
    assert judge(table).low.reason == found.low.reason
    assert "how many test rows" in judge(without(old, "test_rows"), floor="chance").low.reason


def test_some_rows_without_answers_are_said_and_full_ones_too() -> None:
    rows = study()
    mixed = [*without(rows[:1], *LATER), *rows[1:]]
    assert judge(mixed).low.reason.startswith("1 of its 15 scored rows")
    bare_full = [*rows[:-1], *without(rows[-1:], *LATER)]
    found = judge(bare_full)
    assert found.low.state == "bracket"
    assert "full fine-tuning: 1 of its 3 scored rows have no answers" in found.high.reason
    assert "no answers of the untrained module" in judge(without(rows, "untrained_right")).low.reason
    assert "don't say where the most frequent label" in judge(without(rows, "majority_right")).low.reason


def test_different_test_rows_are_not_compared() -> None:
    rows = [r | answers(Trial.from_spec(r["spec"]), r["test_score"], rows=800) for r in study()[-3:]]
    assert "scored on 800 test rows, the curve on 1000" in judge([*study()[:-3], *rows]).high.reason
    fewer = [r | answers(Trial.from_spec(r["spec"]), 0.5, rows=800) for r in study()[:1]]
    assert "different numbers of test rows (800, 1000)" in judge([*fewer, *study()[1:]]).low.reason


def test_order_extra_columns_and_repeated_attempts_change_nothing(tmp_path: Any) -> None:
    rows = study()
    expected = judge(rows)
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert _said(judge(shuffled)) == _said(expected)
    wider = selected(rows).append_column("mine", pa.array([1] * len(rows)))
    assert _said(judge(wider)) == _said(expected)
    again = [r | {"attempt": 1, "attempt_id": f"{r['trial_id']}-1-0000beef"} for r in rows[:4]]
    assert _said(judge(with_failed(write(tmp_path / "s", [*rows, *again]).trials()))) == _said(expected)


def _said(found: CurveThresholds) -> list[Any]:
    sides = [(s.lower, s.upper, s.reason, *map(_near, (s.p_lower, s.p_upper))) for s in (found.low, found.high)]
    return [*sides, found.collapsed, found.collapsed_of]


def _near(p: float | None) -> float | None:
    return None if p is None else float(f"{p:.6g}")


def test_scores_between_0_and_1_are_read_as_well() -> None:
    """F1 of generated text: no constant answer, the untrained module scores nothing."""
    rng = np.random.default_rng(3)
    rows = []
    for count, mean in zip(COUNTS, (0.0, 0.0, 0.3, 0.4, 0.5), strict=True):
        for seed in range(3):
            scores = np.clip(rng.normal(mean, 0.2 if mean else 0.0, 300), 0, 1)
            right = {
                "right": pack_scores(scores),
                "untrained_right": pack_scores(np.zeros(300)),
                "majority_right": None,
            }
            made = row(trial(apet(count), seed=seed), float(scores.mean()), **right, majority=None, test_rows=300)
            rows.append(made | {"chance": 0.0, "untrained_score": 0.0})
    found = judge(rows)
    assert (found.low.lower, found.low.upper) == (64, 256)


def test_one_seed_or_count_or_no_level_is_unresolved_with_its_reason() -> None:
    assert "one seed a count" in judge(curve({c: [0.9] for c in COUNTS})).low.reason
    assert judge(curve({64: [0.9, 0.9, 0.9]})).low.state == "below the grid"
    assert "no full fine-tuning run" in judge(curve({64: [0.9, 0.9, 0.9]})).high.reason
    bare = without(study(), "chance")
    assert "no chance level" in judge(bare, floor="chance").low.reason
    assert judge(bare).low.state == "bracket"
    alone = [*curve({COUNTS[0]: [0.5] * 3, COUNTS[1]: [0.8]}), *full([0.8] * 3)]
    assert "has too few seeds with a score" in judge(alone).high.reason


def test_the_bound_on_collapses_is_the_exact_one() -> None:
    from scipy.stats import binomtest

    for hits, of in ((0, 3), (1, 5), (2, 9)):
        exact = binomtest(hits, of).proportion_ci(0.9, method="exact").high  # two-sided 90 %: 5 % above
        assert share_at_most(hits, of, 0.05) == pytest.approx(exact)
    assert share_at_most(0, 0, 0.05) is None
    assert share_at_most(2, 2, 0.05) == 1.0


def test_the_chosen_rate_is_in_the_table_and_edges_are_noted(tmp_path: Any) -> None:
    rows = [*curve({16: [0.5] * 2, 64: [0.6] * 2}, rate=1e-2), *curve({16: [0.6] * 2, 64: [0.5] * 2}, rate=1e-3)]
    found = thresholds(write(tmp_path / "store", rows))
    assert found.rows()[0]["learning_rates"] == "0.001 at 16, 0.01 at 64"
    assert any(
        note.startswith("2 of 2 cells with several learning rates chose one at the edge of those tried "
        "(1 the smallest, 1 the largest)") for note in found.notes
    )  # fmt: skip
    middle = [*rows, *curve({16: [0.9] * 2, 64: [0.9] * 2}, rate=5e-3)]
    assert not any("edge" in note for note in thresholds(write(tmp_path / "middle", middle)).notes)
