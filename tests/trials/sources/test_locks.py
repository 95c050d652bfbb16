"""A lock lets one process in at a time, and is nobody's once its process is gone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from folders_for_tests import write_rows
from paths import ROOT

from trials.sources import digests
from trials.sources.locks import alone

HOLD = """
import sys, time
from pathlib import Path
from trials.sources.locks import alone
with alone(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that has the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_a_lock_is_held_by_one_and_taken_back_from_the_dead(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / "lock"
    process = holder(lock)
    waiting = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(0.5)
    assert waiting.poll() is None
    process.kill()  # no chance to tidy up
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "in\n"
    waiting.kill()
    for one in (process, waiting):
        one.communicate()
    with alone(lock), lock.open("ab") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError), alone(tmp_path / "file" / "lock"):  # noqa: PT011  # which one, the system says
        pass


def test_a_large_file_is_read_by_one_and_the_others_have_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows(tmp_path / "data" / "train.jsonl")
    os.utime(path, (time.time() - 60, time.time() - 60))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LARGE", 1)
    reads = []
    real = digests._sha256

    def slow(file: Path) -> str:
        reads.append(file)
        time.sleep(0.2)
        return real(file)

    monkeypatch.setattr(digests, "_sha256", slow)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(digests.file_digest, [path] * 4))
    assert found == {real(path)}
    assert len(reads) == 1


def test_a_cache_without_locks_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "data" / "train.jsonl")
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LARGE", 1)
    assert digests.file_digest(path) == digests._sha256(path)
