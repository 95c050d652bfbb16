"""A worker's heartbeats, the request to stop, and Ctrl-C in the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.ray.heartbeat import Heartbeat
from trials.errors import ApetError
from trials.store.store import Store
from workers.signals import SAME_S, Stop


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def test_a_heart_beats_hears_the_stop_and_leaves_nothing(store: Store) -> None:
    heartbeat = Heartbeat(store, "run", "worker", beat_s=0.05, check_s=0.01)
    heartbeat.say({"trials": ["abc"], "step": 1}, now=True)
    assert eventually(lambda: "abc" in store.running())
    heartbeat.say({"trials": ["abc"], "step": 2})
    assert eventually(lambda: store.running()["abc"]["step"] == 2)
    assert not heartbeat.should_stop()
    store.request_stop("another run")
    time.sleep(0.05)
    assert not heartbeat.should_stop()
    store.request_stop("run")
    assert eventually(heartbeat.should_stop)
    heartbeat.close()
    assert store.running() == {}


def test_a_heart_that_starts_after_the_stop_knows_at_once(store: Store) -> None:
    store.request_stop("run")
    heartbeat = Heartbeat(store, "run", "worker")
    assert heartbeat.should_stop()
    heartbeat.close()


def test_a_store_out_of_reach_costs_no_pack() -> None:
    class Broken:
        def beat(self, run_id: str, worker_id: str, payload: dict[str, Any]) -> None:
            raise OSError("disk full")

        def end_beat(self, run_id: str, worker_id: str) -> None:
            raise ApetError("gone")

        def stop_requested(self, run_id: str) -> bool:
            self.asked = True
            raise OSError("unreachable")

    store = Broken()
    heartbeat = Heartbeat(store, "run", "worker", beat_s=0.01, check_s=0.01)
    heartbeat.say({"trials": []}, now=True)
    assert eventually(lambda: hasattr(store, "asked"))
    assert not heartbeat.should_stop()
    heartbeat.close()


ORPHAN = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", '''
import sys, time
from orchestrator.driver.ray.orphan import end_with_parent
end_with_parent(0.05)
print("up", flush=True)
time.sleep(60)
'''])
sys.stdin.read()
"""


def test_a_process_whose_parent_is_gone_ends(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("needs Linux's /proc to find the child")
    child = int(children.read_text().split()[0])
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert eventually(lambda: not running(child)), "the child outlives its parent"


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_first_signal_asks_and_the_second_stops() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Stop() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually(lambda: stop.asked)
        time.sleep(SAME_S * 1.2)  # sooner, it is the same wish
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before
