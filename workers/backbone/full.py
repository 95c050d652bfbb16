"""Full fine-tuning trains the backbone's own weights, and leaves a warm worker's backbone bit for bit as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: nn.Module) -> tuple[int, ...]:
    """Two position-dependent sums over the bits of every parameter, computed where it lies.

    A changed, moved or swapped scalar changes it; it is no defence against forgery, and takes a fraction of the
    time of a cryptographic digest, so that it can be compared after every pack.
    """
    sums: list[int] = []
    for p in model.parameters():
        bits = p.detach().contiguous().view(_BITS[p.element_size()]).flatten().to(torch.int64)
        place = torch.arange(1, bits.numel() + 1, device=bits.device)
        sums += [int(bits.sum()), int((bits * place).sum())]
    return tuple(sums)


@contextmanager
def trainable_backbone(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Give a frozen backbone's parameters for training; afterwards its weights are what they were, and frozen.

    They train in float32: bf16 has three digits, so that a step of 1e-5 would be lost on most weights. The copy lies
    on the CPU: one backbone of memory more while a ``full`` trial runs.
    """
    saved: dict[str, Tensor] = {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters()}
    for p in model.parameters():
        p.data = p.data.float()
        p.requires_grad_(True)
    try:
        yield list(model.parameters())
    finally:
        for name, p in model.named_parameters():
            p.grad = None
            p.requires_grad_(False)
            p.data = saved[name].to(p.device)
