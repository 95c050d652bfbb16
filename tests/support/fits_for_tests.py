"""Trials and machines for tests of the planner's one decision, and what it came to in short."""

from __future__ import annotations

from functools import cache
from typing import Any

from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import Fit
from trials.backbones import get
from trials.modules.methods import named
from trials.trial import Method, Source, TaskRef, Training, Trial

GIB = 2**30


def trial(backbone: str, method: Method | str = "lora", **training: Any) -> Trial:
    task = TaskRef("rte", Source("hub", "nyu-mll/glue", "main"))
    how = named(method) if isinstance(method, str) else method
    return Trial(get(backbone), task, how, 1e-3, Training(**{"steps": 10, "batch_size": 32, **training}))


def cards(gpus: int, gib: int, memory_gib: int = 1024) -> Machine:
    return Machine(cpus=8 * gpus, memory=memory_gib * GIB, gpus=gpus, card_bytes=gib * GIB, name="node")


def how(found: Fit) -> tuple[int, int, bool, int | None]:
    setup = found.setup
    return setup.gpus, setup.zero_stage, setup.offload, setup.micro_batch


@cache
def full_xxl() -> Trial:
    return trial("t5-xxl", "full", max_input_length=256)
