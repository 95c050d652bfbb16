"""The set-up of every trial of a run or a plan, and which of them can't be run, in words.

Trials of several methods share packs, and a set-up: as large a pack as the largest of them allows. A method or a count
that would make the packs of the others less than half as large has a set-up of its own, and where packs are of one
trial, every method has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import Fit
from orchestrator.planning.groups import Group, Kind, by_method, counted, kinds
from orchestrator.planning.memory import memory
from orchestrator.planning.places import place
from orchestrator.planning.sizes import Known, largest
from trials.backbones import loaded_parameters
from trials.errors import Problems
from trials.setup import Setup
from trials.trial import Method, Trial

if TYPE_CHECKING:
    from trials.store.calibration import Calibrations
    from trials.sweep.resources import Resources


class Setups:
    """Trials in groups that run alike, each with its fit.

    Args:
        trials: all of them.
        machines: what they may run on.
        wanted: of every pack.
        calibrations: what workers have measured; None: nothing.

    Raises:
        ApetError: wishes that exclude each other.
    """

    def __init__(
        self,
        trials: Iterable[Trial],
        machines: Sequence[Machine],
        wanted: Resources,
        calibrations: Calibrations | None = None,
    ) -> None:
        self._all = tuple(trials), tuple(machines), wanted, calibrations
        self._others: dict[frozenset[str], Setups] = {}
        known = None if calibrations is None else Known(calibrations, machines)
        self.groups: dict[Group, list[Trial]] = {}
        self.fits: dict[Group, Fit] = {}
        self._groups: dict[tuple[Kind, Method], Group] = {}
        for kind, some in kinds(self._all[0]).items():
            for methods, found in _shared(some, lambda part: place(part, machines, wanted, known), wanted):
                group = Group(kind, frozenset(methods))
                self.groups[group], self.fits[group] = [one for one in some if one.method in group.methods], found
                self._groups |= {(kind, method): group for method in group.methods}

    def fit(self, trial: Trial) -> Fit:
        """The fit of one of the trials."""
        return self.fits[self._groups[Kind.of(trial), trial.method]]

    def setup(self, trial: Trial) -> Setup:
        """The set-up of one of the trials: what its pack carries."""
        return self.fit(trial).setup

    def elsewhere(self, trial: Trial, without: Set[str]) -> Setup | None:
        """The set-up of one of the trials where some types of node can't be had; None where it can't be run then."""
        names = frozenset(without)
        if names not in self._others:
            trials, machines, *rest = self._all
            self._others[names] = Setups(trials, [one for one in machines if one.node_type not in names], *rest)
        found = self._others[names].fit(trial)
        return None if found.lacking else found.setup

    def refusals(self) -> list[str]:
        """Every group that can't be run, and why: ``t5-xxl full on rte, sst2: …``; the longest task's numbers."""
        refused: dict[tuple[str, str], list[Group]] = {}
        for group, found in self.fits.items():
            if found.refusal:
                refused.setdefault((group.kind.backbone.name, methods(self.groups[group])), []).append(group)
        lines = []
        for (backbone, method), groups in refused.items():
            tasks = dict.fromkeys(trial.task.name for group in groups for trial in self.groups[group])
            worst = max((self.fits[group] for group in groups), key=lambda one: one.needed)
            lines.append(f"{backbone} {method} on {', '.join(tasks)}: {worst.refusal}")
        return lines

    def check(self) -> None:
        """Make sure that all can be run.

        Raises:
            Problems: :meth:`refusals`, and what to do.
        """
        if found := self.refusals():
            raise Problems(
                found,
                "what is to run: it takes more than there is (`apet plan` says what each "
                "takes; --where leaves trials out; a smaller batch, pack or backbone takes less)",
            )


def methods(trials: Sequence[Trial]) -> str:
    """The methods of a group: one, or all that share packs."""
    return ", ".join(by_method(trials))


def _shared(
    trials: Sequence[Trial], fitted: Callable[[Sequence[Trial]], Fit], wanted: Resources
) -> Iterator[tuple[list[Method], Fit]]:
    """Methods of trials of one kind that share a set-up, small ones first, and their fit."""
    left = sorted({one.method: one for one in trials}.values(), key=_needed)  # stable; a trial a method and count
    while left:
        first = fitted(left[:1])
        if first.setup.pack_size == 1:
            for some in by_method(left).values():
                yield [one.method for one in some], fitted(some)
            return
        n = len(left) if wanted.pack_size != "auto" else _together(left, first, fitted)
        yield [one.method for one in left[:n]], fitted(left[:n])
        left = left[n:]


def _together(trials: Sequence[Trial], first: Fit, fitted: Callable[[Sequence[Trial]], Fit]) -> int:
    """How many of the trials, from the first on, share packs that are at least half of what each one's would be alone.

    Memory goes up with every trial, so that what is true of some is true of fewer.
    """

    alone = cache(lambda trial: fitted([trial]).setup.pack_size)

    def shares(n: int) -> bool:
        smallest = (some[0] for some in by_method(trials[:n]).values())  # of a method the one whose packs are largest
        found, most = fitted(trials[:n]), max(map(alone, smallest))
        return found.setup.pack_size > 1 and 2 * found.setup.pack_size >= most and _alike(found, first)

    return largest(shares, len(trials))


def _alike(one: Fit, other: Fit) -> bool:
    """Whether two run alike, the size of their packs aside."""
    first, second = (
        (replace(x.setup, pack_size=1, memory=0, measure_to=0, reason=""), x.assumed) for x in (one, other)
    )
    return first == second


def _needed(trial: Trial) -> int:
    """Bytes of a trial alone, to compare with others of its kind."""
    loaded = loaded_parameters(trial.backbone)
    return memory(trial, loaded, counted(trial.method, trial.backbone, loaded), 1, 4).in_process()
