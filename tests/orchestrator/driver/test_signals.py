"""Every way of ending a run from outside: soon, with checkpoints and a summary, and the next run goes on from there."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from drivers import Driver, apet_run, end_all, fake_run, write_reviews

from orchestrator.results.status import Counts, status
from trials.store.store import Store
from workers.signals import GRACE_S, Stop

ENDS_S = 15.0
EVERY = 25  # steps between evaluations
SWEEP = """\
name: stopped
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, data_dir: data}}]
methods: [{{method: apet, counts: [30]}}]
train_seeds: 2
learning_rates: [1.0e-3]
training: {{steps: {steps}, batch_size: 8, eval_every: {every}}}
"""

if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write_reviews(tmp_path / "data")
    (tmp_path / "long.yaml").write_text(SWEEP.format(steps=100_000, every=EVERY))
    (tmp_path / "short.yaml").write_text(SWEEP.format(steps=400, every=EVERY))
    yield tmp_path
    end_all()


def checkpoints(store: Path) -> list[Path]:
    return sorted((store / "checkpoints").rglob("*.safetensors"))


def send(number: int, to: str) -> Callable[[Driver], None]:
    def end(driver: Driver) -> None:
        if to == "driver":
            os.kill(driver.process.pid, number)
        elif to == "group":
            os.killpg(driver.process.pid, number)
        else:
            for pid in driver.alive():
                os.kill(pid, number)

    return end


def as_timeout_does(driver: Driver) -> None:
    """First the child, then the group that it is in."""
    os.kill(driver.process.pid, signal.SIGTERM)
    time.sleep(0.05)
    os.killpg(driver.process.pid, signal.SIGTERM)


WAYS = {
    "Ctrl-C": (send(signal.SIGINT, "group"), 130),
    "SIGTERM to the driver": (send(signal.SIGTERM, "driver"), 143),
    "SIGTERM to the group": (send(signal.SIGTERM, "group"), 143),
    "SIGTERM to every process": (send(signal.SIGTERM, "all"), 143),
    "SIGTERM as timeout sends it": (as_timeout_does, 143),
    "SIGHUP": (send(signal.SIGHUP, "group"), 129),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_signal_ends_a_run_soon_with_checkpoints_and_a_summary(way: str, folder: Path) -> None:
    end, code = WAYS[way]
    driver, store = apet_run(folder, "store", sweep="long.yaml"), folder / "store"
    driver.wait_until(lambda: len(checkpoints(store)) == 2, seconds=300)
    before, start = [file.stat().st_mtime_ns for file in checkpoints(store)], time.monotonic()
    end(driver)
    assert driver.process.wait(timeout=60) == code, driver.said()
    driver.gone_after()
    assert time.monotonic() - start < ENDS_S, driver.said()
    assert "stopped: 0 completed, 0 diverged, 0 failed" in driver.said()
    assert "2 remain: run the same command again" in driver.said()
    assert "Traceback" not in driver.said()
    assert "***" not in driver.said(), "what Ray says of a signal"
    if "every" not in way:  # then the workers may be gone before their next batch
        assert all(file.stat().st_mtime_ns > m for file, m in zip(checkpoints(store), before, strict=True))
    assert len(checkpoints(store)) == 2
    assert list((store / "runs").iterdir()) == []


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_job_that_ray_stops_keeps_its_checkpoints(folder: Path) -> None:
    """``ray job stop``: SIGTERM to the driver's group, and SIGKILL to what is left three seconds later."""
    driver, store = apet_run(folder, "store", sweep="long.yaml"), folder / "store"
    driver.wait_until(lambda: len(checkpoints(store)) == 2, seconds=300)
    before, start = [file.stat().st_mtime_ns for file in checkpoints(store)], time.monotonic()
    os.killpg(driver.process.pid, signal.SIGTERM)
    time.sleep(3.0)
    with suppress(ProcessLookupError):
        os.killpg(driver.process.pid, signal.SIGKILL)
    driver.process.wait(timeout=60)
    driver.gone_after()
    assert time.monotonic() - start < ENDS_S, driver.said()
    assert "stopping" in driver.said()
    assert len(checkpoints(store)) == 2
    assert all(file.stat().st_mtime_ns > m for file, m in zip(checkpoints(store), before, strict=True))


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_terminal_that_is_closed_ends_a_run_in_order(folder: Path) -> None:
    """Nobody reads the summary then; what is written of it must not become a traceback in its place."""
    ours, theirs = pty.openpty()
    begin = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "  # the terminal is the session's own
    main = f"{begin}from orchestrator.cli import main; main()"
    command = ("-c", main, "run", "long.yaml", "--store", "store")
    driver = Driver(*command, folder=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    store = folder / "store"
    drained = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL)  # else the display waits
    driver.wait_until(lambda: len(checkpoints(store)) == 2, seconds=300)
    start = time.monotonic()
    os.close(ours)
    drained.kill()
    drained.wait()
    assert driver.process.wait(timeout=60) == 129
    driver.gone_after()
    assert time.monotonic() - start < ENDS_S
    assert len(checkpoints(store)) == 2
    assert list((store / "runs").iterdir()) == []


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_pipe_that_nobody_reads_any_more_ends_no_run(folder: Path) -> None:
    """``apet run 2>&1 | tee log`` and Ctrl-C: tee is gone first."""
    reader, writer = os.pipe()
    driver = apet_run(folder, "store", sweep="long.yaml", stdout=writer, stderr=writer)
    os.close(writer)
    driver.wait_until(lambda: len(checkpoints(folder / "store")) == 2, seconds=300)
    os.close(reader)
    os.killpg(driver.process.pid, signal.SIGINT)
    assert driver.process.wait(timeout=60) == 130
    driver.gone_after()
    assert len(checkpoints(folder / "store")) == 2


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_what_a_signal_ended_goes_on_to_the_same_rows(folder: Path) -> None:
    names = ("state", "validation_score", "test_score", "best_step", "steps_done", "train_loss", "tokens")

    def rows(store: str) -> list[list[object]]:
        return [[row[name] for name in names] for row in Store(folder / store).trials().to_pylist()]

    whole = apet_run(folder, "whole", sweep="short.yaml")
    assert whole.process.wait(timeout=300) == 0, whole.said()
    driver, store = apet_run(folder, "store", sweep="short.yaml"), folder / "store"
    driver.wait_until(lambda: len(checkpoints(store)) > 0, seconds=300)
    os.killpg(driver.process.pid, signal.SIGTERM)
    assert driver.process.wait(timeout=60) == 143, driver.said()
    assert rows("store") != rows("whole")
    last = apet_run(folder, "store", sweep="short.yaml")
    assert last.process.wait(timeout=300) == 0, last.said()
    assert rows("store") == rows("whole")


@pytest.mark.parametrize("twice", [True, False], ids=["Ctrl-C twice", "a worker that doesn't listen"])
@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_second_ctrl_c_or_some_seconds_end_what_does_not_stop(twice: bool, folder: Path) -> None:
    driver, store = fake_run(folder, seeds=2, seconds=500, what="deaf"), Store(folder / "fake")
    driver.wait_until(lambda: len(store.running()) == 2, seconds=300)
    assert status(store).groups == {("tiny-bert", "rotten_tomatoes"): Counts(running=2)}, "known without a sweep"
    start = time.monotonic()
    os.killpg(driver.process.pid, signal.SIGINT)
    if twice:
        time.sleep(1.5)
        os.killpg(driver.process.pid, signal.SIGINT)
    driver.process.wait(timeout=60)
    driver.gone_after()
    taken = time.monotonic() - start
    assert taken < (GRACE_S if twice else ENDS_S), driver.said()
    assert "stopped: 0 completed" in driver.said()
    assert store.attempts().num_rows == 0
    assert store.running() == {}


def test_one_wish_that_comes_twice_is_one() -> None:
    with Stop() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        stop._since -= 1.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        stop.ending = True
        signal.raise_signal(signal.SIGINT)
    assert stop.signal == signal.SIGTERM


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert not stop.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
