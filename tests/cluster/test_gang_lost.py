"""Gangs over two machines, with real backbones in shards, each of which loses a machine in the middle: with one that
joins only then they go on from their checkpoints, to the numbers of an undisturbed run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import Driver, apet_run, end_all, parent, write_reviews
from gangs import losses
from raylets import raylet, raylets, with_a_rank

from trials.store.store import Store
from trials.sweep.sweep import Sweep
from workers.pack.checkpoint import Checkpoint

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)
BACKBONES = ("tiny-bert", "tiny-bloom", "tiny-t5")
SWEEP = f"""\
name: gangs
backbones: [{", ".join(BACKBONES)}]
tasks: [{{name: rotten_tomatoes, data_dir: reviews}}]
methods: [{{method: lora, rank: 2}}]
learning_rates: [1.0e-2]
training: {{steps: 150, batch_size: 8, eval_every: 50}}
resources: {{gpus: 0, ranks: 2, zero_stage: 3, checkpoint_s: 1, retries: 0}}
"""
SAME = ("state", "attempt", "ranks", "zero_stage", "validation_score", "test_score", "best_step", "steps_done")
SEEN_S, RUN_S = 400.0, 400.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write_reviews(tmp_path / "reviews")
    (tmp_path / "gangs.yaml").write_text(SWEEP)
    yield tmp_path
    end_all()


def begun(folder: Path, store: str, address: str) -> Driver:
    return apet_run(folder, store, "--address", address, sweep="gangs.yaml")


def rows(driver: Driver, store: Path) -> dict[str, dict[str, Any]]:
    """The rows of a run that comes to its end, by backbone."""
    assert driver.process.wait(timeout=RUN_S) == 0, driver.said()
    return {row["backbone"]: row for row in Store(store).attempts().to_pylist()}


def step(driver: Driver, store: Store, trial_id: str, beyond: int = -1) -> int:
    """The step of a trial's checkpoint, once there is one of another step than ``beyond``."""
    found = list[int]()

    def is_there() -> bool:
        data = store.load_checkpoint(trial_id) if store.exists() else None
        found.append(Checkpoint.from_bytes(data).step if data else beyond)
        return found[-1] != beyond

    driver.wait_until(is_there, SEEN_S)
    return found[-1]


def test_every_gang_loses_a_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trial_ids = {one.backbone.name: one.trial_id for one in Sweep.load(folder / "gangs.yaml").trials()}
    with raylets(monkeypatch) as cluster:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        undisturbed = rows(begun(folder, "undisturbed", cluster.address), folder / "undisturbed")

        driver, store, waiting = (
            begun(folder, "lost", cluster.address),
            Store(folder / "lost", create=True),
            {*BACKBONES},
        )
        while waiting:
            driver.wait_until(lambda: any(trial_ids[name] in store.running() for name in waiting), SEEN_S)
            name = next(name for name in waiting if trial_ids[name] in store.running())
            reached = step(driver, store, trial_ids[name])
            worker = int(store.running()[trial_ids[name]]["worker_id"].rpartition("-")[2])
            beside = len(waiting) == 2  # one of the three loses the machine with its worker, the others one with a rank
            (lost,) = (one for one in nodes if beside == (raylet(one) == parent(worker)) and with_a_rank(raylet(one)))
            os.kill(raylet(lost), signal.SIGKILL)
            nodes[nodes.index(lost)] = cluster.add_node(num_cpus=1)
            began = time.monotonic()
            went_on = step(driver, store, trial_ids[name], beyond=reached)
            print(f"{name}: lost at step {reached}, {went_on} after {time.monotonic() - began:.0f} s")
            assert went_on > reached, "from its checkpoint"
            waiting.remove(name)
        found = rows(driver, folder / "lost")
    print(driver.said())
    assert driver.said().count("was lost; what trained there goes on elsewhere, from its checkpoint") == len(BACKBONES)
    assert found.keys() == undisturbed.keys() == {*BACKBONES}
    for name, row in found.items():
        assert (row["state"], row["attempt"], row["ranks"], row["zero_stage"]) == ("completed", 0, 2, 3)
        assert {key: row[key] for key in SAME} == {key: undisturbed[name][key] for key in SAME}
        assert losses(store, trial_ids[name]) == losses(Store(folder / "undisturbed"), trial_ids[name]), "bit for bit"
