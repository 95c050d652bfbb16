"""What it costs to run trials beside training them: warm workers under one driver against a process per trial.

Three measurements, each through the commands that a user has, on as many workers as the driver starts here:

1. The same ``--trials`` trials (a bias on every layer, other seeds, ``--steps`` steps on ``--backbone``) as (a) one
   process per trial, ``python -m workers.run`` on its pack, as many at a time as there are workers, each with
   one thread, and (b) one ``apet run``. Wall seconds, both with everything: Python's start, imports, Ray, loading
   backbone and data. Both stores must hold the same scores.
2. No-op trials (no steps, one row to evaluate, a tiny backbone): ``apet run`` on each number of ``--noops``.
   Milliseconds per trial, between the moments when the first and the last trial ended, so without the start.
   The two sizes should agree: time per trial must not grow with the number of trials.
3. The quickstart's share of worker time outside training and evaluation, 1 - sum(train_s + eval_s) / sum(wall_s) over
   the rows of ``--quickstart-store``, or of a new store with ``--quickstart-trials`` trials of either backbone.
   Loading is a part of it, and is also printed alone: it is paid once per worker and backbone, so a small part of the
   quickstart overstates it.

Packs hold one trial in 1 and 2: what is measured is the way to a worker, not training together. Run it on a quiet
machine. The backbones and reviews come with the extra ``quickstart``. The last line is one JSON object: per_process_s,
driver_s (of 1), noop_ms_100, noop_ms_1000 (named by their numbers of trials), share.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from machine import print_header

from orchestrator.driver.run import missing
from orchestrator.planning.devices import here
from orchestrator.planning.packing import packs
from trials.store.store import Store
from trials.sweep.sweep import Sweep

APET = ("-c", "from orchestrator.cli import main; main()")
SWEEP = """\
name: overhead
backbones: [{backbone}]
tasks: [{{name: rotten_tomatoes, train_rows: {rows}, validation_rows: {rows}, test_rows: {rows}}}]
methods: [bitfit]
train_seeds: {trials}
learning_rates: [1.0e-3]
training: {{steps: {steps}, batch_size: 8}}
resources: {{pack_size: 1}}
"""


def python(*words: str) -> None:
    """Run a new Python process; it must succeed."""
    done = subprocess.run([sys.executable, *words], capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr.decode()}")


def sweep_file(folder: Path, **settings: object) -> Path:
    """A sweep of ``trials`` trials."""
    path = folder / "overhead.yaml"
    path.write_text(SWEEP.format(**settings))
    return path


def by_processes(sweep: Path, folder: Path, workers: int) -> Store:
    """Every trial in a process of its own, ``workers`` at a time."""
    store = Store(folder / "processes", create=True)
    _, todos = missing(Sweep.load(sweep), store)
    files = []
    for i, planned in enumerate(packs(todos)):
        files.append(folder / f"pack-{i}.json")
        files[-1].write_text(planned.pack(f"pack-{i}").to_json())
    with ThreadPoolExecutor(workers) as pool:
        list(
            pool.map(lambda file: python("-m", "workers.run", str(file), "--store", store.uri, "--threads", "1"), files)
        )
    return store


def by_driver(sweep: str | Path, store: Path, *options: str) -> Store:
    """All trials by one ``apet run``."""
    python(*APET, "--quiet", "run", str(sweep), "--store", str(store), *options)
    return Store(store)


def compare(folder: Path, workers: int, **settings: object) -> tuple[float, float]:
    """Wall seconds of the same trials as one process each, and by the driver."""
    sweep = sweep_file(folder, rows=100, **settings)
    start = perf_counter()
    one = scores(by_processes(sweep, folder, workers))
    middle = perf_counter()
    other = scores(by_driver(sweep, folder / "driver"))
    end = perf_counter()
    if one != other:
        sys.exit(f"not the same results: {one} by processes, {other} by the driver")
    return middle - start, end - middle


def noop_ms(folder: Path, trials: int) -> float:
    """Milliseconds per no-op trial, without the start."""
    sweep = sweep_file(folder, backbone="tiny-bert", trials=trials, rows=1, steps=0)
    ended = sorted(row["finished_at"] for row in rows(by_driver(sweep, folder / f"noop-{trials}")))
    assert len(ended) == trials, f"{len(ended)} rows of {trials} trials"
    return 1000 * float((ended[-1] - ended[0]).total_seconds()) / (trials - 1)


def quickstart(folder: Path, trials: int) -> Store:
    """The first ``trials`` trials of each of the quickstart's backbones."""
    for backbone in ("quickstart-l6", "quickstart-l3"):
        by_driver("quickstart", folder, "--where", f"backbone = '{backbone}'", "--limit", str(trials))
    return Store(folder)


def shares(store: Store) -> tuple[float, float]:
    """The share of worker time outside training and evaluation, and of loading alone; over all attempts."""
    found = store.attempts().to_pylist()
    total = {name: sum(row[name] or 0.0 for row in found) for name in ("load_s", "train_s", "eval_s", "wall_s")}
    return 1 - (total["train_s"] + total["eval_s"]) / total["wall_s"], total["load_s"] / total["wall_s"]


def rows(store: Store) -> list[dict[str, Any]]:
    """The visible rows; all must be completed."""
    found: list[dict[str, Any]] = store.trials().to_pylist()
    bad = [f"{row['trial_id']} {row['state']}: {row['error_message']}" for row in found if row["state"] != "completed"]
    if bad or not found:
        sys.exit(f"store {store.uri}: {len(found)} trials, not completed:\n" + "\n".join(bad))
    return found


def scores(store: Store) -> dict[str, tuple[float, float]]:
    """Validation and test score of every trial."""
    return {row["trial_id"]: (row["validation_score"], row["test_score"]) for row in rows(store)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="of measurement 1 (default 20)")
    parser.add_argument("--steps", type=int, default=10, help="of each of them (default 10)")
    parser.add_argument("--backbone", default="quickstart-l3", help="of them (default quickstart-l3)")
    parser.add_argument("--noops", type=int, nargs=2, default=(100, 1000), help="two sizes (default 100 1000)")
    parser.add_argument("--quickstart-store", metavar="URI", help="a finished quickstart's store")
    parser.add_argument(
        "--quickstart-trials", type=int, default=4, help="without one: so many per backbone (default 4)"
    )
    args = parser.parse_args(argv)
    print_header()
    workers = here().cpus
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone, driven = compare(folder, workers, backbone=args.backbone, trials=args.trials, steps=args.steps)
        print(
            f"{args.trials} trials, {workers} workers: a process each {alone:.1f} s, driver {driven:.1f} s", flush=True
        )
        noops = {f"noop_ms_{trials}": noop_ms(folder, trials) for trials in args.noops}
        print(", ".join(f"{name} {value:.1f} ms" for name, value in noops.items()), flush=True)
        uri, part = args.quickstart_store, args.quickstart_trials
        share, loading = shares(Store(uri) if uri else quickstart(folder / "quickstart", part))
    print(f"quickstart: {share:.1%} of worker time outside training and evaluation, of which loading {loading:.1%}")
    plain = {"per_process_s": alone, "driver_s": driven, **noops, "share": share}
    print(json.dumps({name: round(value, 4) for name, value in plain.items()}))


if __name__ == "__main__":
    main()
