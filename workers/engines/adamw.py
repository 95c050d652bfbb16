"""AdamW over K groups at once: how many kernels a step starts depends on no K.

``torch.optim.AdamW`` steps group by group, fused or not, and its fused kernel takes one learning rate a call: K rates
are K calls. Here each operation of the update is one call over the tensors of all groups, with a factor a tensor. The
arithmetic is that of torch's own loop over tensors, on a CPU to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from workers.engines.engine import Group

BETAS, EPSILON = (0.9, 0.999), 1e-8
T = TypeVar("T")
Piece = tuple[Tensor, Tensor, Tensor, Tensor, int, float]  # parameter, gradient, both moments, steps, rate
AT_ONCE = 2**22  # scalars of one pass, 16 MiB of scratch memory: a whole backbone's would be as large as the backbone


class AdamW(torch.optim.Optimizer):
    """The study's optimiser (PAPER: AdamW, β (0.9, 0.999), no decay), one parameter group a trial.

    Of every tensor that has had a gradient the state is ``step``, a Python number, for a step size is made of it
    without waiting for a device; ``exp_avg`` and ``exp_avg_sq``, of the tensor's shape.

    Args:
        groups: what the trials train, each with its own learning rate.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        plain: list[dict[str, Any]] = [{"params": list(g.params), "lr": g.learning_rate} for g in groups]
        super().__init__(plain, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every tensor that has a gradient."""
        assert closure is None, "gradients are there before a step"
        for part in passes(self._pieces(), lambda piece: piece[0].numel()):
            _move(*zip(*part, strict=True))

    def _pieces(self) -> Iterator[Piece]:
        """Of every tensor that has a gradient all that its step needs, in pieces of at most :data:`AT_ONCE` scalars."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self._state(p)
                state["step"] += 1
                four = [p, p.grad, state["exp_avg"], state["exp_avg_sq"]]
                cuts = [[x] for x in four]
                if p.numel() > AT_ONCE and all(x.is_contiguous() for x in four):  # a rank's shard of a backbone
                    cuts = [list(torch.split(x.view(-1), AT_ONCE)) for x in four]
                for values, gradient, mean, square in zip(*cuts, strict=True):
                    yield values, gradient, mean, square, state["step"], group["lr"]

    def _state(self, p: Tensor) -> dict[str, Any]:
        """The state of a tensor, zero before its first step."""
        state: dict[str, Any] = self.state[p]
        if not state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        return state


def passes(some: Iterable[T], scalars: Callable[[T], int]) -> Iterator[list[T]]:
    """In their order, as many at a time as have :data:`AT_ONCE` scalars together; one that has more is alone."""
    part: list[T] = []
    held = 0
    for x in some:
        if part and held + scalars(x) > AT_ONCE:
            yield part
            part, held = [], 0
        part.append(x)
        held += scalars(x)
    if part:
        yield part


def _move(
    params: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
    means: tuple[Tensor, ...],
    squares: tuple[Tensor, ...],
    steps: Sequence[int],
    rates: Sequence[float],
) -> None:
    """One step of some tensors, operation by operation as in torch's ``_single_tensor_adam``."""
    beta1, beta2 = BETAS
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
    scales = torch._foreach_sqrt(squares)
    torch._foreach_div_(scales, [(1 - beta2**step) ** 0.5 for step in steps])
    torch._foreach_add_(scales, EPSILON)
    sizes = [-rate / (1 - beta1**step) for rate, step in zip(rates, steps, strict=True)]
    torch._foreach_addcdiv_(params, means, scales, sizes)
