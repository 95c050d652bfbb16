"""What a worker leaves of a pack that goes on from checkpoints: its steps, its modules, its checkpoints."""

from __future__ import annotations

import torch
from safetensors.torch import load
from worker_for_tests import rows_of, scores

from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Trial
from workers.pack import checkpoint
from workers.worker import Worker


def steps_of(store: Store, pack: Pack, stops_at: int | None = None) -> list[int]:
    """The steps of a worker's reports; asked to stop before the step behind ``stops_at``."""
    calls = iter(range(1000))
    return [p.step for p in Worker(store).run(pack, lambda: next(calls) == stops_at)]


def module(store: Store, trial: Trial) -> dict[str, torch.Tensor]:
    return load(store.load_module(rows_of(store)[trial.trial_id]["module_uri"]))


def step_of(store: Store, trial: Trial) -> int:
    """The step of a trial's checkpoint."""
    saved = store.load_checkpoint(trial.trial_id)
    assert saved is not None
    return checkpoint.Checkpoint.from_bytes(saved).step


def same(one: Store, other: Store, trial: Trial) -> bool:
    """Whether a trial has the same scores and, to the bit, the same module in both."""
    left, right = module(one, trial), module(other, trial)
    equal = left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    return equal and scores(one, trial) == scores(other, trial)
