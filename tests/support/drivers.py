"""The command line as a process of its own, with all processes that come of it."""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from paths import ROOT, SUPPORT

MARK = "APET_TEST_MARK"  # in the environment of the driver, and so of every process that comes of it
GONE_S = 30.0


class Driver:
    """A driver in a process of its own, and all processes that come of it."""

    started: ClassVar[list[Driver]] = []

    def __init__(self, *command: str, folder: Path, **options: Any) -> None:
        self.mark = secrets.token_hex(8)
        path = os.pathsep.join([str(SUPPORT), str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.log = (folder / f"driver-{self.mark}.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, MARK: self.mark, "PYTHONPATH": path},
            **{"stdout": self.log, "stderr": subprocess.STDOUT, **options},
            start_new_session=True,  # a group of its own, as in a terminal
        )
        self.started.append(self)

    def said(self) -> str:
        return Path(self.log.name).read_text()

    def alive(self) -> dict[int, str]:
        """Every process that has the mark, but for those that only wait to be reaped, and its command."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z":
                        found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")[:120]
            except OSError:
                continue
        return found

    def wait_until(self, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while True:
            code = self.process.poll()
            if holds():
                return
            assert code is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)

    def gone_after(self) -> float:
        """Seconds until no process is left."""
        start = time.monotonic()
        self.process.wait(timeout=GONE_S)
        while left := self.alive():
            assert time.monotonic() - start < GONE_S, f"left after {GONE_S} s: {left}"
            time.sleep(0.1)
        return time.monotonic() - start


def parent(pid: int) -> int:
    """Id of the process that started this one."""
    return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def write_reviews(place: Path) -> None:
    """A few made-up reviews, some words each."""
    place.mkdir()
    words, draw = ("good", "great", "fine", "bad", "dull", "poor", "film", "story", "actor", "slow"), random.Random(0)
    for split, rows in (("train", 64), ("validation", 24), ("test", 24)):
        lines = [{"text": f"{' '.join(draw.choices(words, k=8))} {split} {i}", "label": i % 2} for i in range(rows)]
        (place / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def apet_run(folder: Path, store: str, *options: str, sweep: str = "killed.yaml", **process: Any) -> Driver:
    """``apet run``; ``process`` goes to Popen."""
    main = "from orchestrator.cli import main; main()"
    return Driver("-c", main, "run", sweep, "--store", store, *options, folder=folder, **process)


def fake_run(folder: Path, seeds: int, seconds: int, what: str = "sleep") -> Driver:
    """A run of the fake worker: so many trials of so many seconds each."""
    code = f"""if True:
        from fake_worker import *
        from orchestrator.driver.run import execute
        store, todos = Store("fake", create=True), [todo(i, steps=1) for i in range({seeds})]
        behave(store, {{one.trial.trial_id: "{what}:{seconds}" for one in todos}})
        print(execute(todos, store, worker=WORKER, max_concurrent=2))"""
    return Driver("-c", code, folder=folder)


def end_all() -> None:
    """End the drivers of a test that failed."""
    while Driver.started:
        driver = Driver.started.pop()
        driver.process.kill()
        driver.process.wait()
        driver.log.close()
