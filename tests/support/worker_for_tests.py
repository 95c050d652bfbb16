"""Packs of tiny trials on a folder of sixteen reviews, and what a worker's rows say of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from trials.pack import Member, Pack, Sources
from trials.setup import Setup
from trials.sources.digests import folder_digest
from trials.sources.folders import data_files
from trials.sources.locations import SCHEME
from trials.store.store import Store
from trials.trial import Source, Trial
from workers.worker import Worker

GOOD = ("a fine film", "a warm and funny story", "great acting", "it is a joy to watch")
ON_ONE_THREAD = Setup("cpu", threads=1)
BAD = ("a dull film", "a cold and boring story", "bad acting", "it is a pain to watch")


def given(one: Trial, folder: Path) -> Trial:
    """The trial with what the folder holds now as its data, whether it can be read or not: a worker compares."""
    data = Source("folder", SCHEME, folder_digest(data_files(folder).values()))
    return replace(one, task=replace(one.task, data=data))


def pack_of(folder: Path, *trials: Trial, attempt: int = 0) -> Pack:
    sources = Sources(f"random:{trials[0].backbone.name}", f"folder:{folder}")
    return Pack("pack", tuple(Member(t, attempt) for t in trials), sources, "test", ON_ONE_THREAD)


def rows_of(store: Store) -> dict[str, dict[str, Any]]:
    return {row["trial_id"]: row for row in store.trials().to_pylist()}


def run(worker: Worker, pack: Pack, **kwargs: Any) -> list[Any]:
    return [ended for progress in worker.run(pack, **kwargs) for ended in progress.ended]


SCORES = ("validation_score", "test_score", "best_step", "train_loss", "tokens", "count_actual")


def scores(store: Store, trial: Trial) -> dict[str, Any]:
    row = rows_of(store)[trial.trial_id]
    return {name: row[name] for name in SCORES}
