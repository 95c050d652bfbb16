"""Matrices of transfer: runs of one backbone and module, by the task of the training and that of the score."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.analysis.answers import Replicate
from orchestrator.analysis.flat import read
from orchestrator.analysis.specs import operations_label, variants
from trials import keys
from trials.canonical import canonical
from trials.errors import ApetError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "backbone": "string",
    "family": "string",
    "scale": "string",
    "parameters": "int64",  # of the backbone
    "method": "string",
    "placement": "string",
    "operations": "string",
    "count": "int64",
    "variant": "string",  # what tells apart matrices that agree in all of these
    "source": "string",  # task that was trained on
    "target": "string",  # task that is scored
    "source_category": "string",
    "target_category": "string",
    "score": "double",  # on the target, mean over runs
    "reference": "double",  # trained on the target, likewise
    "relative": "double",
    "floor": "double",  # what learning nothing scores on the target
    "untrained": "double",  # of that, the untrained module
    "runs": "int64",
    "references": "int64",  # runs that have a reference; where there are some, the others are left out
    "notes": "string",
}
_READ = ["spec", "trial_id", "family", "backbone", "scale", "backbone_parameters", "task", "method", "placement"]
_READ += ["count_actual", "count_requested", "position_seed", "train_seed", "test_score", "test_rows", "precision"]
_READ += ["chance", "majority", "untrained_score"]


class Pair(NamedTuple):
    """One run on one target: its score, and that of the run trained there with the same seeds; None: there is none."""

    score: float | None
    reference: float | None
    references: int


@dataclass(frozen=True)
class Matrix:
    """Runs that share all but the task and the seeds.

    Args:
        key: what they share, :func:`trials.keys.matrix`.
        name: the columns of a row that they share.
        pairs: by source and target, then by replicate.
        own: by task the runs trained on it, rows of the store.
        notes: on all of it.
    """

    key: str
    name: Mapping[str, Any]
    pairs: Mapping[tuple[str, str], Mapping[Replicate, Pair]]
    own: Mapping[str, Sequence[Mapping[str, Any]]] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> list[str]:
        """All of its tasks, by category."""
        return sorted({task for pair in self.pairs for task in pair}, key=_order)

    def test_rows(self, task: str) -> int | None:
        """Of a task, where the runs trained on it agree."""
        known = {row["test_rows"] for row in self.own.get(task, ())}
        return known.pop() if len(known) == 1 else None


def matrices(trials: pa.Table, every: pa.Table) -> tuple[Matrix, ...]:
    """Small backbones first, discrete before adjacent.

    Args:
        trials: rows of :func:`orchestrator.analysis.failed.with_failed` whose transfer is asked for.
        every: those in which references are looked for.
    """
    from trials.store.transfers import transfers

    references = _results(every)
    lines = transfers(_results(trials), references)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line, key in _keyed(read(lines, [*_READ, "target", "target_score", "reference", "references"])):
        groups[key].append(line)
    own: dict[str, list[dict[str, Any]]] = defaultdict(list)
    wanted = {key for key, _ in groups}
    for row in read(references, _READ):
        if (shared := keys.matrix(row["spec"])) in wanted:
            own[shared].append(row)
    names = [_name(some) for some in groups.values()]
    told = variants([_less_task(key, limits) for key, limits in groups], [tuple(name.values()) for name in names])
    made = [
        _matrix(key, name | {"variant": variant or None}, some, _limited(own[key], limits))
        for ((key, limits), some), name, variant in zip(groups.items(), names, told, strict=True)
    ]
    return tuple(sorted(made, key=_place))


def _results(trials: pa.Table) -> pa.Table:
    from trials.store import arrays
    from trials.store.record import STATES

    return trials.filter(arrays.among(trials["state"], set(STATES) - {"failed"}))


def _keyed(lines: list[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], tuple[str, str]]]:
    """Each line with its matrix, and the row limits where some task of that was trained with several."""
    limits: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    found = [(line, keys.matrix(line["spec"]), _limits(line["spec"])) for line in lines]
    for line, key, limit in found:
        limits[key][line["task"]].add(limit)
    several = {key for key, by_task in limits.items() if any(len(some) > 1 for some in by_task.values())}
    return [(line, (key, limit if key in several else "")) for line, key, limit in found]


def _limits(spec: str) -> str:
    task = json.loads(spec)["task"]
    return canonical({name: task[name] for name in ("train_rows", "validation_rows", "test_rows")})


def _limited(rows: list[dict[str, Any]], limits: str) -> list[dict[str, Any]]:
    """Rows with these row limits, where there are some."""
    return [row for row in rows if not limits or _limits(row["spec"]) == limits]


def _less_task(key: str, limits: str) -> str:
    """What variants are told by."""
    return canonical({**json.loads(key), "task": json.loads(limits or "{}")})


def _name(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = min(lines, key=lambda line: (line["task"], line["trial_id"]))
    return {
        **{key: first[key] for key in ("backbone", "family", "scale")},
        "parameters": first["backbone_parameters"] or 0,
        **{key: first[key] for key in ("method", "placement")},
        "operations": operations_label(first["spec"]) or None,
        "count": first["count_actual"] or first["count_requested"],
    }


def _matrix(key: str, name: Mapping[str, Any], lines: list[dict[str, Any]], own: list[dict[str, Any]]) -> Matrix:
    pairs: dict[tuple[str, str], dict[Replicate, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        seeds = (line["position_seed"], line["train_seed"])
        pair = Pair(line["target_score"], line["reference"], line["references"])
        pairs[line["task"], line["target"]][seeds].append(pair)
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in own:
        by_task[row["task"]].append(row)
    precisions = sorted({row["precision"] for row in (*lines, *own) if row["precision"] is not None})
    notes = []
    if len(precisions) > 1:
        notes.append(f"mixes precisions ({', '.join(precisions)}): run it on one kind of device")
    ordered = sorted(pairs, key=lambda pair: (_order(pair[0]), _order(pair[1])))
    kept = {pair: {seeds: _mean(some) for seeds, some in sorted(pairs[pair].items(), key=_seeds)} for pair in ordered}
    return Matrix(key, name, kept, by_task, tuple(notes))


def _seeds(item: tuple[Replicate, Any]) -> tuple[int, int]:
    position, train = item[0]
    return (-1 if position is None else position, -1 if train is None else train)


def _mean(some: Sequence[Pair]) -> Pair:
    """Of runs that differ in targets alone: they are one, trained twice."""
    scores, references = (sorted(v for v in of if v is not None) for of in ([p[i] for p in some] for i in (0, 1)))
    mean = [sum(of) / len(of) if of else None for of in (scores, references)]
    return Pair(mean[0], mean[1], max(pair.references for pair in some))


def category(task: str) -> str | None:
    """Of a task; None where this apet doesn't know it."""
    from trials import tasks

    try:
        return tasks.get(task).category
    except ApetError:
        return None


def _order(task: str) -> tuple[int, str]:
    names = ("SA", "NLI", "PI", "QA", "SUM")
    found = category(task)
    return (names.index(found) if found in names else len(names), task)


def _place(matrix: Matrix) -> tuple[Any, ...]:
    name = matrix.name
    size = (name["family"], name["parameters"], name["backbone"], name["method"], name["placement"] == "adjacent")
    return (*size, name["operations"] or "", name["count"] or 0, name["variant"] or "", matrix.key)


def cells(matrix: Matrix) -> list[dict[str, Any]]:
    """Rows with the columns of :data:`COLUMNS`, by source and target; also of each task that was trained on itself."""
    tasks = matrix.tasks
    sources = {source for source, _ in matrix.pairs}
    made = []
    for source in tasks:
        for target in tasks:
            if (source, target) in matrix.pairs:
                made.append(_cell(matrix, source, target, list(matrix.pairs[source, target].values())))
            elif source == target and source in sources:
                scores = [row["test_score"] for row in matrix.own.get(source, ())]
                made.append(_cell(matrix, source, target, [Pair(score, score, 1) for score in scores]))
    return made


def _cell(matrix: Matrix, source: str, target: str, runs: Sequence[Pair]) -> dict[str, Any]:
    scored = [run for run in runs if run.score is not None]
    paired = [run for run in scored if run.reference is not None]
    used = paired or scored
    score, reference = (_average(run[side] for run in used) for side in (0, 1))
    own = matrix.own.get(target, ())
    levels = [max((row[n] for row in own if row[n] is not None), default=None) for n in ("chance", "majority")]
    untrained = _average(row["untrained_score"] for row in own)
    row = {
        **matrix.name,
        "source": source,
        "target": target,
        "source_category": category(source),
        "target_category": category(target),
        "score": score,
        "reference": reference,
        "relative": score / reference if reference and score is not None else None,
        "floor": max((level for level in (*levels, untrained) if level is not None), default=None),
        "untrained": untrained,
        "runs": len(scored),
        "references": len(paired),
        "notes": "; ".join([*_notes(runs, scored, paired, reference), *matrix.notes]) or None,
    }
    return {name: row[name] for name in COLUMNS}


def _notes(
    runs: Sequence[Pair], scored: Sequence[Pair], paired: Sequence[Pair], reference: float | None
) -> Iterable[str]:
    if len(scored) < len(runs):
        yield "runs without a score, left out"
    if not paired and scored:
        yield "no run trained on the target with the same seeds, rows and settings: run it too"
    elif len(paired) < len(scored):
        yield "runs without a reference of the same seeds, left out"
    if reference == 0:
        yield "the reference scores 0, so nothing is relative to it"
    if any(run.references > 1 for run in paired):
        yield "several runs are the reference: their mean"


def _average(values: Iterable[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return sum(known) / len(known) if known else None
