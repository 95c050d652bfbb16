"""What goes on from a checkpoint ends at the same bits, and what can't begins anew and catches up with the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from resume_for_tests import same, step_of, steps_of
from trials_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of

from trials.failures import InfrastructureError
from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Training
from workers.modules.model import PackModel
from workers.pack import checkpoint
from workers.pack.recorder import Recorder
from workers.worker import Worker

STOPS_AT, STEPS = 5, 12


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """One bit of the last tensor."""
    data = bytearray(file.read_bytes())
    data[-2] ^= 4
    file.write_bytes(data)


def change_version(file: Path) -> None:
    data = file.read_bytes()
    assert b'\\"version\\": 1' in data
    file.write_bytes(data.replace(b'\\"version\\": 1', b'\\"version\\": 0'))


def leave_alone(file: Path) -> None:
    """Nothing."""


def interrupted(folder: Path, tmp_path: Path, trial: Any) -> tuple[Pack, Store, Store, list[Path]]:
    """A pack of four that was stopped between two evaluations, the same undisturbed, and its checkpoints' files."""
    training = Training(steps=STEPS, batch_size=4, eval_every=2)
    pack = pack_of(folder, *(trial("tiny-bert", count=n, trial={"training": training}) for n in (50, 300, 310, 320)))
    store, whole = Store(tmp_path / "store", create=True), Store(tmp_path / "whole", create=True)
    steps_of(whole, pack)
    steps_of(store, pack, STOPS_AT)
    files = [Path(store.checkpoint_file(member.trial.trial_id)) for member in pack.members]
    assert all(file.exists() for file in files)
    return pack, store, whole, files


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, change_version, leave_alone], ids=lambda f: f.__name__)
def test_one_lost_checkpoint_of_four_is_one_trial_s(
    damage: Callable[[Path], None], folder: Path, tmp_path: Path, trial: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pack, store, whole, files = interrupted(folder, tmp_path, trial)
    damage(files[1])
    assert steps_of(store, pack) == [*([] if damage is leave_alone else [2, 4]), 6, 8, 10, 12]
    assert {row["state"] for row in rows_of(store).values()} == {"completed"}
    assert [same(store, whole, member.trial) for member in pack.members] == [True] * 4
    named = [str(file) for file in files if str(file) in caplog.text]
    assert named == ([str(files[1])] if damage in (cut, flip, change_version) else []), "and no other"
    assert not any(file.exists() for file in files)


def test_a_trial_that_begins_anew_catches_up_alone_and_goes_on_with_the_others(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, store, whole, files = interrupted(folder, tmp_path, trial)
    cut(files[0])
    slices, forward = [], PackModel.forward
    monkeypatch.setattr(
        PackModel, "forward", lambda self, rows: (slices.append(len(self.active)), forward(self, rows))[1]
    )
    steps_of(store, pack)
    assert slices == [1] * STOPS_AT + [4] * (STEPS - STOPS_AT)
    assert [same(store, whole, member.trial) for member in pack.members] == [True] * 4
    assert {row["pack_size"] for row in rows_of(store).values()} == {4}


def test_three_lost_checkpoints_of_four_cost_the_fourth_nothing(folder: Path, tmp_path: Path, trial: Any) -> None:
    pack, store, whole, files = interrupted(folder, tmp_path, trial)
    for damage, file in zip((cut, Path.unlink, change_version), files, strict=False):
        damage(file)
    assert steps_of(store, pack) == [2, 4, 6, 8, 10, 12]
    assert [same(store, whole, member.trial) for member in pack.members] == [True] * 4


def test_a_stop_while_one_catches_up_leaves_the_others_where_they_were(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    pack, store, whole, files = interrupted(folder, tmp_path, trial)
    cut(files[0])
    steps_of(store, pack, stops_at=3)
    assert [step_of(store, member.trial) for member in pack.members] == [3, 5, 5, 5]
    assert steps_of(store, pack) == [4, 6, 8, 10, 12]
    assert [same(store, whole, member.trial) for member in pack.members] == [True] * 4


def test_a_kill_between_two_checkpoints_of_one_save_leaves_a_pack(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, store, whole, _ = interrupted(folder, tmp_path, trial)
    save, saved = Recorder.save, []

    def killed(self: Recorder, trial_id: str, data: bytes) -> None:
        saved.append(trial_id)
        if len(saved) == 3:
            raise InfrastructureError("killed")
        save(self, trial_id, data)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "save", killed)
        with pytest.raises(InfrastructureError):
            steps_of(store, pack)
    assert [step_of(store, member.trial) for member in pack.members] == [6, 6, 5, 5]
    slices, forward = [], PackModel.forward
    monkeypatch.setattr(
        PackModel, "forward", lambda self, rows: (slices.append(len(self.active)), forward(self, rows))[1]
    )
    assert steps_of(store, pack) == [6, 8, 10, 12]
    assert slices == [2] + [4] * 6
    assert [same(store, whole, member.trial) for member in pack.members] == [True] * 4
    curves = store.curves().to_pylist()
    assert len(curves) == len({(point["trial_id"], point["step"]) for point in curves}) == 4 * 6


def test_a_checkpoint_of_another_trial_is_none(folder: Path, tmp_path: Path, trial: Any, caplog: Any) -> None:
    pack, store, _, files = interrupted(folder, tmp_path, trial)
    files[1].write_bytes(files[2].read_bytes())
    assert steps_of(store, pack) == [2, 4, 6, 8, 10, 12]
    assert f"{files[1]} can't be used: it is of trial {pack.members[2].trial.trial_id}" in caplog.text


@pytest.mark.parametrize("size", [0, 7, 8, 100])
def test_garbage_is_no_checkpoint(size: int) -> None:
    data = json.dumps({"a": 1}).ljust(size).encode()[:size]
    with pytest.raises(ValueError, match=r"."):
        checkpoint.Checkpoint.from_bytes(data)


@pytest.mark.parametrize(("seconds", "kept"), [(1e-9, list(range(1, STEPS))), (3600.0, [5, 10])])
def test_checkpoints_are_written_at_evaluations_and_every_so_many_seconds(
    seconds: float, kept: list[int], folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(steps=STEPS, batch_size=4, eval_every=5)
    whole, save, saved = (
        pack_of(folder, *(trial(count=n, trial={"training": training}) for n in (50, 300))),
        Recorder.save,
        [],
    )

    def noted(self: Recorder, trial_id: str, data: bytes) -> None:
        saved.append((trial_id, checkpoint.Checkpoint.from_bytes(data).step))
        save(self, trial_id, data)

    monkeypatch.setattr(Recorder, "save", noted)
    steps_of(Store(tmp_path / "store", create=True), replace(whole, setup=replace(whole.setup, checkpoint_s=seconds)))
    assert saved == [(member.trial.trial_id, step) for step in kept for member in whole.members]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_goes_on_from_a_step_without_evaluation(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    training = Training(steps=STEPS, batch_size=4, eval_every=8)
    pack = pack_of(folder, *(trial(name, count=n, trial={"training": training}) for n in (50, 300, 310)))
    pack = replace(pack, setup=replace(pack.setup, checkpoint_s=1e-9))
    store, whole, calls = (
        Store(tmp_path / "store", create=True),
        Store(tmp_path / "whole", create=True),
        iter(range(99)),
    )

    def sick() -> bool:
        if next(calls) == 7:
            raise InfrastructureError("the worker is gone")
        return False

    with pytest.raises(InfrastructureError):
        list(Worker(store).run(pack, sick))
    assert [step_of(store, member.trial) for member in pack.members] == [7] * 3
    assert steps_of(store, pack) == [8, 12]
    steps_of(whole, pack)
    assert [same(store, whole, member.trial) for member in pack.members] == [True] * 3
