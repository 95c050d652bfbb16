"""``benchmarks/statistics.py``: its rules are the product's, its curves have the truth they say.

Few of them already fail a rule that is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT
from simulated.cells import NAMED, cells, means
from simulated.curves import Batch, Cell, draw
from simulated.outcomes import Outcome
from simulated.rules import RULES
from simulated.run import judged, last_line
from study_rows import apet, row, selected, trial

from orchestrator.analysis.thresholds import thresholds
from trials.store.record import Record
from trials.store.scores import pack_scores
from trials.trial import Method

FEW = 400


def early(side: str, rule: str, curves: int = FEW, **differs: object) -> float:
    """Share of claims that are too early."""
    cell = Cell(**{"name": "x", "means": (0.5,) * 4 if side == "low" else (0.6, 0.74), **differs})
    batch = draw(cell, curves, np.random.default_rng(7))
    return Outcome.of(RULES[rule](side, batch, cell), getattr(cell, side), len(cell.means)).early


def as_rows(cell: Cell, batch: Batch, curve: int) -> list[Record]:
    """One curve of a batch, as a store has it."""
    made = []
    kinds = [(apet(16 * 4**i), runs) for i, runs in enumerate(batch.counts)] + [(Method("full"), batch.full)]
    for method, runs in kinds:
        constant, untrained = (pack_scores(of[curve, 0]) for of in runs.references)
        for seed, right in enumerate(runs.scores[curve]):
            answers = {"right": pack_scores(right), "majority_right": constant, "untrained_right": untrained}
            counted = {"test_rows": cell.rows, "untrained_score": 0.5, "majority": cell.majority}
            made.append(row(trial(method, seed=seed), float(right.mean()), **answers, **counted))
    return made


@pytest.mark.parametrize("name", ["plain", "heads", "tied"])
def test_what_is_simulated_is_what_the_product_says(name: str) -> None:
    differs = {"plain": {}, "heads": {"untrained": 0.5, "head_sd": 0.03}, "tied": {"tied": True, "seeds": (5, 1)}}[name]
    cell = Cell("x", means("inside"), rows=400, **differs)
    batch = draw(cell, 8, np.random.default_rng(11))
    expected = {side: RULES["ours"](side, batch, cell) for side in ("low", "high")}
    for curve in range(8):
        (found,) = thresholds(selected(as_rows(cell, batch, curve))).curves
        for side, threshold in (("low", found.low), ("high", found.high)):
            index = found.curve.counts.index(threshold.upper) if threshold.upper else len(cell.means)
            assert index == expected[side][curve], f"{side} of curve {curve}"


def test_nominal_rates_hold_where_simpler_rules_fail() -> None:
    assert early("low", "ours") < 0.08 < early("low", "means alone")
    assert early("low", "ours", untrained=0.5, head_sd=0.03) < 0.03 < 0.09 < early("low", "scores alone", head_sd=0.03)
    assert early("high", "ours") < 0.08 < early("high", "means alone")
    crossed = {"seeds": (3, 3), "train_sd": 0.03}
    assert early("high", "ours", **crossed) < 0.09 < early("high", "scores alone", **crossed)
    assert early("high", "ours", full_runs=2) == 0
    assert (
        early("high", "ours", means=(0.5, 0.5), full=0.5)
        < 0.03
        < early("high", "scores alone", means=(0.5, 0.5), full=0.5)
    )


def test_replicates_disagree_on_a_quarter_of_the_rows() -> None:
    cell = Cell("x", (0.7,), sd=0.0)
    scores = draw(cell, 50, np.random.default_rng(0)).counts[0].scores
    assert float((scores[:, 0] != scores[:, 1]).mean()) == pytest.approx(2 * 0.7 * 0.3 * (1 - 0.65**2), abs=0.01)
    assert float(scores.mean()) == pytest.approx(0.7, abs=0.01)


def test_the_truth_is_the_count_from_which_all_larger_ones_are_above() -> None:
    assert Cell("x", (0.5, 0.6, 0.5, 0.6, 0.7)).low == 3
    assert Cell("x", (0.5, 0.74, 0.76)).high == 2
    assert Cell("x", (0.5, 0.5)).low == 2
    assert Cell("x", (0.5, 0.5), full=0.52).high == 2  # full is no more than the margin above the floor
    found = Outcome.of(np.array([0, 1, 2, 3, 3]), 1, 3)
    assert (found.early, found.exact, found.late, found.unresolved) == (0.2, 0.2, 0.2, 0.4)
    assert found.coverage == pytest.approx(1 / 3)


def test_cells_are_of_8_to_12_counts_and_repeatable() -> None:
    found = cells()
    assert {8, 10} == {len(cell.means) for _, _, cell in found}
    keys = [(kind, place, cell.seeds) for kind, place, cell in found]
    assert len(set(keys)) == len(keys)
    named = [one for one in found if (one[0], one[1]) == (NAMED, "inside")]
    results = [judged(*one, 60) for one in named]
    assert results == [judged(*one, 60) for one in named]
    spread = [
        {"key": "equal", "held": True, "equal": True, "smaller": 0.04},
        {"key": "collapse", "held": False, "equal": True, "smaller": 0.2},
        {"key": "halved: 5 seeds, 4 counts", "held": True, "equal": False, "smaller": 0.4},
    ]
    line = last_line(results, spread)
    assert line["low"]["exact"] > 0.7
    assert line["dispersion"] == {"size": 0.04, "power": 0.4}
    assert line["refine_share"] is None


def test_the_script_is_not_taken_for_pythons_own_module() -> None:
    code = "import json, statistics; print(json.dumps(statistics.median([1, 2, 9])))"
    where = str(ROOT / "benchmarks")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": where}
    )
    assert json.loads(done.stdout) == 2
    script = [sys.executable, str(ROOT / "benchmarks" / "statistics.py"), "--help"]
    shown = subprocess.run(script, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)})
    assert "--curves" in shown.stdout
