"""The set-up of every trial of a run or a plan, and which of them can't be run, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import Fit, fit, pack_size_of
from orchestrator.planning.groups import Group, by_method, grouped
from trials.errors import Problems
from trials.setup import Setup
from trials.trial import Trial

if TYPE_CHECKING:
    from trials.sweep.sweep import Resources


class Setups:
    """Trials in groups that run alike, each with its fit.

    Args:
        trials: all of them.
        machines: what they may run on.
        wanted: of every pack.

    Raises:
        ApetError: wishes that exclude each other.
    """

    def __init__(self, trials: Iterable[Trial], machines: Sequence[Machine], wanted: Resources) -> None:
        self._pack_size = pack_size_of(wanted)
        self.groups = grouped(trials, self._pack_size)
        self.fits = {group: fit(some, machines, wanted) for group, some in self.groups.items()}

    def fit(self, trial: Trial) -> Fit:
        """The fit of one of the trials."""
        return self.fits[Group.of(trial, self._pack_size)]

    def setup(self, trial: Trial) -> Setup:
        """The set-up of one of the trials: what its pack carries."""
        return self.fit(trial).setup

    def refusals(self) -> list[str]:
        """Every group that can't be run, and why: ``t5-xxl full on rte, sst2: …``; the longest task's numbers."""
        refused: dict[tuple[str, str], list[Group]] = {}
        for group, found in self.fits.items():
            if found.refusal:
                refused.setdefault((group.backbone.name, methods(self.groups[group])), []).append(group)
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
                "what is to run: it takes more than there is, or than this release trains (`apet plan` says what each "
                "takes; --where leaves trials out; a smaller batch, pack or backbone takes less)",
            )


def methods(trials: Sequence[Trial]) -> str:
    """The methods of a group: one, or all that share packs."""
    return ", ".join(by_method(trials))
