"""The printed sweep file: its trials are those that were proposed, whatever the sweep was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers import write_reviews
from hypothesis import given, settings
from hypothesis import strategies as st
from refined_world import World, outcome, sweep

from orchestrator.refining.budget import Budget
from orchestrator.refining.refine import refine
from orchestrator.refining.sweepfile import check, text
from orchestrator.refining.targets import targets
from trials.errors import ApetError
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import Trial

RATES = sweep(rates=(0.01, 0.1), train_seeds=[0, 3])


def every(of: Sweep) -> list[Trial]:
    """All that could be proposed."""
    (target,) = targets(of.trials())
    counts = [one for count in target.counts for one in target.trials(count, range(6), target.rates)]
    return [*target.full, *counts]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_trials_become_a_file_of_just_them(data: st.DataObject) -> None:
    some = every(RATES)
    chosen = data.draw(st.lists(st.sampled_from(some), min_size=1, max_size=20, unique_by=lambda one: one.trial_id))
    written = text(chosen, RATES, ["why"])
    check(written, chosen, RATES)
    assert written.startswith("# why\n")


def test_counts_that_share_seeds_share_a_block() -> None:
    (target,) = targets(sweep().trials())
    chosen = [one for count in (64, 128) for one in target.trials(count, (0, 1), target.rates)]
    written = text(chosen, sweep())
    assert written.count("- backbones:") == 1
    assert "counts: [64, 128]" in written
    assert "position_seeds: [0, 1]" in written


def test_another_set_of_trials_is_noticed() -> None:
    some = every(sweep())
    with pytest.raises(ApetError, match="--until-resolved"):
        check(text(some[:2], sweep()), some[:3], sweep())


def test_folders_sites_labels_targets_and_resources_are_kept(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews")
    keys = {
        "backbones": ["tiny-t5"],
        "tasks": [{"name": "rotten_tomatoes", "data_dir": "reviews", "test_rows": 20}],
        "evaluate_on": ["sst2"],
        "labels": "unified",
        "methods": [
            {
                "method": "apet",
                "operations": {"add": 2, "plug": 1},
                "sites": {"add": ["q", "cross_v"]},
                "placement": ["discrete", "adjacent"],
                "counts": [4, 8, 16],
            }
        ],
        "learning_rates": [1e-3],
        "training": {"steps": 4, "eval_every": 2, "precision": "fp32"},
        "resources": {"pack_size": 2},
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(keys))
    of = Sweep.load(tmp_path / "mine.yaml")
    found = refine(of, Store(tmp_path / "store"), budget=Budget(trials=7))
    assert len(found.trials) == 7
    written = found.text()  # checks itself
    assert "pack_size: 2" in written
    assert str(tmp_path / "reviews") in written
    assert Sweep.parse(written).resources == of.resources


def test_without_a_budget_only_what_is_needed_for_sure_is_printed(tmp_path: Path) -> None:
    found = refine(sweep(), Store(tmp_path / "store"))
    assert {(one.method.count, one.position_seed) for one in found.trials} == {(2048, 0), (2048, 1)}
    more = refine(sweep(), Store(tmp_path / "store"), budget=Budget(trials=12))
    assert more.trials[:2] == found.trials
    assert len(more.trials) == 12
    assert "needed with a chance of" in more.text()


def test_when_all_is_resolved_nothing_is_printed(tmp_path: Path) -> None:
    world = World(sweep(), outcome(low=64, high=512))
    world.run()
    store = Store(tmp_path / "store", create=True)
    for row in world.rows:
        store.append(row)
    found = refine(sweep(), store)
    assert (found.text(), found.standings.is_resolved) == ("", True)
    assert found.to_dict()["proposals"] == []
    assert found.standings.to_arrow()["upper"].to_pylist() == [64, 512]
    assert "(256, 512]" in found.standings.render()
