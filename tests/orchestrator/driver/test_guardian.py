"""What a driver's death leaves behind: nothing of its own cluster, and everything else as it was."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.driver.ray.guardian import belonging, clear

if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)

GONE_S = 20.0
DRIVER = """
import subprocess, sys, time
from pathlib import Path
from orchestrator.driver.ray.guardian import guarded, marked
directory, end = Path(sys.argv[1]), sys.argv[2]
with guarded(directory):
    with marked(directory):
        child = subprocess.Popen(["sh", "-c", "sleep 100 & wait"], stdout=subprocess.DEVNULL, start_new_session=True)
    other = subprocess.Popen(["sleep", "100"], stdout=subprocess.DEVNULL, start_new_session=True)
    print(other.pid, flush=True)
    if end == "killed":
        time.sleep(100)
    if end == "raises":
        raise KeyboardInterrupt
"""


class Driver:
    """A process that guards a directory and has started a marked process with a child, and another process."""

    def __init__(self, directory: Path, end: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(directory), end],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.other = int(self.process.stdout.readline())


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "cluster"
    path.mkdir()
    (path / "log").write_text("said")
    yield path
    clear(path)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("end", ["killed", "raises"])
def test_nothing_is_left_of_a_driver_that_died(directory: Path, end: str) -> None:
    driver = Driver(directory, end)
    if end == "killed":
        while len(belonging(directory)) < 2:
            time.sleep(0.01)
        driver.process.kill()
    driver.process.wait(timeout=GONE_S)
    start = time.monotonic()
    while directory.exists() or belonging(directory):
        assert time.monotonic() - start < GONE_S, belonging(directory)
        time.sleep(0.05)
    assert lives(driver.other), "it belongs to somebody else"
    subprocess.run(["kill", str(driver.other)], check=True)


def test_an_orderly_end_is_left_to_the_driver(directory: Path) -> None:
    driver = Driver(directory, "returns")
    driver.process.wait(timeout=GONE_S)
    assert (directory / "log").exists()
    assert belonging(directory)
    subprocess.run(["kill", str(driver.other)], check=True)


def test_a_process_of_rays_whose_title_hid_the_mark_is_known_by_its_files(directory: Path) -> None:
    """Its title overwrites its environment; a reader of the same logs is left alone."""
    log = directory / "logs" / "agent.log"
    log.parent.mkdir(exist_ok=True)
    code = f"import time; file = open({str(log)!r}, 'a'); print('open', flush=True); time.sleep(100)"
    agent, reader = (
        subprocess.Popen([title, "-c", code], executable=sys.executable, stdout=subprocess.PIPE, env={}, cwd="/")
        for title in ("ray::DashboardAgent", "tail")
    )
    try:
        for process in (agent, reader):
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
        assert belonging(directory) == [agent.pid]
        clear(directory)
        assert agent.wait(timeout=GONE_S) == -9
        assert reader.poll() is None
    finally:
        for process in (agent, reader):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
