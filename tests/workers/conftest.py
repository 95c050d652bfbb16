"""Tiny trials and rows as fixtures of the workers' tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trials_for_tests import make_trial
from worker_for_tests import BAD, GOOD

from trials.sources.locations import find_data
from trials.trial import TaskRef, Trial

torch.set_num_threads(1)


@pytest.fixture
def trial(folder: Path) -> Callable[..., Trial]:
    """The factory :func:`make_trial`, for trials on the rows of ``folder``."""
    task = TaskRef("rotten_tomatoes", find_data("rotten_tomatoes", folder)[0])

    def make(backbone: str = "tiny-bert", method: str = "apet", *, trial: Any = None, **sizes: Any) -> Trial:
        return make_trial(backbone, method, trial={"task": task, **(trial or {})}, **sizes)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixteen rows, the same in every split: the worker must learn them by heart."""
    place = tmp_path / "reviews"
    place.mkdir()
    rows = [{"text": f"{x} {n}", "label": y} for n in ("one", "two") for y, xs in ((1, GOOD), (0, BAD)) for x in xs]
    for split in ("train", "validation", "test"):
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place
