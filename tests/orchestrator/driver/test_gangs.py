"""Sweeps on gangs: warm from pack to pack, the scores of one rank, and whatever befalls a rank, nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import Driver, apet_run, end_all, write_reviews

from trials.store.store import Store

pytest.importorskip("torch")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)

SWEEP = """\
name: gangs
backbones: [{backbones}]
tasks: [{{name: rotten_tomatoes, data_dir: data}}]
methods: [bitfit, {{method: lora, rank: 2}}, {{method: apet, counts: [30]}}]
learning_rates: [1.0e-2]
training: {{steps: {steps}, batch_size: 8, eval_every: {every}}}
resources: {{gpus: 0, ranks: {ranks}, zero_stage: {stage}, pack_size: 2, checkpoint_s: 0.5, retries: {retries}}}
"""
LONG = {"backbones": "tiny-bert", "steps": 400, "every": 100}
FAMILIES = {"backbones": "tiny-bert, tiny-bloom, tiny-t5", "steps": 8, "every": 4}
GANG = {"ranks": 2, "stage": 3, "retries": 2}
SAME = ("state", "best_step", "steps_done", "count_actual", "tokens")
RANK = "workers.gang.rank"  # in the command of its process
GONE_S = 30.0
TIMEOUT_S = 10  # of a collective call, where a test makes a rank hang


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write_reviews(tmp_path / "data")
    yield tmp_path
    end_all()


def write(folder: Path, **keys: Any) -> str:
    """A sweep file, by name."""
    name = f"{keys['ranks']}-{keys['stage']}.yaml"
    (folder / name).write_text(SWEEP.format(**keys))
    return name


def rows(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Visible rows by backbone and method."""
    return {(row["backbone"], row["method"]): row for row in Store(folder / "store").trials().to_pylist()}


def run(folder: Path, sweep: str, store: str) -> dict[tuple[str, str], dict[str, Any]]:
    driver = apet_run(folder, store, sweep=sweep)
    assert driver.process.wait(timeout=600) == 0, driver.said()
    driver.gone_after()
    return {(row["backbone"], row["method"]): row for row in Store(folder / store).trials().to_pylist()}


def same(found: dict[Any, dict[str, Any]], wanted: dict[Any, dict[str, Any]], exactly: bool) -> None:
    """Whether rows say the same, to rounding where the gradients were summed otherwise."""
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        assert [row[name] for name in SAME] == [wanted[key][name] for name in SAME], key
        for name in ("validation_score", "test_score", "train_loss"):
            assert row[name] == (wanted[key][name] if exactly else pytest.approx(wanted[key][name], rel=1e-4)), key


def test_a_sweep_on_one_warm_gang_has_the_scores_of_one_rank(folder: Path) -> None:
    alone = run(folder, write(folder, **FAMILIES, ranks=1, stage=0, retries=2), "alone")
    found = run(folder, write(folder, **FAMILIES, **GANG), "gang")
    same(found, alone, exactly=False)
    assert len(found) == 9
    assert {(row["ranks"], row["zero_stage"], row["devices"]) for row in found.values()} == {(2, 3, 1)}
    assert {row["attempt"] for row in found.values()} == {0}
    packs = {row["pack_id"] for row in found.values()}
    loads = {row["pack_id"] for row in found.values() if row["load_s"] > 0}
    assert len(packs) == 6, "two packs a backbone"
    assert len(loads) == 3, "each backbone is loaded once"


def ranks(driver: Driver) -> list[int]:
    """The rank processes of a run."""
    return [pid for pid, command in driver.alive().items() if RANK in command]


def parent(pid: int) -> int:
    return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def kill_rank(driver: Driver, folder: Path) -> None:
    os.kill(ranks(driver)[0], signal.SIGKILL)


def kill_actor(driver: Driver, folder: Path) -> None:
    os.kill(parent(ranks(driver)[0]), signal.SIGKILL)


def kill_worker(driver: Driver, folder: Path) -> None:
    running = Store(folder / "store").running()
    os.kill(int(next(iter(running.values()))["worker_id"].rpartition("-")[2]), signal.SIGKILL)


def hang(driver: Driver, folder: Path) -> None:
    os.kill(ranks(driver)[0], signal.SIGSTOP)


def saved(folder: Path) -> int:
    return len(list((folder / "store" / "checkpoints").rglob("*.safetensors")))


def in_the_middle(folder: Path, sweep: str) -> Driver:
    """A run whose first pack has its checkpoints."""
    driver = apet_run(folder, "store", sweep=sweep)
    driver.wait_until(lambda: saved(folder) >= 2 and len(ranks(driver)) == 2, seconds=300)
    return driver


@pytest.mark.parametrize("befall", [kill_rank, kill_actor, kill_worker])
def test_what_dies_in_the_middle_of_a_pack_comes_back_from_its_checkpoint(
    befall: Callable[[Driver, Path], None], folder: Path
) -> None:
    sweep = write(folder, **LONG, **GANG)
    driver = in_the_middle(folder, sweep)
    before, start = set(ranks(driver)), time.monotonic()
    befall(driver, folder)
    driver.wait_until(lambda: not before & set(driver.alive()), seconds=GONE_S)
    print(f"{befall.__name__}: its ranks were gone after {time.monotonic() - start:.1f} s")
    assert driver.process.wait(timeout=600) == 0, driver.said()
    driver.gone_after()
    found = rows(folder)
    assert sorted(row["attempt"] for row in found.values()) == [0, 1, 1], "the pack's two trials came back"
    same(found, run(folder, sweep, "undisturbed"), exactly=True)


def test_a_hung_rank_is_named_and_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APET_GANG_TIMEOUT_S", str(TIMEOUT_S))
    driver = in_the_middle(folder, write(folder, **{**LONG, **GANG, "retries": 0}))
    before, start = set(ranks(driver)), time.monotonic()
    hang(driver, folder)
    driver.wait_until(lambda: not before & set(driver.alive()), seconds=TIMEOUT_S + GONE_S)
    print(f"a hung rank's gang was gone after {time.monotonic() - start:.1f} s, {TIMEOUT_S} s of them its time-out")
    assert driver.process.wait(timeout=600) == 1, driver.said()
    driver.gone_after()
    failed = [row for row in rows(folder).values() if row["state"] == "failed"]
    assert len(failed) == 2
    for row in failed:
        assert row["failure_class"] == "infrastructure"
        assert "rank " in row["error_message"]
        assert "step " in row["error_message"]


def test_a_gang_ends_at_its_next_batch_and_the_next_run_goes_on(folder: Path) -> None:
    sweep = write(folder, **LONG, **GANG)
    driver = in_the_middle(folder, sweep)
    os.killpg(driver.process.pid, signal.SIGINT)
    asked = time.time_ns()
    assert driver.process.wait(timeout=60) == 130, driver.said()
    driver.gone_after()
    assert "stopped: 0 completed, 0 diverged, 0 failed" in driver.said()
    assert "Traceback" not in driver.said()
    files = list((folder / "store" / "checkpoints").rglob("*.safetensors"))
    assert len(files) == 2
    assert all(file.stat().st_mtime_ns > asked for file in files), "checkpoints of its last batch"
    found = run(folder, sweep, "store")
    assert {row["attempt"] for row in found.values()} == {0}
    same(found, run(folder, sweep, "undisturbed"), exactly=True)
