"""What a store's rows say of a target: by threshold and count, whether it is above, by looks and by fresh seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.curves import Curve, curves
from orchestrator.analysis.evidence import LEAST_FULL, learnt_p
from orchestrator.analysis.failed import with_failed
from orchestrator.analysis.material import Material, material
from orchestrator.refining.rules import LOOK_LEVEL, LOOKS, SIDES, THIRD, Rules, contrasts, look_p, needs_third
from orchestrator.refining.search import LOOK, Step, heard, step
from orchestrator.refining.targets import Target
from orchestrator.text import number
from trials.trial import Trial

MOST_VOID = 3  # counts of which no run has a result: then something is wrong that more of them won't mend


@dataclass
class Verdicts:
    """One threshold of one target.

    Args:
        target: whose it is.
        side: low or high.
        looked, confirmed: see :func:`orchestrator.refining.search.step`.
        p: of the confirmations, by count.
        third: counts that need a third look.
        void: counts of which too few runs have a result to judge them: the search goes on without them.
        rates: the learning rate chosen by count.
        waits: high: full fine-tuning isn't there yet, or nobody knows yet whether the largest count is above low.
        blocked: why nothing can be found, whatever runs; '' where something can.
    """

    target: Target
    side: str
    looked: dict[int, bool] = field(default_factory=dict)
    confirmed: dict[int, bool] = field(default_factory=dict)
    p: dict[int, float] = field(default_factory=dict)
    third: set[int] = field(default_factory=set)
    void: set[int] = field(default_factory=set)
    rates: dict[int, float] = field(default_factory=dict)
    waits: bool = False
    blocked: str = ""

    @property
    def counts(self) -> list[int]:
        """Those that can be judged, ascending."""
        return [count for count in self.target.counts if count not in self.void]

    @property
    def step(self) -> Step:
        """What is next; of a high that waits, what will be."""
        return step(self.counts, self.looked, self.heard)

    @property
    def heard(self) -> dict[int, bool]:
        """Of the confirmations, those that the search came to."""
        return heard(self.counts, self.looked, self.confirmed)

    @property
    def is_settled(self) -> bool:
        """Whether no trial can say more."""
        return bool(self.blocked) or (not self.waits and self.step.is_last)

    def trials(self, one: Step) -> list[Trial]:
        """Of a step, those that were made and those that are to be."""
        if one.kind == LOOK:
            seeds = (*LOOKS, THIRD) if one.count in self.third else LOOKS
            return self.target.trials(one.count, seeds, self.target.rates)
        chosen = [self.rates[one.count]] if one.count in self.rates else self.target.rates
        return self.target.trials(one.count, self.target.fresh_seeds, chosen)


def verdicts(targets: Sequence[Target], rows: pa.Table, tried: Collection[str], rules: Rules) -> list[Verdicts]:
    """Both thresholds of every target.

    Args:
        targets: of a sweep.
        rows: visible rows of a store with ``cell_id`` and ``curve_id``.
        tried: ids of trials that have a row, or will get none.
        rules: of the claims.
    """
    chosen = with_failed(rows)
    ours = pc.is_in(chosen["curve_id"], value_set=pa.array([one.curve_id for one in targets], pa.string()))
    by_id = {curve.curve_id: curve for curve in curves(chosen.filter(ours), full=chosen)}
    return [said for one in targets for said in _of_target(one, by_id.get(one.curve_id), tried, rules)]


def _of_target(target: Target, curve: Curve | None, tried: Collection[str], rules: Rules) -> Iterator[Verdicts]:
    """Low, then high."""
    reader = _Reader(target, curve, tried, rules)
    low, high = (reader.read(side) for side in SIDES)
    low.blocked = reader.answers or _fails(low)
    if reader.answers:
        high.blocked = reader.answers
    elif not target.full:
        high.blocked = "the sweep has no method full to compare with: add it, with three train seeds"
    elif low.blocked or low.looked.get(low.counts[-1]) is False:
        high.blocked = low.blocked or f"at {low.counts[-1]} the score isn't shown to be above learning nothing"
    else:
        high.waits = not reader.has_full or low.counts[-1] not in low.looked
        high.blocked = (reader.no_reference if reader.has_full else "") or _fails(high)
    yield low
    yield high


def _fails(side: Verdicts) -> str:
    """Why a search is given up in which count after count has no result; '' where that isn't so."""
    void = sorted(side.void)
    if side.counts and (len(void) < MOST_VOID or side.step.is_last):
        return ""
    where = f"{number(len(void), 'count')} ({', '.join(map(str, void))})"
    return f"no or too few runs have a result at {where}: `apet status --failed` says why"


class _Reader:
    """Judges the counts of one target."""

    def __init__(self, target: Target, curve: Curve | None, tried: Collection[str], rules: Rules) -> None:
        self.target, self.curve, self.tried, self.rules = target, curve, tried, rules
        self.has_full = bool(target.full) and self._all(target.full)
        self.found = material(curve, rules.floor) if curve is not None else None

    @property
    def answers(self) -> str:
        """Why rows can't be judged, whatever more there were of them; '' where they can."""
        found = self.found
        scored = found is not None and any(point.scores for point in found.points)
        return found.why if found is not None and scored and not found.gains else ""

    @property
    def no_reference(self) -> str:
        """Why full fine-tuning, all of which has run, is none to compare with; '' where it is."""
        curve, found = self.curve, self.found
        if curve is None or found is None:
            return ""
        if len(curve.full) < LEAST_FULL or isinstance(found.full, str):
            return f"{len(curve.full)} of {LEAST_FULL} runs of full fine-tuning have a score to compare with"
        if found.why:
            return found.why
        if (p := float(learnt_p(found.full, self.rules.margin))) >= self.rules.alpha:
            return (
                f"full fine-tuning isn't shown to be more than {self.rules.margin:g} above learning nothing "
                f"(p = {p:.2f}): train it better (steps, learning rate)"
            )
        return ""

    def read(self, side: str) -> Verdicts:
        """One threshold. Of high, nothing before its reference is there."""
        said = Verdicts(self.target, side)
        found: Material | None = self.found
        if self.curve is None or found is None:
            return self._void(said)
        said.rates = {p.count: p.learning_rate for p in self.curve.points if p.learning_rate is not None}
        if side == "high" and (not self.has_full or self.no_reference):
            return self._void(said)
        for count in self.target.counts:
            self._look(said, count)
            if count in said.looked and count not in said.void:
                self._confirm(said, count)
        return said

    def _void(self, said: Verdicts) -> Verdicts:
        """Of counts without any row that is more than tried."""
        scored = {point.count for point in self.curve.points if point.n} if self.curve is not None else set()
        for count in self.target.counts:
            seeds = (*LOOKS, THIRD)
            if count not in scored and self._all(self.target.trials(count, LOOKS, self.target.rates)):
                said.third.add(count)
                if self._all(self.target.trials(count, seeds, self.target.rates)):
                    said.void.add(count)
        return said

    def _look(self, said: Verdicts, count: int) -> None:
        """By two seeds, or by three."""
        if not self._all(self.target.trials(count, LOOKS, self.target.rates)):
            return
        level = self.rules.alpha * LOOK_LEVEL[said.side]
        p, by_rows, seeds = self._p(said.side, count, LOOKS)
        if seeds > 1 and not needs_third(np.array(p), np.array(by_rows), level):
            said.looked[count] = p < level
            return
        said.third.add(count)
        if self._all(self.target.trials(count, (*LOOKS, THIRD), self.target.rates)):
            p, _, seeds = self._p(said.side, count, (*LOOKS, THIRD))
            if seeds > 1:
                said.looked[count] = p < level
            else:
                said.void.add(count)

    def _confirm(self, said: Verdicts, count: int) -> None:
        fresh = self.target.fresh_seeds
        if count not in said.rates or not self._all(self.target.trials(count, fresh, [said.rates[count]])):
            return
        p, _, seeds = self._p(said.side, count, fresh)
        if seeds > 1:
            said.confirmed[count], said.p[count] = p < self.rules.alpha, p
        else:
            said.void.add(count)

    def _p(self, side: str, count: int, seeds: Collection[int]) -> tuple[float, float, int]:
        """By their own variance and by the rows' alone, and how many position seeds have a score."""
        assert self.curve is not None
        found = contrasts(self.curve, count, seeds, side, self.rules)
        if not found:
            return 1.0, 1.0, 0
        p, by_rows = look_p(found, self.rules.margin if side == "high" else 0.0)
        scored = {pair[0] for point in self.curve.points if point.count == count for pair in point.replicates}
        return float(p), float(by_rows), len(scored & set(seeds))

    def _all(self, trials: Collection[Trial]) -> bool:
        return all(one.trial_id in self.tried for one in trials)
