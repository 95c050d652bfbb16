"""``refine``: what to run next, to narrow the thresholds of a sweep, from the rows that a store has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.specs import variants
from orchestrator.refining.budget import Budget
from orchestrator.refining.feed import Feed
from orchestrator.refining.proposals import Proposal
from orchestrator.refining.rules import Rules
from orchestrator.refining.standing import Standings, standings
from orchestrator.refining.targets import targets
from orchestrator.text import number
from trials.errors import ApetError

if TYPE_CHECKING:
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial


@dataclass(frozen=True)
class Refinement:
    """What to run next, and what is known.

    Args:
        proposals: each with its trials and why; () where all is settled.
        standings: of every threshold.
        sweep: that they are of.
    """

    proposals: tuple[Proposal, ...]
    standings: Standings
    sweep: Sweep

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All that are proposed."""
        return tuple(trial for one in self.proposals for trial in one.trials)

    def text(self) -> str:
        """A sweep file of these trials, each purpose in a comment; '' where there are none."""
        from orchestrator.refining import sweepfile

        if not self.trials:
            return ""
        reasons = [
            f"{one.why}: {number(len(one.trials), 'trial')}"
            + ("" if one.chance == 1 else f", needed with a chance of {one.chance:.0%}")
            for one in self.proposals
        ]
        written = sweepfile.text(self.trials, self.sweep, [f"What comes next of {self.sweep.name}:", *reasons])
        sweepfile.check(written, self.trials, self.sweep)
        return written

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = [
            {"why": one.why, "chance": one.chance, "trials": [trial.trial_id for trial in one.trials]}
            for one in self.proposals
        ]
        return {"resolved": self.standings.is_resolved, "thresholds": self.standings.rows(), "proposals": found}


def refine(
    sweep: Sweep, store: Store, *, where: str | None = None, budget: Budget | None = None, rules: Rules | None = None
) -> Refinement:
    """The next trials that narrow the thresholds of a sweep's count curves most for what they cost.

    Args:
        sweep: whose counts are searched.
        store: with the rows so far; it need not be there.
        where: SQL condition over identity columns: only curves with trials that fulfil it, of the counts that do.
        budget: None: what is surely needed next; else so many trials, those that may be needed after these too. Hours
            are not for this: nothing runs.
        rules: of the claims.

    Raises:
        ApetError: a wrong condition, no count curve, a budget in hours.
    """
    if budget is not None and budget.trials is None:
        raise ApetError("--budget hours=…: refine runs nothing, so no clock runs; give trials=N")
    feed = feed_of(sweep, store, where, budget or Budget(), rules or Rules())
    found = feed.take()
    while budget is not None and (more := feed.take()):
        found += more
    return Refinement(tuple(found), standing_of(feed), sweep)


def feed_of(sweep: Sweep, store: Store, where: str | None, budget: Budget, rules: Rules) -> Feed:
    """What gives the trials of a sweep.

    Raises:
        ApetError: a wrong condition, or no count curve.
    """
    trials = sweep.trials()
    if where is not None:
        from orchestrator.results.query import select_trials

        trials = tuple(select_trials(trials, where))
    found = targets(trials)
    if not found:
        raise ApetError(
            f"sweep {sweep.name}: no count curve{' fulfils --where' if where else ''}, so no threshold to narrow; it "
            "takes the method apet with several counts"
        )
    return Feed(sweep, store, found, rules, budget)


def standing_of(feed: Feed) -> Standings:
    """How far every threshold has come."""
    likes = [one.like for one in feed.targets]
    names = [(one.backbone.name, one.task.name, one.method.placement, str(one.method.operations)) for one in likes]
    others = sum(one.method.name not in ("apet", "full") for one in feed.sweep.trials())
    notes = (
        [f"{number(others, 'trial')} of other methods: `apet run` runs them, no threshold needs them"] if others else []
    )
    return standings(feed.said(), variants([one.spec for one in likes], names), feed.rules, notes)
