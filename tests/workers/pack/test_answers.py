"""What a trial answers to the test rows: kept as it was scored, packed or alone, resumed or not, on one rank or two."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gangs import Run, gang_runs
from worker_for_tests import BAD, GOOD, given, pack_of, rows_of, run

from trials import tasks
from trials.pack import Member, Pack, Sources
from trials.sources.locations import find_data
from trials.store.answers import Answered
from trials.store.scores import unpack_scores
from trials.store.store import Store
from trials.trial import Source, TaskRef, Training, Trial
from workers.worker import Worker

families = pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
SHORT = {"training": Training(steps=6, batch_size=4, eval_every=2), "learning_rate": 3e-2}


def answered(store: Store, trial: Trial, task: str = "rotten_tomatoes", rows: int = 16) -> Answered:
    table = store.answers_of(rows_of(store)[trial.trial_id]["attempt_id"])
    found = Answered.of(table.filter([name == task for name in table["task"].to_pylist()]), rows)
    assert found is not None, "an answer to every row"
    return found


@families
def test_a_row_s_bits_are_its_answers_and_their_mean_its_score_packed_or_alone(
    name: str, folder: Path, tmp_path: Path, trial: Any
) -> None:

    longer = {**SHORT, "training": Training(steps=40, batch_size=4, eval_every=20)}
    kinds: list[dict[str, Any]] = [{"count": 300}, {"method": "lora"}, {"method": "prompt", "tokens": 5}]
    members = [trial(name, trial=longer, **kind) for kind in kinds]
    store, alone = (Store(tmp_path / place, create=True) for place in ("store", "alone"))
    run(Worker(store), pack_of(folder, *members))
    data = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    words = [word.strip() for word in tasks.get("rotten_tomatoes").words[members[0].backbone.family]]
    for one in members:
        run(Worker(alone), pack_of(folder, one))
        row, mine = rows_of(store)[one.trial_id], answered(store, one)
        assert mine == answered(alone, one)
        assert unpack_scores(row["right"], row["test_rows"]).tolist() == mine.scores
        assert np.mean(mine.scores) == row["test_score"]
        right = [float(text.strip() == words[x["label"]]) for text, x in zip(mine.answers, data, strict=True)]
        assert mine.scores == right, "each beside its own row of the file"
        assert row["right"] == rows_of(alone)[one.trial_id]["right"]
    some = rows_of(store)[members[0].trial_id]
    assert unpack_scores(some["majority_right"], 16).tolist() == [float(x["label"] == 0) for x in data], "a tie"
    assert sum(sum(answered(store, one).scores) for one in members) > 0, "something was right"


@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-t5"])
@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("samsum", [{"dialogue": f"Ann: {x}?", "summary": f"Ann asks {x}."} for x in "abcdef"]),
        ("nq_open", [{"question": f"what is {x}", "answer": [x, x + x]} for x in "abcdef"]),
    ],
)
def test_generated_texts_have_a_score_each(
    name: str, task: str, rows: list[dict[str, Any]], tmp_path: Path, trial: Any
) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in rows))
    fields = {"task": TaskRef(task, Source("folder", "x", "0")), "learning_rate": 1e-2}
    one = given(
        trial(name, count=20_000, trial={**fields, "training": Training(60, 6, 30, None, "auto", 48, 9)}), tmp_path
    )
    store = Store(tmp_path / "store", create=True)
    sources = Sources(f"random:{name}", f"folder:{tmp_path}")
    list(Worker(store).run(Pack("pack", (Member(one, 0),), sources, sweep="test")))
    row, mine = rows_of(store)[one.trial_id], answered(store, one, task, 6)
    assert row["test_score"] > 0, "or nothing is shown"
    bits = unpack_scores(row["right"], 6)
    assert bits == pytest.approx(mine.scores, abs=1e-3)
    if task == "nq_open":
        assert np.mean(bits) == row["test_score"]
    assert np.mean(mine.scores) == pytest.approx(row["test_score"], rel=1e-12)
    assert row["majority_right"] is None, "no answer is constant"


def test_other_tasks_answers_stand_beside_its_own(folder: Path, tmp_path: Path, trial: Any) -> None:
    place = tmp_path / "sst2"
    place.mkdir()
    rows = [{"sentence": f"{x} {n}", "label": y} for n in range(3) for y, xs in ((1, GOOD), (0, BAD)) for x in xs]
    for split in ("train", "validation"):
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = trial("tiny-bert", count=300)
    one = replace(one, evaluate_on=(TaskRef("sst2", find_data("sst2", place)[0]),), labels="unified")
    sources = Sources("random:tiny-bert", f"folder:{folder}", {"sst2": f"folder:{place}"})
    store = Store(tmp_path / "store", create=True)
    run(Worker(store), replace(pack_of(folder, one), sources=sources))
    row = rows_of(store)[one.trial_id]
    other = answered(store, one, "sst2", 24)
    assert np.mean(other.scores) == dict(row["transfer"])["sst2"]
    assert set(other.answers) <= {"0", "1"}
    assert len(unpack_scores(row["right"], row["test_rows"])) == len(answered(store, one).scores) == 16


def test_a_resumed_trial_has_the_answers_of_an_undisturbed_one(folder: Path, tmp_path: Path, trial: Any) -> None:
    one = trial("tiny-t5", count=300, trial=SHORT)
    store, whole = (Store(tmp_path / place, create=True) for place in ("store", "whole"))
    asked = iter([False] * 5 + [True])
    assert [e.state for e in run(Worker(store), pack_of(folder, one), should_stop=lambda: next(asked))] == [
        "interrupted"
    ]
    assert len(store._files.listing("answers/untrained")) == 1
    run(Worker(store), pack_of(folder, one))
    run(Worker(whole), pack_of(folder, one))
    assert answered(store, one) == answered(whole, one)
    names = ("right", "untrained_right", "untrained_score", "untrained_key")
    rows = [rows_of(where)[one.trial_id] for where in (store, whole)]
    assert [rows[0][n] for n in names] == [rows[1][n] for n in names]


def test_a_trial_without_a_best_step_has_no_answers(folder: Path, tmp_path: Path, trial: Any) -> None:
    store, one = Store(tmp_path / "store", create=True), trial(count=300, trial={"learning_rate": 1e37})
    run(Worker(store), pack_of(folder, one))
    row = rows_of(store)[one.trial_id]
    assert (row["state"], row["test_score"], row["right"]) == ("diverged", None, None)
    assert len(store.answers_of(row["attempt_id"])) == 0
    assert row["untrained_score"] is not None


def test_two_ranks_answer_as_one(folder: Path, tmp_path: Path, trial: Any) -> None:
    members = [trial("tiny-bert", count=300, trial=SHORT), trial("tiny-bert", "lora", trial=SHORT)]
    pack = pack_of(folder, *members)
    alone, two = (Store(tmp_path / place, create=True) for place in ("alone", "two"))
    run(Worker(alone, engine="plain"), pack)
    gang_runs(2, Run(two, [pack]))
    for one in members:
        assert answered(two, one) == answered(alone, one)
        rows = [rows_of(store)[one.trial_id] for store in (alone, two)]
        assert rows[0]["untrained_key"] == rows[1]["untrained_key"] is not None
        assert [row["untrained_right"] for row in rows] == [rows[0]["untrained_right"]] * 2
    assert len(two._files.listing("answers/untrained")) == 1
