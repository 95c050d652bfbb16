"""The half of an engine that reads and changes tensors, where each lies whole in one process.

Plain PyTorch and DeepSpeed's stage 0 share it; a stage that shards tensors has another half, which gathers.
"""

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


class WholeTensors:
    """See :class:`workers.engines.engine.Engine`, whose methods these are.

    Args:
        groups: what the trials train.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._optimizer = adamw(groups)

    def clip(self, group: int, limit: float) -> float:
        """See the protocol."""
        return float(torch.nn.utils.clip_grad_norm_(self._reached(group), limit))

    def reset(self) -> None:
        """See the protocol."""
        self._optimizer.zero_grad(set_to_none=True)

    def count(self, group: int, reached: bool = True) -> int:
        """See the protocol."""
        return sum(p.numel() for p in (self._reached(group) if reached else self._params(group)))

    def values(self, group: int) -> list[Tensor]:
        """See the protocol."""
        return [p.detach().clone() for p in self._params(group)]

    @torch.no_grad()
    def set_values(self, group: int, values: Sequence[Tensor]) -> None:
        """See the protocol."""
        for p, value in zip(self._params(group), values, strict=True):
            assert p.shape == value.shape, f"a value of shape {tuple(value.shape)} for a tensor {tuple(p.shape)}"
            p.copy_(value)

    def drop(self, group: int) -> None:
        """See the protocol."""
        for p in self._params(group):
            p.grad = None
            p.requires_grad_(False)
            self._optimizer.state.pop(p, None)

    def state(self, group: int) -> list[dict[str, Tensor]]:
        """See the protocol."""
        states = self._optimizer.state
        return [{k: v.detach().clone() for k, v in states.get(p, {}).items()} for p in self._params(group)]

    def load_state(self, group: int, state: Sequence[Mapping[str, Tensor]]) -> None:
        """See the protocol."""
        for p, values in zip(self._params(group), state, strict=True):
            if values:  # AdamW counts steps on the CPU
                kept = {k: v.to("cpu" if k == "step" else p.device, copy=True) for k, v in values.items()}
                self._optimizer.state[p] = kept

    def _params(self, group: int) -> list[nn.Parameter]:
        """The tensors of a group, read from the optimiser."""
        params: list[nn.Parameter] = self._optimizer.param_groups[group]["params"]
        return params

    def _reached(self, group: int) -> list[nn.Parameter]:
        """Those of them that have a gradient."""
        return [p for p in self._params(group) if p.grad is not None]
