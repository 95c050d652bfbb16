"""Step time and peak memory of our modules, each against the same function by PEFT, real biases or torch's layers.

    python benchmarks/modules.py [--family bert] [--method lora] [--repetitions 15]

One process, one model of random weights, the same batches, interleaved: every repetition times one step of ours, of
the opponent and of the floor, in turns, so that noise of the machine hits all three. The floor is the frozen model:
forward, and backward through activations alone down to the lowest touched layers. Goal: no slower than the opponent
in any row, ``add`` within 5 % of the floor. The last line is JSON: ``{"rows": [...]}``.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import torch
from machine import print_header
from opponents import SELF_ATTENTION, Opponent, biases, lora, plain
from torch import Tensor, nn

from trials import methods
from trials.counts import capacity
from trials.positions import Layout, layout
from trials.sites import linear_kinds
from trials.trial import BackboneRef, Shape, Source, TaskRef, Training, Trial
from workers import weights
from workers.backbone import find_module
from workers.engines import Group
from workers.engines.plain import PlainEngine
from workers.model import PackModel
from workers.modules import Modules

SHAPES = {
    "bert": Shape(8, 0, 512, 2048, 8, 64, vocab=2048, positions=256, lm_head=True),
    "bloom": Shape(8, 0, 512, 2048, 8, 64, vocab=2048, positions=0, lm_head=True),
    "t5": Shape(4, 4, 512, 1024, 8, 64, vocab=2048, positions=0, lm_head=True),
}
RATE = 1e-4
PACK = 4  # trials of the extra row


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


def backbone_of(family: str, device: str) -> Any:
    """A frozen backbone of random weights."""
    ref = BackboneRef(f"bench-{family}", family, "bench", SHAPES[family], Source("random", "bench", "1"))
    model = weights._empty(ref)
    weights._fill(model, ref)
    model.eval().requires_grad_(False).to(device)
    assert sum(p.numel() for p in model.parameters()) >= 20_000_000
    return SimpleNamespace(ref=ref, model=model, tokenizer=None, device=torch.device(device))


def another(backbone: Any) -> Any:
    """The same backbone once more: matrices shared, so that nobody's lie better in the cache."""
    memo = {id(p): p for p in backbone.model.parameters() if p.dim() > 1}
    return SimpleNamespace(**{**vars(backbone), "model": copy.deepcopy(backbone.model, memo)})


def batch_of(family: str, rows: int, length: int, device: str) -> dict[str, Tensor]:
    """Random tokens: encoders predict a label at a mask, the others a few target tokens."""
    torch.manual_seed(0)
    ids = torch.randint(10, 2000, (rows, length), device=device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if family == "bert":
        at = torch.zeros(rows, dtype=torch.int64, device=device)
        return {**batch, "class_labels": at, "mask_position": at}
    if family == "bloom":
        labels = ids.clone()
        labels[:, : length // 2] = -100
        return {**batch, "labels": labels}
    return {**batch, "labels": ids[:, : length // 4]}


def cases(ref: BackboneRef) -> Iterator[Case]:
    """The rows of one family."""

    def made(method: Any) -> Layout:
        task = TaskRef("rotten_tomatoes", Source("folder", "x", "0"))
        seed = 0 if method.name == "apet" else None
        return layout(Trial(ref, task, method, RATE, Training(1), position_seed=seed))

    def only(op: str, count: int, kinds: Sequence[str] | None = None) -> Layout:
        return made(methods.apet(ref.family, count, {op: 1}, {op: kinds} if kinds else None))

    yield Case("lora", made(methods.named("lora")), lambda b, x: lora(b, x, 8, 16.0))
    yield Case("adapter", made(methods.named("adapter")), plain)
    if ref.family == "t5":  # its norms have no place for a bias
        kinds = linear_kinds("t5")
        yield Case("bitfit", only("add", capacity(ref, ["add"], {"add": kinds})["add"], kinds), biases)
    else:
        yield Case("bitfit", made(methods.named("bitfit")), biases)
    most = capacity(ref, ["add"], {"add": methods.apet(ref.family, 1, {"add": 1}).sites["add"]})["add"]
    for count in (1, 1000, most):
        yield Case("add", only("add", count), biases)
    yield Case("plug", only("plug", 160 * (2 * ref.shape.d_model + 1)), plain)
    for count in (4000, 40_000):
        rank = next(r for r in range(1, 99) if (methods.count_of(methods.named("lora", rank=r), ref) or 0) >= count)
        yield Case("apet", made(methods.apet(ref.family, count)), lambda b, x, rank=rank: peft_lora(b, x, rank))


def peft_lora(backbone: Any, layout: Layout, rank: int) -> Opponent:
    """PEFT's LoRA as its users write it: on BLOOM one rank-r pair on the fused layer."""
    import peft

    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=SELF_ATTENTION[backbone.ref.family])
    peft.inject_adapter_in_model(config, backbone.model)
    opponent = Opponent(layout)
    opponent.train(*(p for p in backbone.model.parameters() if p.requires_grad))
    return opponent


class Contender:
    """A model and its optimiser; a call is one step."""

    def __init__(self, model: PackModel, batch: dict[str, Tensor], groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self._batch = batch
        self._engine = PlainEngine(model, [Group(list(g), RATE) for g in groups]) if groups else None
        self._model = model

    def __call__(self) -> None:
        total = self._model(self._batch).sum()
        total.backward()
        if self._engine:
            self._engine.step()


def ours(backbone: Any, batch: dict[str, Tensor], layouts: Sequence[Layout]) -> Contender:
    """A pack of modules."""
    modules = Modules(backbone, layouts)
    return Contender(packed(backbone, modules), batch, [[theta] for theta in modules.thetas])


def theirs(backbone: Any, batch: dict[str, Tensor], case: Case) -> Contender:
    """The opponent."""
    opponent = case.opponent(backbone, case.layout)
    return Contender(packed(backbone, None), batch, [opponent.parameters])


def floor(backbone: Any, batch: dict[str, Tensor], layout: Layout) -> Contender:
    """The frozen model; the output of a touched layer requires a gradient where nothing below it does."""
    for site in layout.touched():
        find_module(backbone, site)[0].register_forward_hook(
            lambda module, args, out: out if out.requires_grad else out.requires_grad_()
        )
    return Contender(packed(backbone, None), batch, [])


def packed(backbone: Any, modules: Modules | None) -> PackModel:
    """The model that computes losses, the same for all contenders."""
    return PackModel(backbone, modules, label_words=[11, 12] if backbone.ref.family == "bert" else None)


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
    contenders = (
        ours(another(backbone), batch, [case.layout]),
        theirs(another(backbone), batch, case),
        floor(another(backbone), batch, case.layout),
    )
    took = times(contenders, args)
    memory = [peak_mib(step) for step in contenders]
    return row(backbone.ref.family, case.method, case.layout.count, took, memory)


def pack_row(backbone: Any, case: Case, batch: dict[str, Tensor], args: argparse.Namespace) -> Row:
    """Extra: a pack against the same trials one after another; the floor is one trial alone."""
    alone = [ours(another(backbone), batch, [case.layout]) for _ in range(PACK)]

    def one_by_one() -> None:
        for step in alone:
            step()

    contenders = (ours(another(backbone), batch, [case.layout] * PACK), one_by_one, alone[0])
    took = times(contenders, args)
    memory = [peak_mib(step) for step in contenders]
    return row(backbone.ref.family, f"{case.method} x{PACK}", PACK * case.layout.count, took, memory)


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
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    print_header()
    print(f"{args.rows} rows of {args.length} tokens, {args.repetitions} repetitions; milliseconds of {args.clock} time a step, MiB at peak")
    print(
        f"{'family':6} {'method':8} {'count':>8} {'ours':>9} {'opponent':>9} {'floor':>9} "
        f"{'ours/opponent':>16} {'ours/floor':>11} {'MiB: ours':>10} {'opponent':>9} {'floor':>7}"
    )
    rows: list[Row] = []
    for family in args.family or SHAPES:
        backbone = backbone_of(family, args.device)
        batch = batch_of(family, args.rows, args.length, args.device)
        for case in cases(backbone.ref):
            if args.method and case.method not in args.method:
                continue
            rows.append(compare(backbone, case, batch, args))
            show(rows[-1])
            if case.method == "lora":
                rows.append(pack_row(backbone, case, batch, args))
                show(rows[-1])
    print(json.dumps({"rows": [asdict(r) for r in rows]}))


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
