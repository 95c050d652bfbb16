"""Step time and peak memory of our modules, each against the same function by PEFT, real biases or torch's layers.

    python benchmarks/modules.py [--family bert] [--method lora] [--repetitions 15]

One process, one model of random weights, the same batches, interleaved: every repetition times one step of ours, of
the opponent and of the floor, in turns, so that noise of the machine hits all three. The floor is the frozen model:
forward, and backward through activations alone down to the lowest touched layers. Goal: no slower than the opponent
in any row, ``add`` within 5 % of the floor. The last line is JSON: ``{"rows": [...]}``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from contenders import RATE, SHAPES, TALL, another, backbone_of, batch_of, floor, only_block, ours, theirs
from machine import print_header
from opponents import Opponent, biases, lora, peft_lora, plain, prompt
from torch import Tensor

from trials import backbones
from trials.modules import methods, sequences
from trials.modules.counts import capacity
from trials.modules.positions import Layout, layout
from trials.modules.sites import linear_kinds
from trials.trial import BackboneRef, Method, Source, TaskRef, Training, Trial
from workers import allocator
from workers.modules import padded

PACK, TOKENS = 4, 20  # trials of the extra row; tokens of the prompt, in the proportion of the study's 100 to the texts


@dataclass
class Row:
    """One comparison: medians in milliseconds, ratios as medians over repetitions, memory as peak of a step."""

    family: str
    method: str
    count: int
    ours_ms: float
    opponent_ms: float
    floor_ms: float
    ours_to_opponent: float
    ours_to_floor: float
    spread: float  # half the distance of the quartiles of ours / opponent
    ours_mib: float
    opponent_mib: float
    floor_mib: float


@dataclass
class Case:
    """A module of ours and what it is compared with."""

    method: str
    layout: Layout
    opponent: Callable[[Any, Layout], Opponent]


def trial_of(ref: BackboneRef, method: Method) -> Trial:
    """Any trial of a method."""
    task = TaskRef("rotten_tomatoes", Source("folder", "rotten_tomatoes", "0"))
    return Trial(ref, task, method, RATE, Training(1), position_seed=0 if method.name == "apet" else None)


def cases(ref: BackboneRef) -> Iterator[Case]:
    """The rows of one family."""

    def made(method: Method) -> Layout:
        return layout(trial_of(ref, method))

    def only(op: str, count: int, kinds: Sequence[str] | None = None) -> Layout:
        return made(methods.apet(ref.family, count, {op: 1}, {op: kinds} if kinds else None))

    yield Case("lora", made(methods.named("lora")), lambda b, x: lora(b, x, 8, 16.0))
    yield Case("prompt", made(methods.named("prompt", tokens=TOKENS)), lambda b, x: prompt(b, x, TOKENS))
    yield Case("adapter", made(methods.named("adapter")), plain)
    if ref.family == "t5":  # its norms have no place for a bias
        kinds = linear_kinds("t5")
        yield Case("bitfit", only("add", capacity(ref, ["add"], {"add": kinds})["add"], kinds), biases)
    else:
        yield Case("bitfit", made(methods.named("bitfit")), biases)
    most = capacity(ref, ["add"], {"add": methods.apet(ref.family, 1, {"add": 1}).sites["add"]})["add"]
    for count in (1, 1000, most):
        yield Case("add", only("add", count), biases)
    yield Case("plug", only("plug", 100 * (2 * ref.shape.d_model + 1)), plain)
    for count in (4000, 40_000):
        rank = next(r for r in range(1, 99) if (methods.count_of(methods.named("lora", rank=r), ref) or 0) >= count)
        yield Case("apet", made(methods.apet(ref.family, count)), lambda b, x, rank=rank: peft_lora(b, x, rank))


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def times(contenders: Sequence[Callable[[], None]], args: argparse.Namespace) -> list[list[float]]:
    """Milliseconds of every contender in every repetition, in turns: [contenders, repetitions]."""
    clock = CLOCKS[args.clock]
    for step in contenders:
        step()
    took: list[list[float]] = [[] for _ in contenders]
    for i in range(args.repetitions):
        for j in range(len(contenders)):
            which = (i + j) % len(contenders)
            _wait()
            start = clock()
            contenders[which]()
            _wait()
            took[which].append(1000 * (clock() - start))
    return took


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mib(step: Callable[[], None]) -> float:
    """The most that one step holds beyond what lies there before it, by the allocator's own account."""
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20


def compare(backbone: Any, case: Case, batch: dict[str, Tensor], args: argparse.Namespace) -> Row:
    """Ours, the opponent and the floor, in turns."""
    other = another(backbone)
    contenders = (
        ours(another(backbone), batch, [case.layout]),
        theirs(other, batch, case.opponent(other, case.layout)),
        floor(another(backbone), batch, case.layout),
    )
    took = times(contenders, args)
    memory = [peak_mib(step) for step in contenders]
    return row(backbone.ref.family, case.method, case.layout.count, took, memory)


def pack_row(backbone: Any, case: Case, batch: dict[str, Tensor], args: argparse.Namespace) -> Row:
    """Extra: a pack against the same trials one after another; the floor is the frozen model on the pack's rows."""
    alone = [ours(another(backbone), batch, [case.layout]) for _ in range(PACK)]
    together = {name: torch.cat([x] * PACK) for name, x in batch.items()}

    def one_by_one() -> None:
        for step in alone:
            step()

    pack = ours(another(backbone), batch, [case.layout] * PACK)
    contenders = (pack, one_by_one, floor(another(backbone), together, case.layout))
    took = times(contenders, args)
    memory = [peak_mib(step) for step in contenders]
    return row(backbone.ref.family, f"{case.method} x{PACK}", PACK * case.layout.count, took, memory)


def top_row(family: str, batch: dict[str, Tensor], args: argparse.Namespace) -> Row:
    """Extra: LoRA in the top block of 12 against LoRA in all; the floor is that of the top block."""
    tall = replace(TALL, decoder_blocks=TALL.blocks if family == "t5" else 0)
    backbone = backbone_of(family, tall, args.device)
    everywhere = layout(trial_of(backbone.ref, methods.named("lora")))
    top = only_block(everywhere, "encoder" if family == "bert" else "decoder", tall.blocks - 1)
    contenders = (
        ours(another(backbone), batch, [top]),
        ours(another(backbone), batch, [everywhere]),
        floor(another(backbone), batch, top),
    )
    took = times(contenders, args)
    return row(family, "lora top", top.count, took, [peak_mib(step) for step in contenders])


def draw(count: int) -> dict[str, Any]:
    """Drawing positions and initial values over T5-XXL: milliseconds, and MiB at peak (a second drawing's)."""
    trial = trial_of(backbones.get("t5-xxl"), methods.apet("t5", count))
    sequences.sequence.cache_clear()
    start = time.perf_counter()
    given = layout(trial).given
    took = 1000 * (time.perf_counter() - start)
    sequences.sequence.cache_clear()
    tracemalloc.start()
    layout(trial)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(f"t5-xxl, drawing {count} scalars {given}: {took:.0f} ms, {peak:.0f} MiB at peak")
    found = {"family": "t5", "method": "draw", "count": count, "ours_ms": round(took, 1), "ours_mib": round(peak, 1)}
    return {**found, "opponent_ms": None, "floor_ms": None}


def row(family: str, method: str, count: int, took: list[list[float]], memory: list[float]) -> Row:
    """Medians and ratios of three contenders."""
    mine, other, least = took
    to_opponent = [a / b for a, b in zip(mine, other, strict=True)]
    to_floor = [a / b for a, b in zip(mine, least, strict=True)]
    low, _, high = statistics.quantiles(to_opponent, n=4)
    return Row(
        family,
        method,
        count,
        *(round(statistics.median(t), 2) for t in took),
        round(statistics.median(to_opponent), 3),
        round(statistics.median(to_floor), 3),
        round((high - low) / 2, 3),
        *(round(m, 1) for m in memory),
    )


def main() -> None:
    """Print the table, then all rows as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=list(SHAPES), action="append")
    parser.add_argument("--method", action="append")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: where others use the machine too")
    parser.add_argument("--draw", action="store_true", help="only the time of drawing positions over T5-XXL")
    parser.add_argument("--return-freed", action="store_true", help="glibc's default: what workers on a CPU don't do")
    parser.add_argument("--corrections", choices=["loop", "bmm"], help="how packs multiply; by default as workers do")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    if args.device == "cpu" and not args.return_freed:
        allocator.keep_freed()  # as workers do; else page faults hit now one contender, now another
    if args.corrections:
        padded.pays = lambda k, device: args.corrections == "bmm"
    print_header()
    if args.draw:
        print(json.dumps({"rows": [draw(count) for count in (20_000, 200_000, 2_000_000, 20_000_000)]}))
        return
    print(f"{args.rows} rows of {args.length} tokens, {args.repetitions} repetitions; {args.clock} ms a step, peak MiB")
    names = f"{'family':6} {'method':8} {'count':>8} {'ours':>9} {'opponent':>9} {'floor':>9} {'ours/opponent':>16}"
    print(f"{names} {'ours/floor':>11} {'MiB: ours':>10} {'opponent':>9} {'floor':>7}")
    rows: list[Row] = []
    for family in args.family or SHAPES:
        backbone = backbone_of(family, SHAPES[family], args.device)
        batch = batch_of(family, args.rows, args.length, args.device)
        for case in cases(backbone.ref):
            if args.method and case.method not in args.method:
                continue
            rows.append(compare(backbone, case, batch, args))
            show(rows[-1])
            if case.method == "lora":
                rows.append(pack_row(backbone, case, batch, args))
                show(rows[-1])
        if not args.method or "top" in args.method:
            rows.append(top_row(family, batch, args))
            show(rows[-1])
    verdicts(rows)
    print(json.dumps({"rows": [asdict(r) for r in rows]}))


def verdicts(rows: Sequence[Row]) -> None:
    """The goals, and the rows that miss them by more than their spread."""
    goals: dict[str, Callable[[Row], float]] = {
        "no slower than the opponent": lambda r: r.ours_to_opponent - r.spread,
        "add within 5 % of the floor": lambda r: r.ours_to_floor / 1.05 if r.method == "add" else 0,
        "top block at most half of all": lambda r: 2 * (r.ours_to_opponent - r.spread) if r.method == "lora top" else 0,
    }
    for goal, times_of_limit in goals.items():
        missed = [f"{r.family} {r.method} {r.count}" for r in rows if times_of_limit(r) > 1]
        print(f"{goal}: {', '.join(missed) if missed else 'every row'}{' miss it' if missed else ''}")


def show(r: Row) -> None:
    """One line of the table."""
    print(
        f"{r.family:6} {r.method:8} {r.count:8} {r.ours_ms:9.1f} {r.opponent_ms:9.1f} {r.floor_ms:9.1f} "
        f"{r.ours_to_opponent:8.3f} ±{r.spread:6.3f} {r.ours_to_floor:11.3f} "
        f"{r.ours_mib:10.0f} {r.opponent_mib:9.0f} {r.floor_mib:7.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
