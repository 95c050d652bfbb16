"""The driver killed at any moment: nothing lost, nothing twice, the same numbers, no process left.

``APET_KILLS=10`` kills more often than the default.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from paths import ROOT, SUPPORT

from orchestrator.results.status import Counts, status
from trials.store.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

MARK = "APET_TEST_MARK"  # in the environment of the driver, and so of every process that comes of it
GONE_S = 30.0
KILLS = int(os.environ.get("APET_KILLS", "3"))

SWEEP = """\
name: killed
backbones: [tiny-bert, tiny-t5]
tasks: [{name: rotten_tomatoes, data_dir: data}]
methods: [bitfit, full, {method: lora, rank: 2}, {method: apet, counts: [30]}]
train_seeds: 3
learning_rates: [1.0e-3]
training: {steps: 60, batch_size: 8, eval_every: 10}
"""
TRIALS = 24
SCORES = ("validation_score", "test_score", "best_step", "steps_done", "train_loss", "count_actual", "tokens")

pytest.importorskip("torch")
if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)


class Driver:
    """A driver in a process of its own, and all processes that come of it."""

    started: ClassVar[list[Driver]] = []

    def __init__(self, *command: str, folder: Path) -> None:
        self.mark = secrets.token_hex(8)
        path = os.pathsep.join([str(SUPPORT), str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.log = (folder / f"driver-{self.mark}.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, MARK: self.mark, "PYTHONPATH": path},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, as in a terminal
        )
        self.started.append(self)

    def said(self) -> str:
        return Path(self.log.name).read_text()

    def alive(self) -> list[str]:
        """Every process that has the mark, but for those that only wait to be reaped."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z":
                        found.append((folder / "cmdline").read_text().replace("\0", " ")[:120])
            except OSError:
                continue
        return found

    def wait_until(self, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while True:
            code = self.process.poll()
            if holds():
                return
            assert code is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)

    def gone_after(self) -> float:
        """Seconds until no process is left."""
        start = time.monotonic()
        self.process.wait(timeout=GONE_S)
        while left := self.alive():
            assert time.monotonic() - start < GONE_S, f"left after {GONE_S} s: {left}"
            time.sleep(0.1)
        return time.monotonic() - start


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A sweep of tiny backbones on a few made-up reviews; drivers of a test that failed are ended."""
    (tmp_path / "data").mkdir()
    words, draw = ("good", "great", "fine", "bad", "dull", "poor", "film", "story", "actor", "slow"), random.Random(0)
    for split, rows in (("train", 64), ("validation", 24), ("test", 24)):
        lines = [{"text": f"{' '.join(draw.choices(words, k=8))} {split} {i}", "label": i % 2} for i in range(rows)]
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "killed.yaml").write_text(SWEEP)
    yield tmp_path
    while Driver.started:
        driver = Driver.started.pop()
        driver.process.kill()
        driver.process.wait()
        driver.log.close()


def apet_run(folder: Path, store: str) -> Driver:
    main = "from orchestrator.cli import main; main()"
    return Driver("-c", main, "run", "killed.yaml", "--store", store, folder=folder)


def fake_run(folder: Path, seeds: int, seconds: int) -> Driver:
    """A run of the fake worker: so many trials of so many seconds each."""
    code = f"""if True:
        from fake_worker import *
        from orchestrator.driver.run import execute
        store, todos = Store("fake", create=True), [todo(i, steps=1) for i in range({seeds})]
        behave(store, {{one.trial.trial_id: "sleep:{seconds}" for one in todos}})
        print(execute(todos, store, worker=WORKER, max_concurrent=2))"""
    return Driver("-c", code, folder=folder)


def rows(folder: Path) -> int:
    """Attempts in the store that is run and killed, by their files."""
    return len(list((folder / "killed" / "attempts").rglob("*.parquet")))


def scores(store: Store) -> dict[str, tuple[Any, ...]]:
    return {row["trial_id"]: tuple(row[name] for name in SCORES) for row in store.trials().to_pylist()}


def test_killed_at_random_moments_until_done(folder: Path) -> None:
    whole = apet_run(folder, "whole")
    assert whole.process.wait(timeout=600) == 0, whole.said()
    assert len(scores(Store(folder / "whole"))) == TRIALS, whole.said()
    draw, store, gone, counts = random.Random(secrets.randbits(32)), Store(folder / "killed"), [], [0]
    for kill in range(KILLS):
        driver = apet_run(folder, "killed")
        if kill % 3 == 0:  # while Ray starts
            time.sleep(draw.uniform(0.5, 8.0))
        else:  # in the middle of work: some time after a row came
            driver.wait_until(lambda: rows(folder) > counts[-1] or rows(folder) == TRIALS, seconds=300)
            time.sleep(draw.uniform(0.0, 2.0))
        driver.process.kill()
        gone.append(driver.gone_after())
        counts.append(rows(folder))
    last = apet_run(folder, "killed")
    assert last.process.wait(timeout=600) == 0, last.said()
    last.gone_after()
    print(f"rows after each kill {counts[1:]}, seconds until no process was left {[round(s, 1) for s in gone]}")
    states = Counter((row["trial_id"], row["state"]) for row in store.attempts().to_pylist())
    assert len(states) == TRIALS, "none is lost"
    assert set(states.values()) == {1}, "none is twice"
    assert {state for _, state in states} == {"completed"}
    assert scores(store) == scores(Store(folder / "whole"))
    again = apet_run(folder, "killed")
    assert again.process.wait(timeout=60) == 0
    assert "nothing to do" in again.said()


def test_ctrl_c_ends_at_the_next_batch_and_the_next_run_goes_on(folder: Path) -> None:
    driver = fake_run(folder, seeds=6, seconds=3)
    driver.wait_until(lambda: "[2/6]" in driver.said())
    time.sleep(1.0)
    os.killpg(driver.process.pid, signal.SIGINT)  # the whole group, as a terminal does
    assert driver.process.wait(timeout=30) == 0, driver.said()
    driver.gone_after()
    said = driver.said()
    assert "stopping: " in said
    assert "stopped: 2 completed, 0 diverged, 0 failed" in said
    assert "4 remain" in said
    assert "Traceback" not in said
    store = Store(folder / "fake")
    assert [state for state, _ in store.visible().values()] == ["completed"] * 2
    assert store.running() == {}


def test_a_second_ctrl_c_ends_at_once(folder: Path) -> None:
    driver = fake_run(folder, seeds=2, seconds=500)
    store = Store(folder / "fake")
    driver.wait_until(lambda: len(store.running()) == 2)
    assert status(store).groups == {("tiny-bert", "rotten_tomatoes"): Counts(running=2)}, "known without a sweep"
    start = time.monotonic()
    os.killpg(driver.process.pid, signal.SIGINT)
    os.killpg(driver.process.pid, signal.SIGINT)
    driver.process.wait(timeout=30)
    driver.gone_after()
    assert time.monotonic() - start < 15
    assert "stopped: 0 completed" in driver.said()
    assert store.attempts().num_rows == 0
    assert store.running() == {}


def test_a_run_whose_ray_was_killed_says_so_and_ends(folder: Path) -> None:
    driver = fake_run(folder, seeds=2, seconds=500)
    store = Store(folder / "fake")
    driver.wait_until(lambda: len(store.running()) == 2)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={driver.mark}".encode() in (process / "environ").read_bytes()
            if ours and (process / "cmdline").read_bytes().split(b"\0")[0].endswith(b"raylet/raylet"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
    assert driver.process.wait(timeout=120) == 1, driver.said()
    driver.gone_after()
    assert "run the same command again" in driver.said()
    assert store.running() == {}
