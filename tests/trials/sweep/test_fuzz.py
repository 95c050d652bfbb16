"""Whatever a sweep file holds, the answer is a sweep or a clear error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trials.errors import ApetError
from trials.sweep.sweep import Sweep

KEYS = st.sampled_from(
    [
        *("backbones", "tasks", "methods", "counts", "from", "to"),
        *("points", "like", "method", "name", "family", "training"),
        *("steps", "eval_every", "early_stop", "learning_rates", "train_seeds", "position_seeds"),
        *("operations", "sites", "add", "plug", "placement", "head"),
        *("labels", "evaluate_on", "blocks", "resources", "gpus", "rank"),
        *("model_dir"),
    ]
)
NAMES = st.sampled_from(
    ["tiny-bert", "tiny-t5", "rte", "mnli", "lora", "apet", "full", "paper", "auto", "frozen", "x", ""]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**60), st.floats(), NAMES)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=4), max_leaves=12)
GOOD: dict[str, Any] = {
    "backbones": ["tiny-bert", "tiny-t5"],
    "tasks": ["rte", {"name": "sst2", "test_rows": 5}],
    "methods": ["lora", {"method": "apet", "counts": {"from": 1, "to": 9, "points": 2}, "sites": {"add": ["q"]}}],
    "learning_rates": [1e-3],
    "training": {"steps": 4},
    "evaluate_on": ["mrpc"],
    "labels": "unified",
}


def outcome(text: str) -> Sweep | str:
    """The sweep, or the error's message."""
    try:
        return Sweep.parse(text, where="f.yaml")
    except ApetError as error:
        return str(error)


def replaced(value: Any, where: list[int], new: Any) -> Any:
    """``value`` with something inside it replaced: ``where`` says which entry at each level."""
    if not where or not isinstance(value, dict | list) or not value:
        return new
    if isinstance(value, list):
        index = where[0] % len(value)
        return [replaced(v, where[1:], new) if i == index else v for i, v in enumerate(value)]
    chosen = list(value)[where[0] % len(value)]
    return {k: replaced(v, where[1:], new) if k == chosen else v for k, v in value.items()}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=4), VALUES), max_size=3),
    st.dictionaries(KEYS, VALUES, max_size=2),
)
def test_a_sweep_or_a_clear_error(changes: list[tuple[list[int], Any]], extra: dict[str, Any]) -> None:
    data = GOOD
    for where, new in changes:
        data = replaced(data, where, new)
    if isinstance(data, dict):
        data = {**data, **extra}
    answer = outcome(json.dumps(data))
    assert isinstance(answer, Sweep) or ("f.yaml:" in answer and "Input should" not in answer)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("ab:-[]{}, \n#&*!%'\"|>?", max_size=40))
def test_any_text_at_all(text: str) -> None:
    answer = outcome(text)
    assert isinstance(answer, Sweep) or "f.yaml:" in answer
