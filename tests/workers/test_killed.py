"""Killed with -9 in processes of their own, with one thread and no goodbye, packs go on to the same bits."""

from __future__ import annotations

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
from resume_for_tests import same, step_of, steps_of
from trials_for_tests import FAMILIES, OPERATIONS
from worker_for_tests import pack_of, scores

from trials import backbones as backbones_table
from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Training, Trial
from workers.backbone import load as backbones
from workers.worker import Worker


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
    code = "import sys; from pathlib import Path; from test_killed import *; kill_and_resume(*map(Path, sys.argv[1:]))"
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
            while rows_there(place) < 2 or not all(
                store.load_checkpoint(x.trial_id) and step_of(store, x) >= 10 for x in left
            ):
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
    training = {"training": Training(steps=60, batch_size=4, eval_every=4)}
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
    assert steps[-1] == 60
    list(Worker(copies[1]).run(pack))
    for store in copies:
        assert [same(store, whole, one) for one in left] == [True] * 2
        assert [scores(store, one) for one in members] == [scores(whole, one) for one in members]
        assert not any((Path(store.uri) / "checkpoints").rglob("*.safetensors"))
