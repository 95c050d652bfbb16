"""A worker that plants a number in what a trial trains, before its first step: a trial is known by its learning rate.

It reads ``poison.json`` in the store: learning rate, as text, to the number, as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from trials.store.store import Store
from workers.engines import choice
from workers.engines.engine import Engine, Group
from workers.worker import Worker

WORKER = "poisoned_worker:PoisonedWorker"
FILE = "poison.json"


def poison(store: Store, by_rate: Mapping[float, float]) -> None:
    """What is planted in the trials of each learning rate."""
    (Path(store.uri) / FILE).write_text(json.dumps({str(rate): str(value) for rate, value in by_rate.items()}))


class PoisonedWorker(Worker):
    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(store, **options)
        path = Path(store.uri) / FILE
        by_rate = {float(rate): float(value) for rate, value in json.loads(path.read_text()).items()}
        make = choice.make

        def poisoned(name: str, model: torch.nn.Module, groups: Sequence[Group], **options: Any) -> Engine:
            with torch.no_grad():
                for group in groups:
                    if group.learning_rate in by_rate:
                        group.params[0].fill_(by_rate[group.learning_rate])
            return make(name, model, groups, **options)

        choice.make = poisoned
