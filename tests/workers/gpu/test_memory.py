"""The memory of a pack's rows is that pack's: what an earlier one took doesn't show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_for_tests import on_card, pack_on, training
from worker_for_tests import rows_of, run

from trials.store.store import Store
from workers.worker import Worker


@on_card
def test_the_peak_is_measured_anew_for_every_pack(device: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    rows = {"training": training("bf16")}
    one = trial("tiny-t5", count=500, trial={**rows, "learning_rate": 2e-3})
    many = [trial("tiny-t5", count=500, trial={**rows, "position_seed": seed}) for seed in range(1, 17)]
    worker = Worker(Store(tmp_path / "store", create=True))
    for trials in (many, [one]):
        run(worker, pack_on(device, folder, *trials))
    found = rows_of(worker.store)
    assert 0 < found[one.trial_id]["peak_memory_bytes"] < 0.6 * found[many[0].trial_id]["peak_memory_bytes"]
