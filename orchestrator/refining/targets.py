"""What a sweep's thresholds are to be found of: its count curves, with the trials that each may take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from orchestrator.analysis.evidence import LEAST_FULL
from orchestrator.refining.rules import FIRST_FRESH, LEAST_FRESH, LOOKS, THIRD
from trials import keys
from trials.trial import Trial


@dataclass(frozen=True, eq=False)
class Target:
    """One count curve of a sweep, and the full fine-tuning beside it.

    Args:
        like: one of its trials.
        counts: that the sweep allows, ascending.
        rates: learning rates of the sweep.
        train_seeds: of the sweep.
        fresh: how many position seeds confirm.
        full: trials of full fine-tuning, of three train seeds or more; () where the sweep has none.
    """

    like: Trial
    counts: tuple[int, ...]
    rates: tuple[float, ...]
    train_seeds: tuple[int, ...]
    fresh: int
    full: tuple[Trial, ...]
    _made: dict[tuple[int, int, int, float], Trial] = field(default_factory=dict, repr=False)

    @cached_property
    def curve_id(self) -> str:
        """Of all its trials."""
        return self.like.curve_id

    @property
    def fresh_seeds(self) -> range:
        """Position seeds that confirm."""
        return range(FIRST_FRESH, FIRST_FRESH + self.fresh)

    @property
    def name(self) -> str:
        """In a few words."""
        return f"{self.like.backbone.name} {self.like.task.name} {self.like.method.placement}"

    def trials(self, count: int, seeds: Iterable[int], rates: Iterable[float]) -> list[Trial]:
        """Those of a count with some position seeds and learning rates, and all train seeds."""
        rates = tuple(rates)
        return [self._trial(count, p, t, rate) for p in seeds for t in self.train_seeds for rate in rates]

    def possible(self) -> list[Trial]:
        """One trial of every count, and full fine-tuning: what any of its trials is like."""
        every = [*LOOKS, THIRD]
        return [*self.full, *(one for count in self.counts for one in self.trials(count, every[:1], self.rates))]

    def _trial(self, count: int, position_seed: int, train_seed: int, rate: float) -> Trial:
        key = count, position_seed, train_seed, rate
        if key not in self._made:
            method = replace(self.like.method, count=count)
            self._made[key] = replace(
                self.like, method=method, position_seed=position_seed, train_seed=train_seed, learning_rate=rate
            )
        return self._made[key]


def targets(trials: Iterable[Trial]) -> list[Target]:
    """The count curves among trials, in their order; those with a trained head, which thresholds leave out, aside."""
    trials = list(trials)
    full: dict[str, list[Trial]] = defaultdict(list)
    curves: dict[str, list[Trial]] = defaultdict(list)
    for one in trials:
        if one.method.name == "full":
            full[keys.setting(one.spec)].append(one)
        elif one.method.name == "apet" and one.head != "trained":
            curves[one.curve_id].append(one)
    return [_target(some, full.get(keys.setting(some[0].spec), [])) for some in curves.values()]


def _target(some: list[Trial], full: list[Trial]) -> Target:
    counts = sorted({one.method.count for one in some if one.method.count is not None})
    seeds = {one.position_seed for one in some}
    return Target(
        some[0],
        tuple(counts),
        tuple(sorted({one.learning_rate for one in some})),
        tuple(sorted({one.train_seed for one in some})),
        max(LEAST_FRESH, len(seeds)),
        tuple(_reference(full)),
    )


def _reference(full: list[Trial]) -> list[Trial]:
    """The sweep's full fine-tuning, with further train seeds where it has too few to compare with."""
    seeds = sorted({one.train_seed for one in full})
    more = (seed for seed in range(LEAST_FULL + len(seeds)) if seed not in seeds)
    further = [next(more) for _ in range(LEAST_FULL - len(seeds))] if full else []
    rates = {one.learning_rate: one for one in full}
    return [*full, *(replace(one, train_seed=seed) for seed in further for one in rates.values())]
