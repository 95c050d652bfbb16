"""Trials on a task whose target is a text, through the worker to their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from encodings_for_tests import tokenizer
from worker_for_tests import given

from trials import tasks
from trials.pack import Member, Pack, Sources
from trials.store.store import Store
from trials.trial import Source, TaskRef, Training
from workers.backbone.load import Backbone
from workers.pack import evaluate
from workers.rows.warm import WarmRows
from workers.worker import Worker

CHATS = [
    ("Anna: are you coming? Ben: yes", "Ben is coming."),
    ("Tom: milk? Lucy: no, I forgot", "Lucy forgot the milk."),
    ("Ann: the train is late", "The train is late."),
    ("Max: where is the key? Eva: in the drawer", "The key is in the drawer."),
]
SHARED = ("validation_score", "test_score", "metrics", "train_loss", "best_step", "tokens")


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """Four chats, the same in every split; the last one has many words that are read by nobody."""
    rows = [{"dialogue": chat, "summary": summary} for chat, summary in CHATS]
    rows[-1] = {"dialogue": rows[-1]["dialogue"] + " and so on" * 200, "summary": rows[-1]["summary"]}
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def rows_of(store: Store, folder: Path, *trials: Any) -> list[dict[str, Any]]:
    sources = Sources(f"random:{trials[0].backbone.name}", f"folder:{folder}")
    trials = tuple(given(t, folder) for t in trials)
    pack = Pack("pack", tuple(Member(t, 0) for t in trials), sources, sweep="test")
    list(Worker(store).run(pack))
    found = {row["trial_id"]: row for row in store.trials().to_pylist()}
    return [found[t.trial_id] for t in trials]


@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-t5"])
def test_a_pack_learns_summaries_and_each_row_is_as_alone(name: str, chats: Path, tmp_path: Path, trial: Any) -> None:
    task = TaskRef("samsum", Source("folder", "x", "0"))
    training = Training(80, 4, 40, None, "auto", 48, 20)
    fields = {"task": task, "training": training}
    members = [
        trial(name, count=20_000, trial={**fields, "learning_rate": 1e-2}),
        trial(name, count=300, trial={**fields, "learning_rate": 1e-3}),
    ]
    together = rows_of(Store(tmp_path / "together", create=True), chats, *members)
    assert [row["error_message"] for row in together] == [None, None]
    assert together[0]["test_score"] > 0.9
    assert together[0]["test_score"] > together[1]["test_score"]
    for row in together:
        assert (row["metric"], row["chance"], row["majority"], row["truncated_rows"]) == ("rougeL", 0.0, None, 3)
        assert dict(row["metrics"]).keys() == {"rouge1", "rouge2"}
    (alone,) = rows_of(Store(tmp_path / "alone", create=True), chats, members[1])
    assert {key: alone[key] for key in SHARED} == {key: together[1][key] for key in SHARED}


def test_secondary_metrics_are_those_of_the_test_alone(
    chats: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads those of validation."""
    computed: list[str] = []
    rouge = {n: lambda given, right, n=n: (computed.append(n), 0.5)[1] for n in ("rouge1", "rouge2")}
    monkeypatch.setattr(evaluate, "TEXTS", rouge)
    monkeypatch.setattr(evaluate, "by_row", lambda name, given, _: (computed.append(name), [0.5] * len(given))[1])
    fields = {"task": TaskRef("samsum", Source("folder", "x", "0")), "training": Training(4, 4, 2, None, "auto", 48, 4)}
    (row,) = rows_of(Store(tmp_path / "store", create=True), chats, trial("tiny-t5", trial=fields))
    assert dict(row["metrics"]) == {"rouge1": 0.5, "rouge2": 0.5}
    assert sorted(computed) == ["rouge1", "rouge2", *["rougeL"] * 4], "two validations, a test, and one with no module"


def test_a_target_of_transfer_has_its_own_lengths(tmp_path: Path, trial: Any) -> None:
    for name in ("sst2", "rte"):
        (tmp_path / name).mkdir()
        lines = json.dumps(tasks.get(name).example) + "\n"
        for split in ("train", "validation", "test"):
            (tmp_path / name / f"{split}.jsonl").write_text(lines)
    source, target = (TaskRef(name, Source("folder", "x", "0")) for name in ("sst2", "rte"))
    one = trial("tiny-t5", trial={"task": source, "evaluate_on": (target,), "labels": "unified"})
    sources = Sources("random:tiny-t5", f"folder:{tmp_path / 'sst2'}", {"rte": f"folder:{tmp_path / 'rte'}"})
    backbone = Backbone(one.backbone, Any, tokenizer("tiny-t5"), 0, "", "", 0.0)  # type: ignore[arg-type]
    found = WarmRows().of(Pack("pack", (Member(one, 0),), sources, sweep="test"), backbone)
    assert found.train.how.max_input_length == 128
    assert found.targets["rte"].how.max_input_length == 256
    assert found.columns["truncated_rows"] == 0
    long = {**tasks.get("rte").example, "sentence1": "and so on " * 300}
    (tmp_path / "rte" / "test.jsonl").write_text(2 * (json.dumps(long) + "\n"))
    again = WarmRows().of(Pack("pack", (Member(one, 0),), sources, sweep="test"), backbone)
    assert again.columns["truncated_rows"] == 2
