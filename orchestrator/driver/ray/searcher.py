"""What feeds Ray Tune: a searcher that suggests the dispatch's packs."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from ray.tune.search import Searcher

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.launch import Launch
from orchestrator.driver.patience import Patience
from orchestrator.driver.ray.deaths import Death
from orchestrator.driver.ray.nodes import elsewhere, exclude
from orchestrator.driver.ray.trainable import (
    EXCLUDED,
    LAUNCH,
    LEAVING,
    NEAR,
    NODE,
    OTHER_CODE,
    PACK,
    REFUSED,
    REPORT,
    SETUP,
)
from orchestrator.driver.room import Room
from orchestrator.text import number
from trials.setup import Setup
from workers.pack.progress import Progress

START_S = 60.0  # how long the first worker that is up waits for the others


class PackSearcher(Searcher):  # type: ignore[misc]  # ray has no types here
    """Turns a :class:`Dispatch` into Tune's suggestions: one pack each, when there is room for it.

    The first suggestions have no pack: they start all workers at once, and end when all are up. Without
    them Tune would give a waiting pack to the first worker that is free, and end the worker that starts for it.

    Args:
        dispatch: what is to be done.
        launch: what every pack of the run shares.
        room: what packs share; None lets Tune keep some waiting, which makes a cluster scale up.
        asks_memory: whether packs ask Ray for memory.
        max_concurrent: packs at a time at most.
        on_wait: called when there is nothing to suggest: Tune may call nothing else then.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        launch: Launch,
        room: Room | None = None,
        asks_memory: bool = False,
        max_concurrent: int | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.dispatch, self.room, self.max_concurrent, self.on_wait = dispatch, room, max_concurrent, on_wait
        self.packs: dict[str, tuple[str, Setup]] = {}  # Tune's trial id: pack id and set-up, of packs that run
        self._run_id, self._launch = launch.run_id, launch.to_json()
        self._asks_memory = asks_memory
        self._memory: dict[tuple[str, str], int] = {}  # by warmth and type of node
        for warmth, setup in dispatch.setups():
            key = warmth, setup.node_type
            self._memory[key] = max(setup.memory, self._memory.get(key, 0))
        first = room.at_once(setup for _, setup in dispatch.setups())[:max_concurrent] if room else []
        self._to_start = deque(first if len(first) > 1 else [])
        self._starting: dict[str, Setup] = {}  # Tune's trial ids of suggestions without a pack
        self._up: set[str] = set()
        self._first_up = 0.0
        self._freed: dict[str, deque[str]] = defaultdict(deque)  # by type of node: warmth of workers that are idle, in
        # the order in which Tune gives them packs
        self._begun: set[str] = set()  # Tune's trial ids of packs that have a worker
        self._patience = Patience()
        self._told: set[str] = set()  # nodes of which workers know that they get nothing more

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next pack, nothing for now, or the end: Tune then lets idle actors go.

        It isn't the end as long as a pack runs: if its worker is lost, it comes back.
        """
        if self.dispatch.over:
            return str(Searcher.FINISHED)
        if self.max_concurrent is not None and len(self.packs) + len(self._starting) >= self.max_concurrent:
            self.on_wait()
            return None
        if self._to_start:
            setup = self._starting[trial_id] = self._to_start.popleft()
            return self._suggestion("", setup, 0)
        pack = self.dispatch.next(self._fits, {kind: freed[0] for kind, freed in self._freed.items() if freed})
        if pack is None:
            self.on_wait()
            return None
        self.packs[trial_id] = pack.pack_id, pack.setup
        warmth = self.dispatch.running[pack.pack_id].planned.warmth
        self._handed_out(self._freed[pack.setup.node_type], warmth)
        near = elsewhere(pack.setup, self.dispatch.failed_on(pack), self.dispatch.nodes.excluded)
        memory = self._memory.get((warmth, pack.setup.node_type), pack.setup.memory) if self._asks_memory else 0
        return self._suggestion(pack.to_json(), pack.setup, memory, near)

    def up(self, trial_id: str) -> bool:
        """A worker without a pack is up; whether it may take one now: all are, or it waited long enough."""
        self._first_up = self._first_up or time.monotonic()
        self._up.add(trial_id)
        waited = time.monotonic() - self._first_up > START_S
        return waited or self.dispatch.over or (not self._to_start and self._starting.keys() <= self._up)

    def begun(self, trial_id: str) -> None:
        """A worker has the pack."""
        self._begun.add(trial_id)

    @property
    def pending(self) -> dict[str, str]:
        """Packs that wait for a place, by Tune's trial id: the type of node that they are for."""
        return {trial_id: setup.node_type for trial_id, (_, setup) in self.packs.items() if trial_id not in self._begun}

    def sold_out(self) -> set[str]:
        """Types of nodes that packs have waited for long enough."""
        waiting, every = self.pending, {trial_id: setup.node_type for trial_id, (_, setup) in self.packs.items()}
        running = {kind for trial_id, kind in every.items() if trial_id not in waiting}
        return self._patience.lost({*waiting.values()} - {""}, running, time.monotonic())

    def leave(self, kind: str) -> None:
        """What waits for a type of nodes goes elsewhere, if it can; none of it is :attr:`pending` any more."""
        if moved := self.dispatch.stock.leave(kind):
            minutes = self._patience.limit_s / 60
            self.dispatch.on_note(
                f"no node of type {kind} could be had in {minutes:g} minutes: {number(moved, 'trial')} go elsewhere"
            )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A pack reached an evaluation."""
        if trial_id in self.packs:
            self.dispatch.runs_on(self.packs[trial_id][0], result.get(NODE, ""), result.get("hostname", ""))
        if LEAVING in result:
            self.dispatch.leaves(*result[LEAVING])
        if REPORT in result:
            self.dispatch.report(Progress.from_json(result[REPORT]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A pack is through; a broken one waits for :meth:`lost`, which knows why."""
        self._starting.pop(trial_id, None)
        self._begun.discard(trial_id)
        if error or trial_id not in self.packs:
            return
        if result:
            self.on_trial_result(trial_id, result)
        pack_id, setup = self.packs.pop(trial_id)
        if result is None or result.get(REFUSED):  # taken back before a worker had it, or after
            self.dispatch.refused(pack_id)
            if result and result.get(OTHER_CODE):
                self.dispatch.shun(result[NODE], result[OTHER_CODE])
                self._tell_excluded()
        else:
            if self.room is not None and pack_id in self.dispatch.running:
                self._freed[setup.node_type].append(self.dispatch.running[pack_id].planned.warmth)
            self.dispatch.finished(pack_id)
            self._tell_excluded()

    def lost(self, trial_id: str, why: Death) -> None:
        """A pack's worker is gone, or can't go on."""
        if trial_id in self.packs:
            self.dispatch.lost(self.packs.pop(trial_id)[0], why)
            self._tell_excluded()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see :meth:`save`."""

    def _handed_out(self, freed: deque[str], warmth: str) -> None:
        """Guess who gets the next pack.

        On machines of our own a suggestion is made when a worker is free, and Tune gives it to the one that has been
        idle longest. On a cluster packs wait in Tune for whoever is free first: there, all workers go from backbone to
        backbone together.
        """
        if freed:
            freed.popleft()
        if self.room is None:
            freed.append(warmth)

    def _suggestion(self, pack: str, setup: Setup, memory: int, near: str = "") -> dict[str, Any]:
        """A worker goes on only to packs that ask Ray for the same as its first.

        So all packs of a backbone ask for the memory of the largest, or for none.
        """
        asks = json.dumps(asdict(replace(setup, memory=memory)))
        excluded = " ".join(sorted(self.dispatch.nodes.excluded - {""}))
        return {PACK: pack, LAUNCH: self._launch, SETUP: asks, EXCLUDED: excluded, NEAR: near}

    def _fits(self, setup: Setup) -> bool:
        if self.room is not None:
            return self.room.fits(setup, [*(one for _, one in self.packs.values()), *self._starting.values()])
        kind = (
            setup.node_type
        )  # as many of each type wait as run at a time: what starts no node more would be in reserve
        return not kind or [*self.pending.values()].count(kind) < self.dispatch.stock.workers.get(kind, 1)

    def _tell_excluded(self) -> None:
        """Packs with their workers already may be on their way to a node that gets nothing more."""
        for node in self.dispatch.nodes.excluded - self._told:
            self._told.add(node)
            exclude(self._run_id, node)
