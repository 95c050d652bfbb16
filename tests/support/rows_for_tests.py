"""Trials and rows of a tiny made-up study, as a worker would write them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from trials.store.record import SCHEMA, Record, record
from trials.trial import BackboneRef, Method, Shape, Source, TaskRef, Training, Trial

SHAPE = Shape(2, 0, 64, 128, 4, 16, 2048, 256, lm_head=True)
TINY = BackboneRef("tiny-bert", "bert", "tiny", SHAPE, Source("random", "tiny-bert", "1"))


def task(name: str = "sst2") -> TaskRef:
    return TaskRef(name, Source("hub", f"glue/{name}", "main"))


def trial(
    count: int = 16,
    *,
    seed: int = 0,
    rate: float = 1e-3,
    on: str = "sst2",
    targets: tuple[str, ...] = (),
    length: int = 128,
) -> Trial:
    return Trial(
        backbone=TINY,
        task=task(on),
        method=Method("apet", operations={"add": 1}, sites={"add": ("q", "v")}, placement="discrete", count=count),
        learning_rate=rate,
        training=Training(60, max_input_length=length),
        position_seed=seed,
        head="verbalizer",
        evaluate_on=tuple(task(name) for name in targets),
    )


def row(of: Trial | None = None, state: str = "completed", score: float | None = 0.5, **columns: Any) -> Record:
    """A row whose test score is its validation score, unless told otherwise."""
    return record(of or trial(), **{"state": state, "validation_score": score, "test_score": score, **columns})


def point(step: int, value: float | None = 0.5) -> dict[str, Any]:
    return {"step": step, "split": "validation", "metric": "accuracy", "value": value, "loss": 1.0, "seconds": 0.1}


def attempts(*rows: Record) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)
