"""The contract of an engine, which alone reads and changes values, gradients and moments while a pack trains."""

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
    """One step of AdamW over K groups (β 0.9, 0.999, no decay); each group has its own rate and step count.

    Attributes:
        name: ``plain`` or ``deepspeed``.
        zero_stage: DeepSpeed's stage that it runs, None where there is none.
        offload: whether weights and moments lie in the machine's memory, None where that can't be.
    """

    name: str
    zero_stage: int | None
    offload: bool | None

    def losses(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Forward pass: [K] losses of the active slices."""

    def backward(self, total: Tensor, last: bool = True) -> None:
        """Add the gradients of the summed loss; ``last`` is False while more of the same step follows."""

    def step(self) -> None:
        """Move every group that has gradients, then forget the gradients."""

    def groups(self) -> list[list[nn.Parameter]]:
        """The optimiser's own groups: the trained tensors are counted here."""

    def drop(self, group: int) -> None:
        """A trial has ended: its tensors move no more."""

    def state(self, group: int) -> list[dict[str, Tensor]]:
        """The optimiser's state of one group, a dict a tensor: step, exp_avg, exp_avg_sq."""

    def load_state(self, group: int, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Put back what :meth:`state` gave."""

    def close(self) -> None:
        """Leave the model as it was found, ready for another engine."""
