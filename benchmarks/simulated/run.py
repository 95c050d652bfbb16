"""The run of ``benchmarks/statistics.py``: every cell and kind, every rule, tables, the last line."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import zlib
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from simulated.cells import NAMED, cells
from simulated.curves import Cell, draw
from simulated.outcomes import EXACT, GOAL, Outcome, worst
from simulated.rules import RULES
from simulated.spreads import judged as spreads

AT_ONCE = 100  # curves in memory
SIDES = ("low", "high")
PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
MARKS = ("<!-- {} -->", "<!-- end {} -->")
SECTIONS = {"curves": "cells", "studies": "spreads"}  # of the file, by what is drawn
PENDING = "not built yet"  # refinement


def judged(kind: str, place: str, cell: Cell, curves: int) -> dict[str, Any]:
    """One cell: what every rule said of so many curves. Its random stream is its own, whatever else runs."""
    rng = np.random.default_rng([zlib.crc32(f"{kind}/{place}/{cell.seeds}".encode()), 20230604])
    sides = [side for side in SIDES if place != {"low": "margin", "high": "floor"}[side]]  # else it's the other's place
    said: dict[tuple[str, str], list[Any]] = {}
    for start in range(0, curves, AT_ONCE):
        batch = draw(cell, min(AT_ONCE, curves - start), rng)
        for name, rule in RULES.items():
            for side in sides:
                said.setdefault((side, name), []).append(rule(side, batch, cell))
    found: dict[str, Any] = {"kind": kind, "place": place, "seeds": list(cell.seeds), "held": cell.held}
    found |= {"rows": cell.rows, "full_runs": cell.full_runs}
    for side in sides:
        truth = getattr(cell, side)
        outcomes = {n: Outcome.of(np.concatenate(said[side, n]), truth, len(cell.means)).row() for n in RULES}
        found[side] = {"truth": truth if truth < len(cell.means) else None, **outcomes}
    return found


def table(results: list[dict[str, Any]], side: str) -> str:
    """Shares in %, a line a cell; ``early`` of each rule, and the rest of ours."""
    lines = [
        "| study | truth | seeds | early | late | exact | unresolved | covers | scores alone | means alone |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        if side not in r:
            continue
        ours = [f"{100 * r[side]['ours'][what]:.1f}" for what in ("early", "late", "exact", "unresolved")]
        covered = r[side]["ours"]["coverage"]
        ours.append("–" if covered is None or r[side]["truth"] is None else f"{100 * covered:.0f}")
        naive = [f"{100 * r[side][rule]['early']:.1f}" for rule in RULES if rule != "ours"]
        seeds = "×".join(map(str, r["seeds"])) if r["seeds"][1] > 1 else str(r["seeds"][0])
        where = "none" if r[side]["truth"] is None else "inside"
        lines.append(f"| {' | '.join([r['kind'], where, seeds, *ours, *naive])} |")
    return "\n".join(lines)


def tables(results: list[dict[str, Any]], curves: int) -> str:
    """Both, as Markdown."""
    titles = [f"**{side.capitalize()}**, in % of {curves} curves a line" for side in SIDES]
    return "\n\n".join(f"{title}\n\n{table(results, side)}" for title, side in zip(titles, SIDES, strict=True))


def written(page: str, name: str, text: str) -> str:
    """A page with text between the marks of a name."""
    start, end = (mark.format(name) for mark in MARKS)
    before, rest = page.split(start)
    return f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}"


def last_line(results: list[dict[str, Any]], spread: list[dict[str, Any]]) -> dict[str, Any]:
    """Worst ``early`` of each threshold, and the rest of the named cell's 5 seeds; worst size and power of spreads."""
    named = next(r for r in results if (r["kind"], r["place"], r["seeds"]) == (NAMED, "inside", [5, 1]))
    sides = {
        side: {"early": worst(results, side), **{w: named[side]["ours"][w] for w in ("exact", "unresolved")}}
        for side in SIDES
    }
    dispersion = {"size": spreads.size(spread), "power": spreads.power(spread)}
    return {**sides, "dispersion": dispersion, "refine_share": None, "why_null": PENDING}


def goals(results: list[dict[str, Any]], spread: list[dict[str, Any]]) -> list[str]:
    """Each goal, and whether it is met."""
    said = [
        f"{side}: early at most {worst(results, side):.2%} of {GOAL:.1%}: "
        + ("met" if worst(results, side) <= GOAL else "missed")
        for side in SIDES
    ]
    for r in results:
        if (r["kind"], r["place"]) == (NAMED, "inside"):
            exact, goal = r["low"]["ours"]["exact"], EXACT[r["seeds"][0]]
            said.append(
                f"low exact at {r['seeds'][0]} seeds {exact:.1%} of {goal:.0%}: {'met' if exact >= goal else 'missed'}"
            )
    size = spreads.size(spread)
    said.append(f"said to spread less: at most {size:.2%} of {GOAL:.1%}: {'met' if size <= GOAL else 'missed'}")
    return said


def main(arguments: list[str] | None = None) -> None:
    """Judge, print, keep."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--curves", type=int, default=20_000, help="of every cell")
    parser.add_argument("--studies", type=int, default=10_000, help="of every kind of two scales")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="keep all numbers as JSON; a run that was ended goes on from it")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/statistics.md")
    chosen = parser.parse_args(arguments)
    kept = Kept(chosen.out)
    every = [((kind, place, cell.seeds), (kind, place, cell, chosen.curves)) for kind, place, cell in cells()]
    results = kept.run("curves", chosen.curves, every, judged, chosen.jobs)
    kinds = [(spreads.key(study), (study, chosen.studies)) for study in spreads.studies()]
    spread = kept.run("studies", chosen.studies, kinds, spreads.judged, chosen.jobs)
    of_spreads = f"In % of {chosen.studies} studies a line; sd and seen in points\n\n{spreads.table(spread)}"
    print(tables(results, chosen.curves), of_spreads, sep="\n\n")
    if chosen.page:
        page = written(PAGE.read_text(), "table", tables(results, chosen.curves))
        PAGE.write_text(written(page, "spreads", of_spreads))
    print("", *goals(results, spread), sep="\n")
    print(json.dumps(last_line(results, spread)))


class Kept:
    """Results in a file, or nowhere: a run that was ended goes on from there.

    Args:
        path: of the JSON file; None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.numbers: dict[str, Any] = json.loads(path.read_text()) if path and path.exists() else {}

    def run(
        self,
        of: str,
        number: int,
        every: Sequence[tuple[Hashable, tuple[Any, ...]]],
        judge: Callable[..., dict[str, Any]],
        jobs: int,
    ) -> list[dict[str, Any]]:
        """Every kind, in order. What is kept of as many draws already isn't judged again.

        Args:
            of: what is drawn.
            number: how many of each kind.
            every: key and arguments of each.
            judge: what is called with them.
            jobs: processes.
        """
        section = SECTIONS[of]
        done = {name(r): r for r in self.numbers.get(section, ())} if self.numbers.get(of) == number else {}
        start = time.monotonic()
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            for found in pool.imap_unordered(_call, [(judge, given) for key, given in every if key not in done]):
                done[name(found)] = found
                print(f"{len(done)} of {len(every)} {section}, {time.monotonic() - start:.0f} s", file=sys.stderr)
                in_order = [done[key] for key, _ in every if key in done]
                self.numbers |= {of: number, "machine": describe(), section: in_order}
                if self.path:
                    self.path.write_text(json.dumps(self.numbers, indent=1) + "\n")
        return [done[key] for key, _ in every]


def _call(work: tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]) -> dict[str, Any]:
    judge, given = work
    return judge(*given)


def name(found: dict[str, Any]) -> Hashable:
    """The key of a result."""
    return found["key"] if "key" in found else (found["kind"], found["place"], tuple(found["seeds"]))
