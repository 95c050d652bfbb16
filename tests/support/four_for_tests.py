"""A pack of four kinds of trials, and all that a worker leaves of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from worker_for_tests import pack_of, rows_of, scores

from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Training, Trial
from workers.pack.progress import Progress
from workers.worker import Worker

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
STEPS = 32


def four(name: str, folder: Path, trial: Any, **training: Any) -> Pack:
    """Four trials of as many kinds."""
    fields = {"training": Training(**{"steps": STEPS, "batch_size": 4, "eval_every": 8, **training})}
    return pack_of(
        folder,
        trial(name, count=500, trial=fields),
        trial(name, count=90, operations={"add": 1}, trial={**fields, "learning_rate": 3e-2}),
        trial(name, method="lora", trial=fields),
        trial(name, method="bitfit", trial=fields),
    )


def results(worker: Worker, pack: Pack, place: Path) -> tuple[list[Progress], dict[str, Any]]:
    """What a worker tells of a pack, and what it leaves in a store of its own."""
    worker.store = Store(place, create=True)
    told = list(worker.run(pack))
    rows = rows_of(worker.store)
    return told, {i: (scores_of(worker.store, rows[i]), worker.store.load_module(rows[i]["module_uri"])) for i in rows}


def scores_of(store: Store, row: dict[str, Any]) -> dict[str, Any]:
    curve = [(p["step"], p["value"], p["loss"]) for p in store.curves().to_pylist() if p["trial_id"] == row["trial_id"]]
    return {**{k: row[k] for k in ("state", "steps_done", "diverged_at")}, "curve": curve} | scores(
        store, Trial.from_spec(row["spec"])
    )
