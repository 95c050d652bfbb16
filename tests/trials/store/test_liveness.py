"""Which worker has a trial in hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from trials.store.store import Store


@pytest.mark.parametrize("lost", ["a", "z"])
def test_of_two_heartbeats_of_a_trial_the_younger_counts(tmp_path: Path, lost: str) -> None:
    """The worker that lost its machine can't take its own back."""
    store = Store(tmp_path / "store", create=True)
    for worker in (lost, "m"):
        store.beat("run", worker, {"trials": ["ab"]})
    then = time.time() - 30
    os.utime(tmp_path / "store" / "runs" / "run" / f"{lost}.json", (then, then))
    assert store.running()["ab"]["worker_id"] == "m"
