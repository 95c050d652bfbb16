"""DeepSpeed, stage 0, one process: the engine that gangs and ZeRO build on.

Facts measured on 0.19: the trainable set is fixed at ``initialize``; a client optimiser keeps one group a trial;
``gradient_clipping`` stays 0, for clipping is per trial; ``engine.destroy()`` before the next ``initialize`` on the
same backbone. Where any gradient isn't finite most stages skip the whole step in silence, every trial's: a hook on
each tensor puts zeros there before DeepSpeed sees it, and marks the trial. On CPU its shared-memory operator would be
compiled at the first start (a minute, and a compiler); one process has nothing to reduce, so it is left out.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from workers.engines.engine import Group
from workers.engines.whole import WholeTensors
from workers.gang.gang import ALONE, Gang


def _one_process_group() -> None:
    """A process group of one over a store in memory: no port, no file, no launcher."""
    import torch.distributed as dist

    if dist.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "gloo":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if backend == "gloo":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_SIZE="1")
    meeting = dist.HashStore()  # type: ignore[attr-defined]  # public, but not in torch's own list
    dist.init_process_group(backend, store=meeting, rank=0, world_size=1)
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)


class DeepSpeedEngine(WholeTensors):
    """See :class:`workers.engines.engine.Engine`."""

    name = "deepspeed"
    zero_stage: int | None = 0
    offload: bool | None = False

    def __init__(self, model: nn.Module, groups: Sequence[Group], gang: Gang = ALONE) -> None:
        super().__init__(groups, gang)
        self._bad: dict[nn.Parameter, Tensor] = {}  # of what is reached: in some pass its gradient wasn't finite
        pairs = [(p, self._watch(p)) for g in groups for p in g.params]
        self._hooks = [p.register_hook(hook) for p, hook in pairs]  # type: ignore[no-untyped-call]  # torch's own
        _one_process_group()
        import deepspeed

        self._engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=self._optimizer,
            dist_init_required=False,
            config={
                "train_batch_size": 1,
                "train_micro_batch_size_per_gpu": 1,
                "zero_optimization": {"stage": self.zero_stage},
                "zero_allow_untested_optimizer": True,
                "gradient_clipping": 0.0,
                "steps_per_print": 10**9,
            },
        )

    def losses(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the protocol."""
        losses: Tensor = self._engine(batch)
        return losses

    def backward(self, total: Tensor, last: bool = True) -> None:
        """See the protocol."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(total)

    def step(self) -> None:
        """See the protocol."""
        for p in (p for group in self._optimizer.param_groups for p in group["params"]):
            if p not in self._bad:
                p.grad = None  # DeepSpeed has put zeros there
        self._engine.step()
        self.reset()

    def reset(self) -> None:
        """See the protocol."""
        super().reset()
        self._bad.clear()

    def close(self) -> None:
        """See the protocol."""
        self._engine.destroy()
        self.reset()
        for hook in self._hooks:
            hook.remove()

    def _reached(self, group: int) -> list[nn.Parameter]:
        """By the hooks: DeepSpeed gives every tensor a gradient."""
        return [p for p in super()._reached(group) if p in self._bad]

    def _norms(self, groups: Sequence[int]) -> Tensor:
        """NaN where the hooks have put zeros."""
        bad = [self._bad[p].float() for group in groups for p in self._reached(group)]
        return super()._norms(groups).masked_fill(self._by_group(groups, bad).any(1), math.nan)

    def _watch(self, p: nn.Parameter) -> Callable[[Tensor], Tensor]:
        """The hook on a tensor; it waits for no device."""

        def zeros_where_not_finite(gradient: Tensor) -> Tensor:
            bad = ~gradient.isfinite().all()
            self._bad[p] = self._bad[p] | bad if p in self._bad else bad
            return gradient.masked_fill(bad, 0.0)

        return zeros_where_not_finite
