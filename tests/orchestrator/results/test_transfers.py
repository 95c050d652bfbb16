"""Transfer from the sweep file to the matrix: small made-up tasks, labels unified, trained by a worker, read by SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.query import query
from trials.pack import Member, Pack
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from workers.worker import Worker

SWEEP = """
backbones: [{backbone}]
tasks:
  - {{name: sst2, data_dir: sst2}}
  - {{name: mnli, data_dir: mnli}}
evaluate_on: [sst2, mnli]
labels: unified
methods: [{{method: apet, counts: [2000], placement: [discrete, adjacent]}}]
train_seeds: 1
learning_rates: [3.0e-2, 1.0e-6]
training: {{steps: 60, batch_size: 5, eval_every: 20}}
"""
WORDS = ("fine", "warm", "great", "dull", "cold")


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    folder.mkdir()
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five rows each, in every split: sst2 has three positive ones, mnli one entailment, two neutral, two not."""
    write(tmp_path / "sst2", [{"sentence": f"a {w} film", "label": int(i < 3)} for i, w in enumerate(WORDS)])
    pairs = [("it is {}", "it is {}", 0), ("it is {}", "who knows {}", 1), ("it is {}", "no {}", 2)]
    rows = [{"premise": p.format(w), "hypothesis": h.format(w), "label": y} for w in WORDS[:2] for p, h, y in pairs]
    write(tmp_path / "mnli", rows[1:])
    return tmp_path


def run(sweep: Sweep, place: Path) -> Store:
    """A store with the row of every trial."""
    store = Store(place, create=True)
    worker = Worker(store)
    for trial in sweep.trials():
        for _ in worker.run(Pack(trial.trial_id, (Member(trial),), sweep.sources(trial))):
            pass
    return store


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_a_matrix_of_relative_scores(backbone: str, folder: Path) -> None:
    sweep = Sweep.parse(SWEEP.format(backbone=backbone), folder=folder)
    store, trials = run(sweep, folder / "store"), sweep.trials()
    assert query(store, "select distinct state, error_message from trials").to_pylist() == [
        {"state": "completed", "error_message": None}
    ]
    lines = query(store, "select * from transfers").to_pylist()
    assert {(r["task"], r["target"]) for r in lines} == {("sst2", "mnli"), ("mnli", "sst2")}
    assert len(lines) == len(trials) == 8
    tuned = {
        (r["task"], json.loads(r["spec"])["method"]["placement"]): r["test_score"]
        for r in query(store, "select * from selected").to_pylist()
    }
    assert len(tuned) == 4
    for r in lines:
        score = tuned[r["target"], r["placement"]]
        assert score > 0, "sixty steps are enough for five rows"
        assert r["target_score"] == dict(r["transfer"])[r["target"]]
        assert r["relative"] == r["target_score"] / score
    facts = query(store, "select distinct task, majority, chance from trials order by task").to_pylist()
    chance = 0.5 if backbone == "tiny-bert" else 0.0
    assert facts == [  # neutral and contradiction are both 0, as four of mnli's five rows
        {"task": "mnli", "majority": 0.8, "chance": chance},
        {"task": "sst2", "majority": 0.6, "chance": chance},
    ]


@pytest.mark.parametrize("labels", ["own", "unified"])
@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_an_untrained_module_scores_a_target_as_one_of_that_task_does(backbone: str, labels: str, folder: Path) -> None:
    """Three labels or two, the answers are read off in the words of the target, not of the source."""
    settings = ["training={steps: 0}", f"labels={labels}", "learning_rates=[1.0e-2]", "methods=[lora]"]
    sweep = Sweep.parse(SWEEP.format(backbone=backbone), folder=folder).with_(settings)
    store = run(sweep, folder / "store")
    rows = {r["task"]: r for r in query(store, "select * from trials").to_pylist()}
    assert dict(rows["sst2"]["transfer"]) == {"mnli": rows["mnli"]["test_score"]}
    assert dict(rows["mnli"]["transfer"]) == {"sst2": rows["sst2"]["test_score"]}
