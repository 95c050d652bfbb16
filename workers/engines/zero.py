"""All weights train, shared by ranks: ``full`` on DeepSpeed's ZeRO, stages 1 to 3.

The weights are float32, so they are the master weights; where the backbone is bf16, what they multiply is
(``PackModel``). Each rank has its own rows. The loss of the whole batch is the sum of the ranks' shares, and DeepSpeed
takes the mean over ranks of what they give it, so a share is given as often as there are ranks. AdamW is our own, on
each rank's shards.

DeepSpeed 0.19 skips a step in silence where a gradient isn't finite. It sees none: a hook puts zeros there and notes
it, and :meth:`ZeroEngine.clip` tells all ranks. Ranks wait for each other inside a pass, so a pass that raises can't be
taken again: its gang is at its end.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from workers.backbone.sharded import weights_named
from workers.engines.adamw import AdamW
from workers.engines.engine import Group
from workers.engines.lent import lent
from workers.engines.shards import Shards, shards_of
from workers.gang.deepspeed import connected
from workers.gang.gang import Gang

BUCKET = 5 * 10**7  # scalars that go between ranks at once: 200 MB
LIVE = 10**8  # scalars gathered at stage 3 before they are needed at most: 400 MB
PRECISE = 2**16  # scalars whose squares are added up in a row: of a whole shard's, rounding took the fifth digit
SMALL = 10**5  # scalars of a tensor that stage 3 keeps whole on every rank between steps: biases, norms, a head


class ZeroEngine:
    """See :class:`workers.engines.engine.Engine`; its one group has all of the model's parameters.

    What :meth:`values` and :meth:`state` give are this rank's shards, in the machine's memory. Nobody else can read
    them, and nobody needs to: ``full`` has neither checkpoints nor a file.

    Args:
        model: its weights are float32, whole or in DeepSpeed's shards already.
        groups: one.
        gang: the ranks that train it.
        stage: 1: moments are shared, 2: gradients too, 3: weights too.
        offload: whether the shards of moments and gradients, and at stage 3 of weights, lie in the machine's memory.
    """

    name = "deepspeed"

    def __init__(self, model: nn.Module, groups: Sequence[Group], gang: Gang, stage: int, offload: bool) -> None:
        (group,) = groups
        self.ranks = gang.ranks
        self.zero_stage: int | None = stage
        self.offload: bool | None = offload
        self._gang, self._device = gang, group.params[0].device
        self._sizes = {p: getattr(p, "ds_numel", p.numel()) for p in group.params}  # at stage 3 seen now or never
        self._bad: dict[nn.Parameter, Tensor] = {}  # of what is reached: in some pass its gradient wasn't finite
        self._adamw = AdamW(groups)
        self._undo = ExitStack()
        with ExitStack() as undo:
            undo.enter_context(lent(model))
            for p in group.params:
                undo.callback(p.register_hook(self._watch(p)).remove)  # type: ignore[no-untyped-call]  # torch's own
            self._engine: Any = _initialized(model, self._adamw, self._device, stage, offload)
            self._shards: Shards = shards_of(self._engine.optimizer, stage, offload)
            self._undo = undo.pop_all()

    def losses(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the protocol."""
        with weights_named() if self.zero_stage == 3 else nullcontext():
            losses: Tensor = self._engine(batch)
        return losses

    def backward(self, total: Tensor, last: bool = True) -> None:
        """See the protocol."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(total * self.ranks)

    def reduce(self, losses_K: Tensor) -> Tensor:
        """See the protocol; of the gradients DeepSpeed has done it."""
        self._gang.sum([losses_K])
        return losses_K

    @torch.no_grad()
    def clip(self, groups: Sequence[int], limit: float) -> Tensor:
        """See the protocol: the norm is that of the whole gradient, on every rank."""
        gradients = self._shards.gradients()
        pieces = [piece for gradient in gradients for piece in torch.split(gradient.flatten(), PRECISE)]
        squares = torch.stack(torch._foreach_norm(pieces)).square().sum().to(self._device)
        bad = torch.stack(list(self._bad.values())).any()
        found = torch.stack([squares, bad.float()])
        self._gang.sum([found])
        norm = found[0].sqrt().masked_fill(found[1] > 0, math.nan)
        factor, diverged = (limit / (norm + 1e-6)).clamp(max=1.0), norm.isfinite().logical_not()
        for gradient in gradients:
            gradient.mul_(factor.to(gradient.device)).masked_fill_(diverged.to(gradient.device), 0.0)
        return norm[None]

    def step(self) -> None:
        """See the protocol."""
        self._shards.trust_gradients()
        self._engine.step()
        self._bad.clear()

    def reset(self) -> None:
        """See the protocol."""
        self._shards.forget_gradients()
        self._bad.clear()

    def count(self, group: int, reached: bool = True) -> int:
        """See the protocol: whole tensors, whoever holds what of them."""
        return sum(size for p, size in self._sizes.items() if p in self._bad or not reached)

    def values(self, group: int) -> list[Tensor]:
        """See the class."""
        return [shard.detach().to("cpu", copy=True) for shard in self._shards.weights()]

    @torch.no_grad()
    def set_values(self, group: int, values: Sequence[Tensor]) -> None:
        """See the protocol; every rank calls it."""
        for shard, value in zip(self._shards.weights(), values, strict=True):
            assert shard.shape == value.shape, f"a value of shape {tuple(value.shape)} for a shard {tuple(shard.shape)}"
            shard.copy_(value)
        self._shards.show_weights()

    def drop(self, group: int) -> None:
        """See the protocol."""
        self.reset()
        self._adamw.state.clear()
        for p in self._sizes:
            p._hp_mapping = None  # type: ignore[attr-defined]  # DeepSpeed's, of views of the moments

    def state(self, group: int) -> list[dict[str, Tensor]]:
        """See the class."""
        states = [self._adamw.state.get(shard, {}) for shard in self._shards.weights()]
        return [{k: torch.as_tensor(x).float().to("cpu", copy=True) for k, x in state.items()} for state in states]

    def load_state(self, group: int, state: Sequence[Mapping[str, Tensor]]) -> None:
        """See the protocol."""
        for shard, values in zip(self._shards.weights(), state, strict=True):
            if values:
                moments = {k: x.to(shard.device, copy=True) for k, x in values.items() if k != "step"}
                self._adamw.state[shard] = {"step": int(values["step"]), **moments}

    def close(self) -> None:
        """See the protocol; the weights' values stay what they became, for ``trainable_backbone`` to put back."""
        self._shards.release()
        self._engine.destroy()
        self._undo.close()
        del self._engine, self._shards
        self._bad.clear()
        self._sizes.clear()
        gc.collect()  # DeepSpeed's objects hold each other, and all of the moments

    def _watch(self, p: nn.Parameter) -> Callable[[Tensor], Tensor]:
        """The hook on a tensor; it waits for no device."""

        def zeros_where_not_finite(gradient: Tensor) -> Tensor:
            bad = ~gradient.isfinite().all()
            self._bad[p] = self._bad[p] | bad if p in self._bad else bad
            return gradient.masked_fill(bad, 0.0)

        return zeros_where_not_finite


def _initialized(model: nn.Module, adamw: AdamW, device: torch.device, stage: int, offload: bool) -> Any:
    """DeepSpeed's engine over the process group that is there."""
    lists = [x for x in model.modules() if isinstance(x, nn.ParameterList)]
    assert all(p.numel() <= SMALL for x in lists for p in x), "a list has no pass before which it would be gathered"
    memory = {"device": "cpu", "pin_memory": device.type == "cuda"}
    shared = {
        "stage": stage,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
        "stage3_prefetch_bucket_size": min(BUCKET, LIVE),
        "stage3_max_live_parameters": LIVE,
        "stage3_max_reuse_distance": LIVE,
        "stage3_param_persistence_threshold": SMALL,
        "memory_efficient_linear": False,  # it would change every linear layer of the process, and for good
        **({"offload_optimizer": memory} if offload else {}),
        **({"offload_param": memory} if offload and stage == 3 else {}),
    }
    engine, *_ = connected(device).initialize(
        model=model,
        optimizer=adamw,
        dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "zero_optimization": shared,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,  # theirs needs a compiler
            "gradient_clipping": 0.0,
            "steps_per_print": 10**9,
        },
    )
    return engine
