"""Short sweeps with one key changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trials.errors import Problems
from trials.sweep.sweep import Sweep
from trials.trial import Trial


def sweep(**keys: Any) -> Sweep:
    """A sweep of one lora trial on tiny-bert and rte, with some keys replaced (None: left out)."""
    base = {
        "backbones": ["tiny-bert"],
        "tasks": ["rte"],
        "methods": ["lora"],
        "learning_rates": [1e-3],
        "training": {"steps": 4},
    }
    return Sweep.parse(json.dumps({k: v for k, v in {**base, **keys}.items() if v is not None}))


def apet(**keys: Any) -> dict[str, Any]:
    return {"method": "apet", "counts": [100], **keys}


def one(**keys: Any) -> Trial:
    (trial,) = sweep(**keys).trials()
    return trial


def column(found: Sweep, *path: str) -> list[Any]:
    """A value of every trial's spec."""
    values = []
    for trial in found.trials():
        value = json.loads(trial.spec)
        for key in path:
            value = value[key]
        values.append(value)
    return values


GOOD = """
backbones: [tiny-bert]
tasks: [rte]
methods: [lora]
learning_rates: [1e-3]
training: {steps: 4}
"""


def problems(text: str, folder: Path | None = None) -> list[str]:
    with pytest.raises(Problems) as error:
        Sweep.parse(text, where="f.yaml", folder=folder)
    return list(error.value.problems)


def changed(**keys: Any) -> list[str]:
    """The problems of a good sweep with some keys replaced (None: left out)."""
    base = {
        "backbones": ["tiny-bert"],
        "tasks": ["rte"],
        "methods": ["lora"],
        "learning_rates": [1e-3],
        "training": {"steps": 4},
    }
    return problems(json.dumps({k: v for k, v in {**base, **keys}.items() if v is not None}))


def only(found: list[str], *parts: str) -> None:
    """There is one problem, and it says all of this."""
    assert len(found) == 1, "\n".join(found)
    for part in parts:
        assert part in found[0], found[0]
