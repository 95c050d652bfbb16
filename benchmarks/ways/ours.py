"""The trials of the comparison, and this project's ways to run them, through what a user has."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from trials import Pack, Store, Sweep, Trial, tasks
from trials.pack import Member
from ways import processes
from ways.arithmetic import shares

APET = ("-c", "from orchestrator.cli import main; main()", "--quiet")
SEEDS = (0, 1)
SWEEP = """\
name: compared
backbones: [quickstart-l6]
tasks: [{{name: rotten_tomatoes, validation_rows: 200, test_rows: 500}}]
methods: [{{method: lora, rank: 8}}]
train_seeds: {seeds}
learning_rates: {rates}
training: {{steps: {steps}, batch_size: 24, eval_every: {eval_every}}}
"""
NOTHING = """\
name: nothing
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, train_rows: 100, validation_rows: 10, test_rows: 10}}]
methods: [bitfit]
train_seeds: {trials}
learning_rates: [1.0e-3]
training: {{steps: 1, batch_size: 8}}
resources: {{pack_size: 1}}
"""


def compared(file: Path, trials: int, steps: int) -> Sweep:
    """The trials that all ways run, in a sweep file: ``trials`` is even, half of them of either train seed."""
    rates = [float(f"{rate:.3g}") for rate in (np.geomspace(1e-3, 1e-2, trials // 2) if trials > 2 else [3e-3])]
    written = SWEEP.format(seeds=list(SEEDS), rates=rates, steps=steps, eval_every=-(-steps // 2))
    file.write_text(written)
    return Sweep.load(file)


def some(sweep: Sweep, n: int) -> list[Trial]:
    """``n`` of its trials: both train seeds, rates that are spread evenly."""
    rates = sorted({trial.learning_rate for trial in sweep.trials()})
    few = max(1, n // len(SEEDS))
    chosen = {rates[int((i + 0.5) * len(rates) / few)] for i in range(few)}
    return [trial for trial in sweep.trials() if trial.learning_rate in chosen]


def job(folder: Path, sweep: Sweep, trials: list[Trial]) -> Path:
    """The same trials for somebody who knows nothing of this project: rows as JSON lines, everything else as JSON."""
    from workers.backbone.heads import frozen_head
    from workers.backbone.weights import package_folder
    from workers.rows.data import load_rows

    first, task = trials[0], tasks.get(trials[0].task.name)
    sources = sweep.sources(first)
    rows = load_rows(task, first.task, sources.data)
    for split in ("train", "validation", "test"):
        some = getattr(rows, split)
        lines = [
            json.dumps({"text": text, "label": label}) for (text,), label in zip(some.texts, some.answers, strict=True)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    kind, _, package = sources.weights.partition(":")
    assert kind == "package", sources.weights
    shape, scale = first.backbone.shape, first.backbone.head_scale
    assert scale is not None
    heads = {seed: frozen_head(len(task.labels), shape.d_model, scale, seed).tolist() for seed in SEEDS}
    written: dict[str, Any] = {
        "model": str(package_folder(package, "model.safetensors")),
        "data": str(folder),
        "rank": first.method.rank,
        "alpha": int(first.method.alpha or 0),
        "max_length": task.max_input_length,
        "steps": first.training.steps,
        "batch_size": first.training.batch_size,
        "eval_every": first.training.eval_every,
        "trials": [
            {"learning_rate": t.learning_rate, "train_seed": t.train_seed, "head": heads[t.train_seed]} for t in trials
        ],
    }
    file = folder / "job.json"
    file.write_text(json.dumps(written))
    return file


def cold(folder: Path, sweep: Sweep, workers: int) -> Store:
    """Packs of one, a process each, as many at a time as there are workers."""
    store, commands = Store(folder / "store", create=True), []
    for i, trial in enumerate(sweep.trials()):
        file = folder / f"pack-{i}.json"
        file.write_text(Pack(f"cold-{i}", (Member(trial),), sweep.sources(trial), sweep.name).to_json())
        commands.append(("-m", "workers.run", str(file), "--store", store.uri, "--threads", "1"))
    processes.at_once(workers, commands, folder.parent / "cache-cold")
    return store


def driven(sweep: Path | str, store: Path, cache: Path, workers: int, *options: str) -> Store:
    """All trials of a sweep, or of some, by one ``apet run``."""
    words = (*APET, "run", str(sweep), "--store", str(store), "--max-concurrent", str(workers), *options)
    processes.python(*words, cache=cache)
    return Store(store)


def rows(store: Store) -> list[dict[str, Any]]:
    """The visible rows; all must be completed."""
    found: list[dict[str, Any]] = store.trials().to_pylist()
    bad = [f"{row['trial_id']} {row['state']}: {row['error_message']}" for row in found if row["state"] != "completed"]
    if bad or not found:
        raise SystemExit(f"store {store.uri}: {len(found)} trials, not completed:\n" + "\n".join(bad))
    return found


def figures(store: Store, seconds: float, few: list[Trial]) -> dict[str, Any]:
    """Of one run: its seconds, how worker time went, sizes of packs, mean test score of all trials and of some."""
    found = rows(store)
    ids = {trial.trial_id for trial in few}
    scores = [row["test_score"] for row in found if row["trial_id"] in ids]
    return {
        "seconds": seconds,
        "trials": len(found),
        **shares(found),
        "pack_sizes": sorted({row["pack_size"] for row in found}),
        "test": float(np.mean([row["test_score"] for row in found])),
        "test_of_few": float(np.mean(scores)) if scores else None,
    }


def timed(make: Any) -> tuple[Store, float]:
    """What ``make()`` gives, and its wall seconds."""
    start = perf_counter()
    store = make()
    return store, perf_counter() - start
