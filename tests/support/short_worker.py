"""A worker of a gang whose rank 1 runs out of memory alone wherever more than one trial trains, as at stage 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from workers.engines import choice
from workers.engines.engine import Engine, Group
from workers.gang.gang import Gang
from workers.pack.memory import OutOfMemoryError
from workers.worker import Worker

WORKER = "short_worker:ShortWorker"


class ShortWorker(Worker):
    def __init__(self, *store: Any, gang: Gang, **options: Any) -> None:
        super().__init__(*store, gang=gang, **options)
        make = choice.make

        def short(name: str, model: torch.nn.Module, groups: Sequence[Group], **more: Any) -> Engine:
            if gang.rank == 1 and len(groups) > 1:
                raise OutOfMemoryError("told to run out of memory")
            return make(name, model, groups, **more)

        choice.make = short
