"""Gangs on Ray, with a worker that has no model: whatever befalls a rank, the pack goes on and nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import Driver, end_all, parent
from fake_worker import todo
from ganged_worker import REST

from trials.store.store import Store
from workers import faults
from workers.gang.supervisor import TIMEOUT

pytest.importorskip("torch")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)

STEPS = 60
RANK = "workers.gang.rank"  # in the command of its process
GONE_S = 30.0
WAITS_S = 8.0  # in a collective call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(TIMEOUT, str(WAITS_S))
    monkeypatch.setenv(REST, "0.2")
    yield tmp_path
    end_all()


def gang_run(
    folder: Path, trials: int = 1, retries: int = 2, steps: int = STEPS, pack_size: int = 1, sweep: str = "test"
) -> Driver:
    """A run of so many trials on a gang of two."""
    code = f"""if True:
        from dataclasses import replace
        from fake_worker import todo
        from ganged_worker import WORKER
        from orchestrator.driver.run import execute
        from trials.store.store import Store
        from trials.sweep.resources import Resources
        some = [todo(i // {pack_size}, steps={steps}, learning_rate=1e-3 * (1 + i)) for i in range({trials})]
        todos = [replace(one, sweep={sweep!r}) for one in some]
        wanted = Resources(gpus=0, ranks=2, zero_stage=3, pack_size={pack_size}, retries={retries})
        print(execute(todos, Store("store", create=True), wanted, worker=WORKER))"""
    return Driver("-c", code, folder=folder)


def ended(driver: Driver, folder: Path) -> list[dict[str, Any]]:
    """The rows of a run that comes to its end, and leaves nothing."""
    assert driver.process.wait(timeout=300) == 0, driver.said()
    driver.gone_after()
    found: list[dict[str, Any]] = Store(folder / "store").attempts().to_pylist()
    return sorted(found, key=lambda row: (row["train_seed"], row["attempt"]))


def ranks(driver: Driver) -> list[int]:
    return sorted(pid for pid, command in driver.alive().items() if RANK in command)


def in_the_middle(driver: Driver, folder: Path) -> set[int]:
    """Waits until the first pack has a checkpoint; the ranks that train it."""
    store, first = Store(folder / "store", create=True), todo(0, steps=STEPS).trial.trial_id
    driver.wait_until(lambda: int(store.load_checkpoint(first) or b"0") >= 4)
    found = ranks(driver)
    assert len(found) == 2
    return set(found)


def kill_rank(pids: set[int], folder: Path) -> None:
    os.kill(max(pids), signal.SIGKILL)


def kill_actor(pids: set[int], folder: Path) -> None:
    os.kill(parent(max(pids)), signal.SIGKILL)


def stop_actor(pids: set[int], folder: Path) -> None:
    """It relays nothing, and its rank waits for orders."""
    os.kill(parent(max(pids)), signal.SIGSTOP)
    os.kill(max(pids), signal.SIGSTOP)


def kill_worker(pids: set[int], folder: Path) -> None:
    (running,) = Store(folder / "store").running().values()
    os.kill(int(running["worker_id"].rpartition("-")[2]), signal.SIGKILL)


@pytest.mark.parametrize("befall", [kill_rank, kill_actor, stop_actor, kill_worker])
def test_a_pack_in_the_middle_goes_on_in_another_gang(befall: Callable[[set[int], Path], None], folder: Path) -> None:
    driver = gang_run(folder)
    before, start = in_the_middle(driver, folder), time.monotonic()
    befall(before, folder)
    driver.wait_until(lambda: not before & driver.alive().keys(), seconds=WAITS_S + GONE_S)
    print(f"{befall.__name__}: no rank was left after {time.monotonic() - start:.1f} s")
    (row,) = ended(driver, folder)
    assert (row["state"], row["attempt"], row["ranks"]) == ("completed", 1, 2)
    assert row["steps_done"] < STEPS - 2, "it went on from its checkpoint"


def test_a_gang_stays_from_pack_to_pack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REST, "0.01")
    found = ended(gang_run(folder, trials=5, steps=4), folder)
    assert {(row["state"], row["attempt"], row["ranks"]) for row in found} == {("completed", 0, 2)}
    assert len({row["host"] for row in found}) == 1, "one process is the first rank of all packs"


def test_a_gang_that_is_short_of_memory_is_formed_anew_in_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REST, "0.01")
    found = ended(gang_run(folder, trials=2, steps=8, pack_size=2, retries=0, sweep="short"), folder)
    assert [(row["state"], row["attempt"]) for row in found] == [("completed", 0)] * 2
    assert len({row["host"] for row in found}) == 2, "first ranks of two gangs"


@pytest.mark.parametrize(
    ("fault", "error_class", "says"),
    [
        ("hang", "RankHangs", "it hangs: the others waited for it in vain"),
        ("throw", "InjectedFault", "InjectedFault: APET_FAULT asks rank 1"),
    ],
)
def test_a_rank_that_fails_whatever_it_gets_is_named(
    fault: str, error_class: str, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.VARIABLE, f"rank-{fault}:1:step 5")
    first, again = ended(gang_run(folder, trials=2, retries=0), folder)
    for row in (first, again):
        assert (row["state"], row["error_class"], row["failure_class"]) == ("failed", error_class, "infrastructure")
        assert row["error_message"].startswith(f"{error_class}: rank 1 of 2, at step 5: {says}")
        assert "rank 1 writes to stderr" in Store(folder / "store").load_log(row["log_uri"])


def test_a_gang_ends_at_its_next_batch_and_the_next_run_goes_on(folder: Path) -> None:
    driver = gang_run(folder)
    in_the_middle(driver, folder)
    os.killpg(driver.process.pid, signal.SIGINT)
    start = time.monotonic()
    assert driver.process.wait(timeout=60) == 0, driver.said()
    driver.gone_after()
    print(f"stopped and gone after {time.monotonic() - start:.1f} s")
    assert "stopped: 0 completed, 0 diverged, 0 failed" in driver.said()
    assert "Traceback" not in driver.said()
    assert Store(folder / "store").running() == {}
    (row,) = ended(gang_run(folder), folder)
    assert (row["state"], row["attempt"]) == ("completed", 0)
    assert row["steps_done"] < STEPS - 2
