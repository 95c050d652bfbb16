"""A Ray cluster of processes on this machine, for tests: `ray start`, and a file for its autoscaler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paths import ROOT, SUPPORT

from orchestrator.driver.ray.guardian import clear, marked

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PORTS = iter(range(21000, 22000, 10))


@contextmanager
def starting(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Starts Ray's processes, a head first, and says the cluster's address; all of them end when it closes."""
    from orchestrator.driver.ray.cluster import ENVIRONMENT

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT}{os.pathsep}{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_FAKE_CLUSTER", "1")
    folder = Path("/tmp") / f"apet-test-{os.getpid()}"  # a short path: sockets are below
    port = next(PORTS)
    import ray
    from ray._raylet import Config

    Config.initialize("")  # Ray may have read its environment before
    address = f"{ray.util.get_node_ip_address()}:{port}"
    subprocess.run([*RAY, "get-auth-token", "--generate"], check=True, capture_output=True)

    def ray_start(*words: str, head: bool = True, with_autoscaler: bool = False) -> str:
        if with_autoscaler:
            words = (*words, f"--autoscaling-config={autoscaler_file(files, address)}")
        where = ["--head", f"--port={port}", f"--temp-dir={folder}"] if head else [f"--address={address}"]
        command = [*RAY, "start", *where, *words]
        with marked(folder):
            subprocess.run([*command, "--include-dashboard=false"] if head else command, check=True, timeout=120)
        return address

    try:
        yield ray_start
    finally:
        clear(folder)


def autoscaler_file(folder: Path, address: str) -> Path:
    """A cluster file of Ray's own fake provider, whose nodes are processes on this machine."""
    config = {
        "cluster_name": "test",
        "max_workers": 1,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 10,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "card": {"resources": {"CPU": 2, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
        },
        "head_node_type": "ray.head.default",
        **{key: {} for key in ("auth", "docker", "file_mounts", "head_node", "worker_nodes")},
        **{key: [] for key in ("cluster_synced_files", "initialization_commands", "setup_commands")},
        **{key: [] for key in ("head_setup_commands", "worker_setup_commands")},
        **{key: [] for key in ("head_start_ray_commands", "worker_start_ray_commands")},
    }
    path = folder / "autoscaler.json"
    path.write_text(json.dumps(config))
    return path
