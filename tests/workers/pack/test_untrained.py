"""The untrained module: the frozen backbone alone, scored once for all trials that share it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gangs import Run, gang_runs
from worker_for_tests import pack_of, rows_of, run

from trials.store.store import Store
from trials.trial import Training
from workers.modules.model import PackModel
from workers.pack.untrained import Untrained
from workers.worker import Worker

families = pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
COLUMNS = ("untrained_key", "untrained_score", "untrained_right")


def reference(store: Store, trial: Any) -> list[Any]:
    return [rows_of(store)[trial.trial_id][name] for name in COLUMNS]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every time that one is scored."""
    times: list[str] = []
    score = Untrained._scored

    def counted(self: Untrained, *args: Any) -> Any:
        times.append("scored")
        return score(self, *args)

    monkeypatch.setattr(Untrained, "_scored", counted)
    return times


@families
def test_it_answers_as_a_module_that_has_learnt_nothing_yet_and_once_for_all_methods(
    name: str, folder: Path, tmp_path: Path, trial: Any, scored: list[str]
) -> None:
    none = {"training": Training(steps=0, batch_size=4)}
    apet, prompt = trial(name, count=300, trial=none), trial(name, "prompt", tokens=5, trial=none)
    full = trial(name, "full", trial={"training": Training(steps=2, batch_size=4), "learning_rate": 1e-2})
    store = Store(tmp_path / "store", create=True)
    run(Worker(store), pack_of(folder, apet))
    row = rows_of(store)[apet.trial_id]
    assert (row["untrained_score"], row["untrained_right"]) == (row["test_score"], row["right"])
    ended = [run(Worker(store), pack_of(folder, one))[0] for one in (prompt, full)]
    assert [(e.state, e.error_message) for e in ended] == [("completed", None)] * 2
    assert reference(store, apet) == reference(store, prompt) == reference(store, full)
    assert scored == ["scored"], "the other workers read it"
    first = Store(tmp_path / "first", create=True)
    run(Worker(first), pack_of(folder, full))
    assert reference(first, full) == reference(store, full), "it isn't the trained backbone"


def test_a_warm_worker_asks_nobody_again_and_another_writes_the_same(
    folder: Path, tmp_path: Path, trial: Any, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (trial(count=n) for n in (300, 301))
    store, other = (Store(tmp_path / place, create=True) for place in ("store", "other"))
    worker = Worker(store)
    run(worker, pack_of(folder, one))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "load_untrained", None)
        run(worker, pack_of(folder, two))
    assert reference(store, one) == reference(store, two)
    run(Worker(other), pack_of(folder, one))
    assert scored == ["scored", "scored"]
    (path,) = (tmp_path / "store" / "answers" / "untrained").iterdir()
    assert path.read_bytes() == (tmp_path / "other" / "answers" / "untrained" / path.name).read_bytes()
    table = store.untrained()
    assert table["untrained_key"].to_pylist() == [reference(store, one)[0]] * 16
    assert table["row"].to_pylist() == list(range(16))


def test_a_damaged_file_is_written_anew(
    folder: Path, tmp_path: Path, trial: Any, scored: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = (trial(count=n) for n in (300, 301))
    store = Store(tmp_path / "store", create=True)
    run(Worker(store), pack_of(folder, one))
    (path,) = (tmp_path / "store" / "answers" / "untrained").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    assert [e.state for e in run(Worker(store), pack_of(folder, two))] == ["completed"]
    assert scored == ["scored", "scored"]
    assert "the untrained module is scored anew" in caplog.text
    assert path.read_bytes() == whole


def test_a_head_is_drawn_for_it_and_never_trained(folder: Path, tmp_path: Path, trial: Any) -> None:
    ref = trial("tiny-bert").backbone
    headless = {"backbone": replace(ref, shape=replace(ref.shape, lm_head=False), head_scale=0.3)}
    store, found = Store(tmp_path / "store", create=True), {}
    for head in ("frozen", "trained"):
        for seed in (0, 1):
            fields = {**headless, "head": head, "train_seed": seed}
            one = trial("tiny-bert", count=300, trial={**fields, "learning_rate": 1e-1})
            run(Worker(store), pack_of(folder, one))
            found[head, seed] = reference(store, one)
    assert len({key for key, *_ in found.values()}) == 4
    assert [found["trained", seed][1:] for seed in (0, 1)] == [found["frozen", seed][1:] for seed in (0, 1)]


def test_memory_that_runs_out_for_it_is_told_as_for_any_other(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer rows go through; where one doesn't, trials fail for memory."""
    predict, most = PackModel.predict, [2]

    def short(self: PackModel, batch: Any, *args: Any) -> Any:
        if len(batch["input_ids"]) > most[0]:
            raise MemoryError("no room")
        return predict(self, batch, *args)

    monkeypatch.setattr(PackModel, "predict", short)
    one, two = (trial(count=n) for n in (300, 301))
    store = Store(tmp_path / "store", create=True)
    run(Worker(store), pack_of(folder, one))
    assert reference(store, one)[1] is not None
    most[0] = 0
    ended = run(Worker(Store(tmp_path / "short", create=True)), pack_of(folder, one, two))
    assert [(e.state, e.failure_class) for e in ended] == [("failed", "out_of_memory")] * 2


@pytest.mark.slow
def test_shards_answer_as_the_whole(folder: Path, tmp_path: Path, trial: Any) -> None:
    one = trial("tiny-t5", count=300)
    pack = pack_of(folder, one)
    alone, two = (Store(tmp_path / place, create=True) for place in ("alone", "two"))
    run(Worker(alone, engine="plain"), pack)
    gang_runs(2, Run(two, [replace(pack, setup=replace(pack.setup, zero_stage=3))]))
    assert reference(two, one) == reference(alone, one)
