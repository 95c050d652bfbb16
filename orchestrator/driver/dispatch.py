"""Which pack is next, and what becomes of its trials: the driver's bookkeeping, without ray.

A trial leaves in one of four ways: its row is written (completed, diverged, failed), it was interrupted, or
its worker couldn't go on. Only the last comes back, as a new attempt, after a while, alone, at most ``retries`` times
in one run; preempted ones come back at once, as one pack, for they were at one step, and cost none of them, unless
they seem to be why machine after machine is lost. Memory grows with what is still to be done, never with what is done.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from orchestrator.driver.feed import Feed
from orchestrator.driver.ray.deaths import Death
from orchestrator.driver.retries import IN_A_ROW, Nodes, Retries
from orchestrator.driver.running import Running, no_row, stopped
from orchestrator.driver.summary import Counts
from orchestrator.planning.packing import PlannedPack, Todo
from orchestrator.planning.stocks import Stocks
from trials.failures import INFRASTRUCTURE, PREEMPTED, InfrastructureError
from trials.pack import Pack
from trials.setup import Setup
from workers.pack.progress import INTERRUPTED, Ended, Progress


@dataclass
class Dispatch:
    """Hands out packs and takes back reports.

    Args:
        stock: what is to be done.
        run_id: names the packs of this run.
        retries: how often a trial may come back in this run because its worker couldn't go on.
        row_state: the state of an attempt's row in the store, None when there is none.
        stored: whether an attempt's row is in the store, by its id.
        give_up: writes a failed row for an attempt whose worker couldn't go on, with the reason.
        workers: packs that run at a time, about; what is left in the end is shared out among them.
        on_start, on_report, on_end, on_over: told of every pack handed out, of every report, of every trial
            that ends and of every pack that no longer runs (by its id), for the display.
        on_more: told of attempts that came from the feed.
        on_note: told what a person should read, one line.
        others: whether packs may go elsewhere than to the nodes that get nothing more.
        now: clock, in seconds.
        feed: asked for more when there is nothing to hand out; None: what is in stock is all.

    Attributes:
        stopping: nothing is handed out any more, and nothing comes back.
        hopeless: why no node is left that could work; nothing is handed out then either.
    """

    stock: Stocks
    run_id: str
    retries: int
    row_state: Callable[[Todo], str | None]
    stored: Callable[[str], bool]
    give_up: Callable[[Todo, Death], None]
    workers: int = 1
    on_start: Callable[[Pack], None] = lambda pack: None
    on_report: Callable[[Progress], None] = lambda progress: None
    on_end: Callable[[Todo, Ended], None] = lambda todo, ended: None
    on_over: Callable[[str], None] = lambda pack_id: None
    on_more: Callable[[Sequence[Todo]], None] = lambda todo: None
    on_note: Callable[[str], None] = lambda text: None
    others: Callable[[Set[str]], bool] = lambda excluded: False
    now: Callable[[], float] = time.monotonic
    feed: Feed | None = None
    stopping: bool = False
    hopeless: str = ""
    counts: Counts = field(default_factory=Counts)
    running: dict[str, Running] = field(default_factory=dict)
    nodes: Nodes = field(default_factory=Nodes)

    def __post_init__(self) -> None:
        self._later: list[tuple[float, int, PlannedPack]] = []  # a heap: not before, a number, what came back
        self._retries = Retries(self.retries)
        self._numbers = itertools.count()
        self._fed = self.feed is not None  # whether there may be more to come

    @property
    def waiting(self) -> bool:
        """Whether packs are to be handed out, now or later."""
        return not self.stopping and not self.hopeless and bool(self.stock or self._later or self._fed)

    @property
    def over(self) -> bool:
        """Whether no pack will be handed out any more, whatever becomes of those that run."""
        return self.stopping or bool(self.hopeless) or not (self.stock or self._later or self.running or self._fed)

    def setups(self) -> Iterator[tuple[str, Setup]]:
        """Warmth and set-up of each trial that is to be handed out, now in about this order, and later."""
        yield from self.stock.setups()
        yield from ((planned.warmth, planned.setup) for _, _, planned in self._later)
        if self.feed is not None:
            yield from ((one.warmth, self.stock.setup_of(one)) for one in self.feed.possible)

    def next(self, fits: Callable[[Setup], bool] = lambda setup: True, warm: Mapping[str, str] = {}) -> Pack | None:
        """The next pack; None when there is none to hand out now, or when it doesn't fit.

        Args:
            fits: whether there is room for a pack of a set-up.
            warm: the warmth of what the worker that will get it has loaded, where it is known, by the type of its node.
        """
        self._due()
        self._ask()
        if not self.waiting:
            return None
        planned = self.stock.take(warm, [one.busy for one in self.running.values()], self.workers, fits)
        if planned is None:
            return None
        pack = planned.pack(f"{self.run_id}-{next(self._numbers)}")
        members = {todo.trial.trial_id: todo for todo in planned.members}
        self.running[pack.pack_id] = Running(planned, members, planned.weight)
        self.on_start(pack)
        return pack

    def failed_on(self, pack: Pack) -> str:
        """The node where the pack's first trial failed last, empty where it didn't: another one is better."""
        return self._retries.failed_on.get(pack.members[0].trial.trial_id, "")

    def runs_on(self, pack_id: str, node: str, host: str) -> None:
        """A worker says where it runs a pack."""
        if running := self.running.get(pack_id):
            running.node, running.host = node, host

    def leaves(self, node: str, host: str) -> None:
        """A machine is about to be taken away, which is said once."""
        if self.nodes.lost(node):
            self.on_note(f"the machine {host} is about to be taken away; what trains there goes on elsewhere")

    def report(self, progress: Progress) -> None:
        """A worker's news of its pack: trials that ended have their rows by now, which is made sure of."""
        self.on_report(progress)
        running = self.running.get(progress.pack_id)
        if running is None:
            return
        running.over = progress.step / progress.steps if progress.steps else 0.0
        if progress.pack_size is not None:
            self.stock.learnt(running.planned.warmth, running.planned.setup, progress.pack_size)
        back = list[Todo]()
        for ended in progress.ended:
            todo = running.open.pop(ended.trial_id, None)
            if todo is None:
                continue
            if ended.state == INTERRUPTED and not self.stopping:
                back.append(todo)
            elif ended.state == INTERRUPTED or ended.attempt_id is None or self._seen(ended.attempt_id):
                self._ended(todo, ended)
            else:
                why = f"the worker wrote the row of attempt {ended.attempt_id} where the driver doesn't see it"
                running.unseen = no_row(running, f"{why}: every node must see the same store")
                self._back([todo], running.planned.setup, running.unseen)
        self._back(back, running.planned.setup, stopped(running))

    def finished(self, pack_id: str) -> None:
        """A worker is through with its pack. A trial that it said nothing of is looked up in the store."""
        running = self._take(pack_id)
        if running is None:
            return
        for todo in running.open.values():
            state = self._row_state(todo)
            if state or self.stopping:
                self._ended(todo, Ended(todo.trial.trial_id, state or INTERRUPTED))
            else:
                running.unseen = no_row(running, "the worker ended its pack without a row for this trial")
                self._back([todo], running.planned.setup, running.unseen)
        if running.unseen is not None:
            self._blame(running.unseen)
        else:
            self.nodes.worked(running.node)

    def lost(self, pack_id: str, why: Death) -> None:
        """A worker is gone, or its machine taken away. Trials whose rows it had written are done, others come back."""
        running = self._take(pack_id)
        if running is None:
            return
        if not why.node:
            why = replace(why, node=running.node, host=running.host)
        back = list[Todo]()
        for todo in running.open.values():
            state = self._row_state(todo)
            if state:
                self._ended(todo, Ended(todo.trial.trial_id, state))
            elif self.stopping:
                self._ended(todo, Ended(todo.trial.trial_id, INTERRUPTED))
            else:
                back.append(todo)
        if not self.stopping:
            if why.lost:
                why = self._machine_lost(back, running.over, why)
            self._blame(why)
        self._back(back, running.planned.setup, why)

    def refused(self, pack_id: str) -> None:
        """A worker didn't begin its pack, for its node gets no more: the pack is the next one again."""
        running = self._take(pack_id)
        if running is not None:
            self.stock.refused(running.planned)

    def shun(self, node: str, note: str) -> None:
        """A node gets nothing, for what it is; ``note`` says it. When those that come up all are so, it is hopeless."""
        if node not in self.nodes.excluded:
            self.nodes.excluded.add(node)
            self._excluded(note)
            works = any(one.node and one.node not in self.nodes.excluded for one in self.running.values())
            if len(self.nodes.excluded) >= IN_A_ROW and not works:
                self.hopeless = note

    def _take(self, pack_id: str) -> Running | None:
        self.on_over(pack_id)
        return self.running.pop(pack_id, None)

    def _blame(self, why: Death) -> None:
        """Count a failure of a node; one that fails whatever it gets, gets nothing more."""
        if why.failure_class == PREEMPTED:
            return
        note = self.nodes.failed(why.node, why)
        if note:
            self._excluded(note)

    def _excluded(self, note: str) -> None:
        self.on_note(note)
        if not self.others(self.nodes.excluded):
            self.hopeless = note

    def _machine_lost(self, todos: Sequence[Todo], over: float, why: Death) -> Death:
        """Say it once a machine; trials under which several were lost, and that got no further, count as failures."""
        if self.nodes.lost(why.node):
            self.on_note(f"the machine {why.host} was lost; what trained there goes on elsewhere, from its checkpoint")
        times = max((self._retries.lost(todo.trial.trial_id, over) for todo in todos), default=0)
        if times < IN_A_ROW:
            return why
        reason = f"{times} machines in a row were lost while it ran, the last {why.host}: {why.reason}"
        return replace(why, failure_class=INFRASTRUCTURE, reason=reason)

    def _ended(self, todo: Todo, ended: Ended) -> None:
        self._retries.forget(todo.trial.trial_id)
        self.counts.add(ended.state)
        if self.feed is not None:
            self.feed.ended(todo.trial.trial_id, has_row=ended.state != INTERRUPTED)
        self.on_end(todo, ended)

    def _back(self, todos: Sequence[Todo], setup: Setup, why: Death) -> None:
        """Bring trials of a pack back, as a pack after a preemption; else each alone, since it may be the culprit."""
        if why.failure_class == PREEMPTED:
            if todos:
                self.stock.put_back(PlannedPack(tuple(todos), setup))
            return
        for todo in todos:
            delay = self._retries.fail(todo.trial.trial_id, why.node)
            if delay is None:
                self._given_up(todo, why)
            else:
                again = PlannedPack((todo.again(),), setup)
                heapq.heappush(self._later, (self.now() + delay, next(self._numbers), again))

    def _given_up(self, todo: Todo, why: Death) -> None:
        """No row before: a driver that dies now leaves the trial missing, not failed."""
        trial_id = todo.trial.trial_id
        try:
            self.give_up(todo, why)
        except InfrastructureError as error:
            self.on_note(f"trial {trial_id} failed, and its row can't be written: {error}")
            self._ended(todo, Ended(trial_id, INTERRUPTED))
            return
        self._ended(todo, Ended(trial_id, "failed", error_message=why.reason, failure_class=why.failure_class))

    def _due(self) -> None:
        """What came back and has waited long enough is as good as any."""
        while self._later and self._later[0][0] <= self.now():
            self.stock.put_back(heapq.heappop(self._later)[2])

    def _ask(self) -> None:
        """Let the feed fill an empty stock, not with more packs than run at a time; it is done when nothing runs then.

        On a cluster packs are made before workers are free: what isn't needed for sure would all be handed out.
        """
        if self.feed is None or self.stopping or self.stock or len(self.running) >= self.workers:
            return
        more = self.feed.more()
        self.stock.add(more)
        self.on_more(more)
        self._fed = bool(more or self.running or self._later)

    def _seen(self, attempt_id: str) -> bool:
        """Whether a row is there; where the store can't be asked, the worker's word is enough, who wrote it."""
        try:
            return self.stored(attempt_id)
        except InfrastructureError:
            return True

    def _row_state(self, todo: Todo) -> str | None:
        """The state of a row; where the store can't be asked there is none: another attempt does no harm."""
        try:
            return self.row_state(todo)
        except InfrastructureError:
            return None
