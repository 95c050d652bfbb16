"""How long results take on a large store: `apet thresholds`, `dispersion`, `convergence`, `report` on 10 000 rows.

    .venv/bin/python benchmarks/results_speed.py                  # minutes
    .venv/bin/python benchmarks/results_speed.py --small          # also from 10 000 small files, out of the page cache

A made-up study: 7 backbones of three families, 5 tasks, 3 placements and operations, so 105 count curves of 16 counts,
3 position seeds and 2 learning rates, and three runs of full fine-tuning beside them; every row has answers to 1 000
test rows, and a learning curve of ten evaluations. The store is compacted: one file of rows, one of curves. (Files of
`answers/` are left out: nothing here reads them.)

Each command is timed as a process of its own, and its function in one process: on a store just opened, and once more on
the same one, as a notebook has it. Seconds, the fastest of `--repeats`. `digest` is that of `thresholds --json`, by
which two versions of the code are compared. Prints the machine, a table, and one line of JSON at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import print_header

import orchestrator
from trials.backbones import BACKBONES, parameters
from trials.store.record import CURVES, SCHEMA, Record, attempt_table, curve_table, record
from trials.store.scores import pack_scores
from trials.store.seal import parquet
from trials.store.store import Store
from trials.trial import BackboneRef, Method, Source, TaskRef, Training, Trial

SCALES = ("bert-small", "bert-base", "bert-large", "bloom-560m", "bloom-7b1", "t5-small", "t5-xxl")
TASKS = ("sst2", "rte", "mrpc", "qnli", "rotten_tomatoes")
MODULES = (("discrete", ("add", "concat", "plug")), ("adjacent", ("add", "concat", "plug")), ("discrete", ("add",)))
COUNTS = tuple(round(16 * 4 ** (i * 0.6)) for i in range(16))
RATES = (1e-4, 1e-3)
TEST_ROWS, EVALUATIONS, STEPS = 1_000, 10, 1_000
NAMES = ("thresholds", "dispersion", "convergence", "transfer", "report")
PROGRAM = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
Written = list[tuple[Record, list[dict[str, Any]]]]


def trials() -> Iterator[tuple[Trial, float]]:
    """Every trial of the study and the score that it tends to."""
    for scale, name in enumerate(SCALES):
        for task in TASKS:
            top = 0.75 + 0.02 * scale
            for seed in range(3):
                yield _trial(BACKBONES[name], task, Method("full"), None, seed, RATES[0]), top
            for placement, operations in MODULES:
                shares = dict.fromkeys(operations, 1)
                for count in COUNTS:
                    method = Method("apet", operations=shares, sites={}, placement=placement, count=count)
                    mean = 0.5 + (top - 0.5) / (1 + math.exp(-1.5 * math.log(count / 2_000 * (1 + scale))))
                    for position in range(3):
                        for rate in RATES:
                            worse = 0.05 * (mean - 0.5) * (rate != RATES[(len(task) + count) % 2])
                            yield _trial(BACKBONES[name], task, method, position, 0, rate), mean - worse


def _trial(backbone: BackboneRef, task: str, method: Method, position: int | None, seed: int, rate: float) -> Trial:
    return Trial(
        backbone=backbone,
        task=TaskRef(task, Source("hub", task, "1")),
        method=method,
        learning_rate=rate,
        training=Training(steps=STEPS, eval_every=STEPS // EVALUATIONS),
        train_seed=seed,
        position_seed=position,
        head="verbalizer" if backbone.family == "bert" else None,
    )


def study() -> Written:
    """The rows, each with its learning curve; the same every time."""
    rng = np.random.default_rng(0)
    floor = pack_scores(rng.random(TEST_ROWS) < 0.5)
    untrained = {task: pack_scores(rng.random(TEST_ROWS) < 0.5) for task in TASKS}
    hard = {task: rng.random(TEST_ROWS) for task in TASKS}
    return [_written(trial, mean, hard[trial.task.name], floor, untrained, rng) for trial, mean in trials()]


def _written(
    trial: Trial, mean: float, hard: Any, floor: bytes, untrained: dict[str, bytes], rng: np.random.Generator
) -> tuple[Record, list[dict[str, Any]]]:
    aim = mean + 0.01 * rng.standard_normal()
    right = np.where(rng.random(TEST_ROWS) < 0.7, hard, rng.random(TEST_ROWS)) < aim
    best = float(np.clip(aim, 0, 1))
    row = record(
        trial,
        attempt_id=f"{trial.trial_id}-0-{rng.integers(2**32):08x}",
        state="completed",
        metric="accuracy",
        validation_score=best,
        test_score=float(right.mean()),
        test_rows=TEST_ROWS,
        chance=0.5,
        majority=0.5,
        right=pack_scores(right),
        majority_right=floor,
        untrained_score=0.5,
        untrained_right=untrained[trial.task.name],
        count_actual=trial.method.count or parameters(trial.backbone),
        backbone_parameters=parameters(trial.backbone),
        precision="fp32",
        steps_done=STEPS,
        train_s=10.0,
        eval_s=2.0,
        wall_s=12.0,
        device="cpu",
        devices=1,
    )
    steps = [STEPS // EVALUATIONS * (i + 1) for i in range(EVALUATIONS)]
    values = [0.5 + (best - 0.5) * (1 - math.exp(-4 * step / STEPS)) for step in steps]
    points = [
        {"step": s, "split": "validation", "metric": "accuracy", "value": v} for s, v in zip(steps, values, strict=True)
    ]
    return row, points


def compacted(place: Path, written: Written) -> Path:
    """A store of one file of rows and one of curves."""
    tables = {
        "attempts": pa.concat_tables(attempt_table(row) for row, _ in written),
        "curves": pa.concat_tables(curve_table(row, points) for row, points in written),
    }
    assert tables["attempts"].schema == SCHEMA
    assert tables["curves"].schema == CURVES
    for folder, table in tables.items():
        (place / folder).mkdir(parents=True)
        (place / folder / "all.parquet").write_bytes(parquet(table.combine_chunks()))
    return place


def small(place: Path, written: Written) -> Path:
    """A store of two files an attempt, as workers leave it."""
    for row, points in written:
        for folder, table in (("attempts", attempt_table(row)), ("curves", curve_table(row, points))):
            path = place / folder / row["attempt_id"][:2] / f"{row['attempt_id']}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(parquet(table))
    return place


def out_of_cache(place: Path) -> None:
    """Let the system forget the content of files, as far as it does so for an ordinary user."""
    for path in place.rglob("*.parquet"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def command(name: str, store: Path, out: Path) -> float:
    """Seconds of a command as a process."""
    words = [name, "--store", str(store), *(["--out", str(out)] if name == "report" else ["--json"])]
    begun = time.perf_counter()
    subprocess.run([*PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def function(name: str, store: Path, out: Path) -> tuple[float, float]:
    """Seconds of a function on a store just opened, and once more on the same one."""
    opened, call = Store(store), getattr(orchestrator, name)
    given = (opened, out) if name == "report" else (opened,)
    return _seconds(call, *given), _seconds(call, *given)


def _seconds(call: Callable[..., object], *given: object) -> float:
    begun = time.perf_counter()
    call(*given)
    return time.perf_counter() - begun


def timed(store: Path, out: Path, repeats: int, before: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Seconds of every analysis that there is: process, function, once more."""
    found = {}
    for name in [n for n in NAMES if n in orchestrator.__all__]:
        times = []
        for _ in range(repeats):
            if before is not None:
                before(store)
            process = command(name, store, out)
            if before is not None:
                before(store)
            times.append((process, *function(name, store, out)))
        fastest = (round(min(of), 3) for of in zip(*times, strict=True))
        found[name] = dict(zip(("process_s", "function_s", "again_s"), fastest, strict=True))
        print(f"{name:12}" + "".join(f"{key} {value:8.2f}  " for key, value in found[name].items()), flush=True)
    return found


def main() -> None:
    """Make the store, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="also small files out of the page cache")
    asked = parser.parse_args()
    print_header()
    with tempfile.TemporaryDirectory() as folder:
        written, place = study(), Path(folder)
        curves = sum(row["method"] == "full" for row, _ in written)
        print(f"{len(written)} rows, {curves} curves, compacted")
        store = compacted(place / "store", written)
        said = subprocess.run([*PROGRAM, "thresholds", "--store", store, "--json"], check=True, stdout=subprocess.PIPE)
        line = {
            "rows": len(written),
            "digest": hashlib.sha256(said.stdout).hexdigest()[:16],
            "compacted": timed(store, place / "report", asked.repeats),
        }
        if asked.small:
            print("small files, cold")
            line["small_cold"] = timed(small(place / "small", written), place / "report", 1, out_of_cache)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
