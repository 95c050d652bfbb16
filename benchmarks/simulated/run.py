"""The run of ``benchmarks/statistics.py``: every cell, every rule, tables, the last line."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from simulated import refine
from simulated.cells import NAMED, cells
from simulated.curves import Cell, draw
from simulated.outcomes import EXACT, GOAL, Outcome, worst
from simulated.rules import RULES

AT_ONCE = 100  # curves in memory
SIDES = ("low", "high")
PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
MARKS = ("<!-- table -->", "<!-- end -->")
REFINED = PAGE.with_name("refine.md")
PENDING = "not built yet"  # dispersion


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


def _judged(work: tuple[str, str, Cell, int]) -> dict[str, Any]:
    return judged(*work)


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


def written(page: str, text: str) -> str:
    """A page with text between its marks."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def last_line(results: list[dict[str, Any]], refined: list[dict[str, Any]]) -> dict[str, Any]:
    """Worst ``early`` of each threshold, the rest of the named cell's 5 seeds, and what refinement takes of a grid."""
    named = next(r for r in results if (r["kind"], r["place"], r["seeds"]) == (NAMED, "inside", [5, 1]))
    sides = {
        side: {"early": worst(results, side), **{w: named[side]["ours"][w] for w in ("exact", "unresolved")}}
        for side in SIDES
    }
    return {
        **sides,
        "dispersion": {"size": None, "power": None},
        "refine_share": refine.share(refined),
        "why_null": PENDING,
    }


def goals(results: list[dict[str, Any]]) -> list[str]:
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
    return said


def main(arguments: list[str] | None = None) -> None:
    """Judge, print, keep."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--curves", type=int, default=20_000, help="of every cell")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="keep all numbers as JSON; a run that was ended goes on from it")
    parser.add_argument("--refine-curves", type=int, default=2_000, help="of every cell of refinement")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/statistics.md and refine.md")
    chosen = parser.parse_args(arguments)
    results = run(chosen.curves, chosen.jobs, chosen.out)
    refined = refine.run(chosen.refine_curves, chosen.jobs)
    pages = {PAGE: tables(results, chosen.curves), REFINED: refine.table(refined, chosen.refine_curves)}
    print(*pages.values(), sep="\n\n")
    for page, text in pages.items() if chosen.page else ():
        page.write_text(written(page.read_text(), text))
    print("", *goals(results), *refine.goals(refined), sep="\n")
    print(json.dumps(last_line(results, refined)))


def run(curves: int, jobs: int, out: Path | None) -> list[dict[str, Any]]:
    """Every cell, in order. What ``out`` has of as many curves already isn't judged again."""
    kept: dict[str, Any] = json.loads(out.read_text()) if out and out.exists() else {}
    done = {_name(r): r for r in kept.get("cells", ())} if kept.get("curves") == curves else {}
    every = cells()
    work = [(*one, curves) for one in every if (one[0], one[1], one[2].seeds) not in done]
    start = time.monotonic()
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for found in pool.imap_unordered(_judged, work):
            done[_name(found)] = found
            print(f"{len(done)} of {len(every)} cells, {time.monotonic() - start:.0f} s", file=sys.stderr)
            if out:
                in_order = [done[key] for one in every if (key := (one[0], one[1], one[2].seeds)) in done]
                now = {"curves": curves, "machine": describe(), "cells": in_order}
                out.write_text(json.dumps(now, indent=1) + "\n")
    return [done[one[0], one[1], one[2].seeds] for one in every]


def _name(found: dict[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    return found["kind"], found["place"], tuple(found["seeds"])
