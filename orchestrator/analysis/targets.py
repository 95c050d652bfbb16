"""What each run is to reach, a share of full fine-tuning's score, and when it did: the rows of convergence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.analysis import reaching
from orchestrator.analysis.specs import nearest, operations_label, variants
from trials.keys import setting

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "backbone": "string",
    "family": "string",
    "scale": "string",
    "parameters": "int64",  # of the backbone
    "task": "string",
    "method": "string",
    "placement": "string",
    "operations": "string",
    "count": "int64",
    "variant": "string",  # what tells apart cells that agree in all of these
    "position_seed": "int64",
    "train_seed": "int64",
    "learning_rate": "double",
    "reference": "double",  # full fine-tuning's best validation score, the mean over its runs
    "reference_runs": "int64",
    "target": "double",  # the share of it that is to be reached
    "state": "string",  # reached, not reached, unresolved
    "after": "int64",  # the last evaluation at which it wasn't reached
    "steps": "int64",  # the first at which it was; null: at none
    "steps_done": "int64",
    "trial_id": "string",
    "notes": "string",
}
REACHED, NOT_REACHED, UNRESOLVED = "reached", "not reached", "unresolved"
READ = [
    *("spec", "trial_id", "attempt_id", "cell_id", "family", "backbone", "scale", "backbone_parameters", "task"),
    *("method", "placement", "count_actual", "count_requested", "position_seed", "train_seed", "learning_rate"),
    *("state", "validation_score", "chance", "majority", "untrained_score", "steps_done", "diverged_at"),
    "failure_class",
]


def runs(
    rows: Iterable[dict[str, Any]], every: Iterable[dict[str, Any]], curves: pa.Table, share: float
) -> list[dict[str, Any]]:
    """Rows with the columns of :data:`COLUMNS`, in order; failed ones have none.

    Args:
        rows: the columns :data:`READ` of rows of :func:`orchestrator.analysis.failed.with_failed`.
        every: likewise, those in which full fine-tuning is looked for.
        curves: of the store.
        share: of full fine-tuning's score.
    """
    references, traces = _references(every), reaching.traces(curves)
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["state"] != "failed":
            cells[row["cell_id"]].append(row)
    groups = list(cells.values())
    names = [_name(group[0]) for group in groups]
    told = variants([group[0]["spec"] for group in groups], [tuple(name.values()) for name in names])
    made = []
    for group, name, variant in zip(groups, names, told, strict=True):
        reference = references.get(setting(group[0]["spec"]), _Reference(None, []))
        why = _unresolved(group, reference, references.values(), share)
        for row in group:
            shared = {**name, "variant": variant or None}
            made.append(shared | _run(row, reference, traces.get(row["attempt_id"], ()), share, why))
    return sorted(made, key=_order)


@dataclass(frozen=True)
class _Reference:
    """Full fine-tuning's mean best validation score, over how many runs; None: none of them has one."""

    score: float | None
    rows: list[dict[str, Any]]

    @staticmethod
    def of(rows: list[dict[str, Any]]) -> _Reference:
        scores = sorted(r["validation_score"] for r in rows if r["validation_score"] is not None)
        return _Reference(sum(scores) / len(scores) if scores else None, rows)


def _references(rows: Iterable[dict[str, Any]]) -> dict[str, _Reference]:
    """By setting."""
    alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["method"] == "full" and row["state"] != "failed":
            alike[setting(row["spec"])].append(row)
    return {key: _Reference.of(some) for key, some in alike.items()}


def _name(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell is called, by column."""
    return {
        **{key: row[key] for key in ("backbone", "family", "scale")},
        "parameters": row["backbone_parameters"] or 0,
        **{key: row[key] for key in ("task", "method", "placement")},
        "operations": operations_label(row["spec"]) or None,
        "count": row["count_actual"] or row["count_requested"],
    }


def _order(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """By task, small backbones first, full fine-tuning before the methods, discrete before adjacent, small counts."""
    size = (run["task"], run["family"], run["parameters"], run["backbone"], run["method"] != "full", run["method"])
    module = (run["placement"] == "adjacent", run["operations"] or "", run["count"] or 0, run["variant"] or "")
    return (*size, *module, run["position_seed"] or 0, run["train_seed"], run["trial_id"])


def _unresolved(
    group: Sequence[Mapping[str, Any]], reference: _Reference, others: Iterable[_Reference], share: float
) -> str:
    """Why a cell has no score to reach; '' where it has one."""
    if not reference.rows:
        near = nearest(group[0], [other.rows for other in others])
        some = f" (there are some with {near})" if near else ""
        return f"no full fine-tuning run with these settings{some}: run method full with them"
    if reference.score is None:
        return "no full fine-tuning run with these settings has a validation score: `apet show TRIAL` says why"
    target, nothing = share * reference.score, _nothing(group)
    if nothing is not None and target <= nothing:
        return (
            f"the score to reach, {target:.3f}, isn't above what learning nothing scores ({nothing:.3f}): "
            "train full fine-tuning better, or ask for a larger --share"
        )
    return ""


def _nothing(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """The score of learning nothing, the largest of what rows say of it; on test rows, since no others are known."""
    levels = (row[name] for row in rows for name in ("chance", "majority", "untrained_score"))
    return max((level for level in levels if level is not None), default=None)


def _run(
    row: Mapping[str, Any], reference: _Reference, trace: reaching.Trace, share: float, why: str
) -> dict[str, Any]:
    """The columns of a run that its name doesn't have."""
    target = None if reference.score is None else share * reference.score
    why = why or ("" if trace else "its learning curve isn't in the store")
    if why or target is None:
        state, found, note = UNRESOLVED, reaching.Reached(None, 0), why
    else:
        found = reaching.first(trace, target)
        state = NOT_REACHED if found.steps is None else REACHED
        note = _censored(row, found.after) if found.steps is None else ""
    return {
        **{key: row[key] for key in ("position_seed", "train_seed", "learning_rate")},
        "reference": reference.score,
        "reference_runs": sum(r["validation_score"] is not None for r in reference.rows),
        "target": target,
        "state": state,
        "after": None if state == UNRESOLVED else found.after,
        "steps": found.steps,
        "steps_done": row["steps_done"],
        "trial_id": row["trial_id"],
        "notes": note or None,
    }


def _censored(row: Mapping[str, Any], last: int) -> str:
    diverged = f", it diverged at {row['diverged_at']}" if row["diverged_at"] is not None else ""
    return f"not within {row['steps_done'] or last} steps{diverged}"
