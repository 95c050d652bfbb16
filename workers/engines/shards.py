"""What a rank holds of weights and gradients in DeepSpeed's optimisers, which name it differently at each stage.

Only this file knows their inner names (DeepSpeed 0.19: ``runtime/zero/stage_1_and_2.py``, ``stage3.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from workers.backbone.sharded import settle


class Shards(Protocol):
    """This rank's part of all that trains; over the ranks every scalar is there once, and some padding of zeros."""

    def weights(self) -> Sequence[Tensor]:
        """Float32 tensors, which the optimiser moves, and whose moments it holds."""

    def gradients(self) -> Sequence[Tensor]:
        """The gradients' sum over all passes and ranks, to be changed in place before the step."""

    def show_weights(self) -> None:
        """Let all ranks' passes see what :meth:`weights` was changed to."""

    def trust_gradients(self) -> None:
        """Forget what was noted of gradients before they were changed: DeepSpeed would skip the step by it."""

    def forget_gradients(self) -> None:
        """As before the first pass of a step."""

    def release(self) -> None:
        """Hold no more than this part."""


def shards_of(optimizer: Any, stage: int, offload: bool) -> Shards:
    """Those of DeepSpeed's optimiser of a stage, 1 to 3."""
    return _OfWeights(optimizer, offload) if stage == 3 else _OfMoments(optimizer, offload)


class _OfMoments:
    """Stages 1 and 2: weights are whole on every rank, each of which moves its part and gives it to the others."""

    def __init__(self, optimizer: Any, offload: bool) -> None:
        self._optimizer, self._offload = optimizer, offload

    def weights(self) -> Sequence[Tensor]:
        shards: Sequence[Tensor] = self._optimizer.single_partition_of_fp32_groups
        return shards

    def gradients(self) -> Sequence[Tensor]:
        self._optimizer._wait_for_offload_copies()  # until then some are still on their way from the card
        return _gradients(self.weights(), self._optimizer.averaged_gradients, self._offload)

    def show_weights(self) -> None:
        self._optimizer.update_lp_params()

    def trust_gradients(self) -> None:
        if self._offload:
            self._optimizer.reset_cpu_buffers()

    def forget_gradients(self) -> None:
        self._optimizer.zero_grad()
        self._optimizer.micro_step_id = -1
        self._optimizer.averaged_gradients.clear()
        self._optimizer.all_grad_tensors.clear()
        self.trust_gradients()

    def release(self) -> None:
        self.forget_gradients()


class _OfWeights:
    """Stage 3: weights too are shared, and gathered layer by layer in every pass; small ones stay between passes."""

    def __init__(self, optimizer: Any, offload: bool) -> None:
        self._optimizer, self._offload = optimizer, offload
        self._gather_small()

    def weights(self) -> Sequence[Tensor]:
        shards: Sequence[Tensor] = self._optimizer.fp32_partitioned_groups_flat
        return shards

    def gradients(self) -> Sequence[Tensor]:
        return _gradients(self.weights(), self._optimizer.averaged_gradients, self._offload)

    def show_weights(self) -> None:
        self.release()
        for part in range(len(self.weights())):
            self._optimizer._reassign_or_swap_out_partitioned_parameters(part)
        self._gather_small()

    def trust_gradients(self) -> None:
        if self._offload:
            self._optimizer.reset_cpu_buffers()

    def forget_gradients(self) -> None:
        self._optimizer.zero_grad()
        self._optimizer.averaged_gradients.clear()
        self.trust_gradients()

    def release(self) -> None:
        model = self._optimizer.module
        settle(model.parameters(), model.ds_inflight_param_registry)
        self._optimizer._partition_all_parameters()

    def _gather_small(self) -> None:
        """What is small is there before a pass: a trained head stands in no layer that would gather it."""
        small = self._optimizer.persistent_parameters
        if small:
            small[0].all_gather(small)


def _gradients(weights: Sequence[Tensor], found: dict[int, Sequence[Tensor]], offload: bool) -> list[Tensor]:
    """Of moments in the machine's memory the gradients lie beside the weights, of others where passes have put them."""
    if offload:
        return [x.grad for x in weights if x.grad is not None]
    return [x for part in found.values() for x in part]
