"""What packs pay: one sweep by five ways, and a floor under all of them; what the driver costs; the quickstart.

    python benchmarks/sweep.py [--parts auto,floor] [--keep results.json]

The same trials (the encoder of 6 layers on Rotten Tomatoes, LoRA of rank 8 on queries and values, batches of 24, 200 +
500 rows scored; they differ in learning rate and train seed), by ``--workers`` at a time, a thread each:

authors     a process a trial, its own load, rows padded to 128, PEFT, a plain loop (``ways/authors.py``)
tune        Ray Tune's grid search over ``transformers.Trainer`` and PEFT, dynamic padding (``ways/tune_peft.py``)
cold        packs of one, ``python -m workers.run`` each
warm        packs of one by ``apet run``
auto        what ``apet run`` chooses
floor       the same batches through the bare encoder, activation-only backward, bare evaluation (``ways/floor.py``)

``authors`` and ``tune`` do ``--trials-slow`` of the trials, the others all; ``auto`` and ``floor`` alternate. Wall
seconds include every start; that of ``tune`` is taken as if it had been for all trials, which is in its favour. The
floor is without any. Scores must agree within seed noise: the mean test score of the few trials is printed for every
way, that of a score on 500 rows has a standard error of 2 points. Each of our ways has a cache of its own, empty at
first, so the first of the repetitions of ``auto`` is the one that calibrates.

noop        trials that do nothing, in packs of one through the real driver with a worker that only writes its row, and
            bare Ray Tune with ``reuse_actors`` on as many; the driver's resident memory at its end
quickstart  some of the quickstart's trials, packs of one (before) and what is chosen (after), caches empty

Run it on a quiet machine. Finished measurements are kept in ``--keep``: a second call makes those that are missing, and
its last line has all. It is one JSON object; what wasn't measured is null.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from machine import print_header
from ways.arithmetic import Goal, median, ratio, spread
from ways.kept import Kept
from ways.measurements import Bench, items

PARTS = ("authors", "tune", "cold", "warm", "auto", "floor", "noop", "quickstart")


def line(figures: Callable[[str, str], list[float]], small: int, large: int) -> tuple[list[Goal], dict[str, Any]]:
    """Figures against their goals, and the last line.

    Args:
        figures: of all measurements of a name, or of its repetitions, one figure.
        small, large: numbers of trials that do nothing.
    """

    def one(name: str, figure: str = "per_hour") -> float | None:
        return median(figures(name, figure))

    rates = {name: one(name) for name in ("authors", "tune", "cold", "warm", "auto", "floor")}
    scores = {name: one(name, "test_of_few") for name in rates if name != "floor"}
    before, after = one("quickstart-before"), one("quickstart-after")
    outside = one("auto", "outside")
    ms = {n: one(f"noop-{n}", "ms") for n in (small, large)}
    tune_ms = {n: one(f"noop-tune-{n}", "ms") for n in (small, large)}
    growth, tune_growth = ratio(ms[large], ms[small]), ratio(tune_ms[large], tune_ms[small])
    rss, tune_rss = (
        ratio(one(f"{kind}-{large}", "rss"), one(f"{kind}-{small}", "rss")) for kind in ("noop", "noop-tune")
    )
    gap = max([*figures(f"noop-{small}", "gap_s"), *figures(f"noop-{large}", "gap_s")], default=None)
    goals = [
        Goal("auto / authors", ratio(rates["auto"], rates["authors"]), 6),
        Goal("auto / tune_peft", ratio(rates["auto"], rates["tune"]), 2.5),
        Goal("auto / floor", ratio(rates["auto"], rates["floor"]), 0.94),
        Goal("share of worker time outside training and evaluation", outside, 0.03, most=True),
        Goal(f"no-ops: ms at {large} / ms at {small}", growth, 1.1, most=True),
        Goal(f"no-ops: driver's memory at {large} / at {small}", rss, 1.2, most=True),
        Goal("no-ops: longest gap between two dispatches [s]", gap, 2.0, most=True),
    ]
    noop = {f"ms_{n}": ms[n] for n in (small, large)} | {"tune_ms": tune_ms[large], "rss_ratio": rss}
    more = {
        f"tune_ms_{small}": tune_ms[small],
        "growth": growth,
        "tune_growth": tune_growth,
        "tune_rss_ratio": tune_rss,
    }
    return goals, {
        "trials_per_hour": {"tune_peft" if name == "tune" else name: rate for name, rate in rates.items()},
        "mean_test_score": scores,
        "spread": {name: spread(figures(name, "per_hour")) for name in ("auto", "floor")},
        "orchestration_share": outside,
        "noop": {**noop, **more, "gap_s": gap},
        "quickstart": {"before": before, "after": after},
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="those to measure, with commas (default all)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep finished measurements here, and go on from it")
    parser.add_argument("--workers", type=int, default=2, help="of every way (default 2); no more than there are CPUs")
    parser.add_argument("--trials", type=int, default=16, help="of cold, warm and auto; even (default 16)")
    parser.add_argument("--trials-slow", type=int, default=4, help="of authors and tune; even (default 4)")
    parser.add_argument(
        "--tune-sampling",
        choices=("group_by_length", "random"),
        default="group_by_length",
        help="of the Trainer: batches of rows of like length (default), which is faster, or its own default",
    )
    parser.add_argument("--trials-floor", type=int, help="of the floor (default: --trials)")
    parser.add_argument("--repetitions", type=int, default=3, help="of auto and floor, which alternate (default 3)")
    parser.add_argument(
        "--steps", type=int, default=60, help="of a trial; evaluated at the half and the end (default 60)"
    )
    parser.add_argument("--noops", type=int, nargs=2, default=(1000, 10000), help="two numbers (default 1000 10000)")
    parser.add_argument("--quickstart-trials", type=int, default=4, help="per backbone (default 4)")
    args = parser.parse_args(argv)
    args.parts = args.parts.split(",")
    args.trials_floor = args.trials_floor or args.trials
    args.trials_slow = min(args.trials_slow, args.trials)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if args.trials < 2 or args.trials % 2 or args.trials_slow < 2 or args.trials_slow % 2:
        parser.error("--trials and --trials-slow are even: half of the trials have either train seed")
    if not args.workers <= args.trials_floor <= args.trials:
        parser.error("--trials-floor is at least --workers and at most --trials")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    args = parse(argv)
    print_header()
    kept = Kept(args.keep)
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        bench = Bench(args, Path(folder))
        wanted = items(bench)
        for name, settings, measure in wanted:
            if name.split("-")[0] in args.parts:
                kept.make(name, settings, measure)

    def figures(name: str, figure: str) -> list[float]:
        mine = [(n, settings) for n, settings, _ in wanted if name in (n, n.rpartition("-")[0])]
        return [found[figure] for found in (kept.get(*one) for one in mine) if found]

    goals, last = line(figures, *args.noops)
    print(*goals, sep="\n")
    print(json.dumps(_rounded(last)))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
