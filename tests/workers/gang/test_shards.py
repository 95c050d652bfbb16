"""Packs on a backbone in shards, at DeepSpeed's stage 3, have the numbers of a process alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gangs import Run, gang_runs, ids, same
from trials_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, run

from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from trials.trial import Training
from workers.worker import Worker

SETTINGS = {"training": Training(steps=6, batch_size=5, eval_every=2)}  # of 16 rows: the last batch of an epoch has one


def mixed(name: str, folder: Path, trial: Any) -> Pack:
    """Operations and methods, soft tokens too; the last one diverges."""
    return pack_of(
        folder,
        trial(name, count=500, trial=SETTINGS),
        trial(name, "prompt", tokens=3, trial={**SETTINGS, "learning_rate": 3e-2}),
        trial(name, "adapter", trial=SETTINGS),
        trial(name, trial={**SETTINGS, "learning_rate": 1e37}, count=200),
    )


def at_stage_3(pack: Pack, **more: Any) -> Pack:
    return replace(pack, setup=Setup("cpu", threads=1, zero_stage=3, **more))


@pytest.mark.parametrize("ranks", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_backbones_in_turn_on_one_gang_equal_a_process_alone(
    ranks: int, folder: Path, tmp_path: Path, trial: Any
) -> None:
    """Training, scores of labels, generated texts; the gang goes from backbone to backbone, and back to the first.

    The process alone is a new one for each pack, so nothing of one backbone stays with the next.
    """
    alone, shared = Store(tmp_path / "alone", create=True), Store(tmp_path / "shared", create=True)
    first, *others = (mixed(name, folder, trial) for name in FAMILIES)
    again = pack_of(folder, trial("tiny-bert", "lora", trial=SETTINGS), trial("tiny-bert", "bitfit", trial=SETTINGS))
    packs = [first, *others, again]
    for pack in packs:
        run(Worker(alone), pack)
    settings: list[dict[str, Any]] = [{}, {"recompute": True}, {}, {"recompute": True, "micro_batch": 2}]
    told = gang_runs(ranks, Run(shared, [at_stage_3(p, **s) for p, s in zip(packs, settings, strict=True)]))
    for pack, (steps,) in zip(packs, ([x] for x in told[0]), strict=True):
        assert sorted(i for _, ended in steps for i, _ in ended) == sorted(ids(pack))
    for pack, setting in zip(packs, settings, strict=True):
        for member in pack.members:
            row, other = (rows_of(store)[member.trial.trial_id] for store in (shared, alone))
            if member.trial.learning_rate > 1:
                for fact in ("state", "diverged_at", "steps_done", "best_step"):
                    assert row[fact] == other[fact], fact
                assert row["state"] == "diverged"
            else:
                same(shared, alone, member)
                assert row["state"] == "completed"
            assert (row["ranks"], row["zero_stage"], row["offload"]) == (ranks, 3, False)
            assert row["recompute"] == setting.get("recompute", False)
            assert row["weights_digest"] == other["weights_digest"]
