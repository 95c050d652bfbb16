"""Counts, latest scores and the time that is left, in memory that doesn't grow with the trials that ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.planning.packing import Todo, cost
from trials.pack import Pack
from trials.trial import Trial
from workers.pack.progress import Ended, Progress


@dataclass
class Speed:
    """What is known of one backbone's speed: seconds of work of trials that ended, and their cost."""

    left: float = 0.0  # cost of its trials that haven't ended
    cost: float = 0.0
    seconds: float = 0.0


@dataclass
class RunningPack:
    """A pack that runs.

    Args:
        costs: of its trials that have not ended, by their ids.
        since: by the tally's clock.
        scores: the latest on validation, by trial id.
    """

    pack: Pack
    costs: dict[str, float]
    since: float
    step: int = 0
    steps: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def open(self) -> list[Trial]:
        """Those of its trials that have not ended."""
        return [member.trial for member in self.pack.members if member.trial.trial_id in self.costs]

    @property
    def weight(self) -> float:
        """The cost of those together."""
        return sum(self.costs.values())

    @property
    def fraction(self) -> float:
        """How much of its training is over; 0 until the first evaluation."""
        return self.step / self.steps if self.steps else 0.0


@dataclass
class Tally:
    """The state of a run as a person sees it.

    Args:
        todo: everything that the run is to do.
        before: trials of the sweep that were done before.
        workers: packs that run at a time.
        now: clock, in seconds.
    """

    todo: Iterable[Todo]
    before: int = 0
    workers: int = 1
    now: Callable[[], float] = time.monotonic
    ended: dict[str, int] = field(default_factory=dict)  # state: trials
    rows: dict[str, RunningPack] = field(default_factory=dict)  # pack id: what runs
    latest: tuple[Trial, Ended] | None = None

    def __post_init__(self) -> None:
        self._speeds: dict[str, Speed] = {}
        self.total = 0
        self.add(self.todo)
        self.todo = ()
        self.began = self.now()

    def add(self, todo: Iterable[Todo]) -> None:
        """More that the run is to do."""
        for one in todo:
            self.total += 1
            self._speed(one.trial).left += cost(one.trial)

    @property
    def done(self) -> int:
        """Trials that ended in this run with a row."""
        return sum(n for state, n in self.ended.items() if state != "interrupted")

    @property
    def running(self) -> int:
        """Trials that train now."""
        return sum(len(row.costs) for row in self.rows.values())

    def started(self, pack: Pack) -> None:
        """A worker got a pack."""
        costs = {member.trial.trial_id: cost(member.trial) for member in pack.members}
        steps = pack.members[0].trial.training.steps
        self.rows[pack.pack_id] = RunningPack(pack, costs, self.now(), steps=steps)

    def reported(self, progress: Progress) -> None:
        """A pack reached an evaluation; trials that ended there leave it."""
        row = self.rows.get(progress.pack_id)
        if row:
            row.step, row.steps, row.scores = progress.step, progress.steps, progress.scores or row.scores
            for ended in progress.ended:
                row.costs.pop(ended.trial_id, None)

    def over(self, pack_id: str) -> None:
        """A pack no longer runs."""
        self.rows.pop(pack_id, None)

    def trial_ended(self, todo: Todo, ended: Ended) -> None:
        """A trial ended; the seconds of loading its backbone say nothing of the others."""
        self.ended[ended.state] = self.ended.get(ended.state, 0) + 1
        self.latest = (todo.trial, ended)
        speed, spent = self._speed(todo.trial), cost(todo.trial)
        speed.left = max(0.0, speed.left - spent)
        if ended.wall_s and ended.state == "completed":
            speed.cost += spent
            speed.seconds += max(0.0, ended.wall_s - ended.load_s)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all is done, from the work of trials that ended; None as long as nothing is known.

        A backbone of which no trial has ended yet goes at the rate of all others together.
        """
        speeds = self._speeds.values()
        known, seconds = sum(b.cost for b in speeds), sum(b.seconds for b in speeds)
        if not known:
            return None
        left = sum(b.left * (b.seconds / b.cost if b.cost else seconds / known) for b in speeds)
        for row in self.rows.values():
            speed = self._speed(row.pack.members[0].trial)
            rate = speed.seconds / speed.cost if speed.cost else seconds / known
            left -= min(row.weight * rate, max(row.fraction * row.weight * rate, self.now() - row.since))
        return max(0.0, left) / max(1, min(self.workers, self.total - self.done))

    @property
    def per_minute(self) -> float | None:
        """Trials a minute since the start."""
        minutes = (self.now() - self.began) / 60
        return self.done / minutes if self.done and minutes > 0 else None

    def _speed(self, trial: Trial) -> Speed:
        return self._speeds.setdefault(trial.backbone.name, Speed())
