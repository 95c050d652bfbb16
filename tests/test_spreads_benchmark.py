"""The part of ``benchmarks/statistics.py`` about spreads: what is simulated is the product, with the truth it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from simulated import run
from simulated.spreads.judged import HALVED, judged, key, power, size, studies, table
from simulated.spreads.rules import Scale, judge
from simulated.spreads.studies import Study, draw
from study_rows import apet, row, selected, trial

from orchestrator.analysis.dispersion.dispersion import dispersion
from orchestrator.analysis.dispersion.limits import limits, p_smaller, ratio
from trials.store.record import Record
from trials.store.scores import pack_scores

BACKBONES = ("quickstart-l3", "quickstart-l6")
TASKS = ("rte", "mrpc", "sst2")


def as_rows(answers: list[list[np.ndarray]], backbone: str, study: int) -> list[Record]:
    """One study of a batch, as a store has it."""
    made = []
    for i, tasks in enumerate(answers):
        for task, right in zip(TASKS, tasks, strict=False):
            for seed, scores in enumerate(right[study, :, 0]):
                columns = {"right": pack_scores(scores), "test_rows": len(scores)}
                of = trial(apet(100 * 4**i), seed=seed, backbone=backbone, task=task)
                made.append(row(of, float(scores.mean(dtype=float)), **columns))
    return made


def test_what_is_simulated_is_what_the_product_says() -> None:
    study = Study("x", counts=2, rows=200)
    answers = draw(study, 3, np.random.default_rng(3))
    small, large = (Scale.of(side, study) for side in answers)
    ends, apart, p = (
        limits(small.found, 0.05),
        ratio(large.found, small.found, 0.05),
        p_smaller(large.found, small.found),
    )
    for i in range(3):
        rows = [r for side, name in zip(answers, BACKBONES, strict=True) for r in as_rows(side, name, i)]
        found = dispersion(selected(rows))
        over = next(r for r in found.ratios if r.count == "all")
        of = [r for r in found.rows() if r["what"] == "position" and r["backbone"] == BACKBONES[0]]
        assert np.mean([r["variance"] for r in of]) == pytest.approx(small.found.variance[i], abs=1e-8)
        assert (over.lower**2, over.upper**2) == pytest.approx((apart.lower[i], apart.upper[i]), rel=1e-3)
        assert over.p == pytest.approx(p[i], rel=1e-3)
    assert np.all(ends.lower < ends.upper)


def test_the_nominal_rate_holds_where_what_is_seen_says_too_much() -> None:
    found = judged(Study("x", sd=(0.005, 0.005), counts=2, rows=300), 200)
    assert found["smaller"] < 0.09 < found["smaller as seen"]
    assert found["covers"] > 0.9 > 0.5 > found["covers as seen"]
    assert abs(found["bias"]) < 3
    assert found["seen"] > 0.009


def test_a_third_is_seen_and_a_bootstrap_of_five_seeds_covers_little() -> None:
    found = judged(Study("x", sd=(0.03, 0.01), counts=4, rows=300), 150)
    assert found["smaller"] > 0.6
    assert found["covers"] > 0.9 > 0.75 > found["covers bootstrap"]
    assert found["ratio covers"] > 0.9


def test_methods_are_the_same_in_every_study() -> None:
    study = Study("x", levels=4, blocks=3, tasks=2, rows=200, fixed=True)
    found = judged(study, 150)
    assert found["covers"] > 0.88
    assert "covers bootstrap" not in found
    rng = np.random.default_rng(0)
    said = judge(study, *(Scale.of(side, study) for side in draw(study, 40, rng)), rng)
    assert said["variance"].mean() == pytest.approx(0.02**2, rel=0.1)


def test_kinds_are_repeatable_and_the_last_line_names_them() -> None:
    kinds = studies()
    assert len({key(study) for study in kinds}) == len(kinds)
    assert {s.levels for s in kinds if not s.fixed} == {3, 5, 10}
    few = [s for s in kinds if (s.name, s.what) in ((HALVED, "5 seeds, 4 counts"), ("equal", "5 seeds"))]
    results = [judged(study, 60) for study in few]
    assert results == [judged(study, 60) for study in few]
    assert 0 <= size(results) == results[0]["smaller"] < 0.2
    assert power(results) == results[1]["smaller"] > 0.1
    assert len(table(results).splitlines()) == 4


def test_results_are_kept_and_not_made_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "kept.json", tmp_path / "calls"
    every = [(name, (name, str(calls))) for name in "ab"]
    for _ in range(2):
        assert run.Kept(path).run("studies", 7, every, _called, 1) == [{"key": "a"}, {"key": "b"}]
    assert sorted(calls.read_text()) == ["a", "b"]
    run.Kept(path).run("studies", 8, every, _called, 1)
    assert sorted(calls.read_text()) == ["a", "a", "b", "b"]
    assert json.loads(path.read_text())["studies"] == 8


def _called(name: str, calls: str) -> dict:
    with Path(calls).open("a") as file:
        file.write(name)
    return {"key": name}


def test_a_page_has_its_text_between_marks() -> None:
    page = "a\n<!-- spreads -->\nold\n<!-- end spreads -->\nb"
    assert run.written(page, "spreads", "new") == "a\n<!-- spreads -->\nnew\n<!-- end spreads -->\nb"
