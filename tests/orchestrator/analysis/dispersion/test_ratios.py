"""Two scales beside each other: what is compared with what, and what is said of it."""

from __future__ import annotations

import pytest
from spread_rows import LARGE, SCORES, SMALL, made, scaled, seeds

from orchestrator.analysis.dispersion.result import RATIO_COLUMNS


def test_a_spread_that_is_smaller_on_the_larger_scale_is_shown_to_be() -> None:
    rows = [r for c in (38_400, 500, 2_000, 8_000) for r in scaled(0.06, c, SMALL) + scaled(0.02, c, LARGE, 1)]
    found = made(rows)
    ratios = {r["count"]: r for r in found.ratio_rows() if r["what"] == "position"}
    assert set(ratios) == {"prompt", "500", "2000", "8000", "all"}
    every = ratios["all"]
    assert (every["smaller"], every["larger"], every["tasks"]) == (SMALL, LARGE, "mrpc, rte")
    assert every["ratio"] == pytest.approx(0.02 / 0.06, rel=0.15)
    assert 0 < every["ratio_lower"] < every["ratio"] < every["ratio_upper"] < 1
    assert every["p"] < 0.01
    assert every["p"] < min(r["p"] for count, r in ratios.items() if count != "all")
    assert "mean over the counts 500, 2000, 8000, prompt" in every["note"]
    assert found.ratios_to_arrow().column_names == list(RATIO_COLUMNS)
    (counts,) = [r for r in found.ratio_rows() if r["what"] == "counts"]
    assert counts["count"] is None
    assert "over prompt, 500, 2000, 8000" in counts["note"]


def test_no_ratio_without_something_in_common() -> None:
    rows = scaled(0.06, 500, SMALL) + scaled(0.02, 600, LARGE)
    assert [r["what"] for r in made(rows).ratio_rows()] == ["counts"]
    tasks = seeds(SCORES, task="rte", backbone=SMALL) + seeds(SCORES, task="mrpc", backbone=LARGE)
    found = [r for r in made(tasks).ratio_rows() if r["what"] == "position"]
    assert [(r["ratio"], r["ratio_upper"], r["p"]) for r in found] == [(None, None, None)]
    assert "both scales have too little in common" in found[0]["note"]
