"""What gives the driver more trials when a worker would wait: no round ends before the next one begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.planning.todo import Todo
from orchestrator.refining.budget import Budget
from orchestrator.refining.proposals import Proposal, proposals
from orchestrator.refining.rules import Rules
from orchestrator.refining.targets import Target
from orchestrator.refining.verdicts import Verdicts, verdicts
from trials.store.record import SCHEMA
from trials.store.store import Store
from trials.store.views import with_groups
from trials.sweep.sweep import Sweep
from trials.trial import Trial


class Feed:
    """Trials of a sweep, as its thresholds need them.

    All that is surely needed is given at once; with nothing of that kind left, what the outcome of those that run may
    ask for: one trial at a time, since by the time that the next worker is idle more is known.

    Args:
        sweep: where weights and data are.
        store: whose rows decide.
        targets: what is sought.
        rules: of the claims.
        budget: for all that is given.
        now: clock, in seconds.
    """

    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        targets: Sequence[Target],
        rules: Rules,
        budget: Budget,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sweep, self.store, self.targets, self.rules, self.budget = sweep, store, targets, rules, budget
        self._now, self._began = now, now()
        self._lost: set[str] = set()  # ended without a row
        self._given: set[str] = set()
        self._stale, self._said = True, list[Verdicts]()
        self._has_none = False  # as long as nothing ends
        self._tried: set[str] = set()

    @property
    def given(self) -> frozenset[str]:
        """Ids of the trials."""
        return frozenset(self._given)

    @property
    def possible(self) -> list[Todo]:
        """Trials that any one that will be given is like: their set-ups are the same."""
        return [self._todo(one) for target in self.targets for one in target.possible()]

    def more(self) -> list[Todo]:
        """What to run now; [] where nothing is to be run as long as nothing else ends."""
        return [self._todo(trial) for one in self.take(apart=True) for trial in one.trials]

    def take(self, apart: bool = False) -> list[Proposal]:
        """The same, with the reasons.

        Args:
            apart: of what may be in vain the first trial alone.
        """
        if self._has_none or self._spent:
            return []
        found = proposals(self.said(), self._tried | self._given)
        self._has_none = not found
        taken = []
        for one in [one for one in found if one.chance == 1] or [one.first() if apart else one for one in found[:1]]:
            left = None if self.budget.trials is None else self.budget.trials - len(self._given)
            if trials := one.trials[:left]:
                taken.append(replace(one, trials=trials))
                self._given |= {trial.trial_id for trial in trials}
        return taken

    def ended(self, trial_id: str, has_row: bool) -> None:
        """A trial that was given ended; its row is in the store, or there will be none in this run."""
        if not has_row:
            self._lost.add(trial_id)
        self._stale, self._has_none = True, False

    def said(self) -> list[Verdicts]:
        """What the rows say now."""
        if self._stale:
            rows = self.store.trials() if self.store.exists() else with_groups(SCHEMA.empty_table())
            self._tried = set(rows["trial_id"].to_pylist()) | self._lost
            self._said, self._stale = verdicts(self.targets, rows, self._tried, self.rules), False
        return self._said

    @property
    def _spent(self) -> bool:
        hours, trials = self.budget.hours, self.budget.trials
        late = hours is not None and self._now() - self._began >= 3600 * hours
        return late or (trials is not None and len(self._given) >= trials)

    def _todo(self, trial: Trial) -> Todo:
        return Todo(trial, self.sweep.sources(trial), sweep=self.sweep.name)
