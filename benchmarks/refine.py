"""Thresholds by the whole grid and by refinement: the same sweep, one after the other, in one run.

    .venv/bin/python benchmarks/refine.py [--keep FOLDER] [--backbone quickstart-l6] [--counts 16] [--steps 60]

16 counts and 3 seeds on the encoder of 6 layers (Rotten Tomatoes, 500 test rows) and three runs of full fine-tuning:
first `apet run` with all trials and `apet thresholds`, then `apet run --until-resolved` into a store of its own. Same
is the same or a neighbouring bracket, a count of the grid apart at most; unresolved in both counts as same, and is
said. Seconds are of the commands, starts included. Each way has a store and a cache of its own, kept in ``--keep``,
where a run that was ended goes on (its seconds are then those of the rest).

The last line is JSON: trials and seconds of both ways, and whether all brackets are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import print_header

from orchestrator.analysis.thresholds import thresholds
from orchestrator.refining.refine import refine
from trials.store.store import Store
from trials.sweep.sweep import Sweep

GOAL = 0.6  # of the grid's trials
APET = "from orchestrator.cli import main; main()"
Bracket = tuple[int, int] | None  # None: unresolved


def sweep(args: argparse.Namespace) -> str:
    """The sweep file, as JSON."""
    task = {"name": "rotten_tomatoes", "validation_rows": args.validation_rows, "test_rows": args.test_rows}
    counts = {"from": 16, "to": args.largest, "points": args.counts}
    every = max(1, args.steps // 2)
    keys = {
        "name": "refine",
        "backbones": [args.backbone],
        "tasks": [task],
        "methods": [
            {"method": "full", "train_seeds": 3, "learning_rates": [1e-4]},
            {"method": "apet", "counts": counts, "position_seeds": args.seeds},
        ],
        "learning_rates": [1e-2],
        "training": {"steps": args.steps, "batch_size": 24, "eval_every": every},
    }
    return json.dumps(keys, indent=1)


def apet_run(folder: Path, way: str, *options: str) -> float:
    """Seconds of a run into the store of a way, with a cache of its own."""
    environment = {**os.environ, "APET_CACHE": str(folder / f"cache-{way}")}
    command = [sys.executable, "-c", APET, "run", str(folder / "refine.yaml"), "--store", str(folder / way), *options]
    start = time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def brackets(of: Sweep, grid: Store, refined: Store) -> dict[str, tuple[Bracket, Bracket]]:
    """By threshold, what the grid says and what refinement does."""
    (curve,) = thresholds(grid).curves
    found = {one.threshold: one for one in refine(of, refined).standings.found}
    said: dict[str, tuple[Bracket, Bracket]] = {}
    for name, side in (("low", curve.low), ("high", curve.high)):
        by_grid = None if side.upper is None else (side.lower or 0, side.upper)
        said[name] = by_grid, found[name].claim
    return said


def same(counts: Sequence[int], one: Bracket, other: Bracket) -> bool:
    """Whether two brackets of a grid are the same or neighbours, or both unresolved."""
    if one is None or other is None:
        return one is other
    return abs(counts.index(one[1]) - counts.index(other[1])) <= 1


def in_words(counts: Sequence[int], name: str, one: Bracket, other: Bracket) -> str:
    """A threshold by both ways."""
    by_grid, refined = ("unresolved" if b is None else f"({b[0]}, {b[1]}]" for b in (one, other))
    verdict = "same" if one == other else "neighbours" if same(counts, one, other) else "apart"
    both = ", unresolved in both, which counts as same" if one is None and other is None else ""
    return f"{name}: grid {by_grid}, refine {refined}: {verdict}{both}"


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both ways, and how they compare."""
    path = folder / "refine.yaml"
    path.write_text(sweep(args))
    of = Sweep.load(path)
    limit = ["--max-concurrent", str(args.workers)] if args.workers else []
    seconds = {
        "grid": apet_run(folder, "grid", *limit),
        "refine": apet_run(folder, "refined", "--until-resolved", *limit),
    }
    stores = Store(folder / "grid"), Store(folder / "refined")
    trials = [len(store.visible()) for store in stores]
    counts = sorted({one.method.count for one in of.trials() if one.method.count is not None})
    said = brackets(of, *stores)
    print(thresholds(stores[0]).render(), refine(of, stores[1]).standings.render(), sep="\n\n")
    print("", *(in_words(counts, name, *both) for name, both in said.items()), sep="\n")
    share = trials[1] / trials[0]
    print(f"trials: {share:.2f} of the grid's, goal {GOAL}: {'met' if share <= GOAL else 'missed'}")
    return {
        "grid_trials": trials[0],
        "refine_trials": trials[1],
        "grid_s": round(seconds["grid"], 1),
        "refine_s": round(seconds["refine"], 1),
        "same_bracket": all(same(counts, *both) for both in said.values()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep stores and caches here, and go on from them")
    parser.add_argument("--backbone", default="quickstart-l6", help="(default quickstart-l6)")
    parser.add_argument("--counts", type=int, default=16, help="geometric, from 16 (default 16)")
    parser.add_argument("--largest", type=int, default=16384, help="count (default 16384)")
    parser.add_argument("--seeds", type=int, default=3, help="a count (default 3)")
    parser.add_argument("--steps", type=int, default=60, help="of a trial (default 60)")
    parser.add_argument("--validation-rows", type=int, default=200, help="(default 200)")
    parser.add_argument("--test-rows", type=int, default=500, help="(default 500)")
    parser.add_argument("--workers", type=int, help="packs at a time (default: as many as there is room for)")
    args = parser.parse_args(argv)
    print_header()
    with tempfile.TemporaryDirectory(prefix="refine-") as folder:
        place = args.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(args, place)))


if __name__ == "__main__":
    main()
