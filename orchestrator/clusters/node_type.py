"""A node type of a cluster file: what one such node has, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.clusters.document import mapping, whole
from orchestrator.clusters.instances import ACCELERATORS, Shape, amazon, google
from orchestrator.planning.devices import CARDS, Machine

TYPE_LABEL, PRICE_LABEL = "apet-node-type", "apet-price"
FOR_TASKS = 0.7  # of a node's memory: Ray keeps 30 % for its object store, and its AWS provider says the rest
CARD = "accelerator_type:"  # beginning of a resource's name


@dataclass(frozen=True)
class NodeType:
    """One of ``available_node_types``. What has a wrong type in the file counts as not given: the schema refuses it.

    Args:
        name: its key in the file.
        resources: as written, empty where Ray finds them.
        labels: as written.
        price: $ an hour of one such node, from its label; 0 where that isn't known.
        node_config: what the provider is told, as written.
        min_workers: nodes that are always up.
        max_workers: nodes at most, the cluster's limit included; of the head 0 where nothing is said.
        head: whether it is the head's.
        provider: ``aws``, ``gcp``, …
    """

    name: str
    resources: Mapping[str, Any]
    labels: Mapping[str, str]
    price: float
    node_config: Mapping[str, Any]
    min_workers: int
    max_workers: int
    head: bool
    provider: str

    @property
    def nodes(self) -> int:
        """How many there may be, the head included."""
        return self.max_workers + (1 if self.head else 0)

    @property
    def instance(self) -> str:
        """The provider's name of the machine; empty where the file doesn't say it."""
        name = self.node_config.get({"gcp": "machineType"}.get(self.provider, "InstanceType"), "")
        return str(name).rpartition("/")[2]  # Google's may be a path

    @property
    def spot(self) -> bool:
        """Whether the provider may take it back at any time."""
        if self.provider == "gcp":
            scheduling = mapping(self.node_config.get("scheduling"))
            return bool(scheduling.get("preemptible")) or scheduling.get("provisioningModel") == "SPOT"
        return mapping(self.node_config.get("InstanceMarketOptions")).get("MarketType") == "spot"

    @property
    def shape(self) -> Shape | None:
        """What one machine has as the provider's tables say; None where ours don't know it."""
        if self.provider == "gcp":
            return _with_added_cards(google(self.instance), self.node_config.get("guestAccelerators"))
        return amazon(self.instance)

    def machine(self) -> Machine | None:
        """One such node as packs see it, ``count`` of them; None where nothing says what it has, or it takes no pack.

        What the file says of its resources goes before what machines of its type have. Memory is what Ray gives away.
        """
        found = self.shape or Shape(0, 0)
        cpus = whole(self.resources.get("CPU"), found.cpus)
        gpus = whole(self.resources.get("GPU"), found.gpus)
        memory = whole(self.resources.get("memory"), int(found.memory * FOR_TASKS))
        if not cpus or not memory or not self.nodes:
            return None
        card = (self._card() or found.card) if gpus else ""
        if gpus and not card:
            return None
        size = CARDS[card] * 2**20 if card else 0
        name = f"{self.name} ({self.instance})" if self.instance else self.name
        return Machine(cpus, memory, gpus, size, self.nodes, name, card=card)

    def _card(self) -> str:
        """The kind of its cards as its resources say: ``accelerator_type:A100-80G``; the smallest of several such."""
        for key in self.resources:
            name = key.removeprefix(CARD).lower()
            if key.startswith(CARD):
                wanted = name.removesuffix("g") if "-" in name else name
                return next((card for card in CARDS if wanted in (card, card.partition("-")[0])), "")
        return ""


def price(labels: Mapping[str, str]) -> float:
    """$ an hour by the label; 0 where it is absent or no positive number."""
    try:
        found = float(labels.get(PRICE_LABEL, ""))
    except ValueError:
        return 0.0
    return found if 0 < found < float("inf") else 0.0


def _with_added_cards(shape: Shape | None, added: Any) -> Shape | None:
    """Google's cards stand beside the machine type, where they aren't part of it."""
    some = [mapping(one) for one in added] if isinstance(added, list) else []
    if shape is None or shape.gpus or not some:
        return shape
    card = ACCELERATORS.get(str(some[0].get("acceleratorType")).rpartition("/")[2], "")
    return Shape(shape.cpus, shape.memory, whole(some[0].get("acceleratorCount"), 1), card)
