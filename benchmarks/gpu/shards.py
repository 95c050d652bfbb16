"""A backbone in ZeRO's shards on one card, with the weights in the machine's memory: what a card too small would do.

Every pass copies the weights to the card, layer by layer, so that a step takes at least twice their size over the bus.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gpu.bench import Warm
from gpu.subjects import planned, subject

if TYPE_CHECKING:
    from gpu.bench import Bench


def run(bench: Bench, backbone: str) -> Iterator[dict[str, Any]]:
    """Loading, a step of one trial, memory against the plan."""
    bench.let_go()
    offload = bench.device == "cuda"  # a CPU's memory is the machine's
    warm = Warm(bench, subject(backbone, bench.tiny), "deepspeed", zero_stage=3, offload=offload)
    one = warm.trial("lora")
    common = {"backbone": warm.ref.name, "method": "lora", "zero_stage": 3, "offload": offload}
    plan = planned(one, 1, bench.card_bytes, zero_stage=3, offload=True)
    yield {"predicted": True, **common, "planned_bytes": plan}
    ran = warm.run([one])
    (row,) = ran.rows
    assert row["zero_stage"] == 3, f"it ran at stage {row['zero_stage']}"
    took = [b - a for a, b in pairwise(ran.steps)]
    yield {
        **common,
        "load_s": round(row["load_s"], 3),
        "worker_step_ms": round(1000 * statistics.median(took[1:] or took), 3),
        **bench.memory(row["peak_memory_bytes"], plan),
    }
    warm.close()
