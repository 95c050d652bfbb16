"""The contract of an engine, which alone reads and changes values, gradients and moments while a pack trains.

Under ZeRO a process holds a shard of a tensor, or of its gradient, and nobody but the engine can put it together: so
the training loop asks, and never looks at a tensor that trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Group:
    """What one trial trains: its tensors and its own learning rate."""

    params: Sequence[nn.Parameter]
    learning_rate: float


class Engine(Protocol):
    """Steps of AdamW over K groups (β 0.9, 0.999, no decay); each group has its own rate and step count.

    A group is named by its index. No gradient of one group ever touches another's step, not even one that isn't finite.

    Attributes:
        name: ``plain`` or ``deepspeed``.
        ranks: processes that hold the model together.
        zero_stage: DeepSpeed's stage that it runs, None where there is none.
        offload: whether weights and moments lie in the machine's memory, None where that can't be.
    """

    name: str
    ranks: int
    zero_stage: int | None
    offload: bool | None

    def losses(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Forward pass: [K] losses of the active slices."""

    def backward(self, total: Tensor, last: bool = True) -> None:
        """Add the gradients of the summed loss; ``last`` is False while more of the same step follows."""

    def reduce(self, losses_K: Tensor) -> Tensor:
        """Sum this step's losses, and the gradients of all groups, over the ranks, which had different rows.

        Called once a step by every rank, after its last backward pass; alone it changes nothing.
        """

    def clip(self, groups: Sequence[int], limit: float) -> Tensor:
        """Scale each group's gradients down to the norm ``limit``, and to zero where one of them isn't finite.

        Returns:
            [groups] norms before, NaN or ∞ where a gradient isn't finite; they lie where the gradients do, and
            nothing has waited for them.
        """

    def step(self) -> None:
        """Move every group that has gradients, then forget the gradients."""

    def reset(self) -> None:
        """Forget the gradients of a step that isn't finished."""

    def count(self, group: int, reached: bool = True) -> int:
        """Scalars of a group as the optimiser holds it: those that the backward pass has reached, or all."""

    def values(self, group: int) -> list[Tensor]:
        """Whole copies of a group's tensors, in its order."""

    def set_values(self, group: int, values: Sequence[Tensor]) -> None:
        """Put back what :meth:`values` gave, from any device; a group that was dropped takes values too."""

    def drop(self, group: int) -> None:
        """A trial has ended: its tensors move no more, and its moments are let go."""

    def state(self, group: int) -> list[dict[str, Tensor]]:
        """Whole copies of the optimiser's state of a group, a dict a tensor: step, exp_avg, exp_avg_sq.

        Empty dicts before the first step.
        """

    def load_state(self, group: int, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Put back what :meth:`state` gave, from any device."""

    def close(self) -> None:
        """Leave the model as it was found, ready for another engine."""
