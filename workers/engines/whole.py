"""The half of an engine that reads and changes tensors, where each lies whole in one process.

Plain PyTorch and DeepSpeed's stage 0 share it; a stage that shards tensors has another half, which gathers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from workers.engines.adamw import AdamW, passes
from workers.engines.engine import Group
from workers.gang.gang import Gang


class WholeTensors:
    """See :class:`workers.engines.engine.Engine`, whose methods these are.

    Args:
        groups: what the trials train.
        gang: the ranks that train them together, each with its own rows.
    """

    def __init__(self, groups: Sequence[Group], gang: Gang) -> None:
        self._optimizer = AdamW(groups)
        self._gang, self.ranks = gang, gang.ranks

    @torch.no_grad()
    def reduce(self, losses_K: Tensor) -> Tensor:
        """See the protocol; in pieces, so that no second copy of all gradients of a backbone is made."""
        groups = range(len(self._optimizer.param_groups))
        gradients = [p.grad for group in groups for p in self._reached(group) if p.grad is not None]
        for piece in passes([losses_K, *gradients], Tensor.numel):
            self._gang.sum(piece)
        return losses_K

    @torch.no_grad()
    def clip(self, groups: Sequence[int], limit: float) -> Tensor:
        """See the protocol."""
        norms_K = self._norms(groups)
        factors = (limit / (norms_K + 1e-6)).clamp(max=1.0).unbind()
        diverged = norms_K.isfinite().logical_not().unbind()
        for group, factor, bad in zip(groups, factors, diverged, strict=True):
            for p in self._reached(group):
                assert p.grad is not None
                p.grad.mul_(factor).masked_fill_(bad, 0.0)
        return norms_K

    def _norms(self, groups: Sequence[int]) -> Tensor:
        """[K] norms of whole groups' gradients, as :func:`torch.nn.utils.clip_grad_norm_` has them, to the bit."""
        gradients = [p.grad for group in groups for p in self._reached(group) if p.grad is not None]
        found = torch._foreach_norm(gradients) if gradients else ()
        norms: Tensor = torch.linalg.vector_norm(self._by_group(groups, found), dim=1)
        return norms

    def _by_group(self, groups: Sequence[int], values: Iterable[Tensor]) -> Tensor:
        """A number of each tensor that is reached, [K, m], with zeros behind those of groups of fewer tensors."""
        each = iter(values)
        rows = [[next(each) for _ in self._reached(group)] for group in groups]
        none = torch.zeros((), device=self._params(groups[0])[0].device)
        longest = max(1, *map(len, rows))
        return torch.stack([x for row in rows for x in (*row, *[none] * (longest - len(row)))]).view(len(rows), longest)

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
        states = [self._optimizer.state.get(p, {}) for p in self._params(group)]
        return [{name: torch.as_tensor(x).float().clone() for name, x in state.items()} for state in states]

    def load_state(self, group: int, state: Sequence[Mapping[str, Tensor]]) -> None:
        """See the protocol."""
        for p, values in zip(self._params(group), state, strict=True):
            if values:
                moments = {k: x.to(p.device, copy=True) for k, x in values.items() if k != "step"}
                self._optimizer.state[p] = {"step": int(values["step"]), **moments}

    def _params(self, group: int) -> list[nn.Parameter]:
        """The tensors of a group, read from the optimiser."""
        params: list[nn.Parameter] = self._optimizer.param_groups[group]["params"]
        return params

    def _reached(self, group: int) -> list[nn.Parameter]:
        """Those of them that have a gradient."""
        return [p for p in self._params(group) if p.grad is not None]
