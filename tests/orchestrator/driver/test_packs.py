"""Packs through the real driver and real workers: the numbers of each trial alone, whatever befalls the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from drivers import write_reviews
from poisoned_worker import WORKER as POISONED
from poisoned_worker import poison

from orchestrator.driver.run import execute, missing, run
from trials.store.store import Store
from trials.sweep.sweep import Sweep

pytest.importorskip("torch")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SWEEP = """\
name: packs
backbones: [{backbones}]
tasks: [{{name: rotten_tomatoes, data_dir: data}}]
methods: [{methods}]
learning_rates: [{rates}]
training: {{steps: {steps}, batch_size: 8, eval_every: {every}}}
resources: {{pack_size: {pack_size}}}
"""
FAMILIES = "tiny-bert, tiny-bloom, tiny-t5"
EVERY = (
    "bitfit, {method: lora, rank: 2}, {method: adapter, bottleneck: 3}, {method: prompt, tokens: 4}, "
    "{method: apet, counts: [30], position_seeds: 2}, {method: apet, placement: adjacent, counts: [30]}, full"
)
SCORES = ("state", "validation_score", "test_score", "best_step", "steps_done", "train_loss", "count_actual", "tokens")


def sweep(
    folder: Path, pack_size: int | str, methods: str, rates: Sequence[float], steps: int = 8, backbones: str = FAMILIES
) -> Sweep:
    if not (folder / "data").exists():
        write_reviews(folder / "data")
    rest = {"rates": ", ".join(map(str, rates)), "steps": steps, "every": max(4, steps // 10), "pack_size": pack_size}
    return Sweep.parse(SWEEP.format(backbones=backbones, methods=methods, **rest), folder=folder)


def rows(store: Store) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.attempts().to_pylist()
    return found


def scores(found: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {row["trial_id"]: tuple(row[name] for name in SCORES) for row in found}


def alone(some: Sweep, folder: Path) -> dict[str, tuple[Any, ...]]:
    """The scores of every trial in a pack of its own."""
    store = Store(folder / "alone", create=True)
    run(some, store, quiet=True)
    found = rows(store)
    assert {row["pack_size"] for row in found} == {1}
    return scores(found)


def test_packs_of_any_size_give_the_same_scores(ray: Any, tmp_path: Path) -> None:
    wanted = alone(sweep(tmp_path, 1, EVERY, [1e-2]), tmp_path)
    assert len(wanted) == 3 * 8
    for size in (4, "auto"):
        store = Store(tmp_path / f"{size}", create=True)
        assert run(sweep(tmp_path, size, EVERY, [1e-2]), store, quiet=True).completed == 3 * 8
        found = rows(store)
        assert scores(found) == wanted, f"pack_size {size}"
        assert max(row["pack_size"] for row in found) > 1, f"pack_size {size}"
        assert {row["pack_size"] for row in found if row["method"] in ("full", "prompt")} == {1}


def test_a_poisoned_trial_diverges_and_its_neighbours_do_not_notice(ray: Any, tmp_path: Path) -> None:
    values = {0.011: float("nan"), 0.012: float("inf"), 0.013: float("-inf"), 0.014: 1e38}
    healthy, methods = [0.01, 0.02], "{method: apet, counts: [60]}"
    wanted = alone(sweep(tmp_path, 1, methods, healthy), tmp_path)
    store = Store(tmp_path / "poisoned", create=True)
    poison(store, values)
    some = sweep(tmp_path, 6, methods, [*healthy, *values])
    _, todo = missing(some, store)
    summary = execute(todo, store, some.resources, worker=POISONED, quiet=True, max_concurrent=1)
    found = rows(store)
    assert {row["pack_size"] for row in found} == {6}
    assert (summary.completed, summary.diverged) == (3 * len(healthy), 3 * len(values))
    assert {row["learning_rate"] for row in found if row["state"] == "diverged"} == set(values)
    assert scores([row for row in found if row["learning_rate"] in healthy]) == wanted


LONG = 240  # steps, which take some seconds
WILD = [1e36, 2e36]  # rates: diverged long before the first evaluation


def end_worker(store: Store, trials: int, number: signal.Signals) -> list[int]:
    """Send the only worker a signal as soon as ``trials`` trials have checkpoints; in the background."""
    sent: list[int] = []

    def watch() -> None:
        end = time.monotonic() + 240
        while time.monotonic() < end:
            saved = list((Path(store.uri) / "checkpoints").rglob("*.safetensors"))
            running = store.running()
            if len(saved) >= trials and running:
                sent.append(int(next(iter(running.values()))["worker_id"].rpartition("-")[2]))
                os.kill(sent[0], number)
                return
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    return sent


@pytest.mark.parametrize("backbone", FAMILIES.split(", "))
def test_what_is_open_of_a_pack_comes_back_as_a_pack_after_a_preemption(
    backbone: str, ray: Any, tmp_path: Path
) -> None:
    """Four trials, two of which end before the worker is told to stop: the others go on together, where they were."""
    some = sweep(tmp_path, 4, "bitfit", [0.01, 0.02, *WILD], LONG, backbone)
    wanted = alone(sweep(tmp_path, 1, "bitfit", [0.01, 0.02, *WILD], LONG, backbone), tmp_path)
    store = Store(tmp_path / "store", create=True)
    sent = end_worker(store, 2, signal.SIGTERM)
    summary = run(some, store, quiet=True, max_concurrent=1)
    found = rows(store)
    assert sent
    assert (summary.completed, summary.diverged, summary.workers_started) == (2, 2, 2)
    packs = Counter((row["state"], row["pack_size"], row["attempt"]) for row in found)
    assert packs == {("diverged", 4, 0): 2, ("completed", 2, 0): 2}
    assert len({row["pack_id"] for row in found}) == 2
    assert scores(found) == wanted


def test_the_trials_of_a_pack_whose_worker_was_killed_go_on_alone(ray: Any, tmp_path: Path) -> None:
    rates = [0.01, 0.02, 0.03, 0.04]
    wanted = alone(sweep(tmp_path, 1, "bitfit", rates, LONG, "tiny-bert"), tmp_path)
    store = Store(tmp_path / "store", create=True)
    sent = end_worker(store, 4, signal.SIGKILL)
    summary = run(sweep(tmp_path, 4, "bitfit", rates, LONG, "tiny-bert"), store, quiet=True, max_concurrent=1)
    found = rows(store)
    assert sent
    assert (summary.completed, summary.failed) == (4, 0)
    assert {(row["pack_size"], row["attempt"]) for row in found} == {(1, 1)}, "one of them may be the culprit"
    assert scores(found) == wanted
