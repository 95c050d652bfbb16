"""A rank that is killed, that throws, that hangs: the pack ends on all, says why, leaves nothing, and goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drivers import Driver, end_all
from ganged_worker import REST, WORKER
from gangs_for_tests import STEPS, ganged_pack, rows_by_trial
from leftovers import Leftovers

from trials.store.store import Store
from workers import faults
from workers.gang.supervisor import TIMEOUT, GangError, GangWorker

Make = Callable[..., GangWorker]
WAITS_S = 8.0  # in a collective call
KILLED, HANGS = "its process ended: killed by SIGKILL", "it hangs: the others waited for it in vain"
THROWN = "InjectedFault: APET_FAULT asks rank"
AT = "evaluation at step 4"
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("fault", "rank", "where", "says"),
    [
        ("kill", 1, "step 5", KILLED),
        ("throw", 1, "step 5", THROWN),
        ("hang", 1, "step 5", HANGS),
        pytest.param("kill", 0, "step 5", KILLED, marks=slow),
        pytest.param("kill", 1, "loading", KILLED, marks=slow),
        pytest.param("kill", 1, AT, KILLED, marks=slow),
        pytest.param("throw", 0, "loading", THROWN, marks=slow),
        pytest.param("throw", 1, AT, THROWN, marks=slow),
        pytest.param("hang", 0, AT, HANGS, marks=slow),
        pytest.param("stop", 1, "step 5", HANGS, marks=slow),
        pytest.param("stop", 0, "step 5", HANGS, marks=slow),
        pytest.param("stop", 0, "loading", HANGS, marks=slow),
    ],
)
def test_a_broken_rank(
    fault: str,
    rank: int,
    where: str,
    says: str,
    gang: Make,
    store: Store,
    leftovers: Leftovers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(faults.VARIABLE, f"rank-{fault}:{rank}:{where}")
    monkeypatch.setenv(TIMEOUT, str(WAITS_S))
    worker, pack = gang(), ganged_pack()
    said = time.monotonic()
    with pytest.raises(GangError) as broken:  # noqa: PT012  # what comes before tells the time
        for _ in worker.run(pack):
            leftovers.pids()
            said = time.monotonic()
    error = broken.value
    assert (error.rank, error.where) == (rank, where)
    assert str(error).startswith(f"rank {rank} of 2, at {where}: {says}")
    assert f"rank {rank} writes to stderr" in error.log
    if fault == "hang":
        assert "in maybe_break" in error.log, "the stack says where it hangs"
    if fault == "throw":
        assert "Traceback" in error.log
    if where != "loading":
        assert time.monotonic() - said < WAITS_S + 20
    leftovers.nothing()
    assert not rows_by_trial(store)

    monkeypatch.delenv(faults.VARIABLE)
    assert [p.step for p in worker.run(pack)][-1] == STEPS
    saved = {"step 5": 4, AT: 2, "loading": 0}[where]
    assert rows_by_trial(store)[pack.members[0].trial.trial_id]["steps_done"] == STEPS - saved


def test_a_rank_that_dies_between_packs_costs_nothing(gang: Make, store: Store, leftovers: Leftovers) -> None:
    worker = gang()
    list(worker.run(ganged_pack("one")))
    os.kill(leftovers.pids()[0], signal.SIGKILL)
    time.sleep(0.5)
    list(worker.run(ganged_pack("two")))
    assert len(rows_by_trial(store)) == 2


@pytest.fixture
def driver(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """A process whose gang is in the middle of a long pack."""
    monkeypatch.setenv(REST, "0.05")
    code = f"""if True:
        from gangs_for_tests import ganged_pack
        from trials.store.store import Store
        from workers.gang.local import Local
        from workers.gang.supervisor import GangWorker
        list(GangWorker(Store({store.uri!r}), Local(), worker={WORKER!r}).run(ganged_pack(steps=100_000)))"""
    one = Driver("-c", code, folder=tmp_path)
    trial = ganged_pack(steps=100_000).members[0].trial.trial_id
    one.wait_until(lambda: bool(store.load_checkpoint(trial)))
    yield one
    end_all()


@pytest.mark.parametrize("stopped", [False, pytest.param(True, marks=slow)])
def test_no_rank_outlives_its_supervisor(driver: Driver, stopped: bool) -> None:
    """Not even one that is stopped: the kernel ends it."""
    ranks = [pid for pid in driver.alive() if pid != driver.process.pid]
    assert len(ranks) == 2
    if stopped:
        os.kill(ranks[0], signal.SIGSTOP)
    driver.process.kill()
    assert driver.gone_after() < 5
