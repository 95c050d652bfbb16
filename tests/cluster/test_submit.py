"""submit through a cluster file: by ssh to the head; a job that outlives us, its stop, a cluster that ends itself."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import write_reviews
from hosts import Hosts, missing

from trials.store.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=missing() or "")]
START = "RAY_AUTH_MODE=token ray start --num-cpus=1 --disable-usage-stats"
SWEEP = """\
name: hosts
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, data_dir: {data}}}]
methods: [bitfit, {{method: apet, counts: [10]}}]
learning_rates: [1.0e-3]
training: {{steps: {steps}, batch_size: 4, eval_every: {steps}}}
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(["head", "worker"]) as found:
        found.here("ray", "get-auth-token", "--generate")
        write_reviews(found.shared / "reviews")
        yield found


def cluster_file(hosts: Hosts) -> Path:
    """For `ray up`; hosts have the code under test already."""
    token = hosts.folder / "home" / ".ray" / "auth_token"
    address = hosts.address("head")
    head = f"RAY_enable_autoscaler_v2=0 {START} --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml"
    config = {
        "cluster_name": "hosts",
        "provider": {"type": "local", "head_ip": address, "worker_ips": [hosts.address("worker")]},
        "auth": {"ssh_user": "root", "ssh_private_key": str(hosts.key)},
        "file_mounts": {"~/.ray/auth_token": str(token)},
        "head_start_ray_commands": [head],
        "worker_start_ray_commands": [f"{START} --address={address}:6379"],
    }
    path = hosts.folder / "cluster.yaml"
    path.write_text(json.dumps(config))
    return path


def sweep(hosts: Hosts, steps: int) -> Path:
    path = hosts.folder / f"hosts-{steps}.yaml"
    path.write_text(SWEEP.format(data=hosts.shared / "reviews", steps=steps))
    return path


def apet(hosts: Hosts, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return hosts.here("python", "-c", "from orchestrator.cli import main; main()", *words, check=False, timeout=400)


def until(holds: Callable[[], Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(1)


def test_from_ray_up_to_a_cluster_that_ended_itself(hosts: Hosts) -> None:
    file, store = cluster_file(hosts), Store(hosts.shared / "store")
    given = ("--cluster", file, "--store", store.uri)
    early = apet(hosts, "submit", sweep(hosts, 4), *given)
    assert (early.returncode, "Head node of cluster (hosts) not found!" in early.stderr) == (2, True), early.stderr
    hosts.here("ray", "up", "--yes", "--no-config-cache", file, timeout=240, RAY_UP_enable_autoscaler_v2="0")

    begun = apet(hosts, "submit", sweep(hosts, 200_000), *given, "--detach")  # and the laptop is closed
    assert begun.returncode == 0, begun.stderr
    until(lambda: len(list((hosts.shared / "store").glob("checkpoints/*/*"))) == 2, 200)
    stop = re.search(r"stop: +ray exec \S+ '(.*)'", begun.stderr)
    assert stop, begun.stderr
    hosts.here("ray", "exec", file, stop[1])
    assert not store.running()
    assert len(list((hosts.shared / "store").glob("checkpoints/*/*"))) == 2

    done = apet(hosts, "submit", sweep(hosts, 4), *given, "--down-when-done")
    assert (done.returncode, "2 completed" in done.stderr) == (0, True), done.stderr
    assert {state for state, _ in store.visible().values()} == {"completed"}
    until(lambda: hosts.run("head", "pgrep raylet", check=False).returncode == 1, 200)
    until(lambda: "No nodes remaining" in hosts.run("head", "cat ~/apet-down.log").stdout, 200)
