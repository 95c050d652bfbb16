"""Count curves: rows of the ``selected`` view, and failed ones beside them, grouped into curves, with full fine-tuning.

A **curve** is all ``apet`` rows that agree in everything but count, position seed, train seed and learning
rate. Its **replicates** at a count are its (position seed, train seed) pairs. The full fine-tuning runs beside
a curve agree with it in everything but method, seeds, learning rate and zero-shot targets: backbone, weights,
task, data, head, labels and training settings are the same.

Scores are fractions in [0, 1]; counts are ``count_actual``, in scalars.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.analysis import answers as kept
from orchestrator.analysis.answers import Answers, Replicate
from orchestrator.analysis.failed import by_class
from orchestrator.analysis.specs import nearest, operations_label, variants
from trials.keys import setting

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = [
    *("spec", "family", "backbone", "scale", "backbone_parameters", "task", "method", "placement", "count_actual"),
    *("head", "labels", "position_seed", "train_seed", "state", "validation_score", "test_score"),
    *("chance", "majority", "test_rows", "precision", "curve_id", "count_requested", "failure_class"),
    *("learning_rate", *kept.COLUMNS),
]
DRAWN = ("frozen", "trained")  # heads that a train seed draws
MOST_COUNTS = 8  # named in a note
RERUN = "`apet show TRIAL` says why, `apet resubmit` reruns failed trials"


@dataclass(frozen=True)
class Point:
    """One count of a curve.

    Args:
        count: tunable parameters, ``count_actual``.
        scores: test score per replicate.
        lost: replicates that diverged before they had any score.
        missing: replicates without a result: failed, or completed with no test score.
        learning_rate: the one chosen on validation; None where no replicate has a result.
    """

    count: int
    scores: Mapping[Replicate, float]
    lost: tuple[Replicate, ...] = ()
    missing: int = 0
    learning_rate: float | None = None

    @property
    def unscored(self) -> int:
        """How many replicates are ``lost``."""
        return len(self.lost)

    @property
    def n(self) -> int:
        """Replicates with a result, the unscored ones included."""
        return len(self.scores) + self.unscored

    @property
    def replicates(self) -> list[Replicate]:
        """Those with a result, the unscored ones last."""
        return [*self.scores, *self.lost]


@dataclass(frozen=True)
class Curve:
    """One count curve, its floor levels and the full fine-tuning runs beside it.

    ``setting`` is shared with everything that was trained alike, see :func:`trials.keys.setting`. ``operations`` names
    the shares (``add+concat+plug``, ``add:2+plug:1`` when they differ). ``points`` go from the smallest count up.
    ``full`` are the test scores of the full fine-tuning runs of this setting, ``near`` says in what the nearest runs
    differ where there are none. ``variant`` tells apart curves that share backbone, task, placement and operations
    (``steps 90``). ``failed`` seeds are left out, in :attr:`Point.missing`. ``notes`` are warnings to print.
    ``answers`` and ``full_answers`` are on the test rows: or why there are none.
    """

    curve_id: str
    setting: str
    backbone: str
    family: str
    scale: str
    parameters: int  # of the backbone; 0 where the rows don't say
    task: str
    placement: str
    operations: str
    head: str | None
    labels: str
    chance: float | None
    majority: float | None
    untrained: float | None
    test_rows: int | None
    points: tuple[Point, ...]
    full: tuple[float, ...] = ()
    full_unscored: int = 0
    full_failed: int = 0
    failed: int = 0
    near: str = ""
    variant: str = ""
    notes: tuple[str, ...] = ()
    answers: Answers | str = field(default=kept.NONE, compare=False, repr=False)
    full_answers: Answers | str = field(default=kept.NONE, compare=False, repr=False)

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts, ascending."""
        return tuple(p.count for p in self.points)

    @property
    def replicates(self) -> int:
        """The largest number of replicates at one count."""
        return max((p.n for p in self.points), default=0)

    def floor(self, rule: str) -> float | None:
        """The score of learning nothing: ``chance``, or the largest of it, majority share and the untrained module's.

        Of several untrained modules, a head each, the mean.
        """
        levels = (self.chance,) if rule == "chance" else (self.chance, self.majority, self.untrained)
        return max((level for level in levels if level is not None), default=None)


def curves(selected: pa.Table, full: pa.Table | None = None, trained_heads: bool = False) -> tuple[Curve, ...]:
    """Group rows of the ``selected`` view into curves, in the order backbone, task, placement, operations.

    Rows with a trained head never enter unless asked, since the head's parameters aren't in the count. A missing
    score is missing, never 0: failed rows and completed rows without a test score are counted in
    :attr:`Point.missing`. A diverged row counts with the score it kept; one without a score is counted in
    :attr:`Point.unscored`.

    Args:
        selected: rows of :func:`orchestrator.analysis.failed.with_failed` that curves are made of; rows of other
            methods are passed over.
        full: rows in which full fine-tuning is looked for; None: ``selected``.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(selected, "apet", trained_heads):
        groups[row["curve_id"]].append(row)
    references: dict[str, list[dict[str, Any]]] = defaultdict(list)
    keys: dict[str, str] = {}
    for row in _rows(selected if full is None else full, "full", trained_heads):
        references[keys.setdefault(row["spec"], setting(row["spec"]))].append(row)
    made = [_curve(curve_id, rows, references) for curve_id, rows in groups.items()]
    names = [(c.backbone, c.task, c.placement, c.operations) for c in made]
    told = variants([rows[0]["spec"] for rows in groups.values()], names)
    named = (replace(c, variant=variant) for c, variant in zip(made, told, strict=True))
    return tuple(sorted(named, key=_order))


def _order(curve: Curve) -> tuple[str | int | bool, ...]:
    """By task, then small backbones first, discrete before adjacent."""
    size = (curve.task, curve.family, curve.parameters, curve.backbone)
    return (*size, curve.placement != "discrete", curve.operations, curve.variant, curve.curve_id)


def _rows(table: pa.Table, method: str, trained_heads: bool) -> list[dict[str, Any]]:
    from trials.store import arrays

    there = [name for name in COLUMNS if name in table.column_names]  # rows of older stores lack some
    rows: list[dict[str, Any]] = table.filter(arrays.among(table["method"], [method])).select(there).to_pylist()
    none = dict.fromkeys(COLUMNS)
    return [none | r for r in rows if trained_heads or r["head"] != "trained"]


def _curve(curve_id: str, rows: list[dict[str, Any]], references: Mapping[str, list[dict[str, Any]]]) -> Curve:
    rows = sorted(rows, key=_seeds)  # sums don't depend on the order of rows, and all counts have that of others
    first = rows[0]
    by_count: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        count = row["count_actual"] or row["count_requested"]  # a trial may fail before its module is built
        if count is not None:
            by_count[count].append(row)
    points = tuple(_point(count, by_count[count]) for count in sorted(by_count))
    key = setting(first["spec"])
    full_rows = sorted((r for r in references.get(key, []) if r["state"] != "failed"), key=_seeds)
    full_failed = [r for r in references.get(key, []) if r["state"] == "failed"]
    full: dict[int | None, float] = {r["train_seed"]: r["test_score"] for r in full_rows if _scored(r)}
    unscored = sum(r["state"] == "diverged" and r["test_score"] is None for r in full_rows)
    scored = [r for r in rows if _scored(r)]
    return Curve(
        curve_id=curve_id,
        setting=key,
        **{k: first[k] for k in ("backbone", "family", "scale", "task")},
        parameters=first["backbone_parameters"] or 0,
        placement=first["placement"] or "",
        operations=operations_label(first["spec"]),
        head=first["head"],
        labels=first["labels"] or "own",
        chance=_highest(rows, "chance"),
        majority=_highest(rows, "majority"),
        untrained=_untrained(scored),
        test_rows=min((r["test_rows"] for r in scored if r["test_rows"]), default=None),
        points=points,
        full=tuple(full.values()),
        full_unscored=unscored,
        full_failed=len(full_failed),
        failed=sum(r["state"] == "failed" for r in rows),
        near="" if full_rows else nearest(first, references.values()),
        notes=tuple(_notes(rows, points, full_rows, full_failed)),
        answers=kept.read((n, _pair(r), r) for n, of in by_count.items() for r in of if _scored(r)),
        full_answers=kept.read((kept.FULL, _pair(r), r) for r in full_rows if _scored(r)),
    )


def _untrained(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """The mean score of the untrained modules, one a train seed."""
    by_seed = {r["train_seed"]: r["untrained_score"] for r in rows if r["untrained_score"] is not None}
    return sum(by_seed.values()) / len(by_seed) if by_seed else None


def _scored(row: Mapping[str, Any]) -> bool:
    return row["state"] in ("completed", "diverged") and row["test_score"] is not None


def _highest(rows: Iterable[Mapping[str, Any]], column: str) -> float | None:
    """Rows of one curve share data and labels, so a level differs only by mistake: the stricter one counts."""
    return max((r[column] for r in rows if r[column] is not None), default=None)


def _point(count: int, rows: list[dict[str, Any]]) -> Point:
    lost = tuple(_pair(r) for r in rows if r["state"] == "diverged" and r["test_score"] is None)
    scores = {_pair(r): float(r["test_score"]) for r in rows if _scored(r)}
    rate = next((r["learning_rate"] for r in rows if r["state"] != "failed"), None)
    return Point(count, scores, lost, len(rows) - len(scores) - len(lost), rate)


def _seeds(row: Mapping[str, Any]) -> tuple[int, ...]:
    """What rows are ordered by; None before 0."""
    return tuple(-1 if seed is None else seed for seed in _pair(row))


def _pair(row: Mapping[str, Any]) -> Replicate:
    return row["position_seed"], row["train_seed"]


def _notes(
    rows: list[dict[str, Any]],
    points: Sequence[Point],
    full: list[dict[str, Any]],
    full_failed: list[dict[str, Any]],
) -> Iterable[str]:
    precisions = sorted({r["precision"] for r in [*rows, *full] if r["precision"] is not None and _scored(r)})
    if len(precisions) > 1:
        yield f"mixes precisions ({', '.join(precisions)}): run the curve on one kind of device"
    unscored = sum(p.unscored for p in points)
    if unscored:
        yield f"{unscored} diverged without a score: counted at chance"
    missing = sum(p.missing for p in points)
    if missing:
        failed = [r for r in rows if r["state"] == "failed"]
        bare = sum(r["state"] == "completed" and not _scored(r) for r in rows)
        why = [f"failed: {by_class(failed)}"] if failed else []
        why += [f"completed without a score: {bare}"] if bare else []
        where = [f"{p.count} ({p.missing} of {p.n + p.missing})" for p in points if p.missing]
        where[MOST_COUNTS:] = [f"{len(where) - MOST_COUNTS} more counts"] if len(where) > MOST_COUNTS else []
        yield f"{missing} without a result, left out ({'; '.join(why)}), at {', '.join(where)}: {RERUN}"
    if full_failed:
        yield f"{len(full_failed)} of full fine-tuning failed, left out ({by_class(full_failed)}): {RERUN}"
    seeds = {r["train_seed"] for r in rows if _scored(r)}
    if len(seeds) == 1 and rows[0]["head"] in DRAWN:
        yield f"one train seed ({seeds.pop()}), hence one head: low speaks of that head alone"
