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
training: {{steps: 100, batch_size: 8, eval_every: 25}}
resources: {{gpus: 0, ranks: 2, zero_stage: 3, checkpoint_s: 1, retries: 0}}
"""
SAME = ("state", "attempt", "ranks", "zero_stage", "validation_score", "test_score", "best_step", "steps_done")
ENDED_S, RUN_S = 3.0, 400.0  # until a rank has ended without its raylet


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


def step(store: Store, trial_id: str) -> int | None:
    """The step of a trial's checkpoint, where there is one."""
    data = store.load_checkpoint(trial_id)
    return Checkpoint.from_bytes(data).step if data else None


def lose(store: Store, trial_id: str, nodes: list[Any], with_its_worker: bool) -> int:
    """Kill the raylet of one of the two machines that a trial's gang is on; the step that it will go on from."""
    its = parent(int(store.running()[trial_id]["worker_id"].rpartition("-")[2]))
    (lost,) = (node for node in nodes if with_its_worker == (raylet(node) == its) and with_a_rank(raylet(node)))
    os.kill(raylet(lost), signal.SIGKILL)
    nodes.remove(lost)
    time.sleep(ENDED_S)
    reached = step(store, trial_id)
    assert reached is not None
    return reached


def test_every_gang_loses_a_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trial_ids = {one.backbone.name: one.trial_id for one in Sweep.load(folder / "gangs.yaml").trials()}
    with raylets(monkeypatch) as cluster:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        undisturbed = rows(begun(folder, "undisturbed", cluster.address), folder / "undisturbed")

        driver, store = begun(folder, "lost", cluster.address), Store(folder / "lost", create=True)
        reached, went_on = dict[str, int](), dict[str, int]()
        while driver.process.poll() is None:
            time.sleep(0.2)
            for name, trial_id in trial_ids.items():
                at = step(store, trial_id)
                if name in reached and at not in (None, reached[name]):
                    went_on.setdefault(name, at)
                elif name not in reached and at is not None and trial_id in store.running():
                    reached[name] = lose(store, trial_id, nodes, with_its_worker=len(reached) == 1)
                    nodes.append(cluster.add_node(num_cpus=1))
        found = rows(driver, folder / "lost")
    print(driver.said(), f"lost at {reached}, next checkpoints {went_on}", sep="\n")
    assert reached.keys() == went_on.keys() == {*BACKBONES}
    assert all(went_on[name] > step for name, step in reached.items()), "from their checkpoints"
    assert driver.said().count("was lost; what trained there goes on elsewhere, from its checkpoint") == len(BACKBONES)
    assert found.keys() == undisturbed.keys() == {*BACKBONES}
    for name, row in found.items():
        assert (row["state"], row["attempt"], row["ranks"], row["zero_stage"]) == ("completed", 0, 2, 3)
        assert {key: row[key] for key in SAME} == {key: undisturbed[name][key] for key in SAME}
        assert losses(store, trial_ids[name]) == losses(Store(folder / "undisturbed"), trial_ids[name]), "bit for bit"
