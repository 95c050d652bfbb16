"""Rows whose spread is known: over position seeds, one task or two, two scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from study_rows import apet, row, selected, trial

from orchestrator.analysis.dispersion.dispersion import dispersion
from orchestrator.analysis.dispersion.result import Dispersion
from trials.store.record import Record

SCORES = (0.71, 0.74, 0.7, 0.77, 0.73)
SMALL, LARGE = "quickstart-l3", "quickstart-l6"


def seeds(scores: Sequence[float | None], count: int = 1000, **options: object) -> list[Record]:
    return [row(trial(apet(count), seed=seed, **options), score) for seed, score in enumerate(scores)]


def made(rows: list[Record], **options: object) -> Dispersion:
    return dispersion(selected(rows), **options)


def scaled(factor: float, count: int, backbone: str, seed: int = 0) -> list[Record]:
    luck = np.random.default_rng([seed, count]).standard_normal(5)
    luck = (luck - luck.mean()) / luck.std(ddof=1)
    return [
        row(trial(apet(count), seed=s, backbone=backbone, task=task), round(0.75 + factor * z, 3))
        for task in ("rte", "mrpc")
        for s, z in enumerate(luck)
    ]
