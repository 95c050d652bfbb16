"""A pack that was stopped goes on from its checkpoints to where an undisturbed one ends, on both kinds of devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from device_for_tests import CLOSE, losses, moved, pack_on, precisions, training
from resume_for_tests import same, step_of, steps_of
from trials_for_tests import FAMILIES

from trials.store.store import Store

STOPS_AT = 3  # steps


@precisions
@pytest.mark.parametrize("name", FAMILIES)
def test_a_stopped_pack_ends_as_an_undisturbed_one(
    device: str, name: str, precision: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    fields = {"training": training(precision)}
    trials = [trial(name, count=500, trial=fields), trial(name, "lora", trial=fields)]
    pack = pack_on(device, folder, *trials)
    whole, store = Store(tmp_path / "whole", create=True), Store(tmp_path / "store", create=True)
    assert steps_of(whole, pack) == [2, 4, 6]
    steps_of(store, pack, STOPS_AT)
    assert [step_of(store, one) for one in trials] == [STOPS_AT] * 2
    assert steps_of(store, pack) == [4, 6]
    for one in trials:
        if device == "cpu":
            assert same(store, whole, one)
        assert losses(store, one) == pytest.approx(losses(whole, one), rel=CLOSE[precision])
        assert (moved(store, one) - moved(whole, one)).norm() < 0.05 * moved(whole, one).norm()
