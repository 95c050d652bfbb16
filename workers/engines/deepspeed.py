"""DeepSpeed's stages 0 and 3, for modules: what it shares is the frozen backbone, and a step is our own.

Stage 0 is the whole backbone on every rank. At stage 3 it is in shards (``workers.backbone.sharded``), set up once a
backbone: a pack makes no engine of DeepSpeed's, and DeepSpeed sees no gradient, so that it can skip, scale or average
none. Of modules, which are whole on every rank, stages 1 and 2 would share kilobytes: they run as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from workers.backbone.sharded import Shards
from workers.engines.engine import Group
from workers.engines.plain import PlainEngine
from workers.gang.gang import ALONE, Gang


class DeepSpeedEngine(PlainEngine):
    """See :class:`workers.engines.engine.Engine`."""

    name = "deepspeed"

    def __init__(self, model: nn.Module, groups: Sequence[Group], gang: Gang = ALONE) -> None:
        super().__init__(model, groups, gang)
        self._shards: Shards | None = getattr(model, "shards", None)
        self.zero_stage = 0 if self._shards is None else 3
        self.offload = self._shards is not None and self._shards.offload

    def backward(self, total: Tensor, last: bool = True) -> None:
        """See the protocol."""
        super().backward(total, last)
        if self._shards is not None:
            self._shards.rest()
