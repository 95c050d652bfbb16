"""Tiny trials and rows as fixtures of the workers' tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trials_for_tests import make_trial
from worker_for_tests import BAD, GOOD

from trials.trial import Trial

torch.set_num_threads(1)


@pytest.fixture
def trial() -> Callable[..., Trial]:
    """The factory :func:`make_trial`."""
    return make_trial


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixteen rows, the same in every split: the worker must learn them by heart."""
    place = tmp_path / "reviews"
    place.mkdir()
    rows = [{"text": f"{x} {n}", "label": y} for n in ("one", "two") for y, xs in ((1, GOOD), (0, BAD)) for x in xs]
    for split in ("train", "validation", "test"):
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place
