"""The axes inside a method: its variants on one backbone, counts, seeds and learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from trials.errors import ApetError
from trials.modules import counts, methods
from trials.sweep.check import Findings
from trials.sweep.rules import BROKEN
from trials.sweep.schema import UNSET, Apet, Like, Range
from trials.sweep.yaml import Path
from trials.trial import BackboneRef, Method

PAPER_RATES = {
    "bert": (3e-4,),
    "bloom": (3e-4, 5e-5),
    "t5": (1e-4, 1e-3, 1e-2),
}
"""Rates of the parameter-efficient methods by family (Su et al. 2023, training settings)."""
PAPER_RATES_FULL = {
    "bert": (1e-5, 3e-5),
    "bloom": (1e-5, 5e-5),
    "t5": (1e-4, 1e-3),
}
"""Rates of full fine-tuning by family, where the paper is silent and this study chose."""

_EXACT = Context(prec=60)


@dataclass(frozen=True)
class Variant:
    """One method with its size on one backbone.

    Args:
        method: as trials carry it.
        position_seeds: (None,) where the method has no positions.
        too_large: why it is skipped, empty when it isn't.
    """

    method: Method
    position_seeds: Sequence[int | None] = (None,)
    too_large: str = ""


def known(entry: Any, path: Path, report: Findings) -> bool:
    """Whether a method entry names a method and holds what it needs; a bare name that doesn't is reported."""
    if entry == "apet":
        report.add(path, "apet, needs counts; write {method: apet, counts: [100, 1000]}")
        return False
    try:
        methods.rule(entry if isinstance(entry, str) else entry.method)
    except ApetError as error:
        report.add(path, str(error))
        return False
    return True


def variants(entry: Any, ref: BackboneRef, path: Path, report: Findings) -> list[Variant]:
    """The variants of a method entry of a sweep file on a backbone; problems are reported.

    Args:
        entry: a method's name or its model.
        ref: the backbone.
        path: of the entry in the file.
        report: takes the problems.
    """
    if isinstance(entry, Apet):
        return _apet(entry, ref, path, report)
    name = entry if isinstance(entry, str) else entry.method
    sizes = {} if isinstance(entry, str) else {size: getattr(entry, size) for size in methods.rule(name).sizes}
    try:
        method = methods.named(name, **sizes)
        methods.count_of(method, ref)  # refuses a size above a site's capacity
        _check_positions(method, ref)
    except ApetError as error:
        size = next(iter(sizes), "")
        report.add((*path, size) if size else path, str(error))
        return []
    return [Variant(method)]


def _check_positions(method: Method, ref: BackboneRef) -> None:
    """Refuse a prompt that leaves no position for any text.

    Raises:
        ApetError: it names the backbone's positions.
    """
    tokens, held = method.tokens or 0, ref.shape.positions
    if held and tokens >= held:
        raise ApetError(
            f"{tokens} soft tokens, but {ref.name} has {held} positions, for prompt and text together; use fewer, or "
            "a backbone of a family without such a table (bloom, t5)"
        )


def rates(value: Any, ref: BackboneRef, method: str) -> Sequence[float]:
    """Learning rates of a method on a backbone: a list, or ``paper``."""
    if value == "paper":
        return (PAPER_RATES_FULL if method == "full" else PAPER_RATES)[ref.family]
    return tuple(rate for rate in value if rate is not BROKEN)


def seeds(value: Any) -> Sequence[int]:
    """Seeds from a number n (0 to n-1) or a list; a large n stays a range."""
    return range(value) if isinstance(value, int) else tuple(seed for seed in value if seed is not BROKEN)


def geometric(low: int, high: int, points: int) -> list[int]:
    """``points`` counts from ``low`` to ``high``, evenly spaced on a log scale, both ends included.

    Rounded to whole numbers, repeats dropped. Computed in decimals, so that it is the same everywhere.
    """
    ratio = _EXACT.divide(Decimal(high), Decimal(low))
    found: dict[int, None] = {}
    for index in range(points):
        step = _EXACT.divide(Decimal(index), Decimal(points - 1))
        exact = _EXACT.multiply(Decimal(low), _EXACT.power(ratio, step))
        found[int(exact.quantize(Decimal(1), ROUND_HALF_EVEN, _EXACT))] = None
    return list(found)


def _apet(entry: Apet, ref: BackboneRef, path: Path, report: Findings) -> list[Variant]:
    operations = None if entry.operations is UNSET else {str(op): share for op, share in entry.operations.items()}
    chosen = _sites(entry, ref, (*path, "sites"), report)
    if report.below((*path, "operations")) or report.below((*path, "sites")):
        return []
    try:
        base = methods.apet(ref.family, 1, operations, chosen)
    except ApetError as error:
        report.add((*path, "sites"), str(error))
        return []
    if entry.tokens is not UNSET:
        try:
            base = methods.apet(ref.family, 1, operations, chosen, tokens=entry.tokens)
        except ApetError as error:
            report.add((*path, "tokens"), str(error))
            return []
    assert base.operations is not None
    capacities = counts.capacity(ref, base.operations, base.sites, base.tokens)
    placements = [entry.placement] if isinstance(entry.placement, str) else entry.placement
    if entry.placement is UNSET:
        placements = ["discrete"]
    asked = list(_counts(entry.counts, ref, sum(capacities.values()), (*path, "counts"), report))
    above = {count: reason for count, _ in asked if (reason := _above(count, capacities, ref))}
    if above and entry.over_capacity == "error":
        largest = max(above)  # of a range, one report is enough
        for count, place in asked:
            if count == largest or (count in above and not isinstance(entry.counts, Range)):
                report.add(place, above[count])
        return []
    position_seeds = seeds(entry.position_seeds)
    return [
        Variant(replace(base, count=count, placement=placement), position_seeds, above.get(count, ""))
        for count, _ in asked
        for placement in placements
        if placement is not BROKEN
    ]


def _sites(entry: Apet, ref: BackboneRef, path: Path, report: Findings) -> dict[str, list[str]]:
    """The chosen sites that the operations can take; the others are reported."""
    chosen: dict[str, list[str]] = {}
    for op, kinds in {} if entry.sites is UNSET else entry.sites.items():
        for index, kind in enumerate(kinds):
            try:
                counts.resolve_sites(ref.family, [op], {op: [kind]})
                chosen.setdefault(op, []).append(kind)
            except ApetError as error:
                report.add((*path, op, index), str(error))
    return chosen


def _above(count: int, capacities: dict[str, int], ref: BackboneRef) -> str:
    """Why a count is too large for a backbone, empty when it isn't."""
    try:
        counts.check_count(count, capacities, ref.name)
    except ApetError as error:
        return str(error)
    return ""


def _counts(
    value: list[int] | Range | Like, ref: BackboneRef, capacity: int, path: Path, report: Findings
) -> Iterable[tuple[int, Path]]:
    """Counts on a backbone, each with its place in the file, repeats dropped."""
    if isinstance(value, Range):
        return _range(value, ref, capacity, path, report)
    if isinstance(value, Like):
        alike: dict[int, Path] = {}
        for index, name in enumerate(value.like):
            if name is not BROKEN:
                alike.setdefault(_own_count(name, ref), (*path, "like", index))
        return alike.items()
    return [(count, (*path, index)) for index, count in enumerate(value) if count is not BROKEN]


def _range(value: Range, ref: BackboneRef, capacity: int, path: Path, report: Findings) -> list[tuple[int, Path]]:
    high = value.to if isinstance(value.to, int) else capacity if value.to == "capacity" else _own_count(value.to, ref)
    if value.from_ > high:
        what = f"{value.to} on {ref.name}, {high}" if isinstance(value.to, str) else f"`to`, {high}"
        report.add((*path, "from"), f"{value.from_} is above {what}; `from` is the smallest count")
        return []
    return [(count, (*path, "to")) for count in geometric(value.from_, high, value.points)]


def _own_count(name: str, ref: BackboneRef) -> int:
    count = methods.count_of(methods.named(name), ref)
    assert count is not None
    return count
