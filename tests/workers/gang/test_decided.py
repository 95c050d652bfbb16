"""What one rank alone meets is decided by all: to stop, memory that runs out, input that isn't there, a bad trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from four_for_tests import four
from gangs import TOLERANCE, gang_runs, ganged, losses, numbers, short_of_memory, theta
from ranks import RanksFailed, on_ranks
from resume_for_tests import step_of
from tiny_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, run

from trials.errors import ApetError
from trials.failures import BAD_INPUT, BAD_TRIAL, OUT_OF_MEMORY
from trials.store.store import Store
from trials.trial import Training
from workers.worker import Worker

families = pytest.mark.parametrize("name", FAMILIES)
FEW = {"steps": 6, "eval_every": 2}


def same(store: Store, other: Store, *trial_ids: str, bitwise: bool = False) -> None:
    """Whether trials have the same results in both."""
    tolerance = 0.0 if bitwise else TOLERANCE
    for trial_id in trial_ids:
        left, right = ({**numbers(x, trial_id), "micro_batch": None} for x in (store, other))
        assert left == right
        assert losses(store, trial_id) == pytest.approx(losses(other, trial_id), rel=tolerance, abs=tolerance)
        for ours, theirs in zip(theta(store, trial_id), theta(other, trial_id), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def ids(pack: Any) -> list[str]:
    return [m.trial.trial_id for m in pack.members]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_on_one_rank_ends_all_with_checkpoints_and_the_rest_equals(
    rank: int, folder: Path, tmp_path: Path, trial: Any
) -> None:
    """Asked before step 4; what goes on from there ends at the bits of a gang that nobody disturbed."""
    pack, stores = four("tiny-bert", folder, trial, **FEW), [Store(tmp_path / n, create=True) for n in ("a", "b")]
    (whole, cut) = stores
    gang_runs(2, whole, pack)
    told = gang_runs(2, cut, pack, stops=(rank, 3))
    assert told[0] == told[1] == [[(2, []), (2, [(i, "interrupted") for i in ids(pack)])]]
    assert [step_of(cut, m.trial) for m in pack.members] == [3] * 4
    assert rows_of(cut) == {}
    told = gang_runs(2, cut, pack)
    assert told[0] == told[1]
    assert [step for step, _ in told[0][0]] == [4, 6]
    same(cut, whole, *ids(pack), bitwise=True)
    assert not any((Path(cut.uri) / "checkpoints").rglob("*.safetensors"))


def test_asked_before_the_first_step_nothing_is_trained(folder: Path, tmp_path: Path, trial: Any) -> None:
    pack, store = four("tiny-bert", folder, trial, **FEW), Store(tmp_path / "store", create=True)
    told = gang_runs(2, store, pack, stops=(1, 0))
    assert told[0] == told[1] == [[(0, [(i, "interrupted") for i in ids(pack)])]]


@families
@pytest.mark.parametrize("fault", [("memory", (2, 9)), ("memory", (1, 1)), ("scoring", (1, 2))], ids=str)
def test_memory_that_runs_out_on_one_rank_halves_on_all(
    fault: tuple[str, Any], name: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    pack = four(name, folder, trial, **FEW)
    whole, halves = Store(tmp_path / "whole", create=True), Store(tmp_path / "halves", create=True)
    gang_runs(2, whole, pack)
    told = gang_runs(2, halves, pack, fault=(1, *fault))
    assert told[0] == told[1]
    same(halves, whole, *ids(pack))
    slices, rows = fault[1]
    assert {(r["pack_size"], r["micro_batch"]) for r in rows_of(halves).values()} == {
        (slices, rows if rows < 2 else None)
    }


def test_a_row_that_does_not_fit_on_one_rank_fails_and_says_where(folder: Path, tmp_path: Path, trial: Any) -> None:
    one, store = pack_of(folder, trial("tiny-bert", count=300)), Store(tmp_path / "store", create=True)
    told = gang_runs(2, store, one, fault=(1, "memory", (0, 0)))
    assert told[0] == told[1]
    (row,) = rows_of(store).values()
    assert (row["state"], row["failure_class"]) == ("failed", OUT_OF_MEMORY)
    assert "rank 1: CUDA out of memory" in row["error_message"]


def test_memory_for_what_all_trials_hold_ends_the_gang_and_the_next_one_goes_on_in_halves(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    """On one rank alone, where the others don't ask: it says with what another gang is to go on."""
    pack, said = four("tiny-bert", folder, trial, **FEW), tmp_path / "limits.json"
    whole, store = Store(tmp_path / "whole", create=True), Store(tmp_path / "store", create=True)
    gang_runs(2, whole, pack)
    text = ganged(pack, 2).to_json()
    with pytest.raises(RanksFailed):
        on_ranks(2, short_of_memory, store.uri, text, (1, "moments", 2), str(said))
    limits = json.loads(said.read_text())
    assert (limits["trials"], limits["hopeless"]) == (2, {})
    assert rows_of(store) == {}
    told = gang_runs(2, store, pack, limits=limits, fault=("all", "moments", 2))
    assert [len(ended) for _, ended in told[0][0] if ended] == [2, 2]
    same(store, whole, *ids(pack))
    # one that has no room even alone is known by name to the next gang
    alone = pack_of(folder, *[m.trial for m in pack.members[:1]])
    with pytest.raises(RanksFailed):
        on_ranks(2, short_of_memory, store.uri, ganged(alone, 2).to_json(), (1, "moments", 0), str(said))
    limits = json.loads(said.read_text())
    assert list(limits["hopeless"]) == ids(alone)
    lost = Store(tmp_path / "lost", create=True)
    told = gang_runs(2, lost, pack, limits=limits)
    assert told[0][0][0] == (0, [(ids(alone)[0], "failed")])
    row = rows_of(lost)[ids(alone)[0]]
    assert (row["failure_class"], "CUDA out of memory" in row["error_message"]) == (OUT_OF_MEMORY, True)
    same(lost, whole, *ids(pack)[1:])


@families
def test_a_trial_that_diverges_disturbs_no_other(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    fields = {"training": Training(batch_size=4, **FEW)}
    calm = [trial(name, count=n, trial=fields) for n in (300, 301)]
    wild = trial(name, count=302, trial={**fields, "learning_rate": 1e37})
    without, beside = Store(tmp_path / "without", create=True), Store(tmp_path / "beside", create=True)
    gang_runs(2, without, pack_of(folder, *calm))
    told = gang_runs(2, beside, pack_of(folder, calm[0], wild, calm[1]))
    assert told[0] == told[1]
    row = rows_of(beside)[wild.trial_id]
    assert (row["state"], row["diverged_at"]) == ("diverged", 2)
    same(beside, without, *(one.trial_id for one in calm), bitwise=True)


def test_what_one_rank_cannot_read_is_bad_input_on_all_and_the_next_pack_runs(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    some = [trial("tiny-bert", count=n) for n in (300, 301)]
    store = Store(tmp_path / "store", create=True)
    told = gang_runs(2, store, pack_of(folder, *some), fault=(1, "missing", None))
    assert told[0] == told[1]
    for row in rows_of(store).values():
        assert (row["state"], row["failure_class"]) == ("failed", BAD_INPUT)
        assert row["error_message"] == "rank 1: folder:/there: no such folder"
    assert len(rows_of(store)) == 2


def test_a_trial_that_one_rank_cannot_place_fails_on_all_and_alone(folder: Path, tmp_path: Path, trial: Any) -> None:
    bad, good = trial("tiny-bert", count=300), trial("tiny-bert", count=301)
    store = Store(tmp_path / "store", create=True)
    fault = (1, "environment", ("APET_FAULT", f"fail:{bad.trial_id}"))
    told = gang_runs(2, store, pack_of(folder, bad, good), fault=fault)
    assert told[0] == told[1]
    rows = rows_of(store)
    assert (rows[bad.trial_id]["state"], rows[bad.trial_id]["failure_class"]) == ("failed", BAD_TRIAL)
    assert rows[bad.trial_id]["error_message"].startswith("rank 1: InjectedFault: ")
    assert rows[good.trial_id]["state"] == "completed"


def test_a_pack_for_other_ranks_is_refused(folder: Path, tmp_path: Path, trial: Any) -> None:
    pack = ganged(pack_of(folder, trial("tiny-bert")), 2)
    with pytest.raises(ApetError, match="a pack for 2 ranks on 0 GPUs, and here are 1"):
        run(Worker(Store(tmp_path / "store", create=True)), pack)
