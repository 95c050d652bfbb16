"""Step time, share of the peak and memory of a trial alone, each method beside PEFT's LoRA and the bare backbone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpu.flops import executed
from gpu.laps import STEP, held, in_turns, warmed
from gpu.stepping import BACKWARD, FORWARD, UPDATE, Steps, bare, ours, theirs
from gpu.subjects import TARGETS, batch, planned
from trials.modules.depth import lowest_block
from trials.modules.positions import layout
from trials.trial import Trial

if TYPE_CHECKING:
    from gpu.bench import Bench, Warm

METHODS = ("apet", "lora", "adapter")
PEFT, BARE = "peft", "bare"
Times = Mapping[str, Sequence[Mapping[str, float]]]


def run(bench: Bench, backbone: str) -> Iterator[dict[str, Any]]:
    """Length by length, the goal's first."""
    warm = bench.warm(backbone)
    for length in bench.sizes.lengths:
        yield from _at(bench, warm, length)
        bench.let_go(but=backbone)


def _at(bench: Bench, warm: Warm, length: int) -> Iterator[dict[str, Any]]:
    trials = {method: warm.trial(method, length) for method in METHODS}
    common = {"backbone": warm.ref.name, "rows": bench.sizes.rows, "length": length}
    plans = {method: planned(one, 1, bench.card_bytes) for method, one in trials.items()}
    for method, plan in plans.items():
        yield {"predicted": True, **common, "method": method, "planned_bytes": plan}
    tensors, bb = batch(warm.ref.family, bench.sizes.rows, length, bench.device), warm.backbone
    steps: dict[str, Steps] = {}
    peaks = {}
    for method, one in trials.items():
        others = held(bench.device) - warm.weights_bytes
        steps[method] = ours(bb, [one], tensors)
        peaks[method] = warmed(steps[method], bench.device, others)
    steps[PEFT] = theirs(bb, trials["lora"], tensors)
    steps[BARE] = bare(bb, layout(trials["lora"], values=False), tensors)
    for name in (PEFT, BARE):
        warmed(steps[name], bench.device)
    took = in_turns(steps, bench.device, bench.sizes.repetitions)
    for method, one in trials.items():
        work = _work(one, bench.sizes.rows, length)
        yield {
            **common,
            "method": method,
            "count": layout(one, values=False).count,
            "passes": steps[method].passes,
            "peft_passes": steps[PEFT].passes,
            **compared(took, method),
            "flop": work,
            "share_of_peak": share(took[method], work, bench.flop_s),
            "bare_share_of_peak": share(took[BARE], _work(trials["lora"], bench.sizes.rows, length), bench.flop_s),
            **(bench.memory(peaks[method], plans[method]) if steps[method].passes == 1 else {}),
        }


def _work(one: Trial, rows: int, length: int) -> int:
    ref = one.backbone
    targets = 1 if ref.family == "bert" else TARGETS
    return executed(ref.family, ref.shape, rows, length, targets, lowest_block(one))


def compared(took: Times, name: str, times: int = 1) -> dict[str, float]:
    """Medians in milliseconds, and against so many steps of PEFT's, repetition by repetition.

    The spread is half the distance between the quartiles of that ratio.
    """
    ratios = [a[STEP] / (times * b[STEP]) for a, b in zip(took[name], took[PEFT], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
    return {
        **{f"{lap}_ms": ms(took[name], lap) for lap in (STEP, FORWARD, BACKWARD, UPDATE)},
        "peft_ms": ms(took[PEFT]),
        "ours_to_peft": round(statistics.median(ratios), 4),
        "spread": round((high - low) / 2, 4),
        **({"bare_ms": ms(took[BARE])} if BARE in took else {}),
    }


def share(took: Sequence[Mapping[str, float]], work: float, flop_s: float) -> float:
    """Of the peak, while the gradients are computed: forward and back."""
    seconds = statistics.median(laps[FORWARD] + laps[BACKWARD] for laps in took)
    return round(work / seconds / flop_s, 6)


def ms(took: Sequence[Mapping[str, float]], lap: str = STEP) -> float:
    """The median in milliseconds."""
    return round(1000 * statistics.median(laps[lap] for laps in took), 3)
