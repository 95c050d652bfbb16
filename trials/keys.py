"""What trials share, as keys: each is a spec less what may differ, or the little that must agree.

| key | shared by trials that differ only in |
|---|---|
| cell | seeds and learning rate: one cell of a table |
| curve | those and the count: one count curve |
| setting | those, the method and the zero-shot targets: a curve and the full fine-tuning beside it |
| pack | method, position seed and learning rate: they may train together |
| transfer | the task, its rows of train and validation, the learning rate and the zero-shot targets |
| matrix | those and the seeds: one matrix of tasks trained on by tasks scored |
| untrained | all that trains, and what trains it: the backbone alone answers the same test rows alike |
| warmth | all but the content of the backbone and the precision: a worker that has one loaded has the other's |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from trials.canonical import canonical, digest, without

AXES = ("learning_rate", "position_seed", "train_seed")
"""What differs inside a cell: the seeds, and the rate that is chosen on validation."""
PACK_AXES = ("learning_rate", "position_seed", "method")
"""What differs inside a pack; ``full`` is alone in its own."""
_AXES_TEXT = re.compile(rf',"(?:{"|".join(AXES)})":(?:null|[-+.0-9e]+)')  # behind "backbone", the first key
_COUNT_TEXT = re.compile(r'"count":(?:null|[0-9]+),')  # of the method, before its "name"
_NAMES = ("name", "scale", "head_scale")  # of a backbone: what it is called, and a number of the head's
_OF_THE_TASK = ("max_input_length", "max_generated_length")  # training settings that the task decides


@lru_cache(maxsize=1_000)
def warmth(backbone: str, precision: str) -> str:
    """Key of a backbone in memory: of its content, whatever it is called and wherever it was found.

    A task or a head changes nothing.

    Args:
        backbone: ``BackboneRef.text``.
        precision: as requested, or as resolved where it has been.
    """
    return digest(canonical([_less(json.loads(backbone), _NAMES), precision]))


def cell(spec: str) -> str:
    """Key of the cell of a spec."""
    return cell_and_curve(spec)[0]


def curve(spec: str) -> str:
    """Key of the count curve of a spec."""
    return cell_and_curve(spec)[1]


@lru_cache(maxsize=100_000)
def cell_and_curve(spec: str) -> tuple[str, str]:
    """Both keys of a spec.

    A canonical spec less some of its keys is its text less theirs, which takes a tenth of the time of parsing: wherever
    each stands there once, and not in a part that has one of the same name.
    """
    cell, axes = _AXES_TEXT.subn("", spec)
    curve, counts = _COUNT_TEXT.subn("", cell)
    if (axes, counts) == (len(AXES), 1):
        return digest(cell), digest(curve)
    data = _less(json.loads(spec), AXES)
    method = _less(data["method"], ("count",))
    return digest(canonical(data)), digest(canonical({**data, "method": method}))


def setting(spec: str) -> str:
    """Key of what a curve and its full fine-tuning runs share."""
    return without(spec, *AXES, "method", "evaluate_on")


def transfer(spec: str) -> str:
    """Key of a spec trained on its own task; :func:`transfers` has it for the targets of another."""
    data = json.loads(spec)
    return _transfer(data, data["task"])


def transfers(spec: str) -> dict[str, str]:
    """By target: the :func:`transfer` key of the trial that differs in nothing but being trained on the target.

    Limits of train and validation rows aren't in it: a target has none, and a limit that doesn't act is left out of a
    spec, so that only who knows the rows can tell whether two agree (``trials.store.transfers``).
    """
    data = json.loads(spec)
    return {target["name"]: _transfer(data, target) for target in data["evaluate_on"]}


def matrix(spec: str) -> str:
    """Key of a matrix of transfer: of all that trials on different tasks share there, less their seeds."""
    return canonical(_less(_of_any_task(json.loads(spec)), AXES))


def _transfer(data: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """On equal test rows: the score is of these."""
    return canonical({**_of_any_task(data), "task": [task[name] for name in ("name", "data", "test_rows")]})


def _of_any_task(data: Mapping[str, Any]) -> dict[str, Any]:
    """A spec less its task, what the task decides, and the learning rate that is chosen for it."""
    shared = _less(data, ("learning_rate", "evaluate_on", "task"))
    return shared | {"training": _less(data["training"], _OF_THE_TASK)}


@lru_cache(maxsize=1_000)
def untrained(spec: str, precision: str) -> str:
    """Key of the untrained module of a spec: of all that decides what the frozen backbone alone answers to the test.

    A train seed counts where it draws a head, and nowhere else.

    Args:
        spec: a trial's.
        precision: as resolved.
    """
    data = json.loads(spec)
    drawn = data["head"] in ("frozen", "trained")
    backbone = _less(data["backbone"], _NAMES[:2] if drawn else _NAMES)
    task = [data["task"][name] for name in ("name", "data", "test_rows")]
    lengths = [data["training"][name] for name in _OF_THE_TASK]
    seed = data["train_seed"] if drawn else None
    read = [data["head"], data["labels"], lengths, data["text_version"], precision, seed]
    return digest(canonical([backbone, task, *read]))


def _less(data: Mapping[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in left_out}
