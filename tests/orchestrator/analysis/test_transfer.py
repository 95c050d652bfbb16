"""Transfer on made-up matrices: cases worked by hand, what is missing, and how often its interval holds the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from study_rows import apet, row, selected, trial

from orchestrator.analysis.categories import difference
from orchestrator.analysis.contrast import factors, labelled
from orchestrator.analysis.matrices import COLUMNS
from orchestrator.analysis.transfer import Transfer, transfer
from orchestrator.analysis.within import CONTRAST
from trials.errors import ApetError
from trials.store.record import SCHEMA, Record
from trials.trial import Source, TaskRef, Trial

TASKS = ("rotten_tomatoes", "sst2", "rte", "mrpc")
SAME = {("rotten_tomatoes", "sst2"), ("sst2", "rotten_tomatoes")}


def task(name: str, **limits: int | None) -> TaskRef:
    return TaskRef(name, Source("package", name, "1"), **limits)


def source(on: str, seed: int = 0, placement: str = "discrete", steps: int = 60, **limits: int | None) -> Trial:
    one = trial(apet(100, placement), steps=steps)
    targets = tuple(task(name) for name in sorted(TASKS) if name != on)
    return replace(
        one, task=task(on, **limits), evaluate_on=targets, train_seed=seed, position_seed=0, labels="unified"
    )


def matrix(
    score: Callable[[str, str, int], float | None],
    trained: Mapping[str, float] | float = 0.8,
    seeds: Sequence[int] = (0, 1, 2),
    **options: Any,
) -> list[Record]:
    """Every task trained with every seed: its score there, and on the others."""
    rows = []
    for on in TASKS:
        for seed in seeds:
            own = trained if isinstance(trained, float) else trained[on]
            others = {to: score(on, to, seed) for to in TASKS if to != on}
            rows.append(row(source(on, seed, **options), own, transfer=others))
    return rows


def plain(on: str, to: str, seed: int) -> float:
    return 0.6 if (on, to) in SAME else 0.4 + 0.04 * seed


def found(rows: Sequence[Record], **options: Any) -> Transfer:
    return transfer(selected(rows), **options)


def cell(result: Transfer, on: str, to: str) -> dict[str, Any]:
    (one,) = [c for c in result.rows() if (c["source"], c["target"]) == (on, to)]
    return one


def test_relative_performance_is_the_score_over_that_of_training_there() -> None:
    result = found(matrix(plain, {"rotten_tomatoes": 0.8, "sst2": 0.9, "rte": 0.6, "mrpc": 0.7}))
    assert len(result.rows()) == 16
    near, far, own = (cell(result, "sst2", to) for to in ("rotten_tomatoes", "rte", "sst2"))
    assert (near["score"], near["reference"], near["relative"]) == pytest.approx((0.6, 0.8, 0.75))
    assert far["relative"] == pytest.approx(0.44 / 0.6)
    assert (own["score"], own["relative"], own["runs"]) == (pytest.approx(0.9), 1.0, 3)
    assert (near["source_category"], near["target_category"], far["target_category"]) == ("SA", "SA", "NLI")
    assert (far["runs"], far["references"], far["notes"]) == (3, 3, None)
    assert (near["floor"], near["untrained"]) == (0.5, 0.5)
    assert result.to_arrow().schema.names == list(COLUMNS)


def test_over_seeds_it_is_the_ratio_of_means_of_those_that_have_a_reference() -> None:
    rows = [
        row(source("sst2", 0), 0.8, transfer={"rte": 0.4}),
        row(source("sst2", 1), 0.8, transfer={"rte": 0.6}),
        row(source("sst2", 2), 0.8, transfer={"rte": 0.9}),
        row(source("rte", 0), 0.5),
        row(source("rte", 1), 0.75),
    ]
    one = cell(found(rows), "sst2", "rte")
    assert (one["runs"], one["references"], one["relative"]) == (3, 2, pytest.approx(0.5 / 0.625))
    assert one["notes"] == "runs without a reference of the same seeds, left out"
    none = cell(found(rows[:3]), "sst2", "rte")
    assert (none["score"], none["relative"]) == (pytest.approx(1.9 / 3), None)
    assert none["notes"].startswith("no run trained on the target with the same seeds, rows and settings")
    nought = cell(found([rows[0], row(source("rte", 0), 0.0)]), "sst2", "rte")
    assert (nought["relative"], nought["notes"]) == (None, "the reference scores 0, so nothing is relative to it")


def test_references_are_looked_for_in_the_whole_store() -> None:
    rows = matrix(plain)
    result = found(rows, where="task = 'sst2'")
    assert {c["source"] for c in result.rows()} == {"sst2"}
    assert cell(result, "sst2", "rte")["relative"] == pytest.approx(0.44 / 0.8)


def test_placements_settings_and_row_limits_have_matrices_of_their_own() -> None:
    rows = matrix(plain) + matrix(plain, placement="adjacent") + matrix(plain, steps=90)
    result = found(rows)
    assert [(c.name["placement"], c.name["variant"]) for c in result.contrasts] == [
        ("discrete", "steps 60"),
        ("discrete", "steps 90"),
        ("adjacent", None),
    ]
    limited = found(matrix(plain) + matrix(lambda *_: 0.3, train_rows=50))
    assert [c.name["variant"] for c in limited.contrasts] == ["train_rows 50", "train_rows null"]
    assert [c.values["across"] for c in limited.contrasts] == pytest.approx([0.375, 0.55])
    assert [c["runs"] for c in limited.rows() if c["source"] == c["target"] == "rte"] == [3, 3]


def test_the_contrast_by_hand() -> None:
    result = found(matrix(plain))
    (one,) = result.contrasts
    values = one.row()
    assert list(values) == list(CONTRAST)
    assert (values["pairs_within"], values["pairs_across"], values["seeds"]) == (2, 10, 3)
    assert (values["within"], values["across"], values["difference"]) == pytest.approx((0.75, 0.55, 0.2))
    assert values["p"] == pytest.approx(1 / 6), "of six ways to choose the pair, one is as large"
    assert values["lower"] < 0.2 < values["upper"]
    # the seeds' differences are 0.25, 0.2 and 0.15; the rows' luck makes it wider, and more certain of its width
    alone = 0.05 / np.sqrt(3)
    assert values["upper"] - 0.2 > 2 * alone


def test_the_interval_of_seeds_alone_is_that_of_a_t_test() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    scores = rng.uniform(0.3, 0.7, (4, 3, 3))
    references = np.ones((4, 3, 3))
    by = labelled([(0, s) for s in range(4)], factors([(0, s) for s in range(4)]))
    told = difference(scores, references, ["a", "a", "b"], np.full(3, 1e12), by, 0.05)
    each = [(m[0, 1] + m[1, 0]) / 2 - (m[0, 2] + m[1, 2] + m[2, 0] + m[2, 1]) / 4 for m in scores]
    expected = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert told.difference == pytest.approx(np.mean(each))
    assert (told.lower, told.upper) == pytest.approx((expected.low, expected.high), rel=1e-4)


def test_the_luck_of_references_counts_too() -> None:
    """All references of a seed are larger or smaller together: the ratios move by as much, relative to the mean."""
    apart = np.array([-0.04, 0.0, 0.04])
    truth = np.where(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), 0.7, 0.5)
    scores, references = np.tile(truth, (3, 1, 1)), np.tile(0.8 + apart[:, None, None], (1, 3, 3))
    by = labelled([(0, s) for s in range(3)], (1,))
    told = difference(scores, references, ["a", "a", "b"], np.full(3, 1e12), by, 0.05)
    assert told.difference == pytest.approx(0.2 / 0.8)
    assert told.upper is not None
    assert told.upper - told.difference == pytest.approx(4.3027 * 0.25 * 0.04 / 0.8 / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("luck", ["seeds", "rows", "references"])
def test_the_interval_covers_as_often_as_it_says(luck: str) -> None:
    """Cells share modules, references and test rows; seeds are all that is independent."""
    rng = np.random.default_rng(1)
    categories, n, seeds, rows = ["a", "a", "b", "b", "c"], 5, 3, 300
    alike = np.array([[a == b for b in categories] for a in categories])
    truth = np.where(alike, 0.7, 0.5)
    away = ~np.eye(n, dtype=bool)
    expected = (truth[away & alike].mean() - truth[away & ~alike].mean()) / 0.8
    by = labelled([(0, s) for s in range(seeds)], (1,))
    held = 0
    for _ in range(600):
        spread = {"seeds": (0.03, 0.01), "references": (0.005, 0.03), "rows": (0.0, 0.0)}[luck]
        modules = rng.normal(0, spread[0], (seeds, n, 1)) + rng.normal(0, spread[0], (seeds, n, n))
        trained = 0.8 + rng.normal(0, spread[1], (seeds, 1, n)) + np.zeros((1, n, n))
        hard = rng.random((n, rows))  # every run is right on the easy rows: their luck is shared by all
        drawn = (hard[None, None] < (truth + modules)[..., None]).mean(-1)
        own = (hard[None, None] < trained[..., None]).mean(-1)
        told = difference(drawn, own, categories, np.full(n, float(rows)), by, 0.05)
        assert told.lower is not None
        assert told.upper is not None
        held += told.lower <= expected <= told.upper
    assert held / 600 >= 0.94


def test_whether_other_tasks_would_show_it_is_a_permutation_of_the_categories() -> None:
    """Without any pattern p is at most α in α of cases."""
    rng = np.random.default_rng(2)
    names = ["a", "a", "b", "b", "c", "c"]
    by = labelled([(0, 0), (0, 1)], (1,))
    p = []
    for _ in range(300):
        tasks = rng.normal(0, 0.1, (1, 6, 1)) + rng.normal(0, 0.1, (1, 1, 6)) + rng.normal(0, 0.05, (1, 6, 6))
        scores = np.repeat(0.5 + np.clip(tasks, -0.4, 0.4), 2, axis=0)
        p.append(difference(scores, np.ones_like(scores), names, np.full(6, 1e3), by, 0.05).p)
    shares = [np.mean(np.array(p) <= level) for level in (1 / 15, 0.2, 0.5)]
    assert shares == pytest.approx([1 / 15, 0.2, 0.5], abs=0.06)
    assert min(p) >= 1 / 15 - 1e-9


def test_what_is_missing_is_said_and_never_an_error() -> None:
    none = found([])
    assert (none.rows(), none.contrasts) == ([], ())
    assert "give a sweep `evaluate_on`" in none.notes[0]
    assert none.to_arrow().schema.names == list(COLUMNS)
    (alone,) = found(matrix(plain, seeds=(0,))).contrasts
    assert (alone.values["lower"], alone.values["notes"]) == (None, "one seed: its luck isn't known, run 3 or more")
    assert alone.values["difference"] == pytest.approx(0.25)
    (bare,) = found([row(source("sst2"), 0.8, transfer={"rte": 0.4})]).contrasts
    assert (bare.values["difference"], bare.values["pairs_within"]) == (None, 0)
    assert "no two tasks of one category" in str(bare)
    holes = matrix(lambda on, to, seed: None if (on, to, seed) == ("rte", "sst2", 1) else plain(on, to, seed))
    (two,) = found(holes).contrasts
    assert (two.values["seeds"], two.values["notes"]) == (2, "1 of 3 seeds lack a cell, left out")
    assert cell(found(holes), "rte", "sst2")["notes"] == "runs without a score, left out"
    rows = matrix(plain)
    failed = rows[0] | {"state": "failed", "failure_class": "out_of_memory", "transfer": None, "test_score": None}
    assert found([failed, *rows[1:]]).notes == ("1 failed trial left out: 1 out_of_memory",)
    older = [r | {"test_rows": None} for r in rows]
    assert "their luck isn't counted" in found(older).contrasts[0].values["notes"]
    mixed = [rows[0] | {"precision": "bf16"}, *rows[1:]]
    assert "mixes precisions (bf16, fp32)" in found(mixed).rows()[0]["notes"]
    with pytest.raises(ApetError, match=r"alpha 0\.7"):
        found(rows, alpha=0.7)


def test_a_task_that_this_apet_does_not_know_has_no_category() -> None:
    foreign = row(replace(source("sst2"), evaluate_on=(task("<b>"),)), 0.8, transfer={"<b>": 0.4})
    one = cell(found([*matrix(plain), foreign]), "sst2", "<b>")
    assert (one["score"], one["target_category"]) == (0.4, None)


def test_order_duplicates_and_other_columns_change_nothing() -> None:
    rows = matrix(plain) + matrix(plain, placement="adjacent")
    expected = found(rows)
    table = selected(rows)
    mixed = table.take(np.random.default_rng(3).permutation(len(table))).append_column("mine", pa.nulls(len(table)))
    again = transfer(mixed)
    assert again.rows() == expected.rows()
    assert [c.row() for c in again.contrasts] == [c.row() for c in expected.contrasts]
    older = table.drop_columns(["untrained_score"])
    assert transfer(older).rows()[1]["relative"] == expected.rows()[1]["relative"]
    assert set(table.schema.names) > set(SCHEMA.names)


def test_the_text_has_the_matrix_what_learning_nothing_scores_and_the_contrast() -> None:
    said = found(matrix(plain)).render()
    assert "quickstart-l3 · apet · discrete · add+concat+plug · 100" in said
    assert "rte [0.62]" in said
    assert "within 0.750, across 0.550, difference 0.200 [" in said
