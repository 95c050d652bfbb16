"""One update of all groups has torch's own numbers to the bit, and starts no more kernels for more groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from workers.engines import adamw
from workers.engines.adamw import AdamW
from workers.engines.engine import Group
from workers.engines.plain import PlainEngine

SIZES = ((5,), (3, 4), (1000,), (7, 11))
RATES = (1e-2, 3e-3, 1e-4)


def params() -> list[list[nn.Parameter]]:
    """Of three groups: one tensor, two, and one more; the same at every call."""
    draw = np.random.default_rng(0)
    made = [nn.Parameter(torch.from_numpy(draw.standard_normal(size, np.float32))) for size in SIZES]
    return [made[:1], made[1:3], made[3:]]


def fill(groups: Sequence[Sequence[nn.Parameter]], step: int) -> None:
    """Gradients; from the second step on one tensor has none."""
    draw = np.random.default_rng(step)
    for i, p in enumerate(p for group in groups for p in group):
        found = torch.from_numpy(draw.standard_normal(p.shape, np.float32)) * 10.0 ** (i - 2)
        p.grad = None if step > 1 and i == 2 else found


@pytest.mark.parametrize("at_once", [1, 20, 2**22])
def test_the_steps_are_torchs_own_bitwise(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adamw, "AT_ONCE", at_once)
    mine, theirs = params(), params()
    ours = AdamW([Group(group, rate) for group, rate in zip(mine, RATES, strict=True)])
    groups: list[dict[str, Any]] = [{"params": group, "lr": rate} for group, rate in zip(theirs, RATES, strict=True)]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for step in range(1, 8):
        for optimizer, those in ((ours, mine), (reference, theirs)):
            fill(those, step)
            optimizer.step()
    for p, q in zip(chain(*mine), chain(*theirs), strict=True):
        assert torch.equal(p, q)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(torch.as_tensor(ours.state[p][key]), torch.as_tensor(reference.state[q][key]).to(p))


class Calls(TorchDispatchMode):
    """Counts the operations that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "aten":
            self.found[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("k", [1, 16])
def test_the_number_of_calls_does_not_grow_with_the_groups(k: int) -> None:
    thetas = [nn.Parameter(torch.ones(20 + i)) for i in range(k)]
    optimizer = AdamW([Group([theta], 10.0**-i) for i, theta in enumerate(thetas)])
    for _ in range(2):
        for theta in thetas:
            theta.grad = torch.ones_like(theta)
        with Calls() as calls:
            optimizer.step()
    assert calls.found.total() == 7


def clipped(groups: Sequence[Sequence[nn.Parameter]], limit: float) -> Tensor:
    return torch.stack([torch.nn.utils.clip_grad_norm_(group, limit) for group in groups])


@pytest.mark.parametrize("step", [1, 2])  # at the second one tensor has no gradient
@pytest.mark.parametrize("limit", [1.0, 1e-3, 1e9])
def test_all_groups_are_clipped_at_once_as_torch_clips_each_bitwise(step: int, limit: float) -> None:
    mine, theirs = params(), params()
    engine = PlainEngine(nn.Linear(1, 1), [Group(group, 1.0) for group in mine])
    for those in (mine, theirs):
        fill(those, step)
    assert torch.equal(engine.clip([0, 1, 2], limit), clipped(theirs, limit))
    for p, q in zip(chain(*mine), chain(*theirs), strict=True):
        assert (p.grad is None) == (q.grad is None)
        assert p.grad is None or torch.equal(p.grad, q.grad)


def test_groups_without_a_gradient_have_the_norm_zero() -> None:
    engine = PlainEngine(nn.Linear(1, 1), [Group(group, 1.0) for group in params()])
    assert engine.clip([0, 1, 2], 1.0).tolist() == [0.0, 0.0, 0.0]
