"""Through the worker as the driver has it: loading to the device, then pack after pack on the warm backbone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gpu.laps import wait
from gpu.subjects import planned
from workers.backbone import drawn
from workers.backbone.load import digest

if TYPE_CHECKING:
    from gpu.bench import Bench

PACKS = 4  # one after another
SAMPLE = 2**27  # scalars by which the steps of loading are told apart


def run(bench: Bench, backbone: str) -> Iterator[dict[str, Any]]:
    """Seconds of loading, then from the end of a pack to the next one's first step."""
    warm, sample = bench.warm(backbone), SAMPLE >> (12 if bench.tiny else 0)
    trials = [warm.trial("apet", nth=nth) for nth in range(PACKS)]
    plan = planned(trials[0], 1, bench.card_bytes)
    yield {"predicted": True, "backbone": warm.ref.name, "method": "apet", "planned_bytes": plan}
    packs = [warm.run(trials[:1])]
    (row,) = packs[0].rows
    weights = warm.weights_bytes
    yield {
        "backbone": warm.ref.name,
        "weights_bytes": weights,
        "load_s": round(row["load_s"], 3),
        "load_gb_s": round(weights / row["load_s"] / 1e9, 3),
        "draw_gb_s": _draw_gb_s(sample, bench.device),
        "digest_gb_s": _digest_gb_s(sample, bench.device),
        **bench.memory(row["peak_memory_bytes"], plan),
    }
    packs += [warm.run([one]) for one in trials[1:]]
    begins = [b.steps[0] - a.ended for a, b in pairwise(packs)]
    done = [b.steps[1] - a.ended for a, b in pairwise(packs)]
    steps = [b - a for pack in packs[1:] for a, b in pairwise(pack.steps)]
    yield {
        "backbone": warm.ref.name,
        "engine": bench.engine,
        "next_pack_s": round(statistics.median(begins), 4),
        "next_pack_most_s": round(max(begins), 4),
        "next_pack_first_step_done_s": round(statistics.median(done), 4),
        "worker_step_ms": round(1000 * statistics.median(steps), 3),
    }


def _draw_gb_s(scalars: int, device: str) -> float:
    """Gigabytes of bf16 a second that are drawn."""
    out = torch.empty(scalars, dtype=torch.bfloat16, device=device)
    return _gb_s(out, lambda: drawn.uniform(out, 7, 0, 0.01), device)


def _digest_gb_s(scalars: int, device: str) -> float:
    """Gigabytes a second that are brought to the CPU and digested, which every load does once."""
    held = nn.ParameterList([nn.Parameter(torch.ones(scalars, dtype=torch.bfloat16, device=device), False)])
    return _gb_s(held[0], lambda: digest(held), device)


def _gb_s(of: torch.Tensor, work: Any, device: str) -> float:
    work()
    wait(device == "cuda")
    start = perf_counter()
    work()
    wait(device == "cuda")
    return round(of.nbytes / (perf_counter() - start) / 1e9, 3)
