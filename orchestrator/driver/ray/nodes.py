"""A cluster's nodes: what they have, which others a pack may go to, and those that get nothing more."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Set
from math import inf
from typing import NamedTuple

from orchestrator.driver.room import pack
from orchestrator.planning.devices import ASSUMED, CARDS, CPUS_A_CARD, MEMORY_A_CARD, Machine
from trials import processor
from trials.errors import ApetError
from trials.setup import Setup

TYPE = "accelerator_type:"  # beginning of a resource's name
EXCLUDED = "apet-excluded"  # beginning of a key in the cluster's own table
NODE_TYPE, PRICE = "apet-node-type", "apet-price"  # labels of ours, which a cluster file gives its node types


class Node(NamedTuple):
    """A node that lives: what it has, its host, Ray's id of it, and its labels."""

    resources: Mapping[str, float]
    host: str
    node_id: str
    labels: Mapping[str, str] = {}

    @property
    def works(self) -> bool:
        """Whether packs may go there."""
        return bool(self.resources.get("CPU") or self.resources.get("GPU"))


def alive() -> list[Node]:
    """Every node that lives."""
    import ray

    return [
        Node(node["Resources"], node["NodeManagerHostname"], node["NodeID"], node.get("Labels") or {})
        for node in ray.nodes()
        if node["Alive"]
    ]


def of_resources(
    resources: Mapping[str, float], name: str, count: int = 1, labels: Mapping[str, str] | None = None
) -> Machine:
    """A node's resources and labels as a machine; the memory of a node type that doesn't say it as machines commonly
    have it.

    Raises:
        ApetError: a price that is no number of dollars.
    """
    labels = labels or {}
    gpus = int(resources.get("GPU", 0))
    common = MEMORY_A_CARD * gpus if gpus else MEMORY_A_CARD // CPUS_A_CARD * int(resources.get("CPU", 0))
    kind = _said(key.removeprefix(TYPE) for key in resources if key.startswith(TYPE))
    return Machine(
        cpus=int(resources.get("CPU", 0)),
        memory=int(resources.get("memory", common)),
        gpus=gpus,
        card_bytes=card_bytes(kind) if gpus else 0,
        count=count,
        name=name,
        card=card(kind),
        price=price(labels.get(PRICE, "0"), name),
        node_type=labels.get(NODE_TYPE, ""),
    )


def _said(kinds: Iterable[str]) -> str:
    """Of Ray's names of a node's cards the one that says most: a node may say ``A100`` beside ``A100-80G``."""
    return max(sorted(kinds), key=lambda kind: "-" in kind, default="")


def price(text: str, name: str) -> float:
    """Dollars an hour, as a label says them.

    Raises:
        ApetError: it is no number, or none that a price can be; with the name of who has that label.
    """
    try:
        dollars = float(text)
    except ValueError:
        dollars = -1.0
    if not 0 <= dollars < inf:
        raise ApetError(
            f"label {PRICE} of {name}: {text!r} is no price; give dollars an hour of one such node, as {PRICE}: "
            '"1.21", or leave it out'
        )
    return dollars


def card(kind: str) -> str:
    """A kind of card by Ray's name of it, ``A100`` or ``A100-80G``: the smallest, empty where unknown."""
    name = kind.lower().removesuffix("g") if "-" in kind else kind.lower()
    return min((one for one in CARDS if name in (one, one.partition("-")[0])), key=CARDS.__getitem__, default="")


def card_bytes(kind: str) -> int:
    """Memory of a card by Ray's name of it; the assumed where unknown."""
    known = card(kind)
    return CARDS[known] * 2**20 if known else ASSUMED.card_bytes


def elsewhere(setup: Setup, not_on: str, excluded: Set[str]) -> str:
    """A node that could hold a pack, and is not the one where it failed; empty where there is none."""
    if not not_on:
        return ""
    taken = pack(setup)
    wanted = {"CPU": taken.cpus, "GPU": taken.gpus, "memory": taken.memory}
    others = [
        node.node_id
        for node in alive()
        if node.node_id not in {not_on, *excluded}
        and setup.node_type in ("", node.labels.get(NODE_TYPE))
        and all(node.resources.get(k, 0) >= v for k, v in wanted.items())
    ]
    return random.choice(others) if others else ""


def say_type() -> None:
    """Let the rows that this process and its children write say what type its node is of, if that has a label."""
    import ray

    if kind := ray.get_runtime_context().get_node_labels().get(NODE_TYPE):
        os.environ[processor.NODE_TYPE] = str(kind)


def exclude(run_id: str, node: str) -> None:
    """Let workers know that a node gets nothing more, for the packs that are on their way to it."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(f"{EXCLUDED}-{run_id}-{node}", b"1")


def is_excluded(run_id: str, node: str) -> bool:
    """What :func:`exclude` said."""
    from ray.experimental.internal_kv import _internal_kv_get

    return _internal_kv_get(f"{EXCLUDED}-{run_id}-{node}") is not None
