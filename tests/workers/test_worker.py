"""The warm worker on tiny backbones and a folder of rows: rows, packs, warmth, resuming, failing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from worker_for_tests import BAD, GOOD, pack_of, rows_of, run, scores

from trials import backbones
from trials.errors import ApetError
from trials.pack import Sources
from trials.setup import Setup
from trials.sources.locations import find_data
from trials.store.store import Store
from trials.trial import TaskRef, Training
from workers.backbone import readout
from workers.backbone.load import digest
from workers.modules.file import ModuleFile
from workers.modules.model import PackModel
from workers.pack.evaluate import evaluate
from workers.worker import Worker

FAMILIES = ("tiny-bert", "tiny-bloom", "tiny-t5")
HEADED = ("tiny-bert", "bitfit")  # with a trained head


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_learns_sixteen_rows_and_its_row_says_so(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    training = Training(steps=120, batch_size=16, eval_every=30)
    one = trial(name, count=4000, trial={"training": training, "learning_rate": 1e-2})
    store = Store(tmp_path / "store", create=True)
    (ended,) = run(Worker(store), pack_of(folder, one))
    assert (ended.state, ended.error_message) == ("completed", None)
    row = rows_of(store)[one.trial_id]
    assert row["test_score"] >= 15 / 16
    assert row["count_actual"] == 4000
    assert sum(dict(row["operations"]).values()) == 4000
    assert (row["chance"], row["majority"]) == (0.5 if name == "tiny-bert" else 0.0, 0.5)
    assert row["weights"] == "random"
    assert (row["train_rows"], row["test_rows"]) == (16, 16)
    assert row["load_s"] > 0
    curve = store.curves().to_pylist()
    assert [point["step"] for point in curve] == [30, 60, 90, 120]
    module = ModuleFile.from_bytes(store.load_module(row["module_uri"]))
    assert (module.trial, module.best_step) == (one, row["best_step"])
    assert (module.weights_digest, module.precision) == (row["weights_digest"], row["precision"])
    assert module.theta.any()


@pytest.mark.parametrize(("name", "method"), [*zip(FAMILIES, ("prompt", "lora", "apet"), strict=True), HEADED])
def test_a_module_file_gives_the_score_of_its_row_again(
    name: str, method: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    """On a backbone loaded anew, with the head of the file where one was trained."""
    training = Training(steps=60, batch_size=16, eval_every=20)
    fields = {"training": training, "learning_rate": 1e-2}
    if (name, method) == HEADED:
        fields |= {"head": "trained", "backbone": replace(backbones.get(name), head_scale=0.3)}
    sizes = {"prompt": {"tokens": 3}, "apet": {"count": 4000}}
    one = trial(name, method=method, trial=fields, **sizes.get(method, {}))
    store, pack = Store(tmp_path / "store", create=True), pack_of(folder, one)
    run(Worker(store), pack)
    row = rows_of(store)[one.trial_id]
    module = ModuleFile.from_bytes(store.load_module(row["module_uri"]))
    worker = Worker(store)
    backbone = worker.backbone(pack)
    rows = worker.rows(pack, backbone)
    read = readout.make(one, rows.task, backbone, 1)
    weights = [module.head] if module.head is not None else read.weights or None
    model = PackModel(backbone, module.onto(backbone), weights, read.label_words)
    (scores,) = evaluate(model, rows.test, 16)
    assert scores.score == row["test_score"] > 0.6


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_writes_the_rows_of_its_trials_alone(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    members = [
        trial(name, count=700),
        trial(name, count=90, operations={"add": 1}, trial={"learning_rate": 3e-2}),
        trial(name, method="lora"),
        trial(name, method="bitfit"),
    ]
    together, alone = Store(tmp_path / "together", create=True), Store(tmp_path / "alone", create=True)
    assert [e.state for e in run(Worker(together), pack_of(folder, *members))] == ["completed"] * 4
    worker = Worker(alone)
    for one in members:
        run(worker, pack_of(folder, one))
        assert scores(alone, one) == scores(together, one)


@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_of_any_length_train_in_a_pack(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    training = Training(steps=40, batch_size=16)
    mixed = {"operations": {"add": 1, "concat": 1}, "sites": {"add": ("o",), "concat": ("soft_tokens", "v")}}
    members = [
        trial(name, method="prompt", tokens=20, trial={"training": training, "learning_rate": 0.1}),
        trial(name, method="prompt", tokens=3, trial={"training": training}),
        trial(name, **mixed, tokens=5, count=321, trial={"training": training}),
        trial(name, method="lora", trial={"training": training}),
    ]
    store = Store(tmp_path / "store", create=True)
    assert [e.state for e in run(Worker(store), pack_of(folder, *members))] == ["completed"] * 4
    rows = [rows_of(store)[one.trial_id] for one in members]
    assert [row["count_actual"] for row in rows[:3]] == [20 * 64, 3 * 64, 321]
    assert dict(rows[0]["operations"]) == {"concat": 20 * 64}
    assert rows[0]["test_score"] >= (0.75 if name == "tiny-bert" else 0.5)  # others begin at 0: no label at all
    assert len({row["tokens"] for row in rows}) == 1  # of the texts: soft tokens aren't counted


def test_a_prompt_that_does_not_fit_before_the_text_fails_alone(folder: Path, tmp_path: Path, trial: Any) -> None:
    long, short = trial("tiny-bert", method="prompt", tokens=255), trial("tiny-bert", method="prompt", tokens=2)
    store = Store(tmp_path / "store", create=True)
    states = {e.trial_id: e.state for e in run(Worker(store), pack_of(folder, long, short))}
    assert states == {long.trial_id: "failed", short.trial_id: "completed"}
    assert "tiny-bert has 256 positions" in rows_of(store)[long.trial_id]["error_message"]


@pytest.mark.parametrize("name", FAMILIES)
def test_full_leaves_the_next_trial_as_on_a_fresh_worker(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    full, after = trial(name, method="full", trial={"learning_rate": 1e-3}), trial(name, count=300)
    warm, fresh = Store(tmp_path / "warm", create=True), Store(tmp_path / "fresh", create=True)
    worker = Worker(warm)
    run(worker, pack_of(folder, full))
    run(worker, pack_of(folder, after))
    run(Worker(fresh), pack_of(folder, after))
    assert scores(warm, after) == scores(fresh, after)
    row = rows_of(warm)[full.trial_id]
    assert digest(worker.backbone(pack_of(folder, after)).model) == row["weights_digest"]
    assert row["state"] == "completed"
    assert row["count_actual"] == sum(p.numel() for p in worker.backbone(pack_of(folder, after)).model.parameters())
    assert [r["load_s"] > 0 for r in sorted(warm.attempts().to_pylist(), key=lambda r: r["started_at"])] == [
        True,
        False,
    ]


@pytest.mark.parametrize("case", [{"count": 300}, {"method": "prompt", "tokens": 6}], ids=["apet", "prompt"])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_an_interrupted_trial_goes_on_to_the_same_numbers(
    name: str, stop_after: int, case: dict[str, Any], folder: Path, tmp_path: Path, trial: Any
) -> None:
    one = trial(name, **case)
    store, whole = Store(tmp_path / "store", create=True), Store(tmp_path / "whole", create=True)
    asked = iter(range(100))
    (ended,) = run(Worker(store), pack_of(folder, one), should_stop=lambda: next(asked) >= stop_after)
    assert ended.state == "interrupted"
    assert not store.visible()
    steps = [p.step for p in Worker(store).run(pack_of(folder, one))]
    assert steps == [s for s in (2, 4) if s > stop_after or (s == 2 and stop_after < 2)]
    run(Worker(whole), pack_of(folder, one))
    assert scores(store, one) == scores(whole, one)
    assert store.load_checkpoint(one.trial_id) is None


def test_a_diverging_trial_ends_alone(folder: Path, tmp_path: Path, trial: Any) -> None:
    calm, wild = trial("tiny-bloom", count=300), trial("tiny-bloom", count=300, trial={"learning_rate": 1e37})
    together, alone = Store(tmp_path / "together", create=True), Store(tmp_path / "alone", create=True)
    run(Worker(together), pack_of(folder, wild, calm))
    run(Worker(alone), pack_of(folder, calm))
    assert scores(together, calm) == scores(alone, calm)
    row = rows_of(together)[wild.trial_id]
    assert row["state"] == "diverged"
    assert 1 < row["diverged_at"] <= 4
    assert row["steps_done"] == row["diverged_at"] - 1


def test_a_failed_trial_is_a_row_with_its_reason(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = trial("tiny-bert", count=300), trial("tiny-bert", count=301)
    monkeypatch.setenv("APET_FAULT", f"fail:{bad.trial_id}")
    store = Store(tmp_path / "store", create=True)
    states = {e.trial_id: e.state for e in run(Worker(store), pack_of(folder, bad, good))}
    assert states == {bad.trial_id: "failed", good.trial_id: "completed"}
    row = rows_of(store)[bad.trial_id]
    assert row["error_class"] == "InjectedFault"
    assert bad.trial_id in row["error_message"]
    assert "Traceback" in store.load_log(row["log_uri"])
    assert row["test_score"] is None


def test_a_missing_folder_fails_every_trial_of_the_pack(tmp_path: Path, trial: Any) -> None:
    members = [trial("tiny-bert", count=300), trial("tiny-bert", count=301)]
    store = Store(tmp_path / "store", create=True)
    run(Worker(store), pack_of(tmp_path / "nowhere", *members))
    assert {r["state"] for r in rows_of(store).values()} == {"failed"}
    assert all("nowhere" in r["error_message"] for r in rows_of(store).values())


def test_no_steps_evaluate_the_backbone_as_it_is(folder: Path, tmp_path: Path, trial: Any) -> None:
    one = trial("tiny-bert", count=300, trial={"training": Training(steps=0)})
    store = Store(tmp_path / "store", create=True)
    (ended,) = run(Worker(store), pack_of(folder, one))
    row = rows_of(store)[one.trial_id]
    assert (ended.state, row["best_step"], row["steps_done"], row["count_actual"]) == ("completed", 0, 0, 300)


@pytest.mark.parametrize(("engine", "ran"), [("plain", (None, None)), ("deepspeed", (0, False))])
def test_a_row_says_how_its_engine_ran_and_not_what_was_asked(
    engine: str, ran: tuple[Any, Any], folder: Path, tmp_path: Path, trial: Any
) -> None:
    one, store = (
        trial("tiny-bert", count=50, trial={"training": Training(steps=1, batch_size=4)}),
        Store(tmp_path / "s"),
    )
    run(Worker(store, engine=engine), pack_of(folder, one))
    row = rows_of(store)[one.trial_id]
    assert (row["state"], row["zero_stage"], row["offload"]) == ("completed", *ran)


@pytest.mark.parametrize("asked", [{"zero_stage": 3}, {"offload": True}, {"ranks": 2}, {"gpus": 2}], ids=str)
def test_a_set_up_beyond_this_release_is_refused_and_not_ignored(
    asked: dict[str, Any], folder: Path, tmp_path: Path, trial: Any
) -> None:
    pack = replace(pack_of(folder, trial("tiny-bert", count=50)), setup=Setup("cpu", threads=1, **asked))
    with pytest.raises(ApetError, match=r"this release trains a pack whole|and here are 1 ranks"):
        run(Worker(Store(tmp_path / "s")), pack)


def test_a_trained_head_is_counted_apart(folder: Path, tmp_path: Path, trial: Any) -> None:
    ref = trial("tiny-bert").backbone
    headless = replace(ref, shape=replace(ref.shape, lm_head=False), head_scale=0.3)
    store = Store(tmp_path / "store", create=True)
    for head in ("frozen", "trained"):
        one = trial("tiny-bert", count=300, trial={"backbone": headless, "head": head})
        run(Worker(store), pack_of(folder, one))
        row = rows_of(store)[one.trial_id]
        assert (row["state"], row["count_actual"]) == ("completed", 300)
        assert row["head_parameters"] == (2 * 64 if head == "trained" else 0)


def test_early_stopping_ends_a_trial_that_gets_no_better(folder: Path, tmp_path: Path, trial: Any) -> None:
    training = Training(steps=50, batch_size=16, eval_every=1, early_stop=2)
    one = trial("tiny-bert", count=1, operations={"add": 1}, trial={"training": training, "learning_rate": 1e-9})
    store = Store(tmp_path / "store", create=True)
    run(Worker(store), pack_of(folder, one))
    row = rows_of(store)[one.trial_id]
    assert (row["state"], row["steps_done"], row["best_step"]) == ("completed", 3, 1)


def test_zero_shot_scores_of_other_tasks(folder: Path, tmp_path: Path, trial: Any) -> None:
    one = trial("tiny-bert", count=300)
    place = tmp_path / "sst2"
    place.mkdir()
    rows = [{"sentence": f"{x} {n}", "label": y} for n in range(3) for y, xs in ((1, GOOD), (0, BAD)) for x in xs]
    for split in ("train", "validation"):
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = replace(one, evaluate_on=(TaskRef("sst2", find_data("sst2", place)[0]),), labels="unified")
    pack = replace(
        pack_of(folder, one), sources=Sources("random:tiny-bert", f"folder:{folder}", {"sst2": f"folder:{place}"})
    )
    store = Store(tmp_path / "store", create=True)
    (ended,) = run(Worker(store), pack)
    assert ended.error_message is None
    row = rows_of(store)[one.trial_id]
    assert 0 <= dict(row["transfer"])["sst2"] <= 1
    assert dict(row["transfer_sources"]) == {"sst2": f"folder:{place}"}
