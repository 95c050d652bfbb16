"""How far the search for every threshold has come: its bracket, and by which rule it is claimed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.refining.rules import LOOK_LEVEL, LOOKS, THIRD, Rules
from orchestrator.refining.search import FOUND, NONE
from orchestrator.refining.verdicts import Verdicts
from orchestrator.text import table

if TYPE_CHECKING:
    import pyarrow as pa

WIDTH = 116
BRACKET, BELOW, OPEN, UNRESOLVED = "bracket", "below the grid", "open", "unresolved"
COLUMNS = {
    "curve_id": "string",
    "backbone": "string",
    "task": "string",
    "placement": "string",
    "operations": "string",
    "variant": "string",
    "threshold": "string",  # low, high
    "state": "string",  # bracket, below the grid; open: not confirmed yet; unresolved: no trial of the sweep would help
    "lower": "int64",
    "upper": "int64",
    "p": "double",  # of the confirmation
    "counts_looked_at": "int64",
    "seeds": "int64",  # that confirm
    "rule": "string",
    "reason": "string",
}


@dataclass(frozen=True)
class Standing:
    """One threshold of one curve; see :data:`COLUMNS`."""

    curve_id: str
    backbone: str
    task: str
    placement: str
    operations: str
    variant: str | None
    threshold: str
    state: str
    lower: int | None
    upper: int | None
    p: float | None
    counts_looked_at: int
    seeds: int
    rule: str | None
    reason: str | None

    @property
    def claim(self) -> tuple[int, int] | None:
        """The bracket, lower and upper, where it is confirmed."""
        if self.state not in (BRACKET, BELOW) or self.upper is None:
            return None
        return self.lower or 0, self.upper


@dataclass(frozen=True)
class Standings:
    """All of a sweep, by which rules, and what to know of it."""

    found: tuple[Standing, ...]
    rules: Rules
    notes: tuple[str, ...] = ()

    @property
    def is_resolved(self) -> bool:
        """Whether no trial of the sweep would say more."""
        return all(one.state != OPEN for one in self.found)

    def rows(self) -> list[dict[str, Any]]:
        """One plain row a threshold, the columns of :data:`COLUMNS`."""
        return [asdict(one) for one in self.found]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table, typed also when it is empty."""
        import pyarrow as pa

        return pa.Table.from_pylist(
            self.rows(), schema=pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
        )

    def render(self) -> str:
        """The table as aligned text, then reasons and rules."""
        columns = ["backbone", "task", "placement", "threshold", "state", "bracket", "p", "counts looked at"]
        lines = [
            [one.backbone, one.task, one.placement, one.threshold, one.state, bracket(one), one.p, one.counts_looked_at]
            for one in self.found
        ]
        for name in ("operations", "variant"):
            if len({getattr(one, name) for one in self.found}) > 1:
                columns.append(name)
                lines = [[*line, getattr(one, name)] for line, one in zip(lines, self.found, strict=True)]
        text = [table(columns, lines)] if lines else []
        said: dict[str, list[str]] = {}
        for one in self.found:
            if why := one.reason or one.rule:
                said.setdefault(f"{one.threshold} {one.state}: {why}", []).append(
                    " · ".join(filter(None, (one.backbone, one.task, one.placement, one.variant)))
                )
        for why, whose in said.items():
            text += ["", *whose, textwrap.fill(why, WIDTH, initial_indent="  ", subsequent_indent="  ")]
        text += [f"note: {note}" for note in self.notes]
        return "\n".join([*text, "", *(textwrap.fill(line, WIDTH) for line in sentences(self.rules))])


def bracket(one: Standing) -> str:
    """``(lower, upper]``; open ends as dots."""
    if one.state == UNRESOLVED:
        return "-"
    return f"({one.lower}, {'…' if one.upper is None else one.upper}]"


def sentences(rules: Rules) -> list[str]:
    """How thresholds are found here."""
    low, high = (rules.alpha * level for level in LOOK_LEVEL.values())
    return [
        f"By bisection: position seeds {', '.join(map(str, LOOKS))} (and {THIRD} where their spread decides) look, low "
        f"at {low:g}, high at {high:g}, and say where to look next. The claim is the confirmation's alone, by seeds "
        f"that no look has seen, at alpha {rules.alpha:g}; margin {rules.margin:g}, floor {rules.floor}. "
        "`apet thresholds` tests all counts and seeds in a fixed sequence instead, which is meant for grids."
    ]


def standings(said: Sequence[Verdicts], variants: Sequence[str], rules: Rules, notes: Sequence[str]) -> Standings:
    """Of verdicts, low and high of each target in turn.

    Args:
        said: of all targets.
        variants: what tells each target apart from others of the same name, '' for most.
        rules: of the claims.
        notes: on the whole.
    """
    from orchestrator.analysis.specs import operations_label

    found = []
    for index, one in enumerate(said):
        like = one.target.like
        state, lower, upper, reason = _state(one)
        claimed = state in (BRACKET, BELOW)
        p = one.p.get(upper) if claimed and upper is not None else None
        found.append(
            Standing(
                one.target.curve_id,
                like.backbone.name,
                like.task.name,
                like.method.placement or "",
                operations_label(like.spec),
                variants[index // 2] or None,
                one.side,
                state,
                lower,
                upper,
                p,
                len(one.looked),
                one.target.fresh,
                _rule(one, upper) if claimed and upper is not None else None,
                reason or None,
            )
        )
    return Standings(tuple(found), rules, tuple(notes))


def _state(one: Verdicts) -> tuple[str, int | None, int | None, str]:
    """State, bracket, and why there is no claim."""
    if one.blocked:
        return UNRESOLVED, None, None, one.blocked
    now = one.step
    if one.waits:
        return OPEN, now.lower, now.upper, f"waits for full fine-tuning, and for low at {one.target.counts[-1]}"
    if now.kind == NONE:
        largest = one.counts[-1] if one.counts else one.target.counts[-1]
        by = "by fresh seeds" if largest in one.heard else "by a look"
        return UNRESOLVED, None, None, f"not shown at {largest} ({by}): give larger counts, or more test rows"
    if now.kind == FOUND:
        return (BRACKET if now.lower else BELOW), now.lower, now.upper, ""
    return OPEN, now.lower, now.upper, f"next: {now.kind} {'at ' if now.kind == 'look' else ''}{now.count}"


def _rule(one: Verdicts, upper: int) -> str:
    seeds = one.target.fresh_seeds
    missed = [str(count) for count, above in sorted(one.heard.items()) if not above]
    after = f"; not confirmed: {', '.join(missed)}" if missed else ""
    return (
        f"{len(one.looked)} counts looked at; {upper} confirmed by position seeds {seeds[0]} to {seeds[-1]}, "
        f"which no look has seen (p = {one.p[upper]:.2g}){after}"
    )
