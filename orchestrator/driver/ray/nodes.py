"""A cluster's nodes: what they have, which others a pack may go to, and those that get nothing more."""

from __future__ import annotations

import random
from collections.abc import Mapping, Set

from orchestrator.driver.room import pack
from orchestrator.planning.devices import ASSUMED, CARDS, CPUS_A_CARD, MEMORY_A_CARD, Machine
from trials.setup import Setup

TYPE = "accelerator_type:"  # beginning of a resource's name
EXCLUDED = "apet-excluded"  # beginning of a key in the cluster's own table


def alive() -> list[tuple[Mapping[str, float], str, str]]:
    """What every node that lives has, its host, and Ray's id of it."""
    import ray

    return [(node["Resources"], node["NodeManagerHostname"], node["NodeID"]) for node in ray.nodes() if node["Alive"]]


def of_resources(resources: Mapping[str, float], name: str, count: int = 1) -> Machine:
    """A node's resources as a machine; the memory of a node type that doesn't say it as machines commonly have it."""
    gpus = int(resources.get("GPU", 0))
    common = MEMORY_A_CARD * gpus if gpus else MEMORY_A_CARD // CPUS_A_CARD * int(resources.get("CPU", 0))
    types = [key.removeprefix(TYPE) for key in resources if key.startswith(TYPE)]
    return Machine(
        cpus=int(resources.get("CPU", 0)),
        memory=int(resources.get("memory", common)),
        gpus=gpus,
        card_bytes=min(map(card_bytes, types), default=ASSUMED.card_bytes) if gpus else 0,
        count=count,
        name=name,
    )


def card_bytes(kind: str) -> int:
    """Memory of a card by Ray's name of it, ``A100`` or ``A100-80G``: of the smallest, the assumed where unknown."""
    name = kind.lower().removesuffix("g") if "-" in kind else kind.lower()
    sizes = [mib * 2**20 for card, mib in CARDS.items() if name in (card, card.partition("-")[0])]
    return min(sizes, default=ASSUMED.card_bytes)


def elsewhere(setup: Setup, not_on: str, excluded: Set[str]) -> str:
    """A node that could hold a pack, and is not the one where it failed; empty where there is none."""
    if not not_on:
        return ""
    taken = pack(setup)
    wanted = {"CPU": taken.cpus, "GPU": taken.gpus, "memory": taken.memory}
    others = [
        node
        for resources, _, node in alive()
        if node != not_on and node not in excluded and all(resources.get(k, 0) >= v for k, v in wanted.items())
    ]
    return random.choice(others) if others else ""


def exclude(run_id: str, node: str) -> None:
    """Let workers know that a node gets nothing more, for the packs that are on their way to it."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(f"{EXCLUDED}-{run_id}-{node}", b"1")


def is_excluded(run_id: str, node: str) -> bool:
    """What :func:`exclude` said."""
    from ray.experimental.internal_kv import _internal_kv_get

    return _internal_kv_get(f"{EXCLUDED}-{run_id}-{node}") is not None
