"""Convergence on made-up learning curves: cases worked by hand, what is missing, and what must change nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from study_rows import apet, row, selected, trial

from orchestrator.analysis.convergence import Convergence, convergence
from orchestrator.analysis.paces import ratio_of_spreads, ratio_of_steps
from orchestrator.analysis.targets import COLUMNS
from trials.errors import ApetError
from trials.store.record import CURVES, Record
from trials.trial import Method

STEPS = (20, 40, 60)
Run = tuple[Record, Sequence[float | None]]


def run(method: Method, values: Sequence[float | None], seed: int = 0, **options: Any) -> Run:
    """A row and its validation scores at :data:`STEPS`; ``columns`` are the row's."""
    columns = options.pop("columns", {})
    best = max((v for v in values if v is not None), default=None)
    return row(trial(method, seed=seed, **options), best, **{"steps_done": 60, **columns}), values


def full(*best: float, **options: Any) -> list[Run]:
    return [run(Method("full"), (0.5, 0.5, b), seed, **options) for seed, b in enumerate(best)]


def curves(runs: Sequence[Run]) -> pa.Table:
    points = [
        {"trial_id": r["trial_id"], "attempt_id": r["attempt_id"], "step": step, "split": "validation", "value": value}
        for r, values in runs
        for step, value in zip(STEPS, values, strict=False)
    ]
    return pa.Table.from_pylist(points, schema=CURVES)


def found(runs: Sequence[Run], **options: Any) -> Convergence:
    return convergence(selected([r for r, _ in runs]), curves(runs), **options)


def only(result: Convergence, method: str = "apet") -> list[dict[str, Any]]:
    return [r for r in result.rows() if r["method"] == method]


def test_steps_to_nine_tenths_of_full_fine_tunings_mean_best_score() -> None:
    runs = [*full(0.9, 0.8, 1.0), run(apet(16), (0.80, 0.81, 0.9), 0), run(apet(16), (0.5, 0.7, 0.6), 1)]
    first, second = only(found(runs))
    assert (first["reference"], first["reference_runs"], first["target"]) == pytest.approx((0.9, 3, 0.81))
    assert (first["state"], first["after"], first["steps"]) == ("reached", 20, 40)  # equal is reached, rounding aside
    assert (second["state"], second["after"], second["steps"]) == ("not reached", 60, None)
    assert second["notes"] == "not within 60 steps"
    (again,) = [s for s in found(runs, share=0.7).summaries if s.name["method"] == "apet"]
    assert (again.median, again.runs, again.reached) == (30, 2, 2)


def test_a_run_that_fell_again_had_reached_it() -> None:
    runs = [*full(0.9), run(apet(16), (0.5, 0.85, 0.5))]
    assert only(found(runs))[0]["steps"] == 40


def test_summaries_by_hand() -> None:
    values = {0: (0.9,), 1: (0.5, 0.9), 2: (0.5, 0.5, 0.9), 3: (0.5, 0.5, 0.5)}
    runs = [*full(0.9), *(run(apet(16), v, seed) for seed, v in values.items())]
    (some,) = [s for s in found(runs).summaries if s.name["method"] == "apet"]
    assert (some.runs, some.reached, some.median, some.least, some.most, some.within) == (4, 3, 50, 20, None, 60)
    assert some.spread is None, "a run never reached it: how far the seeds spread can't be told"
    (three,) = [s for s in found(runs[:-1]).summaries if s.name["method"] == "apet"]
    assert three.spread == pytest.approx(np.std(np.log([20, 40, 60]), ddof=1))
    assert (three.median, three.most, three.within, three.position_seeds) == (40, 60, None, 3)


def test_most_runs_that_never_reach_it_leave_no_median() -> None:
    runs = [*full(0.9), run(apet(16), (0.9,), 0), run(apet(16), (0.5, 0.5, 0.5), 1)]
    (some,) = [s for s in found(runs).summaries if s.name["method"] == "apet"]
    assert (some.reached, some.median) == (1, None)


def test_full_fine_tuning_is_looked_for_in_the_whole_store_and_trained_alike() -> None:
    runs = [*full(0.9), run(apet(16), (0.5, 0.9))]
    assert only(found(runs, where="method = 'apet'"))[0]["steps"] == 40
    other = [*full(0.9, steps=90), run(apet(16), (0.5, 0.9))]
    (one,) = only(found(other))
    assert (one["state"], one["steps"], one["target"]) == ("unresolved", None, None)
    assert one["notes"].startswith("no full fine-tuning run with these settings (there are some with training.steps 90")
    (alone,) = only(found(other[1:]))
    assert alone["notes"] == "no full fine-tuning run with these settings: run method full with them"


def test_its_learning_rate_is_the_one_best_on_validation() -> None:
    from orchestrator.analysis.failed import with_failed
    from trials.store import views

    runs = [*full(0.7, rate=1e-3), *full(0.9, rate=1e-2), run(apet(16), (0.5, 0.7, 0.9))]
    attempts = selected([r for r, _ in runs]).drop_columns(["cell_id", "curve_id"])
    table = with_failed(views.with_groups(views.visible(attempts)))
    (one,) = [r for r in convergence(table, curves(runs)).rows() if r["method"] == "apet"]
    assert (one["reference"], one["steps"]) == (0.9, 60)


@pytest.mark.parametrize("level", ["chance", "majority", "untrained_score"])
def test_a_target_that_learning_nothing_reaches_says_nothing(level: str) -> None:
    none = dict.fromkeys(("chance", "majority", "untrained_score"), 0.0)
    runs = [*full(0.55), run(apet(16), (0.5, 0.5, 0.5), columns={**none, level: 0.5})]
    assert only(found([*full(0.55), run(apet(16), (0.5, 0.5, 0.5), columns=none)]))[0]["state"] == "reached"
    (one,) = only(found(runs))
    assert (one["state"], one["steps"]) == ("unresolved", None)
    assert "0.495, isn't above what learning nothing scores (0.500)" in one["notes"]


def test_what_is_missing_is_said_and_never_an_error() -> None:
    none = found([])
    assert none.rows() == []
    assert none.notes == ("no run has a result: `apet status` says what is failed or missing",)
    assert none.to_arrow().schema.names == list(COLUMNS)
    bare = [*full(0.9), run(apet(16), ())]
    assert only(found(bare))[0]["notes"] == "its learning curve isn't in the store"
    unscored = [run(Method("full"), ()), run(apet(16), (0.5,))]
    assert "has a validation score" in only(found(unscored))[0]["notes"]
    failed = [*full(0.9), run(apet(16), (), columns={"state": "failed", "failure_class": "bad_trial"})]
    assert found(failed).notes == ("1 failed trial left out: 1 bad_trial",)
    assert found(full(0.9), where="task = 'rte'").notes == ("condition \"task = 'rte'\": no trial of 1 fulfils it",)
    diverged = [*full(0.9), run(apet(16), (0.5,), columns={"state": "diverged", "diverged_at": 33, "steps_done": 33})]
    assert only(found(diverged))[0]["notes"] == "not within 33 steps, it diverged at 33"


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.1}, {"alpha": 0.5}])
def test_rules_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ApetError, match=r"is above 0 and at most 1|between 0 and 0\.5"):
        found([], **options)


def scales() -> list[Run]:
    """The larger scale takes half the steps, and its seeds differ by half as much."""
    runs = []
    for backbone, values in (
        ("quickstart-l3", ((0.9,), (0.5, 0.9), (0.5, 0.5, 0.9))),
        ("quickstart-l6", ((0.9,), (0.9,), (0.5, 0.9))),
    ):
        for task in ("rte", "sst2"):
            options = {"backbone": backbone, "task": task}
            runs += full(0.9, 0.9, 0.9, **options)
            runs += [run(apet(16), v, seed, **options) for seed, v in enumerate(values)]
    return runs


def test_scales_are_compared_over_whole_position_seeds() -> None:
    (pace,) = found(scales()).paces
    small, large = np.log([20, 40, 60]), np.log([20, 20, 40])
    assert (pace.smaller, pace.larger, pace.tasks, pace.cells) == ("quickstart-l3", "quickstart-l6", ("rte", "sst2"), 2)
    assert pace.steps is not None
    assert pace.spread is not None
    assert pace.steps.ratio == pytest.approx(math.exp(large.mean() - small.mean()))
    assert pace.spread.ratio == pytest.approx(large.std(ddof=1) / small.std(ddof=1))
    one_cell = ratio_of_steps(small[:, None], large[:, None], 0.05)
    assert pace.steps == pytest.approx(one_cell), "two tasks that agree are no more seeds"
    assert pace.row()["spread_lower"] == pace.spread.lower


def test_the_intervals_are_welchs_and_that_of_a_ratio_of_variances() -> None:
    from scipy import stats

    small, large = np.array([3.0, 3.4, 3.9]), np.array([2.9, 3.0, 3.2, 3.6])
    steps = ratio_of_steps(small[:, None], large[:, None], 0.05)
    spread = ratio_of_spreads(small[:, None], large[:, None], 0.05)
    assert steps is not None
    assert spread is not None
    welch = stats.ttest_ind(large, small, equal_var=False).confidence_interval(0.95)
    assert steps[1:] == pytest.approx((math.exp(welch.low), math.exp(welch.high)))
    ratio = large.var(ddof=1) / small.var(ddof=1)
    ends = (ratio / stats.f.ppf(0.975, 3, 2), ratio / stats.f.ppf(0.025, 3, 2))
    assert spread[1:] == pytest.approx([math.sqrt(end) for end in ends])


def test_the_intervals_cover_where_cells_share_their_seeds() -> None:
    """Four cells of two scales of which the true spreads and steps are equal; half of a cell's luck is shared."""
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for _ in range(2000):
        sides = [rng.normal(size=(5, 1)) + rng.normal(size=(5, 4)) for _ in range(2)]
        for i, found_ in enumerate((ratio_of_steps(*sides, 0.05), ratio_of_spreads(*sides, 0.05))):
            assert found_ is not None
            held[i] += found_.lower <= 1 <= found_.upper
    assert 0.94 <= held[0] / 2000 <= 0.97
    assert held[1] / 2000 >= 0.95  # the spread's is wider than it says


def test_scales_that_nothing_can_be_said_of() -> None:
    unreached = [run(apet(16), (0.5,), seed, backbone="quickstart-l6", task="rte") for seed in range(3)]
    small = [r for r in scales() if r[0]["backbone"] == "quickstart-l3" or r[0]["method"] == "full"]
    (pace,) = found([*small, *unreached]).paces
    assert (pace.steps, pace.note) == (None, "left out: 1 of 1 cells that a run never reached")
    alike = [r for r in scales() if r[0]["position_seed"] in (None, 0, 1)]
    (pace,) = found(alike).paces
    assert pace.steps is not None
    assert (pace.spread, pace.note) == (
        None,
        "all seeds of a scale reach it at the same evaluation: evaluate more often",
    )
    assert found([r for r in scales() if r[0]["backbone"] == "quickstart-l3"]).paces == ()


def test_order_duplicates_and_other_columns_change_nothing() -> None:
    runs = scales()
    expected = found(runs)
    rng = np.random.default_rng(1)
    table = selected([r for r, _ in runs])
    table = table.take(rng.permutation(len(table))).append_column("mine", pa.nulls(len(table)))
    points = curves(runs)
    points = pa.concat_tables([points, points]).take(rng.permutation(2 * len(points)))
    again = convergence(table, points)
    assert again.rows() == expected.rows()
    assert again.paces == expected.paces
    assert again.render() == expected.render()


def test_variants_are_told_apart() -> None:
    runs = [*full(0.9), *full(0.9, steps=90), run(apet(16), (0.9,)), run(apet(16), (0.5, 0.9), steps=90)]
    assert {(r["variant"], r["steps"]) for r in only(found(runs))} == {("steps 60", 20), ("steps 90", 40)}


def test_the_text_has_the_rule_the_cells_and_the_reasons() -> None:
    lost = run(apet(16), (0.5,), task="qnli")
    said = found([*scales(), lost]).render()
    assert "at least 0.9 of full fine-tuning's" in said
    assert "not of the gain over chance" in " ".join(said.split())
    assert "qnli · apet" in said
    assert "run method full with them" in said
    assert "from quickstart-l3 to quickstart-l6 · apet discrete add+concat+plug (2 cells on rte, sst2)" in said
    assert replace(found([]), notes=("so",)).render() == "note: so"
