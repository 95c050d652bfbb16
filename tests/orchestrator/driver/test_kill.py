"""The driver killed at any moment: nothing lost, nothing twice, the same numbers, no process left.

``APET_KILLS=10`` kills more often than the default.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import MARK, apet_run, end_all, fake_run, write_reviews

from trials.store.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A sweep of tiny backbones on a few made-up reviews; drivers of a test that failed are ended."""
    write_reviews(tmp_path / "data")
    (tmp_path / "killed.yaml").write_text(SWEEP)
    yield tmp_path
    end_all()


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
