"""A head of Ray with a dashboard and a token, on this machine, as `ray up` leaves one; and a laptop beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from paths import ROOT, SUPPORT

TOKEN = "a-token-for-tests-that-is-long-enough"
UP_S, COMMAND_S = 120.0, 300.0
OURS = ("RAY_", "APET_")  # beginnings of variables that are a test's own


class Head:
    """Ray's head, up inside ``with``; in a home of its own, and with no other Ray of this machine in sight.

    Attributes:
        url: of its dashboard.
        folder: below `/tmp`, with the homes of `head` and `laptop` in it.
    """

    def __init__(self, cpus: int = 2) -> None:
        self._cpus = cpus

    def __enter__(self) -> Head:
        self._kept = tempfile.TemporaryDirectory(prefix="apet-h-", dir="/tmp", ignore_cleanup_errors=True)
        self.folder = Path(self._kept.name)
        for name in ("head", "laptop", "ray"):
            (self.folder / name).mkdir()
        (self.folder / "token").write_text(TOKEN)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = ["start", "--head", "--block", "--port=0", f"--dashboard-port={port}", f"--num-cpus={self._cpus}"]
        words += ["--dashboard-agent-listen-port=0", f"--ray-client-server-port={free_port()}", "--disable-usage-stats"]
        self._log = (self.folder / "ray.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *words, f"--temp-dir={self.folder / 'ray'}"],
            env=self.environment("head"),
            cwd=self.folder,
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()  # with --block it takes its processes along
        self._process.wait(timeout=60)
        self._log.close()
        self._kept.cleanup()

    def environment(self, home: str, token: str | None = TOKEN) -> dict[str, str]:
        """All variables of the head, or of the laptop, whose token may be another one or absent."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"HOME": str(self.folder / home), "RAY_TMPDIR": str(self.folder), "PATH": path, "OMP_NUM_THREADS": "1"}
        own |= {"PYTHONPATH": f"{ROOT}:{SUPPORT}", "RAY_USAGE_STATS_ENABLED": "0"}
        own |= {"RAY_AUTH_MODE": "token"} if home == "head" else {}
        return {**kept, **own, **({} if token is None else {"RAY_AUTH_TOKEN": token})}

    def laptop(self, *words: object, token: str | None = TOKEN, **options: Any) -> subprocess.Popen[str]:
        """Begin an `apet` command on the laptop."""
        return subprocess.Popen(
            [sys.executable, "-c", "from orchestrator.cli import main; main()", *map(str, words)],
            env=self.environment("laptop", token),
            cwd=self.folder / "laptop",
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options},
        )

    def apet(self, *words: object, token: str | None = TOKEN) -> tuple[int, str]:
        """Run an `apet` command on the laptop: its exit code, and all that it said."""
        process = self.laptop(*words, token=token)
        said, _ = process.communicate(timeout=COMMAND_S)
        return process.returncode, said

    def ray(self, *words: str) -> str:
        """Run a `ray` command against the dashboard."""
        environment = {**self.environment("laptop"), "RAY_AUTH_MODE": "token", "RAY_ADDRESS": self.url}
        command = [sys.executable, "-m", "ray.scripts.scripts", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=COMMAND_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _wait(self) -> None:
        deadline = time.monotonic() + UP_S
        request = urllib.request.Request(f"{self.url}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5):
                    return
            except OSError:
                said = Path(self._log.name).read_text()
                coming = self._process.poll() is None and time.monotonic() < deadline
                assert coming, said
                time.sleep(0.3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
