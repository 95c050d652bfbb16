"""Packs for gangs without a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trials_for_tests import make_trial

from trials.pack import Member, Pack, Sources
from trials.setup import Setup
from trials.trial import Training

STEPS = 8


def ganged_pack(name: str = "pack", *, trials: int = 1, ranks: int = 2, steps: int = STEPS, sweep: str = "") -> Pack:
    """A pack of a few trials; packs of other names have other trials."""
    training = Training(steps=steps, batch_size=4, eval_every=2)
    one = make_trial(trial={"training": training, "train_seed": sum(name.encode())})
    members = tuple(Member(replace(one, learning_rate=0.1 + n)) for n in range(trials))
    sources = Sources("random:tiny-bert", "folder:/nowhere")
    return Pack(name, members, sources, sweep, Setup("cpu", ranks=ranks, threads=1))


def rows_by_trial(store: Any) -> dict[str, dict[str, Any]]:
    """Every attempt's row; a trial has one."""
    rows = store.attempts().to_pylist()
    found = {row["trial_id"]: row for row in rows}
    assert len(found) == len(rows), "a trial has a row twice"
    return found
