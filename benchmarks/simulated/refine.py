"""Refinement on simulated curves: the product's search, looks and confirmation, beside the whole grid.

A grid of 32 counts and 5 seeds, three full runs. Wrong is a claim at a count below the true one; the grid's is by `apet
thresholds`. A trial is counted once, whichever threshold asked for it, and full fine-tuning with them. So many one
worker runs: of several, some run what turns out not to be needed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.analysis import evidence
from orchestrator.analysis.contrast import Contrast
from orchestrator.analysis.evidence import LEAST_FULL, Runs, learnt_p
from orchestrator.refining.rules import FIRST_FRESH, LOOK_LEVEL, LOOKS, SIDES, look_p, needs_third
from orchestrator.refining.search import CONFIRM, FOUND, LOOK, Step, step
from simulated.curves import Array, Batch, Cell, draw
from simulated.outcomes import GOAL, Outcome
from trials.sweep.axes import geometric

COUNTS, SEEDS, ALPHA = 32, 5, 0.05
LADDER = geometric(16, 2**19, COUNTS)
FLOOR, FULL, MARGIN = 0.5, 0.76, 0.02
AT_ONCE = 50  # curves in memory
SHARE = 0.25  # of the grid's trials, the goal
KINDS: dict[str, dict[str, Any]] = {
    "Gaussian": {},
    "calm seeds": {"sd": 0.002, "full_sd": 0.002},
    "wide seeds": {"sd": 0.03},
    "rows' luck shared": {"shared": 0.9},
    "references alike": {"untrained": 0.5},
    "seeds the same at every count": {"nested": 1.0},
    "277 rows": {"rows": 277},
    "2000 rows": {"rows": 2000},
}


def means(place: str) -> tuple[float, ...]:
    """Accuracies by count: both thresholds inside the grid, at steps or smoothly; none above the floor; none equal."""
    edge = FULL - MARGIN
    rise = tuple(np.linspace(FLOOR + 0.09, edge - 0.005, 7))
    smooth = FLOOR + 0.259 / (1 + np.exp(-0.55 * (np.arange(COUNTS) - 15)))
    return {
        "inside": (FLOOR,) * 12 + rise + (edge,) + (FULL,) * 12,
        "floor": (FLOOR,) * COUNTS,
        "margin": (FLOOR,) * 12 + rise + (edge,) * 13,
        "smooth": tuple(np.where(smooth < FLOOR + 0.005, FLOOR, smooth)),
    }[place]


def cells() -> list[tuple[str, str, Cell]]:
    """Kind, place and cell; the grid's seeds are the first five."""
    seeds = (FIRST_FRESH + SEEDS, 1)
    return [
        (kind, place, Cell(kind, means(place), seeds, full=FULL, margin=MARGIN, **differs))
        for place in ("inside", "smooth", "floor", "margin")
        for kind, differs in KINDS.items()
    ]


@dataclass(frozen=True)
class Judged:
    """One threshold of curves: [curves, counts] what looks say, after how many seeds, and what fresh ones do."""

    looks: Array
    seeds: Array
    fresh: Array
    opened: Array  # [curves] high: whether full fine-tuning is one to compare with


def judge(side: str, batch: Batch, cell: Cell) -> Judged:
    """What the product would say of every count, were it asked."""
    level, shift = ALPHA * LOOK_LEVEL[side], cell.margin if side == "high" else 0.0

    def of(runs: Runs, seeds: range) -> list[Contrast]:
        some = _some(runs, seeds)
        return some.gains() if side == "low" else [some.beside(batch.full)]

    looks, used, fresh = [], [], []
    for runs in batch.counts:
        p, by_rows = look_p(of(runs, range(len(LOOKS))), shift)
        third = needs_third(p, by_rows, level)
        later, _ = look_p(of(runs, range(FIRST_FRESH)), shift)
        looks.append(np.where(third, later, p) < level)
        used.append(np.where(third, FIRST_FRESH, len(LOOKS)))
        fresh.append(look_p(of(runs, range(FIRST_FRESH, FIRST_FRESH + SEEDS)), shift)[0] < ALPHA)
    opened = learnt_p(batch.full, cell.margin) < ALPHA if side == "high" else np.ones(len(looks[0]), bool)
    return Judged(np.stack(looks, -1), np.stack(used, -1), np.stack(fresh, -1), opened)


def _some(runs: Runs, seeds: range) -> Runs:
    by = tuple(np.arange(len(seeds)) for _ in runs.by)
    return Runs(runs.scores[:, seeds.start : seeds.stop], by, runs.references)


def refined(low: Judged, high: Judged, curve: int) -> tuple[int, int, int]:
    """Index of the count claimed for low and high (their number where none is), and how many trials that took."""
    seeds: dict[int, int] = {}  # that looked, by index
    fresh: set[int] = set()
    found = []
    full = 0
    for side in (low, high):
        if side is high:
            if not low.looks[curve, -1]:
                found.append(COUNTS)  # not even the largest count is above the floor
                continue
            full = LEAST_FULL
            if not high.opened[curve]:
                found.append(COUNTS)
                continue
        found.append(_search(side, curve, seeds, fresh))
    return found[0], found[1], sum(seeds.values()) + SEEDS * len(fresh) + full


def _search(side: Judged, curve: int, seeds: dict[int, int], fresh: set[int]) -> int:
    looked: dict[int, bool] = {}
    confirmed: dict[int, bool] = {}
    now: Step = step(LADDER, looked, confirmed)
    while not now.is_last:
        index = LADDER.index(now.count)
        if now.kind == LOOK:
            looked[now.count] = bool(side.looks[curve, index])
            seeds[index] = max(seeds.get(index, 0), int(side.seeds[curve, index]))
        elif now.kind == CONFIRM:
            confirmed[now.count] = bool(side.fresh[curve, index])
            fresh.add(index)
        now = step(LADDER, looked, confirmed)
    return LADDER.index(now.upper) if now.kind == FOUND and now.upper else COUNTS


def judged(kind: str, place: str, cell: Cell, curves: int) -> dict[str, Any]:
    """One cell: the grid's claims, the refinement's, and its share of the trials."""
    rng = np.random.default_rng([zlib.crc32(f"refine/{kind}/{place}".encode()), 20230604])
    said: dict[str, list[Any]] = {"grid low": [], "grid high": [], "low": [], "high": [], "trials": []}
    for start in range(0, curves, AT_ONCE):
        batch = draw(cell, min(AT_ONCE, curves - start), rng)
        grid = tuple(_some(runs, range(SEEDS)) for runs in batch.counts)
        said["grid low"].append(evidence.low(grid, ALPHA))
        said["grid high"].append(evidence.high(grid, batch.full, ALPHA, cell.margin))
        low, high = (judge(side, batch, cell) for side in SIDES)
        each = np.array([refined(low, high, curve) for curve in range(len(low.looks))]).T
        for name, values in zip(("low", "high", "trials"), each, strict=True):
            said[name].append(values)
    all_of = {name: np.concatenate(values) for name, values in said.items()}
    shares = all_of["trials"] / (COUNTS * SEEDS + LEAST_FULL)
    found: dict[str, Any] = {
        "key": key(kind, place, cell),
        "kind": kind,
        "place": place,
        "share": round(float(shares.mean()), 4),
    }
    found["most"] = round(float(np.quantile(shares, 0.95)), 4)
    for side in SIDES:
        truth = getattr(cell, side)
        found[side] = {
            "truth": truth if truth < COUNTS else None,
            "grid": Outcome.of(all_of[f"grid {side}"], truth, COUNTS).row(),
            "refine": Outcome.of(all_of[side], truth, COUNTS).row(),
            "steps late": [_late(all_of[name], truth) for name in (f"grid {side}", side)],
        }
    return found


def _late(claimed: Array, truth: int) -> float | None:
    """Mean distance of claims from the truth, in counts of the grid; None where there are none, or no truth."""
    made = claimed[claimed < COUNTS]
    return round(float(np.abs(made - truth).mean()), 2) if len(made) and truth < COUNTS else None


def key(kind: str, place: str, cell: Cell) -> str:
    """What names a result."""
    return f"{kind}, {place}"


def share(results: list[dict[str, Any]]) -> float:
    """The largest mean share of the grid's trials, over the cells."""
    return max(float(r["share"]) for r in results)


def early(results: list[dict[str, Any]], side: str, who: str = "refine") -> float:
    """The largest share of claims that are too early."""
    return max(float(r[side][who]["early"]) for r in results)


def table(results: list[dict[str, Any]], curves: int) -> str:
    """Shares in %, a line a cell, as Markdown."""
    names = [f"{side} {what}" for side in SIDES for what in ("early", "exact", "unresolved", "off by")]
    lines = [
        f"**Refinement**, {COUNTS} counts and {SEEDS} seeds, in % of {curves} curves a line: the grid / refine",
        "",
        f"| study | truth | trials | 95 % below | {' | '.join(names)} |",
        "|---" * (len(names) + 4) + "|",
    ]
    for r in results:
        cells_of = [r["kind"], r["place"], f"{100 * r['share']:.1f}", f"{100 * r['most']:.0f}"]
        for side in SIDES:
            for what in ("early", "exact", "unresolved"):
                cells_of.append(" / ".join(f"{100 * r[side][who][what]:.1f}" for who in ("grid", "refine")))
            cells_of.append(" / ".join("–" if off is None else f"{off:.1f}" for off in r[side]["steps late"]))
        lines.append(f"| {' | '.join(cells_of)} |")
    return "\n".join(lines)


def goals(results: list[dict[str, Any]]) -> list[str]:
    """Each goal, and whether it is met."""
    said = [
        f"refine: trials at most {share(results):.1%} of the grid's, goal {SHARE:.0%}: {_met(share(results) <= SHARE)}"
    ]
    for side in SIDES:
        ours, grid = early(results, side), early(results, side, "grid")
        what = f"refine: {side} early at most {ours:.2%}, the grid {grid:.2%}, goal {GOAL:.1%}"
        said.append(f"{what}: {_met(ours <= GOAL)}")
    return said


def _met(met: bool) -> str:
    return "met" if met else "missed"
