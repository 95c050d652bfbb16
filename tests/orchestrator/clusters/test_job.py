"""The script that a head runs: run here, by `sh`, with an `apet` and a `ray` that only say what they are told."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters.job import ANSWERED_S, CHECKPOINTS_S, TIMED_OUT, Job

JOB = Job(
    "count", "s3://bucket/study", ("apet", "run", "count.yaml", "--where", "backbone = 't5'"), {"count.yaml": "x"}
)
APET = """\
trap 'echo checkpoint; exit 143' TERM
for word; do echo "<$word>"; done
touch began
until test -e go; do sleep 0.05; done
exit "$(cat go)"
"""
RAY = """\
echo "$@" >>"$HOME/ray.log"
test "$1" != down || test "$(grep -c down "$HOME/ray.log")" = 2  # the first `ray down` fails
"""


class Machine:
    """A head's home, what its `apet` and `ray` are, and the jobs that run there."""

    def __init__(self, home: Path) -> None:
        self.home, self.started = home, list[subprocess.Popen[str]]()
        (home / "bin").mkdir(parents=True)
        for name, text in (("apet", APET), ("ray", RAY)):
            (home / "bin" / name).write_text(f"#!/bin/sh\n{text}")
            (home / "bin" / name).chmod(0o755)
        self.log = home / "ray.log"

    def start(self, job: Job, name: str = "job") -> subprocess.Popen[str]:
        """Run a job as Ray does: `sh` in a session of its own, in a folder with its files."""
        folder = self.home / name
        folder.mkdir()
        for file, text in job.contents.items():  # the waits are for clouds
            (folder / file).write_text(
                text.replace(f"sleep {ANSWERED_S}", "sleep 0.2").replace("sleep 2;", "sleep 0.1;")
            )
        process = subprocess.Popen(
            ["sh", "job.sh"],
            cwd=folder,
            env={"HOME": str(self.home), "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def up(self) -> None:
        """As `ray up` leaves a head."""
        (self.home / "ray_bootstrap_config.yaml").touch()

    def go(self, code: int, name: str = "job") -> None:
        """Let `apet` exit."""
        (self.home / name / "go").write_text(str(code))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path / "home")
    yield found
    for process in found.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(holds: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("code", [0, 1, 2])
@pytest.mark.parametrize("hours", [None, 2.0])
def test_the_command_gets_its_words_and_its_exit_code_is_the_jobs(
    machine: Machine, code: int, hours: float | None
) -> None:
    process = machine.start(replace(JOB, max_hours=hours))
    machine.go(code)
    said, _ = process.communicate(timeout=30)
    assert said.splitlines() == ["<run>", "<count.yaml>", "<--where>", "<backbone = 't5'>"]
    assert process.returncode == code


@pytest.mark.parametrize("hours", [None, 2.0])
def test_a_signal_to_all_of_it_ends_it_after_the_checkpoint(machine: Machine, hours: float | None) -> None:
    process = machine.start(replace(JOB, max_hours=hours))
    until((machine.home / "job" / "began").exists)
    os.killpg(process.pid, signal.SIGTERM)  # not `timeout`, which has a group of its own and so passes nothing on
    for line in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(line), signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert said.splitlines()[-1] == "checkpoint"
    assert process.returncode in (143, 124)


def test_after_the_hours_it_is_stopped_and_says_so(machine: Machine) -> None:
    process = machine.start(replace(JOB, max_hours=1 / 3600))
    said, _ = process.communicate(timeout=30)
    assert "checkpoint" in said
    assert "--max-hours 0.000277778 is over" in said
    assert process.returncode == TIMED_OUT


def test_the_hours_are_seconds_of_timeout() -> None:
    assert f"timeout --kill-after={CHECKPOINTS_S} 5400 apet run" in replace(JOB, max_hours=1.5).script


def ended(machine: Machine) -> list[str]:
    """What `ray` was told."""
    return machine.log.read_text().splitlines() if machine.log.exists() else []


DOWN = ["stop", *2 * ["down --yes ~/ray_bootstrap_config.yaml"]]  # again, until it works


def down(machine: Machine) -> list[str]:
    home = str(machine.home)
    return [line.replace(home, "~") for line in ended(machine)]


@pytest.mark.parametrize("end", ["done", "failed", "killed"])
def test_the_cluster_ends_itself_whichever_way_the_job_ends(machine: Machine, end: str) -> None:
    machine.up()
    process = machine.start(replace(JOB, down=True))
    until((machine.home / "job" / "began").exists)
    time.sleep(0.5)
    assert not ended(machine)  # while it runs
    if end == "killed":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        machine.go({"done": 0, "failed": 1}[end])
    process.wait(timeout=30)
    until(lambda: len(ended(machine)) == 3)
    time.sleep(0.5)
    assert down(machine) == DOWN


def test_nothing_ends_a_cluster_unasked(machine: Machine) -> None:
    machine.up()
    process = machine.start(JOB)
    machine.go(0)
    assert process.wait(timeout=30) == 0
    time.sleep(1)
    assert not ended(machine)


def test_a_cluster_that_can_not_end_itself_is_told_at_once(machine: Machine) -> None:
    process = machine.start(replace(JOB, down=True))
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "`ray up` didn't start this cluster" in said
    assert not (machine.home / "job" / "began").exists()


def test_the_cluster_waits_for_other_jobs_and_takes_none_when_it_ends(machine: Machine) -> None:
    machine.up()
    first, second = machine.start(replace(JOB, down=True), "first"), machine.start(JOB, "second")
    until((machine.home / "second" / "began").exists)
    machine.go(0, "first")
    first.wait(timeout=30)
    time.sleep(1)
    assert not ended(machine)
    machine.go(0, "second")
    second.wait(timeout=30)
    until(lambda: ended(machine))
    said, _ = (late := machine.start(JOB, "late")).communicate(timeout=30)
    assert late.returncode == 2
    assert "this cluster ends itself" in said


def test_jobs_of_one_sweep_and_store_meet_and_differ_in_what_they_do() -> None:
    others = [
        replace(JOB, command=(*JOB.command, "--limit", "3")),
        replace(JOB, files={"count.yaml": "y"}),
        replace(JOB, max_hours=2.0),
        replace(JOB, down=True),
    ]
    digests = {job.purpose["apet-digest"] for job in (JOB, *others)}
    assert len(digests) == 5
    assert {(job.purpose["apet-name"], job.purpose["apet-store"]) for job in others} == {("count", "s3://bucket/study")}
    assert replace(JOB).purpose == JOB.purpose
    assert JOB.new_id() != JOB.new_id()
