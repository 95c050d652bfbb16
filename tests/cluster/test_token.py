"""The token through `ray up`: none on the laptop, the right one, others on the laptop and on a machine that joins."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers import write_reviews
from hosts import Hosts, missing

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]
START = "RAY_AUTH_MODE=token ray start --num-cpus=1 --disable-usage-stats --object-store-memory=100000000"
WRONG = {"RAY_AUTH_TOKEN": "0" * 64}
SWEEP = """\
name: token
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, data_dir: {data}}}]
methods: [bitfit]
learning_rates: [1.0e-3]
training: {{steps: 2, batch_size: 4}}
"""
UP_S, JOINED_S = 240.0, 120.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(["head", "worker", "stranger"]) as found:
        write_reviews(found.shared / "reviews")
        (found.shared / "token.yaml").write_text(SWEEP.format(data=found.shared / "reviews"))
        yield found


@pytest.fixture(scope="module")
def file(hosts: Hosts) -> Path:
    """For `ray up`; hosts have the code under test already."""
    head = f"RAY_enable_autoscaler_v2=0 {START} --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml"
    config = {
        "cluster_name": "token",
        "provider": {"type": "local", "head_ip": hosts.address("head"), "worker_ips": [hosts.address("worker")]},
        "auth": {"ssh_user": "root", "ssh_private_key": str(hosts.key)},
        "file_mounts": {"~/.ray/auth_token": "~/.ray/auth_token"},
        "head_start_ray_commands": ["ray stop", head],
        "worker_start_ray_commands": ["ray stop", f"{START} --address=$RAY_HEAD_IP:6379"],
    }
    path = hosts.folder / "token.yaml"
    path.write_text(json.dumps(config))
    return path


def apet(hosts: Hosts, *words: str | Path, **variables: str) -> tuple[int, str]:
    main = "from orchestrator.cli import main; main()"
    done = hosts.here("python", "-c", main, *words, check=False, timeout=UP_S, **variables)
    return done.returncode, done.stdout + done.stderr


def nodes(hosts: Hosts) -> int:
    """Of the cluster, as its head says."""
    code = "import ray; ray.init(address='auto', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    return int(hosts.run("head", f'RAY_AUTH_MODE=token python -c "{code}"').stdout.split()[-1])


def test_no_token(hosts: Hosts, file: Path) -> None:
    up = hosts.here("ray", "up", "--yes", "--no-config-cache", file, check=False, timeout=UP_S)
    print(up.stdout + up.stderr)
    assert up.returncode != 0
    assert hosts.run("head", "pgrep -x raylet", check=False).returncode == 1, "a cluster that anybody may use"
    code, said = apet(hosts, "cluster", "check", file)
    print(code, said)
    assert "ray get-auth-token --generate" in said


def test_the_right_token_and_others(hosts: Hosts, file: Path) -> None:
    hosts.here("ray", "get-auth-token", "--generate")
    hosts.here("ray", "up", "--yes", "--no-config-cache", file, timeout=UP_S, RAY_UP_enable_autoscaler_v2="0")
    end = time.monotonic() + JOINED_S
    while nodes(hosts) < 2:
        assert time.monotonic() < end, "a worker has the token from `ray up`"
        time.sleep(1)

    given = ("submit", hosts.shared / "token.yaml", "--cluster", file, "--store", hosts.shared / "store")
    for variables, says in ((WRONG, "403"), ({"HOME": str(hosts.folder / "tmp")}, "401")):
        code, said = apet(hosts, *given, **variables)
        print(said)
        assert (code, says in said, "~/.ray/auth_token" in said) == (2, True, True), said
    assert not (hosts.shared / "store").exists()

    address = f"--address={hosts.address('head')}:6379"
    joined = hosts.run("stranger", f"RAY_AUTH_TOKEN={WRONG['RAY_AUTH_TOKEN']} {START} {address}", check=False)
    print(joined.stdout + joined.stderr)
    assert joined.returncode != 0
    assert nodes(hosts) == 2

    code, said = apet(hosts, *given)
    assert (code, "1 completed" in said) == (0, True), said


def test_a_person_takes_an_idle_machine_away(hosts: Hosts) -> None:
    """As docs/cluster.md says it, on the machine itself."""
    words = "--reason DRAIN_NODE_REASON_PREEMPTION --reason-message bye"
    refused = hosts.run("worker", f"RAY_AUTH_TOKEN={WRONG['RAY_AUTH_TOKEN']} ray drain-node {words}", check=False)
    print(refused.stdout + refused.stderr)
    assert refused.returncode != 0
    assert nodes(hosts) == 2
    hosts.run("worker", f"RAY_AUTH_MODE=token ray drain-node {words}")
    end = time.monotonic() + JOINED_S
    while nodes(hosts) > 1:
        assert time.monotonic() < end, "Ray ends a node when nothing is left on it"
        time.sleep(1)
    assert hosts.run("head", "pgrep -x raylet", check=False).returncode == 0, "and no other"
