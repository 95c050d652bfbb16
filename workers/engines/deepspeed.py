"""DeepSpeed, stage 0, one process: the engine that gangs and ZeRO build on.

Facts measured on 0.19: the trainable set is fixed at ``initialize``; a client optimiser keeps one group a trial;
``gradient_clipping`` stays 0, for clipping is per trial; ``engine.destroy()`` before the next ``initialize`` on the
same backbone. On CPU its shared-memory operator would be compiled at the first start (a minute, and a compiler);
one process has nothing to reduce, so it is left out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from workers.engines.engine import Group
from workers.engines.plain import adamw, group_state, put_state


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


class DeepSpeedEngine:
    """See :class:`workers.engines.engine.Engine`."""

    name = "deepspeed"
    zero_stage: int | None = 0
    offload: bool | None = False

    def __init__(self, model: nn.Module, groups: Sequence[Group]) -> None:
        _one_process_group()
        import deepspeed

        self._groups = [list(g.params) for g in groups]
        self._optimizer = adamw(groups)
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
        self._engine.step()

    def groups(self) -> list[list[nn.Parameter]]:
        """See the protocol."""
        return [list(g["params"]) for g in self._engine.optimizer.param_groups]

    def drop(self, group: int) -> None:
        """See the protocol."""
        for p in self._groups[group]:
            p.grad = None
            p.requires_grad_(False)

    def state(self, group: int) -> list[dict[str, Tensor]]:
        """See the protocol."""
        return group_state(self._optimizer, self._groups[group])

    def load_state(self, group: int, state: Sequence[Mapping[str, Tensor]]) -> None:
        """See the protocol."""
        put_state(self._optimizer, self._groups[group], state)

    def close(self) -> None:
        """See the protocol."""
        self._engine.destroy()
        for p in (p for g in self._groups for p in g):
            p.grad = None
