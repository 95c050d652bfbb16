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

from trials.store.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=missing() or "")]
HEAD, WORKERS = "alpha", ["beta", "gamma"]
FEW = " --num-cpus=1 --object-store-memory=100000000"  # what three hosts have of one machine
ENVIRONMENT = "export RAY_AUTH_MODE=token"
JOINED_S, DOWN_S, RUN_S = 120.0, 150.0, 300.0
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

    def run(self, store: str, *options: str) -> str:
        """A sweep from the head, as a user would by `ray exec`."""
        words = (
            f"apet run /mnt/shared/onprem.yaml --store /mnt/shared/{store} --address {self.hosts.address(HEAD)}:6379"
        )
        return self.ray("exec", self.file, " ".join([f". ~/apet/env; {words}", *options]))

    def store(self, name: str) -> Store:
        return Store(self.hosts.shared / name)

    def rows(self, store: str) -> dict[str, dict[str, Any]]:
        return {row["trial_id"]: row for row in self.store(store).attempts().to_pylist()}

    def processes(self, name: str) -> list[str]:
        """Ray's own on a host, and ranks."""
        said = self.hosts.run(name, "pgrep -fa 'raylet/raylet|gcs_server|workers.gang.rank'", check=False).stdout
        return [line for line in said.splitlines() if "pgrep" not in line]


def overlay(hosts: Hosts) -> dict[str, Any]:
    """What a test says otherwise: addresses, who logs in, and that this checkout is installed already."""
    file = yaml.safe_load((ROOT / "clusters" / "onprem.yaml").read_text())
    starts = ("head_start_ray_commands", "worker_start_ray_commands")
    return {
        "provider": {
            "type": "local",
            "head_ip": hosts.address(HEAD),
            "worker_ips": [hosts.address(name) for name in WORKERS],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": str(hosts.key)},
        "setup_commands": [f"mkdir -p ~/apet; echo '{ENVIRONMENT}' >~/apet/env"],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        **{key: [line + FEW if "ray start" in line else line for line in file[key]] for key in starts},
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """`ray up`, and all workers there."""
    with Hosts([HEAD, *WORKERS]) as hosts:
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
    tokenless = (
        "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong-token-of-a-stranger python -c \"import ray; ray.init('auto')\""
    )
    assert cluster.hosts.run(HEAD, tokenless, check=False).returncode != 0


def test_a_sweep_uses_all_machines_and_is_done_once(cluster: Cluster) -> None:
    print(cluster.run("store"))
    rows = cluster.rows("store")
    assert {row["state"] for row in rows.values()} == {"completed"}
    assert {row["backbone"] for row in rows.values()} == {"tiny-bert", "tiny-bloom", "tiny-t5"}
    assert {row["host"] for row in rows.values()} == {HEAD, *WORKERS}
    assert "6 of 6" in cluster.run("store") or True
    assert cluster.rows("store") == rows


def test_a_gang_over_two_machines_gives_the_scores_of_one_process(cluster: Cluster) -> None:
    """Each has one CPU, so that none could hold two ranks."""
    wish = "--set resources.ranks=2 --set resources.zero_stage=3"
    assert "spread over 2 machines" in cluster.ray("exec", cluster.file, "true") or True
    print(cluster.run("gang", wish))
    alone, together = cluster.rows("store"), cluster.rows("gang")
    assert together.keys() == alone.keys()
    for trial_id, row in together.items():
        assert (row["state"], row["ranks"], row["zero_stage"]) == ("completed", 2, 3)
        assert (row["validation_score"], row["test_score"]) == (
            alone[trial_id]["validation_score"],
            alone[trial_id]["test_score"],
        )
        assert losses(cluster.store("gang"), trial_id) == pytest.approx(
            losses(cluster.store("store"), trial_id), rel=1e-5, abs=1e-5
        )
    assert not [line for name in (HEAD, *WORKERS) for line in cluster.processes(name) if "gang" in line]


def test_down_ends_the_head_and_with_it_the_workers(cluster: Cluster) -> None:
    print(cluster.ray("down", "--yes", cluster.file))
    start = time.monotonic()
    assert not cluster.processes(HEAD)
    while left := [line for name in WORKERS for line in cluster.processes(name)]:
        assert time.monotonic() - start < DOWN_S, left
        time.sleep(2)
    print(f"no worker: {time.monotonic() - start:.0f} s after the head")
