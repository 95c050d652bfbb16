"""A Ray cluster that was there before us: joined, and asked what machines it has or may get."""

from __future__ import annotations

import socket
import time

from orchestrator.driver.ray import autoscaler
from orchestrator.driver.ray.local import SILENT, apart
from orchestrator.driver.ray.nodes import alive, of_resources
from orchestrator.planning.devices import Machine
from trials.errors import ApetError

KNOCK_S = 5.0
APPEAR_S = 20.0  # until a node with a CPU or GPU is there, or an autoscaler has said what it may start
LOOK_S = 0.5


def join(address: str) -> None:
    """Join the Ray cluster at ``address``.

    Raises:
        ApetError: nothing answers there, or it isn't a cluster that we may join.
    """
    import ray
    from ray.exceptions import RayError

    try:
        _knock(address)
    except OSError as error:
        raise _refusal(address, error) from None
    try:
        with apart():
            ray.init(address=address, **SILENT)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        if ":" not in address:  # auto: whoever it is was not knocked at
            raise _refusal(address, error) from None
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ApetError(
            f"something answers at {address!r}, and won't let us join ({said}): give the cluster's token, which its "
            "machines have in ~/.ray/auth_token, by that file or in RAY_AUTH_TOKEN, and set RAY_AUTH_MODE=token; if it "
            "isn't that, look whether Ray listens there, of this version"
        ) from None


def _refusal(address: str, error: Exception) -> ApetError:
    return ApetError(
        f"no Ray cluster answers at {address!r} ({error}); start one with `ray up cluster.yaml` or `ray start --head`, "
        "or leave out --address to run on this machine"
    )


def machines(wait_s: float = APPEAR_S) -> tuple[tuple[Machine, ...], bool]:
    """The cluster's machines: those that are there, and those that its autoscaler may still start.

    And whether all say their memory: an autoscaler starts no node of a type that doesn't for packs that ask for some.

    Args:
        wait_s: how long nodes may take to appear where there is nothing yet.

    Raises:
        ApetError: nothing with a CPU or GPU is there or to come.
    """
    end = time.monotonic() + wait_s
    while True:
        there = [autoscaler.Kind(node.host, node.resources, 1, node.labels) for node in alive() if node.works]
        kinds = [*there, *autoscaler.more(there)]
        if kinds:
            found = tuple(of_resources(kind.resources, kind.name, kind.limit, kind.labels) for kind in kinds)
            return found, all("memory" in kind.resources for kind in kinds)
        if time.monotonic() > end:
            raise ApetError(
                f"the Ray cluster has {len(alive())} nodes, none of them with a CPU or a GPU, and no autoscaler that "
                "starts others; add nodes with `ray start --address`, or give the head some with `ray start --head "
                "--num-cpus`"
            )
        time.sleep(LOOK_S)


def _knock(address: str) -> None:
    """Make sure that somebody listens at ``host:port`` or ``ray://host:port``: Ray itself would try for ten minutes.

    Raises:
        OSError: nobody does, within KNOCK_S.
    """
    host, colon, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), KNOCK_S):
            pass
