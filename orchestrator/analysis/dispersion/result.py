"""Dispersion as a result: plain rows, their Arrow schema, and aligned text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.dispersion.groups import COUNTS, METHODS, POSITION
from orchestrator.analysis.dispersion.limits import LARGEST_P
from orchestrator.analysis.dispersion.parts import Part, root
from orchestrator.analysis.dispersion.ratios import Ratio
from orchestrator.analysis.table import WIDTH
from orchestrator.text import table

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "what": "string",  # position, methods, counts: what scores spread over
    "backbone": "string",
    "family": "string",
    "scale": "string",
    "parameters": "int64",  # of the backbone
    "tasks": "string",  # that the means are over: rte, sst2
    "placement": "string",
    "operations": "string",
    "count": "int64",  # of positions alone
    "like": "string",  # the method that has as many parameters on this backbone
    "variant": "string",  # what tells apart rows that agree in all of these
    "levels": "string",  # the methods or counts that are compared
    "seeds": "int64",  # position seeds; train seeds of methods; seeds of counts
    "train_seeds": "int64",
    "mean": "double",  # over all that enters
    "sd_naive": "double",  # as it is seen: the paper's way
    "sd_naive_lower": "double",
    "sd_naive_upper": "double",
    "component": "string",  # what sd is of: position, position and initial values, …
    "sd": "double",  # root of variance, cut at 0
    "sd_lower": "double",
    "sd_upper": "double",
    "variance": "double",  # unbiased: it may be negative
    "rows_variance": "double",  # of sd_naive², what the luck of the test rows adds
    "own_variance": "double",  # of one run's own luck at the same place; null with one train seed
    "train_variance": "double",  # over train seeds (seeds, of counts); null with one
    "test_rows": "int64",  # of the task that has the fewest
    "notes": "string",
}
RATIO_COLUMNS = {
    "what": "string",
    "family": "string",
    "smaller": "string",
    "larger": "string",
    "placement": "string",
    "operations": "string",
    "variant": "string",
    "count": "string",  # a number, a method with as many, all
    "tasks": "string",
    "ratio": "double",
    "ratio_lower": "double",
    "ratio_upper": "double",
    "p": "double",
    "note": "string",
}
_TITLES = {
    POSITION: "over position seeds",
    METHODS: "over methods",
    COUNTS: "over counts",
}


@dataclass(frozen=True)
class Dispersion:
    """How far scores spread, and whether less on larger scales. ``notes`` concern the whole selection."""

    parts: tuple[Part, ...]
    ratios: tuple[Ratio, ...]
    alpha: float
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A plain row a spread, the columns of :data:`COLUMNS`. Scores are fractions of 1."""
        return [row(part) for part in self.parts]

    def ratio_rows(self) -> list[dict[str, Any]]:
        """A plain row a pair of scales, the columns of :data:`RATIO_COLUMNS`; an infinite limit is null."""
        return [ratio_row(ratio) for ratio in self.ratios]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table, typed also when it is empty."""
        return _arrow(self.rows(), COLUMNS)

    def ratios_to_arrow(self) -> pa.Table:
        """Likewise the ratios."""
        return _arrow(self.ratio_rows(), RATIO_COLUMNS)

    def render(self) -> str:
        """Tables as aligned text, in points; what to know of them below."""
        return render(self)


def _arrow(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    return pa.Table.from_pylist(rows, schema=schema)


def row(part: Part) -> dict[str, Any]:
    """One spread as a plain row with the keys of :data:`COLUMNS`; None where there is no value."""
    group, laid, found = part.group, part.layout, part.found
    seen, ends = part.naive_limits, part.limits
    several = len(laid.blocks) > 1
    values = {
        **{k: getattr(group, k) for k in ("what", "backbone", "family", "scale", "parameters", "count", "like")},
        **{k: getattr(group, k) or None for k in ("placement", "operations", "variant")},
        "tasks": ", ".join(laid.tasks) or None,
        "levels": None if group.what == POSITION else ", ".join(map(str, laid.levels)),
        "seeds": len(laid.levels if group.what == POSITION else laid.blocks),
        "train_seeds": len({b[1] if isinstance(b, tuple) else b for b in laid.blocks}),
        "mean": float(laid.scores.mean()) if laid.scores.size else None,
        "sd_naive": root(part.naive),
        "sd_naive_lower": root(float(seen.lower)) if seen else None,
        "sd_naive_upper": root(float(seen.upper)) if seen else None,
        "component": part.component,
        "sd": root(float(found.variance)) if found else None,
        "sd_lower": root(float(ends.lower)) if ends else None,
        "sd_upper": root(float(ends.upper)) if ends else None,
        "variance": float(found.variance) if found else None,
        "rows_variance": float(found.rows) if found else None,
        "own_variance": float(found.own) if found and several else None,
        "train_variance": float(found.blocks) if found and several else None,
        "test_rows": laid.rows,
        "notes": "; ".join(part.notes) or None,
    }
    return {name: values[name] for name in COLUMNS}


def ratio_row(ratio: Ratio) -> dict[str, Any]:
    """One ratio as a plain row with the keys of :data:`RATIO_COLUMNS`."""
    known = ratio.p is not None
    values = asdict(ratio) | {
        **{k: getattr(ratio, k) or None for k in ("placement", "operations", "variant", "count", "note")},
        "tasks": ", ".join(ratio.tasks) or None,
        "ratio_lower": ratio.lower if known and math.isfinite(ratio.lower) else None,
        "ratio_upper": ratio.upper if known and math.isfinite(ratio.upper) else None,
    }
    return {name: values[name] for name in RATIO_COLUMNS}


def render(found: Dispersion) -> str:
    """Tables as aligned text, then what to know of single lines, then notes."""
    text: list[str] = []
    for what, title in _TITLES.items():
        parts = [p for p in found.parts if p.group.what == what]
        if parts:
            text += [f"standard deviation {title}, in points", _table(parts), ""]
    if found.ratios:
        text += [f"across scales: the larger's standard deviation over the smaller's, interval at {1 - found.alpha:g}"]
        text += [_ratios(found.ratios), ""]
    for why, whose in _said(found).items():
        text += [*whose, textwrap.fill(why, WIDTH, initial_indent="  ", subsequent_indent="  "), ""]
    text += [f"note: {n}" for n in found.notes]
    if found.parts:
        text += [textwrap.fill(line, WIDTH) for line in rules(found)]
    return "\n".join(text).rstrip()


def rules(found: Dispersion) -> list[str]:
    """What the numbers mean, in sentences."""
    return [
        f"seen: of the means over tasks, the paper's way. rows: what the luck of the test rows alone adds. sd: what is "
        f"left without the rows' luck and, with several train seeds, the runs' own, cut at 0; intervals at "
        f"{1 - found.alpha:g}. With one train seed a place can't be told from the initial values that it began with."
    ]


def _table(parts: Sequence[Part]) -> str:
    rows = [row(p) for p in parts]
    telling = [k for k in ("placement", "operations", "variant") if len({r[k] for r in rows}) > 1]
    head = ["backbone", *telling]
    if any(r["count"] for r in rows):
        head += ["count", "like"]
    cells = [
        [
            *(r[k] for k in head),
            *(r["tasks"], r["seeds"], r["train_seeds"], _points(r["mean"])),
            *(_between(r["sd_naive"], r["sd_naive_lower"], r["sd_naive_upper"]), _points(root(r["rows_variance"]))),
            *(r["component"], _between(r["sd"], r["sd_lower"], r["sd_upper"])),
        ]
        for r in rows
    ]
    return table([*head, "tasks", "seeds", "train seeds", "mean", "seen", "rows", "of", "sd"], cells)


def p_text(p: float | None) -> str:
    """A p-value of a ratio; those that are too large to matter aren't told apart.

    >>> p_text(0.0123), p_text(1.0), p_text(None)
    ('0.012', '> 0.3', '–')
    """
    return "–" if p is None else f"> {LARGEST_P:g}" if p == 1 else f"{p:.2g}"


def _ratios(ratios: Sequence[Ratio]) -> str:
    rows = [ratio_row(r) for r in ratios]
    telling = [k for k in ("placement", "operations", "variant") if len({r[k] for r in rows}) > 1]
    head = ["what", "smaller", "larger", *telling, "count"]
    cells = [
        [*(r[k] for k in head), *(None if one.p is None else said for said in (_ratio(one), p_text(one.p)))]
        for r, one in zip(rows, ratios, strict=True)
    ]
    return table([*head, "ratio", "p (smaller)"], cells)


def _ratio(one: Ratio) -> str:
    value = "–" if one.ratio is None else f"{one.ratio:.2f}"
    upper = f"{one.upper:.2f}" if math.isfinite(one.upper) else "∞"
    return f"{value} [{one.lower:.2f}, {upper}]"


def _points(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.2f}"


def _between(value: float | None, lower: float | None, upper: float | None) -> str | None:
    if value is None:
        return None
    return f"{100 * value:.2f}" + ("" if lower is None or upper is None else f" [{100 * lower:.2f}, {100 * upper:.2f}]")


def _said(found: Dispersion) -> dict[str, list[str]]:
    """What is to be known of single lines, with those that it concerns."""
    said: dict[str, list[str]] = {}
    for part in found.parts:
        for note in part.notes:
            said.setdefault(note, []).append(_name(part))
    for one in found.ratios:
        if one.note:
            said.setdefault(one.note, []).append(_joined(one.what, f"{one.larger} over {one.smaller}", one.count))
    return said


def _name(part: Part) -> str:
    group = part.group
    count = "" if group.count is None else f"{group.count:,}"
    return _joined(group.what, group.backbone, group.placement, group.operations, group.variant, count)


def _joined(*words: str) -> str:
    return " · ".join(_given(words))


def _given(words: Iterable[str]) -> list[str]:
    return [word for word in words if word]
