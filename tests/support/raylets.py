"""A Ray cluster of several raylets on this machine: nodes that come and go, each with CPUs of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from drivers import parent
from paths import ROOT, SUPPORT


@contextmanager
def raylets(patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, to which nodes are added; the test's process is the driver."""
    from orchestrator.driver.ray.cluster import ENVIRONMENT

    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    patch.setenv("PYTHONPATH", f"{SUPPORT}{os.pathsep}{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        ray.init(address=made.address, log_to_driver=False, logging_level=50)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def raylet(node: Any) -> int:
    """The process id of a node's raylet."""
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


def with_a_rank(pid: int) -> bool:
    """Whether a raylet has a process with a rank of a gang."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"RankActor" in (folder / "cmdline").read_bytes() and parent(int(folder.name)) == pid:
                return True
    return False
