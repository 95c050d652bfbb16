"""The ranks of a gang on Ray: an actor in each bundle of the pack's placement group, which owns one rank's process.

The rank is a process beside its actor, so that one that hangs in a collective call is killed all the same; the actor
starts it, with the card that Ray gave it, and relays its lines. It ends with its actor, and the actor with the worker
whose gang it is, with the placement group, or with its raylet: nothing is left, whoever was killed.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util import get_current_placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.driver.ray.deaths import explain
from orchestrator.driver.ray.leaving import watch
from orchestrator.driver.ray.nodes import say_type
from orchestrator.driver.ray.orphan import end_with_parent
from orchestrator.driver.room import Taken
from trials.code import differs, digest
from trials.failures import InfrastructureError
from workers.gang.local import Local

HEAR_S = 10.0  # an actor that has heard nothing for so long is asked again
ANSWER_S = 5.0  # for what an actor knows at once; one that doesn't say it is as good as gone
KILL_S = 10.0  # for a process to end
HEARING = "hearing"


class Place(NamedTuple):
    """Ray's id of a node, its host for people, and its address as other nodes know it."""

    node: str
    host: str
    address: str


class RankActor:
    """One rank's process on its node. Its calls are done in their order, beside those that hear.

    Args:
        device: cpu or cuda.
        code: see :class:`orchestrator.driver.launch.Launch`.

    Raises:
        InfrastructureError: this machine has other code.
    """

    def __init__(self, device: str, code: str = "") -> None:
        if code and code != digest():
            raise InfrastructureError(differs(socket.gethostname(), digest(), code))
        say_type()
        end_with_parent()
        watch([ray.get_runtime_context().get_node_id()])
        self._process = Local().start(1, device)

    @ray.method(concurrency_group=HEARING)  # type: ignore[untyped-decorator]
    def hear(self, wait_s: float) -> list[str | None]:
        """What the process has said, as soon as there is something, waited for so long; None: it is gone."""
        return [line for _, line in self._process.events(wait_s)]

    def send(self, text: str) -> None:
        """Lines for its standard input."""
        self._process.send(text)

    def place(self) -> Place:
        """Where it is."""
        node = ray.get_runtime_context().get_node_id()
        return Place(node, socket.gethostname(), ray.util.get_node_ip_address())

    def last_words(self) -> str:
        """See :class:`workers.gang.ranks.Ranks`."""
        return self._process.last_words(0)

    def kill(self) -> None:
        """End it, and come back when it has ended."""
        self._process.kill()


ACTOR: Any = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={HEARING: 1})(RankActor)


class RayRanks:
    """See :class:`workers.gang.ranks.Ranks`. The first is on the node of the worker whose gang they are, see
    :func:`request` of :mod:`orchestrator.driver.ray.resources`.

    Args:
        actors: a :class:`RankActor` a rank.
        local: whether all are on one node.
    """

    def __init__(self, actors: Sequence[Any], local: bool) -> None:
        self.local = local
        self.places: list[Place | None] = []  # of ranks on several nodes, once they are up
        self._actors = list(actors)
        self._hearing = {actor.hear.remote(HEAR_S): rank for rank, actor in enumerate(actors)}
        self._gone: dict[int, str] = {}  # ranks whose actor is: why

    @property
    def host(self) -> str:
        """See the protocol; where all are on one node, nobody else needs to reach it."""
        if self.local:
            return "127.0.0.1"
        asked = [actor.place.remote() for actor in self._actors]
        self.places = [self._answer(rank, one, None) for rank, one in enumerate(asked)]
        return self.places[0].address if self.places[0] else ""

    def send(self, text: str, rank: int | None = None) -> None:
        """See the protocol."""
        for actor in self._actors if rank is None else [self._actors[rank]]:
            actor.send.remote(text)

    def events(self, wait_s: float) -> list[tuple[int, str | None]]:
        """See the protocol."""
        if not self._hearing:
            return []
        ready, _ = ray.wait(list(self._hearing), num_returns=1, timeout=wait_s)
        found = list[tuple[int, str | None]]()
        for heard in ready:
            rank = self._hearing.pop(heard)
            lines = self._answer(rank, heard, [None])
            if None not in lines:
                self._hearing[self._actors[rank].hear.remote(HEAR_S)] = rank
            found += [(rank, line) for line in lines]
        return found

    def last_words(self, rank: int) -> str:
        """See the protocol; of a rank whose actor is gone, why."""
        words = "" if rank in self._gone else self._answer(rank, self._actors[rank].last_words.remote(), "")
        return words or self._gone.get(rank, "")

    def kill(self) -> None:
        """See the protocol. First the processes, so that their memory is free when Ray gives their places to others."""
        killed = [actor.kill.remote() for rank, actor in enumerate(self._actors) if rank not in self._gone]
        if killed:
            ray.wait(killed, num_returns=len(killed), timeout=KILL_S)
        for actor in self._actors:
            ray.kill(actor)
        self._actors, self._hearing = [], {}

    def _answer(self, rank: int, asked: Any, otherwise: Any) -> Any:
        """What an actor says, or something else where it can't any more."""
        try:
            return ray.get(asked, timeout=ANSWER_S)
        except RayError as error:
            self._gone[rank] = explain(str(error)).reason
            return otherwise


def nodes() -> tuple[str, ...]:
    """Ray's ids of the nodes where the placement group of this actor has its parts."""
    group = get_current_placement_group()
    return tuple(sorted(set(placement_group_table(group)["bundles_to_node_id"].values()))) if group else ()


class RayLauncher:
    """See :class:`workers.gang.ranks.Launcher`: starts ranks in the placement group of the actor that it is used in.

    Args:
        taken: by each rank.
        machines: that they are spread over: then a bundle has the part of one, else one rank.
        code: see :class:`orchestrator.driver.launch.Launch`.
    """

    def __init__(self, taken: Taken, machines: int = 1, code: str = "") -> None:
        self._taken, self._machines, self._code = taken, machines, code
        self._ranks: RayRanks | None = None

    def start(self, ranks: int, device: str) -> RayRanks:
        """See the protocol; what fails here is said by the ranks' events."""
        group = get_current_placement_group()
        assert group is not None, "Tune gives every pack a placement group"
        bundles = ranks if self._machines == 1 else self._machines
        actors = [
            ACTOR.options(
                num_cpus=self._taken.cpus,
                num_gpus=self._taken.gpus,
                memory=self._taken.memory,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    group, placement_group_bundle_index=rank * bundles // ranks
                ),
            ).remote(device, self._code)
            for rank in range(ranks)
        ]
        self._ranks = RayRanks(actors, local=self._machines == 1)
        return self._ranks

    def place(self, rank: int) -> Place | None:
        """Where a rank of the last gang was; None: on the node of this process."""
        return dict(enumerate(self._ranks.places)).get(rank) if self._ranks is not None else None
