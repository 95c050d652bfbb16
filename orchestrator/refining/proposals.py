"""What to run next, the most worth for its cost first: how much it narrows the thresholds in log count."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.planning.todo import cost
from orchestrator.refining.search import LOOK, Step, ahead
from orchestrator.refining.targets import Target
from orchestrator.refining.verdicts import Verdicts
from orchestrator.text import number
from trials.trial import Trial

UNSURE = 0.5  # the chance of what one open outcome decides on


@dataclass(frozen=True)
class Proposal:
    """Trials that serve one purpose.

    Args:
        trials: that nobody has run.
        why: in words.
        chance: that it is needed: 1 where it is, less where that hangs on what still runs.
        worth: by how much it narrows a bracket, in log count.
    """

    trials: tuple[Trial, ...]
    why: str
    chance: float
    worth: float

    def first(self) -> Proposal:
        """Its first trial alone."""
        return replace(self, trials=self.trials[:1])

    @property
    def rate(self) -> float:
        """What it is worth for what it costs."""
        return self.chance * self.worth / sum(cost(one) for one in self.trials)


def proposals(said: Sequence[Verdicts], begun: Collection[str]) -> list[Proposal]:
    """What is needed, then what may be; each trial once, where it is worth the most.

    Args:
        said: low and high of every target.
        begun: ids of trials that have a row, or run.
    """
    found = [one for low, high in zip(said[::2], said[1::2], strict=True) for one in _of(low, high, begun)]
    found.sort(key=lambda one: (one.chance < 1, -one.rate))
    taken: set[str] = set()
    kept = []
    for one in found:
        left = tuple(trial for trial in one.trials if trial.trial_id not in taken)
        taken |= {trial.trial_id for trial in left}
        if left:
            kept.append(Proposal(left, one.why, one.chance, one.worth))
    return kept


def _of(low: Verdicts, high: Verdicts, begun: Collection[str]) -> Iterator[Proposal]:
    target = low.target
    chance = 1.0 if low.blocked or low.looked.get(low.counts[-1]) else UNSURE
    if high.waits and (lacking := _lacking(target.full, begun)):
        why = f"{target.name}: {number(len(lacking), 'run')} of full fine-tuning, which high is measured against"
        yield Proposal(lacking, why, chance, _width(target))
    for side, sure in ((low, 1.0), (high, chance)):
        if not side.blocked:
            yield from _steps(side, begun, sure)


def _steps(side: Verdicts, begun: Collection[str], sure: float) -> Iterator[Proposal]:
    """Of one threshold."""
    steps = ahead(
        side.counts, side.looked, side.heard, lambda one: not _lacking(side.trials(one), begun) or _hangs(side, one)
    )
    for chance, one in steps:
        what, worth = _said(side, one)
        trials = _lacking(side.trials(one), begun)
        yield Proposal(trials, f"{side.target.name}: {what}", chance * sure, worth)


def _hangs(side: Verdicts, one: Step) -> bool:
    """Whether a confirmation's learning rate is yet to be chosen."""
    return one.kind != LOOK and one.count not in side.rates and len(side.target.rates) > 1


def _said(side: Verdicts, one: Step) -> tuple[str, float]:
    """A step in words, and what it is worth."""
    target = side.target
    if one.kind != LOOK:
        seeds = target.fresh_seeds
        return f"confirm {side.side} at {one.count} with fresh seeds {seeds[0]} to {seeds[-1]}", _width(target)
    if one.upper is None:
        return f"look at {one.count}, the largest count, for {side.side}", _width(target)
    third = ", a third seed, for the first two differ" if one.count in side.third else ""
    lower = one.lower or target.counts[0]
    return f"look at {one.count} in ({one.lower}, {one.upper}] of {side.side}{third}", math.log(one.upper / lower) / 2


def _width(target: Target) -> float:
    """Of all of a target's counts, in log count."""
    return math.log(target.counts[-1] / target.counts[0]) or 1.0


def _lacking(trials: Iterable[Trial], begun: Collection[str]) -> tuple[Trial, ...]:
    return tuple(one for one in trials if one.trial_id not in begun)
