"""Engines over a pack of two tiny trials, and steps of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tiny_for_tests import batch, frozen, pack
from torch import Tensor

from workers.engines import choice
from workers.engines.engine import Engine, Group
from workers.gang.gang import ALONE, Gang
from workers.modules.model import PackModel

RATES = (1e-2, 3e-3)


@contextmanager
def two(engine_name: str, name: str, trial: Any, gang: Gang = ALONE) -> Iterator[tuple[Engine, PackModel]]:
    """An engine over a pack of two trials of 500 and 60 scalars."""
    trials = [trial(name, count=500), trial(name, count=60, operations={"concat": 1})]
    with pack(frozen(name), trials) as (model, modules):
        groups = [Group([theta], rate) for theta, rate in zip(modules.thetas, RATES, strict=True)]
        engine = choice.make(engine_name, model, groups, gang)
        try:
            yield engine, model
        finally:
            engine.close()


def take(engine: Engine, name: str, steps: int) -> list[Tensor]:
    """Some steps; the losses of each, [K]."""
    found = []
    for _ in range(steps):
        losses = engine.losses(batch(name))
        engine.backward(losses.sum())
        engine.step()
        found.append(losses.detach())
    return found


def equal(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
