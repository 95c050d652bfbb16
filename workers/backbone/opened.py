"""A backbone before its numbers: the model without storage, its tokenizer, and the tensors to come.

``Opened.on`` loads it whole. A gang opens the same, shards the model, and fills its shards from ``tensors``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trials.sources import tensors
from trials.trial import BackboneRef
from workers.backbone.source import TensorSource, each


@dataclass(frozen=True, eq=False)
class Found:
    """A model as read, and its tokenizer."""

    model: nn.Module
    tokenizer: Any


@dataclass(frozen=True, eq=False)
class Opened:
    """What loading needs, with nothing loaded.

    Args:
        ref: the backbone.
        model: on the meta device; its parameters are those of ``tensors``, and the tied ones.
        tokenizer: its tokenizer.
        tensors: where the numbers come from.
    """

    ref: BackboneRef
    model: nn.Module
    tokenizer: Any
    tensors: TensorSource

    def on(self, device: str | torch.device, dtype: torch.dtype) -> Found:
        """Load the model whole, tensor by tensor straight to its place; once, for the model is the same one.

        Raises:
            ApetError: a tensor can't be read, or has numbers that aren't finite in that precision.
        """
        for name, value in each(self.tensors, dtype, device):
            put(self.model, name, value)
        complete(self.model, self.ref, device)
        left = [n for n, value in [*self.model.named_parameters(), *self.model.named_buffers()] if value.is_meta]
        assert not left, f"tensors without values: {left}"
        return Found(self.model, self.tokenizer)


def put(model: nn.Module, name: str, value: Tensor) -> None:
    """Give a model a tensor, frozen, at a dotted name."""
    parent, _, leaf = name.rpartition(".")
    if not isinstance(value, nn.Parameter):
        value = nn.Parameter(value, requires_grad=False)
    setattr(model.get_submodule(parent), leaf, value)


def complete(model: nn.Module, ref: BackboneRef, device: str | torch.device = "cpu") -> None:
    """Tie what is tied, and give BERT its tables of positions and segments, which no file needs to hold."""
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for copy, source in tensors.TIED[ref.family].items():
        if copy in names and source in names:
            put(model, copy, model.get_parameter(source))
    for name, buffer in list(model.named_buffers()):
        parent, _, leaf = name.rpartition(".")
        assert leaf in ("position_ids", "token_type_ids"), f"a buffer that no file holds: {name}"
        length = buffer.shape[-1]
        value = torch.zeros(1, length, dtype=torch.long, device=device)
        if leaf == "position_ids":
            value += torch.arange(length, device=device)
        model.get_submodule(parent).register_buffer(leaf, value, persistent=False)
