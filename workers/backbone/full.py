"""Full fine-tuning trains the backbone's own weights, and leaves a warm worker's backbone bit for bit as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Fingerprint = tuple[int, ...]
CHUNK = 2**20  # scalars at a time: 8 MiB of int64, on any model
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_MODULUS = 2**64  # sums wrap round there


def fingerprint(model: nn.Module) -> Fingerprint:
    """Two position-dependent sums over the bits of every parameter, computed where it lies.

    A changed, moved or swapped scalar changes it; it is no defence against forgery, and takes a fraction of the
    time of a cryptographic digest, so that it can be compared after every pack.
    """
    return _read([_sums(p, 0) for p in model.parameters()])


def shard_fingerprint(shard: Tensor, start: int) -> Fingerprint:
    """The same of a part of one parameter, which begins at its scalar ``start``; see :func:`joined`."""
    return _read([_sums(shard, start)])


def joined(parts: Iterable[Fingerprint]) -> Fingerprint:
    """The fingerprint of the whole from those of its parts, in any order."""
    return tuple(sum(values) % _MODULUS for values in zip(*parts, strict=True))


def _sums(tensor: Tensor, start: int) -> Tensor:
    """int64 [2]: Σ bits and Σ bits · (start + i), i from 1 on, modulo 2⁶⁴; waits for no device."""
    bits = tensor.detach().reshape(-1).view(_BITS[tensor.element_size()])
    sums = torch.zeros(2, dtype=torch.int64, device=bits.device)
    place = torch.arange(1, min(CHUNK, bits.numel()) + 1, device=bits.device)
    for chunk in torch.split(bits, CHUNK):
        total = chunk.sum(dtype=torch.int64)
        sums += torch.stack([total, (chunk * place[: chunk.numel()]).sum() + total * start])
        start += chunk.numel()
    return sums


def _read(sums: list[Tensor]) -> Fingerprint:
    """As Python's numbers, in one wait."""
    return tuple(int(value) % _MODULUS for value in torch.cat(sums).tolist()) if sums else ()


@contextmanager
def trainable_backbone(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Give a frozen backbone's parameters for training; afterwards its weights are what they were, and frozen.

    They train in float32: bf16 has three digits, so that a step of 1e-5 would be lost on most weights. The copy lies
    on the CPU: what this process holds of a backbone once more while a ``full`` trial runs.
    """
    params = list(model.parameters())
    held = [_held(p) for p in params]
    saved = [x.detach().to("cpu", copy=True) for x in held]
    try:
        for p, x in zip(params, held, strict=True):
            x.data = x.data.float()
            p.data = p.data.float()  # of one in shards nothing is there, and even that has a precision
            p.requires_grad_(True)
        yield list(params)  # a head is added to it
    finally:
        for p, x, was in zip(params, held, saved, strict=True):
            p.grad = None
            p.requires_grad_(False)
            x.data = was.to(x.device)
            if x is not p:
                p.data = p.data.to(was.dtype)


def _held(parameter: nn.Parameter) -> Tensor:
    """What this process has of a parameter: all of it, or its shard, beside which nothing stays gathered."""
    p: Any = parameter
    if not hasattr(p, "ds_tensor"):
        return parameter
    p.partition()
    shard: Tensor = p.ds_tensor
    return shard
