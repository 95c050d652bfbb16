"""Packs of tiny trials on a CPU and on a card, and how much what came of one of them may differ from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from resume_for_tests import module
from worker_for_tests import pack_of, rows_of

from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from trials.trial import Training, Trial
from workers.worker import Worker

WITHOUT_CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
ON_CARD = pytest.param("cuda", marks=[pytest.mark.gpu, WITHOUT_CARD])
devices = pytest.mark.parametrize("device", ["cpu", ON_CARD])
on_card = pytest.mark.parametrize("device", [ON_CARD])
precisions = pytest.mark.parametrize(  # on a CPU what the other tests don't have: theirs are float32
    ("device", "precision"),
    [("cpu", "bf16"), *(pytest.param("cuda", x, marks=ON_CARD.marks) for x in ("fp32", "bf16"))],
)

CLOSE = {"fp32": 1e-4, "bf16": 5e-2}  # of losses, relatively: other kernels, so other rounding
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("prompt", {"tokens": 3}),
    ("bitfit", {}),
    ("lora", {}),
    ("adapter", {}),
    ("apet", {"operations": {"add": 1}, "count": 60}),
    ("apet", {"operations": {"concat": 1}, "count": 300}),
    ("apet", {"operations": {"plug": 1}, "count": 300}),
    ("apet", {"count": 500}),
    ("apet", {"count": 500, "placement": "adjacent"}),
)
"""Every method but ``full``, which is alone, and every operation."""


def training(precision: str, steps: int = 6) -> Training:
    """Every batch has all of the sixteen rows, so that losses of different steps compare."""
    return Training(steps, 16, 2, precision=precision)


def every_method(name: str, trial: Callable[..., Trial], precision: str) -> list[Trial]:
    return [trial(name, method, trial={"training": training(precision)}, **sizes) for method, sizes in METHODS]


def pack_on(device: str, folder: Path, *trials: Trial, **settings: Any) -> Pack:
    """A pack for one device; ``settings`` of its set-up."""
    setup = Setup(device, gpus=int(device == "cuda"), threads=1, **settings)
    return replace(pack_of(folder, *trials), setup=setup)


def trained(place: Path, pack: Pack, engine: str = "auto") -> Store:
    """The store of a worker of its own that has run a pack."""
    store = Store(place, create=True)
    list(Worker(store, engine=engine).run(pack))
    return store


def losses(store: Store, trial: Trial) -> list[float]:
    """Of the steps at which a trial was evaluated, and its scores there; it has completed."""
    row = rows_of(store)[trial.trial_id]
    assert row["state"] == "completed", row["error_message"]
    points = [p for p in store.curves().to_pylist() if p["trial_id"] == trial.trial_id]
    return [p["loss"] for p in sorted(points, key=lambda p: p["step"])]


def moved(store: Store, trial: Trial) -> torch.Tensor:
    """All that a trial has trained, flat."""
    return torch.cat([x.flatten().float() for _, x in sorted(module(store, trial).items())])
