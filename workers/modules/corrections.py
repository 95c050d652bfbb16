"""What an operation's file defines: how its part of every θ is bound to layers, and how it corrects their outputs.

A batch holds K slices of b rows, [K·b, s, d]; slice i is corrected by trial ``active[i]`` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from trials.modules.positions import OpLayout


@dataclass(eq=False)
class Layer:
    """A touched layer of the backbone.

    Args:
        width: of its output.
        columns: of a fused layer, where each site's output lies, by site index.
    """

    module: nn.Module
    width: int
    columns: dict[int, Tensor] = field(default_factory=dict)


class Operation(ABC):
    """One operation in one pack: of all its trials, on all their layers.

    Args:
        parts: what each trial of the pack trains by it; None: nothing.
        layers: the touched layers, by site index; the site ``soft_tokens`` stands at none.
        device: where the backbone lies.
    """

    reads_output: ClassVar[bool] = False
    """Whether it reads the layer's frozen output. Those that do come first, and never write into a tensor that they
    get; the others may."""

    @abstractmethod
    def __init__(self, parts: Sequence[OpLayout | None], layers: Mapping[int, Layer], device: torch.device) -> None: ...

    @abstractmethod
    def sizes(self, trial: int) -> list[int]:
        """Lengths of the pieces that it wants a trial's part of θ split into: their sum is the part's count."""

    @abstractmethod
    def bind(self, active: Sequence[int], pieces_K: Sequence[Sequence[Tensor]]) -> None:
        """Take θ as it is now into the next forward passes, in place of what was bound.

        Args:
            active: the trial of every slice.
            pieces_K: of every slice, as :meth:`sizes` says.
        """

    @abstractmethod
    def clear(self) -> None:
        """Let go of what is bound."""

    @abstractmethod
    def onto(self, layer: Layer, y: Tensor, x: Tensor, f: Tensor) -> Tensor:
        """A layer's output with the corrections of all slices; ``y`` itself where nothing is bound to the layer.

        Args:
            y: [K·b, s, width] the output, with the corrections that came before.
            x: [K·b, s, d_in] the layer's input.
            f: [K·b, s, width] the frozen output; whole only for operations that read it.
        """

    def prompts(self) -> Mapping[int, Tensor]:
        """The soft tokens that are bound, [n, d_model] by slice."""
        return {}


def by_slice(x: Tensor, k: int) -> Tensor:
    """[K·b, …] → [K, b, …]."""
    return x.view(k, -1, *x.shape[1:])


def slices(x: Tensor, k: int) -> tuple[Tensor, ...]:
    """[K·b, …] → K of [b, …]. One alone is a view, not unbound: backward would copy it.

    Alone as in a pack, what flows back into a slice is added up before it joins what other operations give: three
    gradients summed in another order are other bits.
    """
    return by_slice(x, k).unbind(0) if k > 1 else (x.view_as(x),)
