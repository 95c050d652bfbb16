"""One, two and four ranks give a pack the numbers that a process alone gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gangs import Run, gang_runs, same
from trials_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, run

from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Training
from workers.worker import Worker

SETTINGS = {"training": Training(steps=4, batch_size=5, eval_every=2)}  # of 16 rows: the last batch of an epoch has one


def packs(folder: Path, trial: Any) -> list[Pack]:
    """Of each family four kinds of trials, and one that trains all."""
    found = []
    for name in FAMILIES:
        mixed = [
            trial(name, count=500, trial=SETTINGS),
            trial(name, count=90, operations={"add": 1}, trial={**SETTINGS, "learning_rate": 3e-2}),
            trial(name, "lora", trial=SETTINGS),
            trial(name, "adapter", trial=SETTINGS),
        ]
        full = trial(name, "full", trial={**SETTINGS, "learning_rate": 1e-4})
        found += [pack_of(folder, *mixed), pack_of(folder, full)]
    return found


@pytest.mark.parametrize("ranks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 4))])
def test_a_gang_gives_the_numbers_of_a_process_alone(ranks: int, folder: Path, tmp_path: Path, trial: Any) -> None:
    whole, shared = Store(tmp_path / "whole", create=True), Store(tmp_path / "shared", create=True)
    some, worker = packs(folder, trial), Worker(whole)
    for pack in some:
        assert [e.state for e in run(worker, pack)] == ["completed"] * len(pack.members)
    gang_runs(ranks, Run(shared, some))
    for pack in some:
        for member in pack.members:
            same(shared, whole, member, bitwise=ranks == 1)
            row = rows_of(shared)[member.trial.trial_id]
            assert (row["ranks"], row["devices"], row["threads"], row["attempt"]) == (ranks, ranks, 1, 0)
