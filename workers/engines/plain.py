"""Plain PyTorch: no compiler, and a process group only where ranks add up their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from workers.engines.engine import Group
from workers.engines.whole import WholeTensors
from workers.gang.gang import ALONE, Gang


class PlainEngine(WholeTensors):
    """See :class:`workers.engines.engine.Engine`."""

    name = "plain"
    zero_stage: int | None = None
    offload: bool | None = None

    def __init__(self, model: nn.Module, groups: Sequence[Group], gang: Gang = ALONE) -> None:
        super().__init__(groups, gang)
        self._model = model

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
        self.reset()

    def close(self) -> None:
        """See the protocol."""
        self.reset()
