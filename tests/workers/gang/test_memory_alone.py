"""One process whose backbone is in shards, or which trains all of it under ZeRO, has no gang to begin anew for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gangs import Run, gang_runs, same
from worker_for_tests import pack_of, rows_of, run

from trials.setup import Setup
from trials.store.store import Store
from trials.trial import Training
from workers.worker import Worker

FIELDS = {"training": Training(steps=4, batch_size=4, eval_every=2), "learning_rate": 3e-4}


@pytest.mark.parametrize(("stage", "method"), [(3, "lora"), (3, "full"), (2, "full")])
def test_it_goes_on_with_less_where_memory_runs_out_in_a_pass(
    stage: int, method: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    """Of two trials first fewer slices go through at once, then fewer rows; the pack after runs too."""
    some = [trial("tiny-bert", method, trial={**FIELDS, "train_seed": 0})]
    if method != "full":
        some.append(trial("tiny-bert", "bitfit", trial=FIELDS))
    after = trial("tiny-bert", count=300, trial=FIELDS)
    alone, store = (Store(tmp_path / n, create=True) for n in ("alone", "store"))
    packs = [replace(pack_of(folder, *x), setup=Setup("cpu", threads=1, zero_stage=stage)) for x in (some, [after])]
    worker = Worker(alone)
    for pack in packs:
        run(worker, replace(pack, setup=Setup("cpu", threads=1)))
    gang_runs(1, Run(store, packs, fault=(None, "blocks", 2)))
    for pack in packs:
        for member in pack.members:
            same(store, alone, member)
    assert {rows_of(store)[x.trial_id]["micro_batch"] for x in some} == {2}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_layer_that_was_half_gathered_is_in_nobodys_way(
    method: str, folder: Path, tmp_path: Path, trial: Any
) -> None:
    one, after = trial("tiny-bert", method, trial=FIELDS), trial("tiny-bert", count=300, trial=FIELDS)
    alone, store = (Store(tmp_path / n, create=True) for n in ("alone", "store"))
    packs = [replace(pack_of(folder, x), setup=Setup("cpu", threads=1, zero_stage=3)) for x in (one, after)]
    for pack in packs:
        run(Worker(alone), replace(pack, setup=Setup("cpu", threads=1)))
    gang_runs(1, Run(store, packs, fault=(None, "gather", 60)))
    for pack in packs:
        same(store, alone, *pack.members)
    assert rows_of(store)[one.trial_id]["micro_batch"] == 2
