"""``benchmarks/refine.py`` and the refinement in ``benchmarks/statistics.py``: their searches are the product's."""

from __future__ import annotations

import argparse
import importlib.util

import numpy as np
import pytest
from paths import ROOT
from refined_world import World, sweep
from simulated.curves import Cell, draw
from simulated.refine import ALPHA, COUNTS, LADDER, SEEDS, cells, judge, judged, refined, share
from study_rows import row

from orchestrator.refining.rules import FIRST_FRESH
from trials.store.record import Record
from trials.store.scores import pack_scores
from trials.sweep.sweep import Sweep
from trials.trial import Trial

spec = importlib.util.spec_from_file_location("refine_benchmark", ROOT / "benchmarks" / "refine.py")
assert spec is not None
assert spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)


@pytest.mark.parametrize("place", ["inside", "smooth"])
def test_what_is_simulated_is_what_the_product_does(place: str) -> None:
    cell = next(cell for kind, where, cell in cells() if (kind, where) == ("wide seeds", place))
    batch = draw(cell, 6, np.random.default_rng(5))
    low, high = (judge(side, batch, cell) for side in ("low", "high"))
    index = {count: i for i, count in enumerate(LADDER)}
    for curve in range(6):

        def ran(of: Trial, curve: int = curve) -> Record:
            of_full = of.method.count is None
            runs = batch.full if of_full else batch.counts[index[of.method.count or 0]]
            right = runs.scores[curve, of.train_seed if of_full else of.position_seed or 0]
            constant, untrained = (pack_scores(one[curve, 0]) for one in runs.references)
            known = {"right": pack_scores(right), "majority_right": constant, "untrained_right": untrained}
            rows = {"test_rows": cell.rows, "untrained_score": 0.4, "majority": 0.5, "test_score": float(right.mean())}
            return row(of, float(right.mean()), **known, **rows)

        world = World(sweep(LADDER, position_seeds=SEEDS), ran)
        found = world.run()
        expected = refined(low, high, curve)
        claims = [one.upper if one.claim else None for one in found.found]
        assert claims == [LADDER[i] if i < COUNTS else None for i in expected[:2]]
        assert len(world.order) == expected[2], "trials"


def test_a_cell_is_repeatable_and_has_a_share() -> None:
    one = next(one for one in cells() if one[1] == "floor")
    found = judged(*one, 50)
    assert found == judged(*one, 50)
    assert 0 < share([found]) < 0.1
    assert isinstance(one[2], Cell)
    assert one[2].seeds == (FIRST_FRESH + SEEDS, 1)
    assert ALPHA == 0.05


def test_same_is_the_same_or_a_neighbour_or_unresolved_in_both() -> None:
    counts = [16, 32, 64, 128]
    assert benchmark.same(counts, (16, 32), (16, 32))
    assert benchmark.same(counts, (16, 32), (32, 64))
    assert benchmark.same(counts, (0, 16), (16, 32))
    assert not benchmark.same(counts, (16, 32), (64, 128))
    assert not benchmark.same(counts, None, (16, 32))
    assert benchmark.same(counts, None, None)
    assert "which counts as same" in benchmark.in_words(counts, "high", None, None)
    assert benchmark.in_words(counts, "low", (16, 32), (32, 64)).endswith("neighbours")


def test_its_sweep_is_a_grid_with_full_fine_tuning() -> None:
    options = {"backbone": "quickstart-l6", "counts": 16, "largest": 16384, "seeds": 3, "steps": 60}
    args = argparse.Namespace(**options, validation_rows=200, test_rows=500)
    of = Sweep.parse(benchmark.sweep(args))
    assert len(of.trials()) == 16 * 3 + 3
