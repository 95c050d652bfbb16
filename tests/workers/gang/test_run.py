"""``python -m workers.run --ranks``: the same pack by several processes, with the same rows, signals and exit codes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drivers import Driver, end_all
from gangs import TOLERANCE
from worker_for_tests import pack_of, rows_of, scores

from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Training
from workers import faults
from workers.run import main

LONG = Training(steps=100_000, batch_size=4, eval_every=2)
SHORT = Training(steps=40, batch_size=4, eval_every=20)
RUN = "import sys; from workers.run import main; sys.exit(main())"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_all()


def written(pack: Pack, place: Path) -> Path:
    file = place / f"{pack.pack_id}.json"
    file.write_text(pack.to_json())
    return file


def started(pack: Pack, place: Path, ranks: int) -> Driver:
    """The command in a process of its own."""
    words = (str(written(pack, place)), "--store", str(place / "store"), "--ranks", str(ranks))
    return Driver("-c", RUN, *words, folder=place)


def saved(place: Path) -> list[Path]:
    return list((place / "store" / "checkpoints").rglob("*.safetensors"))


@pytest.mark.parametrize("stage", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_write_the_rows_of_one_process(
    stage: int, folder: Path, place: Path, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [trial("tiny-t5", count=300), trial("tiny-t5", "lora")]
    pack = pack_of(folder, *trials)
    one, two = (Store(place / name, create=True) for name in ("one", "two"))
    assert main([str(written(pack, place)), "--store", one.uri]) == 0
    alone = capsys.readouterr()
    pack = replace(pack, setup=replace(pack.setup, zero_stage=stage))
    assert main([str(written(pack, place)), "--store", two.uri, "--ranks", "2"]) == 0
    ganged = capsys.readouterr()
    assert ganged.out == alone.out
    assert ganged.err == alone.err, "and nothing of libraries"
    for x in trials:
        assert scores(two, x) == pytest.approx(scores(one, x), abs=TOLERANCE)
        rows = [rows_of(store)[x.trial_id] for store in (one, two)]
        assert [(row["ranks"], row["zero_stage"]) for row in rows] == [(1, None), (2, stage or None)]


def test_wrong_input_is_said_once(
    folder: Path, place: Path, trial: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = written(pack_of(folder, trial("tiny-t5")), place)
    for words, says in (
        (["--ranks", "0"], "--ranks 0"),
        (["--ranks", "5"], "batches of 4 rows"),
        (["--ranks", "2", "--engine", "deepsped"], "did you mean deepspeed?"),
    ):
        assert main([str(pack), "--store", str(place / "store"), *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert says in said


@pytest.mark.parametrize(
    ("ranks", "number"),
    [(1, signal.SIGTERM), (2, signal.SIGINT), pytest.param(2, signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_a_signal_ends_a_pack_with_checkpoints(
    ranks: int, number: signal.Signals, folder: Path, place: Path, trial: Any
) -> None:
    """To all of its processes, as batch systems send it; another pack of the same trial then goes on."""
    pack = pack_of(folder, trial("tiny-bert", trial={"training": LONG}))
    run = started(pack, place, ranks)
    run.wait_until(lambda: bool(saved(place)))
    for pid in run.alive():
        os.kill(pid, number)
    assert run.gone_after() < 20
    assert run.process.returncode == 128 + number
    assert "stopped; trials without a row go on from their checkpoints" in run.said()
    assert "Traceback" not in run.said()
    assert saved(place)


@pytest.mark.slow
def test_a_second_signal_ends_ranks_that_hang_at_once(
    folder: Path, place: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.VARIABLE, f"rank-hang:1:step 5 of {LONG.steps}")
    run = started(pack_of(folder, trial("tiny-bert", trial={"training": LONG})), place, 2)
    run.wait_until(lambda: "step 4/" in run.said())
    run.process.send_signal(signal.SIGINT)
    time.sleep(2)
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    assert run.gone_after() < 5
    assert run.process.returncode == 128 + signal.SIGINT


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 3])
def test_a_rank_that_is_killed_ends_the_command_with_3_and_the_same_command_goes_on(
    stage: int, folder: Path, place: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trial("tiny-bert", trial={"training": SHORT})
    undisturbed = Store(place / "undisturbed", create=True)
    pack = pack_of(folder, one)
    pack = replace(pack, setup=replace(pack.setup, ranks=2, zero_stage=stage))
    assert main([str(written(pack, place)), "--store", undisturbed.uri, "--ranks", "2"]) == 0
    monkeypatch.setenv(faults.VARIABLE, "rank-kill:1:step 30 of 40")
    run = started(pack, place, 2)
    run.process.wait(120)
    assert run.gone_after() < 5
    assert run.process.returncode == 3
    last = run.said().splitlines()[-1]
    assert last.startswith("error: rank 1 of 2, at step 30 of 40: its process ended: killed by SIGKILL; trials without")
    assert saved(place)
    monkeypatch.delenv(faults.VARIABLE)
    again = started(pack, place, 2)
    again.process.wait(120)
    assert again.process.returncode == 0, again.said()
    assert "step 20/" not in again.said(), "it went on"
    assert scores(Store(place / "store"), one) == scores(undisturbed, one), "to the same bits"
