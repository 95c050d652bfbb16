"""Full fine-tuning shared by ranks, at each stage, has the numbers of a process alone, and gives the backbone back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gangs import Run, gang_runs, same
from trials_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, run

from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from trials.trial import Training
from workers.worker import Worker

FIELDS = {"training": Training(steps=6, batch_size=5, eval_every=2), "learning_rate": 3e-4}


def at(stage: int, pack: Pack) -> Pack:
    return replace(pack, setup=Setup("cpu", threads=1, zero_stage=stage))


def between_modules(name: str, folder: Path, trial: Any) -> list[Pack]:
    """A module, then all weights, then another module."""
    module = {**FIELDS, "learning_rate": 1e-2}
    before, after = (trial(name, count=300, trial={**module, "position_seed": seed}) for seed in (0, 1))
    return [pack_of(folder, one) for one in (before, trial(name, "full", trial=FIELDS), after)]


@pytest.mark.parametrize("stage", [3, *(pytest.param(stage, marks=pytest.mark.slow) for stage in (1, 2))])
def test_two_ranks_have_the_numbers_of_one_process_and_the_next_module_too(
    stage: int, folder: Path, tmp_path: Path, trial: Any
) -> None:
    """The one process is a new one each time; the gang stays warm."""
    alone, shared = Store(tmp_path / "alone", create=True), Store(tmp_path / "shared", create=True)
    packs = [pack for name in FAMILIES for pack in between_modules(name, folder, trial)]
    for pack in packs:
        run(Worker(alone), pack)
    gang_runs(2, Run(shared, [at(stage, pack) for pack in packs]))
    for pack in packs:
        (member,) = pack.members
        same(shared, alone, member)
        row, full = rows_of(shared)[member.trial.trial_id], member.trial.method.name == "full"
        assert (row["ranks"], row["zero_stage"]) == (2, stage if full or stage == 3 else None)
        assert (row["load_s"] > 0) == (pack in packs[::3]), "loaded once a backbone"
