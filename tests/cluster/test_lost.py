"""Machines that are lost, and what else goes wrong between them: a raylet killed, a link cut, the head gone, a wrong
token, a store that one machine doesn't see. Hosts as in test_hosts.py; Ray is started as a cluster file does it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from drivers import write_reviews
from hosts import Hosts, missing
from saved import Saved

from trials.store.store import Store

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]
HEAD, WORKERS, SPARE = "alpha", ("beta", "gamma"), ("delta", "epsilon")
EVERY, CHECKPOINT_S = 1500, 2
SWEEP = """\
name: lost
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, data_dir: reviews}}]
methods: [{{method: lora, rank: 2}}]
learning_rates: [1.0e-3, 1.0e-2]
training: {{steps: {steps}, batch_size: 8, eval_every: {every}}}
resources: {{pack_size: 1, checkpoint_s: {checkpoint_s}, retries: 0}}
"""
LOST = "the machine {} was lost; what trained there goes on elsewhere, from its checkpoint"
COMMAND_S, SEEN_S, CUT_S = 400.0, 120.0, 120.0
LATER_S = 2.0 * CHECKPOINT_S  # than a checkpoint that was waited for, so that its age is by chance


class Machines:
    """A cluster: a host with the driver and no CPU, others with a CPU each. The tests use it up, in their order."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts

    def head(self, name: str) -> None:
        self.ray(name, "start --head --port=6379 --num-cpus=0 --include-dashboard=false")

    def join(self, head: str, *names: str, cpus: int = 1) -> None:
        words = f"start --address={self.hosts.address(head)}:6379 --num-cpus={cpus}"
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.ray(name, words), names))

    def ray(self, name: str, words: str) -> None:
        token = "mkdir -p ~/.ray && cp /mnt/shared/token ~/.ray/auth_token && export RAY_AUTH_MODE=token"
        self.hosts.run(name, f"{token} && ray {words} --object-store-memory=100000000")

    def sweep(self, steps: int) -> None:
        (self.hosts.shared / "lost.yaml").write_text(SWEEP.format(steps=steps, every=EVERY, checkpoint_s=CHECKPOINT_S))

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


def saved(store: Store, trial_id: str, beyond: int = -1) -> Saved:
    """A trial's checkpoint, once there is one of another step than ``beyond``."""
    end = time.monotonic() + SEEN_S
    while (found := Saved.of(store, trial_id)) is None or found.step == beyond:
        assert time.monotonic() < end, f"no checkpoint of {trial_id} but that of step {beyond}"
        time.sleep(0.2)
    return found


def both_train(cluster: Machines, store: Store, on: set[str]) -> dict[str, str]:
    """The trial of every host, once each trains one and has a checkpoint of it."""
    beats = cluster.running(store, lambda found: {host_of(beat) for beat in found.values()} == on)
    for trial_id in beats:
        saved(store, trial_id)
    return {host_of(beat): trial_id for trial_id, beat in beats.items()}


def refused(driver: subprocess.Popen[str], *says: str) -> None:
    said, _ = driver.communicate(timeout=COMMAND_S)
    print(said)
    assert driver.returncode == 2
    assert "Traceback" not in said
    for text in says:
        assert text in said


def test_a_store_that_one_machine_does_not_see(cluster: Machines) -> None:
    cluster.sweep(steps=2)
    cluster.hosts.run("beta", "umount /mnt/shared")
    try:
        refused(cluster.driver("blind"), "not seen by 1 nodes", "beta")
    finally:
        cluster.hosts.run("beta", f"mount --bind {cluster.hosts.shared} /mnt/shared")


@dataclass
class Cut:
    """A sweep that trained on beta when its link was cut.

    Args:
        driver: its driver.
        mine: the trial.
        since: when it was cut, as ``time.monotonic`` says it.
    """

    driver: subprocess.Popen[str]
    mine: str
    since: float


@pytest.fixture(scope="module")
def cut(cluster: Machines) -> Iterator[Cut]:
    """It takes two minutes, beside which there is time for other tests: those that take it too."""
    cluster.sweep(steps=2000)
    driver = cluster.driver("cut")
    mine = both_train(cluster, cluster.store("cut"), set(WORKERS))["beta"]
    cluster.hosts.cut("beta")
    yield Cut(driver, mine, time.monotonic())
    driver.kill()


def test_a_token_that_is_wrong_or_missing(cluster: Machines, cut: Cut) -> None:
    wrong = ("RAY_AUTH_TOKEN=" + "0" * 64, "HOME=/tmp", "HOME=/tmp RAY_AUTH_MODE=disabled")
    says = ("~/.ray/auth_token", "~/.ray/auth_token", "RAY_AUTH_MODE=token")
    for driver, what in zip([cluster.driver("tokens", variables=each) for each in wrong], says, strict=True):
        refused(driver, "token", what)
    assert cluster.store("tokens").attempts().num_rows == 0 if cluster.store("tokens").exists() else True


def test_a_link_is_cut_for_two_minutes(cluster: Machines, cut: Cut) -> None:
    store = cluster.store("cut")
    time.sleep(max(0.0, cut.since + CUT_S - time.monotonic()))
    cluster.hosts.mend("beta")
    said, _ = cut.driver.communicate(timeout=COMMAND_S)
    print(f"{time.monotonic() - cut.since:.0f} s after the cut:\n{said}")
    assert cut.driver.returncode == 0
    assert said.count(LOST.format("beta")) == 1
    assert {state for state, _ in store.visible().values()} == {"completed"}
    rows = store.attempts().to_pylist()
    assert {(row["attempt"], row["steps_done"]) for row in rows} == {(0, 2000)}
    assert "gamma" in {row["host"] for row in rows if row["trial_id"] == cut.mine}
    end = time.monotonic() + SEEN_S
    while cluster.hosts.run("beta", "pgrep -x raylet", check=False).returncode == 0:
        assert time.monotonic() < end, "a raylet that was given up ends when it hears of it"
        time.sleep(1)


def test_a_raylet_is_killed(cluster: Machines) -> None:
    store = cluster.store("killed")
    cluster.hosts.run("beta", "ray stop --force", check=False)  # what a cut has left
    cluster.join(HEAD, "beta")
    cluster.sweep(steps=3000)
    driver = cluster.driver("killed")
    mine = both_train(cluster, store, set(WORKERS))["gamma"]
    time.sleep(LATER_S)
    when = time.time()
    cluster.hosts.run("gamma", "pkill -9 -x raylet; while pgrep -f [r]ay::PackTrainable >/dev/null; do sleep 0.1; done")
    left = saved(store, mine)
    left.repeated(when, CHECKPOINT_S)
    cluster.join(HEAD, "delta")
    cluster.running(store, lambda found: mine in found and host_of(found[mine]) != "gamma")
    print(f"goes on elsewhere {time.time() - when:.0f} s after the raylet was killed")
    assert saved(store, mine, left.step).step > left.step, "from its checkpoint"
    said, _ = driver.communicate(timeout=COMMAND_S)
    print(said)
    assert driver.returncode == 0
    assert said.count(LOST.format("gamma")) == 1
    rows = store.attempts().to_pylist()
    assert [(row["state"], row["attempt"], row["steps_done"]) for row in rows] == [("completed", 0, 3000)] * 2
    assert {row["host"] for row in rows} <= {"beta", "delta"}


def test_the_head_is_lost_and_a_new_cluster_finishes(cluster: Machines) -> None:
    store = cluster.store("headless")
    cluster.sweep(steps=3000)
    driver = cluster.driver("headless")
    trials = both_train(cluster, store, {"beta", "delta"}).values()
    time.sleep(LATER_S)
    when = time.time()
    for name in (HEAD, "beta", "delta"):
        cluster.hosts.kill(name)
    left = {trial_id: saved(store, trial_id) for trial_id in trials}
    for one in left.values():
        one.repeated(when, CHECKPOINT_S)
    assert driver.wait(timeout=COMMAND_S) != 0
    cluster.hosts.run("gamma", "ray stop --force", check=False)
    cluster.head("epsilon")
    cluster.join("epsilon", "gamma", cpus=2)
    again = cluster.driver("headless", head="epsilon")
    beats = cluster.running(store, lambda found: any(host_of(beat) == "gamma" for beat in found.values()))
    mine = next(trial_id for trial_id, beat in beats.items() if host_of(beat) == "gamma")
    assert saved(store, mine, left[mine].step).step > left[mine].step, "from its checkpoint"
    said, _ = again.communicate(timeout=COMMAND_S)
    print(said)
    assert again.returncode == 0
    rows = store.attempts().to_pylist()
    assert [(row["state"], row["attempt"], row["steps_done"]) for row in rows] == [("completed", 0, 3000)] * 2
