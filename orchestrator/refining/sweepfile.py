"""Trials as the text of a sweep file, blocks that multiply out to just these."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from trials.backbones import BACKBONES
from trials.errors import ApetError
from trials.sources.locations import plainly
from trials.sweep import yaml as sweep_yaml
from trials.sweep.schema import LONGEST_NAME
from trials.sweep.sweep import Sweep
from trials.trial import TaskRef, Trial

LIMITS = ("train_rows", "validation_rows", "test_rows")
TRAINING = ("steps", "batch_size", "eval_every", "early_stop", "precision")
Point = tuple[int | None, int, float]  # position seed, train seed, learning rate


def text(trials: Sequence[Trial], sweep: Sweep, comments: Iterable[str] = ()) -> str:
    """YAML that ``apet run`` takes and whose trials are these.

    Args:
        trials: of the sweep, its seeds aside.
        sweep: where weights and data are, and what packs may use.
        comments: lines at its top.
    """
    document: dict[str, Any] = {"name": f"{sweep.name[: LONGEST_NAME - 5]}-next"}
    resources = sweep_yaml.read(sweep.text, sweep.where).data.get("resources")
    if resources:
        document["resources"] = resources
    document["blocks"] = [block for some in _alike(trials) for block in _blocks(some, sweep)]
    return "".join(f"# {line}\n" for line in comments) + _dumped(document)


def _alike(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials that differ in count, seeds and learning rate alone."""
    found: dict[Hashable, list[Trial]] = defaultdict(list)
    for one in trials:
        found[one.curve_id].append(one)
    return list(found.values())


def _blocks(trials: Sequence[Trial], sweep: Sweep) -> list[dict[str, Any]]:
    """One for each set of counts that share their seeds and rates."""
    points: dict[int | None, list[Point]] = defaultdict(list)
    for one in trials:
        points[one.method.count].append((one.position_seed, one.train_seed, one.learning_rate))
    by_points: dict[tuple[Point, ...], list[int]] = defaultdict(list)
    for count, some in points.items():
        for part in _products(some):
            by_points[part].append(count or 0)
    common = _common(trials[0], sweep)
    return [common | {"methods": [_method(trials[0], sorted(n), part)]} for part, n in by_points.items()]


def _products(points: Sequence[Point]) -> list[tuple[Point, ...]]:
    """Points as sets that are all combinations of their seeds and rates."""
    axes = [list(dict.fromkeys(point[i] for point in points)) for i in range(3)]
    if len(axes[0]) * len(axes[1]) * len(axes[2]) == len(points):
        return [tuple(sorted(points, key=str))]
    apart: dict[tuple[int, float], list[Point]] = defaultdict(list)
    for point in points:
        apart[point[1:]].append(point)
    return [tuple(sorted(some, key=str)) for some in apart.values()]


def _method(like: Trial, counts: Sequence[int], points: Sequence[Point]) -> dict[str, Any]:
    method = like.method
    made: dict[str, Any] = {"method": method.name}
    if method.name == "apet":
        made["operations"] = dict(method.operations or {})
        made["sites"] = {operation: list(kinds) for operation, kinds in (method.sites or {}).items()}
        made |= {"tokens": method.tokens} if method.tokens is not None else {}
        made |= {"placement": method.placement, "counts": list(counts)}
        made["position_seeds"] = sorted({p for p, _, _ in points if p is not None})
    made["train_seeds"] = sorted({t for _, t, _ in points})
    made["learning_rates"] = sorted({rate for _, _, rate in points})
    return made


def _common(like: Trial, sweep: Sweep) -> dict[str, Any]:
    sources = sweep.sources(like)
    ref = like.backbone
    backbone: dict[str, Any] = {"name": ref.name}
    if ref.weights.kind == "folder":
        backbone |= {"model_dir": _whole(sources.weights)}
        backbone |= {} if ref.name in BACKBONES else {"family": ref.family, "scale": ref.scale}
    made: dict[str, Any] = {"backbones": [backbone], "tasks": [_task(like.task, sources.data)]}
    if like.head is not None:
        made["head"] = like.head
    made["labels"] = like.labels
    if like.evaluate_on:
        made["evaluate_on"] = [_task(one, sources.targets[one.name]) for one in like.evaluate_on]
    made["training"] = {key: getattr(like.training, key) for key in TRAINING}
    return made


def _task(ref: TaskRef, place: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": ref.name}
    if ref.data.kind == "folder":
        made["data_dir"] = _whole(place)
    return made | {key: limit for key in LIMITS if (limit := getattr(ref, key)) is not None}


def _whole(place: str) -> str:
    """A folder's path, from its location."""
    return plainly(place).partition(":")[2]


def _dumped(document: dict[str, Any]) -> str:
    from ruamel.yaml import YAML

    yaml, stream = YAML(typ="rt"), io.StringIO()
    yaml.default_flow_style = None  # lists of numbers in one line
    yaml.width = 110
    yaml.dump(document, stream)
    return stream.getvalue()


def check(written: str, trials: Sequence[Trial], sweep: Sweep) -> None:
    """Make sure that a text means just these trials.

    Raises:
        ApetError: it doesn't, which is a fault of ours.
    """
    made = {one.trial_id for one in Sweep.parse(written, f"{sweep.name}-next.yaml", sweep.folder).trials()}
    wanted = {one.trial_id for one in trials}
    if made != wanted:
        raise ApetError(
            f"sweep {sweep.name}: the file for its next {len(wanted)} trials would hold {len(made ^ wanted)} others or "
            "lack them; `apet run SWEEP --until-resolved` runs them all the same"
        )
