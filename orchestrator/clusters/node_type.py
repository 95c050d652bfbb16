"""A node type of a cluster file: what one such node has, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.clusters.document import Path, mapping, whole
from orchestrator.clusters.instances import ACCELERATORS, Shape, amazon, google
from orchestrator.driver.ray.nodes import NODE_TYPE, PRICE, TYPE, of_resources, price
from orchestrator.planning.devices import Machine
from trials.errors import ApetError

FOR_TASKS = 0.7  # of a node's memory: Ray keeps 30 % for its object store, and its AWS provider says the rest


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

    def at(self, *path: str | int) -> Path:
        """A path below it."""
        return "available_node_types", self.name, *path

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
            scheduling = self.scheduling
            return bool(scheduling.get("preemptible")) or scheduling.get("provisioningModel") == "SPOT"
        return mapping(self.node_config.get("InstanceMarketOptions")).get("MarketType") == "spot"

    @property
    def scheduling(self) -> dict[str, Any]:
        """What Google is told about when it runs; Ray's examples have it as a list of one mapping."""
        found = self.node_config.get("scheduling")
        return (
            {key: value for one in found for key, value in mapping(one).items()}
            if isinstance(found, list)
            else mapping(found)
        )

    @property
    def shape(self) -> Shape | None:
        """What one machine has as the provider's tables say; None where ours don't know it."""
        if self.provider == "gcp":
            return _with_added_cards(google(self.instance), self.node_config.get("guestAccelerators"))
        return amazon(self.instance)

    def machine(self) -> Machine | None:
        """Such nodes as the planning sees them when they are up; None where nothing says what one has, or it takes
        no pack.

        What the file says of resources goes before what machines of the type have, which Ray finds out. It names cards
        without their memory, so that an A100 counts as the smaller one.
        """
        if not self.nodes:
            return None
        said, shape = self.resources, self.shape
        has = {key: float(whole(value, 0)) for key, value in said.items()}
        if shape is not None:
            found = {"CPU": shape.cpus, "GPU": shape.gpus, "memory": int(shape.memory * FOR_TASKS)}
            has = {**found, **has}
        if has.get("GPU") and not any(key.startswith(TYPE) for key in has):
            if shape is None or not shape.card:
                return None
            has[TYPE + shape.card.partition("-")[0].upper()] = 1
        if not has.get("CPU") or not has.get("memory"):
            return None
        labels = {NODE_TYPE: self.labels.get(NODE_TYPE) or self.name}
        labels |= {PRICE: str(self.price)} if self.price else {}
        name = f"{self.name} ({self.instance})" if self.instance else self.name
        return of_resources(has, name, self.nodes, labels)


def price_of(labels: Mapping[str, str]) -> float:
    """$ an hour by the label; 0 where it is absent or no price."""
    try:
        return price(labels.get(PRICE, "0"), "")
    except ApetError:
        return 0.0


def _with_added_cards(shape: Shape | None, added: Any) -> Shape | None:
    """Google's cards stand beside the machine type, where they aren't part of it."""
    some = [mapping(one) for one in added] if isinstance(added, list) else []
    if shape is None or shape.gpus or not some:
        return shape
    card = ACCELERATORS.get(str(some[0].get("acceleratorType")).rpartition("/")[2], "")
    return Shape(shape.cpus, shape.memory, whole(some[0].get("acceleratorCount"), 1), card)
