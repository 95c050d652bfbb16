"""What one rank alone meets is decided by all: to stop, input that isn't there, a trial that diverges or is bad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from four_for_tests import four
from gangs import Run, gang_runs, ganged, ids, same
from resume_for_tests import step_of
from tiny_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, run

from trials.errors import ApetError
from trials.failures import BAD_INPUT, BAD_TRIAL, OUT_OF_MEMORY
from trials.setup import Setup
from trials.store.store import Store
from trials.trial import Training
from workers.worker import Worker

FEW = {"steps": 6, "eval_every": 2}


def test_a_stop_on_one_rank_ends_all_with_checkpoints_and_the_rest_equals(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    """Asked before step 4, on either rank, or before the first; what goes on ends at the bits of the undisturbed."""
    pack = four("tiny-bert", folder, trial, **FEW)
    whole, first, second, at_once = (Store(tmp_path / n, create=True) for n in ("whole", "first", "second", "at-once"))
    told = gang_runs(
        2,
        Run(whole, [pack]),
        Run(first, [pack], stops=(0, 3)),
        Run(second, [pack], stops=(1, 3)),
        Run(at_once, [pack], stops=(1, 0)),
    )
    stopped = [(i, "interrupted") for i in ids(pack)]
    assert told[1:] == [[[(2, []), (2, stopped)]], [[(2, []), (2, stopped)]], [[(0, stopped)]]]
    assert [step_of(store, m.trial) for store in (first, second) for m in pack.members] == [3] * 8
    assert [rows_of(store) for store in (first, second, at_once)] == [{}] * 3
    told = gang_runs(2, Run(first, [pack]), Run(second, [pack]))
    for store, (steps,) in zip((first, second), told, strict=True):
        assert [step for step, _ in steps] == [4, 6]
        same(store, whole, *pack.members, bitwise=True)
        assert not any((Path(store.uri) / "checkpoints").rglob("*.safetensors"))


def test_a_trial_that_diverges_disturbs_no_other(folder: Path, tmp_path: Path, trial: Any) -> None:
    runs, checks = [], []
    for name in FAMILIES:
        fields = {"training": Training(batch_size=4, **FEW)}
        calm = [trial(name, count=n, trial=fields) for n in (300, 301)]
        wild = trial(name, count=302, trial={**fields, "learning_rate": 1e37})
        without, beside = (Store(tmp_path / f"{name}-{n}", create=True) for n in ("without", "beside"))
        packs = pack_of(folder, *calm), pack_of(folder, calm[0], wild, calm[1])
        runs += [Run(without, packs[:1]), Run(beside, packs[1:])]
        checks.append((without, beside, packs[0].members, wild))
    gang_runs(2, *runs)
    for without, beside, members, wild in checks:
        row = rows_of(beside)[wild.trial_id]
        assert (row["state"], row["diverged_at"]) == ("diverged", 2)
        same(beside, without, *members, bitwise=True)


def test_what_is_wrong_on_one_rank_alone_fails_on_all_and_the_next_pack_runs(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    """Data that it doesn't see; a trial that it can't place."""
    bad, good, after = (trial("tiny-bert", count=n) for n in (300, 301, 302))
    lost, placed = (Store(tmp_path / n, create=True) for n in ("lost", "placed"))
    packs = [pack_of(folder, bad, good), pack_of(folder, after)]
    fails = ("APET_FAULT", f"fail:{bad.trial_id}")
    gang_runs(2, Run(lost, packs, fault=(1, "unreadable", None)), Run(placed, packs, fault=(1, "environment", fails)))
    found = rows_of(lost)
    for one in (bad, good):
        assert (found[one.trial_id]["state"], found[one.trial_id]["failure_class"]) == ("failed", BAD_INPUT)
        assert found[one.trial_id]["error_message"] == "rank 1: folder:/there: no such folder"
    assert found[after.trial_id]["state"] == "completed"
    found = rows_of(placed)
    assert (found[bad.trial_id]["state"], found[bad.trial_id]["failure_class"]) == ("failed", BAD_TRIAL)
    assert found[bad.trial_id]["error_message"].startswith("rank 1: InjectedFault: ")
    assert [found[one.trial_id]["state"] for one in (good, after)] == ["completed"] * 2


def test_shards_that_one_rank_has_no_room_for_fail_on_all_and_the_next_pack_runs(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    lost, after = (trial("tiny-bert", count=n) for n in (300, 301))
    store = Store(tmp_path / "store", create=True)
    packs = [replace(pack_of(folder, one), setup=Setup("cpu", threads=1, zero_stage=3)) for one in (lost, after)]
    gang_runs(2, Run(store, packs, fault=(1, "shards", None)))
    row = rows_of(store)[lost.trial_id]
    assert (row["state"], row["failure_class"]) == ("failed", OUT_OF_MEMORY)
    assert "rank 1: CUDA out of memory" in row["error_message"]
    assert rows_of(store)[after.trial_id]["state"] == "completed"


def test_a_pack_for_other_ranks_is_refused(folder: Path, tmp_path: Path, trial: Any) -> None:
    pack = ganged(pack_of(folder, trial("tiny-bert")), 2)
    with pytest.raises(ApetError, match="a pack for 2 ranks on 0 GPUs, and here are 1"):
        run(Worker(Store(tmp_path / "store", create=True)), pack)
