"""What goes on from a checkpoint ends at the same bits, and what can't begins anew and catches up with the others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import ROOT
from safetensors.torch import load
from trials_for_tests import FAMILIES, OPERATIONS
from worker_for_tests import pack_of, rows_of, scores

from trials import backbones as backbones_table
from trials.failures import InfrastructureError
from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Training, Trial
from workers.backbone import load as backbones
from workers.modules.model import PackModel
from workers.pack import checkpoint
from workers.pack.recorder import Recorder
from workers.worker import Worker

STOPS_AT, STEPS = 5, 12


def steps_of(store: Store, pack: Pack, stops_at: int | None = None) -> list[int]:
    """The steps of a worker's reports; asked to stop before the step behind ``stops_at``."""
    calls = iter(range(1000))
    return [p.step for p in Worker(store).run(pack, lambda: next(calls) == stops_at)]


def module(store: Store, trial: Trial) -> dict[str, torch.Tensor]:
    return load(store.load_module(rows_of(store)[trial.trial_id]["module_uri"]))


def step_of(store: Store, trial: Trial) -> int:
    """The step of a trial's checkpoint."""
    saved = store.load_checkpoint(trial.trial_id)
    assert saved is not None
    return checkpoint.Checkpoint.from_bytes(saved).step


def same(one: Store, other: Store, trial: Trial) -> bool:
    """Whether a trial has the same scores and, to the bit, the same module in both."""
    left, right = module(one, trial), module(other, trial)
    equal = left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    return equal and scores(one, trial) == scores(other, trial)


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
    monkeypatch.setattr(PackModel, "forward", lambda self, rows: (slices.append(len(self.active)), forward(self, rows))[1])
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
    monkeypatch.setattr(PackModel, "forward", lambda self, rows: (slices.append(len(self.active)), forward(self, rows))[1])
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
    whole, save, saved = pack_of(folder, *(trial(count=n, trial={"training": training}) for n in (50, 300))), Recorder.save, []

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
    store, whole, calls = Store(tmp_path / "store", create=True), Store(tmp_path / "whole", create=True), iter(range(99))

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


# Killed with -9, in processes of their own: one thread, a checkpoint there, no goodbye.


def child(work: Callable[[], None]) -> int:
    """Do it in a process of its own: the number of the signal that ended it, 0 if it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(70)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) != 70, "it raised"
    return os.WTERMSIG(status)


def kill_and_resume(folder: Path, place: Path) -> None:
    """Every operation on every family: undisturbed, and killed in the middle of a step and taken up again."""
    from trials_for_tests import make_trial
    from worker_for_tests import given

    torch.set_num_threads(1)
    for family in FAMILIES:  # what every child would import first, for seconds
        backbones.load(backbones_table.get(family), f"random:{family}", "cpu", torch.float32)
    ran: list[tuple[str, Store, Store, Trial]] = []
    for family in FAMILIES:
        for op in OPERATIONS:
            training = Training(steps=6, batch_size=4, eval_every=2)
            one = given(make_trial(family, operations={op: 1}, count=150, trial={"training": training}), folder)
            whole, store = (Store(place / f"{family}-{op}-{name}", create=True) for name in ("whole", "killed"))
            pack, calls = pack_of(folder, one), iter(range(100))

            def killed(store: Store = store, pack: Pack = pack, calls: Any = calls) -> None:
                def stop() -> bool:
                    if next(calls) == 3:  # the first step behind an evaluation is done, and lost
                        os.kill(os.getpid(), signal.SIGKILL)
                    return False

                list(Worker(store).run(pack, stop))

            assert child(lambda store=whole, pack=pack: list(Worker(store).run(pack))) == 0  # type: ignore[misc]
            assert child(killed) == signal.SIGKILL
            assert step_of(store, one) == 2, "there is something to go on from"
            assert child(lambda store=store, pack=pack: steps_of(store, pack)) == 0  # type: ignore[misc]
            ran.append((f"{op} on {family}", whole, store, one))
    for name, whole, store, one in ran:  # reading rows starts threads, so it comes behind the last fork
        assert same(whole, store, one), f"{name} is another one after a kill"
        print(f"{name} is the same", flush=True)


@pytest.mark.slow
def test_killed_with_minus_9_every_operation_on_every_family_ends_at_the_same_bits(
    folder: Path, tmp_path: Path
) -> None:
    """In a process that has done nothing before: what is forked from it has no threads to lose."""
    code = "import sys; from pathlib import Path; from test_resume import *; kill_and_resume(*map(Path, sys.argv[1:]))"
    paths = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is the same") == len(FAMILIES) * len(OPERATIONS)


def rows_there(place: Path) -> int:
    return len(list((place / "attempts").rglob("*.parquet")))


def killed_with_two_done(pack: Path, place: Path, left: list[Trial]) -> None:
    """``python -m workers.run``, killed with -9 once two rows are there and the others are at step 10 or more."""
    store = Store(place, create=True)
    with (place.parent / "log").open("w+") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "workers.run", str(pack), "--store", str(place)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdout=log,
            stderr=log,
        )
        try:
            while rows_there(place) < 2 or not all(store.load_checkpoint(x.trial_id) and step_of(store, x) >= 10 for x in left):
                assert worker.poll() is None, Path(log.name).read_text()
                time.sleep(0.002)
        finally:
            worker.kill()
            worker.wait()
    assert worker.returncode == -signal.SIGKILL
    assert rows_there(place) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_killed_when_two_of_four_had_ended(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    """Those that are left go on as a pack, asked for alone, as the driver does, or with those that have ended."""
    training = {"training": Training(steps=200, batch_size=4, eval_every=4)}
    wild = {**training, "learning_rate": 1e37}
    members = [trial(name, count=300 + n, trial=wild if n in (0, 2) else training) for n in range(4)]
    left = [members[1], members[3]]
    pack = pack_of(folder, *members)
    pack = replace(pack, setup=replace(pack.setup, checkpoint_s=0.001))
    (tmp_path / "pack.json").write_text(pack.to_json())
    whole, killed = Store(tmp_path / "whole", create=True), tmp_path / "killed"
    killed_with_two_done(tmp_path / "pack.json", killed, left)
    copies = [Store(shutil.copytree(killed, tmp_path / name)) for name in ("left", "all")]
    list(Worker(whole).run(pack))
    at = min(step_of(copies[0], one) for one in left)
    steps = steps_of(copies[0], replace(pack, members=tuple(m for m in pack.members if m.trial in left)))
    assert steps[0] > at, "nothing that was done is done again"
    assert steps[-1] == 200
    list(Worker(copies[1]).run(pack))
    for store in copies:
        assert [same(store, whole, one) for one in left] == [True] * 2
        assert [scores(store, one) for one in members] == [scores(whole, one) for one in members]
        assert not any((Path(store.uri) / "checkpoints").rglob("*.safetensors"))
