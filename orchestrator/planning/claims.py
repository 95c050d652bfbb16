"""What a sweep's count curves can claim, once they have run: on how many seeds, heads and full runs each rests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.text import number

if TYPE_CHECKING:
    from trials.trial import Trial

LEAST_FULL = 3  # runs of full fine-tuning that a high threshold takes
DRAWN = ("frozen", "trained")  # heads that a train seed draws


Setting = tuple[Hashable, Hashable, str | None, str, Hashable]  # backbone, task, head, labels, training


@dataclass
class _Curve:
    counts: set[int | None] = field(default_factory=set)
    replicates: set[tuple[int | None, int]] = field(default_factory=set)


def claims(trials: Sequence[Trial]) -> tuple[str, ...]:
    """In sentences; none where there is no count curve, of two counts or more.

    Args:
        trials: all of a sweep.
    """
    curves: dict[Setting, dict[Hashable, _Curve]] = defaultdict(lambda: defaultdict(_Curve))
    full: dict[Setting, set[int]] = defaultdict(set)
    for t in trials:
        setting = (t.backbone, t.task, t.head, t.labels, t.training)
        if t.method.name == "full":
            full[setting].add(t.train_seed)
        elif t.method.name == "apet":
            shares, sites = (tuple((given or {}).items()) for given in (t.method.operations, t.method.sites))
            curve = curves[setting][t.method.placement, shares, str(sites)]
            curve.counts.add(t.method.count)
            curve.replicates.add((t.position_seed, t.train_seed))
    found = [(one, t, full[t]) for t, some in curves.items() for one in some.values() if len(one.counts) > 1]
    said = Counter(line for one, (_, _, head, _, _), runs in found for line in _of(one, head, len(runs)))
    return tuple(f"{line} ({number(n, 'count curve')})" for line, n in said.items())


def _of(curve: _Curve, head: str | None, runs: int) -> list[str]:
    seeds = f"{number(len(curve.replicates), 'seed')} a count"
    if len(curve.replicates) < 2:
        return [f"thresholds stay unresolved with {seeds}: give position_seeds 3 or more"]
    trains = len({train for _, train in curve.replicates})
    heads = number(trains, "head" if head in DRAWN else "train seed")
    low = f"low rests on {seeds} and {heads}" + (
        ", and speaks of that one alone" if trains == 1 and head in DRAWN else ""
    )
    rest = f"high on {number(runs, 'run')} of full fine-tuning"
    if runs < LEAST_FULL:
        rest = f"high stays unresolved with {number(runs, 'run')} of full fine-tuning: it takes {LEAST_FULL}"
    return [f"{low}; {rest}"]
