"""Machines that are lost, and what else goes wrong between them: a raylet killed, a link cut, the head gone, a wrong
token, a store that one machine doesn't see. Hosts as in test_hosts.py; Ray is started as a cluster file does it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from drivers import write_reviews
from hosts import Hosts, missing

from trials.store.store import Store
from workers.pack.checkpoint import Checkpoint

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]
HEAD, WORKERS, SPARE = "alpha", ("beta", "gamma"), ("delta", "epsilon")
SWEEP = """\
name: lost
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, data_dir: reviews}}]
methods: [{{method: lora, rank: 2}}]
learning_rates: [1.0e-3, 1.0e-2]
training: {{steps: {steps}, batch_size: 8, eval_every: {every}}}
resources: {{pack_size: 1, checkpoint_s: 2, retries: 0}}
"""
LOST = "the machine {} was lost; what trained there goes on elsewhere, from its checkpoint"
COMMAND_S, SEEN_S, CUT_S = 400.0, 120.0, 120.0


class Machines:
    """A cluster: a host with the driver and no CPU, others with a CPU each. The tests use it up, in their order."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts

    def head(self, name: str) -> None:
        self.ray(name, "start --head --port=6379 --num-cpus=0 --include-dashboard=false")

    def join(self, head: str, *names: str) -> None:
        for name in names:
            self.ray(name, f"start --address={self.hosts.address(head)}:6379 --num-cpus=1")

    def ray(self, name: str, words: str) -> None:
        token = "mkdir -p ~/.ray && cp /mnt/shared/token ~/.ray/auth_token && export RAY_AUTH_MODE=token"
        self.hosts.run(name, f"{token} && ray {words} --object-store-memory=100000000")

    def sweep(self, steps: int, every: int) -> None:
        (self.hosts.shared / "lost.yaml").write_text(SWEEP.format(steps=steps, every=every))

    def driver(self, store: str, head: str = HEAD, variables: str = "") -> subprocess.Popen[str]:
        """``apet run`` on the head."""
        words = f"apet run lost.yaml --store {store} --address {self.hosts.address(head)}:6379"
        command = f"cd /mnt/shared; RAY_AUTH_MODE=token OMP_NUM_THREADS=1 {variables} {words} 2>&1"
        return subprocess.Popen(
            self.hosts.ssh(head, command), stdout=subprocess.PIPE, env=self.hosts.environment, text=True
        )

    def store(self, name: str) -> Store:
        return Store(self.hosts.shared / name)

    def running(self, store: Store, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Heartbeats by trial, once they are as they should."""
        end = time.monotonic() + SEEN_S
        while not (enough(found := store.running() if store.exists() else {})):
            assert time.monotonic() < end, found
            time.sleep(0.2)
        return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    with Hosts([HEAD, *WORKERS, *SPARE]) as hosts:
        write_reviews(hosts.shared / "reviews")
        hosts.here("ray", "get-auth-token", "--generate")
        (hosts.shared / "token").write_text((hosts.folder / "home" / ".ray" / "auth_token").read_text())
        made = Machines(hosts)
        made.head(HEAD)
        made.join(HEAD, *WORKERS)
        yield made


def host_of(beat: dict[str, Any]) -> str:
    return str(beat["worker_id"]).rpartition("-")[0]


def step(store: Store, trial_id: str, beyond: int = -1) -> int:
    """The step of a trial's checkpoint, once there is one of another step than ``beyond``."""
    end = time.monotonic() + SEEN_S
    while True:
        data = store.load_checkpoint(trial_id)
        if data and (found := Checkpoint.from_bytes(data).step) != beyond:
            return found
        assert time.monotonic() < end, f"no checkpoint of {trial_id} but that of step {beyond}"
        time.sleep(0.2)


def both_train(cluster: Machines, store: Store, on: set[str]) -> dict[str, str]:
    """The trial of every host, once each trains one and has a checkpoint of it."""
    beats = cluster.running(store, lambda found: {host_of(beat) for beat in found.values()} == on)
    for trial_id in beats:
        step(store, trial_id)
    return {host_of(beat): trial_id for trial_id, beat in beats.items()}


def refused(driver: subprocess.Popen[str], *says: str) -> None:
    said, _ = driver.communicate(timeout=COMMAND_S)
    print(said)
    assert driver.returncode == 2
    assert "Traceback" not in said
    for text in says:
        assert text in said


def test_a_token_that_is_wrong_or_missing(cluster: Machines) -> None:
    cluster.sweep(steps=2, every=1)
    refused(cluster.driver("tokens", variables="RAY_AUTH_TOKEN=" + "0" * 64), "token", "~/.ray/auth_token")
    refused(cluster.driver("tokens", variables="HOME=/tmp"), "token", "~/.ray/auth_token")
    refused(cluster.driver("tokens", variables="HOME=/tmp RAY_AUTH_MODE=disabled"), "token", "RAY_AUTH_MODE=token")
    assert cluster.store("tokens").attempts().num_rows == 0 if cluster.store("tokens").exists() else True


def test_a_store_that_one_machine_does_not_see(cluster: Machines) -> None:
    cluster.hosts.run("beta", "umount /mnt/shared")
    try:
        refused(cluster.driver("blind"), "not seen by 1 nodes", "beta")
    finally:
        cluster.hosts.run("beta", f"mount --bind {cluster.hosts.shared} /mnt/shared")


def test_a_link_is_cut_for_two_minutes(cluster: Machines) -> None:
    store = cluster.store("cut")
    cluster.sweep(steps=2000, every=500)
    driver = cluster.driver("cut")
    mine = both_train(cluster, store, set(WORKERS))["beta"]
    began = time.monotonic()
    cluster.hosts.cut("beta")
    time.sleep(CUT_S)
    cluster.hosts.mend("beta")
    said, _ = driver.communicate(timeout=COMMAND_S)
    print(f"{time.monotonic() - began:.0f} s after the cut:\n{said}")
    assert driver.returncode == 0
    assert said.count(LOST.format("beta")) == 1
    assert {state for state, _ in store.visible().values()} == {"completed"}
    rows = store.attempts().to_pylist()
    assert {(row["attempt"], row["steps_done"]) for row in rows} == {(0, 2000)}
    assert "gamma" in {row["host"] for row in rows if row["trial_id"] == mine}
    end = time.monotonic() + SEEN_S
    while cluster.hosts.run("beta", "pgrep -x raylet", check=False).returncode == 0:
        assert time.monotonic() < end, "a raylet that was given up ends when it hears of it"
        time.sleep(1)
    cluster.hosts.run("beta", "ray stop --force", check=False)


def test_a_raylet_is_killed(cluster: Machines) -> None:
    store = cluster.store("killed")
    cluster.join(HEAD, "beta")
    cluster.sweep(steps=3000, every=500)
    driver = cluster.driver("killed")
    mine = both_train(cluster, store, set(WORKERS))["gamma"]
    reached, began = step(store, mine), time.monotonic()
    cluster.hosts.run("gamma", "pkill -9 -x raylet")
    cluster.join(HEAD, "delta")
    cluster.running(store, lambda found: mine in found and host_of(found[mine]) != "gamma")
    print(f"goes on elsewhere {time.monotonic() - began:.0f} s after the raylet was killed")
    assert step(store, mine, reached) > reached, "from its checkpoint"
    said, _ = driver.communicate(timeout=COMMAND_S)
    print(said)
    assert driver.returncode == 0
    assert said.count(LOST.format("gamma")) == 1
    rows = store.attempts().to_pylist()
    assert [(row["state"], row["attempt"], row["steps_done"]) for row in rows] == [("completed", 0, 3000)] * 2
    assert {row["host"] for row in rows} <= {"beta", "delta"}


def test_the_head_is_lost_and_a_new_cluster_finishes(cluster: Machines) -> None:
    store = cluster.store("headless")
    cluster.sweep(steps=3000, every=500)
    driver = cluster.driver("headless")
    trials = both_train(cluster, store, {"beta", "delta"})
    for name in (HEAD, "beta", "delta"):
        cluster.hosts.kill(name)
    reached = {trial_id: step(store, trial_id) for trial_id in trials.values()}
    assert driver.wait(timeout=COMMAND_S) != 0
    cluster.hosts.run("gamma", "ray stop --force", check=False)
    cluster.head("epsilon")
    cluster.join("epsilon", "gamma")
    again = cluster.driver("headless", head="epsilon")
    beats = cluster.running(store, lambda found: any(host_of(beat) == "gamma" for beat in found.values()))
    mine = next(trial_id for trial_id, beat in beats.items() if host_of(beat) == "gamma")
    assert step(store, mine, reached[mine]) > reached[mine], "from its checkpoint"
    said, _ = again.communicate(timeout=COMMAND_S)
    print(said)
    assert again.returncode == 0
    rows = store.attempts().to_pylist()
    assert [(row["state"], row["attempt"], row["steps_done"]) for row in rows] == [("completed", 0, 3000)] * 2
