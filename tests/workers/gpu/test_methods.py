"""Every method and operation on both kinds of devices: packed as alone, on a card as on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from device_for_tests import CLOSE, METHODS, every_method, losses, on_card, pack_on, precisions, trained, training
from trials_for_tests import FAMILIES
from worker_for_tests import rows_of, run

from trials.modules.methods import METHODS as ALL
from trials.store.store import Store
from workers.worker import Worker

families = pytest.mark.parametrize("name", FAMILIES)


def test_no_method_is_left_out() -> None:
    assert {method for method, _ in METHODS} | {"full"} == set(ALL)


@precisions
@families
def test_a_pack_of_every_method_is_what_each_is_alone(
    device: str, name: str, precision: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    trials = every_method(name, trial, precision)
    together = trained(tmp_path / "together", pack_on(device, folder, *trials))
    alone = Store(tmp_path / "alone", create=True)
    worker = Worker(alone)
    for one in trials:
        run(worker, pack_on(device, folder, one))
        assert rows_of(together)[one.trial_id]["precision"] == precision
        found = losses(together, one)
        assert found == pytest.approx(losses(alone, one), rel=CLOSE[precision]), one.method
        assert found[-1] < found[0], one.method


@on_card
@families
def test_a_card_trains_what_a_cpu_trains(device: str, name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    trials = every_method(name, trial, "fp32")
    here, there = (trained(tmp_path / at, pack_on(at, folder, *trials)) for at in ("cpu", device))
    for one in trials:
        assert losses(there, one) == pytest.approx(losses(here, one), rel=10 * CLOSE["fp32"]), one.method


@precisions
@families
def test_full_learns_and_leaves_the_backbone_as_it_was(
    device: str, name: str, precision: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    rate = {"training": training(precision), "learning_rate": 1e-3}
    full, after = trial(name, "full", trial=rate), trial(name, "lora", trial={"training": training(precision)})
    worker, fresh = (Worker(Store(tmp_path / at, create=True)) for at in ("after", "fresh"))
    for one in (full, after):
        run(worker, pack_on(device, folder, one))
    run(fresh, pack_on(device, folder, after))
    found = losses(worker.store, full)
    assert found[-1] < 0.95 * found[0], "far more than what follows would miss"
    assert losses(worker.store, after) == pytest.approx(losses(fresh.store, after), rel=CLOSE[precision] / 10)
