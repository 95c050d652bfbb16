"""A trial's answers, shown and asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import apet, refused, row, stored

from orchestrator import query
from trials.store.answers import Answered
from trials.store.scores import pack_scores
from trials.store.store import Store
from trials.sweep.sweep import Sweep

SWEEP = """\
name: mine
backbones: [tiny-bert]
tasks: [{name: rte, data_dir: data}]
methods: [bitfit]
learning_rates: [1.0e-3]
training: {steps: 4}
"""
ANSWERED = Answered([1.0, 0.0, 0.0], ["yes", "no", "yes"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One trial with three answers, on three rows that are at hand."""
    (tmp_path / "data").mkdir()
    rows = [{"sentence1": f"{n} foxes", "sentence2": "a fox", "label": label} for n, label in enumerate((0, 0, 1))]
    for split in ("train", "validation", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (tmp_path / "mine.yaml").write_text(SWEEP)
    (trial,) = Sweep.load(tmp_path / "mine.yaml").trials()
    store = Store(tmp_path / "store", create=True)
    bits = pack_scores(ANSWERED.scores)
    columns = {"right": bits, "untrained_right": bits, "untrained_score": 0.25, "untrained_key": "cafe"}
    made = row(trial, data_source=f"folder:{tmp_path / 'data'}", test_rows=3, **columns)
    store.append(made, None, {"rte": ANSWERED, "mrpc": Answered([1.0], ["yes"])})
    store.save_untrained("cafe", "rte", Answered([0.0] * 3, ["no"] * 3))
    return store


def test_show_lists_right_and_wrong_ones_beside_their_texts(store: Store) -> None:
    trial_id = store.trials()["trial_id"][0].as_py()
    shown = apet("show", trial_id, "--answers", "--store", store.uri)
    assert "rte: 3 answers, 1 right, 2 wrong" in shown.stdout
    assert "mrpc: 1 answers, 1 right, 0 wrong" in shown.stdout
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[2] == ["0", "1", "yes", "yes", "0", "foxes", "|", "a", "fox"]
    assert lines[4] == ["2", "0", "yes", "no", "2", "foxes", "|", "a", "fox"]
    found = json.loads(apet("show", trial_id, "--answers", "--json", "--store", store.uri).stdout)
    assert [(one["row"], one["score"], one["right"]) for one in found[:3]] == [
        (0, 1, "yes"),
        (1, 0, "yes"),
        (2, 0, "no"),
    ]
    assert found[3] == {"task": "mrpc", "row": 0, "score": 1, "answer": "yes", "right": None, "text": None}
    plain = apet("show", trial_id, "--store", store.uri).stdout
    assert "untrained_score   0.25" in plain
    assert "right" not in json.loads(apet("show", trial_id, "--json", "--store", store.uri).stdout)["row"]


def test_show_goes_without_texts_that_are_gone(store: Store) -> None:
    for path in Path(store.uri).parent.glob("data/*"):
        path.unlink()
    trial_id = store.trials()["trial_id"][0].as_py()
    shown = apet("show", trial_id, "--answers", "--store", store.uri).stdout
    assert "foxes" not in shown
    assert "rte: 3 answers" in shown


def test_a_trial_without_answers_says_why(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    refused("show", trials[1].trial_id, "--answers", "--store", store.uri, says=["has no answers", "schema version 4"])
    refused("show", trials[1].trial_id, "--answers", "--pack", "--store", store.uri, says=["--answers"])


def test_the_views_join(store: Store) -> None:
    rows = query(
        store,
        "select a.row, a.answer, u.answer as before from answers a join trials using (attempt_id) join untrained u "
        "on u.untrained_key = trials.untrained_key and u.row = a.row and u.task = a.task order by a.row",
    ).to_pylist()
    assert [tuple(one.values()) for one in rows] == [(0, "yes", "no"), (1, "no", "no"), (2, "yes", "no")]
