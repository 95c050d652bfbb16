"""Which node types of a cluster file hold the trials of a sweep, with what set-up and at what price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.clusters.file import ClusterFile
    from orchestrator.clusters.node_type import NodeType
    from orchestrator.planning.devices import Machine
    from orchestrator.planning.fit import Fit
    from orchestrator.planning.setups import Setups
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial


@dataclass(frozen=True)
class Holding:
    """Trials of one backbone that run alike on one node type.

    Args:
        backbone: its name.
        methods: of the trials.
        trials: how many.
        node_type: the cheapest that holds them; without prices the smallest; empty where none does.
        way: their set-up in words; of what holds nothing the one that needs the least.
        packs: at a time on one node, in trials; a fraction where a pack takes several nodes.
        pack_size: trials of a pack, of the largest.
        hours: of a node, in all.
        price: $ an hour of a node, 0 where that isn't known.
        others: node types that hold them too.
        weights: scalars of the backbone that are downloaded, 0 where its weights are made here.
        lacking: why no node type holds them; empty where one does.
    """

    backbone: str
    methods: str
    trials: int
    node_type: str
    way: str
    packs: float
    pack_size: int
    hours: float
    price: float
    others: tuple[str, ...]
    weights: int
    lacking: str = ""

    @property
    def cost(self) -> float:
        """$ in all, 0 where it isn't known."""
        return self.hours * self.price

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "cost": self.cost or None, "price": self.price or None}


Offer = tuple["NodeType", "Machine", "Setups"]


def holdings(file: ClusterFile, sweep: Sweep) -> tuple[Holding, ...]:
    """Where the trials of a sweep would run, all of them to do; none where nothing is known of any machine.

    Args:
        file: the cluster file.
        sweep: enumerated and checked already.

    Raises:
        ApetError: resources that exclude each other.
    """
    from orchestrator.planning.setups import Setups

    every = sweep.trials()
    offers: list[Offer] = []
    for node in file.node_types.values():
        machine = node.machine()
        if machine is not None:
            offers.append((node, machine, Setups(every, (machine,), sweep.resources)))
    if not offers:
        return ()
    cells: dict[tuple[int, ...], list[Trial]] = defaultdict(list)
    for trial in every:
        cells[tuple(id(setups.fit(trial)) for _, _, setups in offers)].append(trial)
    return _joined([_cell(some, offers) for some in cells.values()])


def _cell(trials: Sequence[Trial], offers: Sequence[Offer]) -> Holding:
    """Trials that run alike wherever they run."""
    from orchestrator.planning.setups import methods
    from trials.backbones import loaded_parameters

    backbone = trials[0].backbone
    weights = 0 if backbone.weights.kind == "random" else loaded_parameters(backbone)
    able = [
        _on(trials, methods(trials), weights, node, machine, found)
        for node, machine, found in ((node, machine, setups.fit(trials[0])) for node, machine, setups in offers)
        if found.at_once and not found.assumed
    ]
    if able:
        size = {node.name: machine.gpus * machine.card_bytes or machine.memory for node, machine, _ in offers}
        best = min(able, key=lambda one: (not one.price, one.cost, size[one.node_type]))
        return replace(best, others=tuple(one.node_type for one in able if one is not best))
    node, machine, setups = max(offers, key=lambda one: (one[1].gpus * one[1].card_bytes, one[1].memory))
    found = setups.fit(trials[0])
    least = _on(trials, methods(trials), weights, node, machine, found)
    return replace(least, node_type="", price=0.0, lacking=found.refusal)


def _on(trials: Sequence[Trial], label: str, weights: int, node: NodeType, machine: Machine, found: Fit) -> Holding:
    from orchestrator.planning.candidates import way
    from orchestrator.planning.times import work

    seconds, _ = work(trials, found.setup, {}, None, found.card)
    packs = found.at_once / machine.count
    return Holding(
        backbone=trials[0].backbone.name,
        methods=label,
        trials=len(trials),
        node_type=node.name,
        way=way(found.setup),
        packs=packs,
        pack_size=found.setup.pack_size,
        hours=seconds / 3600 / packs if packs else 0.0,
        price=node.price,
        others=(),
        weights=weights,
    )


def _joined(cells: Sequence[Holding]) -> tuple[Holding, ...]:
    """Cells of one backbone that run alike on the same node type as one, its methods together."""
    groups: dict[object, list[Holding]] = defaultdict(list)
    for one in cells:
        groups[one.backbone, one.node_type, one.way, one.others, one.lacking and one.methods].append(one)
    return tuple(
        replace(
            some[0],
            methods=", ".join(dict.fromkeys(name for one in some for name in one.methods.split(", "))),
            trials=sum(one.trials for one in some),
            packs=min(one.packs for one in some),
            pack_size=max(one.pack_size for one in some),
            hours=sum(one.hours for one in some),
        )
        for some in groups.values()
    )
