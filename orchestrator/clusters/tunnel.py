"""The way to a cluster's dashboard, which listens on the head alone: the tunnel that ``ray dashboard`` makes by ssh."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from trials.errors import ApetError

REACH_S = 180.0  # a cloud's API, then ssh
LAUNCHER = (sys.executable, "-m", "ray.scripts.scripts")


@contextmanager
def dashboard(cluster: str) -> Iterator[str]:
    """An address where the cluster's dashboard answers meanwhile.

    Args:
        cluster: a file of ``ray up``, or such an address: then nothing is done.

    Raises:
        ApetError: no head is up, or it can't be reached by ssh; with what the launcher said.
    """
    if is_address(cluster):
        yield cluster
        return
    port = _free_port()
    with tempfile.TemporaryFile("w+") as said:
        tunnel = subprocess.Popen(
            [*LAUNCHER, "dashboard", cluster, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for us alone, and ssh ends with the tunnel
        )
        try:
            _wait(tunnel, port, cluster, said)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(tunnel.pid, signal.SIGTERM)
            tunnel.wait()


def is_address(cluster: str) -> bool:
    """Whether this is a dashboard's address, and no file."""
    return cluster.startswith(("http://", "https://"))


def _wait(tunnel: subprocess.Popen[bytes], port: int, cluster: str, said: IO[str]) -> None:
    deadline = time.monotonic() + REACH_S
    while tunnel.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    said.seek(0)
    words = said.read().rpartition("The exception is: ")[2].strip() or f"no answer in {REACH_S:.0f} s"
    raise ApetError(
        f"{cluster}: its head can't be reached: {words}\nIs the cluster up (`ray up {cluster}`)? Then "
        f"`ray attach {cluster}` must work from here"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
