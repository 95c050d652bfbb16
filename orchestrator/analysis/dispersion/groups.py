"""Rows put together that a spread is looked for in: one setting over all of its tasks.

A **setting** is all rows that agree in everything but task, count, seeds and learning rate (for methods: in everything
but task, method, seeds and rate). What belongs to a task (its data, its lengths, its row limits, the targets that it is
scored on) may differ between tasks; where one task stands there with several of these, they are settings of their own.

A **group** is a setting's runs by task, level and block: of one count by position seed and train seed; over its counts
by count and seeds; of a backbone's methods by method and train seed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.failed import by_class
from orchestrator.analysis.specs import operations_label, variants
from orchestrator.text import number
from trials.canonical import canonical
from trials.errors import ApetError
from trials.keys import AXES

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    *("spec", "cell_id", "family", "backbone", "scale", "backbone_parameters", "task", "method", "placement"),
    *("count_actual", "count_requested", "position_seed", "train_seed", "state", "test_score", "test_rows", "right"),
    *("precision", "failure_class"),
)
POSITION, METHODS, COUNTS = "position", "methods", "counts"
_LIMITS = ("train_rows", "validation_rows", "test_rows")
_LENGTHS = ("max_input_length", "max_generated_length")
Row = Mapping[str, Any]
Place = tuple[str, Hashable, Hashable]  # task, level, block


@dataclass(frozen=True)
class Group:
    """Runs whose levels are compared.

    Args:
        what: :data:`POSITION`, :data:`METHODS` or :data:`COUNTS`: what the levels are.
        setting: key of what groups of other backbones have in common with it.
        backbone: name.
        family: of it.
        scale: of it.
        parameters: how many it has; 0 where the rows don't say.
        placement: of ``apet``; '' for methods.
        operations: likewise.
        variant: what tells it apart from groups that agree in all of these.
        count: tunable parameters, of positions alone.
        like: the method that has as many on this backbone.
        runs: the rows with a test score.
        notes: what is left out of it, and what to know.
    """

    what: str
    setting: str
    backbone: str
    family: str
    scale: str
    parameters: int
    placement: str
    operations: str
    variant: str
    count: int | None
    like: str | None
    runs: Mapping[Place, Row] = field(repr=False)
    notes: tuple[str, ...] = ()


def groups(table: pa.Table) -> tuple[Group, ...]:
    """All groups of a table, by what they compare, then small backbones first.

    Args:
        table: of :func:`orchestrator.analysis.failed.with_failed`; other columns are passed over, and columns that
            older stores lack are null.
    """
    there = [name for name in COLUMNS if name in table.column_names]
    none = dict.fromkeys(COLUMNS)
    rows = [none | row for row in table.select(there).to_pylist()]
    positioned = _settings([r for r in rows if r["method"] == "apet"], with_method=True)
    others = _settings([r for r in rows if r["method"] not in ("apet", "full")], with_method=False)
    found = [group for setting in positioned for group in _of_positions(setting)]
    found += [_of_methods(setting) for setting in others]
    return tuple(sorted(found, key=_order))


def _order(group: Group) -> tuple[str | int | bool, ...]:
    what = (POSITION, METHODS, COUNTS).index(group.what)
    size = (group.family, group.parameters, group.backbone)
    return (what, *size, group.placement != "discrete", group.operations, group.variant, group.count or 0)


@dataclass(frozen=True)
class _Setting:
    key: str
    variant: str
    rows: Sequence[Row]


def _settings(rows: Iterable[Row], with_method: bool) -> list[_Setting]:
    """Rows by setting: told apart by what belongs to tasks only where one task stands there twice."""
    cells: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        cells[row["cell_id"]].append(row)
    specs = {cell: json.loads(of[0]["spec"]) for cell, of in cells.items()}
    alike: dict[str, list[str]] = defaultdict(list)
    for cell, spec in specs.items():
        alike[_reduced(spec, with_method, 0)].append(cell)
    made: dict[str, list[str]] = {}
    for key, members in alike.items():
        made |= {key: members} if _once(members, specs) else _split(members, specs, with_method)
    firsts = [cells[members[0]][0] for members in made.values()]
    names = [(r["backbone"], *((r["placement"], operations_label(r["spec"])) if with_method else ())) for r in firsts]
    told = variants(list(made), names)
    return [
        _Setting(_less(json.loads(key), ("backbone",)), variant, [row for cell in members for row in cells[cell]])
        for (key, members), variant in zip(made.items(), told, strict=True)
    ]


def _split(members: Iterable[str], specs: Mapping[str, dict[str, Any]], with_method: bool) -> dict[str, list[str]]:
    """By the tasks' row limits if that is enough, else by all that belongs to a task."""
    for fineness in (1, 2):
        finer: dict[str, list[str]] = defaultdict(list)
        for cell in members:
            finer[_reduced(specs[cell], with_method, fineness)].append(cell)
        if all(_once(of, specs) for of in finer.values()):
            break
    return finer


def _once(members: Iterable[str], specs: Mapping[str, dict[str, Any]]) -> bool:
    """Whether every task stands there in one way only."""
    found: dict[str, set[str]] = defaultdict(set)
    for cell in members:
        found[specs[cell]["task"]["name"]].add(canonical(_of_task(specs[cell], 2)))
    return all(len(ways) == 1 for ways in found.values())


def _reduced(spec: dict[str, Any], with_method: bool, fineness: int) -> str:
    """What is left of a spec in a setting's key."""
    method = {k: v for k, v in spec["method"].items() if k != "count"} if with_method else {}
    training = {k: v for k, v in spec["training"].items() if k not in _LENGTHS}
    rest = {k: v for k, v in spec.items() if k not in (*AXES, "task", "evaluate_on", "method", "training")}
    return canonical({**rest, "method": method, "training": training, **_of_task(spec, fineness)})


def _of_task(spec: dict[str, Any], fineness: int) -> dict[str, Any]:
    """What belongs to a task, its name aside: nothing, the row limits, all."""
    limits = {k: spec["task"][k] for k in _LIMITS}
    if fineness < 2:
        return limits if fineness else {}
    lengths = {k: spec["training"][k] for k in _LENGTHS}
    return {**limits, "lengths": lengths, "data": spec["task"]["data"], "evaluate_on": spec["evaluate_on"]}


def _less(data: dict[str, Any], left_out: tuple[str, ...]) -> str:
    return canonical({k: v for k, v in data.items() if k not in left_out})


def _of_positions(setting: _Setting) -> Iterable[Group]:
    """A group a count, and one over the counts."""
    by_count: dict[int, list[Row]] = defaultdict(list)
    for row in setting.rows:
        count = row["count_actual"] or row["count_requested"]  # a trial may fail before its module is built
        if count is not None:
            by_count[count].append(row)
    like = _like(setting.rows[0]["spec"])
    for count, rows in by_count.items():
        yield _group(POSITION, setting, rows, ("position_seed", "train_seed"), count, like.get(count))
    rows = [
        {**row, "level": like.get(count, count), "seeds": (row["position_seed"], row["train_seed"])}
        for count, of in by_count.items()
        for row in of
    ]
    if rows:
        yield _group(COUNTS, setting, rows, ("level", "seeds"))


def _of_methods(setting: _Setting) -> Group:
    rows = [{**row, "level": _method_label(row["spec"])} for row in setting.rows]
    return _group(METHODS, setting, rows, ("level", "train_seed"))


def _method_label(spec: str) -> str:
    """A method with its sizes: ``lora rank 8 alpha 16``."""
    method = json.loads(spec)["method"]
    sizes = [f"{k} {v:g}" for k, v in method.items() if isinstance(v, int | float) and k != "count"]
    return " ".join([method["name"], *sizes])


def _like(spec: str) -> dict[int, str]:
    """The methods by how many parameters they have on a spec's backbone, at their default sizes."""
    from trials.modules.methods import SIZED, count_of, named
    from trials.trial import Trial

    try:
        ref = Trial.from_spec(spec).backbone
        return {count: name for name in reversed(SIZED) if (count := count_of(named(name), ref)) is not None}
    except ApetError:  # a shape that one of them doesn't fit: then nothing is called by them
        return {}


def _group(
    what: str,
    setting: _Setting,
    rows: Sequence[Row],
    axes: tuple[str, str],
    count: int | None = None,
    like: str | None = None,
) -> Group:
    first = rows[0]
    scored = [r for r in rows if r["state"] != "failed" and r["test_score"] is not None]
    apet = what != METHODS
    return Group(
        what,
        setting.key,
        **{name: first[name] for name in ("backbone", "family", "scale")},
        parameters=first["backbone_parameters"] or 0,
        placement=(first["placement"] or "") if apet else "",
        operations=operations_label(first["spec"]) if apet else "",
        variant=setting.variant,
        count=count,
        like=like,
        runs={(r["task"], r[axes[0]], r[axes[1]]): r for r in scored},
        notes=tuple(_notes(rows, scored)),
    )


def _notes(rows: Sequence[Row], scored: Sequence[Row]) -> Iterable[str]:
    failed = [r for r in rows if r["state"] == "failed"]
    lost = sum(r["state"] == "diverged" and r["test_score"] is None for r in rows)
    bare = sum(r["state"] == "completed" and r["test_score"] is None for r in rows)
    why = [f"failed: {by_class(failed)}"] if failed else []
    why += [f"diverged before they had one: {lost}"] if lost else []
    why += [f"completed without one: {bare}"] if bare else []
    if why:
        yield f"without a score: {number(len(failed) + lost + bare, 'run')} ({'; '.join(why)})"
    precisions = sorted({r["precision"] for r in scored if r["precision"] is not None})
    if len(precisions) > 1:
        yield f"mixes precisions ({', '.join(precisions)}): run it on one kind of device"
