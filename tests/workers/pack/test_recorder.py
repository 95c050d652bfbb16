"""What a pack leaves in the store while it hiccups, and what the recorder of a higher rank leaves: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from tiny_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, run, scores

from trials.errors import ApetError
from trials.failures import BAD_TRIAL, InfrastructureError
from trials.store import retry
from trials.store.files import Files
from trials.store.store import Store
from workers import worker as working
from workers.gang.gang import Gang
from workers.pack import recorder as recording
from workers.pack.recorder import Onlooker, Recorder
from workers.worker import Worker

WRITES = ("attempts", "curves", "modules", "checkpoints")
families = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(retry, "wait", seconds.append)
    return seconds


@pytest.fixture
def hiccups(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often writing below a folder of the store still fails; ``late``: after the file was written."""
    left: dict[str, int] = {}
    write, delete = Files.write, Files.delete

    def sometimes(self: Files, path: str, data: bytes) -> None:
        folder = path.partition("/")[0]
        if left.get(f"late {folder}", 0):
            left[f"late {folder}"] -= 1
            write(self, path, data)
            raise ApetError("the connection was reset")
        if left.get(folder, 0):
            left[folder] -= 1
            raise ApetError("no space")
        write(self, path, data)

    def never(self: Files, path: str) -> None:
        if left.get("delete", 0):
            raise ApetError("no access")
        delete(self, path)

    monkeypatch.setattr(Files, "write", sometimes)
    monkeypatch.setattr(Files, "delete", never)
    return left


@families
@pytest.mark.parametrize("late", ["", "late "], ids=["not written", "written"])
def test_a_store_that_hiccups_costs_time_and_no_trial(
    name: str, late: str, folder: Path, tmp_path: Path, trial: Any, hiccups: dict[str, int], waited: list[float]
) -> None:
    one, calm = trial(name, count=300), Store(tmp_path / "calm", create=True)
    run(Worker(calm), pack_of(folder, one))
    store = Store(tmp_path / "store", create=True)
    hiccups.update({f"{late}{place}": 3 for place in WRITES})
    (ended,) = run(Worker(store), pack_of(folder, one))
    assert (ended.state, len(store.attempts())) == ("completed", 1)
    assert len(waited) == 3 * len(WRITES) - (2 if late else 0), "a row that is there is not written again"
    assert scores(store, one) == scores(calm, one)
    assert len(store.curves()) == 2
    assert store.load_module(rows_of(store)[one.trial_id]["module_uri"])
    assert store.load_checkpoint(one.trial_id) is None


@families
@pytest.mark.parametrize("place", ["attempts", "modules"])
def test_a_store_that_stays_away_ends_the_worker_and_the_checkpoint_stays(
    name: str, place: str, folder: Path, tmp_path: Path, trial: Any, hiccups: dict[str, int]
) -> None:
    one, store = trial(name, count=300), Store(tmp_path / "store", create=True)
    hiccups[place] = 10**6
    with pytest.raises(InfrastructureError, match="no space"):
        run(Worker(store), pack_of(folder, one))
    assert store.load_checkpoint(one.trial_id), "of step 2"
    hiccups.clear()
    assert not store.visible()
    assert [p.step for p in Worker(store).run(pack_of(folder, one, attempt=1))] == [4]
    assert store.visible()[one.trial_id] == ("completed", 1)


def test_a_log_that_cannot_be_written_yet(
    folder: Path, tmp_path: Path, trial: Any, hiccups: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, store = trial("tiny-bert"), Store(tmp_path / "store", create=True)
    monkeypatch.setenv("APET_FAULT", f"fail:{one.trial_id}")
    hiccups["logs"] = 2
    run(Worker(store), pack_of(folder, one))
    assert "InjectedFault" in store.load_log(rows_of(store)[one.trial_id]["log_uri"])


def test_a_checkpoint_that_cannot_be_dropped_is_no_failure(
    folder: Path, tmp_path: Path, trial: Any, hiccups: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    one, store = trial("tiny-bert"), Store(tmp_path / "store", create=True)
    hiccups["delete"] = 1
    (ended,) = run(Worker(store), pack_of(folder, one))
    assert ended.state == "completed"
    assert f"the checkpoint of trial {one.trial_id}, which is done, stays: no access" in caplog.text


def files(place: Path) -> list[str]:
    return sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file())


@families
def test_the_recorder_of_a_rank_above_0_writes_nothing_and_says_the_same(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad, wild = (
        trial(name, count=300),
        trial(name, count=301),
        trial(name, count=302, trial={"learning_rate": 1e37}),
    )
    monkeypatch.setenv("APET_FAULT", f"fail:{bad.trial_id}")
    said = {}
    for recorder in (Recorder, Onlooker):
        monkeypatch.setattr(working, "Recorder", recorder)
        store = Store(tmp_path / recorder.__name__, create=True)
        ended = run(Worker(store), pack_of(folder, good, bad, wild))
        said[recorder] = [replace(e, wall_s=0.0, load_s=0.0, attempt_id=None) for e in ended]
    assert said[Onlooker] == said[Recorder]
    assert len(files(tmp_path / "Recorder")) == 3 + 1 + 1 + 1 + 2, "rows, a curve, a module, a log, answers"
    assert files(tmp_path / "Onlooker") == []


class Second(Gang):
    """The second rank, of which the first one has read something, time after time."""

    first = False

    def __init__(self, *read: Any) -> None:
        self.read = iter(read)

    def of_first(self, value: Any) -> Any:
        assert value is None, "the first one alone reads"
        return next(self.read)


@families
def test_a_rank_above_0_resumes_from_the_checkpoint_of_rank_0_and_leaves_it(
    name: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    one, store = trial(name, count=300), Store(tmp_path / "store", create=True)
    asked = iter((False, False, False, True))
    run(Worker(store), pack_of(folder, one), should_stop=lambda: next(asked))
    before = {file: (tmp_path / "store" / file).read_bytes() for file in files(tmp_path / "store")}
    assert [file.partition("/")[0] for file in before] == ["answers", "checkpoints"]
    second = Worker(store, gang=Second(None, store.load_checkpoint(one.trial_id)))
    assert [p.step for p in second.run(pack_of(folder, one))] == [4]
    assert {file: (tmp_path / "store" / file).read_bytes() for file in files(tmp_path / "store")} == before


def test_the_class_that_the_caller_names_is_in_the_row_and_in_the_word(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    one, store = trial("tiny-bert"), Store(tmp_path / "store", create=True)
    pack = pack_of(folder, one)
    ended = Recorder(store, pack, "cpu", {"threads": 3}).failed(pack.members[0], ValueError("no"), BAD_TRIAL)
    row = rows_of(store)[one.trial_id]
    assert (ended.failure_class, row["failure_class"], row["threads"]) == (BAD_TRIAL, BAD_TRIAL, 3)


def test_the_trials_of_a_pack_share_its_seconds_while_they_are_open(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of our own: one fails at once, one is interrupted, three get their rows together."""
    clock = [100.0]
    monkeypatch.setattr(recording, "perf_counter", lambda: clock[0])
    store = Store(tmp_path / "store", create=True)
    pack = pack_of(folder, *(trial("tiny-bert", count=300 + n) for n in range(5)))
    recorder = Recorder(store, pack, "cpu", {})
    recorder.load_s = 20.0
    ended = []
    for member, at in zip(pack.members, (110.0, 118.0, 148.0, 148.0, 148.0), strict=True):
        clock[0] = at
        ended.append(
            recorder.interrupted(member) if at == 118.0 else recorder.failed(member, ValueError("no"), BAD_TRIAL)
        )
    assert [e.wall_s for e in ended] == pytest.approx([2.0, 4.0, 14.0, 14.0, 14.0])
    assert [e.load_s for e in ended] == pytest.approx([4.0, 0.0, 16 / 3, 16 / 3, 16 / 3])
    assert recorder.load_s == pytest.approx(0.0)
    rows = [rows_of(store)[e.trial_id] for e in ended if e.state == "failed"]
    assert [(r["wall_s"], r["load_s"]) for r in rows] == [(e.wall_s, e.load_s) for e in ended if e.state == "failed"]


@families
def test_the_rows_of_a_pack_sum_up_to_its_seconds(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    wild = {"learning_rate": 1e37}
    members = [trial(name, count=300 + n, trial=wild if n == 1 else {}) for n in range(4)]
    store, start = Store(tmp_path / "store", create=True), perf_counter()
    ended = run(Worker(store), pack_of(folder, *members))
    wall_s, rows = perf_counter() - start, [rows_of(store)[e.trial_id] for e in ended]
    assert wall_s / 2 < sum(r["wall_s"] for r in rows) <= wall_s, "what comes behind the last row is in none"
    loads = [r["load_s"] for r in rows]
    assert loads == pytest.approx([loads[0]] * 4)
    assert 0 < sum(loads) < wall_s
    by_id = {r["trial_id"]: r for r in rows}
    first = by_id[members[1].trial_id]
    late = [by_id[one.trial_id] for one in members if one is not members[1]]
    assert first["wall_s"] < min(r["wall_s"] for r in late)
    assert max(r["wall_s"] for r in late) < 2 * min(r["wall_s"] for r in late)
    for column in ("train_s", "eval_s"):
        assert len({r[column] for r in late}) == 1, "they took part in the same steps and evaluations"
    assert first["train_s"] < late[0]["train_s"]
    assert first["eval_s"] == 0
    assert sum(r["train_s"] + r["eval_s"] for r in rows) < wall_s
