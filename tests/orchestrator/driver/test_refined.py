"""``run --until-resolved`` on a real Ray: packs follow each other with no barrier, and it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answering_worker import HIGH, LOW, WORKER
from drivers import write_reviews
from refined_world import COUNTS, sweep

from orchestrator.refining.budget import Budget
from orchestrator.refining.rules import Rules
from orchestrator.refining.run import run_until_resolved
from trials.store.store import Store
from trials.sweep.sweep import Sweep

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_no_worker_waits_for_a_round_to_end(ray: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = run_until_resolved(sweep(), store, budget=Budget(trials=4), worker=WORKER, quiet=True)
    assert (first.summary.completed, len(first.trial_ids)) == (4, 4)
    assert not first.standings.is_resolved
    done = run_until_resolved(sweep(), store, worker=WORKER, quiet=True)
    assert (done.summary.failed, done.summary.remaining) == (0, 0)
    assert [(one.state, one.lower, one.upper) for one in done.standings.found] == [
        ("bracket", LOW // 2, LOW),
        ("bracket", HIGH // 2, HIGH),
    ]
    rows = store.attempts().to_pylist()
    ids = [row["trial_id"] for row in rows]
    assert len(set(ids)) == len(ids) == first.summary.completed + done.summary.completed
    assert len(ids) < 3 * len(COUNTS) + 3 + 6
    last_full = max((row for row in rows if row["method"] == "full"), key=lambda row: row["finished_at"])
    meanwhile = {
        row["count_actual"] for row in rows if last_full["started_at"] < row["started_at"] < last_full["finished_at"]
    }
    assert len(meanwhile - {last_full["count_actual"]}) > 1, "look after look while full fine-tuning ran"
    again = run_until_resolved(sweep(), store, worker=WORKER, quiet=True)
    assert (again.trial_ids, again.standings) == (frozenset(), done.standings)


def test_the_real_worker_on_a_tiny_backbone(ray: Any, tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews")
    keys = {
        "backbones": ["tiny-bert"],
        "tasks": [{"name": "rotten_tomatoes", "data_dir": str(tmp_path / "reviews")}],
        "methods": [
            {"method": "full", "train_seeds": 3, "learning_rates": [1e-3]},
            {"method": "apet", "counts": {"from": 16, "to": 512, "points": 6}},
        ],
        "learning_rates": [1e-2],
        "training": {"steps": 3, "batch_size": 8},
    }
    of, store = Sweep.parse(json.dumps(keys)), Store(tmp_path / "store")
    lenient = Rules(alpha=0.45)  # so that chance leads it somewhere
    done = run_until_resolved(of, store, rules=lenient, quiet=True)
    assert done.standings.is_resolved
    assert done.summary.completed == len(done.trial_ids) >= 2
    assert len({row["pack_id"] for row in store.attempts().to_pylist()}) > 1
    assert not run_until_resolved(of, store, rules=lenient, quiet=True).trial_ids
