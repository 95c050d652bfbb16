"""The card's peak that shares are of: products of two square matrices, as large as they are fast, of numbers that vary.

Products of zeros draw less power, and so run faster than any that a model needs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from gpu.laps import Laps

if TYPE_CHECKING:
    from gpu.bench import Bench

AT_ONCE, TIMES = 10, 7  # products of one measurement, and measurements


def run(bench: Bench, backbone: str) -> Iterator[dict[str, Any]]:
    """Operations a second."""
    yield {"side": bench.sizes.side, "tflop_s": round(bench.flop_s / 1e12, 4)}


def measure(side: int, device: str) -> float:
    """Operations a second of products of two ``side`` x ``side`` matrices in bf16, the median of several times."""
    wave = torch.arange(side * side, device=device).view(side, side)
    a, b = ((wave * factor % 509 / 254 - 1).to(torch.bfloat16) for factor in (37, 61))
    out = torch.empty_like(a)
    took = []
    for _ in range(TIMES):
        laps = Laps(device)
        for _ in range(AT_ONCE):
            torch.mm(a, b, out=out)
        laps.mark("")
        took.append(laps.read()["step"])
    return 2.0 * side**3 * AT_ONCE / statistics.median(took[1:])
