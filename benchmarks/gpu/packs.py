"""What packs gain: a step of K trials against K steps of one, and against K steps of PEFT's LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gpu.laps import held, in_turns, warmed
from gpu.stepping import Steps, ours, theirs
from gpu.steps import PEFT, compared, ms
from gpu.subjects import batch, planned

if TYPE_CHECKING:
    from gpu.bench import Bench, Warm

METHODS = ("lora", "apet")  # on large backbones the latter alone
LARGE = ("t5-xxl", "bloom-7b1")


def run(bench: Bench, backbone: str) -> Iterator[dict[str, Any]]:
    """Method by method."""
    large = backbone in LARGE
    for method in METHODS[large:]:
        yield from _of(bench, bench.warm(backbone), method, bench.sizes.few if large else bench.sizes.many)
        bench.let_go(but=backbone)


def _of(bench: Bench, warm: Warm, method: str, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    rows, length = bench.sizes.rows, bench.sizes.lengths[-1]
    common = {"backbone": warm.ref.name, "method": method, "rows": rows, "length": length}
    trials = [warm.trial(method, nth=nth) for nth in range(sizes[-1])]
    plans = {k: planned(trials[0], k, bench.card_bytes) for k in sizes}
    yield {"predicted": True, **common, "planned_bytes": {str(k): plan for k, plan in plans.items()}}
    tensors, bb = batch(warm.ref.family, rows, length, bench.device), warm.backbone
    steps: dict[str, Steps] = {}
    ratios: dict[str, float | None] = {}
    for k in sizes:
        others = held(bench.device) - warm.weights_bytes
        pack = steps[str(k)] = ours(bb, trials[:k], tensors)
        peak = warmed(pack, bench.device, others)
        if pack.passes == 1:  # in portions it takes what there is
            ratios[str(k)] = bench.memory(peak, plans[k])["memory_ratio"]
    steps[PEFT] = theirs(bb, warm.trial("lora"), tensors)
    warmed(steps[PEFT], bench.device)
    took = in_turns(steps, bench.device, bench.sizes.repetitions)
    one, beside = ms(took["1"]), {str(k): compared(took, str(k), k) for k in sizes}
    worst = max(beside.values(), key=lambda of: of["ours_to_peft"])
    yield {
        **common,
        "step_ms": {str(k): ms(took[str(k)]) for k in sizes},
        "passes": {str(k): steps[str(k)].passes for k in sizes},
        **{f"pack_gain_{k}": gain(one, ms(took[str(k)]), k) for k in sizes[1:]},
        "peft_ms": ms(took[PEFT]),
        "ours_to_peft": worst["ours_to_peft"],
        "spread": worst["spread"],
        "ours_to_peft_by_size": {k: of["ours_to_peft"] for k, of in beside.items()},
        "memory_ratio": list(ratios.values())[-1],
        "memory_ratio_by_size": ratios,
    }


def gain(one_ms: float, pack_ms: float, k: int) -> float:
    """How many times as fast ``k`` trials are in a pack as one after another."""
    return round(k * one_ms / pack_ms, 3)
