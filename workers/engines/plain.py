"""Plain PyTorch: one process, no process group, no compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workers.engines.engine import Group


def adamw(groups: Sequence[Group]) -> torch.optim.AdamW:
    """The study's optimiser (PAPER: AdamW, β (0.9, 0.999), no decay), one parameter group a trial."""
    plain: list[dict[str, Any]] = [{"params": list(g.params), "lr": g.learning_rate} for g in groups]
    return torch.optim.AdamW(plain, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


def group_state(optimizer: torch.optim.Optimizer, params: Sequence[nn.Parameter]) -> list[dict[str, Tensor]]:
    """Copies of AdamW's state of some tensors; empty dicts before the first step."""
    return [{k: v.detach().clone() for k, v in optimizer.state.get(p, {}).items()} for p in params]


def put_state(
    optimizer: torch.optim.Optimizer, params: Sequence[nn.Parameter], state: Sequence[Mapping[str, Tensor]]
) -> None:
    """Put back what :func:`group_state` gave."""
    for p, values in zip(params, state, strict=True):
        if values:
            optimizer.state[p] = {k: v.clone() if k == "step" else v.to(p.device) for k, v in values.items()}


class PlainEngine:
    """See :class:`workers.engines.engine.Engine`."""

    name = "plain"
    zero_stage: int | None = None
    offload: bool | None = None

    def __init__(self, model: nn.Module, groups: Sequence[Group]) -> None:
        self._model = model
        self._groups = [list(g.params) for g in groups]
        self._optimizer = adamw(groups)

    def losses(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the protocol."""
        losses: Tensor = self._model(batch)
        return losses

    def backward(self, total: Tensor, last: bool = True) -> None:
        """See the protocol."""
        total.backward()  # type: ignore[no-untyped-call]  # torch's own signature

    def step(self) -> None:
        """See the protocol."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def groups(self) -> list[list[nn.Parameter]]:
        """See the protocol."""
        return [list(g["params"]) for g in self._optimizer.param_groups]

    def drop(self, group: int) -> None:
        """See the protocol."""
        for p in self._groups[group]:
            p.grad = None
            p.requires_grad_(False)
            self._optimizer.state.pop(p, None)

    def state(self, group: int) -> list[dict[str, Tensor]]:
        """See the protocol."""
        return group_state(self._optimizer, self._groups[group])

    def load_state(self, group: int, state: Sequence[Mapping[str, Tensor]]) -> None:
        """See the protocol."""
        put_state(self._optimizer, self._groups[group], state)

    def close(self) -> None:
        """See the protocol."""
        for p in (p for g in self._groups for p in g):
            p.grad = None
