"""Thresholds on made-up studies whose truth is known: brackets, honesty, and how often noise is taken for a rise."""

import re

import numpy as np
import pyarrow as pa
import pytest
from sklearn.isotonic import isotonic_regression
from study_rows import answers, apet, curve, full, row, selected, study, trial

from orchestrator.analysis.curves import Point, curves
from orchestrator.analysis.isotonic import fits, isotonic
from orchestrator.analysis.table import CurveThresholds, Thresholds
from orchestrator.analysis.thresholds import thresholds
from trials.errors import ApetError
from trials.store.scores import pack_scores
from trials.trial import Method, Trial

COUNTS = [16 * 2**i for i in range(10)]


def only(found: Thresholds) -> CurveThresholds:
    assert len(found.curves) == 1
    return found.curves[0]


def judge(rows: list, **options: object) -> CurveThresholds:
    return only(thresholds(selected(rows), **options))


def step(at: int, top: float = 0.9, seeds: int = 3) -> list:
    return curve({c: [0.5 if c < at else top] * seeds for c in COUNTS})


def guessed(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Guesses on the same 1 000 test rows, whose luck they share for the most part, as the untrained module does."""
    luck = rng.random(1000)
    drawn = [np.where(rng.random(1000) < 0.7, luck, rng.random(1000)) < 0.5 for _ in range(table.num_rows + 1)]
    packed = [pack_scores(right) for right in drawn]
    columns = {
        "test_score": [right.mean() for right in drawn[1:]],
        "right": packed[1:],
        "untrained_right": packed[:1] * table.num_rows,
        "majority_right": [pack_scores(rng.random(1000) < 0.5)] * table.num_rows,
    }
    for name, values in columns.items():
        field = table.schema.get_field_index(name)
        table = table.set_column(field, name, pa.array(values, table.schema.field(name).type))
    return table


@pytest.mark.parametrize(("seeds", "floor", "most"), [(3, "majority", 5), (5, "majority", 5), (3, "chance", 11)])
def test_noise_alone_is_rarely_a_low_threshold(seeds: int, floor: str, most: int) -> None:
    table = selected(curve({c: [0.5] * seeds for c in COUNTS}))
    rng = np.random.default_rng(seeds)
    claims = sum(only(thresholds(guessed(table, rng), floor=floor)).low.state != "unresolved" for _ in range(100))
    assert claims <= most  # nominal: 5 % of 100; the paper's rule has no eye for the luck of one head


def test_a_clear_rise_is_found_and_its_bracket_holds_the_truth() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(50):
        means = {c: 0.5 if c < 256 else 0.62 if c < 1024 else 0.8 for c in COUNTS}
        found = judge(
            curve({c: [round(v, 3) for v in rng.normal(m, 0.02, 3)] for c, m in means.items()})
            + full([round(v, 3) for v in rng.normal(0.8, 0.005, 3)])
        )
        held += (found.low.lower, found.low.upper) == (128, 256)
        assert found.low.upper is not None
        assert found.low.upper <= 512
        assert found.high.upper is None or found.high.upper >= 1024
    assert held >= 45


def test_noise_free_step_gives_the_exact_brackets() -> None:
    found = judge(step(256) + full([0.9, 0.9, 0.9]))
    assert (found.low.lower, found.low.upper, found.low.state) == (128, 256, "bracket")
    assert (found.high.lower, found.high.upper) == (128, 256)
    assert (found.low.p_lower, found.low.p_upper) == pytest.approx((0.5, 0.0))
    assert (found.collapsed, found.collapsed_of) == (0, 3)  # seeds, over all counts that are within the margin
    assert found.collapsed_at_most == pytest.approx(1 - 0.05 ** (1 / 3))
    assert judge(step(16)).low.state == "below the grid"
    assert str(judge(step(16)).low) == "(0, 16] below the grid"


def test_the_sequence_stops_at_the_first_count_that_is_not_shown() -> None:
    dip = {c: [0.9] * 3 for c in COUNTS} | {1024: [0.5] * 3}
    found = judge(curve(dip))
    assert (found.low.lower, found.low.upper) == (1024, 2048)


def test_nothing_above_is_unresolved_and_says_what_would_help() -> None:
    flat = judge(step(10**9))
    assert flat.low.state == "unresolved"
    assert "run counts above 8192" in flat.low.reason
    assert "seeds" not in flat.low.reason.split("above 8192")[1]
    close = judge(curve({c: [0.51, 0.52, 0.53] for c in COUNTS[:2]}))
    assert close.low.reason.startswith("at 32 the mean is 0.020 above the constant answer, which isn't shown (p = 0.")
    assert "10 seeds a count and 6800 test rows together, if this mean holds" in close.low.reason
    torn = judge(curve({c: [0.5, 0.58, 0.65] for c in COUNTS[:2]}))
    assert re.search(r"or about \d+ seeds a count, if this mean holds", torn.low.reason)


def test_without_full_fine_tuning_high_is_unresolved_with_the_reason() -> None:
    none, one = judge(step(256)), judge(step(256) + full([0.9]))
    assert none.low.state == one.low.state == "bracket"
    assert "no full fine-tuning run" in none.high.reason
    assert "run method full with 3 train seeds or more" in none.high.reason
    assert "1 full fine-tuning run" in one.high.reason
    assert "2 more train seeds or" in one.high.reason
    other = judge(step(256) + full([0.9, 0.9], steps=150))
    assert other.high.state == "unresolved"
    assert "training.steps 150 instead of 60" in other.high.reason
    assert not judge(step(256) + full([0.9, 0.9], backbone="quickstart-l6")).curve.full


def test_full_fine_tuning_that_learned_nothing_is_no_reference() -> None:
    found = judge(step(10**9) + full([0.5, 0.51, 0.5]))
    assert found.high.state == "unresolved"
    assert "train full fine-tuning better" in found.high.reason


def test_high_needs_to_be_within_the_margin() -> None:
    rows = curve({64: [0.80, 0.81, 0.80], 128: [0.878, 0.881, 0.880], 256: [0.90, 0.90, 0.899]}) + full([0.9, 0.9, 0.9])
    assert (judge(rows).high.lower, judge(rows).high.upper) == (128, 256)
    assert judge(rows, margin=0.05).high.upper == 128
    assert "isn't shown to be within 0.001" in judge(rows, margin=0.001).high.reason


def test_collapsed_seeds_stop_a_high_claim_and_are_counted() -> None:
    calm = [0.90, 0.899, 0.901, 0.9, 0.9]
    rows = curve(dict.fromkeys(COUNTS[:-1], calm) | {8192: [*calm[:-2], 0.5, 0.51]}) + full([0.9, 0.901, 0.9])
    found = judge(rows)
    assert found.high.state == "unresolved"
    assert (found.collapsed, found.collapsed_of) == (2, 5)
    assert judge(rows[:-8] + full([0.9, 0.901, 0.9])).collapsed == 0


def test_diverged_runs_count_and_unscored_ones_at_chance() -> None:
    rows = curve({64: [0.5, 0.5, 0.5], 128: [0.9, 0.9, 0.9]})
    rows[-1] |= {"state": "diverged"}
    assert judge(rows).low.upper == 128
    rows[-1] |= {"test_score": None}
    found = judge(rows)
    assert [p.n for p in found.curve.points] == [3, 3]
    assert found.low.state == "unresolved"  # a third of the runs at 0.5, and one degree of freedom
    assert "mean is 0.267 above" in found.low.reason
    assert (found.collapsed, found.collapsed_of) == (1, 3)
    assert "1 diverged without a score: counted at chance" in found.curve.notes


def test_a_count_where_every_run_diverged_brings_no_freedom() -> None:
    rows = curve({32: [None] * 5, 64: [None] * 5, 128: [0.55, 0.62]})
    for r in rows[:-2]:
        r |= {"state": "diverged"}
    found = judge(rows)
    assert found.low.p_lower == pytest.approx(judge(rows[-2:]).low.p_lower)


def test_missing_scores_are_missing() -> None:
    rows = curve({64: [0.5, 0.5, None], 128: [0.9, 0.9, 0.9]})
    rows[0] |= {"state": "failed", "test_score": None}
    found = judge(rows)
    assert [(p.n, p.missing) for p in found.curve.points] == [(1, 2), (3, 0)]
    assert (found.low.lower, found.low.upper) == (64, 128)
    assert any("2 without a result" in note for note in found.curve.notes)


def test_without_replicates_there_is_no_variance_to_test_with() -> None:
    found = judge(curve({c: [0.9] for c in COUNTS}) + full([0.9, 0.9, 0.9]))
    assert found.low.reason == found.high.reason
    assert "run 3 or more position seeds" in found.low.reason
    mixed = judge(curve({64: [0.5], 128: [0.9], 256: [0.89, 0.9]}))
    assert (mixed.low.lower, mixed.low.upper) == (64, 128)  # a single run is judged by the others' variance
    assert judge(curve({64: [0.89, 0.9, 0.9]})).low.state == "below the grid"
    nothing = judge(curve({64: [None, None]}))
    assert "no run has a test score" in nothing.low.reason


def test_the_floor_is_the_larger_of_chance_and_majority() -> None:
    rows = [r | answers(Trial.from_spec(r["spec"]), r["test_score"], floor=0.68) for r in step(256, top=0.68)]
    assert judge(rows).low.state == "unresolved"
    assert judge(rows, floor="chance").low.upper == 256
    bare = [r | {"chance": None} for r in rows]
    assert "no chance level" in judge(bare, floor="chance").low.reason
    generating = [r | {"majority": None, "majority_right": None, "chance": 0.0} for r in rows]
    assert judge(generating).low.upper == 256  # it still has to beat the untrained module
    assert judge(generating, floor="chance").low.state == "below the grid"


def test_a_head_that_is_lucky_on_the_test_rows_is_no_learning() -> None:
    """The untrained module under this head scores 0.57: so do modules that learnt nothing."""
    lucky = {c: [0.57, 0.571, 0.569] for c in COUNTS[:5]} | {c: [0.8] * 3 for c in COUNTS[5:]}
    rows = [r | answers(Trial.from_spec(r["spec"]), r["test_score"], untrained=0.57) for r in curve(lucky)]
    found = judge(rows)
    assert (found.low.lower, found.low.upper, found.floor) == (256, 512, 0.57)
    assert judge(rows, floor="chance").low.state == "below the grid"
    assert "one train seed (0), hence one head: low speaks of that head alone" in found.curve.notes


def test_trained_heads_enter_only_when_asked() -> None:
    table = selected(curve({c: [0.5, 0.6, 0.7] for c in COUNTS}, head="trained"))
    found = thresholds(table)
    assert not found.curves
    assert "30 rows with a trained head left out" in found.notes[0]
    assert len(thresholds(table, trained_heads=True).curves) == 1


def test_a_curve_that_mixes_precisions_says_so() -> None:
    rows = step(256)
    assert not any("precision" in note for note in judge(rows).curve.notes)
    rows[3] |= {"precision": "bf16"}
    assert "mixes precisions (bf16, fp32)" in judge(rows).curve.notes[0]


def test_seeds_rates_and_counts_make_one_curve_and_everything_else_another() -> None:
    rows = step(256) + curve({64: [0.5]}, rate=1e-3) + curve({64: [0.5]}, steps=90)
    rows += [row(trial(apet(64, "adjacent")), 0.5)]
    found = curves(selected(rows))
    assert sorted(len(c.points) for c in found) == [1, 1, 10]
    assert {c.placement for c in found} == {"discrete", "adjacent"}
    assert found[0].operations == "add+concat+plug"
    assert sorted(c.variant for c in found) == ["", "steps 60", "steps 90"]  # adjacent is told apart already


def test_the_x_axis_is_the_actual_count() -> None:
    rows = [r | {"count_actual": r["count_actual"] + 1} for r in step(256)]
    assert judge(rows).low.upper == 257


def test_rows_and_text_say_the_same() -> None:
    found = thresholds(selected(study() + curve({64: [0.5]}, steps=90)))
    table = found.to_arrow()
    assert table.num_rows == len(found.curves) == 3
    text = found.render()
    assert len({len(line) for line in text.splitlines()[:1]}) == 1
    for line in table.to_pylist():
        assert line["backbone"] in text
        for side in ("low", "high"):
            assert (line[f"{side}_state"] == "unresolved") == bool(line[f"{side}_reason"])
            assert (line[f"{side}_reason"] or "") in " ".join(text.split())
    assert thresholds(selected([])).to_arrow().schema == table.schema
    assert "no count curve" in thresholds(selected([])).render()
    assert "no count curve" in thresholds(selected(full([0.9, 0.9, 0.9]))).render()


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"alpha": 0.7}, {"margin": -0.1}, {"margin": 2.0}, {"floor": "mean"}]
)
def test_wrong_rules_are_refused(wrong: dict) -> None:
    with pytest.raises(ApetError, match=str(next(iter(wrong)))):
        thresholds(selected([]), **wrong)


def test_weighted_isotonic_fits_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    means, weights = rng.normal(size=(60, 9)), rng.integers(0, 4, size=(60, 9)).astype(float)
    weights[:, 4] += (weights == 0).all(axis=1)
    for mean, weight, found in zip(means, weights, fits(np.where(weights > 0, means, np.nan), weights), strict=True):
        kept = np.flatnonzero(weight)
        expected = isotonic_regression(mean[kept], sample_weight=weight[kept])
        np.testing.assert_allclose(found, np.interp(np.arange(9), kept, expected), atol=1e-12)


def test_isotonic_fit_never_falls_and_its_band_is_repeatable() -> None:
    points = [Point(c, {(s, 0): v + 0.01 * s for s in range(3)}) for c, v in ((1, 0.5), (10, 0.48), (100, 0.7))]
    fit = isotonic(points)
    assert fit == isotonic(points)
    assert list(fit.fit) == sorted(fit.fit)
    assert fit.fit[0] == pytest.approx(0.50)
    assert fit.lower is not None
    assert fit.upper is not None
    assert all(low <= mid <= high for low, mid, high in zip(fit.lower, fit.fit, fit.upper, strict=True))
    assert isotonic([Point(1, {(0, 0): 0.5})]).lower is None
    assert isotonic([Point(1, {}, lost=((0, 0), (1, 0)))]).counts == ()


def test_other_methods_are_no_curves() -> None:
    assert not curves(selected([row(trial(Method("bitfit")), 0.7)]))
