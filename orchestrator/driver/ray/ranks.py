"""The ranks of a gang on Ray: an actor in each bundle of the pack's placement group, which owns one rank's process.

The rank is a process beside its actor, so that one that hangs in a collective call is killed all the same; the actor
starts it, with the cards that Ray gave it, and relays its lines. It ends with its actor, and the actor with the worker
whose gang it is, or with the placement group: nothing is left, whoever was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.driver.room import Taken
from workers.gang.local import Local

HEAR_S = 10.0  # an actor that has heard nothing for so long is asked again
ANSWER_S = 60.0  # an actor may have to start first; one that doesn't answer for so long is as good as gone
KILL_S = 10.0


class RankActor:
    """One rank's process on its node, and its lines.

    Args:
        device: cpu or cuda.
    """

    def __init__(self, device: str) -> None:
        self._process = Local().start(1, device)

    def send(self, text: str) -> None:
        """A line for the process."""
        self._process.send(text)

    def hear(self, wait_s: float) -> list[str | None]:
        """Lines that it wrote, as soon as there are any, waited for so many seconds; None: it is gone."""
        return [line for _, line in self._process.events(wait_s)]

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        return self._process.last_words(0)

    def kill(self) -> None:
        """End it, and come back when it has ended."""
        self._process.kill()


class RayRanks:
    """The ranks of one gang; all on one node, that of the worker whose gang it is.

    Args:
        actors: of :class:`RankActor`, in the order of the ranks.
    """

    host, local = "127.0.0.1", True  # :func:`orchestrator.driver.ray.resources.request` keeps a gang on one node

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)
        self._heard = {self._ask(rank): rank for rank in range(len(self._actors))}
        self._lost: dict[int, str] = {}  # ranks whose actor is gone: Ray's words

    def send(self, text: str, rank: int | None = None) -> None:
        """A line for one rank, or for all; one that is gone says so in :meth:`events`."""
        to = self._actors if rank is None else [self._actors[rank]]
        for sent in [actor.send.remote(text) for actor in to]:
            with suppress(RayError):
                ray.get(sent, timeout=ANSWER_S)  # an actor of several threads takes what is asked in any order

    def events(self, wait_s: float) -> list[tuple[int, str | None]]:
        """Lines of ranks, waited for so many seconds; None: that rank's process, or its actor, is gone."""
        ready, _ = ray.wait(list(self._heard), timeout=wait_s) if self._heard else ([], [])
        found = list[tuple[int, str | None]]()
        for one in ready:
            rank = self._heard.pop(one)
            try:
                lines: list[str | None] = ray.get(one)
            except RayError as error:
                self._lost[rank] = str(error)
                lines = [None]
            found += [(rank, line) for line in lines]
            if None not in lines:
                self._heard[self._ask(rank)] = rank
        return found

    def last_words(self, rank: int) -> str:
        """The end of what a rank wrote to stderr, or what Ray says of its actor's death."""
        if rank not in self._lost:
            try:
                return str(ray.get(self._actors[rank].last_words.remote(), timeout=ANSWER_S))
            except RayError as error:
                self._lost[rank] = str(error)
        return self._lost[rank]

    def kill(self) -> None:
        """End all ranks and their actors: first the processes, so that their cards are free when the bundles are."""
        self._heard.clear()
        killed = [actor.kill.remote() for actor in self._actors]
        if killed:
            ray.wait(killed, num_returns=len(killed), timeout=KILL_S)
        for actor in self._actors:
            ray.kill(actor)
        self._actors.clear()

    def _ask(self, rank: int) -> Any:
        return self._actors[rank].hear.remote(HEAR_S)


class RayLauncher:
    """Starts gangs in the placement group of the actor that this is part of.

    Args:
        taken: what each rank takes: the bundles' own.
    """

    def __init__(self, taken: Taken) -> None:
        self._taken = taken

    def start(self, ranks: int, device: str) -> RayRanks:
        """A rank in each bundle."""
        group = get_current_placement_group()
        assert group is not None, "a pack has a placement group"
        kind = ray.remote(RankActor)
        return RayRanks(
            [
                kind.options(
                    num_cpus=self._taken.cpus,
                    num_gpus=self._taken.gpus,
                    memory=self._taken.memory,
                    max_concurrency=3,  # it hears, sends and kills at a time
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle),
                ).remote(device)
                for bundle in range(ranks)
            ]
        )
