"""`clusters/onprem.yaml` as a user edits it, on three test hosts: up, sweeps on all of them, a gang over two, down.

The tests go through the life of one cluster in their order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drivers import write_reviews
from gangs import losses
from hosts import Hosts, missing
from paths import ROOT
from ready import OFFLINE, READY

from trials.store.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=missing() or "")]
HEAD, WORKERS = "alpha", ["beta", "gamma"]
FEW = " --num-cpus=1 --object-store-memory=100000000"  # what three hosts have of one machine
WITHOUT = "export " + " ".join(f"{name}={value}" for name, value in OFFLINE.items())
SOON = "RAY_gcs_rpc_server_reconnect_timeout_s=15 "  # a worker's node ends so long after the head's, else a minute
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
SETUPS = ("head_setup_commands", "worker_setup_commands")
SCORES = ("validation_score", "test_score", "best_step", "steps_done")
JOINED_S, DOWN_S, RUN_S = 180.0, 150.0, 300.0
SWEEP = """\
name: onprem
backbones: [tiny-bert, tiny-bloom, tiny-t5]
tasks: [{name: rotten_tomatoes, data_dir: reviews}]
methods: [{method: lora, rank: 2}]
learning_rates: [1.0e-3, 1.0e-2]
training: {steps: 6, batch_size: 8, eval_every: 3}
"""


class Cluster:
    """One that is up.

    Args:
        hosts: its machines.
        file: for `ray`.
    """

    def __init__(self, hosts: Hosts, file: Path) -> None:
        self.hosts, self.file = hosts, file

    def ray(self, *words: str | Path, timeout: float = RUN_S) -> str:
        """Ray's command line, at home."""
        done = self.hosts.here("ray", *words, timeout=timeout)
        return done.stdout + done.stderr

    def alive(self) -> list[str]:
        """Hosts of nodes that live, as the head says."""
        code = "import ray; ray.init(address='auto', log_to_driver=False); print([n['NodeManagerHostname'] "
        code += "for n in ray.nodes() if n['Alive']])"
        said = self.hosts.run(HEAD, f'. ~/apet/env; python -c "{code}"', check=False).stdout
        return sorted(yaml.safe_load(said.splitlines()[-1])) if said else []

    def command(self, store: str, options: str = "") -> str:
        """For the head: a sweep into a store."""
        where = f"--store /mnt/shared/{store} --address {self.hosts.address(HEAD)}:6379"
        return f". ~/apet/env; apet run /mnt/shared/onprem.yaml {where} {options}"

    def run(self, store: str, options: str = "") -> str:
        """A sweep, as a user starts it from home by hand."""
        return self.ray("exec", self.file, self.command(store, options))

    def store(self, name: str) -> Store:
        return Store(self.hosts.shared / name, create=True)

    def rows(self, store: str) -> dict[str, dict[str, Any]]:
        return {row["trial_id"]: row for row in self.store(store).attempts().to_pylist()}

    def nodes(self, name: str) -> list[str]:
        """Ray's main processes on a host."""
        return self._processes(name, "raylet/raylet|gcs_server")

    def ranks(self, name: str) -> list[str]:
        """Ranks of gangs on a host."""
        return self._processes(name, "workers.gang.rank")

    def _processes(self, name: str, which: str) -> list[str]:
        said = self.hosts.run(name, f"ps -eo args | grep -E '{which}' | grep -v grep", check=False)
        return said.stdout.splitlines()


def overlay(hosts: Hosts) -> dict[str, Any]:
    """What a test says otherwise: addresses, who logs in, how a machine without a network comes by the packages that
    apet needs (those of this interpreter), and how much of this machine each has.
    """
    file = yaml.safe_load((ROOT / "clusters" / "onprem.yaml").read_text())
    few = {key: [line.replace("ray start", f"{SOON}ray start{FEW}") for line in file[key]] for key in STARTS}
    return {
        "provider": {
            "type": "local",
            "head_ip": hosts.address(HEAD),
            "worker_ips": [hosts.address(name) for name in WORKERS],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": str(hosts.key)},
        "setup_commands": [READY, *(f"{WITHOUT}; {line}" for line in file["setup_commands"])],
        **{key: [f"{WITHOUT}; {line}" for line in file[key]] for key in SETUPS},
        **few,
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """`ray up`, and all workers there."""
    with Hosts([HEAD, *WORKERS], variables={"LANG": "C.UTF-8"}) as hosts:
        file = hosts.folder / "onprem.yaml"
        own = overlay(hosts)
        print("the overlay:", json.dumps(own, indent=1))
        file.write_text(json.dumps({**yaml.safe_load((ROOT / "clusters" / "onprem.yaml").read_text()), **own}))
        write_reviews(hosts.shared / "reviews")
        (hosts.shared / "onprem.yaml").write_text(SWEEP)
        made, start = Cluster(hosts, file), time.monotonic()
        made.ray("get-auth-token", "--generate")
        made.ray("up", "--yes", file)
        print(f"ray up: {time.monotonic() - start:.0f} s")
        while len(made.alive()) < 3:
            assert time.monotonic() - start < JOINED_S, hosts.run(
                HEAD, "tail -50 /tmp/ray/session_latest/logs/monitor.*"
            )
            time.sleep(1)
        print(f"all nodes: {time.monotonic() - start:.0f} s")
        yield made


def test_all_machines_join_and_none_listens_to_strangers(cluster: Cluster) -> None:
    assert cluster.alive() == sorted([HEAD, *WORKERS])
    said = cluster.hosts.run(HEAD, "ss -ltnH | awk '{print $4}'").stdout.split()
    assert "127.0.0.1:8265" in said, "the dashboard"


def test_a_sweep_uses_all_machines_and_is_done_once(cluster: Cluster) -> None:
    cluster.run("alone")
    rows = cluster.rows("alone")
    assert {row["state"] for row in rows.values()} == {"completed"}
    assert {row["backbone"] for row in rows.values()} == {"tiny-bert", "tiny-bloom", "tiny-t5"}
    assert {row["host"] for row in rows.values()} == {HEAD, *WORKERS}
    again = cluster.run("alone")
    assert "in 0" in again or "nothing" in again, again
    assert cluster.rows("alone") == rows


def test_a_gang_over_two_machines_gives_the_scores_of_one_process(cluster: Cluster) -> None:
    """Each has one CPU, so that none could hold two ranks."""
    print(cluster.run("gang", "--set resources.ranks=2 --set resources.zero_stage=3 --where 'learning_rate < 0.005'"))
    alone, together = cluster.rows("alone"), cluster.rows("gang")
    assert {row["backbone"] for row in together.values()} == {"tiny-bert", "tiny-bloom", "tiny-t5"}
    for trial_id, row in together.items():
        assert (row["state"], row["ranks"], row["zero_stage"]) == ("completed", 2, 3)
        assert {key: row[key] for key in SCORES} == {key: alone[trial_id][key] for key in SCORES}
        theirs = losses(cluster.store("alone"), trial_id)
        assert losses(cluster.store("gang"), trial_id) == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert not any(cluster.ranks(name) for name in (HEAD, *WORKERS))


def test_down_ends_the_head_and_with_it_the_workers(cluster: Cluster) -> None:
    print(cluster.ray("down", "--yes", cluster.file))
    start = time.monotonic()
    assert not cluster.nodes(HEAD)
    while left := [line for name in WORKERS for line in cluster.nodes(name)]:
        assert time.monotonic() - start < DOWN_S, left
        time.sleep(2)
    print(f"no worker: {time.monotonic() - start:.0f} s after the head")
