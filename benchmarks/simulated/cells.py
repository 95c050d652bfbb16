"""The kinds of studies that the rules are held to, each with 3 and 5 seeds and with three places of the truth.

``inside``: both thresholds lie inside the grid, the count below each exactly where it must not be claimed. ``floor``:
no count is above, so that the largest is tested at the edge of what is true. ``margin``: none equals full fine-tuning,
the largest being exactly the margin below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulated.curves import Cell

SEEDS = ((3, 1), (5, 1))
NAMED = "references alike"  # the cell that the goals speak of: 0.09 over both references, N = 500
FULL, MARGIN = 0.76, 0.02
PLACES = ("inside", "floor", "margin")


def means(place: str, floor: float = 0.5) -> tuple[float, ...]:
    """Accuracies by count of a place of the truth."""
    below, edge = (floor,) * 3, FULL - MARGIN
    rise = tuple(floor + part * (edge - floor) for part in (0.6, 0.8))
    first = floor + 0.09
    return {
        "inside": (*below, first, *(max(first, r) for r in rise), edge, FULL, FULL, FULL),
        "floor": (floor,) * 8,
        "margin": (*below, first, *(max(first, r) for r in rise), edge - 0.02, edge),
    }[place]


def _noisy(place: str, sd: float) -> tuple[float, ...]:
    """Seeds that are torn at the counts that decide, and calm at the others."""
    number = len(means(place))
    edges = {"inside": (2, 6)}.get(place, (number - 1,))
    return tuple(sd if i in edges else 0.005 for i in range(number))


def _torn(place: str, apart: float) -> tuple[tuple[int, float], ...]:
    return tuple((i, apart) for i, sd in enumerate(_noisy(place, 1.0)) if sd == 1.0)


def kinds(place: str) -> dict[str, dict[str, Any]]:
    """What differs from a Gaussian study, by its name."""
    return {
        "Gaussian": {},
        "calm seeds": {"sd": 0.002, "full_sd": 0.002},
        "wide seeds": {"sd": 0.03},
        "heteroscedastic": {"sd": _noisy(place, 0.03)},
        "rows' luck shared": {"shared": 0.9},
        NAMED: {"untrained": 0.5},
        "head luck": {"untrained": 0.5, "head_sd": 0.026},
        "floor by majority": {"majority": 0.62, "means": means(place, 0.62), "untrained": 0.5},
        "seeds the same at every count": {"nested": 1.0},
        "full runs vary": {"full_sd": 0.02},
        "torn boundary": {"torn": _torn(place, 0.02)},
        "tied full runs": {"tied": True},
        "277 rows": {"rows": 277},
        "1066 rows": {"rows": 1066},
    }


def cells() -> list[tuple[str, str, Cell]]:
    """All cells, with their kind and place."""
    found = []
    for place in PLACES:
        for kind, differs in kinds(place).items():
            for seeds in SEEDS:
                found.append((kind, place, Cell(**{"name": kind, "means": means(place), "seeds": seeds, **differs})))
        for seeds in ((3, 2), (3, 3), (5, 2)):
            crossed = Cell("crossed seeds", means(place), seeds, train_sd=0.02, untrained=0.5, head_sd=0.026)
            found.append((crossed.name, place, crossed))
    for seeds in SEEDS:
        inside = Cell("", means("inside"), seeds)
        dips = (0.5, 0.55, 0.62, 0.5, 0.59, 0.70, 0.76, 0.74, 0.76, 0.77)
        others = [
            replace(inside, name="not monotone", means=dips),
            replace(inside, name="full at the floor", means=(0.5,) * 8, full=0.5),
            replace(inside, name="full a margin above", means=(0.5,) * 8, full=0.52),
            replace(inside, name="2 full runs", full_runs=2),
            replace(inside, name="5 full runs", full_runs=5),
            replace(inside, name="2000 rows", rows=2000),
            replace(inside, name="5000 rows", rows=5000, full_runs=5),
        ]
        found += [(cell.name, "inside", cell) for cell in others]
        for place in PLACES:
            loose = [
                Cell("5 % collapse", means(place), seeds, collapse=0.05, drop=0.2, held=False),
                Cell("boundary torn wide", means(place), seeds, torn=_torn(place, 0.04), held=False),
            ]
            found += [(cell.name, place, cell) for cell in loose]
    return found
